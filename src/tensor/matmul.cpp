// The matrix product of tensors with vectors, batches and broadcasting.

#include "coregrad/ops.h"
#include "ir/print.h"
#include "ops/primitives.h"
#include "tensor/state.h"

namespace coregrad {
namespace {

/// An operand without the batch dimensions along which it is broadcast, and a map for each
/// dimension that stays: batch dimension i has label i, the last two have the given labels.
NodeId fit_operand(Graph& g, NodeId x, const Dims& batch, int64_t row_label, int64_t column_label,
                   std::vector<DimMap>& maps) {
  const Dims shape(g.shape(x).begin(), g.shape(x).end());
  const size_t own_batch = shape.size() - 2;
  Dims kept;
  for (size_t i = 0; i < own_batch; ++i) {
    const size_t label = batch.size() - own_batch + i;
    if (shape[i] != batch[label]) continue;
    kept.push_back(shape[i]);
    maps.push_back(DimMap::label(static_cast<int64_t>(label)));
  }
  kept.insert(kept.end(), shape.end() - 2, shape.end());
  maps.push_back(DimMap::label(row_label));
  maps.push_back(DimMap::label(column_label));
  return ops::reshape(g, x, kept);
}

/// Product of operands of rank two or more whose inner sizes agree.
NodeId multiply(Graph& g, NodeId a, NodeId b) {
  const DType dtype = promote(g.dtype(a), g.dtype(b));
  const Shape sa = g.shape(a), sb = g.shape(b);
  const Dims batch =
      ops::broadcast_shapes(sa.first(sa.size() - 2), sb.first(sb.size() - 2), "matmul");
  const auto m = static_cast<int64_t>(batch.size()), n = m + 1, k = m + 2;
  ContractSpec spec;
  spec.extents = batch;
  spec.extents.insert(spec.extents.end(), {sa[sa.size() - 2], sb.back(), sa.back()});
  for (int64_t label = 0; label <= n; ++label) spec.out.push_back(label);
  const NodeId lhs = fit_operand(g, ops::cast(g, a, dtype), batch, m, k, spec.lhs);
  const NodeId rhs = fit_operand(g, ops::cast(g, b, dtype), batch, k, n, spec.rhs);
  return ops::contract(g, lhs, rhs, spec);
}

}  // namespace

Tensor matmul(const Tensor& a, const Tensor& b) {
  if (a.ndim() == 0 || b.ndim() == 0)
    raise<ShapeError>("matmul: both operands need a dimension, got {} and {}",
                      type_text(a.dtype(), a.shape()), type_text(b.dtype(), b.shape()));
  // A vector is a row on the left and a column on the right; its dimension goes again afterwards.
  if (a.ndim() == 1) return squeeze(matmul(unsqueeze(a, 0), b), {b.ndim() == 1 ? 0 : -2});
  if (b.ndim() == 1) return squeeze(matmul(a, unsqueeze(b, 1)), {-1});
  if (a.size(-1) != b.size(-2))
    raise<ShapeError>("matmul: inner sizes differ: {} @ {}", type_text(a.dtype(), a.shape()),
                      type_text(b.dtype(), b.shape()));
  return record("matmul", {a, b},
                [&](Graph& g, std::span<const NodeId> n) { return multiply(g, n[0], n[1]); });
}

}  // namespace coregrad
