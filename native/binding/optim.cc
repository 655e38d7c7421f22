#include "binding/call.h"
#include "binding/families.h"

namespace star {

namespace {

// Fills an argument struct that has the lists `tensors` and `counts`, from the first argument; returns the backend.
template <class Args>
Backend& fill_list(const Call& call, Args& args) {
  const auto tensors = call.tensors(0, "tensors");
  if (tensors.empty()) fail(ErrorCode::Argument, "%s: the list of tensors is empty, expected at least one", call.op);
  for (const Tensor* t : tensors) {
    args.tensors.push_back(t->ref());
    args.counts.push_back(t->count());
  }
  return tensors[0]->backend();
}

Napi::Value global_norm(const Call& call) {  // (tensors[]) → norm (1)
  GlobalNormArgs args;
  Backend& backend = fill_list(call, args);
  const Tensor norm = Tensor::empty(backend, {1}, DType::F32);
  args.norm = norm.ref();
  backend.global_norm(args);
  return call.wrap(norm);
}

Napi::Value finite(const Call& call) {  // (tensors[]) → i32 (1): 1 or 0
  FiniteArgs args;
  Backend& backend = fill_list(call, args);
  const Tensor flag = Tensor::empty(backend, {1}, DType::I32);
  args.finite = flag.ref();
  backend.finite(args);
  return call.wrap(flag);
}

// Where a parameter's rounded values go: nowhere where the model computes with the parameter itself.
Ref rounded_of(const Call& call, size_t i, const Tensor& param, const Tensor& weight) {
  if (weight.dtype == DType::F32 && weight.ref().data == param.ref().data) return {};
  if (weight.dtype != DType::F16 && weight.dtype != DType::BF16)
    fail(ErrorCode::DType, "%s: weight %zu is %s, expected f16 or bf16, or the parameter itself", call.op, i,
         dtype_name(weight.dtype));
  return weight.ref();
}

// (params[], weights[], grads[], m[], v[], weightDecays Float32Array, norm?, maxNorm, gradScale, lr, beta1, beta2, eps, step): in
// place
Napi::Value adamw(const Call& call) {
  const auto params = call.tensors(0, "params"), weights = call.tensors(1, "weights"), grads = call.tensors(2, "grads"),
             m = call.tensors(3, "m"), v = call.tensors(4, "v");
  if (!call.info[5].IsTypedArray() || call.info[5].As<Napi::TypedArray>().TypedArrayType() != napi_float32_array)
    fail(ErrorCode::Argument, "adamw: weightDecays must be a Float32Array");
  const auto decays = call.info[5].As<Napi::Float32Array>();
  const Tensor* norm = call.optional_tensor(6, "norm");
  const size_t count = params.size();
  if (weights.size() != count || grads.size() != count || m.size() != count || v.size() != count ||
      decays.ElementLength() != count)
    fail(ErrorCode::Argument,
         "adamw: got %zu params, %zu weights, %zu grads, %zu m, %zu v and %zu weight decays, expected the same number of each",
         count, weights.size(), grads.size(), m.size(), v.size(), decays.ElementLength());
  const int64_t step = call.integer(13, "step");
  if (step < 1) fail(ErrorCode::Argument, "adamw: step is %lld, expected 1 or more", static_cast<long long>(step));
  if (norm) call.expect_shape(*norm, "norm", {1});
  AdamWArgs args{{},
                 ref_or_none(norm),
                 static_cast<float>(call.number(7, "maxNorm")),
                 static_cast<float>(call.number(8, "gradScale")),
                 static_cast<float>(call.number(9, "lr")),
                 static_cast<float>(call.number(10, "beta1")),
                 static_cast<float>(call.number(11, "beta2")),
                 static_cast<float>(call.number(12, "eps")),
                 step};
  for (size_t i = 0; i < count; ++i) {
    const int64_t n = params[i]->count();
    if (weights[i]->count() != n || grads[i]->count() != n || m[i]->count() != n || v[i]->count() != n)
      call.wrong_shape("tensor %zu: weight %s, grad %s, m %s and v %s must have as many elements as the parameter %s", i,
                       weights[i]->shape.str().c_str(), grads[i]->shape.str().c_str(), m[i]->shape.str().c_str(),
                       v[i]->shape.str().c_str(), params[i]->shape.str().c_str());
    args.tensors.push_back({params[i]->ref(), m[i]->ref(), v[i]->ref(), grads[i]->ref(), n, decays[i],
                            rounded_of(call, i, *params[i], *weights[i])});
  }
  if (count > 0) params[0]->backend().adamw(args);
  return call.info.Env().Undefined();
}

}  // namespace

void define_optim(Napi::Object exports) {
  define_op(exports, "globalNorm", global_norm);
  define_op(exports, "finite", finite);
  define_op(exports, "adamw", adamw);
}

}  // namespace star
