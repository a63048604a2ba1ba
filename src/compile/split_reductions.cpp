// A reduction becomes two, first parts of one reduced dimension and then the parts' results, where
// it has few results and much input, so that it has parallel units; and where it sums long columns,
// so that memory is read in the order in which it lies (add_columns_in_memory, arrange_loops.cpp).
// The number of parts depends on the shape only.

#include "base/checked.h"
#include "codegen/jit/host_target.h"
#include "compile/pipeline.h"
#include "ops/primitives.h"

#include <algorithm>

namespace coregrad {
namespace {

constexpr int64_t kEnoughUnits = 4;
constexpr int64_t kTargetUnits = 64;
constexpr int64_t kColumnBlock = 64;  // columns that one unit of a column reduction covers

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
      if (graph.numel({i}) > graph.numel(node)) return true;
      follows[i - node.value] = true;
    }
  }
  return false;
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
  // How many parts depends on the extents, so those are numbers.
  if (!into.numel(x).is_number()) return ops::rebuild(into, from, node, operands);
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
    std::vector<SymInt> none(shape.size(), 0), high(shape.size(), 0);
    high[dim] = round_up(extent, parts) - extent;
    x = ops::pad(into, x, none, high, none, ops::reduction_identity(op, into.dtype(x)));
    shape[dim] += high[dim];
  }
  std::vector<SymInt> split = shape;
  split[dim] /= parts;
  split.insert(split.begin() + static_cast<std::ptrdiff_t>(dim), parts);
  std::vector<SymInt> inner_dims = dims;
  for (SymInt& d : inner_dims)
    if (d >= static_cast<int64_t>(dim)) ++d;
  const NodeId partial = ops::reduce(into, op, ops::reshape(into, x, split), inner_dims);
  // The parts' dimension is where `dim` was among the kept ones.
  int64_t place = static_cast<int64_t>(dim);
  for (int64_t d : dims) place -= d < static_cast<int64_t>(dim);
  // Not through ops::reduce, which would join the two again; for that reason this pass comes last.
  return into.intern(op, from.dtype(node), from.shape(node), {{partial}}, {{place}});
}

}  // namespace coregrad
