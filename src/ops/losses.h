#pragma once
// Losses with PyTorch's meanings; written with primitives only.

#include "ops/operators.h"
#include "ops/primitives.h"

#include <optional>
#include <utility>

namespace coregrad::ops {

struct ClassOptions {
  std::optional<NodeId> weight = {};  ///< [C]
  int64_t ignore_index = -100;        ///< targets with this class count for nothing
  double label_smoothing = 0;         ///< cross_entropy only
  Reduction reduction = Reduction::Mean;
};
/// Log-probabilities [N,C,..] (or [C]) and class indices [N,..]. The mean is over the weights.
/// Also the sum of the samples' weights, which the mean is divided by.
std::pair<NodeId, NodeId> nll_loss_with_weight(Graph& graph, NodeId log_probabilities,
                                               NodeId target, const ClassOptions& options = {});
NodeId nll_loss(Graph& graph, NodeId log_probabilities, NodeId target,
                const ClassOptions& options = {});
/// Scores [N,C,..] (or [C]); targets are class indices [N,..] or probabilities of the scores'
/// shape.
NodeId cross_entropy(Graph& graph, NodeId scores, NodeId target, const ClassOptions& options = {});

/// target * (log target - input); `batch_mean` divides the sum by the first extent.
NodeId kl_div(Graph& graph, NodeId input, NodeId target, bool log_target = false,
              Reduction reduction = Reduction::Mean, bool batch_mean = false);

}  // namespace coregrad::ops
