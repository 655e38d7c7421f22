// Where the store and the engines of groups do not exist: every attempt to join one is an error that says so.
#include "comm/device_group.h"
#include "comm/gloo_group.h"
#include "comm/store_client.h"
#include "core/error.h"

namespace star {

namespace {

[[noreturn]] void unavailable() {
  fail(ErrorCode::Comm,
       "groups of processes are for Linux: on this system a training is one process, start it without a launcher");
}

}  // namespace

std::shared_ptr<ProcessGroup> make_gloo_group(const GroupOptions&) { unavailable(); }
std::shared_ptr<ProcessGroup> make_device_group(Backend&, const GroupOptions&) { unavailable(); }

StoreClient::StoreClient(const StoreAddress& address, Clock::time_point) : address_(address), patience_(0) { unavailable(); }
StoreClient::~StoreClient() = default;
void StoreClient::set(const std::string&, const std::string&) { unavailable(); }
int64_t StoreClient::add(const std::string&, int64_t) { unavailable(); }
std::optional<std::string> StoreClient::get(const std::string&, std::chrono::milliseconds) { unavailable(); }

}  // namespace star
