#include "codegen/math/vector_math_rare.h"

#include "codegen/math/vector_math_tables.h"

#include <bit>
#include <cmath>
#include <limits>

namespace coregrad::vector_math {
namespace {

__extension__ using uint128 = unsigned __int128;
__extension__ using int128 = __int128;

struct Reduced {
  double r;
  int64_t q;
};

/// Payne and Hanek: multiply by those digits of 2/pi that matter for x modulo 2 pi.
Reduced reduce(double x) {
  if (!(x < std::numeric_limits<double>::infinity()))
    return {std::numeric_limits<double>::quiet_NaN(), 0};
  if (x <= 0.785) return {x, 0};
  // x = mantissa * 2^E with E = field - 1075 >= -53. Digit k of 2/pi weighs 2^(E - k) in the
  // product with the mantissa; digits above weight 2 only add multiples of 4 quadrants. The first
  // digit kept has k = E - 1 and is bit E + 62 of a table that starts with 64 zero bits.
  const auto word = std::bit_cast<uint64_t>(x);
  const uint64_t mantissa = (word & ((uint64_t{1} << 52) - 1)) | uint64_t{1} << 52;
  const uint64_t position = (word >> 52) - (1075 - 62);
  const uint64_t first = position / 64, shift = position % 64;
  uint64_t digits[3];
  for (uint64_t k = 0; k < 3; ++k) {
    const uint128 both = static_cast<uint128>(tables::kTwoOverPi[first + k]) << 64 |
                         tables::kTwoOverPi[first + k + 1];
    digits[k] = static_cast<uint64_t>(both << shift >> 64);
  }
  // The product modulo 4, as 192 bits of which the first two are the quadrant. No double comes
  // closer to a multiple of pi/2 than 2^-62, so that enough of the other bits are significant.
  const uint128 low = static_cast<uint128>(mantissa) * digits[2];
  const uint128 middle =
      static_cast<uint128>(mantissa) * digits[1] + static_cast<uint64_t>(low >> 64);
  const uint64_t top = mantissa * digits[0] + static_cast<uint64_t>(middle >> 64);
  const uint128 below =
      static_cast<uint128>(static_cast<uint64_t>(middle)) << 64 | static_cast<uint64_t>(low);
  const uint128 fraction = static_cast<uint128>(top) << 66 | below >> 62;
  // A fraction of at least one half counts as negative in the next quadrant: two's complement.
  const bool negative = static_cast<int128>(fraction) < 0;
  uint128 magnitude = negative ? -fraction : fraction;
  const auto high_word = static_cast<uint64_t>(magnitude >> 64);
  const int zeros = high_word != 0 ? std::countl_zero(high_word)
                                   : 64 + std::countl_zero(static_cast<uint64_t>(magnitude));
  magnitude <<= zeros & 127;
  // Wider than double, so that the only rounding that counts is the last one.
  constexpr long double kHalfPi = 1.57079632679489661923132169163975144L;
  const long double turned = std::ldexp(
      static_cast<long double>(static_cast<uint64_t>(magnitude >> 64)) * kHalfPi, -64 - zeros);
  return {static_cast<double>(negative ? -turned : turned),
          static_cast<int64_t>((top >> 62) + (negative ? 1 : 0))};
}

}  // namespace

void reduce_huge_f32(const float* x, float* r, int32_t* q, int64_t lanes) {
  for (int64_t i = 0; i < lanes; ++i) {
    const Reduced reduced = reduce(static_cast<double>(x[i]));
    r[i] = static_cast<float>(reduced.r);
    q[i] = static_cast<int32_t>(reduced.q);
  }
}

void reduce_huge_f64(const double* x, double* r, int64_t* q, int64_t lanes) {
  for (int64_t i = 0; i < lanes; ++i) {
    const Reduced reduced = reduce(x[i]);
    r[i] = reduced.r;
    q[i] = reduced.q;
  }
}

void fmod_exact(const double* x, const double* y, double* result, int64_t lanes) {
  for (int64_t i = 0; i < lanes; ++i) result[i] = std::fmod(x[i], y[i]);
}

}  // namespace coregrad::vector_math
