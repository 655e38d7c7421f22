// NVIDIA's libraries, found and opened when the first call needs them: nothing of them is linked, so the plugin loads on every
// machine and can say what is missing.
#pragma once

#include <string>
#include <vector>

namespace star {

class Library {
 public:
  static Library& cublaslt();  // libcublasLt.so.13
  static Library& cudnn();     // libcudnn.so.9

  Library(std::string title, std::string file, std::string wheel);

  // Opens the library if that has not been tried; false with where it was looked for and the remedy.
  bool available(std::string* reason);

  // The address of an exported function. Throws ERR_DEVICE if the library is not available or has no such function.
  void* symbol(const char* name);

  // The same with its type: Library::cudnn().function<decltype(cudnnCreate)>("cudnnCreate")(&handle).
  template <class Function>
  Function* function(const char* name) {
    return reinterpret_cast<Function*>(symbol(name));
  }

 private:
  bool open();

  std::string title_, file_, wheel_;
  void* handle_ = nullptr;
  std::string reason_;  // why it could not be opened; empty before the first try
};

}  // namespace star
