// Checks a file of LMDB data format 1 before liblmdb maps it. liblmdb trusts every offset in a file, so one wrong bit can
// end the process; after this walk over the tree, all that a read can follow lies inside the file.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>

namespace star {

// One entry of a file: its key and where its value begins.
struct LmdbEntry {
  std::string key;
  size_t offset;
};

// `data`: the whole file. `path` names it in errors. Returns the first entry, without a key where there is none. Throws ERR_FILE.
LmdbEntry check_lmdb(const void* data, size_t size, const std::string& path);

// For files that others may be writing, whose tree nobody can walk: the size that a file must have for the roots of its trees to
// lie inside it. Nothing where its two headers are not those of LMDB data format 1.
std::optional<uint64_t> lmdb_size_of_roots(const void* data, size_t size);

}  // namespace star
