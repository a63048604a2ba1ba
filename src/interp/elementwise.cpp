// Unary, binary, compare, select and cast. Each is a table row: an operation and its function.

#include "interp/kernels.h"

#include <cmath>
#include <limits>

namespace coregrad::interp {
namespace {

template <class F>
struct Row {
  Op op;
  F* function;
};

/// The operation's function; an operation that the table lacks does not take the dtype.
template <class F, size_t N>
F* find(const Row<F> (&rows)[N], Op op, DType dtype) {
  for (const Row<F>& row : rows)
    if (row.op == op) return row.function;
  raise<InternalError>("interpret: {} does not take {}", name_of(op), name_of(dtype));
}

// Real functions, for float64 and (rounded once) for float32.
using Real1 = double(double);
constexpr Row<Real1> kRealUnary[] = {
    {Op::Detach, [](double x) { return x; }},
    {Op::Neg, [](double x) { return -x; }},
    {Op::Abs, [](double x) { return std::fabs(x); }},
    // NaN gives 0, as in PyTorch.
    {Op::Sign, [](double x) { return static_cast<double>((x > 0) - (x < 0)); }},
    {Op::Exp, [](double x) { return std::exp(x); }},
    {Op::Exp2, [](double x) { return std::exp2(x); }},
    {Op::Expm1, [](double x) { return std::expm1(x); }},
    {Op::Log, [](double x) { return std::log(x); }},
    {Op::Log2, [](double x) { return std::log2(x); }},
    {Op::Log10, [](double x) { return std::log10(x); }},
    {Op::Log1p, [](double x) { return std::log1p(x); }},
    {Op::Sqrt, [](double x) { return std::sqrt(x); }},
    {Op::Rsqrt, [](double x) { return 1.0 / std::sqrt(x); }},
    {Op::Reciprocal, [](double x) { return 1.0 / x; }},
    {Op::Sin, [](double x) { return std::sin(x); }},
    {Op::Cos, [](double x) { return std::cos(x); }},
    {Op::Tan, [](double x) { return std::tan(x); }},
    {Op::Asin, [](double x) { return std::asin(x); }},
    {Op::Acos, [](double x) { return std::acos(x); }},
    {Op::Atan, [](double x) { return std::atan(x); }},
    {Op::Sinh, [](double x) { return std::sinh(x); }},
    {Op::Cosh, [](double x) { return std::cosh(x); }},
    {Op::Tanh, [](double x) { return std::tanh(x); }},
    {Op::Erf, [](double x) { return std::erf(x); }},
    {Op::Floor, [](double x) { return std::floor(x); }},
    {Op::Ceil, [](double x) { return std::ceil(x); }},
    {Op::Round, [](double x) { return std::nearbyint(x); }},
    {Op::Trunc, [](double x) { return std::trunc(x); }},
};

using Real2 = double(double, double);
constexpr Row<Real2> kRealBinary[] = {
    {Op::Add, [](double a, double b) { return a + b; }},
    {Op::Sub, [](double a, double b) { return a - b; }},
    {Op::Mul, [](double a, double b) { return a * b; }},
    {Op::Div, [](double a, double b) { return a / b; }},
    {Op::Rem, [](double a, double b) { return std::fmod(a, b); }},
    {Op::Pow, [](double a, double b) { return std::pow(a, b); }},
    {Op::Max, [](double a, double b) { return replaces(b, a, true) ? b : a; }},
    {Op::Min, [](double a, double b) { return replaces(b, a, false) ? b : a; }},
    {Op::Atan2, [](double a, double b) { return std::atan2(a, b); }},
};

// Integers wrap around: arithmetic happens in the unsigned type.
template <class T>
T wrap(CarrierOf<T> x) {
  return static_cast<T>(x);
}
template <class T>
CarrierOf<T> raw(T x) {
  return static_cast<CarrierOf<T>>(x);
}

template <class T>
T int_div(T a, T b) {
  if (b == 0) return 0;
  return b == -1 ? wrap<T>(raw(T{0}) - raw(a)) : static_cast<T>(a / b);
}

template <class T>
T int_rem(T a, T b) {
  return b == 0 || b == -1 ? T{0} : static_cast<T>(a % b);
}

/// A negative exponent gives the power truncated to an integer; 0 to a negative power is 0.
template <class T>
T int_pow(T base, T exponent) {
  if (exponent < 0)
    return base == 1 ? T{1} : base == -1 ? ((exponent & 1) != 0 ? T{-1} : T{1}) : T{0};
  CarrierOf<T> result = 1, square = raw(base);
  for (CarrierOf<T> e = raw(exponent); e != 0; e >>= 1) {
    if ((e & 1) != 0) result *= square;
    square *= square;
  }
  return wrap<T>(result);
}

/// Shift counts are read as unsigned, so that a negative one is as large as can be.
template <class T>
T int_shl(T a, T b) {
  return raw(b) >= 8 * sizeof(T) ? T{0} : wrap<T>(raw(a) << raw(b));
}
template <class T>
T int_shr(T a, T b) {
  return raw(b) >= 8 * sizeof(T) ? static_cast<T>(a < 0 ? -1 : 0) : static_cast<T>(a >> raw(b));
}

template <class T>
T identity(T x) {
  return x;
}

template <class T>
constexpr Row<T(T)> kIntUnary[] = {
    {Op::Neg, [](T x) { return wrap<T>(raw(T{0}) - raw(x)); }},
    {Op::Abs, [](T x) { return x < 0 ? wrap<T>(raw(T{0}) - raw(x)) : x; }},
    {Op::Sign, [](T x) { return static_cast<T>((x > 0) - (x < 0)); }},
    {Op::Not, [](T x) { return static_cast<T>(~x); }},
    {Op::Detach, identity<T>},
    {Op::Floor, identity<T>},
    {Op::Ceil, identity<T>},
    {Op::Round, identity<T>},
    {Op::Trunc, identity<T>},
};

template <class T>
constexpr Row<T(T, T)> kIntBinary[] = {
    {Op::Add, [](T a, T b) { return wrap<T>(raw(a) + raw(b)); }},
    {Op::Sub, [](T a, T b) { return wrap<T>(raw(a) - raw(b)); }},
    {Op::Mul, [](T a, T b) { return wrap<T>(raw(a) * raw(b)); }},
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

constexpr Row<bool(bool)> kBoolUnary[] = {
    {Op::Not, [](bool x) { return !x; }},
    {Op::Abs, identity<bool>},
    {Op::Detach, identity<bool>},
    {Op::Sign, identity<bool>},
};

constexpr Row<bool(bool, bool)> kBoolBinary[] = {
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

template <class T>
void unary(Op op, std::span<const T> x, std::span<T> out) {
  if constexpr (std::is_floating_point_v<T>) {
    Real1* const f = find(kRealUnary, op, DType::Float64);
    for (size_t i = 0; i < out.size(); ++i) out[i] = static_cast<T>(f(static_cast<double>(x[i])));
  } else if constexpr (std::is_same_v<T, bool>) {
    const auto f = find(kBoolUnary, op, DType::Bool);
    for (size_t i = 0; i < out.size(); ++i) out[i] = f(x[i]);
  } else {
    const auto f = find(kIntUnary<T>, op, DType::Int64);
    for (size_t i = 0; i < out.size(); ++i) out[i] = f(x[i]);
  }
}

template <class T>
void binary(Op op, std::span<const T> a, std::span<const T> b, std::span<T> out) {
  if constexpr (std::is_floating_point_v<T>) {
    Real2* const f = find(kRealBinary, op, DType::Float64);
    for (size_t i = 0; i < out.size(); ++i)
      out[i] = static_cast<T>(f(static_cast<double>(a[i]), static_cast<double>(b[i])));
  } else if constexpr (std::is_same_v<T, bool>) {
    const auto f = find(kBoolBinary, op, DType::Bool);
    for (size_t i = 0; i < out.size(); ++i) out[i] = f(a[i], b[i]);
  } else {
    const auto f = find(kIntBinary<T>, op, DType::Int64);
    for (size_t i = 0; i < out.size(); ++i) out[i] = f(a[i], b[i]);
  }
}

template <class To, class From>
To convert(From x) {
  if constexpr (std::is_same_v<To, From>) {
    return x;
  } else if constexpr (is_narrow_type<From>) {
    return convert<To>(static_cast<float>(x));
  } else if constexpr (is_narrow_type<To>) {
    return To(convert<float>(x));
  } else if constexpr (std::is_same_v<To, bool>) {
    return x != 0;
  } else if constexpr (std::is_floating_point_v<From> && std::is_integral_v<To>) {
    // -low is a power of two and so exact in both float types; max is not.
    constexpr From low = static_cast<From>(std::numeric_limits<To>::min());
    if (is_nan(x)) return 0;
    if (x <= low) return std::numeric_limits<To>::min();
    if (x >= -low) return std::numeric_limits<To>::max();
    return static_cast<To>(x);
  } else {
    return static_cast<To>(x);  // C++20: integers wrap, floats round to nearest
  }
}

}  // namespace

Array cast_array(const Array& x, DType dtype) {
  Array out = make_array(dtype, x.shape);
  dispatch(x.dtype, [&](auto from_zero) {
    using From = decltype(from_zero);
    dispatch(dtype, [&](auto to_zero) {
      using To = decltype(to_zero);
      const std::span<const From> from = x.as<From>();
      const std::span<To> to = out.as<To>();
      for (size_t i = 0; i < to.size(); ++i) to[i] = convert<To>(from[i]);
    });
  });
  return out;
}

Array run_elementwise(const Graph& graph, NodeId id, Operands operands) {
  const Op op = graph[id].op;
  if (op == Op::Cast) return cast_array(*operands[0], graph.dtype(id));
  Array out = make_array(graph.dtype(id), graph.shape(id));
  for (const Array* operand : operands) COREGRAD_CHECK(operand->shape == out.shape);
  // The dtype of the values, which for a comparison is not the result's.
  const DType dtype = op == Op::Select ? out.dtype : operands[0]->dtype;
  dispatch(dtype, [&](auto zero) {
    using T = decltype(zero);
    if (op == Op::Select) {
      const std::span<const bool> condition = operands[0]->as<bool>();
      const std::span<const T> a = operands[1]->as<T>(), b = operands[2]->as<T>();
      const std::span<T> to = out.as<T>();
      for (size_t i = 0; i < to.size(); ++i) to[i] = condition[i] ? a[i] : b[i];
    } else if constexpr (is_only_stored_type<T>) {
      COREGRAD_CHECK(op == Op::Detach);
      out.data = operands[0]->data;
    } else if (family_of(op) == Family::Compare) {
      const auto f = find(kCompare<T>, op, dtype);
      const std::span<const T> a = operands[0]->as<T>(), b = operands[1]->as<T>();
      const std::span<bool> to = out.as<bool>();
      for (size_t i = 0; i < to.size(); ++i) to[i] = f(a[i], b[i]);
    } else if (family_of(op) == Family::Unary) {
      unary<T>(op, operands[0]->as<T>(), out.as<T>());
    } else {
      COREGRAD_CHECK(family_of(op) == Family::Binary);
      binary<T>(op, operands[0]->as<T>(), operands[1]->as<T>(), out.as<T>());
    }
  });
  return out;
}

}  // namespace coregrad::interp
