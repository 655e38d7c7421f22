#include "binding/call.h"
#include "binding/families.h"

namespace star {

namespace {

// The part of a packed projection that arguments from `first` on describe: x (B, L, parts·H·D), heads, parts, part, l2Norm,
// logScale?, rope?.
struct Part {
  const Tensor& x;
  const Tensor* log_scale;
  const Tensor* rope;
  int64_t batch, length, heads, head_dim, parts, part;
  bool l2_norm;
};

Part read_part(const Call& call, size_t first) {
  const Tensor& x = call.tensor(first, "x");
  const int64_t heads = call.integer(first + 1, "heads"), parts = call.integer(first + 2, "parts"),
                part = call.integer(first + 3, "part");
  const bool l2_norm = call.boolean(first + 4, "l2Norm");
  const Tensor* log_scale = call.optional_tensor(first + 5, "logScale");
  const Tensor* rope = call.optional_tensor(first + 6, "rope");
  call.expect_rank(x, "x", 3);
  if (heads < 1 || parts < 1 || heads > x.shape[2] || parts > x.shape[2] / heads || x.shape[2] % (heads * parts) != 0)
    call.wrong_shape("x has shape %s, expected a last dimension that divides into %lld parts of %lld heads",
                     x.shape.str().c_str(), static_cast<long long>(parts), static_cast<long long>(heads));
  if (part < 0 || part >= parts)
    fail(ErrorCode::Argument, "%s: part is %lld, expected 0 to %lld", call.op, static_cast<long long>(part),
         static_cast<long long>(parts - 1));
  const int64_t head_dim = x.shape[2] / (heads * parts);
  if (log_scale && log_scale->count() != heads)
    call.wrong_shape("logScale has shape %s, expected one element a head, %lld", log_scale->shape.str().c_str(),
                     static_cast<long long>(heads));
  if (log_scale && !l2_norm)
    fail(ErrorCode::Argument, "%s: logScale was given without l2Norm; it scales normalised heads only", call.op);
  if (rope) {
    if (head_dim % 2 != 0)
      call.wrong_shape("x has shape %s: a head of %lld channels has no pairs to rotate", x.shape.str().c_str(),
                       static_cast<long long>(head_dim));
    call.expect_shape(*rope, "rope", {x.shape[1], head_dim / 2, 2});
  }
  return {x, log_scale, rope, x.shape[0], x.shape[1], heads, head_dim, parts, part, l2_norm};
}

void run_heads(const Part& p, const Tensor& out, int64_t capacity, int64_t position) {
  p.x.backend().heads({out.ref(), p.x.ref(), ref_or_none(p.log_scale), ref_or_none(p.rope), p.batch, p.length, p.parts, p.part,
                       p.heads, p.head_dim, capacity, position, p.l2_norm});
}

Napi::Value heads(const Call& call) {  // (x (B, L, parts·H·D), heads, parts, part, l2Norm, logScale?, rope?) → (B, L, H, D)
  const Part p = read_part(call, 0);
  Tensor out = Tensor::empty(p.x.backend(), {p.batch, p.length, p.heads, p.head_dim}, p.x.dtype);
  run_heads(p, out, p.length, 0);
  return call.wrap(out);
}

Napi::Value heads_into(
    const Call& call) {  // (cache (B, capacity, H, D), position, …as heads): writes tokens [position, position + L)
  const Tensor& cache = call.tensor(0, "cache");
  const int64_t position = call.integer(1, "position");
  const Part p = read_part(call, 2);
  call.expect_rank(cache, "cache", 4);
  const int64_t capacity = cache.shape[1];
  call.expect_shape(cache, "cache", {p.batch, capacity, p.heads, p.head_dim});
  call.expect_dtype(cache, "cache", p.x.dtype);
  if (position < 0 || position > capacity - p.length)
    fail(ErrorCode::Argument, "%s: tokens %lld to %lld do not fit a cache of %lld", call.op, static_cast<long long>(position),
         static_cast<long long>(position + p.length), static_cast<long long>(capacity));
  run_heads(p, cache, capacity, position);
  return call.info.Env().Undefined();
}

// (dx (B, L, parts·H·D), dout (B, L, H, D), needLogScale, …as heads) → dlogScale or null; writes the part's slice of dx
Napi::Value heads_backward(const Call& call) {
  const Tensor& dx = call.tensor(0, "dx");
  const Tensor& dout = call.tensor(1, "dout");
  const bool need_log_scale = call.boolean(2, "needLogScale");
  const Part p = read_part(call, 3);
  call.expect_shape(dx, "dx", p.x.shape);
  call.expect_shape(dout, "dout", {p.batch, p.length, p.heads, p.head_dim});
  Tensor dlog_scale;
  if (need_log_scale && p.log_scale) dlog_scale = Tensor::empty(dx.backend(), p.log_scale->shape, DType::F32);
  dx.backend().heads_backward({dx.ref(), dlog_scale.storage ? dlog_scale.ref() : Ref{}, dout.ref(), p.x.ref(),
                               ref_or_none(p.log_scale), ref_or_none(p.rope), p.batch, p.length, p.parts, p.part, p.heads,
                               p.head_dim, p.l2_norm});
  return dlog_scale.storage ? call.wrap(dlog_scale) : call.info.Env().Null();
}

struct Masks {
  const Tensor* key_mask;
  const Tensor* key_limit;
};

// q (B, Lq, H, D), k and v (B, capacity, H, D) and the masks at `first`, for `keys` tokens of k and v.
Masks check_attention(const Call& call, const Tensor& q, const Tensor& k, const Tensor& v, size_t first, int64_t keys) {
  call.expect_rank(q, "q", 4);
  call.expect_rank(k, "k", 4);
  call.expect_shape(k, "k", {q.shape[0], k.shape[1], q.shape[2], q.shape[3]});
  call.expect_shape(v, "v", k.shape);
  if (keys < 0 || keys > k.shape[1])
    fail(ErrorCode::Argument, "%s: keys is %lld, expected 0 to the %lld tokens that k holds", call.op,
         static_cast<long long>(keys), static_cast<long long>(k.shape[1]));
  const Masks masks{call.optional_tensor(first, "keyMask"), call.optional_tensor(first + 1, "keyLimit")};
  if (masks.key_mask) {
    call.expect_dtype(*masks.key_mask, "keyMask", DType::U8);
    call.expect_shape(*masks.key_mask, "keyMask", {q.shape[0], keys});
  }
  if (masks.key_limit) {
    call.expect_dtype(*masks.key_limit, "keyLimit", DType::I32);
    call.expect_shape(*masks.key_limit, "keyLimit", {q.shape[1]});
  }
  return masks;
}

// (q, k, v, keyMask?, keyLimit?, keys, scale, needLse) → [out (B, Lq, H, D), lse (B, H, Lq) or null]
Napi::Value attention(const Call& call) {
  const Tensor& q = call.tensor(0, "q");
  const Tensor& k = call.tensor(1, "k");
  const Tensor& v = call.tensor(2, "v");
  const int64_t keys = call.integer(5, "keys");
  const double scale = call.number(6, "scale");
  const Masks masks = check_attention(call, q, k, v, 3, keys);
  Tensor out = Tensor::empty(q.backend(), q.shape, q.dtype), lse;
  if (call.boolean(7, "needLse")) lse = Tensor::empty(q.backend(), {q.shape[0], q.shape[2], q.shape[1]}, DType::F32);
  q.backend().attention({out.ref(), lse.storage ? lse.ref() : Ref{}, q.ref(), k.ref(), v.ref(), ref_or_none(masks.key_mask),
                         ref_or_none(masks.key_limit), q.shape[0], q.shape[2], q.shape[3], q.shape[1], keys, k.shape[1],
                         static_cast<float>(scale)});
  return call.wrap({out, lse});
}

// (dout, out, lse, q, k, v, keyMask?, keyLimit?, scale) → [dq, dk, dv]
Napi::Value attention_backward(const Call& call) {
  const Tensor& dout = call.tensor(0, "dout");
  const Tensor& out = call.tensor(1, "out");
  const Tensor& lse = call.tensor(2, "lse");
  const Tensor& q = call.tensor(3, "q");
  const Tensor& k = call.tensor(4, "k");
  const Tensor& v = call.tensor(5, "v");
  const double scale = call.number(8, "scale");
  call.expect_rank(k, "k", 4);
  const Masks masks = check_attention(call, q, k, v, 6, k.shape[1]);
  call.expect_shape(dout, "dout", q.shape);
  call.expect_shape(out, "out", q.shape);
  call.expect_shape(lse, "lse", {q.shape[0], q.shape[2], q.shape[1]});
  Tensor dq = Tensor::empty(q.backend(), q.shape, q.dtype), dk = Tensor::empty(q.backend(), k.shape, k.dtype);
  Tensor dv = Tensor::empty(q.backend(), v.shape, v.dtype);
  q.backend().attention_backward({dq.ref(), dk.ref(), dv.ref(), dout.ref(), out.ref(), lse.ref(), q.ref(), k.ref(), v.ref(),
                                  ref_or_none(masks.key_mask), ref_or_none(masks.key_limit), q.shape[0], q.shape[2], q.shape[3],
                                  q.shape[1], k.shape[1], static_cast<float>(scale)});
  return call.wrap({dq, dk, dv});
}

}  // namespace

void define_attention(Napi::Object exports) {
  define_op(exports, "heads", heads);
  define_op(exports, "headsInto", heads_into);
  define_op(exports, "headsBackward", heads_backward);
  define_op(exports, "attention", attention);
  define_op(exports, "attentionBackward", attention_backward);
}

}  // namespace star
