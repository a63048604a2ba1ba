#include "ops/indexing.h"

#include "base/checked.h"
#include "ops/detail.h"
#include "ops/expression.h"

namespace coregrad::ops {
namespace {

// What index and index_put share: the row number of each index tuple in x seen as
// [rows, rest..], and the shapes on the way. Negative indices count from the end. A bad index of
// several stays bad as a row number: -1.
struct LeadingIndex {
  Dims at;    ///< the broadcast shape of the indices
  Dims rest;  ///< x's dimensions behind them
  SymInt rows = 1, columns = 1;
  NodeId row;  ///< int64[product of at]

  LeadingIndex(Graph& g, NodeId x, std::span<const NodeId> indices, std::string_view operation) {
    const Dims shape = shape_of(g, x);
    if (indices.empty() || indices.size() > shape.size())
      raise<IndexError>("{}: there must be 1 to {} index tensors for {}: got {}", operation,
                        shape.size(), describe(g, x), indices.size());
    for (NodeId i : indices) {
      require_index(g, i, operation);
      at = broadcast_shapes(at, g.shape(i), operation);
    }
    rest.assign(shape.begin() + static_cast<std::ptrdiff_t>(indices.size()), shape.end());
    columns = checked_numel(rest, operation);
    Expr number(0), is_bad(0);
    for (size_t d = 0; d < indices.size(); ++d) {
      const SymInt extent = shape[d];
      const Expr given(g, broadcast_to(g, cast(g, indices[d], DType::Int64), at));
      const Expr place = where(given < 0, given + extent, given);
      const Expr outside = (place < 0) | (place >= extent);
      number = d == 0 ? place : number * extent + place;
      is_bad = d == 0 ? outside : is_bad | outside;
      rows = checked_mul(rows, shape[d], operation);
    }
    if (indices.size() > 1) number = where(is_bad, -1, number);
    row = reshape(g, number.node, {{checked_numel(at, operation)}});
  }

  NodeId spread(Graph& g) const {
    const SymInt count = checked_numel(at, "index");
    return broadcast_to(g, reshape(g, row, {{count, SymInt(1)}}), {{count, columns}});
  }
};

NodeId as_rows(Graph& g, NodeId x, SymInt rows, SymInt columns) {
  return reshape(g, x, {{rows, columns}});
}

NodeId mask_triangle(Graph& g, NodeId x, int64_t diagonal, bool lower) {
  if (g.rank(x) < 2)
    raise<ShapeError>("{}: the operand must have two dimensions: got {}", lower ? "tril" : "triu",
                      describe(g, x));
  const Shape shape = g.shape(x);
  const SymInt rows = shape[shape.size() - 2], columns = shape[shape.size() - 1];
  const NodeId zero = number_like(g, x, 0);
  return lower ? select(g, lower_mask(g, rows, columns, diagonal), x, zero)
               : select(g, lower_mask(g, rows, columns, diagonal - 1), zero, x);
}

}  // namespace

void require_index(const Graph& g, NodeId index, std::string_view operation) {
  if (!is_integer(g.dtype(index)))
    raise<DTypeError>("{}: the index must be int64 or int32: got {}", operation,
                      describe(g, index));
}

NodeId index_select(Graph& g, NodeId x, int64_t dim, NodeId index) {
  require_index(g, index, "index_select");
  if (g.rank(index) > 1)
    raise<ShapeError>("index_select: the index must be a vector: got {}", describe(g, index));
  // A scalar counts as a vector of one element, which any index names.
  if (g.rank(x) == 0) return x;
  const auto d = static_cast<size_t>(normalize_dim(dim, g.rank(x), "index_select"));
  Dims along(g.shape(x).size(), 1), shape = shape_of(g, x);
  along[d] = shape[d] = g.numel(index);
  return gather(g, x, dim, broadcast_to(g, reshape(g, index, along), shape));
}

NodeId take_along_dim(Graph& g, NodeId x, NodeId index, int64_t dim) {
  const auto d = static_cast<size_t>(normalize_dim(dim, g.rank(x), "take_along_dim"));
  if (g.rank(x) != g.rank(index))
    raise<ShapeError>("take_along_dim: the index must have the operand's rank: got {} for {}",
                      describe(g, index), describe(g, x));
  Dims x_shape = shape_of(g, x), index_shape = shape_of(g, index);
  const SymInt extent = x_shape[d], count = index_shape[d];
  x_shape[d] = index_shape[d] = 1;
  Dims common = broadcast_shapes(x_shape, index_shape, "take_along_dim");
  common[d] = extent;
  x = broadcast_to(g, x, common);
  common[d] = count;
  return gather(g, x, dim, broadcast_to(g, index, common));
}

NodeId index(Graph& g, NodeId x, std::span<const NodeId> indices) {
  const LeadingIndex to(g, x, indices, "index");
  Dims shape = to.at;
  shape.insert(shape.end(), to.rest.begin(), to.rest.end());
  return reshape(g, gather(g, as_rows(g, x, to.rows, to.columns), 0, to.spread(g)), shape);
}

NodeId index_put(Graph& g, NodeId x, std::span<const NodeId> indices, NodeId values,
                 bool accumulate) {
  const Dims x_shape = shape_of(g, x);
  const LeadingIndex index(g, x, indices, "index_put");
  Dims shape = index.at;
  shape.insert(shape.end(), index.rest.begin(), index.rest.end());
  const NodeId wide = broadcast_to(g, cast(g, values, g.dtype(x)), shape);
  const SymInt count = checked_numel(index.at, "index_put");
  return reshape(g,
                 scatter(g, as_rows(g, x, index.rows, index.columns), 0, index.spread(g),
                         as_rows(g, wide, count, index.columns),
                         accumulate ? ScatterMode::Add : ScatterMode::Set),
                 x_shape);
}

NodeId one_hot(Graph& g, NodeId index, SymInt classes, DType dtype) {
  require_index(g, index, "one_hot");
  const NodeId positions = iota(g, g.dtype(index), classes);
  return cast(g, compare(g, Op::Eq, unsqueeze(g, index, -1), positions), dtype);
}

NodeId lower_mask(Graph& g, SymInt rows, SymInt columns, int64_t diagonal) {
  const NodeId row =
      add(g, reshape(g, iota(g, DType::Int64, rows), {{rows, SymInt(1)}}), whole(g, diagonal));
  return compare(g, Op::Le, iota(g, DType::Int64, columns), row);
}

NodeId tril(Graph& g, NodeId x, int64_t diagonal) { return mask_triangle(g, x, diagonal, true); }
NodeId triu(Graph& g, NodeId x, int64_t diagonal) { return mask_triangle(g, x, diagonal, false); }

NodeId eye(Graph& g, DType dtype, SymInt rows, SymInt columns) {
  return one_hot(g, iota(g, DType::Int64, rows), columns, dtype);
}

NodeId arange(Graph& g, DType dtype, NodeId start, NodeId step, SymInt n) {
  if (dtype == DType::Bool) raise<DTypeError>("arange: the dtype must be a number: got bool");
  const NodeId place = cast(g, iota(g, DType::Int64, n), g.dtype(start));
  return cast(g, add(g, mul(g, place, step), start), dtype);
}

NodeId roll(Graph& g, NodeId x, SymInts shifts, SymInts dims) {
  if (dims.empty()) {
    const Dims shape = shape_of(g, x), flat{g.numel(x)}, first{0};
    return reshape(g, roll(g, reshape(g, x, flat), shifts, first), shape);
  }
  if (shifts.size() != dims.size())
    raise<ValueError>("roll: there must be a shift for each dimension: got {} for {}",
                      shape_text(shifts), shape_text(dims));
  for (size_t i = 0; i < dims.size() && g.rank(x) > 0; ++i) {
    const int64_t dim = normalize_dim(dims[i], g.rank(x), "roll");
    const SymInt n = g.shape(x)[dim];
    const SymInt cut = n == 0 ? SymInt(0) : floor_mod(-floor_mod(shifts[i], n), n);
    if (cut == 0) continue;
    const NodeId parts[] = {narrow(g, x, dim, cut, n), narrow(g, x, dim, 0, cut)};
    x = concat(g, parts, dim);
  }
  return x;
}

NodeId stack(Graph& g, std::span<const NodeId> parts, int64_t dim) {
  std::vector<NodeId> lifted;
  for (NodeId part : parts) {
    if (!same_shape(g.shape(part), g.shape(parts[0])))
      raise<ShapeError>("stack: parts must have one shape: got {} and {}", describe(g, parts[0]),
                        describe(g, part));
    lifted.push_back(unsqueeze(g, part, dim));
  }
  if (parts.empty()) raise<ValueError>("stack: there must be at least one part");
  return concat(g, lifted, dim);
}

NodeId cat(Graph& g, std::span<const NodeId> parts, int64_t dim) {
  std::vector<NodeId> kept;
  DType dtype = DType::Bool;
  for (NodeId part : parts) {
    if (g.rank(part) != 1 || g.shape(part)[0] != 0) kept.push_back(part);
    dtype = promote(dtype, g.dtype(part));
  }
  return cast(g, concat(g, kept.empty() ? parts : std::span<const NodeId>(kept), dim), dtype);
}

std::vector<NodeId> split_with_sizes(Graph& g, NodeId x, SymInts sizes, int64_t dim) {
  const SymInt n = g.shape(x)[normalize_dim(dim, g.rank(x), "split_with_sizes")];
  std::vector<NodeId> pieces;
  SymInt begin = 0;
  for (const SymInt size : sizes) {
    const SymInt end = checked_add(begin, size, "split_with_sizes");
    if (size < 0 || end > n)
      raise<ShapeError>("split_with_sizes: sizes must add up to the extent {}: got {}", n,
                        shape_text(sizes));
    pieces.push_back(narrow(g, x, dim, begin, end));
    begin = end;
  }
  if (begin != n)
    raise<ShapeError>("split_with_sizes: sizes must add up to the extent {}: got {}", n,
                      shape_text(sizes));
  return pieces;
}

NodeId tile(Graph& g, NodeId x, SymInts counts) {
  Dims shape = shape_of(g, x), times(counts.begin(), counts.end());
  if (times.size() < shape.size())
    raise<ShapeError>("tile: there must be a count for each dimension of {}: got {}",
                      describe(g, x), shape_text(counts));
  shape.insert(shape.begin(), times.size() - shape.size(), 1);
  // [a, b] -> [1, a, 1, b] -> [m, a, n, b] -> [m a, n b]
  Dims paired, repeated, result;
  for (size_t d = 0; d < shape.size(); ++d) {
    if (times[d] < 0) raise<ValueError>("tile: counts must not be negative: got {}", times[d]);
    paired.insert(paired.end(), {1, shape[d]});
    repeated.insert(repeated.end(), {times[d], shape[d]});
    result.push_back(checked_mul(times[d], shape[d], "tile"));
  }
  return reshape(g, broadcast_to(g, reshape(g, x, paired), repeated), result);
}

NodeId repeat_interleave(Graph& g, NodeId x, SymInt count, int64_t dim) {
  const int64_t at = normalize_dim(dim, g.rank(x), "repeat_interleave");
  if (count < 0)
    raise<ValueError>("repeat_interleave: the count must not be negative: got {}", count);
  Dims shape = shape_of(g, x), result = shape;
  shape.insert(shape.begin() + at + 1, count);
  result[at] = checked_mul(result[at], count, "repeat");
  return reshape(g, broadcast_to(g, unsqueeze(g, x, at + 1), shape), result);
}

NodeId sort(Graph& g, NodeId x, int64_t dim, bool descending) {
  return gather(g, x, dim, argsort(g, x, dim, descending));
}

std::pair<NodeId, NodeId> topk(Graph& g, NodeId x, SymInt k, int64_t dim, bool largest) {
  if (g.rank(x) == 0) return {x, whole(g, 0)};
  const SymInt n = g.shape(x)[normalize_dim(dim, g.rank(x), "topk")];
  if (k < 0 || k > n)
    raise<IndexError>("topk: k must lie in [0, {}]: got {} for {}", n, k, describe(g, x));
  const NodeId order = narrow(g, argsort(g, x, dim, largest), dim, 0, k);
  return {gather(g, x, dim, order), order};
}

}  // namespace coregrad::ops
