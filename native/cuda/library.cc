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

Place cuda_home() { return below("CUDA_HOME", {"lib64", "lib"}); }
Place python_environment(const char* variable) { return below(variable, {"lib/python3*/site-packages/nvidia/*/lib"}); }
Place system_toolkits() {
  Place place{"/usr/local/cuda*, /opt/cuda", {}};
  for (const char* pattern : {"/usr/local/cuda/lib64", "/usr/local/cuda-13*/lib64", "/opt/cuda/lib64"})
    for (std::string& path : expand(pattern)) place.folders.push_back(std::move(path));
  return place;
}

}  // namespace

Library::Library(std::string title, std::string file, std::string wheel, std::vector<std::string> companions)
    : title_(std::move(title)), file_(std::move(file)), wheel_(std::move(wheel)), companions_(std::move(companions)) {}

Library& Library::cublaslt() {
  static auto* library = new Library("cuBLAS 13", "libcublasLt.so.13", "nvidia-cublas");
  return *library;
}

Library& Library::cudnn() {
  // The parts that convolutions need, each after those it needs itself (cuDNN documentation, "Library layout").
  static auto* library = new Library(
      "cuDNN 9", "libcudnn.so.9", "nvidia-cudnn-cu13",
      {"libcublasLt.so.13", "libnvrtc.so.13", "libcudnn_graph.so.9", "libcudnn_engines_precompiled.so.9",
       "libcudnn_engines_runtime_compiled.so.9", "libcudnn_heuristic.so.9", "libcudnn_ops.so.9", "libcudnn_cnn.so.9"});
  return *library;
}

Library& Library::nccl() {
  static auto* library = new Library("NCCL 2", "libnccl.so.2", "nvidia-nccl-cu13");
  return *library;
}

namespace {

// Opens a library that another one asks for by its name alone, so that the linker finds it open and does not take one of another
// version from its own path. Where there is none in these folders the linker goes on as usual.
void open_beside(const std::string& file, const std::string& folder, const std::vector<std::string>& others) {
  std::vector<std::string> folders{folder};
  folders.insert(folders.end(), others.begin(), others.end());
  for (const std::string& candidate : folders) {
    const std::string path = candidate + "/" + file;
    struct stat status {};
    if (stat(path.c_str(), &status) == 0 && dlopen(path.c_str(), RTLD_LAZY | RTLD_LOCAL) != nullptr) return;
  }
}

}  // namespace

void Library::open() {
  tried_ = true;
  const auto try_folders = [&](const Place& place) {
    for (const std::string& folder : place.folders) {
      const std::string path = folder + "/" + file_;
      struct stat status {};
      if (stat(path.c_str(), &status) != 0) continue;
      for (const std::string& companion : companions_) open_beside(companion, folder, place.folders);
      handle_ = dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL);
      if (handle_ != nullptr) return true;
      broken_ += std::string("; ") + dlerror();
    }
    return false;
  };

  if (try_folders(cuda_home()) || try_folders(system_toolkits())) return;
  handle_ = dlopen(file_.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (handle_ != nullptr) return;
  const std::string unfound = dlerror();
  if (unfound.find("No such file") == std::string::npos) broken_ += "; " + unfound;
  if (!try_folders(python_environment("VIRTUAL_ENV"))) try_folders(python_environment("CONDA_PREFIX"));
}

bool Library::available(const std::vector<Library*>& wanted, std::string* reason) {
  const std::lock_guard<std::mutex> lock(mutex);
  std::string titles, files, broken, wheels;
  int missing = 0;
  for (Library* library : wanted) {
    if (!library->tried_) library->open();
    if (library->handle_ != nullptr) continue;
    const char* const joint = missing++ > 0 ? " and " : "";
    titles += joint + library->title_;
    files += joint + library->file_;
    broken += library->broken_;
    wheels += " " + library->wheel_;
  }
  if (missing == 0) return true;
  const bool one = missing == 1;
  const std::string fault =
      broken.empty() ? (one ? " was not found: " : " were not found: ") : (one ? " does not load: " : " do not load: ");
  if (reason != nullptr)
    *reason = titles + fault + files + (one ? " was" : " were") + " looked for in " + cuda_home().title + ", " +
              system_toolkits().title + ", the system's library path, " + python_environment("VIRTUAL_ENV").title + ", " +
              python_environment("CONDA_PREFIX").title + broken + ". Install " + (one ? "it" : "them") +
              " with the CUDA 13 toolkit and set CUDA_HOME, or activate a Python environment and run: pip install" + wheels;
  return false;
}

void* Library::symbol(const char* name) {
  std::string reason;
  if (!available({this}, &reason)) fail(ErrorCode::Device, "%s", reason.c_str());
  void* address = dlsym(handle_, name);
  if (address == nullptr)
    fail(ErrorCode::Device, "%s: %s has no function %s: install a newer version (pip install --upgrade %s)", title_.c_str(),
         file_.c_str(), name, wheel_.c_str());
  return address;
}

}  // namespace star
