#pragma once
// Contractions by name: matrix products, convolutions and their gradients. Descriptions alone.

#include "kernel/contract_kernel.h"
#include "kernel/index_expr.h"

#include <utility>
#include <vector>

namespace coregrad {

/// A kernel whose only result is the contraction, stored row-major.
inline ContractKernel plain_contract(DType dtype, ContractSpec spec, ContractOperand lhs,
                                     ContractOperand rhs) {
  ContractKernel kernel{dtype, std::move(spec), std::move(lhs), std::move(rhs), {}};
  LoopKernel& epilogue = kernel.epilogue;
  std::vector<int64_t> shape;
  std::vector<IndexExpr> index;
  for (const int64_t label : kernel.spec.out) {
    const int64_t extent = kernel.spec.extents[static_cast<size_t>(label)];
    index.push_back(epilogue.context.axis(static_cast<int>(shape.size()), extent));
    shape.push_back(extent);
    epilogue.axes.push_back({extent, -1});
  }
  epilogue.num_parallel = static_cast<int>(shape.size());
  epilogue.buffers.push_back({dtype, true, false});
  KernelValue bound;
  bound.kind = ValueKind::Bound;
  bound.dtype = dtype;
  epilogue.values.push_back(bound);
  KernelStore store;
  store.value = 0;
  store.buffer = 0;
  store.index = linearize(epilogue.context, index, contiguous_strides(shape));
  epilogue.stores.push_back(store);
  return kernel;
}

inline ContractOperand dense(std::vector<int64_t> shape) {
  ContractOperand operand;
  operand.strides = contiguous_strides(shape);
  operand.shape.assign(shape.begin(), shape.end());
  return operand;
}

/// [batch, m, k] @ [batch, k, n]; a transposed operand is stored with its last two dimensions
/// swapped.
inline ContractKernel matmul_kernel(DType dtype, int64_t batch, int64_t m, int64_t k, int64_t n,
                                    bool lhs_transposed = false, bool rhs_transposed = false) {
  ContractSpec spec;
  spec.extents = {batch, m, n, k};
  spec.out = {0, 1, 2};
  const auto maps = [](int64_t row, int64_t column, bool transposed) {
    std::vector<DimMap> result = {DimMap::label(0), DimMap::label(row), DimMap::label(column)};
    if (transposed) std::swap(result[1], result[2]);
    return result;
  };
  spec.lhs = maps(1, 3, lhs_transposed);
  spec.rhs = maps(3, 2, rhs_transposed);
  return plain_contract(
      dtype, spec, dense(lhs_transposed ? std::vector{batch, k, m} : std::vector{batch, m, k}),
      dense(rhs_transposed ? std::vector{batch, n, k} : std::vector{batch, k, n}));
}

struct ConvCase {
  int64_t n, ci, h, w, co, kernel, stride = 1, pad = 0, dilation = 1, groups = 1;
  int64_t out(int64_t in) const {
    return (in + 2 * pad - dilation * (kernel - 1) - 1) / stride + 1;
  }
};

/// out[n, g, co, oh, ow] = sum over ci, kh, kw of x[n, g, ci, ..] * weight[g, co, ci, kh, kw].
inline ContractKernel conv_forward_kernel(DType dtype, const ConvCase& c) {
  const int64_t ci = c.ci / c.groups, co = c.co / c.groups;
  ContractSpec spec;
  spec.extents = {c.n, c.groups, co, c.out(c.h), c.out(c.w), ci, c.kernel, c.kernel};
  spec.out = {0, 1, 2, 3, 4};
  spec.lhs = {DimMap::label(0),
              DimMap::label(1),
              DimMap::label(5),
              {3, 6, c.stride, c.dilation, -c.pad, 1},
              {4, 7, c.stride, c.dilation, -c.pad, 1}};
  spec.rhs = {DimMap::label(1), DimMap::label(2), DimMap::label(5), DimMap::label(6),
              DimMap::label(7)};
  return plain_contract(dtype, spec, dense({c.n, c.groups, ci, c.h, c.w}),
                        dense({c.groups, co, ci, c.kernel, c.kernel}));
}

/// dx[n, g, ci, h, w] = sum over co, kh, kw of dy[n, g, co, (h + pad - kh * dilation) / stride, ..]
/// * weight[g, co, ci, kh, kw].
inline ContractKernel conv_input_gradient_kernel(DType dtype, const ConvCase& c) {
  const int64_t ci = c.ci / c.groups, co = c.co / c.groups;
  ContractSpec spec;
  spec.extents = {c.n, c.groups, ci, c.h, c.w, co, c.kernel, c.kernel};
  spec.out = {0, 1, 2, 3, 4};
  spec.lhs = {DimMap::label(0),
              DimMap::label(1),
              DimMap::label(5),
              {3, 6, 1, -c.dilation, c.pad, c.stride},
              {4, 7, 1, -c.dilation, c.pad, c.stride}};
  spec.rhs = {DimMap::label(1), DimMap::label(5), DimMap::label(2), DimMap::label(6),
              DimMap::label(7)};
  return plain_contract(dtype, spec, dense({c.n, c.groups, co, c.out(c.h), c.out(c.w)}),
                        dense({c.groups, co, ci, c.kernel, c.kernel}));
}

/// dw[g, co, ci, kh, kw] = sum over n, oh, ow of x[n, g, ci, ..] * dy[n, g, co, oh, ow].
inline ContractKernel conv_weight_gradient_kernel(DType dtype, const ConvCase& c) {
  const int64_t ci = c.ci / c.groups, co = c.co / c.groups;
  ContractSpec spec;
  spec.extents = {c.groups, co, ci, c.kernel, c.kernel, c.n, c.out(c.h), c.out(c.w)};
  spec.out = {0, 1, 2, 3, 4};
  spec.lhs = {DimMap::label(5),
              DimMap::label(0),
              DimMap::label(2),
              {6, 3, c.stride, c.dilation, -c.pad, 1},
              {7, 4, c.stride, c.dilation, -c.pad, 1}};
  spec.rhs = {DimMap::label(5), DimMap::label(0), DimMap::label(1), DimMap::label(6),
              DimMap::label(7)};
  return plain_contract(dtype, spec, dense({c.n, c.groups, ci, c.h, c.w}),
                        dense({c.n, c.groups, co, c.out(c.h), c.out(c.w)}));
}

}  // namespace coregrad
