// Times the ops of the CUDA backend at the shapes of the published models, each against its floor: what the card could do at
// best, by the copy bandwidth and the rates of large matrix products that were measured on it a moment before.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "core/tensor.h"
#include "cuda/cuda_backend.h"

namespace star::bench {

// Shapes of one model in one use: `samples` images with their captions.
struct Model {
  std::string name;
  int64_t depth, samples, text;  // depth is the number of heads too; text: tokens of a caption
  std::vector<int32_t> sides;    // of the scales
  int64_t vocab, latent;         // codebook rows and their width
  int64_t channels, image;       // the tokenizer's channels at full resolution, pixels a side

  int64_t width() const { return 64 * depth; }
  int64_t tokens() const;               // of all scales
  int64_t last() const;                 // of the last scale
  std::vector<int32_t> limits() const;  // for each token the end of its scale: the keys it may see
};

// Name and value pairs of a case, as JSON: what a counterpart needs to build the same.
class Fields {
 public:
  Fields& add(const char* name, double value);
  Fields& add(const char* name, const std::vector<int32_t>& values);
  std::string json() const { return "{" + text_ + "}"; }

 private:
  void key(const char* name);
  std::string text_;
};

// Makes a case's tensors and holds them until it is over.
class Arena {
 public:
  explicit Arena(CudaBackend& backend) : backend(backend) {}
  Ref empty(int64_t count, DType dtype = DType::F32);
  Ref values(int64_t count, DType dtype = DType::F32, float low = -1, float high = 1);  // uniform in [low, high)
  Ref indices(int64_t count, int64_t below);                                            // i32 in [0, below)
  Ref upload(const std::vector<int32_t>& values);

  CudaBackend& backend;

 private:
  std::vector<Tensor> tensors_;
  uint64_t seed_ = 1;
};

struct Case {
  std::string name;  // "attention d16-256"
  std::string op;    // what a counterpart is known by
  DType dtype;       // of the tensors, and of the rate that `operations` are held against
  Fields fields;
  double bytes;       // that must be read and written at least
  double operations;  // multiplications and additions of matrix products; 0 where there are none worth counting
  std::function<std::function<void()>(Arena&)> prepare;  // makes the tensors, gives what is timed
};
using Cases = std::vector<Case>;

// One family a file.
void add_attention(Cases& cases, const Model& model);
void add_norms(Cases& cases, const Model& model);
void add_tokens(Cases& cases, const Model& model);
void add_images(Cases& cases, const Model& model);
void add_dense(Cases& cases, const Model& model);
void add_elementwise(Cases& cases, const Model& model);
void add_optimizer(Cases& cases, const Model& model);

// Times by events of the backend's stream.
class Timer {
 public:
  Timer(CudaBackend& backend, bool smoke);
  ~Timer();
  Timer(const Timer&) = delete;
  Timer& operator=(const Timer&) = delete;

  // Milliseconds of `work`, the median of its repeats, each with nothing of its data in the L2 cache.
  double milliseconds(const std::function<void()>& work);

 private:
  CudaBackend& backend_;
  const bool smoke_;
  Tensor flush_;
  cudaEvent_t begin_ = nullptr, end_ = nullptr;
};

// What the card reaches.
struct Rates {
  double bytes_per_ms, bf16_operations_per_ms, f32_operations_per_ms;
};
Rates measure_rates(CudaBackend& backend, Timer& timer, bool smoke);

inline double size_of(DType dtype) { return static_cast<double>(dtype_size(dtype)); }

}  // namespace star::bench
