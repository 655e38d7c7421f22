#include "io/record_environment.h"

#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <map>
#include <memory>
#include <mutex>
#include <optional>

#include "core/error.h"
#include "io/lmdb_check.h"
#include "io/lmdb_error.h"
#include "io/mapped_file.h"

namespace star {

namespace {

constexpr const char* kRemedy = ": check the disk, or remove it, it is made again";
constexpr size_t kFirstMapSize = size_t{64} << 20;

struct Registry {
  std::mutex mutex;  // held while a file is opened or closed: the system drops a process's locks with any of its handles
  std::map<std::string, std::unique_ptr<RecordEnvironment>> environments;
};

Registry& registry() {
  static auto* all = new Registry;  // outlives the threads that close their stores at the very end
  return *all;
}

std::filesystem::path system_path(const std::string& utf8) { return std::u8string(utf8.begin(), utf8.end()); }

uint64_t file_size(const std::string& path) {
  std::error_code error;
  const uint64_t size = std::filesystem::file_size(system_path(path), error);
  expect_lmdb(error.value(), path, "opened", kRemedy);
  return size;
}

// Of the file at `path`, which is made where there is none: another name of it is the same file, and one that was made anew after
// it was removed is another. (Windows has no inodes, and removes no file that is open.)
std::string identity(const std::string& path) {
  const std::filesystem::path name = system_path(path);
  errno = 0;
  if (!std::ofstream(name, std::ios::app)) expect_lmdb(errno ? errno : EACCES, path, "opened", kRemedy);
  struct stat status {};
  if (stat(path.c_str(), &status) != 0) status.st_ino = 0;
  return std::filesystem::canonical(name).string() + ' ' + std::to_string(status.st_ino);
}

}  // namespace

RecordEnvironment* RecordEnvironment::acquire(const std::string& path) {
  Registry& all = registry();
  const std::lock_guard lock(all.mutex);
  const std::string name = identity(path);
  auto at = all.environments.find(name);
  if (at == all.environments.end()) {
    at = all.environments.emplace(name, std::make_unique<RecordEnvironment>(path)).first;
    at->second->identity_ = name;
  }
  ++at->second->stores_;
  return at->second.get();
}

void RecordEnvironment::release(RecordEnvironment* environment) {
  Registry& all = registry();
  const std::lock_guard lock(all.mutex);
  if (--environment->stores_ == 0) all.environments.erase(environment->identity_);
}

RecordEnvironment::RecordEnvironment(const std::string& path) : path_(path) {
  const uint64_t size = file_size(path);
  if (size > 0) {
    std::optional<uint64_t> least;
    {
      const auto file = MappedFile::open(path);
      least = lmdb_size_of_roots(file->data(), file->size());
    }
    // Others may be writing: pages reach the file before the headers that name them, so its size is asked for last.
    if (!least || *least > file_size(path)) damaged();
  }
  try {
    expect(mdb_env_create(&env_), "opened");
    expect(mdb_env_set_maxdbs(env_, 2), "opened");
    expect(mdb_env_set_mapsize(env_, std::max(kFirstMapSize, static_cast<size_t>(size) * 2)), "opened");
    // Without NOTLS a reader's place would belong to its thread, which a worker that ends never gives back.
    expect(mdb_env_open(env_, path.c_str(), MDB_NOSUBDIR | MDB_NOTLS | MDB_NOMETASYNC | MDB_NORDAHEAD, 0644), "opened");
    int dead;
    expect(mdb_reader_check(env_, &dead), "opened");
    Transaction transaction(*this, 0);
    open_table(transaction.get(), "segments", &segments);
    open_table(transaction.get(), "places", &places);
    MDB_stat status;
    expect(mdb_stat(transaction.get(), segments, &status), "opened");
    page_size = status.ms_psize;
    expect(transaction.commit(), "opened");
  } catch (...) {
    mdb_env_close(env_);
    throw;
  }
}

// A table that is missing is made in a file without any, or with the other one alone, which this transaction has made then.
void RecordEnvironment::open_table(MDB_txn* transaction, const char* name, MDB_dbi* table) const {
  MDB_dbi tables;
  MDB_stat status;
  expect(mdb_dbi_open(transaction, nullptr, 0, &tables), "opened");
  expect(mdb_stat(transaction, tables, &status), "opened");
  const int code = mdb_dbi_open(transaction, name, status.ms_entries < 2 ? MDB_CREATE : 0, table);
  if (code == MDB_NOTFOUND || code == MDB_INCOMPATIBLE) damaged();  // a pack, for example
  expect(code, "opened");
}

RecordEnvironment::Transaction::Transaction(RecordEnvironment& environment, unsigned flags) {
  for (;;) {
    lock_ = std::shared_lock(environment.map_);
    const int code = mdb_txn_begin(environment.env_, nullptr, flags, &transaction_);
    if (code != MDB_MAP_RESIZED) {
      environment.expect(code, "read");
      return;
    }
    lock_.unlock();
    environment.resize(0, 0);  // to what another process has made of it
  }
}

// Enlarges the map, unless another thread has done so since it was `from` bytes.
void RecordEnvironment::resize(size_t from, size_t to) {
  const std::unique_lock lock(map_);
  MDB_envinfo info;
  expect(mdb_env_info(env_, &info), "opened");
  if (from != 0 && info.me_mapsize != from) return;
  expect(mdb_env_set_mapsize(env_, to), "opened");
}

size_t RecordEnvironment::map_size() {
  const std::shared_lock lock(map_);
  MDB_envinfo info;
  expect(mdb_env_info(env_, &info), "written");
  return info.me_mapsize;
}

void RecordEnvironment::expect(int code, const char* action) const { expect_lmdb(code, path_, action, kRemedy); }

void RecordEnvironment::damaged() const {
  fail(ErrorCode::File, "%s is damaged, or is no cache of this program: remove it, it is made again", path_.c_str());
}

}  // namespace star
