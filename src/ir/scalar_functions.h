#pragma once
// What the unary, binary and comparison primitives mean for one element: a row a primitive and a
// kind of element. Constants are folded by it and the interpreter computes by it.
//
// Floats are computed in double and rounded once by the caller. For + - * / and sqrt on float32
// that gives the correctly rounded float result, because 53 >= 2 * 24 + 2 (Figueroa, 1995).
// Integers wrap around.

#include "ir/op.h"

#include <cmath>
#include <concepts>
#include <cstdint>
#include <type_traits>

namespace coregrad::scalar {

template <class F>
struct Row {
  Op op;
  F* function;
};

/// The row's function; null for an operation that the table lacks.
template <class F, size_t N>
constexpr F* find(const Row<F> (&rows)[N], Op op) {
  for (const Row<F>& row : rows)
    if (row.op == op) return row.function;
  return nullptr;
}

template <class T>
constexpr T identity(T x) {
  return x;
}

/// Whether a candidate takes the place of the largest (smallest) so far: NaN wins, and the first of
/// equals stays.
template <class T>
constexpr bool replaces(T candidate, T best, bool want_max) {
  if constexpr (std::is_floating_point_v<T>) {
    if (best != best) return false;
    if (candidate != candidate) return true;
  }
  return want_max ? candidate > best : candidate < best;
}

/// Real functions of `T`: double, or a wider type as a reference for it.
template <std::floating_point T>
constexpr Row<T(T)> kRealUnary[] = {
    {Op::Detach, identity<T>},
    {Op::Neg, [](T x) { return -x; }},
    {Op::Abs, [](T x) { return std::fabs(x); }},
    // NaN gives 0, as in PyTorch.
    {Op::Sign, [](T x) { return static_cast<T>((x > 0) - (x < 0)); }},
    {Op::Exp, [](T x) { return std::exp(x); }},
    {Op::Exp2, [](T x) { return std::exp2(x); }},
    {Op::Expm1, [](T x) { return std::expm1(x); }},
    {Op::Log, [](T x) { return std::log(x); }},
    {Op::Log2, [](T x) { return std::log2(x); }},
    {Op::Log10, [](T x) { return std::log10(x); }},
    {Op::Log1p, [](T x) { return std::log1p(x); }},
    {Op::Sqrt, [](T x) { return std::sqrt(x); }},
    {Op::Rsqrt, [](T x) { return 1 / std::sqrt(x); }},
    {Op::Reciprocal, [](T x) { return 1 / x; }},
    {Op::Sin, [](T x) { return std::sin(x); }},
    {Op::Cos, [](T x) { return std::cos(x); }},
    {Op::Tan, [](T x) { return std::tan(x); }},
    {Op::Asin, [](T x) { return std::asin(x); }},
    {Op::Acos, [](T x) { return std::acos(x); }},
    {Op::Atan, [](T x) { return std::atan(x); }},
    {Op::Sinh, [](T x) { return std::sinh(x); }},
    {Op::Cosh, [](T x) { return std::cosh(x); }},
    {Op::Tanh, [](T x) { return std::tanh(x); }},
    {Op::Sigmoid, [](T x) { return 1 / (1 + std::exp(-x)); }},
    {Op::Log1pExp,
     [](T x) { return x > 0 ? x + std::log1p(std::exp(-x)) : std::log1p(std::exp(x)); }},
    {Op::Erf, [](T x) { return std::erf(x); }},
    {Op::Floor, [](T x) { return std::floor(x); }},
    {Op::Ceil, [](T x) { return std::ceil(x); }},
    {Op::Round, [](T x) { return std::nearbyint(x); }},
    {Op::Trunc, [](T x) { return std::trunc(x); }},
};

template <std::floating_point T>
constexpr Row<T(T, T)> kRealBinary[] = {
    {Op::Add, [](T a, T b) { return a + b; }},
    {Op::Sub, [](T a, T b) { return a - b; }},
    {Op::Mul, [](T a, T b) { return a * b; }},
    {Op::Div, [](T a, T b) { return a / b; }},
    {Op::Rem, [](T a, T b) { return std::fmod(a, b); }},
    {Op::Pow, [](T a, T b) { return std::pow(a, b); }},
    {Op::Max, [](T a, T b) { return replaces(b, a, true) ? b : a; }},
    {Op::Min, [](T a, T b) { return replaces(b, a, false) ? b : a; }},
    {Op::Atan2, [](T a, T b) { return std::atan2(a, b); }},
};

/// Integers wrap around: their arithmetic happens in the unsigned type.
template <std::integral T>
constexpr std::make_unsigned_t<T> raw(T x) {
  return static_cast<std::make_unsigned_t<T>>(x);
}

/// Quotient towards zero; 0 where the divisor is.
template <std::integral T>
constexpr T int_div(T a, T b) {
  if (b == 0) return 0;
  return b == -1 ? static_cast<T>(0 - raw(a)) : static_cast<T>(a / b);
}

template <std::integral T>
constexpr T int_rem(T a, T b) {
  return b == 0 || b == -1 ? T{0} : static_cast<T>(a % b);
}

/// A negative exponent gives the power truncated to an integer; 0 to a negative power is 0.
template <std::integral T>
constexpr T int_pow(T base, T exponent) {
  if (exponent < 0)
    return base == 1 ? T{1} : base == -1 ? ((exponent & 1) != 0 ? T{-1} : T{1}) : T{0};
  std::make_unsigned_t<T> result = 1, square = raw(base);
  for (auto e = raw(exponent); e != 0; e >>= 1) {
    if ((e & 1) != 0) result *= square;
    square *= square;
  }
  return static_cast<T>(result);
}

/// Shift counts are read as unsigned, so that a negative one is as large as can be.
template <std::integral T>
constexpr T int_shl(T a, T b) {
  return raw(b) >= 8 * sizeof(T) ? T{0} : static_cast<T>(raw(a) << raw(b));
}
template <std::integral T>
constexpr T int_shr(T a, T b) {
  return raw(b) >= 8 * sizeof(T) ? static_cast<T>(a < 0 ? -1 : 0) : static_cast<T>(a >> raw(b));
}

template <std::integral T>
constexpr Row<T(T)> kIntUnary[] = {
    {Op::Neg, [](T x) { return static_cast<T>(0 - raw(x)); }},
    {Op::Abs, [](T x) { return x < 0 ? static_cast<T>(0 - raw(x)) : x; }},
    {Op::Sign, [](T x) { return static_cast<T>((x > 0) - (x < 0)); }},
    {Op::Not, [](T x) { return static_cast<T>(~x); }},
    {Op::Detach, identity<T>},
    {Op::Floor, identity<T>},
    {Op::Ceil, identity<T>},
    {Op::Round, identity<T>},
    {Op::Trunc, identity<T>},
};

template <std::integral T>
constexpr Row<T(T, T)> kIntBinary[] = {
    {Op::Add, [](T a, T b) { return static_cast<T>(raw(a) + raw(b)); }},
    {Op::Sub, [](T a, T b) { return static_cast<T>(raw(a) - raw(b)); }},
    {Op::Mul, [](T a, T b) { return static_cast<T>(raw(a) * raw(b)); }},
    {Op::Div, int_div<T>},
    {Op::Rem, int_rem<T>},
    {Op::Pow, int_pow<T>},
    {Op::Max, [](T a, T b) { return b > a ? b : a; }},
    {Op::Min, [](T a, T b) { return b < a ? b : a; }},
    {Op::And, [](T a, T b) { return static_cast<T>(a & b); }},
    {Op::Or, [](T a, T b) { return static_cast<T>(a | b); }},
    {Op::Xor, [](T a, T b) { return static_cast<T>(a ^ b); }},
    {Op::Shl, int_shl<T>},
    {Op::Shr, int_shr<T>},
};

inline constexpr Row<bool(bool)> kBoolUnary[] = {
    {Op::Not, [](bool x) { return !x; }}, {Op::Abs, identity<bool>},   {Op::Detach, identity<bool>},
    {Op::Sign, identity<bool>},           {Op::Floor, identity<bool>}, {Op::Ceil, identity<bool>},
    {Op::Round, identity<bool>},          {Op::Trunc, identity<bool>},
};

inline constexpr Row<bool(bool, bool)> kBoolBinary[] = {
    {Op::Add, [](bool a, bool b) { return a || b; }},
    {Op::Or, [](bool a, bool b) { return a || b; }},
    {Op::Max, [](bool a, bool b) { return a || b; }},
    {Op::Mul, [](bool a, bool b) { return a && b; }},
    {Op::And, [](bool a, bool b) { return a && b; }},
    {Op::Min, [](bool a, bool b) { return a && b; }},
    {Op::Xor, [](bool a, bool b) { return a != b; }},
};

template <class T>
constexpr Row<bool(T, T)> kCompare[] = {
    {Op::Eq, [](T a, T b) { return a == b; }},
    {Op::Ne, [](T a, T b) { return a != b; }},
    {Op::Lt, [](T a, T b) { return a < b; }},
    {Op::Le, [](T a, T b) { return a <= b; }},
};

/// The function of an operation on elements of T; null where it does not take them. Floats are
/// given as double.
template <class T>
constexpr auto unary(Op op) {
  if constexpr (std::is_floating_point_v<T>) {
    return find(kRealUnary<T>, op);
  } else if constexpr (std::is_same_v<T, bool>) {
    return find(kBoolUnary, op);
  } else {
    return find(kIntUnary<T>, op);
  }
}

template <class T>
constexpr auto binary(Op op) {
  if constexpr (std::is_floating_point_v<T>) {
    return find(kRealBinary<T>, op);
  } else if constexpr (std::is_same_v<T, bool>) {
    return find(kBoolBinary, op);
  } else {
    return find(kIntBinary<T>, op);
  }
}

template <class T>
constexpr auto compare(Op op) {
  return find(kCompare<T>, op);
}

}  // namespace coregrad::scalar
