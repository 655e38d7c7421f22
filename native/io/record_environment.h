// What the record stores of a file share in a process: liblmdb may open a file once in it. Transactions of all threads run side
// by side; the map, which bounds the file, is enlarged while there is none.
#pragma once

#include <lmdb.h>

#include <cstddef>
#include <shared_mutex>
#include <string>
#include <utility>

namespace star {

class RecordEnvironment {
 public:
  // The one of this file, opened where it is not; the file is made where there is none. Throws ERR_FILE.
  static RecordEnvironment* acquire(const std::string& path);
  static void release(RecordEnvironment* environment);  // closed with the last

  explicit RecordEnvironment(const std::string& path);  // for acquire
  ~RecordEnvironment() { mdb_env_close(env_); }
  RecordEnvironment(const RecordEnvironment&) = delete;
  RecordEnvironment& operator=(const RecordEnvironment&) = delete;

  // body(transaction) inside a transaction that sees what has been added until now.
  template <typename Body>
  auto read(Body&& body) {
    const Transaction transaction(*this, MDB_RDONLY);
    return body(transaction.get());
  }

  // body(transaction) → code of liblmdb, alone among all threads and processes; all it writes is there afterwards, or nothing
  // when it fails or throws. It is called again where the map was too small.
  template <typename Body>
  void write(Body&& body) {
    for (;;) {
      const size_t map_size = this->map_size();
      {
        Transaction transaction(*this, 0);
        int code = body(transaction.get());
        if (code == MDB_SUCCESS) code = transaction.commit();
        if (code == MDB_SUCCESS) return;
        if (code != MDB_MAP_FULL) expect(code, "written");
      }
      resize(map_size, map_size * 2);
    }
  }

  void expect(int code, const char* action) const;  // throws ERR_FILE with the remedy
  [[noreturn]] void damaged() const;

  MDB_dbi segments = 0, places = 0;  // the tables (record_store.cc)
  size_t page_size = 0;

 private:
  class Transaction {
   public:
    Transaction(RecordEnvironment& environment, unsigned flags);
    ~Transaction() {
      if (transaction_) mdb_txn_abort(transaction_);
    }
    MDB_txn* get() const { return transaction_; }
    int commit() { return mdb_txn_commit(std::exchange(transaction_, nullptr)); }

   private:
    std::shared_lock<std::shared_mutex> lock_;
    MDB_txn* transaction_ = nullptr;
  };

  void open_table(MDB_txn* transaction, const char* name, MDB_dbi* table) const;
  size_t map_size();
  void resize(size_t from, size_t to);

  const std::string path_;
  std::string identity_;  // as acquire finds it
  size_t stores_ = 0;
  MDB_env* env_ = nullptr;
  std::shared_mutex map_;
};

}  // namespace star
