#include "binding/call.h"
#include "binding/families.h"

namespace star {

void define_attention(Napi::Object) {}

}  // namespace star
