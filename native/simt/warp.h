// Barriers and warp functions of device code (CUDA C++ Programming Guide, "Synchronization Functions", "Warp Vote Functions",
// "Warp Shuffle Functions"). The place of the call is part of its identity: threads that meet at different places are an error.
#pragma once

#include <bit>
#include <concepts>
#include <cstdint>
#include <cstring>

#include "simt/block.h"

inline void __syncthreads(star::simt::Site site = star::simt::Site::current()) { star::simt::Block::current().barrier(0, site); }
inline int __syncthreads_count(int predicate, star::simt::Site site = star::simt::Site::current()) {
  return star::simt::Block::current().barrier(predicate, site);
}
inline int __syncthreads_or(int predicate, star::simt::Site site = star::simt::Site::current()) {
  return star::simt::Block::current().barrier(predicate, site) > 0;
}
inline int __syncthreads_and(int predicate, star::simt::Site site = star::simt::Site::current()) {
  return star::simt::Block::current().barrier(predicate == 0, site) == 0;
}
inline void __syncwarp(unsigned mask = 0xffffffffu, star::simt::Site site = star::simt::Site::current()) {
  star::simt::Block::current().warp([](void* const*, uint32_t) {}, "__syncwarp", nullptr, mask, site);
}

namespace star::simt {

template <class Bits>
struct Shuffle {
  Bits value, result;
  unsigned source;
};

template <class Bits>
void shuffle_lanes(void* const* arguments, uint32_t mask) {
  for (unsigned l = 0; l < kLanes; ++l) {
    if (!(mask >> l & 1)) continue;
    auto* self = static_cast<Shuffle<Bits>*>(arguments[l]);
    if (!(mask >> self->source & 1)) Block::current().fail("a shuffle reads a lane that its mask does not name");
    self->result = static_cast<const Shuffle<Bits>*>(arguments[self->source])->value;
  }
}

template <class T>
T shuffle(const char* name, unsigned mask, T value, unsigned source, Site site) {
  static_assert(sizeof(T) == 2 || sizeof(T) == 4 || sizeof(T) == 8, "shuffles move values of 2, 4 or 8 bytes");
  using Bits = std::conditional_t<sizeof(T) == 8, uint64_t, std::conditional_t<sizeof(T) == 4, uint32_t, uint16_t>>;
  Shuffle<Bits> shuffle{};
  std::memcpy(&shuffle.value, &value, sizeof(T));
  shuffle.source = source;
  Block::current().warp(&shuffle_lanes<Bits>, name, &shuffle, mask, site);
  std::memcpy(&value, &shuffle.result, sizeof(T));
  return value;
}

// Votes and reductions: `combine` folds the values of all lanes, each of which receives the result.
template <class Combine>
unsigned vote(const char* name, unsigned mask, unsigned value, Site site) {
  Block::current().warp(
      [](void* const* arguments, uint32_t lanes) {
        unsigned result = Combine::start;
        for (unsigned l = 0; l < kLanes; ++l)
          if (lanes >> l & 1) result = Combine::apply(result, *static_cast<unsigned*>(arguments[l]), l);
        for (unsigned l = 0; l < kLanes; ++l)
          if (lanes >> l & 1) *static_cast<unsigned*>(arguments[l]) = result;
      },
      name, &value, mask, site);
  return value;
}

struct Ballot {
  static constexpr unsigned start = 0;
  static unsigned apply(unsigned all, unsigned value, unsigned lane) { return all | (value != 0 ? 1u << lane : 0); }
};
struct Any {
  static constexpr unsigned start = 0;
  static unsigned apply(unsigned all, unsigned value, unsigned) { return all | (value != 0); }
};
struct All {
  static constexpr unsigned start = 1;
  static unsigned apply(unsigned all, unsigned value, unsigned) { return all & (value != 0); }
};

}  // namespace star::simt

template <class T>
T __shfl_sync(unsigned mask, T value, int source, int width = 32, star::simt::Site site = star::simt::Site::current()) {
  const unsigned lane = star::simt::Block::current().lane(), w = static_cast<unsigned>(width);
  return star::simt::shuffle("__shfl_sync", mask, value, (lane & ~(w - 1)) | (static_cast<unsigned>(source) & (w - 1)), site);
}
template <class T>
T __shfl_up_sync(unsigned mask, T value, unsigned delta, int width = 32, star::simt::Site site = star::simt::Site::current()) {
  const unsigned lane = star::simt::Block::current().lane(), within = lane & (static_cast<unsigned>(width) - 1);
  return star::simt::shuffle("__shfl_up_sync", mask, value, within >= delta ? lane - delta : lane, site);
}
template <class T>
T __shfl_down_sync(unsigned mask, T value, unsigned delta, int width = 32, star::simt::Site site = star::simt::Site::current()) {
  const unsigned lane = star::simt::Block::current().lane(), within = lane & (static_cast<unsigned>(width) - 1);
  return star::simt::shuffle("__shfl_down_sync", mask, value, within + delta < static_cast<unsigned>(width) ? lane + delta : lane,
                             site);
}
template <class T>
T __shfl_xor_sync(unsigned mask, T value, int lane_mask, int width = 32, star::simt::Site site = star::simt::Site::current()) {
  const unsigned lane = star::simt::Block::current().lane(), source = lane ^ static_cast<unsigned>(lane_mask);
  // A lane of a later segment of `width` lanes is out of reach.
  const unsigned last = lane | (static_cast<unsigned>(width) - 1);
  return star::simt::shuffle("__shfl_xor_sync", mask, value, source <= last ? source : lane, site);
}

inline unsigned __ballot_sync(unsigned mask, int predicate, star::simt::Site site = star::simt::Site::current()) {
  return star::simt::vote<star::simt::Ballot>("__ballot_sync", mask, predicate != 0, site);
}
inline int __any_sync(unsigned mask, int predicate, star::simt::Site site = star::simt::Site::current()) {
  return static_cast<int>(star::simt::vote<star::simt::Any>("__any_sync", mask, predicate != 0, site));
}
inline int __all_sync(unsigned mask, int predicate, star::simt::Site site = star::simt::Site::current()) {
  return static_cast<int>(star::simt::vote<star::simt::All>("__all_sync", mask, predicate != 0, site));
}
