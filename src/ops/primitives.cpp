// Leaves, the helpers that all primitives share, and rebuilding a node with other operands.
// Elementwise operations are in elementwise.cpp, views in views.cpp, the rest in structured.cpp.

#include "ops/primitives.h"

#include "base/checked.h"
#include "ops/detail.h"
#include "ops/fold.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cmath>
#include <limits>

namespace coregrad::ops {

NodeId make(Graph& graph, Op op, DType dtype, Shape shape, std::span<const NodeId> operands,
            SymInts attrs, uint64_t literal) {
  if (shape.size() > static_cast<size_t>(kMaxRank)) [[unlikely]]
    raise<ShapeError>("{}: a tensor has at most {} dimensions: got {}", name_of(op), kMaxRank,
                      shape.size());
  return graph.intern(op, dtype, shape, operands, attrs, literal);
}

Dims shape_of(const Graph& graph, NodeId node) {
  const Shape shape = graph.shape(node);
  return {shape.begin(), shape.end()};
}

bool same_shape(Shape a, Shape b) { return std::ranges::equal(a, b); }

std::string shape_text(Shape shape) { return fmt::format("[{}]", fmt::join(shape, ",")); }

std::string describe(const Graph& graph, NodeId node) {
  return fmt::format("{}{}", info(graph.dtype(node)).short_name, shape_text(graph.shape(node)));
}

int64_t normalize_dim(int64_t dim, int64_t rank, std::string_view operation) {
  if (dim < -rank || dim >= rank) [[unlikely]]
    raise<IndexError>("{}: the dimension must lie in [{}, {}) for rank {}: got {}", operation,
                      -rank, rank, rank, dim);
  return dim < 0 ? dim + rank : dim;
}

Dims normalize_dims(SymInts dims, int64_t rank, std::string_view operation) {
  Dims result;
  if (dims.empty())
    for (int64_t d = 0; d < rank; ++d) result.push_back(d);
  for (int64_t d : dims) result.push_back(normalize_dim(d, rank, operation));
  std::ranges::sort(result);
  if (std::ranges::adjacent_find(result) != result.end())
    raise<ValueError>("{}: each dimension may appear once: got [{}]", operation,
                      fmt::join(dims, ","));
  return result;
}

Dims per_dimension(SymInts given, size_t n, int64_t least, std::string_view operation,
                   std::string_view what) {
  if (given.size() != n && given.size() != 1)
    raise<ValueError>("{}: {} must have one value or one per spatial dimension ({}): got {}",
                      operation, what, n, given.size());
  Dims result(n);
  for (size_t i = 0; i < n; ++i) {
    result[i] = given[given.size() == 1 ? 0 : i];
    if (result[i] < least)
      raise<ValueError>("{}: {} must be at least {}: got {}", operation, what, least, result[i]);
  }
  return result;
}

void require_family(Op op, Family family, std::string_view operation) {
  if (family_of(op) != family)
    raise<ValueError>("{}: not an operation of this kind: got {}", operation, name_of(op));
}

std::vector<SymInt> broadcast_shapes(Shape a, Shape b, std::string_view operation) {
  const size_t rank = std::max(a.size(), b.size());
  std::vector<SymInt> result(rank);
  for (size_t i = 1; i <= rank; ++i) {
    const SymInt x = i <= a.size() ? a[a.size() - i] : SymInt(1);
    const SymInt y = i <= b.size() ? b[b.size() - i] : SymInt(1);
    // What is 1 for all sizes takes the other's extent, whether or not that can be 1; nor does it
    // matter for equal ones.
    if (SymInt::are_equal(x, 1) || SymInt::are_equal(y, 1) || SymInt::are_equal(x, y)) {
      result[rank - i] = SymInt::are_equal(x, 1) ? y : x;
      continue;
    }
    if (x != y && x != 1 && y != 1)
      raise<ShapeError>(
          "{}: extents must be equal or 1, aligned at the last dimension: got {} and {}", operation,
          shape_text(a), shape_text(b));
    result[rank - i] = x == 1 ? y : x;
  }
  return result;
}

std::optional<Scalar> constant_value(const Graph& graph, NodeId node) {
  // full() and the views of constants keep this form: literal, reshaped literal, or that expanded.
  if (graph[node].op == Op::Expand) node = graph.operand(node, 0);
  if (graph[node].op == Op::Reshape) node = graph.operand(node, 0);
  if (graph[node].op != Op::Literal) return std::nullopt;
  return graph.literal(node);
}

NodeId input(Graph& graph, int64_t index, DType dtype, Shape shape, SymInts strides) {
  if (index < 0) raise<ValueError>("input: the index must not be negative: got {}", index);
  const SymInt numel = checked_numel(shape, "input");
  if (!strides.empty() && strides.size() != shape.size())
    raise<LayoutError>("input: there must be one stride per dimension: got {} for shape {}",
                       strides.size(), shape_text(shape));
  Dims attrs(shape.size() + 1);
  attrs[0] = index;
  SymInt contiguous = 1, reach = 0;
  for (size_t d = shape.size(); d-- > 0;) {
    // The stride of an extent below 2 is never used; one spelling lets equal inputs be one node.
    const bool is_free = strides.empty() || shape[d] <= 1 || numel == 0;
    attrs[d + 1] = is_free ? contiguous : strides[d];
    if (numel == 0) continue;
    const SymInt step = attrs[d + 1] < 0 ? -attrs[d + 1] : attrs[d + 1];
    reach = checked_add(reach, checked_mul(step, shape[d] - 1, "input"), "input");
    contiguous = checked_mul(contiguous, shape[d], "input");
  }
  checked_mul(checked_add(reach, 1, "input"), size_of(dtype), "input");
  return make(graph, Op::Input, dtype, shape, {}, attrs);
}

NodeId literal(Graph& graph, Scalar value) {
  // One NaN, so that equal literals are one node.
  if (is_float(value.dtype) && std::isnan(value.f))
    value.f = std::numeric_limits<double>::quiet_NaN();
  return make(graph, Op::Literal, value.dtype, {}, {}, {}, value.bits());
}

NodeId literal(Graph& graph, DType dtype, double value) {
  return literal(graph, Scalar::of(dtype, value));
}

NodeId full(Graph& graph, Shape shape, Scalar value) {
  return broadcast_to(graph, literal(graph, value), shape);
}

NodeId iota(Graph& graph, DType dtype, SymInt n) {
  if (!is_integer(dtype) || is_only_stored(dtype))
    raise<DTypeError>("iota: the dtype must be int32 or int64: got {}", name_of(dtype));
  if (n < 0) raise<ShapeError>("iota: the length must not be negative: got {}", n);
  if (dtype == DType::Int32 && n > int64_t{INT32_MAX} + 1)
    raise<ShapeError>("iota: int32 counts to 2^31 - 1 at most: got length {}", n);
  const SymInt shape[] = {n};
  if (n == 1) return full(graph, shape, Scalar::of_int(dtype, 0));
  return make(graph, Op::Iota, dtype, shape, {});
}

NodeId size(Graph& graph, SymInt n) {
  if (n.is_number()) return whole(graph, n.number());
  return make(graph, Op::Size, DType::Int64, {}, {}, {{n}});
}

NodeId random(Graph& graph, NodeId seed, DType dtype, Shape shape, int64_t stream) {
  if (graph.dtype(seed) != DType::Int64 || graph.rank(seed) != 0)
    raise<DTypeError>("random: the seed must be one int64 of rank 0: got {}",
                      describe(graph, seed));
  if (dtype == DType::Bool)
    raise<DTypeError>("random: the dtype must be a float or an integer: got bool");
  if (is_narrow(dtype)) {
    // The leading bits of the float32: rounding could give 1.
    const double steps = dtype == DType::BFloat16 ? 256 : 2048;
    const NodeId wide = random(graph, seed, DType::Float32, shape, stream);
    const NodeId whole =
        unary(graph, Op::Floor, mul(graph, wide, literal(graph, DType::Float32, steps)));
    return cast(graph, mul(graph, whole, literal(graph, DType::Float32, 1 / steps)), dtype);
  }
  if (is_small_integer(dtype))
    return cast(graph, random(graph, seed, compute_dtype(dtype), shape, stream), dtype);
  const SymInt attrs[] = {stream};
  return make(graph, Op::Random, dtype, shape, {{seed}}, attrs);
}

NodeId external(Graph& graph, int64_t id, int64_t number, std::span<const NodeId> operands,
                DType dtype, Shape shape) {
  if (id < 0 || number < 0)
    raise<ValueError>("external: id and result number must not be negative: got {} and {}", id,
                      number);
  if (operands.size() > UINT16_MAX)
    raise<UnsupportedError>("external: at most {} operands: got {}", UINT16_MAX, operands.size());
  const SymInt attrs[] = {id, number};
  return make(graph, Op::External, dtype, shape, operands, attrs);
}

namespace {

// Every third (or second) attribute: starts, steps, lows and so on of the interleaved layouts.
Dims every(SymInts attrs, size_t first, size_t stride) {
  Dims picked;
  for (size_t i = first; i < attrs.size(); i += stride) picked.push_back(attrs[i]);
  return picked;
}

NodeId rebuild_leaf(Graph& into, const Graph& from, NodeId node) {
  const Node n = from[node];
  if (n.op == Op::Literal) return literal(into, from.literal(node));
  if (n.op == Op::Iota) return iota(into, n.dtype, from.shape(node)[0]);
  if (n.op == Op::Size) return size(into, from.attr(node, 0));
  COREGRAD_CHECK(n.op == Op::Input);
  return make(into, n.op, n.dtype, from.shape(node), {}, from.attrs(node));
}

NodeId rebuild_view(Graph& into, const Graph& from, NodeId node, std::span<const NodeId> x) {
  const Op op = from[node].op;
  const SymInts attrs = from.attrs(node);
  const Shape shape = from.shape(node);
  if (op == Op::Reshape) return reshape(into, x[0], shape);
  if (op == Op::Permute) return permute(into, x[0], attrs);
  if (op == Op::Expand) return broadcast_to(into, x[0], shape);
  if (op == Op::Concat) return concat(into, x, attrs[0]);
  if (op == Op::Slice) {
    const Dims starts = every(attrs, 0, 2), steps = every(attrs, 1, 2);
    Dims stops(starts.size());
    for (size_t d = 0; d < stops.size(); ++d)
      stops[d] = shape[d] == 0 ? starts[d] : starts[d] + (shape[d] - 1) * steps[d] + 1;
    return slice(into, x[0], starts, stops, steps);
  }
  if (op == Op::Flip) {
    Dims dims;
    for (size_t d = 0; d < attrs.size(); ++d)
      if (attrs[d]) dims.push_back(static_cast<int64_t>(d));
    return flip(into, x[0], dims);
  }
  if (op == Op::Pad)
    return pad(into, x[0], every(attrs, 0, 3), every(attrs, 1, 3), every(attrs, 2, 3),
               from.literal(node));
  COREGRAD_CHECK(op == Op::Window);
  std::vector<WindowDim> windows;
  for (size_t i = 0; i < attrs.size(); i += 4)
    windows.push_back({attrs[i], attrs[i + 1], attrs[i + 2], attrs[i + 3]});
  return window(into, x[0], windows);
}

NodeId rebuild_node(Graph& into, const Graph& from, NodeId node, std::span<const NodeId> x) {
  const Node n = from[node];
  const SymInts attrs = from.attrs(node);
  switch (family_of(n.op)) {
    case Family::Leaf:
      return rebuild_leaf(into, from, node);
    case Family::Random:
      return random(into, x[0], n.dtype, from.shape(node), attrs[0]);
    case Family::Unary:
      return unary(into, n.op, x[0]);
    case Family::Binary:
      return binary(into, n.op, x[0], x[1]);
    case Family::Compare:
      return compare(into, n.op, x[0], x[1]);
    case Family::Select:
      return select(into, x[0], x[1], x[2]);
    case Family::Cast:
      return cast(into, x[0], n.dtype);
    case Family::View:
      return rebuild_view(into, from, node, x);
    case Family::Reduce:
      return reduce(into, n.op, x[0], attrs);
    case Family::Contract:
      return contract(into, x[0], x[1], ContractSpec::decode(attrs));
    case Family::Gather:
      return gather(into, x[0], attrs[0], x[1]);
    case Family::Scatter:
      return scatter(into, x[0], attrs[0], x[1], x[2], static_cast<ScatterMode>(attrs[1].number()));
    case Family::Scan:
      return scan(into, n.op, x[0], attrs[0]);
    case Family::Library:
      return argsort(into, x[0], attrs[0], attrs[1] != 0);
    case Family::External: {
      if (n.op == Op::External)
        return external(into, attrs[0], attrs[1], x, n.dtype, from.shape(node));
      Dims given(attrs.begin(), attrs.end());
      given[0] = into.add_iteration(from.iteration(attrs[0]));
      return make(into, n.op, n.dtype, from.shape(node), x, given);
    }
  }
  COREGRAD_UNREACHABLE("an operation outside the table");
}

}  // namespace

NodeId rebuild(Graph& into, const Graph& from, NodeId node, std::span<const NodeId> operands) {
  // The span may point into a graph that grows below.
  const std::vector<NodeId> stable(operands.begin(), operands.end());
  COREGRAD_CHECK(stable.size() == from.operands(node).size());
  const NodeId result = rebuild_node(into, from, node, stable);
  COREGRAD_CHECK(into.dtype(result) == from.dtype(node));
  COREGRAD_CHECK(same_shape(into.shape(result), from.shape(node)));
  return result;
}

}  // namespace coregrad::ops
