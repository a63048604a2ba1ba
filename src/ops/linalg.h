#pragma once
// Products beside the operators of the table: linear, einsum. Each is one Contract over reshaped
// views.

#include "ops/operators.h"
#include "ops/primitives.h"

#include <optional>
#include <string_view>

namespace coregrad::ops {

/// x[.., in] with weight[out, in] and bias[out] -> [.., out].
NodeId linear(Graph& graph, NodeId x, NodeId weight, std::optional<NodeId> bias);
/// numpy's and PyTorch's einsum: letters, "..." and an optional "->". A letter that an operand
/// repeats takes its diagonal. More than two operands are contracted from left to right.
NodeId einsum(Graph& graph, std::string_view equation, std::span<const NodeId> operands);

}  // namespace coregrad::ops
