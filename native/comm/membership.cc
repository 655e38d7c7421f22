#include "comm/membership.h"

#include <algorithm>

#include "core/error.h"

namespace star {

namespace {

using std::chrono::milliseconds;

// A rank that was not heard of for so long is taken for lost when something has failed.
constexpr double kSilentSeconds = 4;
// How long after a failure its cause may take to show.
constexpr auto kCauseWait = milliseconds(1500);
// How long rank 0 keeps the store open for others after a failure.
constexpr auto kLinger = milliseconds(3000);
// How often who waits at the start looks whether somebody is lost.
constexpr auto kLook = milliseconds(300);
const char* const kFailureKey = "failure";
const char* const kEngineKey = "engine";

std::string seconds_of(milliseconds time) {
  char text[32];
  std::snprintf(text, sizeof text, "%g s", static_cast<double>(time.count()) / 1000);
  return text;
}

std::string place(size_t rank, const StoreMember& member) {
  return "rank " + std::to_string(rank) + " (process " + std::to_string(member.pid) + " on " + member.host + ")";
}

std::string list(const std::vector<size_t>& ranks) {
  std::string text = ranks.size() == 1 ? "rank " : "ranks ";
  for (size_t i = 0; i < ranks.size(); ++i) text += (i > 0 ? ", " : "") + std::to_string(ranks[i]);
  return text;
}

// Who has ended its part, or "".
std::string ended(const std::vector<StoreMember>& members) {
  for (size_t r = 0; r < members.size(); ++r)
    if (members[r].gone || members[r].left)
      return place(r, members[r]) + (members[r].left ? " has left the group" : " has ended") +
             " while others wait for it: look at its log, then start all processes again";
  return "";
}

}  // namespace

Membership::Membership(const GroupOptions& options)
    : rank_(options.rank), size_(options.size), timeout_(options.timeout), deadline_(Clock::now() + timeout_) {
  StoreAddress address = options.store;
  if (rank_ == 0) {
    server_ = std::make_unique<StoreServer>(address.port, address.ports, size_, address.job);
    address.port = server_->port();
    address.ports = 1;
  }
  store_ = std::make_unique<StoreClient>(address, deadline_);
  store_->join(rank_, size_);
  heartbeat_ = std::thread([this] { beat(); });
}

std::string Membership::await(const std::string& key) {
  for (;;) {
    const auto left = std::chrono::duration_cast<milliseconds>(deadline_ - Clock::now());
    if (const auto value = store_->get(key, std::clamp(left, milliseconds(0), kLook))) return *value;
    if (const auto cause = lost()) throw Error(ErrorCode::Comm, publish(*cause));
    if (left <= milliseconds(0)) throw Error(ErrorCode::Comm, explain_start("not all processes came"));
  }
}

void Membership::agree(const std::string& engine) {
  if (rank_ == 0) return store_->set(kEngineKey, engine);
  const std::string first = await(kEngineKey);
  if (first == engine) return;
  const std::string cause = "rank " + std::to_string(rank_) + " exchanges by " + engine + ", but rank 0 by " + first +
                            ": give all processes the same --device, and start them on machines that have it";
  throw Error(ErrorCode::Comm, publish(cause));
}

std::string Membership::publish(const std::string& cause) {
  failed_ = true;
  try {
    return store_->set_first(kFailureKey, cause);
  } catch (const Error&) {
    return cause;  // without the store everybody reports what it knows
  }
}

std::string Membership::explain_start(const std::string& what) {
  try {
    return publish(missing(what));
  } catch (const Error& error) {
    return error.what();
  }
}

// Who did not come.
std::string Membership::missing(const std::string& what) {
  std::vector<size_t> absent;
  const auto members = store_->members();
  for (size_t r = 0; r < members.size(); ++r)
    if (!members[r].here) absent.push_back(r);
  if (!absent.empty())
    return list(absent) + " of " + std::to_string(size_) + " did not come within " + seconds_of(timeout_) +
           ": look at its log, and whether as many processes were started";
  for (size_t r = 0; r < members.size(); ++r)
    if (members[r].gone || members[r].silent_seconds > kSilentSeconds)
      return place(r, members[r]) + " ended while the processes were connecting: look at its log";
  return "the processes did not connect to each other: " + what + "; check that no firewall is between them";
}

std::string Membership::explain(const std::string& what, bool late) { return publish(find_cause(what, late)); }

std::string Membership::find_cause(const std::string& what, bool late) {
  const auto until = Clock::now() + kCauseWait;
  try {
    for (;;) {
      const auto members = store_->members();
      if (const std::string gone = ended(members); !gone.empty()) return gone;
      for (size_t r = 0; r < members.size(); ++r)
        if (static_cast<int>(r) != rank_ && members[r].silent_seconds > kSilentSeconds)
          return place(r, members[r]) + " was not heard of for " + std::to_string(static_cast<int>(members[r].silent_seconds)) +
                 " s: it hangs, was stopped, or its network is cut; look at its machine, then start all processes again";
      if (const auto known = store_->get(kFailureKey, milliseconds(0))) return *known;
      if (late || Clock::now() >= until) return behind(members, what);
      std::this_thread::sleep_for(milliseconds(50));
    }
  } catch (const Error& error) {
    return error.what();
  }
}

// All live; somebody has not come to the collective that the others wait in.
std::string Membership::behind(const std::vector<StoreMember>& members, const std::string& what) const {
  int64_t most = entered_;
  for (const auto& m : members) most = std::max(most, m.entered);
  for (size_t r = 0; r < members.size(); ++r)
    if (static_cast<int>(r) != rank_ && members[r].entered < most)
      return place(r, members[r]) + " did not come to a collective within " + seconds_of(timeout_) +
             " although it lives: it does something else, or takes longer than the time-out (STAR_COMM_TIMEOUT, in seconds)";
  return "the connection between processes broke: " + what;
}

std::optional<std::string> Membership::lost() {
  if (auto known = store_->get(kFailureKey, milliseconds(0))) return known;
  std::string gone = ended(store_->members());
  if (gone.empty()) return std::nullopt;
  return gone;
}

void Membership::beat() {
  auto next = Clock::now();
  std::unique_lock<std::mutex> lock(heart_mutex_);
  while (!heart_stops_) {
    lock.unlock();
    try {
      store_->beat(entered_);
    } catch (const Error&) {
      return;  // the next collective fails too, and says why
    }
    lock.lock();
    next += std::chrono::seconds(1);
    heart_.wait_until(lock, next, [&] { return heart_stops_; });
  }
}

void Membership::linger() {
  const auto until = Clock::now() + kLinger;
  const auto others = [this] {
    const auto members = store_->members();
    for (size_t r = 0; r < members.size(); ++r)
      if (static_cast<int>(r) != rank_ && members[r].here && !members[r].gone && !members[r].left &&
          members[r].silent_seconds < kSilentSeconds)
        return true;
    return false;
  };
  while (others() && Clock::now() < until) std::this_thread::sleep_for(milliseconds(20));
}

void Membership::close() noexcept {
  if (closed_.exchange(true)) return;
  try {
    if (!failed_)
      store_->leave();
    else if (server_)
      linger();
  } catch (const Error&) {
    // Rank 0 has ended first; nobody is left to be told.
  }
  {
    const std::lock_guard<std::mutex> lock(heart_mutex_);
    heart_stops_ = true;
    heart_.notify_all();
  }
  heartbeat_.join();
  // The others may still need the store of this process: it answers until the process ends.
  server_.release();
}

}  // namespace star
