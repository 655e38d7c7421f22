// What liblmdb answers, as an error of ours.
#pragma once

#include <lmdb.h>

#include <cerrno>
#include <string>

#include "core/error.h"

namespace star {

// Nothing for MDB_SUCCESS, otherwise throws ERR_FILE "PATH cannot be ACTION: why". `remedy` follows a colon where there is one.
inline void expect_lmdb(int code, const std::string& path, const char* action, const char* remedy = "") {
  if (code == MDB_SUCCESS) return;
  // liblmdb reports a write that was cut short as EIO.
  bool full = code == ENOSPC || code == EFBIG || code == EIO;
#ifdef EDQUOT
  full |= code == EDQUOT;
#endif
  fail(ErrorCode::File, "%s cannot be %s: %s%s%s", path.c_str(), action, mdb_strerror(code),
       full ? " (the disk may be full: free space or use another)" : "", remedy);
}

inline MDB_val lmdb_value(const std::string& bytes) { return {bytes.size(), const_cast<char*>(bytes.data())}; }

}  // namespace star
