#include "io/lmdb_file.h"

#include "core/error.h"
#include "io/lmdb_check.h"
#include "io/lmdb_error.h"
#include "io/mapped_file.h"

namespace star {

namespace {

constexpr size_t kFirstMapSize = size_t{64} << 20, kBatchBytes = size_t{16} << 20;
constexpr unsigned kFlags = MDB_NOSUBDIR | MDB_NOLOCK;

}  // namespace

LmdbReader::LmdbReader(const std::string& path) : path_(path) {
  size_t size;
  LmdbEntry first;
  {
    const auto file = MappedFile::open(path);
    size = file->size();
    first = check_lmdb(file->data(), size, path);
  }
  try {
    expect_lmdb(mdb_env_create(&env_), path, "opened");
    expect_lmdb(mdb_env_set_mapsize(env_, size), path, "opened");  // otherwise the size its writer reserved, a terabyte at times
    expect_lmdb(mdb_env_open(env_, path.c_str(), kFlags | MDB_RDONLY | MDB_NORDAHEAD, 0644), path, "opened");
    expect_lmdb(mdb_txn_begin(env_, nullptr, MDB_RDONLY, &transaction_), path, "read");
    expect_lmdb(mdb_dbi_open(transaction_, nullptr, 0, &database_), path, "read");
    if (!first.key.empty()) {
      const void* value = nullptr;
      size_t bytes = 0;
      if (!get(first.key, &value, &bytes))
        fail(ErrorCode::File, "%s is not a sound LMDB file: its first key is out of order. Copy or pack it again", path.c_str());
      base_ = static_cast<const char*>(value) - first.offset;
      guard_.emplace(base_, size);
    }
  } catch (...) {
    if (transaction_) mdb_txn_abort(transaction_);
    if (env_) mdb_env_close(env_);
    throw;
  }
}

LmdbReader::~LmdbReader() {
  guard_.reset();
  mdb_txn_abort(transaction_);
  mdb_env_close(env_);
}

bool LmdbReader::get(const std::string& key, const void** data, size_t* size) {
  if (key.empty() || key.size() > static_cast<size_t>(mdb_env_get_maxkeysize(env_))) return false;  // no such key can be stored
  MDB_val name = lmdb_value(key), value;
  const int code = mdb_get(transaction_, database_, &name, &value);
  expect_intact();
  if (code == MDB_NOTFOUND) return false;
  expect_lmdb(code, path_, "read");
  *data = value.mv_data;
  *size = value.mv_size;
  return true;
}

void LmdbReader::expect_intact() const {
  if (guard_ && guard_->broken())
    fail(ErrorCode::File, "%s was shortened, or its disk failed, while it was in use: restore it and open it again",
         path_.c_str());
}

bool LmdbReader::locate(const std::string& key, size_t* offset, size_t* size) {
  const void* data = nullptr;
  if (!get(key, &data, size)) return false;
  *offset = static_cast<size_t>(static_cast<const char*>(data) - base_);
  return true;
}

std::vector<std::string> LmdbReader::keys() {
  std::vector<std::string> list;
  MDB_cursor* cursor = nullptr;
  expect_lmdb(mdb_cursor_open(transaction_, database_, &cursor), path_, "read");
  MDB_val name, value;
  int code = mdb_cursor_get(cursor, &name, &value, MDB_FIRST);
  for (; code == MDB_SUCCESS; code = mdb_cursor_get(cursor, &name, &value, MDB_NEXT))
    list.emplace_back(static_cast<const char*>(name.mv_data), name.mv_size);
  mdb_cursor_close(cursor);
  expect_intact();
  if (code != MDB_NOTFOUND) expect_lmdb(code, path_, "read");
  return list;
}

size_t LmdbReader::count() const {
  MDB_stat status;
  expect_lmdb(mdb_stat(transaction_, database_, &status), path_, "read");
  return status.ms_entries;
}

LmdbWriter::LmdbWriter(const std::string& path) : path_(path), map_size_(kFirstMapSize) {
  try {
    expect_lmdb(mdb_env_create(&env_), path, "written");
    expect_lmdb(mdb_env_set_mapsize(env_, map_size_), path, "written");
    expect_lmdb(mdb_env_open(env_, path.c_str(), kFlags | MDB_NOSYNC, 0644), path, "written");
  } catch (...) {
    if (env_) mdb_env_close(env_);
    throw;
  }
}

LmdbWriter::~LmdbWriter() {
  if (env_) mdb_env_close(env_);
}

void LmdbWriter::put(std::string key, std::string value) {
  if (!env_) fail(ErrorCode::Argument, "%s: an entry was given after the file was finished", path_.c_str());
  const size_t longest = static_cast<size_t>(mdb_env_get_maxkeysize(env_));
  if (key.empty() || key.size() > longest)
    fail(ErrorCode::Argument, "%s: a key of %zu bytes was given, expected 1 to %zu: use shorter names", path_.c_str(), key.size(),
         longest);
  if (value.size() > 0xffffffffu)
    fail(ErrorCode::Argument, "%s: a value of %zu bytes was given, expected less than 4 GiB", path_.c_str(), value.size());
  pending_bytes_ += key.size() + value.size();
  pending_.emplace_back(std::move(key), std::move(value));
  if (pending_bytes_ >= kBatchBytes) flush();
}

int LmdbWriter::write_pending() {
  MDB_txn* transaction = nullptr;
  int code = mdb_txn_begin(env_, nullptr, 0, &transaction);
  if (code != MDB_SUCCESS) return code;
  MDB_dbi database = 0;
  code = mdb_dbi_open(transaction, nullptr, 0, &database);
  for (size_t i = 0; code == MDB_SUCCESS && i < pending_.size(); ++i) {
    MDB_val key = lmdb_value(pending_[i].first), value = lmdb_value(pending_[i].second);
    code = mdb_put(transaction, database, &key, &value, 0);
  }
  if (code == MDB_SUCCESS) return mdb_txn_commit(transaction);
  mdb_txn_abort(transaction);
  return code;
}

void LmdbWriter::flush() {
  int code = write_pending();
  while (code == MDB_MAP_FULL) {  // the map bounds the file: enlarge it and repeat the batch
    map_size_ *= 2;
    expect_lmdb(mdb_env_set_mapsize(env_, map_size_), path_, "written");
    code = write_pending();
  }
  expect_lmdb(code, path_, "written");
  pending_.clear();
  pending_bytes_ = 0;
}

void LmdbWriter::finish() {
  if (!env_) return;
  flush();
  expect_lmdb(mdb_env_sync(env_, 1), path_, "written");
  mdb_env_close(env_);
  env_ = nullptr;
}

}  // namespace star
