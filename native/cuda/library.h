// NVIDIA's libraries, found and opened when the first call needs them: nothing of them is linked, so the plugin loads on every
// machine and can say what is missing. The libraries that one of them opens for itself are taken from where it was found.
#pragma once

#include <string>
#include <vector>

namespace star {

class Library {
 public:
  static Library& cublaslt();  // libcublasLt.so.13
  static Library& cudnn();     // libcudnn.so.9
  static Library& nccl();      // libnccl.so.2: several processes alone need it

  Library(std::string title, std::string file, std::string wheel, std::vector<std::string> companions = {});

  // Opens the libraries where that has not been tried. False where one cannot be opened, with all that are missing, where they
  // were looked for and the remedy.
  static bool available(const std::vector<Library*>& wanted, std::string* reason);

  // The address of an exported function. Throws ERR_DEVICE if the library is not available or has no such function.
  void* symbol(const char* name);

  // The same with its type: Library::cudnn().function<decltype(cudnnCreate)>("cudnnCreate")(&handle).
  template <class Function>
  Function* function(const char* name) {
    return reinterpret_cast<Function*>(symbol(name));
  }

 private:
  void open();

  std::string title_, file_, wheel_;
  std::vector<std::string> companions_;  // that it opens by their names
  bool tried_ = false;
  void* handle_ = nullptr;
  std::string broken_;  // the linker's words about files that are there and do not load
};

}  // namespace star
