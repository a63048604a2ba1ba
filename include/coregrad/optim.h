#pragma once
// Optimisers. A step records all updates and computes them, with the gradients and whatever else is
// asked for, in one plan.

#include "coregrad/tensor.h"

#include <cstdint>
#include <span>
#include <vector>

#pragma GCC visibility push(default)
namespace coregrad::optim {

/// Holds parameters (leaves) and what an algorithm remembers about each.
class Optimizer {
 public:
  explicit Optimizer(std::vector<Tensor> parameters, double learning_rate);
  virtual ~Optimizer() = default;

  /// Updates every parameter that has a gradient; `together` is realised in the same plan.
  void step(std::span<const Tensor> together = {});
  void zero_grad() const;

  double learning_rate() const { return learning_rate_; }
  void set_learning_rate(double value);
  const std::vector<Tensor>& parameters() const { return parameters_; }

 protected:
  /// The parameter's next value; assigns to the tensors of `state`, which begin as zeros.
  virtual Tensor update(const Tensor& parameter, const Tensor& gradient,
                        std::span<Tensor> state) = 0;
  virtual int num_states() const = 0;
  /// Called once before the updates of a step.
  virtual void begin_step() {}

  Tensor rate_;   ///< the learning rate as data, so that a schedule changes no plan
  Tensor steps_;  ///< how many there were, where an algorithm needs them

 private:
  std::vector<Tensor> parameters_;
  std::vector<std::vector<Tensor>> states_;
  double learning_rate_;
};

/// Gradient descent; PyTorch's formulas for momentum, Nesterov and weight decay.
class SGD : public Optimizer {
 public:
  struct Options {
    double momentum = 0;
    double weight_decay = 0;
    bool nesterov = false;
  };
  SGD(std::vector<Tensor> parameters, double learning_rate, Options options);
  SGD(std::vector<Tensor> parameters, double learning_rate)
      : SGD(std::move(parameters), learning_rate, Options()) {}

 protected:
  Tensor update(const Tensor& parameter, const Tensor& gradient, std::span<Tensor> state) override;
  int num_states() const override { return options_.momentum != 0 ? 1 : 0; }

 private:
  Options options_;
};

/// Adam, and AdamW with `decoupled` weight decay.
class Adam : public Optimizer {
 public:
  struct Options {
    double beta1 = 0.9, beta2 = 0.999;
    double epsilon = 1e-8;
    double weight_decay = 0;
    bool decoupled = false;
  };
  Adam(std::vector<Tensor> parameters, double learning_rate, Options options);
  Adam(std::vector<Tensor> parameters, double learning_rate)
      : Adam(std::move(parameters), learning_rate, Options()) {}

 protected:
  Tensor update(const Tensor& parameter, const Tensor& gradient, std::span<Tensor> state) override;
  int num_states() const override { return 2; }
  void begin_step() override;

 private:
  Options options_;
  Tensor correction1_, correction2_;  ///< 1 - beta^steps
};

}  // namespace coregrad::optim
#pragma GCC visibility pop
