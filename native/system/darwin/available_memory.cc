#include "system/available_memory.h"

#include <mach/mach.h>

#include <limits>

#include "system/pages.h"

namespace star {

size_t available_memory() {
  vm_statistics64_data_t pages;
  mach_msg_type_number_t count = HOST_VM_INFO64_COUNT;
  const mach_port_t host = mach_host_self();
  const kern_return_t result = host_statistics64(host, HOST_VM_INFO64, reinterpret_cast<host_info64_t>(&pages), &count);
  mach_port_deallocate(mach_task_self(), host);
  if (result != KERN_SUCCESS) return std::numeric_limits<size_t>::max();
  // What is free, and what the system gives up first: pages of files, and what programs have offered back.
  return (static_cast<size_t>(pages.free_count) + pages.inactive_count + pages.purgeable_count) * page_size();
}

}  // namespace star
