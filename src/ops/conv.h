#pragma once
// Convolutions (one Contract each) and pooling (reductions over Window views), of 1 to 3 spatial
// dimensions; layout [N, C, spatial..] (pooling also without N).
//
// Lists of the spatial dimensions may hold one value for all of them.

#include "ops/primitives.h"

#include <optional>
#include <utility>
#include <vector>

namespace coregrad::ops {

struct ConvOptions {
  std::vector<int64_t> stride = {1};
  std::vector<int64_t> padding = {0};  ///< on both sides; may be larger than what is used
  std::vector<int64_t> dilation = {1};
  int64_t groups = 1;
};

/// x[N,C,..] with weight[O,C/groups,k..] and bias[O].
NodeId conv(Graph& graph, NodeId x, NodeId weight, std::optional<NodeId> bias,
            const ConvOptions& options = {});
/// x[N,C,..] with weight[C,O/groups,k..] and bias[O]; the gradient of conv with respect to its
/// input.
NodeId conv_transpose(Graph& graph, NodeId x, NodeId weight, std::optional<NodeId> bias,
                      const ConvOptions& options = {},
                      const std::vector<int64_t>& output_padding = {0});

struct PoolOptions {
  std::vector<int64_t> kernel;
  std::vector<int64_t> stride = {};  ///< empty: the kernel
  std::vector<int64_t> padding = {0};
  std::vector<int64_t> dilation = {1};  ///< max only
  bool ceil_mode = false;
  bool count_include_pad = true;                 ///< average only
  std::optional<int64_t> divisor_override = {};  ///< average only
};

NodeId max_pool(Graph& graph, NodeId x, const PoolOptions& options);
/// The maxima and their int64 positions in the flattened spatial dimensions of x.
std::pair<NodeId, NodeId> max_pool_with_indices(Graph& graph, NodeId x, const PoolOptions& options);
NodeId avg_pool(Graph& graph, NodeId x, const PoolOptions& options);
/// The last output.size() dimensions become `output`; window i of n to o is [i*n/o,
/// ceil((i+1)*n/o)).
NodeId adaptive_avg_pool(Graph& graph, NodeId x, std::span<const int64_t> output);
NodeId adaptive_max_pool(Graph& graph, NodeId x, std::span<const int64_t> output);

}  // namespace coregrad::ops
