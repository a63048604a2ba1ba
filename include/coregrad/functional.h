#pragma once
// Functions of networks, with PyTorch's meanings. All of them record; an undefined Tensor stands
// for an optional operand that is not there. Lists of spatial dimensions may hold one value for
// all.

#include "coregrad/options.h"
#include "coregrad/random.h"
#include "coregrad/tensor.h"

#include <optional>
#include <string_view>

#pragma GCC visibility push(default)
namespace coregrad {

// Activations
/// max(x, 0).
Tensor relu(const Tensor& x);
/// min(max(x, 0), 6).
Tensor relu6(const Tensor& x);
Tensor sigmoid(const Tensor& x);
/// log(sigmoid(x)) without overflow.
Tensor logsigmoid(const Tensor& x);
/// x times the normal distribution function of x; approximate: "none" or "tanh".
Tensor gelu(const Tensor& x, std::string_view approximate = "none");
/// The first half of a dimension times the sigmoid of the second half.
Tensor glu(const Tensor& x, int64_t dim = -1);
/// x * sigmoid(x).
Tensor silu(const Tensor& x);
/// x * tanh(softplus(x)).
Tensor mish(const Tensor& x);
Tensor hardswish(const Tensor& x);
Tensor hardsigmoid(const Tensor& x);
Tensor hardtanh(const Tensor& x, double min_val = -1, double max_val = 1);
/// x / (1 + |x|).
Tensor softsign(const Tensor& x);
Tensor leaky_relu(const Tensor& x, double negative_slope = 0.01);
/// Slope [C] (dimension 1 of x) or [1] where x is negative.
Tensor prelu(const Tensor& x, const Tensor& slope);
/// scale * x where x is positive, scale * alpha * (exp(input_scale * x) - 1) elsewhere.
Tensor elu(const Tensor& x, double alpha = 1, double scale = 1, double input_scale = 1);
Tensor celu(const Tensor& x, double alpha = 1);
Tensor selu(const Tensor& x);
/// log(1 + exp(beta x)) / beta; x itself where beta x > threshold.
Tensor softplus(const Tensor& x, double beta = 1, double threshold = 20);
Tensor softmax(const Tensor& x, int64_t dim, std::optional<DType> dtype = {});
Tensor log_softmax(const Tensor& x, int64_t dim, std::optional<DType> dtype = {});

// Layers
/// x @ weight^T + bias; weight [out, in], bias [out] or undefined.
Tensor linear(const Tensor& x, const Tensor& weight, const Tensor& bias = {});

/// x [N, C, ..] or [C, ..] with weight [O, C / groups, ..] and bias [O], in 1 to 3 spatial
/// dimensions, as many as the weight has.
Tensor conv(const Tensor& x, const Tensor& weight, const Tensor& bias = {},
            const ConvOptions& options = {});
/// x [N, C, ..] or [C, ..] with weight [C, O / groups, ..] and bias [O].
Tensor conv_transpose(const Tensor& x, const Tensor& weight, const Tensor& bias = {},
                      const ConvOptions& options = {});

Tensor max_pool(const Tensor& x, const PoolOptions& options);
/// The maxima and their int64 positions in the flattened pooled dimensions of x.
std::pair<Tensor, Tensor> max_pool_with_indices(const Tensor& x, const PoolOptions& options);
Tensor avg_pool(const Tensor& x, const PoolOptions& options);
/// The last output.size() dimensions become `output`.
Tensor adaptive_avg_pool(const Tensor& x, const Dims& output);
Tensor adaptive_max_pool(const Tensor& x, const Dims& output);

/// Windows of the last output.size() dimensions at pseudo-random places: the maxima and their int64
/// positions. `samples` [N, C, output.size()] in [0, 1) are the generator's unless given.
std::pair<Tensor, Tensor> fractional_max_pool_with_indices(
    const Tensor& x, const Dims& kernel, const Dims& output, const Tensor& samples = {},
    Generator& generator = default_generator());

/// x [N, C, spatial..] at the places of a grid [N, .., coordinates], the last dimension's first,
/// from -1 to 1. mode: "bilinear", "nearest" or "bicubic"; padding: "zeros", "border" or
/// "reflection".
Tensor grid_sample(const Tensor& x, const Tensor& grid, std::string_view mode = "bilinear",
                   std::string_view padding_mode = "zeros", std::optional<bool> align_corners = {});
/// x [N, C, spatial..] in another size, given or as factors. mode: "nearest", "nearest-exact",
/// "area", "linear", "bilinear", "trilinear" or "bicubic".
Tensor interpolate(const Tensor& x, const Dims& size, const std::vector<double>& scale_factor = {},
                   std::string_view mode = "nearest", std::optional<bool> align_corners = {},
                   std::optional<bool> recompute_scale_factor = {}, bool antialias = false);

struct BatchNormOptions {
  bool training = false;  ///< by the batch's own statistics; running ones are updated
  double momentum = 0.1;
  double eps = 1e-5;
};
/// x [N, C, ..]; statistics, weight and bias are [C]. In training, running statistics that are
/// given are assigned their new values, which are computed with whatever is realised next.
Tensor batch_norm(const Tensor& x, const Tensor& running_mean, const Tensor& running_variance,
                  const Tensor& weight = {}, const Tensor& bias = {},
                  const BatchNormOptions& options = {});
/// Over the trailing dimensions `normalized`, which are also weight's and bias's shape.
Tensor layer_norm(const Tensor& x, const Dims& normalized, const Tensor& weight = {},
                  const Tensor& bias = {}, double eps = 1e-5);
/// As layer_norm without centring; eps defaults to the dtype's machine epsilon.
Tensor rms_norm(const Tensor& x, const Dims& normalized, const Tensor& weight = {},
                std::optional<double> eps = {});
/// x [N, C, ..] in groups of channels; weight and bias are [C].
Tensor group_norm(const Tensor& x, int64_t groups, const Tensor& weight = {},
                  const Tensor& bias = {}, double eps = 1e-5);
/// Zeros with probability p, other elements divided by 1 - p; x itself unless training.
Tensor dropout(const Tensor& x, double p = 0.5, bool training = true,
               Generator& generator = default_generator());
/// Rows of weight [rows, width] by int64 or int32 index [..]: [.., width]. Row `padding_idx`
/// receives no gradient.
Tensor embedding(const Tensor& input, const Tensor& weight,
                 std::optional<int64_t> padding_idx = {});
/// Rows of weight [rows, width] that bags of indices name, combined as "sum", "mean" or "max":
/// [bags, width]. Bags are the rows of input [bags, n], or parts of a vector that begin at the
/// offsets; row `padding_idx` does not count.
Tensor embedding_bag(const Tensor& input, const Tensor& weight, const Tensor& offsets = {},
                     std::string_view mode = "mean", const Tensor& per_sample_weights = {},
                     bool include_last_offset = false, std::optional<int64_t> padding_idx = {});
/// 1 where the last, new dimension's number equals the index; int64.
Tensor one_hot(const Tensor& index, int64_t classes);

struct AttentionOptions {
  Tensor mask = {};  ///< bool (true takes part) or added to the scores; broadcasts
  bool is_causal = false;
  std::optional<double> scale = {};  ///< 1 / sqrt(width) when not given
  bool grouped_heads = false;        ///< key and value have fewer heads (dimension -3), repeated
  double dropout = 0;
};
/// softmax(query key^T * scale + mask) value over [.., length, width].
Tensor scaled_dot_product_attention(const Tensor& query, const Tensor& key, const Tensor& value,
                                    const AttentionOptions& options = {},
                                    Generator& generator = default_generator());

// Losses
Tensor mse_loss(const Tensor& x, const Tensor& target, Reduction reduction = Reduction::Mean);
Tensor l1_loss(const Tensor& x, const Tensor& target, Reduction reduction = Reduction::Mean);
/// d^2 / (2 beta) where d = |x - target| < beta, d - beta / 2 elsewhere.
Tensor smooth_l1_loss(const Tensor& x, const Tensor& target, Reduction reduction = Reduction::Mean,
                      double beta = 1);
/// d^2 / 2 where d = |x - target| <= delta, delta (d - delta / 2) elsewhere.
Tensor huber_loss(const Tensor& x, const Tensor& target, Reduction reduction = Reduction::Mean,
                  double delta = 1);

struct ClassLossOptions {
  Tensor weight = {};           ///< [C]
  int64_t ignore_index = -100;  ///< targets with this class count for nothing
  double label_smoothing = 0;   ///< cross_entropy only
  Reduction reduction = Reduction::Mean;
};
/// Scores [N, C, ..] or [C]; targets are class indices [N, ..] or probabilities of the scores'
/// shape.
Tensor cross_entropy(const Tensor& scores, const Tensor& target,
                     const ClassLossOptions& options = {});
/// Log-probabilities [N, C, ..] or [C] and class indices [N, ..].
Tensor nll_loss(const Tensor& log_probabilities, const Tensor& target,
                const ClassLossOptions& options = {});
/// Probabilities and targets in [0, 1].
Tensor binary_cross_entropy(const Tensor& x, const Tensor& target, const Tensor& weight = {},
                            Reduction reduction = Reduction::Mean);
Tensor binary_cross_entropy_with_logits(const Tensor& x, const Tensor& target,
                                        const Tensor& weight = {}, const Tensor& pos_weight = {},
                                        Reduction reduction = Reduction::Mean);
/// target * (log target - x); `batch_mean` divides the sum by the first extent.
Tensor kl_div(const Tensor& x, const Tensor& target, bool log_target = false,
              Reduction reduction = Reduction::Mean, bool batch_mean = false);

}  // namespace coregrad
#pragma GCC visibility pop
