#pragma once
// Internal to the interpreter: one function a family, and the index walks they share.
//
// Arithmetic of the reference: integers wrap around; float32 elementwise results are computed in
// double and rounded once; sums and products over many elements (reduce, contract, scan, scatter)
// accumulate in the next wider type (float32 in double, float64 in long double) and are rounded
// once per result element.

#include "base/error.h"
#include "interp/interpreter.h"
#include "ir/graph.h"
#include "ir/scalar_functions.h"

#include <cstdint>
#include <span>
#include <type_traits>
#include <vector>

namespace coregrad::interp {

using Operands = std::span<const Array* const>;

/// Each computes one node from its operands' values.
Array run_leaf(const Graph& graph, NodeId id, Operands operands, std::span<const InputView> inputs);
Array run_elementwise(const Graph& graph, NodeId id, Operands operands);
Array run_view(const Graph& graph, NodeId id, Operands operands);
Array run_reduce(const Graph& graph, NodeId id, Operands operands);
Array run_contract(const Graph& graph, NodeId id, Operands operands);
Array run_gather(const Graph& graph, NodeId id, Operands operands);
Array run_scatter(const Graph& graph, NodeId id, Operands operands);
Array run_scan(const Graph& graph, NodeId id, Operands operands);
Array run_argsort(const Graph& graph, NodeId id, Operands operands);
Array run_iterate(const Graph& graph, NodeId id, Operands operands);

/// `x` converted to another dtype by the rules of Op::Cast.
Array cast_array(const Array& x, DType dtype);
/// An array of zeros.
Array make_array(DType dtype, Shape shape);

template <class T>
inline constexpr bool is_narrow_type = std::is_same_v<T, Float16> || std::is_same_v<T, BFloat16>;
/// What is moved and converted; the verifier keeps all other operations away from it.
template <class T>
inline constexpr bool is_only_stored_type =
    is_narrow_type<T> || std::is_same_v<T, int8_t> || std::is_same_v<T, uint8_t> ||
    std::is_same_v<T, int16_t> || std::is_same_v<T, uint16_t> || std::is_same_v<T, uint32_t>;

/// Calls fn with a zero of the C++ type of `dtype`.
template <class F>
auto dispatch(DType dtype, F&& fn) {
  switch (dtype) {
    case DType::Bool:
      return fn(bool{});
    case DType::Int32:
      return fn(int32_t{});
    case DType::Int64:
      return fn(int64_t{});
    case DType::Float16:
      return fn(Float16{});
    case DType::BFloat16:
      return fn(BFloat16{});
    case DType::Float32:
      return fn(float{});
    case DType::Float64:
      return fn(double{});
    case DType::Int8:
      return fn(int8_t{});
    case DType::UInt8:
      return fn(uint8_t{});
    case DType::Int16:
      return fn(int16_t{});
    case DType::UInt16:
      return fn(uint16_t{});
    case DType::UInt32:
      return fn(uint32_t{});
  }
  COREGRAD_UNREACHABLE("dtype");
}

/// The same for dtypes that are computed with.
template <class F>
auto dispatch_computed(DType dtype, F&& fn) {
  using Result = decltype(fn(bool{}));
  return dispatch(dtype, [&](auto zero) -> Result {
    if constexpr (is_only_stored_type<decltype(zero)>)
      raise<InternalError>("interpret: {} is stored, not computed with", name_of(dtype));
    else
      return fn(zero);
  });
}

/// A scalar as an element.
template <class T>
T element_from(Scalar value) {
  if constexpr (std::is_floating_point_v<T> || is_narrow_type<T>)
    return static_cast<T>(static_cast<std::conditional_t<is_narrow_type<T>, float, T>>(value.f));
  else
    return static_cast<T>(value.i);
}

/// The type that sums and products of T are carried in: wider for floats, unsigned for integers.
template <class T>
struct Carrier {
  using type = std::conditional_t<
      std::is_same_v<T, float>, double,
      std::conditional_t<
          std::is_same_v<T, double>, long double,
          std::conditional_t<std::is_same_v<T, int32_t>, uint32_t,
                             std::conditional_t<std::is_same_v<T, int64_t>, uint64_t, bool>>>>;
};
template <class T>
using CarrierOf = typename Carrier<T>::type;

/// Sum in the carrier; logical or for bool.
template <class C>
C plus(C a, C b) {
  if constexpr (std::is_same_v<C, bool>)
    return a || b;
  else
    return a + b;
}
/// Product in the carrier; logical and for bool.
template <class C>
C times(C a, C b) {
  if constexpr (std::is_same_v<C, bool>)
    return a && b;
  else
    return a * b;
}

template <class T>
bool is_nan(T x) {
  if constexpr (std::is_floating_point_v<T>)
    return x != x;
  else
    return false;
}

using scalar::replaces;

/// Row-major strides in elements.
std::vector<int64_t> row_major(Shape shape);

/// Calls fn(number, offset) for every index of `shape` in row-major order, with
/// offset = start + sum(index * strides).
template <class F>
void walk(Shape sizes, SymInts steps, int64_t start, F&& fn) {
  const std::span<const int64_t> shape = sizes.numbers(), strides = steps.numbers();
  for (const int64_t extent : shape)
    if (extent == 0) return;
  std::vector<int64_t> index(shape.size(), 0);
  int64_t number = 0, offset = start;
  for (;;) {
    fn(number++, offset);
    size_t d = shape.size();
    for (; d > 0; --d) {
      if (++index[d - 1] < shape[d - 1]) {
        offset += strides[d - 1];
        break;
      }
      offset -= strides[d - 1] * (shape[d - 1] - 1);
      index[d - 1] = 0;
    }
    if (d == 0) return;
  }
}

/// A shape seen as [outer, extent, inner] around one dimension.
struct Fold {
  int64_t outer = 1, extent = 1, inner = 1;
};
Fold fold_around(Shape shape, int64_t dim);

}  // namespace coregrad::interp
