#include "io/record_store.h"

#include <cstring>
#include <memory>

#include "core/error.h"
#include "io/lmdb_error.h"
#include "io/record_environment.h"

namespace star {

namespace {

// A segment is a value of the table `segments`: a few records that were added together, so that little of a page is left empty.
// Its key is its number, which only grows. It holds the count of its records (4 bytes), their keys, their values.
constexpr size_t kSegmentPages = 4, kPageHeader = 16, kCountBytes = 4, kLargest = size_t{1} << 31;

// Where a record is: the value of its key in the table `places`.
struct Place {
  uint64_t segment;
  uint32_t offset, size;
};

// Numbers as keys, big-endian so that they sort as numbers do.
struct NumberKey {
  unsigned char bytes[8];
  explicit NumberKey(uint64_t n) {
    for (int i = 0; i < 8; ++i) bytes[i] = static_cast<unsigned char>(n >> (56 - 8 * i));
  }
  static uint64_t read(const MDB_val& key) {
    uint64_t n = 0;
    for (size_t i = 0; i < key.mv_size && i < 8; ++i) n = n << 8 | static_cast<const unsigned char*>(key.mv_data)[i];
    return n;
  }
  MDB_val value() { return {sizeof bytes, bytes}; }
};

MDB_val key_value(const std::string& key) {
  if (key.size() != RecordStore::kKeyBytes)
    fail(ErrorCode::Argument, "a record's key has %zu bytes, expected %zu", key.size(), RecordStore::kKeyBytes);
  return lmdb_value(key);
}

// False where the key is not there.
bool find(const RecordEnvironment& environment, MDB_txn* transaction, const std::string& key, Place* place) {
  MDB_val name = key_value(key), value;
  const int code = mdb_get(transaction, environment.places, &name, &value);
  if (code == MDB_NOTFOUND) return false;
  environment.expect(code, "read");
  if (value.mv_size != sizeof(Place)) environment.damaged();
  std::memcpy(place, value.mv_data, sizeof(Place));
  return true;
}

using Cursor = std::unique_ptr<MDB_cursor, decltype(&mdb_cursor_close)>;

// The functions below return codes of liblmdb, of which MDB_MAP_FULL makes the transaction start over.

int open_segments(const RecordEnvironment& environment, MDB_txn* transaction, Cursor* cursor) {
  MDB_cursor* opened = nullptr;
  const int code = mdb_cursor_open(transaction, environment.segments, &opened);
  if (code == MDB_SUCCESS) cursor->reset(opened);
  return code;
}

int next_number(const RecordEnvironment& environment, MDB_txn* transaction, uint64_t* number) {
  Cursor cursor(nullptr, mdb_cursor_close);
  if (const int code = open_segments(environment, transaction, &cursor)) return code;
  MDB_val last, value;
  const int code = mdb_cursor_get(cursor.get(), &last, &value, MDB_LAST);
  *number = code == MDB_SUCCESS ? NumberKey::read(last) + 1 : 0;
  return code == MDB_NOTFOUND ? MDB_SUCCESS : code;
}

int put_segment(const RecordEnvironment& environment, MDB_txn* transaction,
                const std::vector<const RecordStore::Record*>& records, uint64_t number) {
  const auto count = static_cast<uint32_t>(records.size());
  std::string bytes(reinterpret_cast<const char*>(&count), kCountBytes);
  for (const auto* record : records) bytes += record->first;
  for (const auto* record : records) {
    Place place{number, static_cast<uint32_t>(bytes.size()), static_cast<uint32_t>(record->second.size())};
    MDB_val key = lmdb_value(record->first), value{sizeof place, &place};
    // The same key twice in a call: the first stays, and the second one's bytes are lost with their segment.
    const int code = mdb_put(transaction, environment.places, &key, &value, MDB_NOOVERWRITE);
    if (code != MDB_SUCCESS && code != MDB_KEYEXIST) return code;
    bytes += record->second;
  }
  NumberKey key(number);
  MDB_val name = key.value(), value = lmdb_value(bytes);
  return mdb_put(transaction, environment.segments, &name, &value, MDB_APPEND);
}

int pages_in_use(MDB_txn* transaction, MDB_dbi table, uint64_t* pages) {
  MDB_stat status;
  const int code = mdb_stat(transaction, table, &status);
  *pages += status.ms_branch_pages + status.ms_leaf_pages + status.ms_overflow_pages;
  return code;
}

// Removes the oldest segment with its places.
int drop_oldest(const RecordEnvironment& environment, MDB_txn* transaction, MDB_cursor* cursor) {
  MDB_val name, value;
  if (const int code = mdb_cursor_get(cursor, &name, &value, MDB_FIRST)) return code;
  const uint64_t number = NumberKey::read(name);
  uint32_t count = 0;
  if (value.mv_size < kCountBytes) environment.damaged();
  std::memcpy(&count, value.mv_data, kCountBytes);
  if (count > (value.mv_size - kCountBytes) / RecordStore::kKeyBytes) environment.damaged();
  // A copy, because a change may move what lies in the map.
  const std::string keys(static_cast<const char*>(value.mv_data) + kCountBytes, count * RecordStore::kKeyBytes);
  if (const int code = mdb_cursor_del(cursor, 0)) return code;
  for (size_t at = 0; at < keys.size(); at += RecordStore::kKeyBytes) {
    const std::string key = keys.substr(at, RecordStore::kKeyBytes);
    Place place;
    if (!find(environment, transaction, key, &place) || place.segment != number) continue;
    MDB_val gone = lmdb_value(key);
    if (const int code = mdb_del(transaction, environment.places, &gone, nullptr)) return code;
  }
  return MDB_SUCCESS;
}

int keep_within(const RecordEnvironment& environment, MDB_txn* transaction, uint64_t limit) {
  Cursor cursor(nullptr, mdb_cursor_close);
  if (const int code = open_segments(environment, transaction, &cursor)) return code;
  for (;;) {
    uint64_t pages = 0;
    if (const int code = pages_in_use(transaction, environment.segments, &pages)) return code;
    if (const int code = pages_in_use(transaction, environment.places, &pages)) return code;
    if (pages * environment.page_size <= limit) return MDB_SUCCESS;
    MDB_stat status;
    if (const int code = mdb_stat(transaction, environment.segments, &status)) return code;
    if (status.ms_entries <= 1) return MDB_SUCCESS;
    if (const int code = drop_oldest(environment, transaction, cursor.get())) return code;
  }
}

int put_all(const RecordEnvironment& environment, MDB_txn* transaction, const std::vector<RecordStore::Record>& records,
            uint64_t limit) {
  uint64_t number = 0;
  if (const int code = next_number(environment, transaction, &number)) return code;
  const size_t most = kSegmentPages * environment.page_size - kPageHeader;
  std::vector<const RecordStore::Record*> segment;
  size_t bytes = kCountBytes;
  const auto end_segment = [&] {
    if (segment.empty()) return MDB_SUCCESS;
    const int code = put_segment(environment, transaction, segment, number++);
    segment.clear();
    bytes = kCountBytes;
    return code ? code : keep_within(environment, transaction, limit);
  };
  for (const auto& record : records) {
    Place place;
    if (find(environment, transaction, record.first, &place)) continue;
    const size_t size = RecordStore::kKeyBytes + record.second.size();
    if (bytes + size > most)
      if (const int code = end_segment()) return code;
    segment.push_back(&record);
    bytes += size;
  }
  return end_segment();
}

}  // namespace

RecordStore::RecordStore(const std::string& path) : environment_(RecordEnvironment::acquire(path)) {}

RecordStore::~RecordStore() { RecordEnvironment::release(environment_); }

size_t RecordStore::count() const {
  return environment_->read([&](MDB_txn* transaction) {
    MDB_stat status;
    environment_->expect(mdb_stat(transaction, environment_->places, &status), "read");
    return static_cast<size_t>(status.ms_entries);
  });
}

bool RecordStore::has(const std::string& key) const {
  return environment_->read([&](MDB_txn* transaction) {
    Place place;
    return find(*environment_, transaction, key, &place);
  });
}

std::optional<std::string> RecordStore::get(const std::string& key) const {
  return environment_->read([&](MDB_txn* transaction) -> std::optional<std::string> {
    Place place;
    if (!find(*environment_, transaction, key, &place)) return std::nullopt;
    NumberKey number(place.segment);
    MDB_val name = number.value(), value;
    const int code = mdb_get(transaction, environment_->segments, &name, &value);
    if (code == MDB_NOTFOUND || (code == MDB_SUCCESS && value.mv_size < size_t{place.offset} + place.size))
      environment_->damaged();
    environment_->expect(code, "read");
    return std::string(static_cast<const char*>(value.mv_data) + place.offset, place.size);
  });
}

void RecordStore::add(const std::vector<Record>& records, uint64_t limit) {
  for (const auto& record : records)
    if (record.second.size() > kLargest)
      fail(ErrorCode::Argument, "a record of %zu bytes was given, expected at most %zu", record.second.size(), kLargest);
  environment_->write([&](MDB_txn* transaction) { return put_all(*environment_, transaction, records, limit); });
}

}  // namespace star
