#pragma once
// Products: matmul, linear, einsum. Each is one Contract over reshaped views.

#include "ops/primitives.h"

#include <optional>
#include <string_view>

namespace coregrad::ops {

/// torch.matmul: 1-d operands are vectors, leading dimensions are batches and broadcast.
NodeId matmul(Graph& graph, NodeId a, NodeId b);
/// [n,i,k] x [n,k,j] -> [n,i,j].
NodeId bmm(Graph& graph, NodeId a, NodeId b);
/// x[.., in] with weight[out, in] and bias[out] -> [.., out].
NodeId linear(Graph& graph, NodeId x, NodeId weight, std::optional<NodeId> bias);
/// [n] x [m] -> [n,m].
NodeId outer(Graph& graph, NodeId a, NodeId b);
/// numpy's and PyTorch's einsum: letters, "..." and an optional "->". A letter that an operand
/// repeats takes its diagonal. More than two operands are contracted from left to right.
NodeId einsum(Graph& graph, std::string_view equation, std::span<const NodeId> operands);
/// Elements with equal indices in two dimensions, as a new last dimension.
NodeId diagonal(Graph& graph, NodeId x, int64_t offset, int64_t dim_a, int64_t dim_b);

}  // namespace coregrad::ops
