#include "binding/call.h"
#include "binding/families.h"

namespace star {

void define_io(Napi::Object) {}

}  // namespace star
