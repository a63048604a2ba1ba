// Pooling: pad, view the windows, reduce them.

#include "base/checked.h"
#include "ops/conv.h"
#include "ops/detail.h"
#include "ops/math.h"

#include <algorithm>
#include <limits>

namespace coregrad::ops {
namespace {

struct Pool {
  size_t spatial, first;  ///< how many pooled dimensions, and which is the first
  Dims kernel, stride, padding, dilation;
  Dims high;  ///< padding after the end, with what ceil_mode adds
  Dims output;

  Pool(const Graph& g, NodeId x, const PoolOptions& options, std::string_view operation) {
    const auto rank = static_cast<size_t>(g.rank(x));
    // A kernel of one value is for all dimensions behind [N,C].
    spatial = options.kernel.size() > 1 ? options.kernel.size() : rank > 2 ? rank - 2 : 1;
    if (options.kernel.empty() || rank < spatial + 1)
      raise<ShapeError>("{}: the input must have channels and the pooled dimensions: got {}",
                        operation, describe(g, x));
    first = rank - spatial;
    kernel = per_dimension(options.kernel, spatial, 1, operation, "kernel");
    stride = options.stride.empty()
                 ? kernel
                 : per_dimension(options.stride, spatial, 1, operation, "stride");
    padding = per_dimension(options.padding, spatial, 0, operation, "padding");
    dilation = per_dimension(options.dilation, spatial, 1, operation, "dilation");
    for (size_t d = 0; d < spatial; ++d) {
      const int64_t extent = g.shape(x)[first + d];
      if (padding[d] > kernel[d] / 2)
        raise<ValueError>("{}: padding must be at most half the kernel: got {} for {}", operation,
                          padding[d], kernel[d]);
      const int64_t reach = checked_mul(dilation[d], kernel[d] - 1, operation);
      const int64_t room = checked_add(extent, 2 * padding[d], operation) - reach - 1;
      if (room < 0)
        raise<ShapeError>("{}: the window must fit into the padded input: got {} on {}", operation,
                          kernel[d], describe(g, x));
      int64_t count = (options.ceil_mode ? ceil_div(room, stride[d]) : room / stride[d]) + 1;
      // A window must begin inside the input or its left padding.
      if (options.ceil_mode && (count - 1) * stride[d] >= extent + padding[d]) --count;
      output.push_back(count);
      const int64_t used = (count - 1) * stride[d] + reach + 1;
      high.push_back(std::max(padding[d], used - extent - padding[d]));
    }
  }

  // The windows as trailing dimensions.
  NodeId windows(Graph& g, NodeId x, Scalar fill) const {
    Dims low(g.shape(x).size(), 0), after = low, between = low;
    std::vector<WindowDim> dims;
    for (size_t d = 0; d < spatial; ++d) {
      low[first + d] = padding[d];
      after[first + d] = high[d];
      dims.push_back({static_cast<int64_t>(first + d), kernel[d], stride[d], dilation[d]});
    }
    const NodeId w = window(g, pad(g, x, low, after, between, fill), dims);
    // More windows may fit than count, when the padding after the end is larger than it must be.
    Dims starts(g.shape(w).size(), 0), steps(starts.size(), 1), stops = shape_of(g, w);
    for (size_t d = 0; d < spatial; ++d) stops[first + d] = output[d];
    return slice(g, w, starts, stops, steps);
  }

  Dims window_dims(const Graph& g, NodeId x) const {
    Dims dims;
    for (size_t d = 0; d < spatial; ++d) dims.push_back(g.rank(x) + static_cast<int64_t>(d));
    return dims;
  }
};

Scalar lowest(DType dtype) {
  return is_float(dtype) ? Scalar::of_float(dtype, -std::numeric_limits<double>::infinity())
                         : Scalar::of_int(dtype, dtype == DType::Int32 ? INT32_MIN : INT64_MIN);
}

// begin(i) = floor(i n / o), end(i) = ceil((i + 1) n / o)
std::pair<int64_t, int64_t> adaptive_range(int64_t i, int64_t n, int64_t o) {
  return {checked_mul(i, n, "adaptive_pool") / o,
          ceil_div(checked_mul(i + 1, n, "adaptive_pool"), o)};
}

size_t require_adaptive(const Graph& g, NodeId x, std::span<const int64_t> output,
                        std::string_view operation) {
  const auto rank = static_cast<size_t>(g.rank(x));
  if (output.empty() || rank < output.size())
    raise<ShapeError>("{}: the input must have the {} pooled dimensions: got {}", operation,
                      output.size(), describe(g, x));
  for (size_t d = 0; d < output.size(); ++d)
    if (output[d] < 1 || g.shape(x)[rank - output.size() + d] < 1)
      raise<ShapeError>("{}: extents must be at least 1: got {} for {}", operation, output[d],
                        describe(g, x));
  return rank - output.size();
}

// Where windows have one size: dimension `dim` split into (output, size), and the size reduced.
NodeId reduce_even(Graph& g, Op op, NodeId x, size_t dim, int64_t output) {
  Dims shape = shape_of(g, x);
  const int64_t size = shape[dim] / output;
  shape[dim] = output;
  shape.insert(shape.begin() + static_cast<std::ptrdiff_t>(dim) + 1, size);
  return reduce(g, op, reshape(g, x, shape), {{static_cast<int64_t>(dim) + 1}});
}

// Windows of different sizes, one by one.
NodeId reduce_uneven(Graph& g, Op op, NodeId x, size_t dim, int64_t output) {
  const int64_t n = g.shape(x)[dim];
  const auto at = static_cast<int64_t>(dim);
  std::vector<NodeId> parts;
  for (int64_t i = 0; i < output; ++i) {
    const auto [begin, end] = adaptive_range(i, n, output);
    NodeId part = reduce(g, op, narrow(g, x, at, begin, end), {{at}}, true);
    if (op == Op::Sum) part = div(g, part, number_like(g, part, static_cast<double>(end - begin)));
    parts.push_back(part);
  }
  return concat(g, parts, at);
}

}  // namespace

NodeId max_pool(Graph& g, NodeId x, const PoolOptions& options) {
  const Pool pool(g, x, options, "max_pool");
  return reduce(g, Op::ReduceMax, pool.windows(g, x, lowest(g.dtype(x))), pool.window_dims(g, x));
}

std::pair<NodeId, NodeId> max_pool_with_indices(Graph& g, NodeId x, const PoolOptions& options) {
  const Pool pool(g, x, options, "max_pool");
  const NodeId values = max_pool(g, x, options);
  // The windows' elements as one dimension, of which the first greatest is taken.
  const NodeId windows = pool.windows(g, x, lowest(g.dtype(x)));
  Dims shape = shape_of(g, windows);
  shape.resize(shape.size() - pool.spatial);
  int64_t elements = 1;
  for (int64_t k : pool.kernel) elements = checked_mul(elements, k, "max_pool");
  Dims flat = shape;
  flat.push_back(elements);
  const NodeId best =
      reduce(g, Op::ArgMax, reshape(g, windows, flat), {{static_cast<int64_t>(shape.size())}});
  // Digits of the offset in the window give the place along each dimension.
  NodeId position = literal(g, Scalar::of_int(DType::Int64, 0));
  const auto integer = [&](int64_t v) { return literal(g, Scalar::of_int(DType::Int64, v)); };
  int64_t below = elements;
  for (size_t d = 0; d < pool.spatial; ++d) {
    below /= pool.kernel[d];
    const NodeId digit = binary(g, Op::Rem, div(g, best, integer(below)), integer(pool.kernel[d]));
    Dims along(shape.size(), 1);
    along[pool.first + d] = pool.output[d];
    const NodeId origin = add(
        g,
        mul(g, reshape(g, iota(g, DType::Int64, pool.output[d]), along), integer(pool.stride[d])),
        integer(-pool.padding[d]));
    const NodeId place = add(g, origin, mul(g, digit, integer(pool.dilation[d])));
    position = add(g, mul(g, position, integer(g.shape(x)[pool.first + d])), place);
  }
  return {values, position};
}

NodeId avg_pool(Graph& g, NodeId x, const PoolOptions& options) {
  if (!is_float(g.dtype(x)))
    raise<DTypeError>("avg_pool: the input must be floating: got {}", describe(g, x));
  const Pool pool(g, x, options, "avg_pool");
  const NodeId total =
      reduce(g, Op::Sum, pool.windows(g, x, Scalar::of(g.dtype(x), 0)), pool.window_dims(g, x));
  if (options.divisor_override) {
    if (*options.divisor_override == 0) raise<ValueError>("avg_pool: the divisor must not be 0");
    return div(g, total, number_like(g, total, static_cast<double>(*options.divisor_override)));
  }
  // Elements of window o along a dimension that count: a vector, or a constant when all are equal.
  NodeId count = number_like(g, x, 1);
  for (size_t d = 0; d < pool.spatial; ++d) {
    const int64_t extent = g.shape(x)[pool.first + d];
    const int64_t low = options.count_include_pad ? -pool.padding[d] : 0;
    const int64_t end = extent + (options.count_include_pad ? pool.padding[d] : 0);
    const int64_t last = (pool.output[d] - 1) * pool.stride[d] - pool.padding[d] + pool.kernel[d];
    if (-pool.padding[d] >= low && last <= end) {
      count = mul(g, count, number_like(g, x, static_cast<double>(pool.kernel[d])));
      continue;
    }
    Dims along(static_cast<size_t>(g.rank(x)), 1);
    along[pool.first + d] = pool.output[d];
    const auto integer = [&](int64_t v) { return literal(g, Scalar::of_int(DType::Int64, v)); };
    const NodeId begin =
        add(g, mul(g, iota(g, DType::Int64, pool.output[d]), integer(pool.stride[d])),
            integer(-pool.padding[d]));
    const NodeId stop = minimum(g, add(g, begin, integer(pool.kernel[d])), integer(end));
    const NodeId inside = sub(g, stop, maximum(g, begin, integer(low)));
    count = mul(g, count, reshape(g, cast(g, inside, g.dtype(x)), along));
  }
  return div(g, total, count);
}

NodeId adaptive_avg_pool(Graph& g, NodeId x, std::span<const int64_t> output) {
  if (!is_float(g.dtype(x)))
    raise<DTypeError>("adaptive_avg_pool: the input must be floating: got {}", describe(g, x));
  const size_t first = require_adaptive(g, x, output, "adaptive_avg_pool");
  int64_t elements = 1;
  for (size_t d = 0; d < output.size(); ++d) {
    const int64_t n = g.shape(x)[first + d];
    if (n % output[d] != 0) {
      x = reduce_uneven(g, Op::Sum, x, first + d, output[d]);
      continue;
    }
    elements *= n / output[d];
    x = reduce_even(g, Op::Sum, x, first + d, output[d]);
  }
  return div(g, x, number_like(g, x, static_cast<double>(elements)));
}

NodeId adaptive_max_pool(Graph& g, NodeId x, std::span<const int64_t> output) {
  const size_t first = require_adaptive(g, x, output, "adaptive_max_pool");
  for (size_t d = 0; d < output.size(); ++d)
    x = g.shape(x)[first + d] % output[d] == 0
            ? reduce_even(g, Op::ReduceMax, x, first + d, output[d])
            : reduce_uneven(g, Op::ReduceMax, x, first + d, output[d]);
  return x;
}

}  // namespace coregrad::ops
