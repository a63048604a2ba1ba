#pragma once
// bfloat16 and float16 as bits, and their conversions. They are stored, never computed with: values
// become float32 first (exactly) and are rounded once, to nearest and ties to even, when they are
// stored. Rounding makes a NaN quiet and keeps it a NaN; subnormals are numbers like others.

#include <bit>
#include <cstdint>

namespace coregrad {

/// The value of bfloat16 bits; exact.
constexpr float float_from_bfloat16(uint16_t bits) {
  return std::bit_cast<float>(uint32_t{bits} << 16);
}

/// The nearest bfloat16.
constexpr uint16_t bfloat16_from_float(float value) {
  const auto bits = std::bit_cast<uint32_t>(value);
  if ((bits & 0x7fffffff) > 0x7f800000) return static_cast<uint16_t>(bits >> 16 | 0x40);
  return static_cast<uint16_t>((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}

/// The value of float16 bits; exact.
constexpr float float_from_float16(uint16_t bits) {
  const uint32_t sign = uint32_t{bits & 0x8000u} << 16, size = bits & 0x7fffu;
  if (size >= 0x7c00)  // infinity and NaN
    return std::bit_cast<float>(sign | 0x7f800000 | size << 13 | (size > 0x7c00 ? 0x00400000 : 0));
  if (size < 0x0400) {  // zero and subnormals: multiples of 2^-24
    const float small = static_cast<float>(size) * 0x1p-24f;
    return sign ? -small : small;
  }
  return std::bit_cast<float>(sign | (size << 13) + ((127 - 15) << 23));
}

/// The nearest float16; from 65520 on that is infinity.
constexpr uint16_t float16_from_float(float value) {
  const auto bits = std::bit_cast<uint32_t>(value);
  const uint32_t sign = bits >> 16 & 0x8000, size = bits & 0x7fffffff;
  uint32_t result;
  if (size > 0x7f800000)
    result = 0x7e00 | (size >> 13 & 0x1ff);
  else if (size >= 0x477ff000)  // 65520
    result = 0x7c00;
  else if (size < 0x38800000)  // below 2^-14: adding 1/2 rounds to a multiple of 2^-24
    result = std::bit_cast<uint32_t>(std::bit_cast<float>(size) + 0.5f) - 0x3f000000;
  else
    result = (size - ((127 - 15) << 23) + 0xfff + (size >> 13 & 1)) >> 13;
  return static_cast<uint16_t>(sign | result);
}

/// Types of their own, so that templates over element types tell them apart from integers.
struct BFloat16 {
  uint16_t bits = 0;
  BFloat16() = default;
  constexpr explicit BFloat16(float value) : bits(bfloat16_from_float(value)) {}
  constexpr explicit operator float() const { return float_from_bfloat16(bits); }
};
struct Float16 {
  uint16_t bits = 0;
  Float16() = default;
  constexpr explicit Float16(float value) : bits(float16_from_float(value)) {}
  constexpr explicit operator float() const { return float_from_float16(bits); }
};
static_assert(sizeof(BFloat16) == 2 && sizeof(Float16) == 2);

}  // namespace coregrad
