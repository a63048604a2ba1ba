#pragma once
// Normalisation, dropout, embeddings and attention; written with primitives only.

#include "ops/operators.h"
#include "ops/primitives.h"
#include "ops/random.h"

#include <array>
#include <optional>

namespace coregrad::ops {

struct Normalized {
  NodeId y;
  NodeId mean, variance;  ///< without correction; the dimensions are kept
  NodeId rstd;            ///< 1 / sqrt(variance + eps)
};
/// (x - mean) * rstd over dimensions.
Normalized normalize(Graph& graph, NodeId x, SymInts dims, double eps);
/// Over the trailing `dims` dimensions; weight and bias have their shape.
NodeId layer_norm(Graph& graph, NodeId x, int64_t dims, std::optional<NodeId> weight,
                  std::optional<NodeId> bias, double eps = 1e-5);
NodeId rms_norm(Graph& graph, NodeId x, int64_t dims, std::optional<NodeId> weight, double eps);
/// x[N,C,..] in `groups` groups of channels; weight[C], bias[C].
NodeId group_norm(Graph& graph, NodeId x, int64_t groups, std::optional<NodeId> weight,
                  std::optional<NodeId> bias, double eps = 1e-5);

struct BatchNorm {
  NodeId y;
  NodeId mean, variance;  ///< of the batch, [C], without correction
  SymInt count;           ///< elements per channel
};
/// Normalises x[N,C,..] by the batch's own statistics.
BatchNorm batch_norm_train(Graph& graph, NodeId x, std::optional<NodeId> weight,
                           std::optional<NodeId> bias, double eps = 1e-5);
/// By given statistics [C].
NodeId batch_norm_eval(Graph& graph, NodeId x, NodeId mean, NodeId variance,
                       std::optional<NodeId> weight, std::optional<NodeId> bias, double eps = 1e-5);
/// (1 - momentum) * running + momentum * batch; the variance is corrected by n / (n - 1).
std::pair<NodeId, NodeId> updated_statistics(Graph& graph, const BatchNorm& batch, NodeId mean,
                                             NodeId variance, double momentum);

/// Elements are kept with probability 1 - p and divided by it. `seed` as for random().
NodeId dropout(Graph& graph, NodeId x, double p, NodeId seed, int64_t stream);
/// Also which elements are kept.
std::pair<NodeId, NodeId> dropout_with_mask(Graph& graph, NodeId x, double p, const Draw& draw);
struct EmbeddingBag {
  NodeId total;                   ///< [bags, width]
  NodeId bag;                     ///< int64 [n]: the bag of each index
  NodeId sizes;                   ///< int64 [bags]: how many count in each
  std::optional<NodeId> largest;  ///< int64 [bags, width]: of mode "max" the index of each element
};
/// embedding_bag(), and what its gradients read.
EmbeddingBag embedding_bag_with_parts(Graph& graph, NodeId indices, NodeId weight,
                                      std::optional<NodeId> offsets, std::string_view mode,
                                      std::optional<NodeId> per_sample_weights,
                                      bool include_last_offset, std::optional<int64_t> padding_idx);

struct AttentionOptions {
  std::optional<NodeId> mask = {};  ///< bool (true takes part) or added to the scores; broadcasts
  bool is_causal = false;
  std::optional<double> scale = {};  ///< 1 / sqrt(width) when not given
  bool grouped_heads = false;        ///< key and value have fewer heads (dimension -3), shared
  double dropout = 0;
  std::optional<NodeId> seed = {};  ///< needed for dropout
  int64_t stream = 0;
};
/// q k^T * scale, masked: -infinity where a key does not take part.
NodeId attention_scores(Graph& graph, NodeId query, NodeId key, const AttentionOptions& options);
/// Attention, and the logarithm of what each row's powers add up to; both 0 in rows in which
/// nothing takes part.
std::pair<NodeId, NodeId> attention_with_logsumexp(Graph& graph, NodeId query, NodeId key,
                                                   NodeId value, const AttentionOptions& options);
/// The gradients of query, key and value, of what attention_with_logsumexp() gave.
std::array<NodeId, 3> attention_backward(Graph& graph, NodeId grad, NodeId query, NodeId key,
                                         NodeId value, NodeId out, NodeId logsumexp,
                                         const AttentionOptions& options);
/// softmax(q k^T * scale + mask) v over [.., length, width].
NodeId scaled_dot_product_attention(Graph& graph, NodeId query, NodeId key, NodeId value,
                                    const AttentionOptions& options = {});

}  // namespace coregrad::ops
