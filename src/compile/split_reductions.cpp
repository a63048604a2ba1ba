// A reduction becomes two, first parts of one reduced dimension and then the parts' results, where
// it has few results and much input, so that it has parallel units; and where it sums long columns,
// so that memory is read in the order in which it lies (add_columns_in_memory, arrange_loops.cpp).
// The number of parts depends on the shape only; where sizes are symbols it is an expression, and
// what is no whole part is reduced by itself.

#include "base/checked.h"
#include "codegen/jit/host_target.h"
#include "compile/pipeline.h"
#include "ops/primitives.h"

#include <algorithm>
#include <optional>

namespace coregrad {
namespace {

constexpr int64_t kEnoughUnits = 4;
constexpr int64_t kTargetUnits = 64;
constexpr int64_t kColumnBlock = 64;  // columns that one unit of a column reduction covers
constexpr int64_t kRowsAtOnce = 4;    // rows that the sum of long columns adds in one go

/// True when elementwise nodes and views spread the result over more elements again, as in a
/// normalisation: reduction and user then share one kernel, and two steps would have to take its
/// place.
bool is_spread_again(const Graph& graph, NodeId node) {
  std::vector<bool> follows(graph.size() - node.value, false);
  follows[0] = true;
  for (uint32_t i = node.value + 1; i < graph.size(); ++i) {
    const bool is_local = family_of(graph[{i}].op) != Family::Contract;
    for (const NodeId o : graph.operands({i})) {
      if (!is_local || o.value < node.value || !follows[o.value - node.value]) continue;
      if (!SymInt::is_at_most(graph.numel({i}), graph.numel(node))) return true;
      follows[i - node.value] = true;
    }
  }
  return false;
}

/// Where a reduction is split, and into how many parts.
struct Split {
  size_t dim;
  SymInt parts;
  int64_t rows = 1;  ///< what elements of a part are a multiple of
};

/// A reduction that its parts, which are elements of one dimension again, are reduced by.
NodeId reduce_parts(Graph& into, const Graph& from, NodeId node, NodeId x, const Split& split,
                    std::vector<SymInt> shape) {
  const Op op = from[node].op;
  const SymInts dims = from.attrs(node);
  const auto dim = static_cast<int64_t>(split.dim);
  shape[split.dim] = shape[split.dim] / split.parts;
  shape.insert(shape.begin() + dim, split.parts);
  std::vector<SymInt> inner_dims(dims.begin(), dims.end());
  for (SymInt& d : inner_dims)
    if (d >= dim) ++d;
  const NodeId partial = ops::reduce(into, op, ops::reshape(into, x, shape), inner_dims);
  // The parts' dimension is where `dim` was among the kept ones.
  int64_t place = dim;
  for (int64_t d : dims) place -= d < dim;
  // Not through ops::reduce, which would join the two again; for that reason this pass comes last.
  return into.intern(op, from.dtype(node), from.shape(node), {{partial}}, {{place}});
}

/// Where results are known to be few, or where columns may be long.
std::optional<Split> split_of_symbols(const Graph& into, const Graph& from, NodeId node, NodeId x) {
  const Thresholds& thresholds = host_target().thresholds;
  const Shape shape = into.shape(x);
  const SymInts dims = from.attrs(node);
  const SymInt total = into.numel(x), results = from.numel(node);
  // Where there may be nothing to reduce, nobody would begin the parts.
  if (results.is_identical(0) || total.lower_bound() < 1) return {};
  const auto at = std::ranges::find_if(
      dims, [&](SymInt d) { return !shape[static_cast<size_t>(d.number())].is_number(); });
  if (at == dims.end()) return {};
  const bool by_rows = dims.back() == static_cast<int64_t>(shape.size()) - 1;
  const SymInt units = by_rows ? results : ceil_div(results, kColumnBlock);
  const bool in_parts = units.is_number() && units.number() < kEnoughUnits;
  if (!in_parts && (by_rows || is_spread_again(from, node))) return {};
  const auto dim = static_cast<size_t>(at->number());
  const SymInt extent = shape[dim];
  const SymInt most =
      in_parts ? min(kTargetUnits / units.number(), floor_div(total, thresholds.part_elements))
               : min(kTargetUnits, floor_div(total, thresholds.column_part));
  const SymInt parts = max(min(most, in_parts ? extent : floor_div(extent, 8)), 1);
  return Split{dim, parts, in_parts ? 1 : kRowsAtOnce};
}

/// x with as many more elements along a dimension, which change no result of the reduction.
NodeId lengthened(Graph& into, NodeId x, size_t dim, SymInt more, Op op) {
  std::vector<SymInt> none(static_cast<size_t>(into.rank(x)), 0), high = none;
  high[dim] = more;
  return ops::pad(into, x, none, high, none, ops::reduction_identity(op, into.dtype(x)));
}

}  // namespace

NodeId split_reduction(Graph& into, const Graph& from, NodeId node,
                       std::span<const NodeId> operands) {
  const Op op = from[node].op;
  if (op != Op::Sum && op != Op::Prod && op != Op::ReduceMax && op != Op::ReduceMin)
    return ops::rebuild(into, from, node, operands);
  const Thresholds& thresholds = host_target().thresholds;
  NodeId x = operands[0];
  std::vector<SymInt> shape(into.shape(x).begin(), into.shape(x).end());
  const std::vector<SymInt> dims(from.attrs(node).begin(), from.attrs(node).end());
  if (!into.numel(x).is_number()) {
    const std::optional<Split> split = split_of_symbols(into, from, node, x);
    if (!split) return ops::rebuild(into, from, node, operands);
    SymInt& along = shape[split->dim];
    const SymInt whole = round_up(along, split->rows * split->parts);
    x = lengthened(into, x, split->dim, whole - along, op);
    along = whole;
    return reduce_parts(into, from, node, x, *split, shape);
  }
  const int64_t total = into.numel(x), results = from.numel(node);
  const bool by_rows = !dims.empty() && dims.back() == static_cast<int64_t>(shape.size()) - 1;
  const int64_t units = by_rows ? results : ceil_div(results, kColumnBlock);
  if (total < thresholds.split_elements || results == 0)
    return ops::rebuild(into, from, node, operands);
  const bool in_parts = units < kEnoughUnits;
  if (!in_parts && (by_rows || total < thresholds.column_elements || is_spread_again(from, node)))
    return ops::rebuild(into, from, node, operands);

  const auto dim = static_cast<size_t>(
      *std::find_if(dims.begin(), dims.end(), [&](int64_t d) { return shape[d] > 1; }));
  const int64_t extent = shape[dim];
  const int64_t wanted =
      in_parts ? std::min({kTargetUnits / units, total / thresholds.part_elements, extent})
               : std::min({kTargetUnits, total / thresholds.column_part, extent / 8});
  if (wanted < 2) return ops::rebuild(into, from, node, operands);
  int64_t parts = wanted;
  while (parts > wanted / 2 && extent % parts != 0) --parts;
  if (extent % parts != 0) parts = wanted;
  if (extent % parts != 0) {
    shape[dim] = round_up(extent, parts);
    x = lengthened(into, x, dim, shape[dim] - extent, op);
  }
  return reduce_parts(into, from, node, x, {.dim = dim, .parts = parts}, shape);
}

}  // namespace coregrad
