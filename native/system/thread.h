// Threads and processors of the operating system.
#pragma once

#include <atomic>
#include <chrono>
#include <memory>

namespace star {

int processor_count();                             // processors this process may run on, at least 1
std::chrono::nanoseconds thread_processor_time();  // that the calling thread has had, from any beginning
void name_thread(const char* name);                // the calling one, for debuggers and top: at most 15 characters

// Sleeps as long as `value` is `old`, and may return earlier. std::atomic's own wait may yield before it sleeps, which on a busy
// machine hands over the rest of the time slice: on Linux this sleeps at once.
void sleep_while(std::atomic<int>& value, int old);
// Wakes up to `count` of those who sleep, after the value was changed.
void wake_sleepers(std::atomic<int>& value, int count);

// While it lives the calling thread takes no signals, and neither do the threads that it starts.
class SignalsBlocked {
 public:
  SignalsBlocked();
  ~SignalsBlocked();
  SignalsBlocked(const SignalsBlocked&) = delete;
  SignalsBlocked& operator=(const SignalsBlocked&) = delete;

 private:
  struct Before;
  const std::unique_ptr<Before> before_;
};

}  // namespace star
