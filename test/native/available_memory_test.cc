// The memory that a machine or a cgroup has left, read from folders that look like /proc and /sys of either kind.
#include "system/available_memory.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <limits>
#include <string>

namespace {

class Root {
 public:
  Root() {
    char name[] = "/tmp/star-memory-XXXXXX";
    path_ = ::mkdtemp(name);
  }
  ~Root() { std::filesystem::remove_all(path_); }
  void write(const std::string& name, const std::string& text) const {
    const std::filesystem::path file = path_ + name;
    std::filesystem::create_directories(file.parent_path());
    std::ofstream(file) << text;
  }
  size_t available() const { return star::available_memory(path_); }

 private:
  std::string path_;
};

TEST(AvailableMemory, OfTheMachine) {
  Root root;
  EXPECT_EQ(root.available(), std::numeric_limits<size_t>::max());
  root.write("/proc/meminfo", "MemTotal:  2000 kB\nMemFree: 10 kB\nMemAvailable:   1000 kB\n");
  EXPECT_EQ(root.available(), 1000u * 1024);
}

TEST(AvailableMemory, OfACgroupOfTheSecondVersion) {
  Root root;
  root.write("/proc/meminfo", "MemAvailable:   1000 kB\n");
  root.write("/proc/self/cgroup", "0::/jobs/one\n");
  root.write("/sys/fs/cgroup/jobs/one/memory.max", "max\n");
  root.write("/sys/fs/cgroup/jobs/one/memory.current", "5000\n");
  EXPECT_EQ(root.available(), 1000u * 1024);
  root.write("/sys/fs/cgroup/jobs/memory.max", "9000\n");
  root.write("/sys/fs/cgroup/jobs/memory.current", "8000\n");
  EXPECT_EQ(root.available(), 1000u);
  root.write("/sys/fs/cgroup/jobs/memory.stat", "anon 5000\ninactive_file 3000\n");
  EXPECT_EQ(root.available(), 4000u);
  root.write("/sys/fs/cgroup/jobs/one/memory.max", "100\n");
  EXPECT_EQ(root.available(), 0u);
}

TEST(AvailableMemory, OfACgroupOfTheFirstVersion) {
  Root root;
  root.write("/proc/self/cgroup", "5:cpu,cpuacct:/\n4:memory:/docker/abc\n");
  root.write("/sys/fs/cgroup/memory/memory.limit_in_bytes", "7000\n");  // as a container sees its own
  root.write("/sys/fs/cgroup/memory/memory.usage_in_bytes", "2000\n");
  EXPECT_EQ(root.available(), 5000u);
}

}  // namespace
