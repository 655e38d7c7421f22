// Files mapped into memory, as the operating system does it.
#pragma once

#include <cstddef>
#include <string>

namespace star {

// Maps all of a file: pages are read when they are first touched, and a write goes to a private copy of the page. Throws ERR_FILE
// where that cannot be done; `path` is in UTF-8.
void* map_whole_file(const std::string& path, size_t* size);
void unmap_file(void* data, size_t size);

enum class PageAdvice {
  Random,    // nothing is read ahead
  WillNeed,  // is read ahead
  DontNeed,  // memory is given back, and read again from the file when it is touched: what was written is lost
};

// Advice on pages of a mapped file that touch [data, data + bytes), or with DontNeed that lie wholly in it. Without it all works
// as well, if slower.
void advise_pages(const void* data, size_t bytes, PageAdvice advice);

}  // namespace star
