// The machine that the stand-in of the CUDA runtime tells of: one GPU of compute capability 8.0 with the driver of this CUDA, or
// what STAR_SIMT_MACHINE says, so that tests see how machines are refused:
//   STAR_SIMT_MACHINE="driver=12040"      the driver's CUDA version, 0 for no driver
//   STAR_SIMT_MACHINE="devices=0"         GPUs that can be used, all of them this machine's memory and cores
//   STAR_SIMT_MACHINE="capability=75"     compute capability times ten
//   STAR_SIMT_MACHINE="memory=80e9"       bytes of device memory
// and several of these with commas between them.
#pragma once

#include <cstdint>
#include <cstdlib>
#include <cstring>

namespace star::simt {

struct Machine {
  int driver = 13000, devices = 1, capability = 80;
  uint64_t memory = UINT64_MAX;  // bytes that may be allocated at once

  // Shared memory of a block that asks for more than 48 KiB, in bytes (CUDA C++ Programming Guide, "Technical Specifications per
  // Compute Capability"): 163 KiB on 8.0, 99 KiB on 8.6, 8.9 and 12.x, 227 KiB on 9.0 and 10.x.
  size_t shared_optin() const {
    switch (capability) {
      case 80: return 163 << 10;
      case 90:
      case 100:
      case 103: return 227 << 10;
      default: return 99 << 10;
    }
  }

  static Machine from_environment() {
    Machine machine;
    for (const char* text = std::getenv("STAR_SIMT_MACHINE"); text; text = std::strchr(text, ',')) {
      if (*text == ',') ++text;
      const auto read = [&](const char* key, int& value) {
        const size_t length = std::strlen(key);
        if (std::strncmp(text, key, length) == 0) value = std::atoi(text + length);
      };
      read("driver=", machine.driver);
      read("devices=", machine.devices);
      read("capability=", machine.capability);
      constexpr char kMemory[] = "memory=";
      if (std::strncmp(text, kMemory, sizeof kMemory - 1) == 0)
        machine.memory = static_cast<uint64_t>(std::strtod(text + sizeof kMemory - 1, nullptr));
    }
    return machine;
  }
};

}  // namespace star::simt
