// The machine that the stand-in of the CUDA runtime tells of: one GPU of compute capability 8.0 with the driver of this CUDA, or
// what STAR_SIMT_MACHINE says, so that tests see how machines are refused:
//   STAR_SIMT_MACHINE="driver=12040"      the driver's CUDA version, 0 for no driver
//   STAR_SIMT_MACHINE="devices=0"         GPUs that can be used, all of them this machine's memory and cores
//   STAR_SIMT_MACHINE="capability=75"     compute capability times ten
#pragma once

#include <cstdlib>
#include <cstring>

namespace star::simt {

struct Machine {
  int driver = 13000, devices = 1, capability = 80;

  static Machine from_environment() {
    Machine machine;
    const char* text = std::getenv("STAR_SIMT_MACHINE");
    if (!text) return machine;
    const auto read = [&](const char* key, int& value) {
      const size_t length = std::strlen(key);
      if (std::strncmp(text, key, length) == 0) value = std::atoi(text + length);
    };
    read("driver=", machine.driver);
    read("devices=", machine.devices);
    read("capability=", machine.capability);
    return machine;
  }
};

}  // namespace star::simt
