#include "system/thread.h"

#include <pthread.h>

#include <algorithm>
#include <thread>

namespace star {

int processor_count() { return std::max(1, static_cast<int>(std::thread::hardware_concurrency())); }

void name_thread(const char* name) { pthread_setname_np(name); }

void sleep_while(std::atomic<int>& value, int old) { value.wait(old); }

void wake_sleepers(std::atomic<int>& value, int count) {
  if (count == 1)
    value.notify_one();
  else
    value.notify_all();
}

}  // namespace star
