#include "base/error.h"

namespace coregrad {

void internal_failure(const char* file, int line, std::string_view what) {
  raise<InternalError>("internal error at {}:{}: {} (this is a bug in CoreGrad; please report it)",
                       file, line, what);
}

}  // namespace coregrad
