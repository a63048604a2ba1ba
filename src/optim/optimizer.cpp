#include "base/error.h"
#include "coregrad/ops.h"
#include "coregrad/optim.h"

#include <cmath>

namespace coregrad::optim {
namespace {

Tensor number(double value) { return scalar_data(Scalar::of_float(DType::Float32, value)); }

double require_at_least_zero(double value, const char* what) {
  if (!(value >= 0) || !std::isfinite(value))
    raise<ValueError>("{} must be a finite number of at least 0, got {}", what, value);
  return value;
}

double require_fraction(double value, const char* what) {
  if (!(value >= 0 && value < 1)) raise<ValueError>("{} must lie in [0, 1), got {}", what, value);
  return value;
}

}  // namespace

Optimizer::Optimizer(std::vector<Tensor> parameters, double learning_rate)
    : parameters_(std::move(parameters)), states_(parameters_.size()) {
  for (const Tensor& p : parameters_)
    if (!p.requires_grad()) raise<ValueError>("optimizer: every parameter must require a gradient");
  set_learning_rate(learning_rate);
}

void Optimizer::set_learning_rate(double value) {
  learning_rate_ = require_at_least_zero(value, "the learning rate");
  if (rate_.is_defined())
    rate_.assign(number(value));
  else
    rate_ = number(value);
}

void Optimizer::zero_grad() const {
  for (const Tensor& p : parameters_) p.zero_grad();
}

void Optimizer::step(std::span<const Tensor> together) {
  const NoGrad guard;
  begin_step();
  std::vector<Tensor> pending(together.begin(), together.end());
  if (steps_.is_defined()) pending.push_back(steps_);
  std::vector<std::pair<size_t, Tensor>> updated;
  for (size_t i = 0; i < parameters_.size(); ++i) {
    const Tensor gradient = parameters_[i].grad();
    if (!gradient.is_defined()) continue;
    // Narrow floats would lose small steps and averages: the state and the update are float32.
    const DType work = compute_dtype(parameters_[i].dtype());
    std::vector<Tensor>& state = states_[i];
    for (auto k = static_cast<int>(state.size()); k < num_states(); ++k)
      state.push_back(zeros(parameters_[i].shape(), work).realize());
    const Tensor value = update(cast(parameters_[i], work), cast(gradient, work), state);
    updated.emplace_back(i, cast(value, parameters_[i].dtype()));
    pending.push_back(updated.back().second);
    pending.insert(pending.end(), state.begin(), state.end());
  }
  realize(pending);
  for (const auto& [i, value] : updated) parameters_[i].assign(value);
}

SGD::SGD(std::vector<Tensor> parameters, double learning_rate, Options options)
    : Optimizer(std::move(parameters), learning_rate), options_(options) {
  require_at_least_zero(options.momentum, "SGD: the momentum");
  require_at_least_zero(options.weight_decay, "SGD: the weight decay");
  if (options.nesterov && options.momentum == 0)
    raise<ValueError>("SGD: Nesterov's form needs a momentum");
}

Tensor SGD::update(const Tensor& parameter, const Tensor& gradient, std::span<Tensor> state) {
  Tensor direction = gradient;
  if (options_.weight_decay != 0) direction = direction + parameter * options_.weight_decay;
  if (options_.momentum != 0) {
    // PyTorch starts the buffer with the first gradient; from zero that is the same sum.
    state[0].assign(state[0] * options_.momentum + direction);
    direction = options_.nesterov ? direction + state[0] * options_.momentum : state[0];
  }
  return parameter - direction * cast(rate_, parameter.dtype());
}

Adam::Adam(std::vector<Tensor> parameters, double learning_rate, Options options)
    : Optimizer(std::move(parameters), learning_rate), options_(options) {
  require_fraction(options.beta1, "Adam: beta1");
  require_fraction(options.beta2, "Adam: beta2");
  require_at_least_zero(options.epsilon, "Adam: epsilon");
  require_at_least_zero(options.weight_decay, "Adam: the weight decay");
}

void Adam::begin_step() {
  if (!steps_.is_defined()) steps_ = scalar_data(Scalar::of_float(DType::Float64, 0));
  steps_.assign(steps_ + 1.0);
  const auto correction = [&](double beta) {
    return cast(1.0 - pow(full({}, Scalar::of_float(DType::Float64, beta)), steps_),
                DType::Float32);
  };
  correction1_ = correction(options_.beta1);
  correction2_ = correction(options_.beta2);
}

Tensor Adam::update(const Tensor& parameter, const Tensor& gradient, std::span<Tensor> state) {
  const DType t = parameter.dtype();
  Tensor value = parameter;
  Tensor direction = gradient;
  if (options_.weight_decay != 0) {
    if (options_.decoupled)
      value = value - value * (cast(rate_, t) * options_.weight_decay);
    else
      direction = direction + value * options_.weight_decay;
  }
  state[0].assign(state[0] * options_.beta1 + direction * (1 - options_.beta1));
  state[1].assign(state[1] * options_.beta2 + square(direction) * (1 - options_.beta2));
  const Tensor spread = sqrt(state[1] / cast(correction2_, t)) + options_.epsilon;
  return value - state[0] / cast(correction1_, t) * cast(rate_, t) / spread;
}

}  // namespace coregrad::optim
