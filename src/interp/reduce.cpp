// Reductions and scans.

#include "interp/kernels.h"

#include <algorithm>
#include <memory>
#include <numeric>

namespace coregrad::interp {
namespace {

/// For each dimension of x the stride in the reduced result; 0 where it disappears.
std::vector<int64_t> result_strides(const Array& x, SymInts dims) {
  std::vector<int64_t> strides(x.shape.size(), 0);
  int64_t step = 1;
  for (size_t d = x.shape.size(); d-- > 0;) {
    if (std::find(dims.begin(), dims.end(), static_cast<int64_t>(d)) != dims.end()) continue;
    strides[d] = step;
    step *= x.shape[d];
  }
  return strides;
}

template <class T>
void sum_or_prod(Op op, const Array& x, SymInts strides, Array& out) {
  using C = CarrierOf<T>;
  const std::span<const T> from = x.as<T>();
  const std::span<T> to = out.as<T>();
  // Not vector<C>: bool would be packed.
  const auto carried = std::make_unique<C[]>(to.size());
  std::fill_n(carried.get(), to.size(), static_cast<C>(op == Op::Sum ? 0 : 1));
  walk(x.shape, strides, 0, [&](int64_t i, int64_t at) {
    const C value = static_cast<C>(from[i]);
    carried[at] = op == Op::Sum ? plus(carried[at], value) : times(carried[at], value);
  });
  for (size_t i = 0; i < to.size(); ++i) to[i] = static_cast<T>(carried[i]);
}

template <class T>
void extremes(bool want_max, const Array& x, SymInts strides, Array& out) {
  const std::span<const T> from = x.as<T>();
  const std::span<T> to = out.as<T>();
  std::vector<char> seen(to.size(), 0);
  walk(x.shape, strides, 0, [&](int64_t i, int64_t at) {
    const T value = from[i];
    const auto o = static_cast<size_t>(at);
    if (seen[o] == 0 || replaces(value, to[o], want_max)) to[o] = value;
    seen[o] = 1;
  });
}

template <class T>
void positions(bool want_max, const Array& x, int64_t dim, Array& out) {
  const Fold fold = fold_around(x.shape, dim);
  const std::span<const T> from = x.as<T>();
  const std::span<int64_t> to = out.as<int64_t>();
  for (int64_t o = 0; o < fold.outer; ++o)
    for (int64_t i = 0; i < fold.inner; ++i) {
      const auto element = [&](int64_t k) { return from[(o * fold.extent + k) * fold.inner + i]; };
      int64_t best = 0;
      for (int64_t k = 1; k < fold.extent; ++k)
        if (replaces(element(k), element(best), want_max)) best = k;
      to[o * fold.inner + i] = best;
    }
}

template <class T>
void scan(bool is_sum, const Array& x, int64_t dim, Array& out) {
  using C = CarrierOf<T>;
  const Fold fold = fold_around(x.shape, dim);
  const std::span<const T> from = x.as<T>();
  const std::span<T> to = out.as<T>();
  for (int64_t o = 0; o < fold.outer; ++o)
    for (int64_t i = 0; i < fold.inner; ++i) {
      C carried = static_cast<C>(is_sum ? 0 : 1);
      for (int64_t k = 0; k < fold.extent; ++k) {
        const auto at = static_cast<size_t>((o * fold.extent + k) * fold.inner + i);
        const C value = static_cast<C>(from[at]);
        carried = is_sum ? plus(carried, value) : times(carried, value);
        to[at] = static_cast<T>(carried);
      }
    }
}

template <class T>
void sorted_positions(bool descending, const Array& x, int64_t dim, Array& out) {
  const Fold fold = fold_around(x.shape, dim);
  const std::span<const T> from = x.as<T>();
  const std::span<int64_t> to = out.as<int64_t>();
  std::vector<int64_t> order(static_cast<size_t>(fold.outer * fold.inner == 0 ? 0 : fold.extent));
  for (int64_t o = 0; o < fold.outer; ++o)
    for (int64_t i = 0; i < fold.inner; ++i) {
      const auto at = [&](int64_t k) {
        return static_cast<size_t>((o * fold.extent + k) * fold.inner + i);
      };
      const auto less = [&](int64_t j, int64_t k) {
        const T a = from[at(j)], b = from[at(k)];
        return is_nan(b) ? !is_nan(a) : a < b;
      };
      std::iota(order.begin(), order.end(), 0);
      // Stable: equal elements keep their order in either direction.
      std::sort(order.begin(), order.end(), [&](int64_t j, int64_t k) {
        const bool first = descending ? less(k, j) : less(j, k);
        return first || (j < k && !less(j, k) && !less(k, j));
      });
      for (int64_t k = 0; k < fold.extent; ++k) to[at(k)] = order[k];
    }
}

}  // namespace

Array run_reduce(const Graph& graph, NodeId id, Operands operands) {
  const Op op = graph[id].op;
  const SymInts dims = graph.attrs(id);
  Array out = make_array(graph.dtype(id), graph.shape(id));
  const bool is_sum_or_prod = op == Op::Sum || op == Op::Prod;
  Array widened;
  const Array* x = operands[0];
  if (is_sum_or_prod && x->dtype != out.dtype) {
    widened = cast_array(*x, out.dtype);
    x = &widened;
  }
  if (!is_sum_or_prod && x->data.empty() && !out.data.empty())
    raise<ShapeError>("{}: nothing to choose from in a dimension of extent 0", name_of(op));
  const std::vector<int64_t> strides = result_strides(*x, dims);
  dispatch_computed(x->dtype, [&](auto zero) {
    using T = decltype(zero);
    if (is_sum_or_prod)
      sum_or_prod<T>(op, *x, strides, out);
    else if (op == Op::ReduceMax || op == Op::ReduceMin)
      extremes<T>(op == Op::ReduceMax, *x, strides, out);
    else
      positions<T>(op == Op::ArgMax, *x, dims[0], out);
  });
  return out;
}

Array run_scan(const Graph& graph, NodeId id, Operands operands) {
  const bool is_sum = graph[id].op == Op::CumSum;
  COREGRAD_CHECK(is_sum || graph[id].op == Op::CumProd);
  Array out = make_array(graph.dtype(id), graph.shape(id));
  Array widened;
  const Array* x = operands[0];
  if (x->dtype != out.dtype) {
    widened = cast_array(*x, out.dtype);
    x = &widened;
  }
  dispatch_computed(out.dtype,
                    [&](auto zero) { scan<decltype(zero)>(is_sum, *x, graph.attr(id, 0), out); });
  return out;
}

Array run_argsort(const Graph& graph, NodeId id, Operands operands) {
  COREGRAD_CHECK(graph[id].op == Op::ArgSort);
  Array out = make_array(graph.dtype(id), graph.shape(id));
  const Array& x = *operands[0];
  dispatch_computed(x.dtype, [&](auto zero) {
    sorted_positions<decltype(zero)>(graph.attr(id, 1) != 0, x, graph.attr(id, 0), out);
  });
  return out;
}

}  // namespace coregrad::interp
