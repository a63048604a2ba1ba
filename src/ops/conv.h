#pragma once
// Convolutions (one Contract each) and pooling (reductions over Window views), of 1 to 3 spatial
// dimensions; layout [N, C, spatial..] (pooling also without N).

#include "coregrad/options.h"
#include "ops/primitives.h"

#include <optional>
#include <utility>
#include <vector>

namespace coregrad::ops {

/// x[N,C,..] with weight[O,C/groups,k..] and bias[O].
NodeId conv(Graph& graph, NodeId x, NodeId weight, std::optional<NodeId> bias,
            const ConvOptions& options = {});
/// x[N,C,..] with weight[C,O/groups,k..] and bias[O]; the gradient of conv with respect to its
/// input.
NodeId conv_transpose(Graph& graph, NodeId x, NodeId weight, std::optional<NodeId> bias,
                      const ConvOptions& options = {});

/// The maxima, the first of equal ones and the last NaN, and their int64 positions in the flattened
/// spatial dimensions of x.
std::pair<NodeId, NodeId> max_pool_with_indices(Graph& graph, NodeId x, const PoolOptions& options);
NodeId max_pool(Graph& graph, NodeId x, const PoolOptions& options);
NodeId avg_pool(Graph& graph, NodeId x, const PoolOptions& options);
/// The last output.size() dimensions become `output`; window i of n to o is [i*n/o,
/// ceil((i+1)*n/o)).
NodeId adaptive_avg_pool(Graph& graph, NodeId x, SymInts output);
std::pair<NodeId, NodeId> adaptive_max_pool_with_indices(Graph& graph, NodeId x, SymInts output);
/// Windows of the last output.size() dimensions, which start where samples [N, C, output.size()] in
/// [0, 1) say. The maxima and their int64 positions in the flattened spatial dimensions.
std::pair<NodeId, NodeId> fractional_max_pool_with_indices(Graph& graph, NodeId x,
                                                           const std::vector<SymInt>& kernel,
                                                           const std::vector<SymInt>& output,
                                                           NodeId samples);
NodeId adaptive_max_pool(Graph& graph, NodeId x, SymInts output);

}  // namespace coregrad::ops
