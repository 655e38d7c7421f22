#include "binding/call.h"
#include "binding/families.h"

namespace star {

void define_sampling(Napi::Object) {}

}  // namespace star
