// Functions of networks: each is what it asks of its operands and one call of a graph builder.

#include "coregrad/functional.h"

#include "base/error.h"
#include "coregrad/ops.h"
#include "ir/print.h"
#include "ops/conv.h"
#include "ops/indexing.h"
#include "ops/linalg.h"
#include "ops/losses.h"
#include "ops/math.h"
#include "ops/nn.h"
#include "ops/reduce.h"
#include "tensor/recorded.h"
#include "tensor/state.h"

#include <algorithm>
#include <limits>

namespace coregrad {

namespace {

using Nodes = std::span<const NodeId>;
using Maybe = std::span<const std::optional<NodeId>>;

/// An activation with numbers.
template <class... Numbers>
Tensor record_activation(std::string_view operation,
                         NodeId (*activation)(Graph&, NodeId, Numbers...), const Tensor& x,
                         Numbers... numbers) {
  return record(operation, {x}, [&](Graph& g, Nodes n) { return activation(g, n[0], numbers...); });
}

std::string text_of(const Tensor& t) { return type_text(t.dtype(), t.shape()); }

using ConvBuilder = std::function<NodeId(Graph&, NodeId x, NodeId weight, std::optional<NodeId>)>;

/// A convolution of x with or without its batch dimension.
Tensor record_conv(std::string_view operation, const Tensor& x, const Tensor& weight,
                   const Tensor& bias, const ConvBuilder& build) {
  const int64_t rank = weight.ndim();
  if (rank < 3 || rank > 5 || (x.ndim() != rank && x.ndim() != rank - 1))
    raise<ShapeError>(
        "{}: the input must be [N, C, ..] or [C, ..] and the weight of rank 3 to 5: got {} and {}",
        operation, text_of(x), text_of(weight));
  const bool is_batch = x.ndim() == rank;
  return record_optional(operation, {x, weight}, {bias}, [&](Graph& g, Nodes n, Maybe optional) {
    const NodeId batch = is_batch ? n[0] : ops::unsqueeze(g, n[0], 0);
    const NodeId y = build(g, batch, n[1], optional[0]);
    return is_batch ? y : ops::squeeze(g, y, {{0}});
  });
}

/// Layer normalisations take the shape of the trailing dimensions, builders their number.
int64_t count_normalized(const Tensor& x, const Dims& normalized, std::string_view operation) {
  const Dims& shape = x.shape();
  if (normalized.empty() || normalized.size() > shape.size() ||
      !std::equal(normalized.rbegin(), normalized.rend(), shape.rbegin()))
    raise<ShapeError>("{}: the input must end in the normalised shape: got {} for {}", operation,
                      type_text(x.dtype(), normalized), text_of(x));
  return static_cast<int64_t>(normalized.size());
}

double epsilon_of(DType dtype) {
  return dtype == DType::Float64 ? std::numeric_limits<double>::epsilon()
                                 : double{std::numeric_limits<float>::epsilon()};
}

using ClassLoss = NodeId (*)(Graph&, NodeId, NodeId, const ops::ClassOptions&);

Tensor record_class_loss(std::string_view operation, ClassLoss loss, const Tensor& scores,
                         const Tensor& target, const ClassLossOptions& options) {
  return record_optional(
      operation, {scores, target}, {options.weight}, [&](Graph& g, Nodes n, Maybe optional) {
        return loss(
            g, n[0], n[1],
            {optional[0], options.ignore_index, options.label_smoothing, options.reduction});
      });
}

}  // namespace

Tensor prelu(const Tensor& x, const Tensor& slope) {
  const int64_t channels = x.ndim() > 1 ? x.size(1) : 1;
  if (slope.ndim() > 1 || (slope.numel() != 1 && slope.numel() != channels))
    raise<ShapeError>("prelu: there must be one slope or one per channel ({}): got {}", channels,
                      text_of(slope));
  Dims along(x.shape().size() > 1 ? x.shape().size() - 1 : 1, 1);
  along[0] = slope.numel();
  return record("prelu", {x, slope}, [&](Graph& g, Nodes n) {
    return ops::prelu(g, n[0], ops::reshape(g, n[1], along));
  });
}

Tensor linear(const Tensor& x, const Tensor& weight, const Tensor& bias) {
  return record_optional("linear", {x, weight}, {bias}, [](Graph& g, Nodes n, Maybe optional) {
    return ops::linear(g, n[0], n[1], optional[0]);
  });
}

Tensor conv(const Tensor& x, const Tensor& weight, const Tensor& bias, const ConvOptions& options) {
  return record_conv("conv", x, weight, bias,
                     [&](Graph& g, NodeId input, NodeId kernel, std::optional<NodeId> b) {
                       return ops::conv(g, input, kernel, b, options);
                     });
}

Tensor conv_transpose(const Tensor& x, const Tensor& weight, const Tensor& bias,
                      const ConvOptions& options) {
  return record_conv("conv_transpose", x, weight, bias,
                     [&](Graph& g, NodeId input, NodeId kernel, std::optional<NodeId> b) {
                       return ops::conv_transpose(g, input, kernel, b, options);
                     });
}

Tensor max_pool(const Tensor& x, const PoolOptions& options) {
  return record("max_pool", {x},
                [&](Graph& g, Nodes n) { return ops::max_pool(g, n[0], options); });
}
std::pair<Tensor, Tensor> max_pool_with_indices(const Tensor& x, const PoolOptions& options) {
  const std::vector<Tensor> both = record_many("max_pool", {x}, [&](Graph& g, Nodes n) {
    return as_list(ops::max_pool_with_indices(g, n[0], options));
  });
  return {both[0], both[1]};
}
Tensor avg_pool(const Tensor& x, const PoolOptions& options) {
  return record("avg_pool", {x},
                [&](Graph& g, Nodes n) { return ops::avg_pool(g, n[0], options); });
}
Tensor adaptive_avg_pool(const Tensor& x, const Dims& output) {
  return record("adaptive_avg_pool", {x},
                [&](Graph& g, Nodes n) { return ops::adaptive_avg_pool(g, n[0], output); });
}
Tensor adaptive_max_pool(const Tensor& x, const Dims& output) {
  return record("adaptive_max_pool", {x},
                [&](Graph& g, Nodes n) { return ops::adaptive_max_pool(g, n[0], output); });
}

std::pair<Tensor, Tensor> fractional_max_pool_with_indices(const Tensor& x, const Dims& kernel,
                                                           const Dims& output,
                                                           const Tensor& samples,
                                                           Generator& generator) {
  Tensor numbers = samples;
  if (!numbers.is_defined()) {
    const auto spatial = static_cast<int64_t>(output.size());
    if (x.ndim() != spatial + 1 && x.ndim() != spatial + 2)
      raise<ShapeError>("fractional_max_pool: the input must have {} or {} dimensions: got {}",
                        spatial + 1, spatial + 2, text_of(x));
    const bool is_batch = x.ndim() == spatial + 2;
    const Dims shape{is_batch ? x.size(0) : 1, x.size(is_batch ? 1 : 0), spatial};
    numbers = rand(shape, x.dtype() == DType::Float64 ? DType::Float64 : DType::Float32, generator);
  }
  const std::vector<Tensor> both =
      record_many("fractional_max_pool", {x, numbers}, [&](Graph& g, Nodes n) {
        return as_list(ops::fractional_max_pool_with_indices(
            g, n[0], {kernel.begin(), kernel.end()}, {output.begin(), output.end()}, n[1]));
      });
  return {both[0], both[1]};
}

Tensor batch_norm(const Tensor& x, const Tensor& running_mean, const Tensor& running_variance,
                  const Tensor& weight, const Tensor& bias, const BatchNormOptions& options) {
  if (running_mean.is_defined() != running_variance.is_defined())
    raise<ValueError>("batch_norm: running mean and variance must be given together");
  if (!options.training) {
    if (!running_mean.is_defined())
      raise<ValueError>("batch_norm: running statistics are needed unless training");
    return record_optional("batch_norm", {x, running_mean, running_variance}, {weight, bias},
                           [&](Graph& g, Nodes n, Maybe optional) {
                             return ops::batch_norm_eval(g, n[0], n[1], n[2], optional[0],
                                                         optional[1], options.eps);
                           });
  }
  const Tensor y =
      record_optional("batch_norm", {x}, {weight, bias}, [&](Graph& g, Nodes n, Maybe optional) {
        return ops::batch_norm_train(g, n[0], optional[0], optional[1], options.eps).y;
      });
  if (!running_mean.is_defined()) return y;
  const NoGrad constants;
  // The batch's statistics are the same nodes as those in y.
  const std::vector<Tensor> updated =
      record_many("batch_norm", {x, running_mean, running_variance}, [&](Graph& g, Nodes n) {
        const auto [mean, variance] = ops::updated_statistics(
            g, ops::batch_norm_train(g, n[0], {}, {}, options.eps), n[1], n[2], options.momentum);
        return std::vector{mean, variance};
      });
  assign_with_next(running_mean, updated[0]);
  assign_with_next(running_variance, updated[1]);
  return y;
}

Tensor layer_norm(const Tensor& x, const Dims& normalized, const Tensor& weight, const Tensor& bias,
                  double eps) {
  const int64_t count = count_normalized(x, normalized, "layer_norm");
  return record_optional("layer_norm", {x}, {weight, bias}, [&](Graph& g, Nodes n, Maybe optional) {
    return ops::layer_norm(g, n[0], count, optional[0], optional[1], eps);
  });
}

Tensor rms_norm(const Tensor& x, const Dims& normalized, const Tensor& weight,
                std::optional<double> eps) {
  const int64_t count = count_normalized(x, normalized, "rms_norm");
  const double added = eps.value_or(epsilon_of(x.dtype()));
  return record_optional("rms_norm", {x}, {weight}, [&](Graph& g, Nodes n, Maybe optional) {
    return ops::rms_norm(g, n[0], count, optional[0], added);
  });
}

Tensor group_norm(const Tensor& x, int64_t groups, const Tensor& weight, const Tensor& bias,
                  double eps) {
  return record_optional("group_norm", {x}, {weight, bias}, [&](Graph& g, Nodes n, Maybe optional) {
    return ops::group_norm(g, n[0], groups, optional[0], optional[1], eps);
  });
}

Tensor dropout(const Tensor& x, double p, bool training, Generator& generator) {
  if (!(p >= 0 && p <= 1))
    raise<ValueError>("dropout: the probability must lie in [0, 1]: got {}", p);
  if (!training || p == 0) return x;
  return record("dropout", {x, generator.draw()},
                [&](Graph& g, Nodes n) { return ops::dropout(g, n[0], p, n[1], 0); });
}

Tensor one_hot(const Tensor& index, int64_t classes) {
  if (classes < 1) raise<ValueError>("one_hot: there must be at least one class: got {}", classes);
  return record_move("one_hot", {index}, [&](Graph& g, Nodes n) {
    return ops::one_hot(g, n[0], classes, DType::Int64);
  });
}

Tensor scaled_dot_product_attention(const Tensor& query, const Tensor& key, const Tensor& value,
                                    const AttentionOptions& options, Generator& generator) {
  const Tensor seed = options.dropout > 0 ? generator.draw() : Tensor();
  return record_optional("scaled_dot_product_attention", {query, key, value}, {options.mask, seed},
                         [&](Graph& g, Nodes n, Maybe optional) {
                           return ops::scaled_dot_product_attention(
                               g, n[0], n[1], n[2],
                               {optional[0], options.is_causal, options.scale,
                                options.grouped_heads, options.dropout, optional[1], 0});
                         });
}

Tensor cross_entropy(const Tensor& scores, const Tensor& target, const ClassLossOptions& options) {
  return record_class_loss("cross_entropy", ops::cross_entropy, scores, target, options);
}
Tensor nll_loss(const Tensor& log_probabilities, const Tensor& target,
                const ClassLossOptions& options) {
  return record_class_loss("nll_loss", ops::nll_loss, log_probabilities, target, options);
}

Tensor kl_div(const Tensor& x, const Tensor& target, bool log_target, Reduction reduction,
              bool batch_mean) {
  return record("kl_div", {x, target}, [&](Graph& g, Nodes n) {
    return ops::kl_div(g, n[0], n[1], log_target, reduction, batch_mean);
  });
}

}  // namespace coregrad
