// Messages of the TCP store: a length of 4 bytes, then fields one after the other, numbers as 8 bytes, texts with their length.
#pragma once

#include <cstdint>
#include <cstring>
#include <string>

#include "core/error.h"

namespace star {

constexpr size_t kLongestMessage = size_t{16} << 20;

class MessageWriter {
 public:
  MessageWriter& number(int64_t value) {
    body_.append(reinterpret_cast<const char*>(&value), sizeof value);
    return *this;
  }
  MessageWriter& text(const std::string& value) {
    number(static_cast<int64_t>(value.size()));
    body_ += value;
    return *this;
  }
  std::string framed() const {
    const auto length = static_cast<uint32_t>(body_.size());
    return std::string(reinterpret_cast<const char*>(&length), sizeof length) + body_;
  }

 private:
  std::string body_;
};

class MessageReader {
 public:
  explicit MessageReader(std::string body) : body_(std::move(body)) {}
  bool ended() const { return place_ == body_.size(); }
  int64_t number() {
    int64_t value = 0;
    need(sizeof value);
    std::memcpy(&value, body_.data() + place_, sizeof value);
    place_ += sizeof value;
    return value;
  }
  std::string text() {
    const int64_t length = number();
    need(length < 0 ? SIZE_MAX : static_cast<size_t>(length));
    std::string value = body_.substr(place_, static_cast<size_t>(length));
    place_ += static_cast<size_t>(length);
    return value;
  }

 private:
  void need(size_t bytes) const {
    if (bytes > body_.size() - place_) fail(ErrorCode::Comm, "a message of the store is cut off or from another program");
  }
  std::string body_;
  size_t place_ = 0;
};

enum class StoreOp : int64_t { Hello = 1, Join, Set, SetFirst, Get, Add, Beat, Members, Leave };
enum class StoreStatus : int64_t { Good = 0, Refused, TimedOut };

// What strangers at the port do not say first.
inline const char* const kStoreMagic = "star-t2i store 1";

}  // namespace star
