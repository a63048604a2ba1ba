#pragma once
// Selecting, joining and masking beside the operators of the table. Indices count from 0; negative
// ones are the caller's to wrap where they are known, and errors at run time where they are data,
// unless a function says otherwise.

#include "ops/operators.h"
#include "ops/primitives.h"

namespace coregrad::ops {

/// DTypeError unless the index is int64 or int32.
void require_index(const Graph& graph, NodeId index, std::string_view operation);
/// x with values put, or added, where a mask over the dimensions from `dim` on holds: one for all
/// places, or one for each in order, in place of the mask's dimensions. Another number of values is
/// an error at run time.
NodeId mask_put(Graph& graph, NodeId x, int64_t dim, NodeId mask, NodeId values, bool accumulate);
/// 1 where the class index equals the last dimension's, in `dtype`.
NodeId one_hot(Graph& graph, NodeId index, SymInt classes, DType dtype);
/// bool[rows, columns]: column - row <= diagonal.
NodeId lower_mask(Graph& graph, SymInt rows, SymInt columns, int64_t diagonal = 0);
NodeId eye(Graph& graph, DType dtype, SymInt rows, SymInt columns);
/// start, start + step, .. (n values), computed in the dtype of these scalars, int64 or float64,
/// and then rounded once.
NodeId arange(Graph& graph, DType dtype, NodeId start, NodeId step, SymInt n);

}  // namespace coregrad::ops
