// Scatters: elements put, or combined, at places of a dimension that an index names; by masks and
// by consecutive parts. Indices count from 0 and are checked at run time.

#include "base/checked.h"
#include "ops/detail.h"
#include "ops/expression.h"
#include "ops/indexing.h"

#include <algorithm>
#include <limits>

namespace coregrad::ops {
namespace {

// x with values[.., i, ..] combined at index[.., i, ..]; values are one for all or may reach
// further than the index. Scalars count as vectors of one element.
NodeId scattered(Graph& g, NodeId x, int64_t dim, NodeId index, NodeId values, ScatterMode mode,
                 std::string_view operation) {
  require_index(g, index, operation);
  if (g.numel(index) == 0) return x;
  if (g.rank(x) == 0 || g.rank(index) == 0) {
    const Dims shape = shape_of(g, x), row{-1};
    if (g.rank(values) > 0) values = reshape(g, values, row);
    return reshape(
        g, scattered(g, reshape(g, x, row), dim, reshape(g, index, row), values, mode, operation),
        shape);
  }
  const Dims reach = shape_of(g, index);
  if (g.rank(values) == 0) values = broadcast_to(g, values, reach);
  const Dims given = shape_of(g, values);
  bool fits = given.size() == reach.size();
  for (size_t d = 0; fits && d < reach.size(); ++d) fits = given[d] >= reach[d];
  if (!fits)
    raise<ShapeError>("{}: the source must reach as far as the index: got {} for {}", operation,
                      describe(g, values), describe(g, index));
  if (given != reach) {
    const Dims starts(reach.size(), 0), steps(reach.size(), 1);
    values = slice(g, values, starts, reach, steps);
  }
  return scatter(g, x, dim, cast(g, index, DType::Int64), cast(g, values, g.dtype(x)), mode);
}

// What scatter_reduce() does for a word: the mode, and the value that changes nothing.
struct Combination {
  ScatterMode mode;
  Op reduction;
  bool is_mean = false;

  Combination(std::string_view word, std::string_view operation) {
    if (word == "sum" || word == "mean") {
      mode = ScatterMode::Add;
      reduction = Op::Sum;
      is_mean = word == "mean";
    } else if (word == "prod") {
      mode = ScatterMode::Mul;
      reduction = Op::Prod;
    } else if (word == "amax") {
      mode = ScatterMode::Max;
      reduction = Op::ReduceMax;
    } else if (word == "amin") {
      mode = ScatterMode::Min;
      reduction = Op::ReduceMin;
    } else {
      raise<ValueError>("{}: reduce must be 'sum', 'prod', 'mean', 'amax' or 'amin': got '{}'",
                        operation, word);
    }
  }
};

NodeId combined_by(Graph& g, NodeId x, int64_t dim, NodeId index, NodeId src, std::string_view word,
                   bool include_self, std::string_view operation) {
  const Combination by(word, operation);
  const DType dtype = g.dtype(x);
  if (by.is_mean && dtype == DType::Bool)
    raise<DTypeError>("{}: bool has no mean; cast it first: got {}", operation, describe(g, x));
  const auto constant = [&](double value) { return literal(g, dtype, value); };
  // What is written to starts with what changes nothing.
  if (!include_self)
    x = scattered(g, x, dim, index, literal(g, reduction_identity(by.reduction, dtype)),
                  ScatterMode::Set, operation);
  const NodeId total = scattered(g, x, dim, index, src, by.mode, operation);
  if (!by.is_mean) return total;
  const NodeId own = broadcast_to(g, constant(include_self ? 1 : 0), shape_of(g, x));
  const NodeId written = scattered(g, own, dim, index, constant(1), ScatterMode::Add, operation);
  const NodeId count = maximum(g, written, constant(1));
  return is_float(dtype) ? div(g, total, count) : floor_divide(g, total, count);
}

// x and what is written to whole slices index[i] of a dimension: `source` as scattered() takes it.
struct Slices {
  Dims shape;  ///< of x
  NodeId x, index, source;
  int64_t dim;

  Slices(Graph& g, NodeId given, int64_t at, NodeId places, NodeId values,
         std::string_view operation)
      : shape(shape_of(g, given)), x(given), source(values) {
    require_index(g, places, operation);
    if (g.rank(places) > 1)
      raise<ShapeError>("{}: the index must be a vector: got {}", operation, describe(g, places));
    const SymInt row[] = {-1};
    if (shape.empty()) {  // a scalar counts as a vector of one element
      x = reshape(g, x, row);
      source = reshape(g, source, row);
    }
    dim = normalize_dim(at, g.rank(x), operation);
    Dims wide = shape_of(g, x);
    const auto d = static_cast<size_t>(dim);
    wide[d] = g.numel(places);
    if (!same_shape(g.shape(source), wide))
      raise<ShapeError>("{}: the source must be {} as the index names: got {}", operation,
                        shape_text(wide), describe(g, source));
    index = broadcast_to(g, along(g, places, d, wide.size()), wide);
  }
};

// For each element of a mask as one row how many before it are true.
NodeId number_of_true(Graph& g, NodeId mask) {
  const SymInt row[] = {-1};
  const NodeId ones = cast(g, reshape(g, mask, row), DType::Int64);
  return (Expr(g, scan(g, Op::CumSum, ones, 0)) - 1).node;
}

// Where elements of a reduction by parts go: each to its part, what is in none to one part more.
struct Parts {
  int64_t axis;
  SymInt count;
  NodeId index;    ///< of x's shape
  NodeId lengths;  ///< [outer.., count, 1..]
  Dims room;       ///< x's shape with count + 1 parts

  Parts(Graph& g, NodeId x, std::optional<NodeId> given, std::optional<NodeId> offsets,
        int64_t dim) {
    axis = normalize_dim(dim, g.rank(x), "segment_reduce");
    if (given.has_value() == offsets.has_value())
      raise<ValueError>("segment_reduce: either lengths or offsets must be given");
    const NodeId numbers = cast(g, given ? *given : *offsets, DType::Int64);
    room = shape_of(g, x);
    const Shape listed = g.shape(numbers);
    const auto at = static_cast<size_t>(axis);
    if (listed.size() != at + 1 || !std::equal(listed.begin(), listed.end() - 1, room.begin()) ||
        (offsets && listed.back() == 0))
      raise<ShapeError>(
          "segment_reduce: {} must have the dimensions before axis {}, and parts: got "
          "{} for {}",
          given ? "lengths" : "offsets", axis, describe(g, numbers), describe(g, x));
    count = listed.back() - (offsets ? 1 : 0);
    const NodeId ends =
        given ? scan(g, Op::CumSum, numbers, axis) : narrow(g, numbers, axis, 1, count + 1);
    const NodeId sizes = given ? numbers : sub(g, ends, narrow(g, numbers, axis, 0, count));
    Dims outer(room.begin(), room.begin() + axis + 1);
    const NodeId place = broadcast_to(g, iota(g, DType::Int64, outer.back()), outer);
    Dims shape = outer;
    shape.resize(room.size(), 1);
    index = broadcast_to(g, reshape(g, searchsorted(g, ends, place, true), shape), room);
    shape[at] = count;
    lengths = reshape(g, sizes, shape);
    room[at] = count + 1;
  }
};

}  // namespace

NodeId scatter(Graph& g, NodeId x, int64_t dim, NodeId index, NodeId src) {
  return scattered(g, x, dim, index, src, ScatterMode::Set, "scatter");
}
NodeId scatter_add(Graph& g, NodeId x, int64_t dim, NodeId index, NodeId src) {
  return scattered(g, x, dim, index, src, ScatterMode::Add, "scatter_add");
}
NodeId scatter_reduce(Graph& g, NodeId x, int64_t dim, NodeId index, NodeId src,
                      std::string_view word, bool include_self) {
  return combined_by(g, x, dim, index, src, word, include_self, "scatter_reduce");
}

NodeId index_add(Graph& g, NodeId x, int64_t dim, NodeId index, NodeId source, double alpha) {
  const Slices to(g, x, dim, index, alpha == 1 ? source : scaled(g, source, alpha), "index_add");
  return reshape(g, scattered(g, to.x, to.dim, to.index, to.source, ScatterMode::Add, "index_add"),
                 to.shape);
}
NodeId index_copy(Graph& g, NodeId x, int64_t dim, NodeId index, NodeId source) {
  const Slices to(g, x, dim, index, source, "index_copy");
  return reshape(g, scattered(g, to.x, to.dim, to.index, to.source, ScatterMode::Set, "index_copy"),
                 to.shape);
}
NodeId index_reduce(Graph& g, NodeId x, int64_t dim, NodeId index, NodeId source,
                    std::string_view word, bool include_self) {
  const Slices to(g, x, dim, index, source, "index_reduce");
  return reshape(
      g, combined_by(g, to.x, to.dim, to.index, to.source, word, include_self, "index_reduce"),
      to.shape);
}

NodeId put(Graph& g, NodeId x, NodeId index, NodeId source, bool accumulate) {
  require_index(g, index, "put");
  if (g.numel(index) != g.numel(source))
    raise<ShapeError>("put: there must be an element for each index: got {} for {}",
                      describe(g, source), describe(g, index));
  const Dims shape = shape_of(g, x), row{-1};
  if (g.numel(index) == 0) return x;
  const Expr place(g, cast(g, reshape(g, index, row), DType::Int64));
  const Expr wrapped = where(place < 0, place + g.numel(x), place);
  const ScatterMode mode = accumulate ? ScatterMode::Add : ScatterMode::Set;
  return reshape(
      g, scattered(g, reshape(g, x, row), 0, wrapped.node, reshape(g, source, row), mode, "put"),
      shape);
}

NodeId masked_scatter(Graph& g, NodeId x, NodeId mask, NodeId source) {
  if (g.dtype(mask) != DType::Bool)
    raise<DTypeError>("masked_scatter: the mask must be bool: got {}", describe(g, mask));
  const Dims shape = broadcast_shapes(g.shape(x), g.shape(mask), "masked_scatter"), row{-1};
  x = broadcast_to(g, x, shape);
  mask = broadcast_to(g, mask, shape);
  if (g.numel(x) == 0) return x;
  if (g.numel(source) == 0)
    raise<ShapeError>("masked_scatter: the source must have elements: got {}", describe(g, source));
  // Too few elements: a bad index.
  const NodeId place = select(g, reshape(g, mask, row), number_of_true(g, mask),
                              literal(g, Scalar::of_int(DType::Int64, 0)));
  const NodeId values = gather(g, reshape(g, cast(g, source, g.dtype(x)), row), 0, place);
  return select(g, mask, reshape(g, values, shape), x);
}

NodeId mask_put(Graph& g, NodeId x, int64_t dim, NodeId mask, NodeId values, bool accumulate) {
  const Dims shape = shape_of(g, x), extents = shape_of(g, mask), row{-1};
  const auto first = shape.begin() + std::min<int64_t>(dim, g.rank(x));
  if (g.dtype(mask) != DType::Bool || g.rank(x) - dim < g.rank(mask) ||
      !std::equal(extents.begin(), extents.end(), first))
    raise<ShapeError>(
        "mask_put: a bool mask must have the extents from dimension {} on: got {} for {}", dim,
        describe(g, mask), describe(g, x));
  const auto masked = static_cast<size_t>(dim), rank = shape.size() - extents.size() + 1;
  if (g.shape(values).size() > rank)
    raise<ShapeError>("mask_put: values must fit into the masked operand: got {} for {}",
                      describe(g, values), describe(g, x));
  Dims given(rank - g.shape(values).size(), 1);
  given.insert(given.end(), g.shape(values).begin(), g.shape(values).end());
  const auto in_place_of_mask = [&](const Dims& middle) {
    Dims result = given;
    result.erase(result.begin() + dim);
    result.insert(result.begin() + dim, middle.begin(), middle.end());
    return result;
  };
  values = cast(g, values, g.dtype(x));
  const SymInt number = given[masked], n = g.numel(mask);
  const Expr hit(g, reshape(g, mask, row));
  if (number == 0) {  // no element may be hit: x, read at a bad index where one is
    Dims around(shape.begin(), shape.begin() + dim);
    around.push_back(n);
    around.insert(around.end(), shape.begin() + dim + g.rank(mask), shape.end());
    const Expr place = where(hit, Expr(n), Expr(g, iota(g, DType::Int64, n)));
    const NodeId index = broadcast_to(g, along(g, place.node, masked, rank), around);
    return reshape(g, gather(g, reshape(g, x, around), dim, index), shape);
  }
  if (number == 1) {
    values = reshape(g, values, in_place_of_mask(Dims(extents.size(), 1)));
  } else {
    const Expr count(g, number_of_true(g, mask));
    const Expr last(g, broadcast_to(g, narrow(g, count.node, 0, n - 1, n), {{n}}));
    const Expr behind(number);  // a bad index
    const Expr place = where(last != Expr(number - 1), behind, where(hit, count, Expr(0)));
    const NodeId index = broadcast_to(g, along(g, place.node, masked, rank), in_place_of_mask({n}));
    values =
        reshape(g, gather(g, reshape(g, values, given), dim, index), in_place_of_mask(extents));
  }
  values = broadcast_to(g, values, shape);
  Dims around(shape.size(), 1);
  std::copy(extents.begin(), extents.end(), around.begin() + dim);
  mask = broadcast_to(g, reshape(g, mask, around), shape);
  return select(g, mask, accumulate ? add(g, x, values) : values, x);
}

NodeId nonzero_static(Graph& g, NodeId x, int64_t size, int64_t fill_value) {
  if (size < 0) raise<ValueError>("nonzero_static: the size must not be negative: got {}", size);
  const Scalar fill = Scalar::of_int(DType::Int64, fill_value);
  const SymInt row[] = {-1}, all[] = {size, g.rank(x)}, column[] = {size, 1};
  if (g.numel(x) == 0 || g.rank(x) == 0 || size == 0) return full(g, all, fill);
  const Expr hit(g, reshape(g, cast(g, x, DType::Bool), row));
  const Expr number(g, number_of_true(g, hit.node));
  const auto behind = static_cast<double>(size);
  // The last place is for all others.
  const Expr place = where(hit & (number < behind), number, behind);
  const SymInt room[] = {size + 1};
  std::vector<NodeId> columns;
  for (int64_t dim = 0; dim < g.rank(x); ++dim) {
    const NodeId at = reshape(g, places_along(g, x, dim), row);
    const NodeId packed = scatter(g, full(g, room, fill), 0, place.node, at, ScatterMode::Set);
    columns.push_back(reshape(g, narrow(g, packed, 0, 0, size), column));
  }
  return concat(g, columns, 1);
}

NodeId segment_reduce(Graph& g, NodeId x, std::string_view word, std::optional<NodeId> lengths,
                      std::optional<NodeId> offsets, int64_t axis, std::optional<double> initial) {
  if (!is_float(g.dtype(x)))
    raise<DTypeError>("segment_reduce: the operand must be floating; cast it first: got {}",
                      describe(g, x));
  const std::string_view name = word == "max" ? "amax" : word == "min" ? "amin" : word;
  const Combination by(name, "segment_reduce");
  const Parts parts(g, x, lengths, offsets, axis);
  const Scalar identity = reduction_identity(by.reduction, g.dtype(x));
  const Scalar start = initial ? Scalar::of(g.dtype(x), *initial) : identity;
  const NodeId room = full(g, parts.room, start);
  const NodeId all = scattered(g, room, parts.axis, parts.index, x, by.mode, "segment_reduce");
  const Expr total(g, narrow(g, all, parts.axis, 0, parts.count));
  if (!by.is_mean) return total.node;
  const Expr count(g, cast(g, parts.lengths, g.dtype(x)));
  const double of_none = initial.value_or(std::numeric_limits<double>::quiet_NaN());
  return where(count > 0, total / maximum(count, 1), of_none).node;
}

}  // namespace coregrad::ops
