// A table on disk from keys of 16 bytes to values, which threads and processes of a machine use side by side: an LMDB environment
// in one file and its lock file. It only grows at its end, and is cut at its beginning.
#pragma once

#include <lmdb.h>

#include <cstdint>
#include <optional>
#include <shared_mutex>
#include <string>
#include <utility>
#include <vector>

namespace star {

// liblmdb may open a file once in a process, so all stores of a file share what stands behind them.
class RecordEnvironment;

class RecordStore {
 public:
  static constexpr size_t kKeyBytes = 16;
  using Record = std::pair<std::string, std::string>;  // key, value

  // Makes the file where there is none; its folder must be there. Throws ERR_FILE, also where no such store is in the file.
  explicit RecordStore(const std::string& path);
  ~RecordStore();
  RecordStore(const RecordStore&) = delete;
  RecordStore& operator=(const RecordStore&) = delete;

  size_t count() const;                                          // records there are
  bool has(const std::string& key) const;                        // throws ERR_ARGUMENT for a key of another length, ERR_FILE
  std::optional<std::string> get(const std::string& key) const;  // likewise
  // Adds records, all or none; those whose key is there stay as they are. Then the oldest ones go, some of neighbouring age at a
  // time, until the pages in use are at most `limit` bytes; the newest stay however small it is. Throws as above.
  void add(const std::vector<Record>& records, uint64_t limit);

 private:
  RecordEnvironment* environment_;
};

}  // namespace star
