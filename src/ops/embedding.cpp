// Rows of a table by index, and what bags of such rows add up to.

#include "base/error.h"
#include "ops/detail.h"
#include "ops/expression.h"
#include "ops/indexing.h"
#include "ops/nn.h"

#include <limits>

namespace coregrad::ops {
namespace {

void require_table(const Graph& g, NodeId weight, std::string_view operation) {
  if (g.rank(weight) != 2)
    raise<ShapeError>("{}: the weight must be [rows, width]: got {}", operation,
                      describe(g, weight));
}

// The row that does not count, from 0 on.
std::optional<int64_t> padding_row(const Graph& g, NodeId weight, std::optional<int64_t> given,
                                   std::string_view operation) {
  if (!given) return given;
  const SymInt rows = g.shape(weight)[0];
  if (*given < -rows || *given >= rows)
    raise<IndexError>("{}: padding index {} is out of range for {}", operation, *given,
                      describe(g, weight));
  return *given < 0 ? (*given + rows).specialized() : *given;
}

NodeId no_number(Graph& g, SymInt n) { return full(g, {{n}}, Scalar::of_int(DType::Int64, 0)); }

// Consecutive parts of a vector of n indices.
struct Bags {
  NodeId index;                ///< int64 [n]
  NodeId bag;                  ///< int64 [n]: the number of each index's bag
  std::optional<NodeId> used;  ///< bool [n, 1]: which count, if not all
  NodeId sizes;                ///< int64 [count]: how many count in each bag
  SymInt count;

  Bags(Graph& g, NodeId indices, NodeId offsets, SymInt bags, std::optional<int64_t> padding)
      : index(cast(g, indices, DType::Int64)), count(bags) {
    const SymInt n = g.numel(index);
    const NodeId one = whole(g, 1), starts = narrow(g, offsets, 0, 0, count);
    const NodeId begun =
        index_add(g, no_number(g, n + 1), 0, starts, broadcast_to(g, one, {{count}}), 1);
    bag = narrow(g, sub(g, scan(g, Op::CumSum, begun, 0), one), 0, 0, n);
    NodeId ones = broadcast_to(g, one, {{n}});
    if (padding) {
      const NodeId counts = compare(g, Op::Ne, index, whole(g, *padding));
      ones = cast(g, counts, DType::Int64);
      used = unsqueeze(g, counts, 1);
    }
    sizes = index_add(g, no_number(g, count), 0, bag, ones, 1);
  }

  NodeId with_padding(Graph& g, NodeId rows, double value) const {
    return used ? select(g, *used, rows, number_like(g, rows, value)) : rows;
  }
};

NodeId summed(Graph& g, NodeId weight, const Bags& bags, std::optional<NodeId> factors,
              bool is_mean) {
  NodeId rows = index_select(g, weight, 0, bags.index);
  if (factors) rows = mul(g, rows, unsqueeze(g, cast(g, *factors, g.dtype(rows)), 1));
  rows = bags.with_padding(g, rows, 0);
  const NodeId zeros = broadcast_to(g, number_like(g, rows, 0), {{bags.count, g.shape(weight)[1]}});
  const NodeId total = index_add(g, zeros, 0, bags.bag, rows, 1);
  if (!is_mean) return total;
  const NodeId count = maximum(g, bags.sizes, whole(g, 1));
  return div(g, total, unsqueeze(g, cast(g, count, g.dtype(rows)), 1));
}

// int64 [count, width]: the index of each bag's first largest row; of an empty bag any.
NodeId largest_of(Graph& g, NodeId weight, const Bags& bags) {
  const SymInt n = g.numel(bags.index), width = g.shape(weight)[1];
  const SymInt wide[] = {n, width}, result[] = {bags.count, width}, row[] = {-1};
  constexpr double kLowest = -std::numeric_limits<double>::infinity();
  const NodeId every = broadcast_to(g, unsqueeze(g, bags.bag, 1), wide);
  const NodeId rows =
      bags.with_padding(g, index_select(g, detach(g, weight), 0, bags.index), kLowest);
  const NodeId lowest = broadcast_to(g, number_like(g, rows, kLowest), result);
  const Expr most(g, gather(g, scatter_reduce(g, lowest, 0, every, rows, "amax", true), 0, every));
  const Expr given(g, rows);
  Expr is_most = (given == most) | ((given != given) & (most != most));
  if (bags.used) is_most = is_most & Expr(g, broadcast_to(g, *bags.used, wide));
  const Expr place(g, broadcast_to(g, unsqueeze(g, iota(g, DType::Int64, n), 1), wide));
  const NodeId behind = broadcast_to(g, size(g, n), result);
  const NodeId first =
      scatter_reduce(g, behind, 0, every, where(is_most, place, n).node, "amin", true);
  const NodeId ends[] = {bags.index, no_number(g, 1)};
  return reshape(g, index_select(g, concat(g, ends, 0), 0, reshape(g, first, row)), result);
}

}  // namespace

NodeId embedding(Graph& g, NodeId index, NodeId weight, std::optional<int64_t> padding_idx) {
  require_table(g, weight, "embedding");
  require_index(g, index, "embedding");
  padding_idx = padding_row(g, weight, padding_idx, "embedding");
  const SymInt row[] = {g.numel(index)};
  Dims shape = shape_of(g, index);
  shape.push_back(g.shape(weight)[1]);
  const NodeId rows = reshape(g, index_select(g, weight, 0, reshape(g, index, row)), shape);
  if (!padding_idx) return rows;
  const NodeId is_padding = compare(g, Op::Eq, unsqueeze(g, index, -1),
                                    literal(g, Scalar::of_int(g.dtype(index), *padding_idx)));
  return select(g, is_padding, detach(g, rows), rows);
}

EmbeddingBag embedding_bag_with_parts(Graph& g, NodeId indices, NodeId weight,
                                      std::optional<NodeId> given_offsets, std::string_view mode,
                                      std::optional<NodeId> factors, bool include_last_offset,
                                      std::optional<int64_t> padding_idx) {
  require_table(g, weight, "embedding_bag");
  require_index(g, indices, "embedding_bag");
  if (!is_float(g.dtype(weight)))
    raise<DTypeError>("embedding_bag: the weight must be floating; cast it first: got {}",
                      describe(g, weight));
  if (mode != "sum" && mode != "mean" && mode != "max")
    raise<ValueError>("embedding_bag: mode must be 'sum', 'mean' or 'max': got '{}'", mode);
  if (factors && (mode != "sum" || !same_shape(g.shape(*factors), g.shape(indices))))
    raise<ValueError>(
        "embedding_bag: per_sample_weights need mode 'sum' and one of them for each index: got "
        "'{}' and {}",
        mode, describe(g, *factors));
  const Dims shape = shape_of(g, indices), row{-1};
  if (shape.size() != (given_offsets ? 1 : 2))
    raise<ShapeError>(
        "embedding_bag: the indices must be a vector with offsets, or [bags, n] without: got {}",
        describe(g, indices));
  const NodeId offsets = given_offsets ? cast(g, *given_offsets, DType::Int64)
                                       : mul(g, iota(g, DType::Int64, shape[0]), size(g, shape[1]));
  const SymInt bags = g.numel(offsets) - (given_offsets && include_last_offset ? 1 : 0);
  if (g.rank(offsets) != 1 || bags < 0)
    raise<ShapeError>(
        "embedding_bag: the offsets must be a vector, of one at least if they "
        "include the last: got {}",
        describe(g, offsets));
  if (factors) factors = reshape(g, *factors, row);
  const Bags parts(g, reshape(g, indices, row), offsets, bags,
                   padding_row(g, weight, padding_idx, "embedding_bag"));
  if (mode != "max")
    return {summed(g, weight, parts, factors, mode == "mean"), parts.bag, parts.sizes, {}};
  const NodeId largest = largest_of(g, weight, parts);
  const NodeId is_empty = compare(g, Op::Eq, unsqueeze(g, parts.sizes, 1), whole(g, 0));
  const NodeId chosen = gather(g, weight, 0, largest);
  return {select(g, is_empty, number_like(g, chosen, 0), chosen), parts.bag, parts.sizes, largest};
}

NodeId embedding_bag(Graph& g, NodeId indices, NodeId weight, std::optional<NodeId> offsets,
                     std::string_view mode, std::optional<NodeId> per_sample_weights,
                     bool include_last_offset, std::optional<int64_t> padding_idx) {
  return embedding_bag_with_parts(g, indices, weight, offsets, mode, per_sample_weights,
                                  include_last_offset, padding_idx)
      .total;
}

}  // namespace coregrad::ops
