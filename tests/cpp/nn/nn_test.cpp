// Matrix products, modules, losses and optimisers.

#include "coregrad/nn.h"

#include "coregrad/coregrad.h"
#include "coregrad/optim.h"

#include <gtest/gtest.h>

#include <cmath>

namespace coregrad {
namespace {

using Floats = std::vector<float>;

Tensor ramp(const Dims& shape) {
  int64_t n = 1;
  for (int64_t e : shape) n *= e;
  return reshape(arange(0, n, 1, DType::Float32), shape);
}

TEST(Matmul, MultipliesMatricesAndVectors) {
  EXPECT_EQ(matmul(ramp({2, 3}), ramp({3, 2})).to_vector<float>(), (Floats{10, 13, 28, 40}));
  EXPECT_EQ(matmul(ramp({3}), ramp({3})).shape(), Dims{});
  EXPECT_EQ(matmul(ramp({3}), ramp({3})).item(), 5);
  EXPECT_EQ(matmul(ramp({2, 3}), ramp({3})).to_vector<float>(), (Floats{5, 14}));
  EXPECT_EQ(matmul(ramp({2}), ramp({2, 3})).to_vector<float>(), (Floats{3, 4, 5}));
}

TEST(Matmul, BroadcastsBatches) {
  const Tensor product = matmul(ramp({4, 1, 2, 3}), ramp({5, 3, 2}));
  EXPECT_EQ(product.shape(), (Dims{4, 5, 2, 2}));
  const Tensor one =
      matmul(select(select(ramp({4, 1, 2, 3}), 0, 2), 0, 0), select(ramp({5, 3, 2}), 0, 3));
  EXPECT_EQ(select(select(product, 0, 2), 0, 3).to_vector<float>(), one.to_vector<float>());
}

TEST(Matmul, NamesBothShapesWhenTheyDoNotFit) {
  try {
    matmul(ramp({2, 3}), ramp({4, 5}));
    FAIL();
  } catch (const ShapeError& e) {
    EXPECT_STREQ(e.what(), "matmul: inner sizes differ: lhs f32[2,3] @ rhs f32[4,5]");
  }
}

TEST(CrossEntropy, MatchesItsFormulaAndGradient) {
  const Tensor logits = from_vector(Floats{1, 2, 3, 1000, 0, 0}, {2, 3}).set_requires_grad(true);
  const Tensor loss = cross_entropy(logits, from_vector(std::vector<int64_t>{2, 0}, {2})).realize();
  const double total = std::exp(-2.0) + std::exp(-1.0) + 1;
  EXPECT_NEAR(loss.item(), std::log(total) / 2, 1e-6);
  loss.backward();
  const Floats gradient = logits.grad().to_vector<float>();
  EXPECT_NEAR(gradient[0], std::exp(-2.0) / total / 2, 1e-6);
  EXPECT_NEAR(gradient[2], (1 / total - 1) / 2, 1e-6);
  EXPECT_NEAR(gradient[3], 0, 1e-6);
}

TEST(CrossEntropy, RefusesLabelsThatDoNotFit) {
  EXPECT_THROW(cross_entropy(ramp({2, 3}), from_vector(std::vector<int64_t>{1}, {1})), ShapeError);
  EXPECT_THROW(cross_entropy(ramp({2, 3}), ramp({2})), DTypeError);
}

TEST(Functional, AConvolutionalNetworkHasAGradient) {
  const Tensor x = ramp({2, 1, 4, 4}), weight = ramp({3, 1, 3, 3}).set_requires_grad(true);
  const Tensor bias = zeros({3}).set_requires_grad(true);
  const Tensor features = max_pool(relu(conv(x, weight, bias)), {.kernel = {2, 2}});
  EXPECT_EQ(features.shape(), (Dims{2, 3, 1, 1}));
  sum(features).realize().backward();
  // The window's maximum is its last element, whose inputs are x[1.., 1..].
  EXPECT_EQ(bias.grad().to_vector<float>(), (Floats{2, 2, 2}));
  EXPECT_EQ(weight.grad().to_vector<float>()[0], 5 + 21);
  EXPECT_THROW(conv(x, ramp({3, 3})), ShapeError);
}

TEST(Functional, BatchNormLeavesRunningStatisticsToTheNextPlan) {
  const Tensor mean = zeros({2}), variance = ones({2});
  const Tensor x = from_vector(Floats{1, 10, 3, 30}, {2, 2});
  const Tensor y = batch_norm(x, mean, variance, {}, {}, {.training = true, .eps = 0});
  EXPECT_FALSE(mean.is_realized());
  EXPECT_EQ(y.to_vector<float>(), (Floats{-1, -1, 1, 1}));
  EXPECT_TRUE(mean.is_realized());
  EXPECT_FLOAT_EQ(mean.to_vector<float>()[1], 2);
  EXPECT_FLOAT_EQ(variance.to_vector<float>()[0], 0.9F + 0.1F * 2);
  EXPECT_THROW(batch_norm(x, {}, {}), ValueError);
}

TEST(Linear, HasPyTorchsShapesAndNames) {
  const nn::Sequential model({std::make_shared<nn::Linear>(4, 3), std::make_shared<nn::ReLU>(),
                              std::make_shared<nn::Linear>(3, 2, false)});
  std::vector<std::string> names;
  for (const auto& [name, tensor] : model.named_parameters()) names.push_back(name);
  EXPECT_EQ(names, (std::vector<std::string>{"0.weight", "0.bias", "2.weight"}));
  EXPECT_EQ(model(ramp({5, 4})).shape(), (Dims{5, 2}));
  EXPECT_THROW(model(ramp({5, 3})), ShapeError);
}

/// Minimises sum((w - target)^2) and returns w after some steps.
template <class Make>
Floats minimise(Make make, int steps) {
  const Tensor w = from_vector(Floats{1, -2}, {2}).set_requires_grad(true);
  const Tensor target = from_vector(Floats{0.5f, 0.25f}, {2});
  auto optimizer = make(std::vector<Tensor>{w});
  for (int i = 0; i < steps; ++i) {
    optimizer.zero_grad();
    sum(square(w - target)).realize().backward();
    optimizer.step();
  }
  return w.to_vector<float>();
}

TEST(Sgd, FollowsPyTorchsFormulaWithMomentumAndDecay) {
  const Floats w = minimise(
      [](std::vector<Tensor> p) {
        return optim::SGD(std::move(p), 0.1, {.momentum = 0.9, .weight_decay = 0.01});
      },
      3);
  double x = 1, buffer = 0;
  for (int i = 0; i < 3; ++i) {
    buffer = 0.9 * buffer + 2 * (x - 0.5) + 0.01 * x;
    x -= 0.1 * buffer;
  }
  EXPECT_NEAR(w[0], x, 1e-6);
}

TEST(Adam, FollowsPyTorchsFormula) {
  const Floats w =
      minimise([](std::vector<Tensor> p) { return optim::Adam(std::move(p), 0.1); }, 3);
  double x = 1, m = 0, v = 0;
  for (int i = 1; i <= 3; ++i) {
    const double g = 2 * (x - 0.5);
    m = 0.9 * m + 0.1 * g;
    v = 0.999 * v + 0.001 * g * g;
    x -= 0.1 * m / (1 - std::pow(0.9, i)) / (std::sqrt(v / (1 - std::pow(0.999, i))) + 1e-8);
  }
  EXPECT_NEAR(w[0], x, 1e-5);
}

TEST(Adam, ReachesTheMinimum) {
  const Floats w =
      minimise([](std::vector<Tensor> p) { return optim::Adam(std::move(p), 0.1); }, 300);
  EXPECT_NEAR(w[0], 0.5, 1e-3);
  EXPECT_NEAR(w[1], 0.25, 1e-3);
}

TEST(Optimizer, RefusesWhatMakesNoSense) {
  const Tensor leaf = zeros({2}).set_requires_grad(true);
  EXPECT_THROW(optim::SGD({zeros({2})}, 0.1), ValueError);
  EXPECT_THROW(optim::SGD({leaf}, -1), ValueError);
  EXPECT_THROW(optim::SGD({leaf}, 0.1, {.nesterov = true}), ValueError);
  EXPECT_THROW(optim::Adam({leaf}, 0.1, {.beta1 = 1.0}), ValueError);
}

TEST(Training, ASecondStepOfANetworkCompilesNothing) {
  manual_seed(3);
  const nn::Sequential model({std::make_shared<nn::Linear>(4, 8), std::make_shared<nn::ReLU>(),
                              std::make_shared<nn::Linear>(8, 3)});
  optim::SGD optimizer(model.parameters(), 0.5, {.momentum = 0.9});
  const Tensor labels = arange(0, 3);
  int64_t compiled = 0;
  double first = 0, last = 0;
  for (int i = 0; i < 30; ++i) {
    const Tensor loss = cross_entropy(model(eye(3, 4)), labels).realize();
    optimizer.zero_grad();
    loss.backward();
    optimizer.set_learning_rate(0.5 / (1 + i));
    optimizer.step();
    last = loss.item();
    if (i == 0) first = last;
    if (i == 2) compiled = session_stats().plans_compiled;
  }
  EXPECT_EQ(session_stats().plans_compiled, compiled);
  EXPECT_LT(last, first / 4);
}

}  // namespace
}  // namespace coregrad
