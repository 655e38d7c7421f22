#include "system/thread.h"

#include <algorithm>
#include <bit>
#include <thread>

#include "system/windows/windows.h"

namespace star {

int processor_count() {
  DWORD_PTR process = 0, machine = 0;
  if (GetProcessAffinityMask(GetCurrentProcess(), &process, &machine) && process)
    return std::popcount(static_cast<unsigned long long>(process));
  return std::max(1, static_cast<int>(std::thread::hardware_concurrency()));
}

// The system counts it in ticks of 15.6 ms, in which nothing can be seen of the gaps between two ops: every moment counts as had.
std::chrono::nanoseconds thread_processor_time() { return std::chrono::steady_clock::now().time_since_epoch(); }

void name_thread(const char* name) { SetThreadDescription(GetCurrentThread(), wide(name).c_str()); }

void sleep_while(std::atomic<int>& value, int old) { WaitOnAddress(&value, &old, sizeof old, INFINITE); }

void wake_sleepers(std::atomic<int>& value, int count) {
  if (count == 1)
    WakeByAddressSingle(&value);
  else
    WakeByAddressAll(&value);
}

struct SignalsBlocked::Before {};  // signals interrupt no threads here
SignalsBlocked::SignalsBlocked() = default;
SignalsBlocked::~SignalsBlocked() = default;

}  // namespace star
