// Reductions, contraction, indexing and scans: shape and dtype rules, and what folds.

#include "base/checked.h"
#include "ops/detail.h"
#include "ops/fold.h"
#include "ops/primitives.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <limits>
#include <optional>

namespace coregrad::ops {
namespace {

// Sums and products of bool and integers are int64, as in PyTorch; the operand is cast, so that the
// primitive itself keeps its dtype.
NodeId widened(Graph& graph, NodeId x) {
  const DType dtype = graph.dtype(x);
  return is_float(dtype) ? x : cast(graph, x, DType::Int64);
}

// For primitives that do not take what is only stored: `apply` to what it is computed in, cast back
// once.
template <class F>
NodeId computed(Graph& graph, NodeId x, F&& apply) {
  const DType dtype = graph.dtype(x);
  return cast(graph, apply(cast(graph, x, compute_dtype(dtype))), dtype);
}

bool is_arg(Op op) { return op == Op::ArgMax || op == Op::ArgMin; }

NodeId reduce_constant(Graph& graph, Op op, Scalar value, Shape shape, SymInt count) {
  if (is_arg(op)) return full(graph, shape, Scalar::of_int(DType::Int64, 0));
  if (op == Op::ReduceMax || op == Op::ReduceMin) return full(graph, shape, value);
  // No element is there, so a NaN or an infinity is not either.
  if (count == 0) return full(graph, shape, reduction_identity(op, value.dtype));
  if (op == Op::Sum) {
    if (!count.is_number()) {
      const NodeId copies = cast(graph, size(graph, count), value.dtype);
      return broadcast_to(graph, mul(graph, copies, literal(graph, value)), shape);
    }
    if (is_float(value.dtype))
      return full(graph, shape,
                  Scalar::of_float(value.dtype, value.f * static_cast<double>(count.number())));
    const uint64_t total = static_cast<uint64_t>(value.i) * static_cast<uint64_t>(count);
    return full(graph, shape, Scalar::of_int(value.dtype, static_cast<int64_t>(total)));
  }
  const bool is_one = is_float(value.dtype) ? value.f == 1 : value.i == 1;
  return is_one || count == 1 ? full(graph, shape, value) : NodeId{};
}

// A reduction over dimensions that an expand repeated: the operand's other dimensions are reduced,
// and a sum is multiplied by the number of copies.
NodeId reduce_expanded(Graph& graph, Op op, NodeId x, const Dims& dims, Shape shape) {
  if (graph[x].op != Op::Expand || op == Op::Prod || is_arg(op)) return {};
  const NodeId below = graph.operand(x, 0);
  SymInt copies = 1;
  bool repeats = false;
  for (int64_t d : dims) {
    const SymInt extent = graph.shape(x)[d];
    if (graph.shape(below)[d] == extent) continue;
    copies = checked_mul(copies, extent, name_of(op));
    repeats = true;
  }
  if (!repeats || copies == 0) return {};
  NodeId once = reduce(graph, op, below, dims);
  if (op == Op::Sum) once = mul(graph, once, cast(graph, size(graph, copies), graph.dtype(once)));
  return broadcast_to(graph, once, shape);
}

}  // namespace

Scalar reduction_identity(Op op, DType dtype) {
  const double infinity = std::numeric_limits<double>::infinity();
  if (op == Op::Sum) return Scalar::of(dtype, 0);
  if (op == Op::Prod) return Scalar::of(dtype, 1);
  if (dtype == DType::Bool) return Scalar::of_int(dtype, op == Op::ReduceMin);
  if (const Scalar lowest = Scalar::lowest(dtype); is_integer(dtype))
    return op == Op::ReduceMax ? lowest : Scalar::of_int(dtype, ~lowest.i);
  return Scalar::of(dtype, op == Op::ReduceMax ? -infinity : infinity);
}

NodeId reduce(Graph& graph, Op op, NodeId x, SymInts requested, bool keepdim) {
  require_family(op, Family::Reduce, "reduce");
  const Dims dims = normalize_dims(requested, graph.rank(x), name_of(op));
  if (is_arg(op) && dims.size() != 1)
    raise<ValueError>("{}: exactly one dimension must be given: got {} for {}", name_of(op),
                      dims.size(), describe(graph, x));
  if (op == Op::Sum || op == Op::Prod) x = widened(graph, x);
  if (const DType dtype = graph.dtype(x); is_only_stored(dtype)) {
    const auto apply = [&](NodeId wide) { return reduce(graph, op, wide, requested, keepdim); };
    return is_arg(op) ? apply(cast(graph, x, compute_dtype(dtype))) : computed(graph, x, apply);
  }
  const Shape from = graph.shape(x);
  Dims shape, kept_shape(from.begin(), from.end());
  SymInt count = 1;
  for (size_t d = 0; d < from.size(); ++d) {
    if (!std::ranges::binary_search(dims, static_cast<int64_t>(d))) {
      shape.push_back(from[d]);
      continue;
    }
    kept_shape[d] = 1;
    if (from[d].is_identical(0) || count.is_identical(0))
      count = 0;
    else
      count = checked_mul(count, from[d], name_of(op));
  }
  if (op != Op::Sum && op != Op::Prod && count == 0)
    raise<ShapeError>("{}: nothing to reduce: a reduced dimension has no elements: got {}",
                      name_of(op), describe(graph, x));
  const auto finish = [&](NodeId result) {
    return keepdim ? reshape(graph, result, kept_shape) : result;
  };

  if (const std::optional<Scalar> value = constant_value(graph, x))
    if (const NodeId folded = reduce_constant(graph, op, *value, shape, count); folded.is_valid())
      return finish(folded);
  if (count.is_identical(1)) {
    const NodeId same =
        is_arg(op) ? full(graph, shape, Scalar::of_int(DType::Int64, 0)) : reshape(graph, x, shape);
    return finish(same);
  }
  if (const NodeId folded = reduce_expanded(graph, op, x, dims, shape); folded.is_valid())
    return finish(folded);
  if (is_arg(op)) {
    return finish(make(graph, op, DType::Int64, shape, {{x}}, dims));
  }
  // Reduced dimensions of one element are dropped first, so that a reduction has one spelling.
  Dims squeezed, left;
  for (size_t d = 0; d < from.size(); ++d) {
    const bool is_reduced = std::ranges::binary_search(dims, static_cast<int64_t>(d));
    if (is_reduced && from[d].is_identical(1)) continue;
    if (is_reduced) left.push_back(static_cast<int64_t>(squeezed.size()));
    squeezed.push_back(from[d]);
  }
  if (left.size() != dims.size())
    return finish(reduce(graph, op, reshape(graph, x, squeezed), left));
  if (graph[x].op == op) {
    // Two reductions in a row are one.
    const NodeId below = graph.operand(x, 0);
    const SymInts inner = graph.attrs(x);
    Dims all(inner.begin(), inner.end());
    int64_t outer = 0;
    for (int64_t d = 0; d < graph.rank(below); ++d) {
      if (std::ranges::binary_search(inner, d)) continue;
      if (std::ranges::binary_search(dims, outer++)) all.push_back(d);
    }
    return finish(reduce(graph, op, below, all));
  }
  return finish(make(graph, op, graph.dtype(x), shape, {{x}}, dims));
}

namespace {

void require_maps(const Graph& graph, NodeId x, std::vector<DimMap>& maps,
                  const std::vector<DimMap>& other, const ContractSpec& spec,
                  std::string_view side) {
  const Shape shape = graph.shape(x);
  const auto labels = static_cast<int64_t>(spec.extents.size());
  if (maps.size() != shape.size())
    raise<ShapeError>("contract: there must be one map per dimension of {}: got {} for {}", side,
                      maps.size(), describe(graph, x));
  for (size_t d = 0; d < maps.size(); ++d) {
    DimMap& m = maps[d];
    if (m.u < 0 || m.u >= labels || m.v < -1 || m.v >= labels)
      raise<ValueError>("contract: labels must lie in [0, {}): got {} and {} in dimension {} of {}",
                        labels, m.u, m.v, d, side);
    if (m.s < 1) raise<ValueError>("contract: the divisor must be at least 1: got {}", m.s);
    // A second label that does not count is none.
    if (m.v == -1 || m.b == 0) m.v = -1, m.b = 0;
    if (m.v == m.u) {
      m.a = checked_add(m.a, m.b, "contract");
      m.v = -1, m.b = 0;
    }
    // A label of extent 1 is always 0, so a window of one element is a plain dimension. It must
    // stay an operand's label, so it goes only where the other operand has it.
    const auto is_idle = [&](int64_t label) {
      return label >= 0 && SymInt::are_equal(spec.extents[label], 1) && spec.uses(other, label);
    };
    // A window that covers a part of the dimension only is not that, and stays as it is.
    DimMap simple = m;
    if (simple.v >= 0 && is_idle(simple.u))
      simple = {simple.v, -1, simple.b, 0, simple.c, simple.s};
    if (is_idle(simple.v)) simple.v = -1, simple.b = 0;
    if (!simple.is_plain() || spec.extents[simple.u] == shape[d]) m = simple;
    if (m.a == 0)
      raise<ValueError>(
          "contract: the factor of a dimension's first label must not be 0: got it in "
          "dimension {} of {}",
          d, side);
    if (m.is_plain() && spec.extents[m.u] != shape[d])
      raise<ShapeError>(
          "contract: label {} has extent {}, dimension {} of {} must have it too: got {}", m.u,
          spec.extents[m.u], d, side, describe(graph, x));
    index_range(m, spec.extents);
  }
}

// Labels renumbered: the output's in its order, then the summed ones as they appear.
ContractSpec canonical(const ContractSpec& spec) {
  std::vector<int64_t> renamed(spec.extents.size(), -1);
  int64_t next = 0;
  ContractSpec result = spec;
  const auto rename = [&](int64_t& label) {
    if (label < 0) return;
    int64_t& name = renamed[label];
    if (name < 0) name = next++;
    label = name;
  };
  for (int64_t& label : result.out) rename(label);
  for (std::vector<DimMap>* maps : {&result.lhs, &result.rhs})
    for (DimMap& m : *maps) rename(m.u), rename(m.v);
  for (size_t i = 0; i < renamed.size(); ++i) result.extents[renamed[i]] = spec.extents[i];
  return result;
}

}  // namespace

NodeId contract(Graph& graph, NodeId lhs, NodeId rhs, const ContractSpec& requested) {
  const DType dtype = graph.dtype(lhs);
  if (dtype != graph.dtype(rhs) || dtype == DType::Bool)
    raise<DTypeError>("contract: the operands must have one dtype other than bool: got {} and {}",
                      describe(graph, lhs), describe(graph, rhs));
  if (is_only_stored(dtype))
    return computed(graph, lhs, [&](NodeId wide) {
      return contract(graph, wide, cast(graph, rhs, compute_dtype(dtype)), requested);
    });
  ContractSpec spec = requested;
  checked_numel(spec.extents, "contract");
  require_maps(graph, lhs, spec.lhs, requested.rhs, spec, "lhs");
  require_maps(graph, rhs, spec.rhs, spec.lhs, spec, "rhs");
  Dims shape;
  const auto labels = static_cast<int64_t>(spec.extents.size());
  for (size_t i = 0; i < spec.out.size(); ++i) {
    const int64_t label = spec.out[i];
    if (label < 0 || label >= labels)
      raise<ValueError>("contract: labels must lie in [0, {}): got {} in the output", labels,
                        label);
    if (std::find(spec.out.begin(), spec.out.begin() + static_cast<std::ptrdiff_t>(i), label) !=
        spec.out.begin() + static_cast<std::ptrdiff_t>(i))
      raise<ValueError>("contract: a label may appear once in the output: got {} twice", label);
    shape.push_back(spec.extents[label]);
  }
  for (int64_t label = 0; label < labels; ++label)
    if (!spec.uses(spec.lhs, label) && !spec.uses(spec.rhs, label))
      raise<ValueError>("contract: every label must address an operand: label {} does not", label);
  return make(graph, Op::Contract, dtype, shape, {{lhs, rhs}}, canonical(spec).encode());
}

namespace {

// The index as int64, after the checks that Gather and Scatter share.
NodeId checked_index(Graph& graph, Op op, NodeId x, int64_t dim, NodeId index) {
  if (!is_integer(graph.dtype(index)))
    raise<DTypeError>("{}: the index must be int64 or int32: got {}", name_of(op),
                      describe(graph, index));
  const Shape shape = graph.shape(x), at = graph.shape(index);
  bool fits = shape.size() == at.size();
  for (size_t d = 0; d < shape.size() && fits; ++d)
    fits = static_cast<int64_t>(d) == dim || at[d] <= shape[d];
  if (!fits)
    raise<ShapeError>(
        "{}: the index must have the operand's rank, and extents other than dimension {} "
        "at most the operand's: got {} for {}",
        name_of(op), dim, describe(graph, index), describe(graph, x));
  return cast(graph, index, DType::Int64);
}

}  // namespace

NodeId gather(Graph& graph, NodeId x, int64_t dim, NodeId index) {
  const int64_t at = normalize_dim(dim, graph.rank(x), "gather");
  index = checked_index(graph, Op::Gather, x, at, index);
  const Dims shape = shape_of(graph, index);
  const SymInt attrs[] = {at};
  return make(graph, Op::Gather, graph.dtype(x), shape, {{x, index}}, attrs);
}

NodeId scatter(Graph& graph, NodeId x, int64_t dim, NodeId index, NodeId values, ScatterMode mode) {
  const int64_t at = normalize_dim(dim, graph.rank(x), "scatter");
  index = checked_index(graph, Op::Scatter, x, at, index);
  if (graph.dtype(values) != graph.dtype(x))
    raise<DTypeError>("scatter: the values must have the operand's dtype: got {} into {}",
                      describe(graph, values), describe(graph, x));
  if (!same_shape(graph.shape(values), graph.shape(index)))
    raise<ShapeError>("scatter: index and values must have one shape: got {} and {}",
                      describe(graph, index), describe(graph, values));
  if (graph.numel(index) == 0) return x;
  if (is_only_stored(graph.dtype(x)) && mode != ScatterMode::Set)
    return computed(graph, x, [&](NodeId wide) {
      return scatter(graph, wide, at, index, cast(graph, values, graph.dtype(wide)), mode);
    });
  const Dims shape = shape_of(graph, x);
  const SymInt attrs[] = {at, static_cast<int64_t>(mode)};
  return make(graph, Op::Scatter, graph.dtype(x), shape, {{x, index, values}}, attrs);
}

NodeId scan(Graph& graph, Op op, NodeId x, int64_t dim) {
  require_family(op, Family::Scan, "scan");
  const int64_t at = normalize_dim(dim, graph.rank(x), name_of(op));
  x = widened(graph, x);
  if (is_only_stored(graph.dtype(x)))
    return computed(graph, x, [&](NodeId wide) { return scan(graph, op, wide, at); });
  const Dims shape = shape_of(graph, x);
  if (shape[at] <= 1) return x;
  const SymInt attrs[] = {at};
  return make(graph, op, graph.dtype(x), shape, {{x}}, attrs);
}

NodeId argsort(Graph& graph, NodeId x, int64_t dim, bool descending) {
  const int64_t at = normalize_dim(dim, graph.rank(x), "argsort");
  x = cast(graph, x, compute_dtype(graph.dtype(x)));
  const Dims shape = shape_of(graph, x);
  if (shape[at] == 1) return full(graph, shape, Scalar::of_int(DType::Int64, 0));
  const SymInt attrs[] = {at, descending ? 1 : 0};
  return make(graph, Op::ArgSort, DType::Int64, shape, {{x}}, attrs);
}

}  // namespace coregrad::ops
