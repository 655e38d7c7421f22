// One function a family of ops: it adds the family's functions to the addon's exports.
#pragma once

#include <napi.h>

namespace star {

void define_matmul(Napi::Object exports);
void define_int8(Napi::Object exports);
void define_conv(Napi::Object exports);
void define_resample(Napi::Object exports);
void define_elementwise(Napi::Object exports);
void define_reduce(Napi::Object exports);
void define_layout(Napi::Object exports);
void define_random(Napi::Object exports);
void define_norm(Napi::Object exports);
void define_attention(Napi::Object exports);
void define_quantize(Napi::Object exports);
void define_rows(Napi::Object exports);
void define_sampling(Napi::Object exports);
void define_loss(Napi::Object exports);
void define_optim(Napi::Object exports);
void define_io(Napi::Object exports);
void define_comm(Napi::Object exports);

}  // namespace star
