// Functions of networks, as compositions of tensor operations.

#include "base/error.h"
#include "coregrad/nn.h"
#include "coregrad/ops.h"
#include "ir/print.h"

#include <cmath>

namespace coregrad {

Tensor relu(const Tensor& x) { return maximum(x, 0); }

Tensor sigmoid(const Tensor& x) { return reciprocal(exp(neg(x)) + 1.0); }

Tensor log_softmax(const Tensor& x, int64_t dim) {
  const Tensor shifted = x - max(x, {dim}, true);
  return shifted - log(sum(exp(shifted), {dim}, true));
}

Tensor softmax(const Tensor& x, int64_t dim) {
  const Tensor weights = exp(x - max(x, {dim}, true));
  return weights / sum(weights, {dim}, true);
}

Tensor linear(const Tensor& x, const Tensor& weight, const Tensor& bias) {
  if (weight.ndim() != 2 || x.ndim() < 1 || x.size(-1) != weight.size(1))
    raise<ShapeError>("linear: {} does not fit weight {}", type_text(x.dtype(), x.shape()),
                      type_text(weight.dtype(), weight.shape()));
  const Tensor product = matmul(x, transpose(weight, 0, 1));
  return bias.is_defined() ? product + bias : product;
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
