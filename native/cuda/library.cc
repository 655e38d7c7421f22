// Where NVIDIA's libraries are looked for: CUDA_HOME, the system's toolkits, the dynamic linker's own path, and the wheels of an
// active Python environment.
#include "cuda/library.h"

#include <dlfcn.h>
#include <glob.h>
#include <sys/stat.h>

#include <cstdlib>
#include <mutex>

#include "core/error.h"

namespace star {

namespace {

std::mutex mutex;  // guards the state of every Library

std::vector<std::string> expand(const std::string& pattern) {
  std::vector<std::string> paths;
  glob_t found{};
  if (glob(pattern.c_str(), 0, nullptr, &found) == 0) paths.assign(found.gl_pathv, found.gl_pathv + found.gl_pathc);
  globfree(&found);
  return paths;
}

struct Place {
  std::string title;                 // as the error names it
  std::vector<std::string> folders;  // empty: none, so nothing to look in
};

// The folders below an environment variable's value, or none where it is not set.
Place below(const char* variable, const std::vector<std::string>& folders) {
  const char* value = getenv(variable);
  if (value == nullptr || *value == '\0') return {std::string(variable) + " (not set)", {}};
  Place place{std::string(variable) + "=" + value, {}};
  for (const std::string& folder : folders)
    for (std::string& path : expand(std::string(value) + "/" + folder)) place.folders.push_back(std::move(path));
  return place;
}

Place system_toolkits() {
  Place place{"/usr/local/cuda*, /opt/cuda", {}};
  for (const char* pattern : {"/usr/local/cuda/lib64", "/usr/local/cuda-13*/lib64", "/opt/cuda/lib64"})
    for (std::string& path : expand(pattern)) place.folders.push_back(std::move(path));
  return place;
}

}  // namespace

Library::Library(std::string title, std::string file, std::string wheel)
    : title_(std::move(title)), file_(std::move(file)), wheel_(std::move(wheel)) {}

Library& Library::cublaslt() {
  static auto* library = new Library("cuBLAS 13", "libcublasLt.so.13", "nvidia-cublas");
  return *library;
}

Library& Library::cudnn() {
  static auto* library = new Library("cuDNN 9", "libcudnn.so.9", "nvidia-cudnn-cu13");
  return *library;
}

bool Library::open() {
  const std::vector<std::string> wheels = {"lib/python3*/site-packages/nvidia/*/lib"};
  std::string broken;  // files that are there and do not load
  const auto try_folders = [&](const Place& place) {
    for (const std::string& folder : place.folders) {
      const std::string path = folder + "/" + file_;
      struct stat status {};
      if (stat(path.c_str(), &status) != 0) continue;
      handle_ = dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL);
      if (handle_ != nullptr) return true;
      broken += std::string("; ") + dlerror();
    }
    return false;
  };

  const Place home = below("CUDA_HOME", {"lib64", "lib"}), toolkits = system_toolkits();
  if (try_folders(home) || try_folders(toolkits)) return true;
  handle_ = dlopen(file_.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (handle_ != nullptr) return true;
  const std::string unfound = dlerror();
  if (unfound.find("No such file") == std::string::npos) broken += "; " + unfound;
  const Place venv = below("VIRTUAL_ENV", wheels), conda = below("CONDA_PREFIX", wheels);
  if (try_folders(venv) || try_folders(conda)) return true;

  reason_ = title_ + (broken.empty() ? " was not found: " : " does not load: ") + file_ + " was looked for in " + home.title +
            ", " + toolkits.title + ", the system's library path, " + venv.title + ", " + conda.title + broken +
            ". Install it with the CUDA 13 toolkit and set CUDA_HOME, or activate a Python environment and run: pip install " +
            wheel_;
  return false;
}

bool Library::available(std::string* reason) {
  const std::lock_guard<std::mutex> lock(mutex);
  if (handle_ == nullptr && reason_.empty()) open();
  if (handle_ == nullptr && reason != nullptr) *reason = reason_;
  return handle_ != nullptr;
}

void* Library::symbol(const char* name) {
  std::string reason;
  if (!available(&reason)) fail(ErrorCode::Device, "%s", reason.c_str());
  void* address = dlsym(handle_, name);
  if (address == nullptr)
    fail(ErrorCode::Device, "%s: %s has no function %s: install a newer version (pip install --upgrade %s)", title_.c_str(),
         file_.c_str(), name, wheel_.c_str());
  return address;
}

}  // namespace star
