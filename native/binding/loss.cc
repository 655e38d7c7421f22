#include "binding/call.h"
#include "binding/families.h"

namespace star {

void define_loss(Napi::Object) {}

}  // namespace star
