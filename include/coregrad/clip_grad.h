#pragma once
// Clipping of gradients, as torch.nn.utils has it. Gradients are replaced by lazy ones, so that all
// of it is part of the optimiser's plan, or of a compiled function.

#include "coregrad/tensor.h"

#include <span>

#pragma GCC visibility push(default)
namespace coregrad::nn {

/// The norm of all elements of these tensors: [], float32 for narrow floats; 0 of none.
Tensor total_norm(std::span<const Tensor> tensors, double norm_type = 2);
/// Scales all gradients by min(1, max_norm / (total_norm + 1e-6)).
void clip_grads_with_norm_(std::span<const Tensor> parameters, double max_norm,
                           const Tensor& total_norm);
/// The same by the norm of all gradients, which it gives.
Tensor clip_grad_norm_(std::span<const Tensor> parameters, double max_norm, double norm_type = 2);
/// Limits each element of a gradient to [-value, value].
void clip_grad_value_(std::span<const Tensor> parameters, double value);

}  // namespace coregrad::nn
#pragma GCC visibility pop
