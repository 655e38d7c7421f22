#include "binding/call.h"
#include "binding/families.h"

namespace star {

void define_matmul(Napi::Object) {}

}  // namespace star
