// What GCC's C++ library asks of a glibc newer than 2.28, for the addon of the published packages, which is to load with 2.28
// (Debian 10, RHEL 8) and all later ones. scripts/check-release finds out when something is missing here.
#include <dlfcn.h>
#include <pthread.h>
#include <time.h>

// Since 2.32: whether atomic operations may be left out, because the process never had a second thread.
extern "C" char __libc_single_threaded;
char __libc_single_threaded = 0;

// Since 2.30: waits until a time of the monotonic clock. Where the system has none, the time is converted to that of the wall
// clock, as C++ libraries did before; callers look at the clock themselves when it returns.
extern "C" int pthread_cond_clockwait(pthread_cond_t* condition, pthread_mutex_t* mutex, clockid_t clock, const timespec* until) {
  using Wait = int(pthread_cond_t*, pthread_mutex_t*, clockid_t, const timespec*);
  static auto* const wait = reinterpret_cast<Wait*>(dlsym(RTLD_DEFAULT, "pthread_cond_clockwait"));
  if (wait) return wait(condition, mutex, clock, until);
  constexpr long kSecond = 1'000'000'000;
  timespec now, wall;
  clock_gettime(clock, &now);
  clock_gettime(CLOCK_REALTIME, &wall);
  timespec end{wall.tv_sec + until->tv_sec - now.tv_sec, wall.tv_nsec + until->tv_nsec - now.tv_nsec};
  if (end.tv_nsec < 0) --end.tv_sec, end.tv_nsec += kSecond;
  if (end.tv_nsec >= kSecond) ++end.tv_sec, end.tv_nsec -= kSecond;
  return pthread_cond_timedwait(condition, mutex, &end);
}
