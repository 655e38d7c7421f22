// A file of LMDB data format 1 from anywhere: what `check_lmdb` lets pass must be readable to its end.
#include "io/lmdb_check.h"

#include <unistd.h>

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <string>

#include "core/error.h"
#include "io/lmdb_file.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  try {
    star::check_lmdb(data, size, "input");
  } catch (const star::Error&) {
    return 0;
  }
  static const std::string path = "/tmp/star-fuzz-lmdb-" + std::to_string(::getpid());
  static const bool removed = std::atexit([] { std::remove(path.c_str()); }) == 0;
  static_cast<void>(removed);
  std::FILE* file = std::fopen(path.c_str(), "wb");
  if (!file) return 0;
  std::fwrite(data, 1, size, file);
  std::fclose(file);
  try {
    star::LmdbReader reader(path);
    uint64_t sum = reader.count();
    for (const std::string& key : reader.keys()) {
      const void* value = nullptr;
      size_t bytes = 0;
      if (!reader.get(key, &value, &bytes)) continue;
      for (size_t i = 0; i < bytes; ++i) sum += static_cast<const uint8_t*>(value)[i];
    }
    volatile uint64_t keep = sum;
    static_cast<void>(keep);
  } catch (const star::Error&) {
  }
  return 0;
}
