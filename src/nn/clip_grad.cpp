#include "coregrad/clip_grad.h"

#include "base/error.h"
#include "coregrad/ops.h"

#include <cmath>
#include <vector>

namespace coregrad::nn {
namespace {

/// Replaces each gradient that is there, computed in float32 for narrow floats.
template <class Change>
void change_gradients(std::span<const Tensor> parameters, Change change) {
  const NoGrad guard;
  for (const Tensor& p : parameters)
    if (const Tensor g = p.grad(); g.is_defined())
      p.set_grad(cast(change(cast(g, compute_dtype(g.dtype()))), g.dtype()));
}

void require_limit(double value, const char* operation, const char* what) {
  if (!(value >= 0)) raise<ValueError>("{}: {} must be at least 0, got {}", operation, what, value);
}

}  // namespace

Tensor total_norm(std::span<const Tensor> tensors, double norm_type) {
  if (std::isnan(norm_type)) raise<ValueError>("total_norm: norm_type must be a number, got nan");
  const NoGrad guard;
  std::vector<Tensor> norms;
  for (const Tensor& t : tensors)
    norms.push_back(norm(reshape(cast(t, compute_dtype(t.dtype())), {-1}), norm_type, {0}, true));
  return norms.empty() ? zeros({}) : norm(concat(norms), norm_type);
}

void clip_grads_with_norm_(std::span<const Tensor> parameters, double max_norm,
                           const Tensor& total) {
  require_limit(max_norm, "clip_grad_norm_", "max_norm");
  const NoGrad guard;
  const Tensor scale = clamp(max_norm / (total + 1e-6), std::nullopt, 1.0);
  change_gradients(parameters, [&](const Tensor& g) { return g * cast(scale, g.dtype()); });
}

Tensor clip_grad_norm_(std::span<const Tensor> parameters, double max_norm, double norm_type) {
  std::vector<Tensor> gradients;
  for (const Tensor& p : parameters)
    if (const Tensor g = p.grad(); g.is_defined()) gradients.push_back(g);
  const Tensor total = total_norm(gradients, norm_type);
  clip_grads_with_norm_(parameters, max_norm, total);
  return total;
}

void clip_grad_value_(std::span<const Tensor> parameters, double value) {
  require_limit(value, "clip_grad_value_", "clip_value");
  change_gradients(parameters, [&](const Tensor& g) { return clamp(g, -value, value); });
}

}  // namespace coregrad::nn
