#pragma once
// Element types as the runtime knows them, in the order of the IR's dtypes.

#include "base/error.h"
#include "runtime/plan.h"

#include <atomic>
#include <cstdint>
#include <type_traits>
#include <utility>

namespace coregrad {

enum class Element : uint8_t {
  Bool,
  Int32,
  Int64,
  Float16,
  BFloat16,
  Float32,
  Float64,
  Int8,
  UInt8,
  Int16,
  UInt16,
  UInt32
};

constexpr int64_t size_of(Element e) {
  switch (e) {
    case Element::Bool:
    case Element::Int8:
    case Element::UInt8:
      return 1;
    case Element::Float16:
    case Element::BFloat16:
    case Element::Int16:
    case Element::UInt16:
      return 2;
    case Element::Int32:
    case Element::UInt32:
    case Element::Float32:
      return 4;
    case Element::Int64:
    case Element::Float64:
      return 8;
  }
  return 0;
}

/// Moved at most; see ir/dtype.h.
constexpr bool is_only_stored(Element e) {
  return e == Element::Float16 || e == Element::BFloat16 || e > Element::Float64;
}

/// Calls `f(std::type_identity<T>())` with the C++ type of an element that is computed with.
template <class F>
decltype(auto) with_computed_type(Element e, F&& f) {
  switch (e) {
    case Element::Bool:
      return f(std::type_identity<bool>());
    case Element::Int32:
      return f(std::type_identity<int32_t>());
    case Element::Int64:
      return f(std::type_identity<int64_t>());
    case Element::Float32:
      return f(std::type_identity<float>());
    case Element::Float64:
      return f(std::type_identity<double>());
    default:
      COREGRAD_UNREACHABLE("element type");
  }
}

/// The same for all elements: those that are moved at most are their bits.
template <class F>
decltype(auto) with_element_type(Element e, F&& f) {
  if (!is_only_stored(e)) return with_computed_type(e, f);
  switch (size_of(e)) {
    case 1:
      return f(std::type_identity<uint8_t>());
    case 2:
      return f(std::type_identity<uint16_t>());
    default:
      return f(std::type_identity<uint32_t>());
  }
}

/// a + b as the primitives define it: or for bool, wrapping for integers.
template <class T>
constexpr T element_add(T a, T b) {
  if constexpr (std::is_same_v<T, bool>)
    return a || b;
  else if constexpr (std::is_integral_v<T>)
    return static_cast<T>(static_cast<std::make_unsigned_t<T>>(a) +
                          static_cast<std::make_unsigned_t<T>>(b));
  else
    return a + b;
}

/// a * b as the primitives define it: and for bool, wrapping for integers.
template <class T>
constexpr T element_mul(T a, T b) {
  if constexpr (std::is_same_v<T, bool>)
    return a && b;
  else if constexpr (std::is_integral_v<T>)
    return static_cast<T>(static_cast<std::make_unsigned_t<T>>(a) *
                          static_cast<std::make_unsigned_t<T>>(b));
  else
    return a * b;
}

/// The larger; NaN wins.
template <class T>
constexpr T element_max(T a, T b) {
  if constexpr (std::is_floating_point_v<T>)
    if (b != b) return b;
  return b > a ? b : a;
}

/// The smaller; NaN wins.
template <class T>
constexpr T element_min(T a, T b) {
  if constexpr (std::is_floating_point_v<T>)
    if (b != b) return b;
  return b < a ? b : a;
}

/// For step functions: notes an element index outside [0, extent). Several workers may.
/// `operation` is a literal.
inline void report_bad_index(RunStatus* status, const char* operation, int64_t index,
                             int64_t extent) {
  std::atomic_ref<const char*>(status->bad_operation).store(operation, std::memory_order_relaxed);
  std::atomic_ref<int64_t>(status->bad_index).store(index, std::memory_order_relaxed);
  std::atomic_ref<int64_t>(status->bad_extent).store(extent, std::memory_order_relaxed);
}

}  // namespace coregrad
