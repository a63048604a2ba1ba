#pragma once
// Element types and the facts about them, one row each.

#include "ir/narrow_float.h"

#include <array>
#include <cstdint>
#include <string_view>

namespace coregrad {

enum class DType : uint8_t {
  Bool,
  Int32,
  Int64,
  Float16,
  BFloat16,
  Float32,
  Float64,
  // Small integers: of memory at a graph's border, never of a value that is computed with.
  Int8,
  UInt8,
  Int16,
};
inline constexpr int kNumDTypes = 7;         ///< without small integers
inline constexpr int kNumMemoryDTypes = 10;  ///< with them

struct DTypeInfo {
  std::string_view name;        ///< PyTorch's name
  std::string_view short_name;  ///< as in printed graphs: f32
  int size;                     ///< bytes
  bool is_float;
  bool is_integer;  ///< int32 and int64; bool and small integers are neither
};

inline constexpr std::array<DTypeInfo, kNumMemoryDTypes> kDTypeInfo = {{
    {"bool", "b8", 1, false, false},
    {"int32", "i32", 4, false, true},
    {"int64", "i64", 8, false, true},
    {"float16", "f16", 2, true, false},
    {"bfloat16", "bf16", 2, true, false},
    {"float32", "f32", 4, true, false},
    {"float64", "f64", 8, true, false},
    {"int8", "i8", 1, false, false},
    {"uint8", "u8", 1, false, false},
    {"int16", "i16", 2, false, false},
}};

constexpr const DTypeInfo& info(DType t) { return kDTypeInfo[static_cast<size_t>(t)]; }
constexpr int size_of(DType t) { return info(t).size; }
constexpr bool is_float(DType t) { return info(t).is_float; }
constexpr bool is_integer(DType t) { return info(t).is_integer; }
constexpr std::string_view name_of(DType t) { return info(t).name; }
/// Stored only: primitives that compute take float32 in their place (ops/primitives.h).
constexpr bool is_narrow(DType t) { return t == DType::Float16 || t == DType::BFloat16; }
/// Memory of inputs and outputs alone: an input is cast from it first, an output to it last.
constexpr bool is_small_integer(DType t) {
  return t == DType::Int8 || t == DType::UInt8 || t == DType::Int16;
}
/// Moved and cast, never computed with.
constexpr bool is_only_stored(DType t) { return is_narrow(t) || is_small_integer(t); }
/// Binary digits that hold every integer of t, or up to which t holds every integer if it is a
/// float.
constexpr int integer_bits(DType t) {
  switch (t) {
    case DType::Bool:
      return 1;
    case DType::Int8:
      return 7;
    case DType::UInt8:
    case DType::BFloat16:
      return 8;
    case DType::Float16:
      return 11;
    case DType::Int16:
      return 15;
    case DType::Float32:
      return 24;
    case DType::Int32:
      return 31;
    case DType::Float64:
      return 53;
    case DType::Int64:
      return 63;
  }
  return 0;
}
/// Whether a cast keeps every value.
constexpr bool is_exact_cast(DType from, DType to) {
  if (from == to || from == DType::Bool) return true;
  if (is_float(from)) return is_float(to) && size_of(from) < size_of(to) && !is_narrow(to);
  return to != DType::Bool && !is_small_integer(to) && integer_bits(from) <= integer_bits(to);
}
/// The dtype that operations on t compute in.
constexpr DType compute_dtype(DType t) { return is_narrow(t) ? DType::Float32 : t; }

/// What decides between operands with and without dimensions.
enum class Category : uint8_t { Bool, Integer, Float };

constexpr Category category_of(DType t) {
  return is_float(t) ? Category::Float : t == DType::Bool ? Category::Bool : Category::Integer;
}

/// PyTorch's promotion of two tensors of rank > 0: the later category wins, then the wider type;
/// float16 and bfloat16 meet in float32.
constexpr DType promote(DType a, DType b) {
  if (is_narrow(a) && is_narrow(b) && a != b) return DType::Float32;
  return a > b ? a : b;
}

/// A scalar of any dtype: integers and bool in `i`, floats in `f`.
struct Scalar {
  DType dtype = DType::Float32;
  union {
    int64_t i;
    double f;
  };
  constexpr Scalar() : i(0) {}
  static constexpr Scalar of_int(DType t, int64_t v) {
    Scalar s;
    s.dtype = t;
    s.i = t == DType::Bool ? (v != 0) : t == DType::Int32 ? static_cast<int32_t>(v) : v;
    return s;
  }
  static constexpr Scalar of_float(DType t, double v) {
    Scalar s;
    s.dtype = t;
    if (t == DType::Float64)
      s.f = v;
    else if (t == DType::BFloat16)
      s.f = static_cast<float>(BFloat16(static_cast<float>(v)));
    else if (t == DType::Float16)
      s.f = static_cast<float>(Float16(static_cast<float>(v)));
    else
      s.f = static_cast<double>(static_cast<float>(v));
    return s;
  }
  /// Value converted to dtype t, as C does (a float that does not fit an integer saturates; NaN is
  /// 0).
  static constexpr Scalar of(DType t, double v) {
    if (is_float(t)) return of_float(t, v);
    if (t == DType::Bool) return of_int(t, v != 0);
    const double low = t == DType::Int32 ? -2147483648.0 : -9223372036854775808.0;
    if (v != v) return of_int(t, 0);
    if (v <= low) return of_int(t, t == DType::Int32 ? INT32_MIN : INT64_MIN);
    if (v >= -low) return of_int(t, t == DType::Int32 ? INT32_MAX : INT64_MAX);
    return of_int(t, static_cast<int64_t>(v));
  }
  constexpr double as_double() const { return is_float(dtype) ? f : static_cast<double>(i); }
  constexpr uint64_t bits() const { return static_cast<uint64_t>(i); }
  /// The element as it lies in memory, in the low bytes.
  constexpr uint64_t memory_bits() const {
    if (dtype == DType::Float16) return Float16(static_cast<float>(f)).bits;
    if (dtype == DType::BFloat16) return BFloat16(static_cast<float>(f)).bits;
    if (dtype == DType::Float32) return std::bit_cast<uint32_t>(static_cast<float>(f));
    return static_cast<uint64_t>(i);
  }
};

}  // namespace coregrad
