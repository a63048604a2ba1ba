#pragma once
// Element types and the facts about them, one row each.

#include "coregrad/narrow_float.h"

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
  Int8,
  UInt8,
  Int16,
  UInt16,
  UInt32,
};
inline constexpr int kNumDTypes = 12;

/// What decides first when dtypes meet: the later one wins.
enum class Category : uint8_t { Bool, Integer, Float };

struct DTypeInfo {
  std::string_view name;        ///< PyTorch's name
  std::string_view short_name;  ///< as in printed graphs: f32
  int size;                     ///< bytes
  Category category;
  bool is_signed;
  /// Binary digits, sign apart, that hold every integer of an integer dtype, or up to which a float
  /// holds every integer.
  int integer_bits;
  /// What operations compute in: its own, unless elements are only stored and moved.
  DType computed;
};

inline constexpr std::array<DTypeInfo, kNumDTypes> kDTypeInfo = {{
    {"bool", "b8", 1, Category::Bool, false, 1, DType::Bool},
    {"int32", "i32", 4, Category::Integer, true, 31, DType::Int32},
    {"int64", "i64", 8, Category::Integer, true, 63, DType::Int64},
    {"float16", "f16", 2, Category::Float, true, 11, DType::Float32},
    {"bfloat16", "bf16", 2, Category::Float, true, 8, DType::Float32},
    {"float32", "f32", 4, Category::Float, true, 24, DType::Float32},
    {"float64", "f64", 8, Category::Float, true, 53, DType::Float64},
    {"int8", "i8", 1, Category::Integer, true, 7, DType::Int32},
    {"uint8", "u8", 1, Category::Integer, false, 8, DType::Int32},
    {"int16", "i16", 2, Category::Integer, true, 15, DType::Int32},
    {"uint16", "u16", 2, Category::Integer, false, 16, DType::Int32},
    {"uint32", "u32", 4, Category::Integer, false, 32, DType::Int64},
}};

constexpr const DTypeInfo& info(DType t) { return kDTypeInfo[static_cast<size_t>(t)]; }
constexpr int size_of(DType t) { return info(t).size; }
constexpr std::string_view name_of(DType t) { return info(t).name; }
constexpr Category category_of(DType t) { return info(t).category; }
constexpr bool is_float(DType t) { return category_of(t) == Category::Float; }
constexpr bool is_integer(DType t) { return category_of(t) == Category::Integer; }
constexpr bool is_unsigned(DType t) { return !info(t).is_signed; }
/// The dtype that operations on t compute in.
constexpr DType compute_dtype(DType t) { return info(t).computed; }
/// Stored and moved, never computed with: float16, bfloat16 and integers other than int32 and int64
/// (ops/primitives.h).
constexpr bool is_only_stored(DType t) { return compute_dtype(t) != t; }
/// Floats that are only stored.
constexpr bool is_narrow(DType t) { return is_float(t) && is_only_stored(t); }
/// Integers that are only stored.
constexpr bool is_small_integer(DType t) { return is_integer(t) && is_only_stored(t); }

/// Whether a cast keeps every value.
constexpr bool is_exact_cast(DType from, DType to) {
  if (from == to || from == DType::Bool) return true;
  if (is_float(from)) return is_float(to) && size_of(from) < size_of(to) && !is_narrow(to);
  if (to == DType::Bool || (is_unsigned(to) && !is_unsigned(from))) return false;
  return info(from).integer_bits <= info(to).integer_bits;
}

/// What two tensors of rank > 0 give, as PyTorch and the array API standard have it: the later
/// category wins, then the dtype that holds the values of both; float16 and bfloat16 meet in
/// float32.
constexpr DType promote(DType a, DType b) {
  if (category_of(a) != category_of(b)) return category_of(a) > category_of(b) ? a : b;
  if (a == b || is_exact_cast(b, a)) return a;
  if (is_exact_cast(a, b)) return b;
  if (is_float(a)) return DType::Float32;
  // Signed beside an unsigned one of at least its size: the next larger signed one.
  switch (is_unsigned(a) ? size_of(a) : size_of(b)) {
    case 1:
      return DType::Int16;
    case 2:
      return DType::Int32;
    default:
      return DType::Int64;
  }
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
    if (t == DType::Bool)
      s.i = v != 0;
    else  // wraps around
      s.i = is_unsigned(t) ? v & ((int64_t{1} << info(t).integer_bits) - 1)
                           : static_cast<int64_t>(static_cast<uint64_t>(v) << unused_bits(t)) >>
                                 unused_bits(t);
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
  /// Value converted to dtype t as Op::Cast does: a float that does not fit what an integer is
  /// computed in saturates; NaN is 0.
  static constexpr Scalar of(DType t, double v) {
    if (is_float(t)) return of_float(t, v);
    if (t == DType::Bool) return of_int(t, v != 0);
    const DType wide = compute_dtype(t);
    const double low = wide == DType::Int32 ? -2147483648.0 : -9223372036854775808.0;
    if (v != v) return of_int(t, 0);
    if (v <= low) return of_int(t, lowest(wide).i);
    if (v >= -low) return of_int(t, ~lowest(wide).i);
    return of_int(t, static_cast<int64_t>(v));
  }
  /// The smallest number of an integer dtype.
  static constexpr Scalar lowest(DType t) {
    return of_int(t, is_unsigned(t) ? 0 : -(int64_t{1} << (info(t).integer_bits - 1)) * 2);
  }
  /// Whether an integer dtype holds a number.
  static constexpr bool holds(DType t, int64_t v) { return of_int(t, v).i == v; }
  constexpr double as_double() const { return is_float(dtype) ? f : static_cast<double>(i); }
  constexpr uint64_t bits() const { return static_cast<uint64_t>(i); }
  /// The element as it lies in memory, in the low bytes.
  constexpr uint64_t memory_bits() const {
    if (dtype == DType::Float16) return Float16(static_cast<float>(f)).bits;
    if (dtype == DType::BFloat16) return BFloat16(static_cast<float>(f)).bits;
    if (dtype == DType::Float32) return std::bit_cast<uint32_t>(static_cast<float>(f));
    if (dtype == DType::Float64) return std::bit_cast<uint64_t>(f);
    return static_cast<uint64_t>(i);
  }

 private:
  static constexpr int unused_bits(DType t) { return 63 - info(t).integer_bits; }
};

}  // namespace coregrad
