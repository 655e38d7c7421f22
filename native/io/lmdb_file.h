// One LMDB file (data format 1, single file without a lock file): reading a checked one, writing a new one.
#pragma once

#include <lmdb.h>

#include <cstddef>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "system/map_guard.h"

namespace star {

class LmdbReader {
 public:
  explicit LmdbReader(const std::string& path);  // throws ERR_FILE
  ~LmdbReader();
  LmdbReader(const LmdbReader&) = delete;
  LmdbReader& operator=(const LmdbReader&) = delete;

  // The value of a key in the mapped file, valid while the reader lives; false when the key is not there.
  bool get(const std::string& key, const void** data, size_t* size);
  // Where in the file the value of a key lies, so that it can be read without touching the map; false as above.
  bool locate(const std::string& key, size_t* offset, size_t* size);
  std::vector<std::string> keys();  // all, in the file's order
  size_t count() const;
  // Throws ERR_FILE when the file was shortened meanwhile: what was read of it may be zeros. After a value of `get` was used.
  void expect_intact() const;

 private:
  std::string path_;
  MDB_env* env_ = nullptr;
  MDB_txn* transaction_ = nullptr;
  MDB_dbi database_ = 0;
  const char* base_ = nullptr;  // of the map; liblmdb does not tell it
  std::optional<MapGuard> guard_;
};

// Entries are buffered and written in transactions of some megabytes; the file is complete after finish().
class LmdbWriter {
 public:
  explicit LmdbWriter(const std::string& path);  // a path where no file is; throws ERR_FILE
  ~LmdbWriter();
  LmdbWriter(const LmdbWriter&) = delete;
  LmdbWriter& operator=(const LmdbWriter&) = delete;

  void put(std::string key, std::string value);  // throws ERR_ARGUMENT for an empty or too long key, ERR_FILE
  void finish();

 private:
  void flush();
  int write_pending();

  std::string path_;
  MDB_env* env_ = nullptr;
  size_t map_size_;
  std::vector<std::pair<std::string, std::string>> pending_;
  size_t pending_bytes_ = 0;
};

}  // namespace star
