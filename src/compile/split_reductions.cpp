// A reduction with few results and much input becomes two, so that it has parallel units: first
// parts of one reduced dimension, then the parts' results. The number of parts depends on the shape
// only.

#include "base/checked.h"
#include "compile/pipeline.h"
#include "ops/primitives.h"

#include <algorithm>
#include <limits>

namespace coregrad {
namespace {

constexpr int64_t kEnoughUnits = 4;
constexpr int64_t kMinElements = 64 * 1024;
constexpr int64_t kTargetUnits = 64;
constexpr int64_t kMinPart = 8 * 1024;  // elements
constexpr int64_t kColumnBlock = 64;    // columns that one unit of a column reduction covers

Scalar identity(Op op, DType dtype) {
  const double infinity = std::numeric_limits<double>::infinity();
  if (op == Op::Sum) return Scalar::of(dtype, 0);
  if (op == Op::Prod) return Scalar::of(dtype, 1);
  if (dtype == DType::Bool) return Scalar::of_int(dtype, op == Op::ReduceMin);
  return Scalar::of(dtype, op == Op::ReduceMax ? -infinity : infinity);
}

}  // namespace

NodeId split_reduction(Graph& into, const Graph& from, NodeId node,
                       std::span<const NodeId> operands) {
  const Op op = from[node].op;
  if (op != Op::Sum && op != Op::Prod && op != Op::ReduceMax && op != Op::ReduceMin)
    return ops::rebuild(into, from, node, operands);
  NodeId x = operands[0];
  std::vector<int64_t> shape(into.shape(x).begin(), into.shape(x).end());
  const std::vector<int64_t> dims(from.attrs(node).begin(), from.attrs(node).end());
  const int64_t total = into.numel(x), results = from.numel(node);
  const bool by_rows = !dims.empty() && dims.back() == static_cast<int64_t>(shape.size()) - 1;
  const int64_t units = by_rows ? results : ceil_div(results, kColumnBlock);
  if (total < kMinElements || results == 0 || units >= kEnoughUnits)
    return ops::rebuild(into, from, node, operands);

  const auto dim = static_cast<size_t>(*std::find_if(
      dims.begin(), dims.end(), [&](int64_t d) { return shape[static_cast<size_t>(d)] > 1; }));
  const int64_t extent = shape[dim];
  const int64_t wanted = std::min({kTargetUnits / units, total / kMinPart, extent});
  if (wanted < 2) return ops::rebuild(into, from, node, operands);
  int64_t parts = wanted;
  while (parts > wanted / 2 && extent % parts != 0) --parts;
  if (extent % parts != 0) parts = wanted;
  if (extent % parts != 0) {
    std::vector<int64_t> none(shape.size(), 0), high(shape.size(), 0);
    high[dim] = round_up(extent, parts) - extent;
    x = ops::pad(into, x, none, high, none, identity(op, into.dtype(x)));
    shape[dim] += high[dim];
  }
  std::vector<int64_t> split = shape;
  split[dim] /= parts;
  split.insert(split.begin() + static_cast<std::ptrdiff_t>(dim), parts);
  std::vector<int64_t> inner_dims = dims;
  for (int64_t& d : inner_dims)
    if (d >= static_cast<int64_t>(dim)) ++d;
  const NodeId partial = ops::reduce(into, op, ops::reshape(into, x, split), inner_dims);
  // The parts' dimension is where `dim` was among the kept ones.
  int64_t place = static_cast<int64_t>(dim);
  for (int64_t d : dims) place -= d < static_cast<int64_t>(dim);
  // Not through ops::reduce, which would join the two again; for that reason this pass comes last.
  return into.intern(op, from.dtype(node), from.shape(node), {{partial}}, {{place}});
}

}  // namespace coregrad
