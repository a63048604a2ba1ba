// Gather and scatter.

#include "interp/kernels.h"

#include <memory>

namespace coregrad::interp {
namespace {

/// The index if it lies in [0, extent).
int64_t checked_index(Op op, int64_t index, int64_t dim, int64_t extent) {
  if (index < 0 || index >= extent)
    raise<IndexError>("{}: index {} is out of range for dimension {} of extent {}", name_of(op),
                      index, dim, extent);
  return index;
}

/// Strides of `other` with 0 for `dim`: where an index array's element points, but for that
/// dimension.
std::vector<int64_t> strides_without(const Array& other, int64_t dim) {
  std::vector<int64_t> strides = row_major(other.shape);
  strides[dim] = 0;
  return strides;
}

template <class C>
C combine(ScatterMode mode, C old_value, C value) {
  if constexpr (is_narrow_type<C>) {
    COREGRAD_CHECK(mode == ScatterMode::Set);
    return value;
  } else {
    switch (mode) {
      case ScatterMode::Set:
        return value;
      case ScatterMode::Add:
        return plus(old_value, value);
      case ScatterMode::Mul:
        return times(old_value, value);
      case ScatterMode::Max:
        return replaces(value, old_value, true) ? value : old_value;
      case ScatterMode::Min:
        return replaces(value, old_value, false) ? value : old_value;
    }
  }
  COREGRAD_UNREACHABLE("scatter mode");
}

/// Sums and products are carried in C and rounded once; the other modes are exact in T itself.
template <class T, class C>
void scatter(ScatterMode mode, const Array& x, int64_t dim, const Array& index, const Array& values,
             Array& out) {
  const std::span<const T> from = x.as<T>(), add = values.as<T>();
  const SymInts places = index.as<int64_t>();
  const auto carried = std::make_unique<C[]>(from.size());
  for (size_t i = 0; i < from.size(); ++i) carried[i] = static_cast<C>(from[i]);

  const int64_t extent = x.shape[dim];
  const int64_t stride = row_major(x.shape)[dim];
  // Two walks in step: where each index element lies in x (but for dim) and in values.
  std::vector<int64_t> bases(places.size());
  walk(index.shape, strides_without(x, dim), 0,
       [&](int64_t i, int64_t offset) { bases[i] = offset; });
  walk(index.shape, row_major(values.shape), 0, [&](int64_t i, int64_t offset) {
    const auto k = static_cast<size_t>(i);
    const int64_t at = bases[k] + checked_index(Op::Scatter, places[k], dim, extent) * stride;
    C& target = carried[at];
    target = combine<C>(mode, target, static_cast<C>(add[offset]));
  });
  const std::span<T> to = out.as<T>();
  for (size_t i = 0; i < to.size(); ++i) to[i] = static_cast<T>(carried[i]);
}

}  // namespace

Array run_gather(const Graph& graph, NodeId id, Operands operands) {
  const Array &x = *operands[0], &index = *operands[1];
  const int64_t dim = graph.attr(id, 0);
  Array out = make_array(graph.dtype(id), graph.shape(id));
  COREGRAD_CHECK(out.shape == index.shape && static_cast<size_t>(dim) < x.shape.size());
  const int64_t extent = x.shape[dim];
  const int64_t stride = row_major(x.shape)[dim];
  const SymInts places = index.as<int64_t>();
  dispatch(out.dtype, [&](auto zero) {
    using T = decltype(zero);
    const std::span<const T> from = x.as<T>();
    const std::span<T> to = out.as<T>();
    walk(out.shape, strides_without(x, dim), 0, [&](int64_t i, int64_t offset) {
      const auto k = static_cast<size_t>(i);
      const int64_t at = offset + checked_index(Op::Gather, places[k], dim, extent) * stride;
      to[k] = from[at];
    });
  });
  return out;
}

Array run_scatter(const Graph& graph, NodeId id, Operands operands) {
  const Array &x = *operands[0], &index = *operands[1], &values = *operands[2];
  const int64_t dim = graph.attr(id, 0);
  const auto mode = static_cast<ScatterMode>(graph.attr(id, 1).number());
  Array out = make_array(graph.dtype(id), graph.shape(id));
  COREGRAD_CHECK(out.shape == x.shape && static_cast<size_t>(dim) < x.shape.size());
  dispatch(out.dtype, [&](auto zero) {
    using T = decltype(zero);
    if constexpr (!is_narrow_type<T>)
      if (mode == ScatterMode::Add || mode == ScatterMode::Mul) {
        scatter<T, CarrierOf<T>>(mode, x, dim, index, values, out);
        return;
      }
    scatter<T, T>(mode, x, dim, index, values, out);
  });
  return out;
}

}  // namespace coregrad::interp
