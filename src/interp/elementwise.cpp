// Unary, binary, compare, select and cast, element by element.

#include "interp/kernels.h"
#include "ir/scalar_functions.h"

#include <limits>

namespace coregrad::interp {
namespace {

/// The operation's function; one that is missing does not take the dtype.
template <class F>
F* found(F* function, Op op, DType dtype) {
  if (function == nullptr)
    raise<InternalError>("interpret: {} does not take {}", name_of(op), name_of(dtype));
  return function;
}

/// What elements of T are computed in: float32 as double, rounded once.
template <class T>
using Computed = std::conditional_t<std::is_floating_point_v<T>, double, T>;

template <class T>
void unary(Op op, DType dtype, std::span<const T> x, std::span<T> out) {
  using C = Computed<T>;
  const auto f = found(scalar::unary<C>(op), op, dtype);
  for (size_t i = 0; i < out.size(); ++i) out[i] = static_cast<T>(f(static_cast<C>(x[i])));
}

template <class T>
void binary(Op op, DType dtype, std::span<const T> a, std::span<const T> b, std::span<T> out) {
  using C = Computed<T>;
  const auto f = found(scalar::binary<C>(op), op, dtype);
  for (size_t i = 0; i < out.size(); ++i)
    out[i] = static_cast<T>(f(static_cast<C>(a[i]), static_cast<C>(b[i])));
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
      const auto f = found(scalar::compare<T>(op), op, dtype);
      const std::span<const T> a = operands[0]->as<T>(), b = operands[1]->as<T>();
      const std::span<bool> to = out.as<bool>();
      for (size_t i = 0; i < to.size(); ++i) to[i] = f(a[i], b[i]);
    } else if (family_of(op) == Family::Unary) {
      unary<T>(op, dtype, operands[0]->as<T>(), out.as<T>());
    } else {
      COREGRAD_CHECK(family_of(op) == Family::Binary);
      binary<T>(op, dtype, operands[0]->as<T>(), operands[1]->as<T>(), out.as<T>());
    }
  });
  return out;
}

}  // namespace coregrad::interp
