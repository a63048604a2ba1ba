#pragma once
// Reductions and scans with PyTorch's meanings; written with primitives only. `dims` empty: all.

#include "ops/primitives.h"

namespace coregrad::ops {

NodeId sum(Graph& graph, NodeId x, std::span<const int64_t> dims = {}, bool keepdim = false);
NodeId prod(Graph& graph, NodeId x, std::span<const int64_t> dims = {}, bool keepdim = false);
NodeId amax(Graph& graph, NodeId x, std::span<const int64_t> dims = {}, bool keepdim = false);
NodeId amin(Graph& graph, NodeId x, std::span<const int64_t> dims = {}, bool keepdim = false);
/// Floats only.
NodeId mean(Graph& graph, NodeId x, std::span<const int64_t> dims = {}, bool keepdim = false);
/// Sum of squared deviations / max(0, n - correction), in two passes. Floats only.
NodeId var(Graph& graph, NodeId x, std::span<const int64_t> dims = {}, double correction = 1,
           bool keepdim = false);
NodeId std_dev(Graph& graph, NodeId x, std::span<const int64_t> dims = {}, double correction = 1,
               bool keepdim = false);
/// The p-norm; p may be 0 (count of non-zeros) and +-infinity.
NodeId norm(Graph& graph, NodeId x, double p = 2, std::span<const int64_t> dims = {},
            bool keepdim = false);
NodeId any(Graph& graph, NodeId x, std::span<const int64_t> dims = {}, bool keepdim = false);
NodeId all(Graph& graph, NodeId x, std::span<const int64_t> dims = {}, bool keepdim = false);
NodeId count_nonzero(Graph& graph, NodeId x, std::span<const int64_t> dims = {});
/// int64 positions; without a dimension, in the flattened operand.
NodeId argmax(Graph& graph, NodeId x, std::optional<int64_t> dim = {}, bool keepdim = false);
NodeId argmin(Graph& graph, NodeId x, std::optional<int64_t> dim = {}, bool keepdim = false);

NodeId logsumexp(Graph& graph, NodeId x, std::span<const int64_t> dims, bool keepdim = false);
NodeId softmax(Graph& graph, NodeId x, int64_t dim);
NodeId log_softmax(Graph& graph, NodeId x, int64_t dim);

NodeId cumsum(Graph& graph, NodeId x, int64_t dim);
NodeId cumprod(Graph& graph, NodeId x, int64_t dim);

/// Number of elements that a reduction over `dims` combines.
int64_t reduced_count(const Graph& graph, NodeId x, std::span<const int64_t> dims);

}  // namespace coregrad::ops
