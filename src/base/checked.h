#pragma once
// Size arithmetic that refuses to overflow: every extent, stride, offset and byte count goes
// through it.

#include "base/error.h"

#include <cstdint>
#include <string_view>

namespace coregrad {

inline int64_t checked_mul(int64_t a, int64_t b, std::string_view what) {
  int64_t result;
  if (__builtin_mul_overflow(a, b, &result)) [[unlikely]]
    raise<ShapeError>("{}: {} * {} overflows a 64-bit size", what, a, b);
  return result;
}

inline int64_t checked_add(int64_t a, int64_t b, std::string_view what) {
  int64_t result;
  if (__builtin_add_overflow(a, b, &result)) [[unlikely]]
    raise<ShapeError>("{}: {} + {} overflows a 64-bit size", what, a, b);
  return result;
}

inline int64_t checked_sub(int64_t a, int64_t b, std::string_view what) {
  int64_t result;
  if (__builtin_sub_overflow(a, b, &result)) [[unlikely]]
    raise<ShapeError>("{}: {} - {} overflows a 64-bit size", what, a, b);
  return result;
}

constexpr int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }
constexpr int64_t round_up(int64_t a, int64_t b) { return ceil_div(a, b) * b; }

/// Quotient rounded towards minus infinity; b > 0.
constexpr int64_t floor_div(int64_t a, int64_t b) { return a / b - ((a % b) < 0 ? 1 : 0); }
/// Remainder in [0, b); b > 0.
constexpr int64_t floor_mod(int64_t a, int64_t b) { return a - floor_div(a, b) * b; }

}  // namespace coregrad
