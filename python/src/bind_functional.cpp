// coregrad._core.functional: functions of networks under PyTorch's names and signatures.
//
// Names that differ only in the number of spatial dimensions share one binding.

#include "coregrad/coregrad.h"
#include "ir/print.h"

#include <nanobind/nanobind.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/pair.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/variant.h>
#include <nanobind/stl/vector.h>

#include "bindings.h"
#include <variant>

namespace coregrad::python {
namespace {

using nb::arg;
using MaybeTensor = std::optional<Tensor>;

Tensor or_undefined(const MaybeTensor& t) { return t.value_or(Tensor()); }

std::string text_of(const Tensor& t) { return type_text(t.dtype(), t.shape()); }

/// One value for each of `rank` dimensions.
Dims spread(const Extents& given, int64_t rank, std::string_view operation, std::string_view what) {
  if (given.values.size() == 1) return Dims(static_cast<size_t>(rank), given.values[0]);
  if (static_cast<int64_t>(given.values.size()) != rank)
    raise<ValueError>("{}: {} must be one number or {}: got {}", operation, what, rank,
                      given.values.size());
  return given.values;
}

/// ShapeError unless x is [C, ..] or [N, C, ..] with `rank` dimensions behind.
void require_spatial(const Tensor& x, int64_t rank, std::string_view operation) {
  if (x.ndim() != rank + 1 && x.ndim() != rank + 2)
    raise<ShapeError>("{}: the input must have {} or {} dimensions: got {}", operation, rank + 1,
                      rank + 2, text_of(x));
}

void bind_activations(nb::module_& m) {
  m.def("prelu", prelu, arg("input"), arg("weight"),
        "input where positive, weight * input elsewhere; weight [C] for [N, C, ..], or [1].\n\n"
        "Raises ShapeError for another number of weights.");
}

/// "same" keeps the extents: its padding may be uneven, and then is put around the input.
Tensor conv_with_padding(Tensor x, const Tensor& weight, const Tensor& bias, ConvOptions options,
                         const std::string& padding, std::string_view operation) {
  if (padding != "same" && padding != "valid")
    raise<ValueError>("{}: padding must be numbers, 'same' or 'valid', got '{}'", operation,
                      padding);
  const auto spatial = static_cast<size_t>(weight.ndim() - 2);
  options.padding.assign(spatial, 0);
  if (padding == "valid") return conv(x, weight, bias, options);
  Dims low(x.shape().size(), 0), high = low;
  bool is_even = true;
  for (size_t d = 0; d < spatial; ++d) {
    if (options.stride[d] != 1)
      raise<ValueError>("{}: padding 'same' needs stride 1, got {}", operation, options.stride[d]);
    const int64_t total = options.dilation[d] * (weight.shape()[d + 2] - 1);
    const size_t at = low.size() - spatial + d;
    low[at] = options.padding[d] = total / 2;
    high[at] = total - total / 2;
    is_even = is_even && total % 2 == 0;
  }
  if (!is_even) {
    x = pad(x, low, high);
    options.padding.assign(spatial, 0);
  }
  return conv(x, weight, bias, options);
}

void bind_convolutions(nb::module_& m) {
  constexpr const char* names[] = {"conv1d", "conv2d", "conv3d"};
  constexpr const char* transposed[] = {"conv_transpose1d", "conv_transpose2d", "conv_transpose3d"};
  const auto options_for = [](const char* name, int64_t rank, const Tensor& x, const Tensor& weight,
                              const Extents& stride, const Extents& dilation, int64_t groups) {
    require_spatial(x, rank, name);
    if (weight.ndim() != rank + 2)
      raise<ShapeError>("{}: the weight must have {} dimensions: got {}", name, rank + 2,
                        text_of(weight));
    ConvOptions options;
    options.stride = spread(stride, rank, name, "stride");
    options.dilation = spread(dilation, rank, name, "dilation");
    options.groups = groups;
    return options;
  };
  for (int64_t rank = 1; rank <= 3; ++rank) {
    const char* name = names[rank - 1];
    m.def(
        name,
        [=](const Tensor& x, const Tensor& weight, const MaybeTensor& bias, const Extents& stride,
            const std::variant<std::string, Extents>& padding, const Extents& dilation,
            int64_t groups) {
          ConvOptions options = options_for(name, rank, x, weight, stride, dilation, groups);
          if (const auto* word = std::get_if<std::string>(&padding))
            return conv_with_padding(x, weight, or_undefined(bias), options, *word, name);
          options.padding = spread(std::get<Extents>(padding), rank, name, "padding");
          return conv(x, weight, or_undefined(bias), options);
        },
        arg("input"), arg("weight"), arg("bias") = nb::none(), arg("stride") = 1,
        arg("padding") = 0, arg("dilation") = 1, arg("groups") = 1,
        "Convolution of input [N, C, ..] or [C, ..] with weight [O, C / groups, ..] and bias [O].\n"
        "\n"
        "padding is given for both sides, or as 'same' or 'valid'. Raises ShapeError when shapes\n"
        "do not fit each other, ValueError for strides, paddings and groups that cannot be.\n\n"
        ">>> import coregrad as cg\n"
        ">>> cg.nn.functional.conv2d(cg.ones((1, 2, 4, 4)), cg.ones((3, 2, 3, 3))).shape\n"
        "(1, 3, 2, 2)");
    const char* other = transposed[rank - 1];
    m.def(
        other,
        [=](const Tensor& x, const Tensor& weight, const MaybeTensor& bias, const Extents& stride,
            const Extents& padding, const Extents& output_padding, int64_t groups,
            const Extents& dilation) {
          ConvOptions options = options_for(other, rank, x, weight, stride, dilation, groups);
          options.padding = spread(padding, rank, other, "padding");
          options.output_padding = spread(output_padding, rank, other, "output_padding");
          return conv_transpose(x, weight, or_undefined(bias), options);
        },
        arg("input"), arg("weight"), arg("bias") = nb::none(), arg("stride") = 1,
        arg("padding") = 0, arg("output_padding") = 0, arg("groups") = 1, arg("dilation") = 1,
        "The transpose of a convolution: input [N, C, ..] or [C, ..], weight [C, O / groups, ..],\n"
        "bias [O].\n\n"
        "Raises ShapeError and ValueError as the convolution does.\n\n"
        ">>> import coregrad as cg\n"
        ">>> cg.nn.functional.conv_transpose1d(\n"
        "...     cg.ones((1, 2, 4)), cg.ones((2, 3, 3)), stride=2).shape\n"
        "(1, 3, 9)");
  }
}

void bind_pools(nb::module_& m) {
  constexpr const char* max_names[] = {"max_pool1d", "max_pool2d", "max_pool3d"};
  constexpr const char* avg_names[] = {"avg_pool1d", "avg_pool2d", "avg_pool3d"};
  constexpr const char* adaptive_max[] = {"adaptive_max_pool1d", "adaptive_max_pool2d",
                                          "adaptive_max_pool3d"};
  constexpr const char* adaptive_avg[] = {"adaptive_avg_pool1d", "adaptive_avg_pool2d",
                                          "adaptive_avg_pool3d"};
  const auto options_for = [](const char* name, int64_t rank, const Tensor& x,
                              const Extents& kernel, const std::optional<Extents>& stride,
                              const Extents& padding, bool ceil_mode) {
    require_spatial(x, rank, name);
    PoolOptions options;
    options.kernel = spread(kernel, rank, name, "kernel_size");
    if (stride && !stride->values.empty()) options.stride = spread(*stride, rank, name, "stride");
    options.padding = spread(padding, rank, name, "padding");
    options.ceil_mode = ceil_mode;
    return options;
  };
  for (int64_t rank = 1; rank <= 3; ++rank) {
    const char* max_name = max_names[rank - 1];
    m.def(
        max_name,
        [=](const Tensor& x, const Extents& kernel, const std::optional<Extents>& stride,
            const Extents& padding, const Extents& dilation, bool ceil_mode,
            bool return_indices) -> std::variant<Tensor, std::pair<Tensor, Tensor>> {
          PoolOptions options = options_for(max_name, rank, x, kernel, stride, padding, ceil_mode);
          options.dilation = spread(dilation, rank, max_name, "dilation");
          if (return_indices) return max_pool_with_indices(x, options);
          return max_pool(x, options);
        },
        arg("input"), arg("kernel_size"), arg("stride") = nb::none(), arg("padding") = 0,
        arg("dilation") = 1, arg("ceil_mode") = false, arg("return_indices") = false,
        "The largest element of each window of input [N, C, ..] or [C, ..].\n\n"
        "stride is kernel_size unless given. With return_indices also the maxima's int64 "
        "positions\n"
        "in the flattened pooled dimensions. Raises ShapeError when a window does not fit,\n"
        "ValueError when padding is more than half of it.\n\n"
        ">>> import coregrad as cg\n"
        ">>> x = cg.tensor([[[1.0, 3.0, 2.0, 0.0]]])\n"
        ">>> cg.nn.functional.max_pool1d(x, 2).tolist()\n"
        "[[[3.0, 2.0]]]");
    const char* avg_name = avg_names[rank - 1];
    const auto average = [=](const Tensor& x, const Extents& kernel,
                             const std::optional<Extents>& stride, const Extents& padding,
                             bool ceil_mode, bool count_include_pad,
                             std::optional<int64_t> divisor_override) {
      PoolOptions options = options_for(avg_name, rank, x, kernel, stride, padding, ceil_mode);
      options.count_include_pad = count_include_pad;
      options.divisor_override = divisor_override;
      return avg_pool(x, options);
    };
    m.def(avg_name, average, arg("input"), arg("kernel_size"), arg("stride") = nb::none(),
          arg("padding") = 0, arg("ceil_mode") = false, arg("count_include_pad") = true,
          arg("divisor_override") = nb::none(),
          "The mean of each window of input [N, C, ..] or [C, ..].\n\n"
          "Raises as the maximum does, and DTypeError unless input is floating.");
    const auto adaptive = [rank](const char* name, Tensor (*pool)(const Tensor&, const Dims&)) {
      return [=](const Tensor& x, const Extents& output_size) {
        require_spatial(x, rank, name);
        return pool(x, spread(output_size, rank, name, "output_size"));
      };
    };
    m.def(adaptive_max[rank - 1], adaptive(adaptive_max[rank - 1], adaptive_max_pool), arg("input"),
          arg("output_size"),
          "The largest elements of as many windows as output_size says, which cover\n"
          "input [N, C, ..] or [C, ..].\n\nRaises ShapeError for empty extents.");
    m.def(adaptive_avg[rank - 1], adaptive(adaptive_avg[rank - 1], adaptive_avg_pool), arg("input"),
          arg("output_size"),
          "The means of as many windows as output_size says, which cover\n"
          "input [N, C, ..] or [C, ..].\n\nRaises ShapeError for empty extents.");
  }
}

/// The places of a pool by their number or as a share of the input's extents.
Dims pooled_extents(const Tensor& x, int64_t rank, const std::optional<Extents>& size,
                    const NumberList& ratio, std::string_view operation) {
  if (size.has_value() == !ratio.values.empty())
    raise<ValueError>("{}: either output_size or output_ratio must be given", operation);
  if (size) return spread(*size, rank, operation, "output_size");
  Dims extents;
  for (int64_t d = 0; d < rank; ++d) {
    const double share = ratio.values.size() == 1 ? ratio.values[0] : ratio.values.at(d);
    if (!(share > 0 && share < 1))
      raise<ValueError>("{}: output_ratio must lie between 0 and 1: got {}", operation, share);
    extents.push_back(static_cast<int64_t>(static_cast<double>(x.size(d - rank)) * share));
  }
  return extents;
}

void bind_fractional_pools(nb::module_& m) {
  constexpr const char* names[] = {"fractional_max_pool2d", "fractional_max_pool3d"};
  for (int64_t rank = 2; rank <= 3; ++rank) {
    const char* name = names[rank - 2];
    m.def(
        name,
        [=](const Tensor& x, const Extents& kernel, const std::optional<Extents>& size,
            const NumberList& ratio, bool return_indices,
            const MaybeTensor& samples) -> std::variant<Tensor, std::pair<Tensor, Tensor>> {
          require_spatial(x, rank, name);
          std::pair<Tensor, Tensor> both = fractional_max_pool_with_indices(
              x, spread(kernel, rank, name, "kernel_size"),
              pooled_extents(x, rank, size, ratio, name), or_undefined(samples));
          if (return_indices) return both;
          return both.first;
        },
        arg("input"), arg("kernel_size"), arg("output_size") = nb::none(),
        arg("output_ratio") = nb::none(), arg("return_indices") = false,
        arg("_random_samples") = nb::none(),
        "The largest element of each of output_size windows at pseudo-random places, which\n"
        "_random_samples [N, C, dimensions] in [0, 1) decide or else manual_seed's generator.\n\n"
        "With return_indices also the maxima's int64 positions. Raises ShapeError when windows do\n"
        "not fit, ValueError unless one of output_size and output_ratio is given.");
  }
}

void bind_layers(nb::module_& m) {
  m.def(
      "linear",
      [](const Tensor& x, const Tensor& weight, const MaybeTensor& bias) {
        return linear(x, weight, or_undefined(bias));
      },
      arg("input"), arg("weight"), arg("bias") = nb::none(),
      "input [.., in] @ weight [out, in]^T + bias [out].\n\n"
      "Raises ShapeError when the inner sizes differ.");
  m.def(
      "batch_norm",
      [](const Tensor& x, const MaybeTensor& mean, const MaybeTensor& variance,
         const MaybeTensor& weight, const MaybeTensor& bias, bool training, double momentum,
         double eps) {
        return batch_norm(x, or_undefined(mean), or_undefined(variance), or_undefined(weight),
                          or_undefined(bias), {training, momentum, eps});
      },
      arg("input"), arg("running_mean").none(), arg("running_var").none(),
      arg("weight") = nb::none(), arg("bias") = nb::none(), arg("training") = false,
      arg("momentum") = 0.1, arg("eps") = 1e-5,
      "Normalises input [N, C, ..] per channel; all other tensors are [C].\n\n"
      "Training uses the batch's own statistics, and running_mean and running_var stand for their\n"
      "updated values afterwards, which the next realisation computes. Raises ValueError when\n"
      "statistics are missing or a channel has one value, ShapeError and DTypeError for operands\n"
      "that do not fit.\n\n"
      ">>> import coregrad as cg\n"
      ">>> mean, variance = cg.zeros((1,)), cg.ones((1,))\n"
      ">>> x = cg.tensor([[1.0], [3.0]])\n"
      ">>> cg.nn.functional.batch_norm(x, mean, variance, training=True, eps=0.0).tolist()\n"
      "[[-1.0], [1.0]]\n"
      ">>> round(mean.item(), 3)\n"
      "0.2");
  m.def(
      "layer_norm",
      [](const Tensor& x, const Extents& shape, const MaybeTensor& weight, const MaybeTensor& bias,
         double eps) {
        return layer_norm(x, shape.values, or_undefined(weight), or_undefined(bias), eps);
      },
      arg("input"), arg("normalized_shape"), arg("weight") = nb::none(), arg("bias") = nb::none(),
      arg("eps") = 1e-5,
      "Normalises over the last dimensions, normalized_shape, which weight and bias have too.\n\n"
      "Raises ShapeError when input does not end in it, DTypeError unless input is floating.");
  m.def(
      "rms_norm",
      [](const Tensor& x, const Extents& shape, const MaybeTensor& weight,
         std::optional<double> eps) {
        return rms_norm(x, shape.values, or_undefined(weight), eps);
      },
      arg("input"), arg("normalized_shape"), arg("weight") = nb::none(), arg("eps") = nb::none(),
      "Divides by the root of the mean square over the last dimensions, normalized_shape.\n\n"
      "eps is the dtype's machine epsilon unless given. Raises as layer_norm does.");
  m.def(
      "group_norm",
      [](const Tensor& x, int64_t groups, const MaybeTensor& weight, const MaybeTensor& bias,
         double eps) {
        return group_norm(x, groups, or_undefined(weight), or_undefined(bias), eps);
      },
      arg("input"), arg("num_groups"), arg("weight") = nb::none(), arg("bias") = nb::none(),
      arg("eps") = 1e-5,
      "Normalises input [N, C, ..] over each of num_groups groups of channels; weight and bias\n"
      "are [C].\n\n"
      "Raises ShapeError when the channels cannot be divided, DTypeError unless input is "
      "floating.");
  m.def(
      "dropout", [](const Tensor& x, double p, bool training) { return dropout(x, p, training); },
      arg("input"), arg("p") = 0.5, arg("training") = true,
      "Zeros with probability p, other elements divided by 1 - p; input itself unless training.\n\n"
      "Raises ValueError unless p lies in [0, 1]. The mask comes from manual_seed's generator.");
  m.def("one_hot", one_hot, arg("tensor"), arg("num_classes"),
        "int64 [.., num_classes] with 1 at the place of each class.\n\n"
        "Raises DTypeError unless tensor is int64 or int32.");
  m.def(
      "scaled_dot_product_attention",
      [](const Tensor& query, const Tensor& key, const Tensor& value, const MaybeTensor& mask,
         double dropout_p, bool is_causal, std::optional<double> scale, bool enable_gqa) {
        return scaled_dot_product_attention(
            query, key, value, {or_undefined(mask), is_causal, scale, enable_gqa, dropout_p});
      },
      arg("query"), arg("key"), arg("value"), arg("attn_mask") = nb::none(), arg("dropout_p") = 0.0,
      arg("is_causal") = false, arg("scale") = nb::none(), arg("enable_gqa") = false,
      "softmax(query key^T * scale + attn_mask) value over [.., length, width].\n\n"
      "A bool mask says what takes part, another is added; scale is 1 / sqrt(width) unless given.\n"
      "Raises ShapeError when operands do not fit, ValueError for a mask next to is_causal.");
}

void bind_losses(nb::module_& m) {
  m.def(
      "cross_entropy",
      [](const Tensor& scores, const Tensor& target, const MaybeTensor& weight, int64_t ignored,
         const std::string& reduction, double smoothing) {
        return cross_entropy(
            scores, target,
            {or_undefined(weight), ignored, smoothing, to_reduction(reduction, "cross_entropy")});
      },
      arg("input"), arg("target"), arg("weight") = nb::none(), arg("ignore_index") = -100,
      arg("reduction") = "mean", arg("label_smoothing") = 0.0,
      "Scores [N, C, ..] or [C] against class indices [N, ..] or probabilities of input's shape.\n"
      "\n"
      "weight is [C]. Raises ShapeError when shapes do not fit, DTypeError for indices that are "
      "not\n"
      "whole numbers, ValueError for a label_smoothing outside of [0, 1].");
  m.def(
      "nll_loss",
      [](const Tensor& x, const Tensor& target, const MaybeTensor& weight, int64_t ignored,
         const std::string& reduction) {
        return nll_loss(x, target,
                        {or_undefined(weight), ignored, 0, to_reduction(reduction, "nll_loss")});
      },
      arg("input"), arg("target"), arg("weight") = nb::none(), arg("ignore_index") = -100,
      arg("reduction") = "mean",
      "Minus the log-probability input [N, C, ..] of class indices target [N, ..].\n\n"
      "Raises as cross_entropy does.");
  m.def(
      "kl_div",
      [](const Tensor& x, const Tensor& target, const std::string& reduction, bool log_target) {
        const bool batch_mean = reduction == "batchmean";
        return kl_div(x, target, log_target,
                      batch_mean ? Reduction::Sum : to_reduction(reduction, "kl_div"), batch_mean);
      },
      arg("input"), arg("target"), arg("reduction") = "mean", arg("log_target") = false,
      "target * (log(target) - input); 'batchmean' divides the sum by the first extent.\n\n"
      "Raises ShapeError when the shapes differ.");
}

}  // namespace

Reduction to_reduction(const std::string& word, std::string_view operation) {
  if (word == "none") return Reduction::None;
  if (word == "mean") return Reduction::Mean;
  if (word == "sum") return Reduction::Sum;
  raise<ValueError>("{}: reduction must be 'none', 'mean' or 'sum', got '{}'", operation, word);
}

void bind_functional(nb::module_& parent) {
  nb::module_ m = parent.def_submodule("functional", "Functions of networks.");
  bind_network_operators(parent, m);
  bind_activations(m);
  bind_convolutions(m);
  bind_pools(m);
  bind_fractional_pools(m);
  bind_layers(m);
  bind_losses(m);
}

}  // namespace coregrad::python
