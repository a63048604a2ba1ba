#pragma once
// Throwing errors with formatted messages; the classes are in coregrad/error.h.

#include "coregrad/error.h"

#include <fmt/format.h>

#include <string_view>
#include <utility>

namespace coregrad {

/// Throws `E` with a formatted message: `raise<ShapeError>("matmul: inner sizes differ: {}", ...)`.
template <class E, class... Args>
[[noreturn]] void raise(fmt::format_string<Args...> format, Args&&... args) {
  throw E(fmt::format(format, std::forward<Args>(args)...));
}

[[noreturn]] void internal_failure(const char* file, int line, std::string_view what);

}  // namespace coregrad

/// A condition that only our own mistake can break; checked in every build.
#define COREGRAD_CHECK(condition)                                   \
  do {                                                              \
    if (!(condition)) [[unlikely]]                                  \
      ::coregrad::internal_failure(__FILE__, __LINE__, #condition); \
  } while (0)

/// A place that control flow never reaches.
#define COREGRAD_UNREACHABLE(what) ::coregrad::internal_failure(__FILE__, __LINE__, what)
