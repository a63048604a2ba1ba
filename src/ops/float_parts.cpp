// Floats by their parts: fractions, exponents and neighbours.

#include "base/error.h"
#include "ops/detail.h"
#include "ops/expression.h"

#include <cmath>
#include <limits>

namespace coregrad::ops {
namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();

// 2^n in float64 for whole numbers -1022 to 1023, exactly: a product of powers by its digits.
Expr power_of_two(Expr n) {
  Expr size = abs(n), value(1);
  const Expr one = Expr(1).beside(n);
  for (int digit = 0; digit < 10; ++digit) {
    const Expr half = floor(size / 2);
    const Expr factor = where(size - half * 2 > 0, std::ldexp(1.0, 1 << digit), one);
    value = digit == 0 ? factor : value * factor;
    size = half;
  }
  return where(n < 0, reciprocal(value), value);
}

struct Parts {
  Expr fraction, exponent;  ///< in [0.5, 1) with the sign, and a whole number

  /// Of finite float64 numbers that are not 0.
  explicit Parts(Expr x) : fraction(0), exponent(0) {
    const Expr is_tiny = abs(x) < 0x1p-1000;
    const Expr number = where(is_tiny, x * 0x1p64, x);
    const Expr size = where(number == 0, 1, abs(number));
    exponent = floor(log2(size)) + 1;
    for (int i = 0; i < 2; ++i) {  // where the logarithm was rounded over a power of two
      const Expr half = power_of_two(exponent - 1);
      exponent = where(size < half, exponent - 1, where(size / 2 >= half, exponent + 1, exponent));
    }
    fraction = number / power_of_two(exponent - 1) / 2;
    exponent = where(is_tiny, exponent - 64, exponent);
  }
};

// The exponent of the smallest power of two that is too large for a dtype.
int end_of_exponents(DType dtype) {
  if (dtype == DType::Float64) return 1024;
  return dtype == DType::Float16 ? 16 : 128;
}

}  // namespace

std::pair<NodeId, NodeId> frexp(Graph& g, NodeId x) {
  const Expr wide = ops::wide(g, x);
  const Expr is_special = !(abs(wide) < kInfinity) | (wide == 0);
  const Parts parts(where(is_special, 1, wide));
  const NodeId exponent = cast(g, where(is_special, 0, parts.exponent).node, DType::Int32);
  return {select(g, is_special.node, x, cast(g, parts.fraction.node, g.dtype(x))), exponent};
}

NodeId nextafter(Graph& g, NodeId from, NodeId towards) {
  const DType dtype = result_type(g, from, towards);
  if (!is_float(dtype))
    raise<DTypeError>("nextafter: the operands must be floating: got {} and {}", describe(g, from),
                      describe(g, towards));
  const Dims shape = broadcast_shapes(g.shape(from), g.shape(towards), "nextafter");
  const auto wide = [&](NodeId v) {
    return Expr(g, broadcast_to(g, cast(g, cast(g, v, dtype), DType::Float64), shape));
  };
  const Expr x = wide(from), y = wide(towards);
  const int bits = info(dtype).integer_bits, end = end_of_exponents(dtype);
  const double lowest = 3 - end, largest = std::ldexp(2 - std::ldexp(1.0, 1 - bits), end - 1);
  const Expr is_finite = abs(x) < kInfinity, is_zero = x == 0;
  const Parts parts(where(is_finite & !is_zero, x, 1));
  const Expr exponent = where(is_zero, lowest, parts.exponent);
  const Expr grows = ((x < y) == (x > 0)) | is_zero;
  // Below a power of two neighbours are half as far away.
  const Expr at_end = (abs(parts.fraction) == 0.5) & !grows & (exponent > lowest);
  const Expr digits = where(at_end, bits + 1.0, Expr(bits).beside(x));
  const Expr place = maximum(exponent, lowest) - digits, half = floor(place / 2);
  const Expr step = power_of_two(half) * power_of_two(place - half);
  Expr value = x + where(x < y, step, -step);
  value = where(is_finite, value, sign(x) * largest);
  value = where(x == y, y, value);
  const Expr is_unordered = (x != x) | (y != y);
  return cast(g, where(is_unordered, std::numeric_limits<double>::quiet_NaN(), value).node, dtype);
}

}  // namespace coregrad::ops
