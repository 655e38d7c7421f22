// Shape of a dense row-major tensor: up to eight dimensions, no allocation.
#pragma once

#include <array>
#include <cstdint>
#include <initializer_list>
#include <string>

namespace star {

class Shape {
 public:
  static constexpr int kMaxRank = 8;
  // More than any memory, and little enough that products of a few sizes with it do not overflow.
  static constexpr int64_t kMostElements = int64_t{1} << 46;
  Shape() = default;
  Shape(std::initializer_list<int64_t> dims) {
    for (int64_t d : dims) push_back(d);
  }

  // Throws ERR_SHAPE when negative, past kMaxRank, or when the dimensions other than 0 make more than kMostElements.
  void push_back(int64_t dim);
  int rank() const { return rank_; }
  int64_t operator[](int i) const { return dims_[i < 0 ? i + rank_ : i]; }  // negative counts from the end
  int64_t count() const;                                                    // product of all dimensions, 1 for a scalar
  int64_t count(int begin, int end) const;                                  // product of dimensions [begin, end)
  std::string str() const;                                                  // "(2, 3, 4)"
  bool operator==(const Shape& other) const;

 private:
  std::array<int64_t, kMaxRank> dims_{};
  int rank_ = 0;
};

}  // namespace star
