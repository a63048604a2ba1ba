#pragma once
// Selecting, joining and masking; written with primitives only. Indices count from 0; negative ones
// are the caller's to wrap where they are known, and errors at run time where they are data.

#include "ops/primitives.h"

namespace coregrad::ops {

/// x[.., index[i], ..]: one index vector (or scalar) for a whole dimension.
NodeId index_select(Graph& graph, NodeId x, int64_t dim, NodeId index);
/// out[.., i, ..] = x[.., index[.., i, ..], ..]; other dimensions broadcast (numpy's
/// take_along_axis).
NodeId take_along(Graph& graph, NodeId x, NodeId index, int64_t dim);
/// x[i0, i1, ..] with index tensors for the leading dimensions, broadcast against each other.
NodeId index_leading(Graph& graph, NodeId x, std::span<const NodeId> indices);
/// x with values put (or combined) at x[i0, i1, ..]; values broadcast to the indexed shape.
NodeId index_put(Graph& graph, NodeId x, std::span<const NodeId> indices, NodeId values,
                 ScatterMode mode);
/// x with source[i] combined into slice index[i] of a dimension.
NodeId index_add(Graph& graph, NodeId x, int64_t dim, NodeId index, NodeId source);
/// 1 where the class index equals the last dimension's, in `dtype`.
NodeId one_hot(Graph& graph, NodeId index, int64_t classes, DType dtype);
/// The last two dimensions with zeros above (tril) or below (triu) the given diagonal.
NodeId tril(Graph& graph, NodeId x, int64_t diagonal = 0);
NodeId triu(Graph& graph, NodeId x, int64_t diagonal = 0);
/// bool[rows, columns]: column - row <= diagonal.
NodeId lower_mask(Graph& graph, int64_t rows, int64_t columns, int64_t diagonal = 0);
NodeId eye(Graph& graph, DType dtype, int64_t rows, int64_t columns);
/// start, start + step, .. (n values).
NodeId arange(Graph& graph, DType dtype, double start, double step, int64_t n);
/// Elements shifted along a dimension, those that leave coming back at the other end.
NodeId roll(Graph& graph, NodeId x, int64_t shift, int64_t dim);
NodeId stack(Graph& graph, std::span<const NodeId> parts, int64_t dim);
/// torch.cat: as concat, and empty vectors (f32[0]) are left out whatever the others' rank.
NodeId cat(Graph& graph, std::span<const NodeId> parts, int64_t dim);
/// Pieces of the given sizes, which must add up to the extent.
std::vector<NodeId> split(Graph& graph, NodeId x, std::span<const int64_t> sizes, int64_t dim);
/// `value` (rank 0) where the mask holds, else x.
NodeId masked_fill(Graph& graph, NodeId x, NodeId mask, NodeId value);
/// x repeated `counts[d]` times along each dimension; may have more dimensions than x.
NodeId tile(Graph& graph, NodeId x, std::span<const int64_t> counts);
/// Each element of a dimension `count` times in a row.
NodeId repeat_interleave(Graph& graph, NodeId x, int64_t count, int64_t dim);
/// Values and int64 positions in order along a dimension.
std::pair<NodeId, NodeId> sort(Graph& graph, NodeId x, int64_t dim, bool descending);
/// The k greatest (or least) of a dimension, in order, with their positions.
std::pair<NodeId, NodeId> topk(Graph& graph, NodeId x, int64_t k, int64_t dim, bool largest);

}  // namespace coregrad::ops
