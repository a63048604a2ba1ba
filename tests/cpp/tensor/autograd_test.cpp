// Gradients of tensors: backward(), the functional forms, and what they refuse.

#include "coregrad/coregrad.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

namespace coregrad {
namespace {

using Floats = std::vector<float>;

Tensor row(std::initializer_list<float> values) {
  return from_vector(Floats(values), {static_cast<int64_t>(values.size())});
}

template <class Function>
std::string message_of(Function function) {
  try {
    function();
  } catch (const Error& e) {
    return e.what();
  }
  return "nothing was thrown";
}

TEST(Autograd, BackwardFillsTheGradientsOfLeaves) {
  const Tensor x = row({1, 2, 3}).set_requires_grad(true);
  const Tensor loss = sum(x * x).realize();
  loss.backward();
  EXPECT_FALSE(x.grad().is_realized());
  EXPECT_EQ(x.grad().to_vector<float>(), (Floats{2, 4, 6}));
}

TEST(Autograd, BackwardOnAPendingLossSaysToRealiseIt) {
  const Tensor x = row({1}).set_requires_grad(true);
  const Tensor loss = sum(x * 2.0);
  EXPECT_NE(message_of([&] { loss.backward(); }).find("call .realize() first"), std::string::npos);
}

TEST(Autograd, GradientsAddUpOverBackwardCalls) {
  const Tensor x = row({1, 2}).set_requires_grad(true);
  for (int i = 0; i < 3; ++i) sum(x * 2.0).realize().backward();
  EXPECT_EQ(x.grad().to_vector<float>(), (Floats{6, 6}));
  x.zero_grad();
  EXPECT_FALSE(x.grad().is_defined());
}

TEST(Autograd, EqualLeavesKeepSeparateGradients) {
  const Tensor a = zeros({2}).set_requires_grad(true);
  const Tensor b = zeros({2}).set_requires_grad(true);
  sum(a * 2.0 + b * 3.0).realize().backward();
  EXPECT_EQ(a.grad().to_vector<float>(), (Floats{2, 2}));
  EXPECT_EQ(b.grad().to_vector<float>(), (Floats{3, 3}));
}

TEST(Autograd, FlowsThroughIntermediateValuesThatWereRealised) {
  const Tensor x = row({1, 2}).set_requires_grad(true);
  const Tensor h = (x * x).realize();
  const Tensor k = (h * x).realize();
  sum(k + h).realize().backward();
  EXPECT_EQ(x.grad().to_vector<float>(), (Floats{3 + 2, 12 + 4}));
}

TEST(Autograd, ASecondBackwardNeedsTheGraphToBeKept) {
  const Tensor x = row({1}).set_requires_grad(true);
  const Tensor loss = sum(x * x).realize();
  loss.backward({}, /*keep_graph=*/true);
  loss.backward();
  EXPECT_EQ(x.grad().item(), 4);
  EXPECT_NE(message_of([&] { loss.backward(); }).find("keep_graph"), std::string::npos);
}

TEST(Autograd, ASeedWeighsTheElements) {
  const Tensor x = row({1, 2}).set_requires_grad(true);
  const Tensor y = (x * x).realize();
  EXPECT_NE(message_of([&] { y.backward(); }).find("gradient must be given"), std::string::npos);
  EXPECT_THROW(y.backward(row({1, 2, 3})), AutogradError);
  y.backward(row({1, 10}));
  EXPECT_EQ(x.grad().to_vector<float>(), (Floats{2, 40}));
}

TEST(Autograd, DetachedValuesAreConstants) {
  const Tensor x = row({3}).set_requires_grad(true);
  sum(x * x.detach()).realize().backward();
  EXPECT_EQ(x.grad().item(), 3);
}

TEST(Autograd, NothingIsRecordedForGradientsUnderNoGrad) {
  const Tensor x = row({3}).set_requires_grad(true);
  const NoGrad guard;
  const Tensor y = (x * 2.0).realize();
  EXPECT_FALSE(y.requires_grad());
  EXPECT_THROW(y.backward(), AutogradError);
}

TEST(Autograd, RefusesLeavesThatCannotHaveGradients) {
  EXPECT_THROW(arange(0, 3).set_requires_grad(true), DTypeError);
  const Tensor x = row({3}).set_requires_grad(true);
  EXPECT_THROW((x * 2.0).set_requires_grad(true), ValueError);
  EXPECT_THROW(x.set_grad(row({1, 2})), AutogradError);
}

TEST(Autograd, ValueAndGradRecordsBothInOnePlan) {
  const std::vector<Tensor> arguments{row({1, 2, 3}), row({4, 5, 6})};
  const auto function = [](std::span<const Tensor> a) { return sum(exp(a[0]) * a[1]); };
  const ValueAndGrad result = value_and_grad(function, arguments);
  EXPECT_FALSE(result.value.is_realized());
  const int64_t before = session_stats().realizations;
  realize({result.value, result.gradients[0], result.gradients[1]});
  EXPECT_EQ(session_stats().realizations, before + 1);
  EXPECT_NEAR(result.gradients[0].to_vector<float>()[1], 5 * std::exp(2.0), 1e-4);
  EXPECT_NEAR(result.gradients[1].to_vector<float>()[2], std::exp(3.0), 1e-4);
}

TEST(Autograd, HigherOrdersNestWithoutConfusion) {
  const auto cube = [](std::span<const Tensor> a) { return sum(a[0] * a[0] * a[0]); };
  const auto slope = [&](std::span<const Tensor> a) { return sum(grad(cube, a)[0]); };
  const auto curve = [&](std::span<const Tensor> a) { return sum(grad(slope, a)[0]); };
  const std::vector<Tensor> x{row({2})};
  EXPECT_FLOAT_EQ(static_cast<float>(slope(x).item()), 12);
  EXPECT_FLOAT_EQ(static_cast<float>(curve(x).item()), 12);
  EXPECT_FLOAT_EQ(static_cast<float>(grad(curve, x)[0].item()), 6);
  // d/dx (x * d/dy (x + y)) is 1, not 2: the inner argument is another variable.
  const auto confusing = [](std::span<const Tensor> outer) {
    const Tensor o = outer[0];
    const auto inner = [o](std::span<const Tensor> a) { return sum(o + a[0]); };
    return sum(o * grad(inner, outer)[0]);
  };
  EXPECT_EQ(grad(confusing, x)[0].item(), 1);
}

TEST(Autograd, FunctionalGradientsMayRealiseInside) {
  const auto function = [](std::span<const Tensor> a) {
    const Tensor h = (a[0] * a[0]).realize();
    return sum(h * (h.to_vector<float>()[0] > 1 ? 2.0 : 3.0));
  };
  EXPECT_EQ(grad(function, std::vector<Tensor>{row({2})})[0].item(), 8);
  EXPECT_EQ(grad(function, std::vector<Tensor>{row({0.5f})})[0].item(), 3);
}

TEST(Autograd, AnArgumentWithoutInfluenceIsAnError) {
  const std::vector<Tensor> arguments{row({1}), row({2})};
  const auto function = [](std::span<const Tensor> a) { return sum(a[0]); };
  EXPECT_THROW(value_and_grad(function, arguments), AutogradError);
}

TEST(Autograd, ATrainingLoopCompilesOnceAndStaysSmall) {
  const Tensor w = row({5, -3}).set_requires_grad(true);
  int64_t compiled = 0;
  for (int i = 0; i < 200; ++i) {
    const Tensor loss = sum(square(w - row({1, 2}))).realize();
    loss.backward();
    {
      const NoGrad guard;
      w.assign(w - w.grad() * 0.1);
    }
    w.zero_grad();
    if (i == 1) compiled = session_stats().plans_compiled;
  }
  EXPECT_EQ(session_stats().plans_compiled, compiled);
  EXPECT_NEAR(w.to_vector<float>()[0], 1, 1e-4);
  EXPECT_NEAR(w.to_vector<float>()[1], 2, 1e-4);
  EXPECT_LT(session_stats().nodes, 3000);
}

TEST(Autograd, BackwardComputesNoProductOrReductionOfTheForwardPassAgain) {
  const Tensor x = randn({16, 8}), labels = randint(0, 4, {16});
  const Tensor w1 = randn({32, 8}).set_requires_grad(true);
  const Tensor w2 = randn({4, 32}).set_requires_grad(true);
  const Tensor gain = ones({32}).set_requires_grad(true);
  realize({x, labels});
  const auto products = [] { return session_stats().products; };
  const int64_t start = products();
  const Tensor hidden = layer_norm(gelu(linear(x, w1)), {32}, gain);
  const Tensor loss = cross_entropy(linear(hidden, w2), labels).realize();
  EXPECT_EQ(products() - start, 2);
  loss.backward();
  realize({w1.grad(), w2.grad(), gain.grad()});
  // The weights' gradients and the hidden layer's; nothing of the forward pass.
  EXPECT_EQ(products() - start, 2 + 3);
  // The same numbers as from one graph of both passes.
  const auto function = [&](std::span<const Tensor> p) {
    return cross_entropy(linear(layer_norm(gelu(linear(x, p[0])), {32}, p[2]), p[1]), labels);
  };
  const std::vector<Tensor> parameters{w1.detach(), w2.detach(), gain.detach()};
  const std::vector<Tensor> expected = grad(function, parameters);
  const std::vector<Tensor> leaves{w1, w2, gain};
  for (size_t i = 0; i < leaves.size(); ++i) {
    const Tensor difference = max(abs(leaves[i].grad() - expected[i]));
    EXPECT_LT(difference.item(), 1e-5);
  }
}

TEST(Autograd, WhatWasKeptForGradientsGoesWithThem) {
  const Tensor w = randn({64, 64}).set_requires_grad(true);
  const auto step = [&](bool is_trained) {
    const Tensor loss = sum(square(tanh(matmul(tanh(matmul(randn({256, 64}), w)), w)))).realize();
    if (is_trained) {
      loss.backward();
      w.grad().realize();
    }
    w.zero_grad();
  };
  step(true);
  int64_t most = 0;
  for (int i = 0; i < 200; ++i) {
    step(i % 3 != 0);
    most = std::max(most, session_stats().live_data);
  }
  // Collecting waits until a MiB or some hundred nodes are to be gained.
  EXPECT_LT(most, 200);
}

TEST(Autograd, KeptValuesSurviveCollectionsBetweenBackwardAndTheGradient) {
  const Tensor x = randn({64, 64}).realize(), w = randn({64, 64}).set_requires_grad(true);
  const Tensor loss = sum(square(tanh(matmul(tanh(matmul(x, w)), w)))).realize();
  loss.backward();
  for (int i = 0; i < 40; ++i) (randn({512, 512}) + i).realize();  // each one is due a collection
  const int64_t before = session_stats().products;
  w.grad().realize();
  EXPECT_EQ(session_stats().products - before, 3);
}

TEST(Autograd, DifferentiatesAChainOfAHundredThousandOperations) {
  const Tensor x = row({1}).set_requires_grad(true);
  const Tensor one = row({1});
  Tensor y = x;
  for (int i = 0; i < 100'000; ++i) y = i % 2 ? y * one : y + one;
  sum(y).realize().backward();
  EXPECT_EQ(x.grad().item(), 1);
}

}  // namespace
}  // namespace coregrad
