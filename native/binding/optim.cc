#include "binding/call.h"
#include "binding/families.h"

namespace star {

void define_optim(Napi::Object) {}

}  // namespace star
