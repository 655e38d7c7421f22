// A disk and a clock that can be disturbed while a process runs: preloaded, it looks before every write into one folder at a page of
// memory that its owner shares through a file (STAR_DISTURB), and fails, waits, or shifts the wall clock as that page says.
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

struct Page {
  int32_t error;       // errno of every write and of every file opened for writing; 0: none
  int32_t delay;       // microseconds before every write
  int64_t clock_shift; // seconds
};

static volatile struct Page* page;
static const char* folder;

__attribute__((constructor)) static void prepare(void) {
  const char* file = getenv("STAR_DISTURB");
  folder = getenv("STAR_DISTURB_FOLDER");
  if (!file || !folder) return;
  int fd = open(file, O_RDONLY | O_CLOEXEC);
  if (fd < 0) return;
  void* map = mmap(NULL, sizeof(struct Page), PROT_READ, MAP_SHARED, fd, 0);
  if (map != MAP_FAILED) page = map;
  close(fd);
}

static int below(const char* path) { return strncmp(path, folder, strlen(folder)) == 0; }

// Whether the call may continue; errno says why not.
static int disturbed(const char* path) {
  if (!page || !below(path)) return 0;
  if (page->delay) usleep(page->delay);
  errno = page->error;
  return page->error != 0;
}

static int disturbed_file(int fd) {
  if (!page || !(page->error || page->delay)) return 0;
  char link[64], path[PATH_MAX];
  snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
  ssize_t length = readlink(link, path, sizeof path - 1);
  if (length < 0) return 0;
  path[length] = 0;
  return disturbed(path);
}

#define REAL(name) static __typeof__(name)* real; if (!real) real = (__typeof__(name)*)dlsym(RTLD_NEXT, #name)

ssize_t write(int fd, const void* data, size_t size) {
  REAL(write);
  return disturbed_file(fd) ? -1 : real(fd, data, size);
}
ssize_t writev(int fd, const struct iovec* parts, int count) {
  REAL(writev);
  return disturbed_file(fd) ? -1 : real(fd, parts, count);
}
ssize_t pwrite(int fd, const void* data, size_t size, off_t at) {
  REAL(pwrite);
  return disturbed_file(fd) ? -1 : real(fd, data, size, at);
}
ssize_t pwrite64(int fd, const void* data, size_t size, off64_t at) {
  REAL(pwrite64);
  return disturbed_file(fd) ? -1 : real(fd, data, size, at);
}
ssize_t pwritev(int fd, const struct iovec* parts, int count, off_t at) {
  REAL(pwritev);
  return disturbed_file(fd) ? -1 : real(fd, parts, count, at);
}
ssize_t pwritev64(int fd, const struct iovec* parts, int count, off64_t at) {
  REAL(pwritev64);
  return disturbed_file(fd) ? -1 : real(fd, parts, count, at);
}
int fsync(int fd) {
  REAL(fsync);
  return disturbed_file(fd) ? -1 : real(fd);
}

#define OPEN(name)                                                                                       \
  int name(const char* path, int flags, ...) {                                                           \
    static int (*real)(const char*, int, ...);                                                           \
    if (!real) real = (int (*)(const char*, int, ...))dlsym(RTLD_NEXT, #name);                           \
    va_list rest;                                                                                        \
    va_start(rest, flags);                                                                               \
    int mode = flags & (O_CREAT | O_TMPFILE) ? va_arg(rest, int) : 0;                                    \
    va_end(rest);                                                                                        \
    return (flags & O_ACCMODE) != O_RDONLY && disturbed(path) ? -1 : real(path, flags, mode);            \
  }
OPEN(open)
OPEN(open64)

int clock_gettime(clockid_t clock, struct timespec* time) {
  REAL(clock_gettime);
  int result = real(clock, time);
  if (result == 0 && page && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE)) time->tv_sec += page->clock_shift;
  return result;
}
int gettimeofday(struct timeval* restrict time, void* restrict zone) {
  REAL(gettimeofday);
  int result = real(time, zone);
  if (result == 0 && page) time->tv_sec += page->clock_shift;
  return result;
}
time_t time(time_t* out) {
  struct timespec now;
  clock_gettime(CLOCK_REALTIME, &now);
  if (out) *out = now.tv_sec;
  return now.tv_sec;
}
