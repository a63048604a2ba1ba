#include "ops/fold.h"

#include "base/error.h"

#include <cmath>

namespace coregrad {
namespace {

double max_of(double a, double b) { return a != a || a > b ? a : b; }
double min_of(double a, double b) { return a != a || a < b ? a : b; }

// Every float operation is done in double and rounded once. For + - * / and sqrt on float32 that
// gives the correctly rounded float result, because 53 >= 2 * 24 + 2 (Figueroa, 1995).
double fold_float(Op op, double a, double b) {
  switch (op) {
    case Op::Detach:
      return a;
    case Op::Neg:
      return -a;
    case Op::Abs:
      return std::fabs(a);
    case Op::Sign:
      return (a > 0) - (a < 0);  // NaN gives 0, as in PyTorch
    case Op::Exp:
      return std::exp(a);
    case Op::Exp2:
      return std::exp2(a);
    case Op::Expm1:
      return std::expm1(a);
    case Op::Log:
      return std::log(a);
    case Op::Log2:
      return std::log2(a);
    case Op::Log10:
      return std::log10(a);
    case Op::Log1p:
      return std::log1p(a);
    case Op::Sqrt:
      return std::sqrt(a);
    case Op::Rsqrt:
      return 1 / std::sqrt(a);
    case Op::Reciprocal:
      return 1 / a;
    case Op::Sin:
      return std::sin(a);
    case Op::Cos:
      return std::cos(a);
    case Op::Tan:
      return std::tan(a);
    case Op::Asin:
      return std::asin(a);
    case Op::Acos:
      return std::acos(a);
    case Op::Atan:
      return std::atan(a);
    case Op::Sinh:
      return std::sinh(a);
    case Op::Cosh:
      return std::cosh(a);
    case Op::Tanh:
      return std::tanh(a);
    case Op::Erf:
      return std::erf(a);
    case Op::Floor:
      return std::floor(a);
    case Op::Ceil:
      return std::ceil(a);
    case Op::Round:
      return std::nearbyint(a);
    case Op::Trunc:
      return std::trunc(a);
    case Op::Add:
      return a + b;
    case Op::Sub:
      return a - b;
    case Op::Mul:
      return a * b;
    case Op::Div:
      return a / b;
    case Op::Rem:
      return std::fmod(a, b);
    case Op::Pow:
      return std::pow(a, b);
    case Op::Max:
      return b != b ? b : max_of(a, b);
    case Op::Min:
      return b != b ? b : min_of(a, b);
    case Op::Atan2:
      return std::atan2(a, b);
    case Op::Not:
    case Op::And:
    case Op::Or:
    case Op::Xor:
    case Op::Shl:
    case Op::Shr:
    case Op::Eq:
    case Op::Ne:
    case Op::Lt:
    case Op::Le:
    case Op::Input:
    case Op::Literal:
    case Op::Iota:
    case Op::Random:
    case Op::Select:
    case Op::Cast:
    case Op::Reshape:
    case Op::Permute:
    case Op::Expand:
    case Op::Slice:
    case Op::Flip:
    case Op::Pad:
    case Op::Window:
    case Op::Concat:
    case Op::Sum:
    case Op::Prod:
    case Op::ReduceMax:
    case Op::ReduceMin:
    case Op::ArgMax:
    case Op::ArgMin:
    case Op::Contract:
    case Op::Gather:
    case Op::Scatter:
    case Op::CumSum:
    case Op::CumProd:
    case Op::ArgSort:
    case Op::External:
      break;
  }
  COREGRAD_UNREACHABLE("not an operation on float scalars");
}

// Unsigned arithmetic, so that overflow wraps as it does at run time.
uint64_t bits_of(int64_t x) { return static_cast<uint64_t>(x); }
int64_t wrapped(uint64_t x) { return static_cast<int64_t>(x); }

int64_t integer_power(int64_t base, int64_t exponent) {
  if (exponent < 0) return base == 1 ? 1 : base == -1 ? (exponent % 2 == 0 ? 1 : -1) : 0;
  uint64_t result = 1, square = bits_of(base);
  for (uint64_t e = bits_of(exponent); e != 0; e >>= 1, square *= square)
    if (e & 1) result *= square;
  return wrapped(result);
}

// `width` is 64, 32, or 1 for bool; the caller wraps the result to it.
int64_t fold_integer(Op op, int64_t a, int64_t b, int width) {
  const bool is_bool = width == 1;
  switch (op) {
    case Op::Neg:
      return wrapped(0 - bits_of(a));
    case Op::Abs:
      return a < 0 ? wrapped(0 - bits_of(a)) : a;
    case Op::Sign:
      return (a > 0) - (a < 0);
    case Op::Floor:
    case Op::Ceil:
    case Op::Round:
    case Op::Trunc:
    case Op::Detach:
      return a;
    case Op::Not:
      return is_bool ? !a : ~a;
    case Op::Add:
      return is_bool ? a | b : wrapped(bits_of(a) + bits_of(b));
    case Op::Sub:
      return wrapped(bits_of(a) - bits_of(b));
    case Op::Mul:
      return wrapped(bits_of(a) * bits_of(b));
    case Op::Div:
      return b == 0 ? 0 : b == -1 ? wrapped(0 - bits_of(a)) : a / b;
    case Op::Rem:
      return b == 0 || b == -1 ? 0 : a % b;
    case Op::Pow:
      return integer_power(a, b);
    case Op::Max:
      return a > b ? a : b;
    case Op::Min:
      return a < b ? a : b;
    case Op::And:
      return a & b;
    case Op::Or:
      return a | b;
    case Op::Xor:
      return a ^ b;
    case Op::Shl:
      return bits_of(b) >= static_cast<uint64_t>(width) ? 0 : wrapped(bits_of(a) << b);
    case Op::Shr:
      return bits_of(b) >= static_cast<uint64_t>(width) ? (a < 0 ? -1 : 0) : a >> b;
    case Op::Exp:
    case Op::Exp2:
    case Op::Expm1:
    case Op::Log:
    case Op::Log2:
    case Op::Log10:
    case Op::Log1p:
    case Op::Sqrt:
    case Op::Rsqrt:
    case Op::Reciprocal:
    case Op::Sin:
    case Op::Cos:
    case Op::Tan:
    case Op::Asin:
    case Op::Acos:
    case Op::Atan:
    case Op::Sinh:
    case Op::Cosh:
    case Op::Tanh:
    case Op::Erf:
    case Op::Atan2:
    case Op::Eq:
    case Op::Ne:
    case Op::Lt:
    case Op::Le:
    case Op::Input:
    case Op::Literal:
    case Op::Iota:
    case Op::Random:
    case Op::Select:
    case Op::Cast:
    case Op::Reshape:
    case Op::Permute:
    case Op::Expand:
    case Op::Slice:
    case Op::Flip:
    case Op::Pad:
    case Op::Window:
    case Op::Concat:
    case Op::Sum:
    case Op::Prod:
    case Op::ReduceMax:
    case Op::ReduceMin:
    case Op::ArgMax:
    case Op::ArgMin:
    case Op::Contract:
    case Op::Gather:
    case Op::Scatter:
    case Op::CumSum:
    case Op::CumProd:
    case Op::ArgSort:
    case Op::External:
      break;
  }
  COREGRAD_UNREACHABLE("not an operation on integer scalars");
}

Scalar fold(Op op, Scalar a, Scalar b) {
  if (is_float(a.dtype)) return Scalar::of_float(a.dtype, fold_float(op, a.f, b.f));
  const int width = a.dtype == DType::Bool ? 1 : 8 * size_of(a.dtype);
  return Scalar::of_int(a.dtype, fold_integer(op, a.i, b.i, width));
}

template <class T>
bool compare(Op op, T a, T b) {
  if (op == Op::Eq) return a == b;
  if (op == Op::Ne) return a != b;
  if (op == Op::Lt) return a < b;
  COREGRAD_CHECK(op == Op::Le);
  return a <= b;
}

}  // namespace

Scalar fold_cast(Scalar x, DType dtype) {
  if (is_float(x.dtype)) return Scalar::of(dtype, x.f);
  if (!is_float(dtype)) return Scalar::of_int(dtype, x.i);
  // Straight to float32: going through double would round twice. Narrow floats come from there.
  return Scalar::of_float(dtype, dtype == DType::Float64
                                     ? static_cast<double>(x.i)
                                     : static_cast<double>(static_cast<float>(x.i)));
}

Scalar fold_unary(Op op, Scalar x) { return fold(op, x, x); }

Scalar fold_binary(Op op, Scalar a, Scalar b) {
  COREGRAD_CHECK(a.dtype == b.dtype);
  return fold(op, a, b);
}

bool fold_compare(Op op, Scalar a, Scalar b) {
  COREGRAD_CHECK(a.dtype == b.dtype);
  return is_float(a.dtype) ? compare(op, a.f, b.f) : compare(op, a.i, b.i);
}

}  // namespace coregrad
