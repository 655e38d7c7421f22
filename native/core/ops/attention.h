#pragma once

#include "core/dtype.h"

namespace star {

// out = softmax(scale·q·kᵀ + mask)·v per sample and head, tile by tile with the online softmax: the (lq, lk) matrix never exists.
// Query i sees keys j < key_limit[i] (all lk where not given) whose key_mask[b, j] is not 0.
// k and v may be the first lk tokens of a cache with a capacity of kv_capacity tokens a sample.
// A query that sees no key gives zeros and lse = −inf.
struct AttentionArgs {
  Ref out;         // (batch, lq, heads, head_dim)
  Ref lse;         // optional (batch, heads, lq) f32: log Σ exp(scale·q·k), for the backward
  CRef q;          // (batch, lq, heads, head_dim)
  CRef k, v;       // (batch, kv_capacity, heads, head_dim)
  CRef key_mask;   // optional u8 (batch, lk)
  CRef key_limit;  // optional i32 (lq)
  int64_t batch, heads, head_dim, lq, lk, kv_capacity;
  float scale;
};
struct AttentionBackwardArgs {
  Ref dq, dk, dv;  // shapes of q, k, v (kv_capacity = lk here)
  CRef dout, out, lse, q, k, v, key_mask, key_limit;
  int64_t batch, heads, head_dim, lq, lk;
  float scale;
};

// One part of a packed projection made ready for attention: x (batch, length, parts, heads, head_dim)[:, :, part]
//   h = x / max(‖x‖₂, 1e-12) · exp(min(log_scale[head], ln 100))    when l2_norm (log_scale optional: factor 1)
//   out = rotate(h, rope)                                           when rope is given: pairs (2i, 2i+1) by (cos, sin)
// written to tokens [out_position, out_position + length) of out (batch, out_capacity, heads, head_dim).
struct HeadsArgs {
  Ref out;
  CRef x;
  CRef log_scale;  // optional (heads)
  CRef rope;       // optional (length, head_dim/2, 2): cos, sin
  int64_t batch, length, parts, part, heads, head_dim;
  int64_t out_capacity, out_position;
  bool l2_norm;
};
struct HeadsBackwardArgs {  // writes the part's slice of dx; dout is (batch, length, heads, head_dim)
  Ref dx, dlog_scale;       // dlog_scale optional (heads)
  CRef dout, x, log_scale, rope;
  int64_t batch, length, parts, part, heads, head_dim;
  bool l2_norm;
};

}  // namespace star
