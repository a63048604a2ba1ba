// Pooling: pad, view the windows, reduce them.

#include "base/checked.h"
#include "ops/conv.h"
#include "ops/detail.h"
#include "ops/expression.h"
#include "ops/indexing.h"

#include <algorithm>
#include <limits>
#include <numeric>

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
      const SymInt extent = g.shape(x)[first + d];
      if (padding[d] > kernel[d] / 2)
        raise<ValueError>("{}: padding must be at most half the kernel: got {} for {}", operation,
                          padding[d], kernel[d]);
      const SymInt reach = checked_mul(dilation[d], kernel[d] - 1, operation);
      const SymInt room = checked_add(extent, 2 * padding[d], operation) - reach - 1;
      if (room < 0)
        raise<ShapeError>("{}: the window must fit into the padded input: got {} on {}", operation,
                          kernel[d], describe(g, x));
      SymInt count = (options.ceil_mode ? ceil_div(room, stride[d]) : room / stride[d]) + 1;
      // A window must begin inside the input or its left padding.
      if (options.ceil_mode && (count - 1) * stride[d] >= extent + padding[d]) count -= 1;
      output.push_back(count);
      if (!options.ceil_mode) {
        high.push_back(padding[d]);
        continue;
      }
      const SymInt used = (count - 1) * stride[d] + reach + 1, missing = used - extent - padding[d];
      high.push_back(missing > padding[d] ? missing : padding[d]);
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
                         : Scalar::lowest(dtype);
}

// Elements of a window that are compared one by one, in one elementwise kernel.
constexpr int64_t kLargestUnrolled = 16;

NodeId integer(Graph& g, DType dtype, SymInt v) {
  return v.is_number() ? literal(g, Scalar::of_int(dtype, v.number())) : cast(g, size(g, v), dtype);
}

SymInt product(SymInts extents, std::string_view operation) {
  SymInt all = 1;
  for (const SymInt n : extents) all = checked_mul(all, n, operation);
  return all;
}

// int32 where it holds every position of the pooled dimensions, which is cheaper.
DType position_dtype(const Graph& g, NodeId x, size_t first) {
  const SymInt area = product(g.shape(x).subspan(first), "max_pool");
  return area <= INT32_MAX ? DType::Int32 : DType::Int64;
}

// The first place inside the input of windows that may start in front of it.
NodeId first_inside(Graph& g, NodeId start, SymInt dilation, SymInt extent) {
  const DType dtype = g.dtype(start);
  const NodeId zero = integer(g, dtype, 0);
  if (dilation == 1) return maximum(g, start, zero);
  const NodeId missing = maximum(g, neg(g, start), zero);
  const NodeId steps = binary(g, Op::Div, add(g, missing, integer(g, dtype, dilation - 1)),
                              integer(g, dtype, dilation));
  return minimum(g, add(g, start, mul(g, steps, integer(g, dtype, dilation))),
                 integer(g, dtype, extent - 1));
}

// Positions along each pooled dimension as one in the flattened dimensions.
NodeId flat_position(Graph& g, const std::vector<NodeId>& places, Shape extents) {
  NodeId position = places[0];
  for (size_t d = 1; d < places.size(); ++d)
    position = add(g, mul(g, position, integer(g, g.dtype(position), extents[d])), places[d]);
  return position;
}

// Offsets along each dimension of windows, from those in the windows' elements as a row.
std::vector<NodeId> digits(Graph& g, NodeId offset, SymInts kernel) {
  std::vector<NodeId> all(kernel.size());
  for (size_t d = kernel.size(); d-- > 0;) {
    const NodeId size = integer(g, g.dtype(offset), kernel[d]);
    all[d] = binary(g, Op::Rem, offset, size);
    offset = binary(g, Op::Div, offset, size);
  }
  return all;
}

// Where the largest element of the last dimension stands: the first, and of NaN the last.
NodeId place_of_largest(Graph& g, NodeId windows) {
  const int64_t last = g.rank(windows) - 1;
  const NodeId best = reduce(g, Op::ArgMax, windows, {{last}});
  if (!is_float(g.dtype(windows))) return best;
  const NodeId place = iota(g, DType::Int64, g.shape(windows).back());
  const NodeId last_nan =
      reduce(g, Op::ReduceMax, select(g, isnan(g, windows), place, integer(g, DType::Int64, -1)),
             {{last}});
  return select(g, compare(g, Op::Lt, last_nan, integer(g, DType::Int64, 0)), best, last_nan);
}

// The dimensions from `kept` on as one.
NodeId flattened(Graph& g, NodeId x, size_t kept) {
  Dims shape = shape_of(g, x);
  const SymInt elements = product(std::span(shape).subspan(kept), "pool");
  shape.resize(kept);
  shape.push_back(elements);
  return reshape(g, x, shape);
}

// Elements of x at flat positions [.., o..] in its dimensions from `first` on.
NodeId take(Graph& g, NodeId x, size_t first, NodeId position) {
  const Dims shape = shape_of(g, position);
  const NodeId flat = flattened(g, position, first);
  return reshape(g, gather(g, flattened(g, x, first), static_cast<int64_t>(first), flat), shape);
}

size_t require_adaptive(const Graph& g, NodeId x, SymInts output, std::string_view operation) {
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

// Where each of `places` windows over an extent starts and ends: floor(i n / o) and
// ceil((i + 1) n / o).
struct AdaptiveBounds {
  NodeId start, end;

  AdaptiveBounds(Graph& g, SymInt extent, SymInt places) {
    checked_mul(extent, places, "adaptive_pool");
    const NodeId begun = mul(g, iota(g, DType::Int64, places), size(g, extent));
    start = binary(g, Op::Div, begun, size(g, places));
    end = binary(g, Op::Div, add(g, begun, size(g, extent + places - 1)), size(g, places));
  }
};

// As many elements as such a window has at most.
SymInt largest_window(SymInt extent, SymInt places) {
  if (SymInt::are_equal(floor_mod(extent, places), 0)) return extent / places;
  if (!extent.is_number() || !places.is_number()) return ceil_div(extent, places) + 1;
  const int64_t n = extent.number(), results = places.number();
  int64_t size = 0;
  for (int64_t o = 0; o < results; ++o)
    size = std::max(size, ceil_div((o + 1) * n, results) - o * n / results);
  return size;
}

bool is_even(Shape extents, SymInts output) {
  bool all = true;
  for (size_t d = 0; d < output.size(); ++d) all = all && extents[d] % output[d] == 0;
  return all;
}

// [outer.., o.., k..] of windows of one size.
NodeId even_windows(Graph& g, NodeId x, size_t first, SymInts output) {
  Dims shape(g.shape(x).begin(), g.shape(x).begin() + static_cast<std::ptrdiff_t>(first));
  Dims order(first), inner;
  std::iota(order.begin(), order.end(), 0);
  for (size_t d = 0; d < output.size(); ++d) {
    order.push_back(static_cast<int64_t>(shape.size()));
    inner.push_back(static_cast<int64_t>(shape.size()) + 1);
    shape.insert(shape.end(), {output[d], g.shape(x)[first + d] / output[d]});
  }
  order.insert(order.end(), inner.begin(), inner.end());
  return permute(g, reshape(g, x, shape), order);
}

// The mean, for each window over a dimension, of its elements. They are not multiplied by 0 and 1:
// an infinite element would make every sum NaN.
NodeId mean_of_windows(Graph& g, NodeId x, size_t dim, SymInt places) {
  const SymInt extent = g.shape(x)[dim];
  const auto rank = static_cast<size_t>(g.rank(x));
  const AdaptiveBounds bounds(g, extent, places);
  const NodeId column = iota(g, DType::Int64, extent);
  const NodeId covers = binary(g, Op::And, compare(g, Op::Le, along(g, bounds.start, 0, 2), column),
                               compare(g, Op::Lt, column, along(g, bounds.end, 0, 2)));
  Dims shape(rank + 1, 1);
  shape[dim] = places;
  shape[dim + 1] = extent;
  const auto at = static_cast<int64_t>(dim);
  const NodeId chosen =
      select(g, reshape(g, covers, shape), unsqueeze(g, x, at), number_like(g, x, 0));
  const NodeId count = cast(g, sub(g, bounds.end, bounds.start), g.dtype(x));
  return div(g, reduce(g, Op::Sum, chosen, {{at + 1}}), along(g, count, dim, rank));
}

// Where the windows of a dimension start, [outer.., places], by a number in [0, 1) each, [outer..].
NodeId pseudorandom_starts(Graph& g, NodeId sample, int64_t extent, int64_t size, int64_t places) {
  Dims shape = shape_of(g, sample);
  shape.push_back(places);
  const NodeId last = broadcast_to(g, integer(g, DType::Int64, extent - size), shape);
  if (places == 1) return last;
  // PyTorch's kernel computes in the input's precision, and whole numbers must come out the same.
  const Expr u(g, sample), ahead(g, unsqueeze(g, sample, -1));
  const Expr alpha =
      Expr(static_cast<double>(extent - size)).beside(u) / static_cast<double>(places - 1);
  const NodeId place = iota(g, DType::Int64, places);
  const Expr reached = (Expr(g, cast(g, place, g.dtype(sample))) + ahead) * alpha;
  const NodeId first = unsqueeze(g, cast(g, (u * alpha).node, DType::Int64), -1);
  const NodeId start = sub(g, cast(g, reached.node, DType::Int64), first);
  return select(g, compare(g, Op::Lt, place, integer(g, DType::Int64, places - 1)), start, last);
}

// The numbers of one pooled dimension, [outer..], of samples [N, C, spatial].
NodeId samples_of(Graph& g, NodeId samples, size_t d, size_t spatial, const Dims& outer) {
  const size_t which = spatial == 2 ? 1 - d : d;  // PyTorch's order
  // Without a batch PyTorch reads the first samples, however many there are.
  if (outer.size() == 1) samples = narrow(g, samples, 0, 0, 1);
  const auto at = static_cast<int64_t>(which);
  return reshape(g, narrow(g, samples, 2, at, at + 1), outer);
}

void require_fractional(const Graph& g, NodeId x, const Dims& kernel, const Dims& output,
                        NodeId samples) {
  const size_t spatial = output.size(), rank = g.shape(x).size(), first = rank - spatial;
  const Shape numbers = g.shape(samples);
  const bool fits = numbers.size() == 3 && numbers[2] == static_cast<int64_t>(spatial) &&
                    numbers[1] == g.shape(x)[first - 1] &&
                    (first == 1 ? numbers[0] > 0 : numbers[0] == g.shape(x)[0]) &&
                    is_float(g.dtype(samples));
  if (!fits)
    raise<ShapeError>("fractional_max_pool: the samples must be floats [N, C, {}]: got {} for {}",
                      spatial, describe(g, samples), describe(g, x));
  for (size_t d = 0; d < spatial; ++d)
    if (output[d] < 1 || kernel[d] < 1 || output[d] - 1 > g.shape(x)[first + d] - kernel[d])
      raise<ShapeError>("fractional_max_pool: windows of {} must start at {} places: got {}",
                        kernel[d], output[d], describe(g, x));
  if (g.numel(x) == 0)
    raise<ShapeError>("fractional_max_pool: the input must have elements: got {}", describe(g, x));
}

}  // namespace

std::pair<NodeId, NodeId> max_pool_with_indices(Graph& g, NodeId x, const PoolOptions& options) {
  const Pool pool(g, x, options, "max_pool");
  const NodeId windows = pool.windows(g, x, lowest(g.dtype(x)));
  const auto rank = static_cast<size_t>(g.rank(x));
  const Shape extents = g.shape(x).subspan(pool.first);
  const DType dtype = position_dtype(g, x, pool.first);
  std::vector<NodeId> starts, places;
  for (size_t d = 0; d < pool.spatial; ++d) {
    const NodeId start =
        add(g, mul(g, iota(g, dtype, pool.output[d]), integer(g, dtype, pool.stride[d])),
            integer(g, dtype, -pool.padding[d]));
    starts.push_back(along(g, start, pool.first + d, rank));
  }
  const int64_t elements = product(pool.kernel, "max_pool");
  if (elements > kLargestUnrolled) {
    const NodeId offset = place_of_largest(g, flattened(g, windows, rank));
    const std::vector<NodeId> steps = digits(g, cast(g, offset, dtype), pool.kernel);
    for (size_t d = 0; d < pool.spatial; ++d) {
      const NodeId place = add(g, starts[d], mul(g, steps[d], integer(g, dtype, pool.dilation[d])));
      // A window of nothing but -inf may choose padding; PyTorch names the first place inside.
      places.push_back(minimum(g, first_inside(g, place, pool.dilation[d], extents[d]),
                               integer(g, dtype, extents[d] - 1)));
    }
    const NodeId position = cast(g, flat_position(g, places, extents), DType::Int64);
    return {take(g, x, pool.first, position), position};
  }
  for (size_t d = 0; d < pool.spatial; ++d)
    places.push_back(first_inside(g, starts[d], pool.dilation[d], extents[d]));
  Dims shape = shape_of(g, windows);
  shape.resize(rank);
  const NodeId corner = flat_position(g, starts, extents);
  NodeId best, place = broadcast_to(g, flat_position(g, places, extents), shape);
  for (int64_t element = 0; element < elements; ++element) {
    // Digits of the element's number are its offsets in the window.
    NodeId value = windows;
    int64_t rest = element;
    SymInt step = 0, pitch = 1;
    for (size_t d = pool.spatial; d-- > 0;) {
      const int64_t offset = rest % pool.kernel[d];
      rest /= pool.kernel[d];
      value = narrow(g, value, static_cast<int64_t>(rank + d), offset, offset + 1);
      step += offset * pool.dilation[d] * pitch;
      pitch *= extents[d];
    }
    value = reshape(g, value, shape);
    if (element == 0) {
      best = value;  // at the first place inside, or padding, which nothing is below
      continue;
    }
    // The first of equal elements wins, and the last NaN.
    const NodeId wins = binary(g, Op::Or, compare(g, Op::Lt, best, value), isnan(g, value));
    best = select(g, wins, value, best);
    place = select(g, wins, add(g, corner, integer(g, dtype, step)), place);
  }
  return {best, cast(g, place, DType::Int64)};
}

NodeId max_pool(Graph& g, NodeId x, const PoolOptions& options) {
  return max_pool_with_indices(g, x, options).first;
}

NodeId avg_pool(Graph& g, NodeId x, const PoolOptions& options) {
  const Pool pool(g, x, options, "avg_pool");
  const NodeId total =
      reduce(g, Op::Sum, pool.windows(g, x, Scalar::of(g.dtype(x), 0)), pool.window_dims(g, x));
  if (options.divisor_override) {
    if (*options.divisor_override == 0) raise<ValueError>("avg_pool: the divisor must not be 0");
    return binary(g, Op::Div, total,
                  number_like(g, total, static_cast<double>(*options.divisor_override)));
  }
  // Elements of window o along a dimension that count: a vector, or a constant when all are equal.
  NodeId count = number_like(g, x, 1);
  for (size_t d = 0; d < pool.spatial; ++d) {
    const SymInt extent = g.shape(x)[pool.first + d];
    const SymInt low = options.count_include_pad ? -pool.padding[d] : SymInt(0);
    const SymInt end = extent + (options.count_include_pad ? pool.padding[d] : SymInt(0));
    const SymInt last = (pool.output[d] - 1) * pool.stride[d] - pool.padding[d] + pool.kernel[d];
    if (SymInt::is_at_most(low, -pool.padding[d]) && SymInt::is_at_most(last, end)) {
      count = mul(g, count, number_like(g, x, static_cast<double>(pool.kernel[d])));
      continue;
    }
    const NodeId begin =
        add(g, mul(g, iota(g, DType::Int64, pool.output[d]), size(g, pool.stride[d])),
            size(g, -pool.padding[d]));
    const NodeId stop = minimum(g, add(g, begin, size(g, pool.kernel[d])), size(g, end));
    const NodeId inside = sub(g, stop, maximum(g, begin, size(g, low)));
    count =
        mul(g, count,
            along(g, cast(g, inside, g.dtype(x)), pool.first + d, static_cast<size_t>(g.rank(x))));
  }
  // Quotients of integers are rounded towards zero, as in PyTorch.
  return binary(g, Op::Div, total, count);
}

NodeId adaptive_avg_pool(Graph& g, NodeId x, SymInts output) {
  if (!is_float(g.dtype(x)))
    raise<DTypeError>("adaptive_avg_pool: the input must be floating: got {}", describe(g, x));
  const size_t first = require_adaptive(g, x, output, "adaptive_avg_pool");
  if (is_even(g.shape(x).subspan(first), output)) {
    const NodeId windows = flattened(g, even_windows(g, x, first, output), first + output.size());
    return mean(g, windows, {{-1}});
  }
  for (size_t d = 0; d < output.size(); ++d) x = mean_of_windows(g, x, first + d, output[d]);
  return x;
}

std::pair<NodeId, NodeId> adaptive_max_pool_with_indices(Graph& g, NodeId x, SymInts output) {
  const size_t first = require_adaptive(g, x, output, "adaptive_max_pool");
  const auto rank = static_cast<size_t>(g.rank(x));
  const Dims extents(g.shape(x).begin() + static_cast<std::ptrdiff_t>(first), g.shape(x).end());
  std::vector<AdaptiveBounds> bounds;
  Dims kernel, wide;
  for (size_t d = 0; d < output.size(); ++d) {
    bounds.emplace_back(g, extents[d], output[d]);
    kernel.push_back(largest_window(extents[d], output[d]));
    wide.push_back(checked_mul(kernel.back(), output[d], "adaptive_max_pool"));
  }
  // Smaller windows repeat their last element.
  const auto limited = [&](NodeId position, NodeId end) {
    return minimum(g, position, sub(g, end, integer(g, DType::Int64, 1)));
  };
  NodeId spread = x;
  if (!are_equal(wide, extents))
    for (size_t d = 0; d < output.size(); ++d) {
      const NodeId position =
          limited(add(g, along(g, bounds[d].start, 0, 2), iota(g, DType::Int64, kernel[d])),
                  along(g, bounds[d].end, 0, 2));
      const Dims flat{wide[d]};
      spread = index_select(g, spread, static_cast<int64_t>(first + d), reshape(g, position, flat));
    }
  const NodeId windows = flattened(g, even_windows(g, spread, first, output), rank);
  const NodeId offset = place_of_largest(g, windows);
  const std::vector<NodeId> steps = digits(g, offset, kernel);
  std::vector<NodeId> places;
  for (size_t d = 0; d < output.size(); ++d)
    places.push_back(limited(add(g, along(g, bounds[d].start, first + d, rank), steps[d]),
                             along(g, bounds[d].end, first + d, rank)));
  const NodeId position = flat_position(g, places, extents);
  return {take(g, x, first, position), position};
}

NodeId adaptive_max_pool(Graph& g, NodeId x, SymInts output) {
  return adaptive_max_pool_with_indices(g, x, output).first;
}

std::pair<NodeId, NodeId> fractional_max_pool_with_indices(Graph& g, NodeId x, const Dims& kernel,
                                                           const Dims& output, NodeId samples) {
  const auto rank = static_cast<size_t>(g.rank(x));
  const size_t spatial = output.size();
  if (rank != spatial + 1 && rank != spatial + 2)
    raise<ShapeError>(
        "fractional_max_pool: the input must be [N, C, ..] or [C, ..] with {} pooled "
        "dimensions: got {}",
        spatial, describe(g, x));
  const Dims sizes = per_dimension(kernel, spatial, 1, "fractional_max_pool", "kernel");
  require_fractional(g, x, sizes, output, samples);
  const size_t first = rank - spatial;
  const Dims shape = shape_of(g, x);
  const Dims outer(shape.begin(), shape.begin() + static_cast<std::ptrdiff_t>(first));
  const Dims extents(shape.begin() + static_cast<std::ptrdiff_t>(first), shape.end());
  std::vector<NodeId> starts;
  NodeId spread = x;
  for (size_t d = 0; d < spatial; ++d) {
    const NodeId sample = samples_of(g, samples, d, spatial, outer);
    const NodeId start = pseudorandom_starts(g, sample, extents[d], sizes[d], output[d]);
    const NodeId position = add(g, unsqueeze(g, start, -1), iota(g, DType::Int64, sizes[d]));
    Dims index = outer, place = outer, wide = shape_of(g, spread);
    index.resize(rank, 1);
    place.resize(rank, 1);
    index[first + d] = wide[first + d] = checked_mul(output[d], sizes[d], "fractional_max_pool");
    place[first + d] = output[d];
    spread = gather(g, spread, static_cast<int64_t>(first + d),
                    broadcast_to(g, reshape(g, position, index), wide));
    starts.push_back(reshape(g, start, place));
  }
  const NodeId windows = flattened(g, even_windows(g, spread, first, output), rank);
  const std::vector<NodeId> steps = digits(g, place_of_largest(g, windows), sizes);
  std::vector<NodeId> places;
  for (size_t d = 0; d < spatial; ++d) places.push_back(add(g, starts[d], steps[d]));
  const NodeId position = flat_position(g, places, extents);
  return {take(g, x, first, position), position};
}

}  // namespace coregrad::ops
