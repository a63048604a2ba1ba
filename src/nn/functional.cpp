// Functions of networks, as compositions of tensor operations.

#include "base/error.h"
#include "coregrad/nn.h"
#include "coregrad/ops.h"
#include "ir/print.h"
#include "ops/linalg.h"
#include "ops/math.h"
#include "ops/reduce.h"
#include "tensor/state.h"

#include <cmath>

namespace coregrad {

namespace {

using Nodes = std::span<const NodeId>;
using Activation = NodeId (*)(Graph&, NodeId);

Tensor record_activation(std::string_view operation, Activation activation, const Tensor& x) {
  return record(operation, {x}, [&](Graph& g, Nodes n) { return activation(g, n[0]); });
}

}  // namespace

Tensor relu(const Tensor& x) { return record_activation("relu", ops::relu, x); }
Tensor sigmoid(const Tensor& x) { return record_activation("sigmoid", ops::sigmoid, x); }
Tensor gelu(const Tensor& x) { return record_activation("gelu", ops::gelu, x); }
Tensor gelu_tanh(const Tensor& x) { return record_activation("gelu_tanh", ops::gelu_tanh, x); }
Tensor silu(const Tensor& x) { return record_activation("silu", ops::silu, x); }
Tensor hardswish(const Tensor& x) { return record_activation("hardswish", ops::hardswish, x); }

Tensor leaky_relu(const Tensor& x, double slope) {
  return record("leaky_relu", {x},
                [&](Graph& g, Nodes n) { return ops::leaky_relu(g, n[0], slope); });
}
Tensor elu(const Tensor& x, double alpha) {
  return record("elu", {x}, [&](Graph& g, Nodes n) { return ops::elu(g, n[0], alpha); });
}
Tensor softplus(const Tensor& x) {
  return record("softplus", {x}, [](Graph& g, Nodes n) { return ops::softplus(g, n[0]); });
}

Tensor softmax(const Tensor& x, int64_t dim) {
  return record("softmax", {x}, [&](Graph& g, Nodes n) { return ops::softmax(g, n[0], dim); });
}
Tensor log_softmax(const Tensor& x, int64_t dim) {
  return record("log_softmax", {x},
                [&](Graph& g, Nodes n) { return ops::log_softmax(g, n[0], dim); });
}

Tensor linear(const Tensor& x, const Tensor& weight, const Tensor& bias) {
  std::vector<Tensor> operands{x, weight};
  if (bias.is_defined()) operands.push_back(bias);
  return record("linear", operands, [](Graph& g, Nodes n) {
    return ops::linear(g, n[0], n[1], n.size() > 2 ? std::optional(n[2]) : std::nullopt);
  });
}

Tensor cross_entropy(const Tensor& logits, const Tensor& labels) {
  if (logits.ndim() != 2 || labels.ndim() != 1 || logits.size(0) != labels.size(0))
    raise<ShapeError>("cross_entropy: expected logits [n, classes] and labels [n], got {} and {}",
                      type_text(logits.dtype(), logits.shape()),
                      type_text(labels.dtype(), labels.shape()));
  if (is_float(labels.dtype()))
    raise<DTypeError>("cross_entropy: labels must be whole numbers, got {}",
                      type_text(labels.dtype(), labels.shape()));
  return neg(mean(gather(log_softmax(logits, 1), 1, unsqueeze(labels, 1))));
}

Tensor mse_loss(const Tensor& x, const Tensor& target) { return mean(square(x - target)); }

}  // namespace coregrad
