// Views: index maps over an operand, composed with the view below where two can be one.
//
// Canonical forms: nothing that is the identity; a view of a constant is a constant; no reshape of
// a reshape, permute of a permute, and so on; a permute that only moves extents of 1 is a reshape;
// a reshape that only adds or removes extents of 1 goes below an expand; windows that do not
// overlap are slices, reshapes and permutes.

#include "base/checked.h"
#include "ops/detail.h"
#include "ops/fold.h"
#include "ops/primitives.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <numeric>

namespace coregrad::ops {
namespace {

void require_one_per_dimension(const Graph& graph, NodeId x, size_t got, std::string_view operation,
                               std::string_view what) {
  if (got != graph.shape(x).size())
    raise<ShapeError>("{}: there must be one {} per dimension: got {} for {}", operation, what, got,
                      describe(graph, x));
}

// The extents with -1 replaced by what is left over.
Dims resolve_extents(const Graph& graph, NodeId x, Shape shape) {
  Dims result(shape.begin(), shape.end());
  SymInt known = 1;
  size_t unknown = shape.size();
  bool has_zero = false;
  for (size_t d = 0; d < shape.size(); ++d) {
    if (shape[d] == -1) {
      if (unknown != shape.size())
        raise<ShapeError>("reshape: only one extent can be -1: got {}", shape_text(shape));
      unknown = d;
    } else if (shape[d] < 0) {
      raise<ShapeError>("reshape: extents must not be negative: got {}", shape_text(shape));
    } else if (shape[d] == 0) {
      has_zero = true;
    }
  }
  for (size_t d = 0; d < shape.size() && !has_zero; ++d)
    if (d != unknown) known = checked_mul(known, shape[d], "reshape");
  if (has_zero) known = 0;
  const SymInt numel = graph.numel(x);
  if (unknown != shape.size()) {
    if (known == 0 || numel % known != 0)
      raise<ShapeError>("reshape: no extent for -1 keeps the {} elements: got {} to {}", numel,
                        describe(graph, x), shape_text(shape));
    result[unknown] = numel / known;
  } else if (known != numel) {
    raise<ShapeError>("reshape: the number of elements must stay: got {} ({} elements) to {} ({})",
                      describe(graph, x), numel, shape_text(shape), known);
  }
  return result;
}

// For a reshape that only adds or removes extents of 1: the dimension of `from` that each dimension
// of `to` is (-1 for an extent of 1). Empty when it is another reshape, or when nothing is left.
Dims unit_reshape_map(Shape from, Shape to) {
  Dims map(to.size(), -1);
  size_t i = 0;
  for (size_t d = 0; d < to.size(); ++d) {
    if (SymInt::are_equal(to[d], 1)) continue;
    while (i < from.size() && SymInt::are_equal(from[i], 1)) ++i;
    if (i == from.size() || !SymInt::are_equal(from[i], to[d])) return {};
    map[d] = static_cast<int64_t>(i++);
  }
  while (i < from.size() && SymInt::are_equal(from[i], 1)) ++i;
  return i == from.size() ? map : Dims{};
}

NodeId make_expand(Graph& graph, NodeId x, Shape shape) {
  if (are_equal(graph.shape(x), shape)) return x;
  if (graph[x].op == Op::Expand) x = graph.operand(x, 0);
  return make(graph, Op::Expand, graph.dtype(x), shape, {{x}});
}

}  // namespace

NodeId reshape(Graph& graph, NodeId x, Shape requested) {
  const Dims shape = resolve_extents(graph, x, requested);
  if (are_equal(graph.shape(x), shape)) return x;
  if (graph[x].op == Op::Reshape) return reshape(graph, graph.operand(x, 0), shape);
  if (const std::optional<Scalar> value = constant_value(graph, x);
      value && graph[x].op == Op::Expand)
    return full(graph, shape, *value);
  if (graph[x].op == Op::Expand) {
    const Dims map = unit_reshape_map(graph.shape(x), shape);
    if (!map.empty()) {
      const NodeId below = graph.operand(x, 0);
      Dims narrow(shape.size(), 1);
      for (size_t d = 0; d < map.size(); ++d)
        if (map[d] >= 0) narrow[d] = graph.shape(below)[map[d]];
      return make_expand(graph, reshape(graph, below, narrow), shape);
    }
  }
  return make(graph, Op::Reshape, graph.dtype(x), shape, {{x}});
}

NodeId permute(Graph& graph, NodeId x, SymInts order) {
  require_one_per_dimension(graph, x, order.size(), "permute", "place");
  const auto rank = static_cast<int64_t>(order.size());
  const Shape from = graph.shape(x);
  Dims source(order.size()), shape(order.size());
  std::vector<bool> seen(order.size(), false);
  for (size_t d = 0; d < order.size(); ++d) {
    source[d] = normalize_dim(order[d], rank, "permute");
    if (seen[source[d]])
      raise<ValueError>("permute: each dimension must appear once: got [{}]",
                        fmt::join(order, ","));
    seen[source[d]] = true;
    shape[d] = from[source[d]];
  }
  // With the dimensions of more than one element in order, the elements stay in order.
  int64_t last = -1;
  bool in_order = true;
  for (int64_t d : source) {
    if (SymInt::are_equal(from[d], 1)) continue;
    in_order = in_order && d > last;
    last = d;
  }
  if (in_order) return reshape(graph, x, shape);
  if (const std::optional<Scalar> value = constant_value(graph, x))
    return full(graph, shape, *value);
  if (graph[x].op == Op::Permute) {
    const SymInts inner = graph.attrs(x);
    for (SymInt& d : source) d = inner[d];
    return permute(graph, graph.operand(x, 0), source);
  }
  return make(graph, Op::Permute, graph.dtype(x), shape, {{x}}, source);
}

NodeId broadcast_to(Graph& graph, NodeId x, Shape shape) {
  const Shape from = graph.shape(x);
  if (are_equal(from, shape)) return x;
  bool fits = from.size() <= shape.size();
  const size_t added = fits ? shape.size() - from.size() : 0;
  for (size_t d = 0; d < from.size() && fits; ++d)
    fits = (SymInt::are_equal(from[d], 1) && shape[d + added] >= 0) ||
           from[d] == shape[d + added] || (from[d] == 1 && shape[d + added] >= 0);
  if (!fits)
    raise<ShapeError>(
        "broadcast_to: extents must be equal or 1, aligned at the last dimension: got {} "
        "to {}",
        describe(graph, x), shape_text(shape));
  if (shape.size() > static_cast<size_t>(kMaxRank))
    raise<ShapeError>("broadcast_to: a tensor has at most {} dimensions: got {}", kMaxRank,
                      shape.size());
  const Dims target(shape.begin(), shape.end());
  if (added > 0) {
    Dims lifted(added, 1);
    lifted.insert(lifted.end(), from.begin(), from.end());
    x = reshape(graph, x, lifted);
  }
  return make_expand(graph, x, target);
}

NodeId slice(Graph& graph, NodeId x, SymInts starts, SymInts stops, SymInts steps) {
  require_one_per_dimension(graph, x, starts.size(), "slice", "start");
  require_one_per_dimension(graph, x, stops.size(), "slice", "stop");
  require_one_per_dimension(graph, x, steps.size(), "slice", "step");
  const Shape from = graph.shape(x);
  const size_t rank = from.size();
  Dims shape(rank), attrs(2 * rank);
  size_t changed = 0, where = 0;
  for (size_t d = 0; d < rank; ++d) {
    if (steps[d] < 1)
      raise<ValueError>("slice: the step must be at least 1: got {} in dimension {}", steps[d], d);
    if (starts[d] < 0 || stops[d] < starts[d] || stops[d] > from[d])
      raise<IndexError>(
          "slice: 0 <= start <= stop <= {} must hold: got {} and {} in dimension {} of {}", from[d],
          starts[d], stops[d], d, describe(graph, x));
    const SymInt length = stops[d] - starts[d];
    shape[d] = length == 0 ? SymInt(0) : (length - 1) / steps[d] + 1;
    attrs[2 * d] = shape[d] == 0 ? SymInt(0) : starts[d];
    attrs[2 * d + 1] = SymInt::is_at_most(shape[d], 1) ? SymInt(1) : steps[d];
    if (!SymInt::are_equal(shape[d], from[d])) ++changed, where = d;
  }
  if (changed == 0) return x;
  if (const std::optional<Scalar> value = constant_value(graph, x))
    return full(graph, shape, *value);

  const NodeId below = graph[x].num_operands > 0 ? graph.operand(x, 0) : NodeId{};
  const SymInts inner = graph.attrs(x);
  if (graph[x].op == Op::Slice) {
    Dims start(rank), stop(rank), step(rank);
    for (size_t d = 0; d < rank; ++d) {
      start[d] = inner[2 * d] + attrs[2 * d] * inner[2 * d + 1];
      step[d] = checked_mul(attrs[2 * d + 1], inner[2 * d + 1], "slice");
      stop[d] = shape[d] == 0 ? start[d] : start[d] + (shape[d] - 1) * step[d] + 1;
    }
    return slice(graph, below, start, stop, step);
  }
  if (graph[x].op == Op::Concat && changed == 1 && inner[0] == static_cast<int64_t>(where) &&
      SymInt::is_at_most(1, shape[where])) {
    // Within one part, for all sizes: a slice of that part.
    SymInt begin = 0;
    for (NodeId part : graph.operands(x)) {
      const SymInt end = begin + graph.shape(part)[where];
      if (SymInt::is_at_most(begin, starts[where]) && SymInt::is_at_most(stops[where], end))
        return narrow(graph, part, static_cast<int64_t>(where), starts[where] - begin,
                      stops[where] - begin, steps[where]);
      begin = end;
    }
  }
  if (graph[x].op == Op::Pad && SymInt::is_at_most(1, graph.numel(below))) {
    // Away from the padding: a slice of what was padded.
    Dims start(rank), stop(rank), step(rank);
    bool is_inside = true;
    for (size_t d = 0; d < rank; ++d) {
      const SymInt low = inner[3 * d];
      start[d] = starts[d] - low;
      stop[d] = stops[d] - low;
      step[d] = steps[d];
      is_inside = is_inside && SymInt::are_equal(inner[3 * d + 2], 0) &&
                  SymInt::is_at_most(0, start[d]) &&
                  SymInt::is_at_most(stop[d], graph.shape(below)[d]);
    }
    if (is_inside) return slice(graph, below, start, stop, step);
  }
  return make(graph, Op::Slice, graph.dtype(x), shape, {{x}}, attrs);
}

NodeId narrow(Graph& graph, NodeId x, int64_t dim, SymInt start, SymInt stop, SymInt step) {
  const auto d = static_cast<size_t>(normalize_dim(dim, graph.rank(x), "slice"));
  Dims starts(graph.shape(x).size(), 0), steps(starts.size(), 1), stops = shape_of(graph, x);
  starts[d] = start;
  stops[d] = stop;
  steps[d] = step;
  return slice(graph, x, starts, stops, steps);
}

NodeId flip(Graph& graph, NodeId x, SymInts dims) {
  if (graph.rank(x) == 0) return x;
  const Dims shape = shape_of(graph, x);
  Dims attrs(shape.size(), 0);
  if (!dims.empty())
    for (int64_t d : normalize_dims(dims, graph.rank(x), "flip"))
      if (shape[d] > 1) attrs[d] = 1;
  if (graph[x].op == Op::Flip) {
    const SymInts inner = graph.attrs(x);
    for (size_t d = 0; d < attrs.size(); ++d) attrs[d] = attrs[d] == inner[d] ? 0 : 1;
    x = graph.operand(x, 0);
  }
  if (std::ranges::all_of(attrs, [](int64_t a) { return a == 0; }) || constant_value(graph, x))
    return x;
  return make(graph, Op::Flip, graph.dtype(x), shape, {{x}}, attrs);
}

NodeId pad(Graph& graph, NodeId x, SymInts low, SymInts high, SymInts interior, Scalar fill) {
  require_one_per_dimension(graph, x, low.size(), "pad", "low padding");
  require_one_per_dimension(graph, x, high.size(), "pad", "high padding");
  require_one_per_dimension(graph, x, interior.size(), "pad", "interior padding");
  const DType dtype = graph.dtype(x);
  fill = fold_cast(fill, dtype);
  const size_t rank = low.size();
  Dims shape = shape_of(graph, x), attrs(3 * rank);
  bool is_identity = true;
  for (size_t d = 0; d < rank; ++d) {
    if (low[d] < 0 || high[d] < 0 || interior[d] < 0)
      raise<ValueError>("pad: padding must not be negative: got {}, {}, {} in dimension {}", low[d],
                        high[d], interior[d], d);
    // Between elements, of which there must be one; that there are two need not be known.
    const bool has_between =
        !interior[d].is_identical(0) && !SymInt::is_at_most(shape[d], 1) && shape[d] > 0;
    const SymInt between = has_between ? interior[d] : SymInt(0);
    attrs[3 * d] = low[d];
    attrs[3 * d + 1] = high[d];
    attrs[3 * d + 2] = between;
    is_identity = is_identity && low[d].is_identical(0) && high[d].is_identical(0) && !has_between;
    if (has_between)
      shape[d] = checked_add(shape[d], checked_mul(shape[d] - 1, between, "pad"), "pad");
    shape[d] = checked_add(checked_add(shape[d], low[d], "pad"), high[d], "pad");
  }
  if (is_identity) return x;
  const NodeId filler = literal(graph, fill);
  const uint64_t bits = graph[filler].literal;
  if (const std::optional<Scalar> value = constant_value(graph, x); value && value->bits() == bits)
    return full(graph, shape, *value);
  if (graph.numel(x) == 0) return full(graph, shape, fill);
  return make(graph, Op::Pad, dtype, shape, {{x}}, attrs, bits);
}

namespace {

SymInt window_count(const Graph& graph, NodeId x, const WindowDim& w) {
  if (w.size < 1 || w.stride < 1 || w.dilation < 1)
    raise<ValueError>("window: size, stride and dilation must be at least 1: got {}, {}, {}",
                      w.size, w.stride, w.dilation);
  const SymInt reach = checked_add(checked_mul(w.size - 1, w.dilation, "window"), 1, "window");
  const SymInt extent = graph.shape(x)[w.dim];
  if (reach > extent)
    raise<ShapeError>(
        "window: a window that reaches over {} elements must fit: got dimension {} of {}", reach,
        w.dim, describe(graph, x));
  return (extent - reach) / w.stride + 1;
}

bool is_disjoint(const WindowDim& w, SymInt count, SymInt extent) {
  return count == 1 || w.size == 1 ||
         (w.dilation == 1 && w.stride >= w.size && extent / w.stride >= count);
}

// Replaces dimension `dim` by the pair (window number, offset) without Op::Window.
NodeId split_disjoint(Graph& graph, NodeId x, int64_t dim, const WindowDim& w, SymInt count) {
  const auto d = static_cast<size_t>(dim);
  if (count == 1)
    x = narrow(graph, x, dim, 0, (w.size - 1) * w.dilation + 1, w.dilation);
  else if (w.size == 1)
    x = narrow(graph, x, dim, 0, (count - 1) * w.stride + 1, w.stride);
  else
    x = narrow(graph, x, dim, 0, count * w.stride);
  Dims shape = shape_of(graph, x);
  const SymInt per_window = shape[d] / count;
  shape[d] = count;
  shape.insert(shape.begin() + dim + 1, per_window);
  x = reshape(graph, x, shape);
  return per_window == w.size ? x : narrow(graph, x, dim + 1, 0, w.size);
}

}  // namespace

NodeId window(Graph& graph, NodeId x, std::span<const WindowDim> requested) {
  std::vector<WindowDim> windows(requested.begin(), requested.end());
  const int64_t rank = graph.rank(x);
  for (WindowDim& w : windows) w.dim = normalize_dim(w.dim, rank, "window");
  std::ranges::sort(windows, {}, &WindowDim::dim);
  if (std::ranges::adjacent_find(windows, {}, &WindowDim::dim) != windows.end())
    raise<ValueError>("window: each dimension may appear once");
  if (windows.empty()) return x;

  Dims shape = shape_of(graph, x), attrs, counts;
  bool disjoint = true;
  for (WindowDim& w : windows) {
    const auto d = static_cast<size_t>(w.dim);
    counts.push_back(window_count(graph, x, w));
    // What does not matter gets one spelling.
    if (w.size == 1) w.dilation = 1;
    // One window leaves its stride open; the largest one says so whatever the extent.
    if (counts.back() == 1) w.stride = max(shape[d], 1);
    disjoint = disjoint && is_disjoint(w, counts.back(), shape[d]);
    shape[d] = counts.back();
    attrs.insert(attrs.end(), {w.dim, w.size, w.stride, w.dilation});
  }
  for (const WindowDim& w : windows) shape.push_back(w.size);
  if (const std::optional<Scalar> value = constant_value(graph, x))
    return full(graph, shape, *value);
  if (!disjoint) return make(graph, Op::Window, graph.dtype(x), shape, {{x}}, attrs);

  if (shape.size() > static_cast<size_t>(kMaxRank))
    raise<ShapeError>("window: a tensor has at most {} dimensions: got {}", kMaxRank, shape.size());
  Dims order, offsets;
  for (size_t i = 0; i < windows.size(); ++i) {
    const int64_t at = windows[i].dim + static_cast<int64_t>(i);
    x = split_disjoint(graph, x, at, windows[i], counts[i]);
    offsets.push_back(at + 1);
  }
  for (int64_t d = 0; d < graph.rank(x); ++d)
    if (std::ranges::find(offsets, d) == offsets.end()) order.push_back(d);
  order.insert(order.end(), offsets.begin(), offsets.end());
  return permute(graph, x, order);
}

NodeId concat(Graph& graph, std::span<const NodeId> requested, int64_t dim) {
  if (requested.empty()) raise<ValueError>("concat: there must be at least one part");
  std::vector<NodeId> parts(requested.begin(), requested.end());
  const NodeId first = parts[0];
  const int64_t at = normalize_dim(dim, graph.rank(first), "concat");
  const auto d = static_cast<size_t>(at);
  DType dtype = graph.dtype(first);
  Dims shape = shape_of(graph, first);
  for (size_t i = 1; i < parts.size(); ++i) {
    const Shape other = graph.shape(parts[i]);
    bool fits = other.size() == shape.size();
    for (size_t k = 0; k < shape.size() && fits; ++k) fits = k == d || other[k] == shape[k];
    if (!fits)
      raise<ShapeError>("concat: extents other than dimension {} must be equal: got {} and {}", at,
                        describe(graph, first), describe(graph, parts[i]));
    shape[d] = checked_add(shape[d], other[d], "concat");
    dtype = promote(dtype, graph.dtype(parts[i]));
  }
  std::vector<NodeId> kept;
  for (NodeId part : parts) {
    if (graph.shape(part)[d] == 0) continue;
    const NodeId same = cast(graph, part, dtype);
    // Parts of a part that is concatenated along the same dimension are parts.
    if (graph[same].op == Op::Concat && graph.attr(same, 0) == at) {
      const std::span<const NodeId> inner = graph.operands(same);
      kept.insert(kept.end(), inner.begin(), inner.end());
    } else {
      kept.push_back(same);
    }
  }
  if (kept.empty()) return cast(graph, first, dtype);
  if (kept.size() == 1) return kept[0];
  if (kept.size() > UINT16_MAX)
    raise<UnsupportedError>("concat: at most {} parts: got {}", UINT16_MAX, kept.size());
  const std::optional<Scalar> value = constant_value(graph, kept[0]);
  if (value && std::ranges::all_of(kept, [&](NodeId part) {
        const std::optional<Scalar> other = constant_value(graph, part);
        return other && other->bits() == value->bits();
      }))
    return full(graph, shape, *value);
  const SymInt attrs[] = {at};
  return make(graph, Op::Concat, dtype, shape, kept, attrs);
}

NodeId unsqueeze(Graph& graph, NodeId x, int64_t dim) {
  const int64_t at = normalize_dim(dim, graph.rank(x) + 1, "unsqueeze");
  Dims shape = shape_of(graph, x);
  shape.insert(shape.begin() + at, 1);
  return reshape(graph, x, shape);
}

NodeId squeeze(Graph& graph, NodeId x, SymInts dims) {
  if (dims.empty()) return x;
  const Dims removed = normalize_dims(dims, graph.rank(x), "squeeze");
  const Shape from = graph.shape(x);
  Dims shape;
  for (size_t d = 0; d < from.size(); ++d) {
    if (!std::ranges::binary_search(removed, static_cast<int64_t>(d)))
      shape.push_back(from[d]);
    else if (from[d] != 1)
      raise<ShapeError>("squeeze: a removed dimension must have extent 1: got dimension {} of {}",
                        d, describe(graph, x));
  }
  return reshape(graph, x, shape);
}

NodeId transpose(Graph& graph, NodeId x, int64_t dim0, int64_t dim1) {
  // A scalar has the dimensions of a vector here, as in PyTorch.
  const int64_t rank = std::max<int64_t>(graph.rank(x), 1);
  const int64_t first = normalize_dim(dim0, rank, "transpose");
  const int64_t second = normalize_dim(dim1, rank, "transpose");
  if (first == second) return x;
  Dims order(static_cast<size_t>(rank));
  std::iota(order.begin(), order.end(), 0);
  std::swap(order[first], order[second]);
  return permute(graph, x, order);
}

NodeId along(Graph& graph, NodeId vector, size_t dim, size_t rank) {
  Dims shape(rank, 1);
  shape[dim] = graph.numel(vector);
  return reshape(graph, vector, shape);
}

bool is_scalar_dim(const Graph& graph, NodeId x, int64_t dim) {
  return graph.rank(x) == 0 && (dim == 0 || dim == -1);
}

NodeId whole(Graph& graph, int64_t value) {
  return literal(graph, Scalar::of_int(DType::Int64, value));
}

NodeId places_along(Graph& graph, NodeId x, int64_t dim) {
  const Dims shape = shape_of(graph, x);
  const auto at = static_cast<size_t>(dim);
  const NodeId numbers = iota(graph, DType::Int64, shape[at]);
  return broadcast_to(graph, along(graph, numbers, at, shape.size()), shape);
}

}  // namespace coregrad::ops
