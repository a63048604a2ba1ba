// Groups, state and what goes with optimisers. That their formulas are PyTorch's is tested in
// Python.

#include "coregrad/coregrad.h"

#include <gtest/gtest.h>

#include <cmath>

namespace coregrad {
namespace {

using optim::StateDict;
using Doubles = std::vector<double>;

Tensor leaf(Doubles values) {
  const auto size = static_cast<int64_t>(values.size());
  return from_vector(values, {size}).set_requires_grad(true);
}

/// sum((w - 1)^2).
Tensor bowl(const Tensor& w) { return sum(square(w - 1.0)); }

void take_steps(optim::Optimizer& optimizer, int count) {
  for (int i = 0; i < count; ++i) {
    optimizer.step([&] {
      optimizer.zero_grad();
      Tensor loss;
      for (const Tensor& p : optimizer.parameters())
        loss = loss.is_defined() ? loss + bowl(p) : bowl(p);
      loss.realize().backward();
      return loss;
    });
  }
}

template <class E, class Function>
std::string message_of(Function function) {
  try {
    function();
  } catch (const E& error) {
    return error.what();
  }
  return "nothing was thrown";
}

constexpr const char* kAlgorithms[] = {"Adadelta", "Adagrad", "Adam",  "AdamW",   "Adamax", "LBFGS",
                                       "Lion",     "NAdam",   "RAdam", "RMSprop", "SGD"};

TEST(Optimizer, EachAlgorithmIsMadeByNameAndComesNearer) {
  for (const char* name : kAlgorithms) {
    const auto optimizer = optim::make_optimizer(name);
    EXPECT_EQ(optimizer->name(), name);
    const Tensor w = leaf({3, -2});
    optimizer->add_param_group({w});
    const double before = bowl(w).item();
    take_steps(*optimizer, 10);
    EXPECT_LT(bowl(w).item(), before) << name;
  }
  EXPECT_EQ(message_of<ValueError>([] { optim::make_optimizer("Adan"); }),
            "make_optimizer: there is no algorithm 'Adan'");
}

TEST(Optimizer, GoesOnBitwiseFromWhatWasSaved) {
  for (const char* name : kAlgorithms) {
    const Tensor whole = leaf({3, -2}), w = leaf({3, -2});
    const auto straight = optim::make_optimizer(name), begun = optim::make_optimizer(name);
    straight->add_param_group({whole});
    begun->add_param_group({w});
    take_steps(*straight, 8);
    take_steps(*begun, 5);
    const StateDict saved = begun->state_dict();
    const Tensor resumed_at = leaf(w.to_vector<double>());
    take_steps(*begun, 2);
    const auto resumed = optim::make_optimizer(name);
    resumed->add_param_group({resumed_at}, {{"lr", 0.75}});
    resumed->load_state_dict(saved);
    take_steps(*resumed, 3);
    EXPECT_EQ(resumed_at.to_vector<double>(), whole.to_vector<double>()) << name;
    EXPECT_EQ(resumed->learning_rate(), straight->learning_rate()) << name;
  }
}

TEST(Optimizer, GroupsHaveTheirOwnNumbers) {
  const Tensor a = leaf({1}), b = leaf({1});
  optim::SGD optimizer({a}, 0.5);
  optimizer.add_param_group({b}, {{"lr", 0.25}, {"maximize", true}});
  sum(a * 2.0 + b * 2.0).realize().backward();
  optimizer.step();
  EXPECT_EQ(a.item(), 0);
  EXPECT_EQ(b.item(), 1.5);
  optimizer.set(1, {{"maximize", false}, {"lr", int64_t{1}}});
  optimizer.step();
  EXPECT_EQ(a.item(), -1);
  EXPECT_EQ(b.item(), -0.5);
  EXPECT_EQ(optimizer.parameters().size(), 2u);
}

TEST(Optimizer, NamesTheRuleThatIsBroken) {
  const Tensor w = leaf({1});
  optim::Adam optimizer({w}, 0.1);
  EXPECT_EQ(message_of<ValueError>([&] { optimizer.add_param_group({w}); }),
            "Adam: a parameter was given twice: f64[1]");
  EXPECT_EQ(message_of<ValueError>([&] { optimizer.add_param_group({zeros({2})}); }),
            "Adam: a parameter must require a gradient, got f32[2] that does not");
  EXPECT_EQ(message_of<ValueError>([&] { optimizer.set(0, {{"momentum", 0.9}}); }),
            "Adam: there is no hyperparameter 'momentum'");
  EXPECT_EQ(message_of<ValueError>([&] { optimizer.set(0, {{"lr", std::string("fast")}}); }),
            "Adam: lr must be a number, got 'fast'");
  EXPECT_EQ(message_of<ValueError>([&] { optim::Adam({leaf({1})}, 0.1, {.beta2 = -0.5}); }),
            "Adam: betas must be in [0, 1), got (0.9, -0.5)");
  optim::LBFGS search({leaf({1})});
  EXPECT_EQ(message_of<ValueError>([&] { search.step(); }),
            "LBFGS: a step needs a closure, which it calls more than once");
}

TEST(Optimizer, ACompiledStepCountsForEachParameter) {
  const Tensor always = leaf({3}), sometimes = leaf({3}), plain_always = leaf({3}),
               plain_sometimes = leaf({3});
  optim::Adam optimizer({always, sometimes}, 0.1), plain({plain_always, plain_sometimes}, 0.1);
  const auto run = [](optim::Adam& o, const Tensor& loss) {
    loss.realize().backward();
    o.step();
    o.zero_grad();
    return std::vector<Tensor>{loss};
  };
  int recordings = 0;
  const CompiledFunction both([&](std::span<const Tensor> x) {
    ++recordings;
    return run(optimizer, bowl(always * x[0]) + bowl(sometimes));
  });
  const CompiledFunction one([&](std::span<const Tensor> x) {
    ++recordings;
    return run(optimizer, bowl(always * x[0]));
  });
  const Tensor two = from_vector(Doubles{2}, {1});
  for (int i = 0; i < 9; ++i) {
    if (i % 3 == 0) {
      both({two});
      run(plain, bowl(plain_always * two) + bowl(plain_sometimes));
    } else {
      one({two});
      run(plain, bowl(plain_always * two));
    }
  }
  EXPECT_EQ(recordings, 2);
  EXPECT_NEAR(always.item(), plain_always.item(), 1e-12);
  EXPECT_NEAR(sometimes.item(), plain_sometimes.item(), 1e-12);
  EXPECT_GT(std::abs(sometimes.item() - always.item()), 0.1);
}

TEST(ClipGrad, ScalesByTheNormOfAll) {
  const Tensor a = leaf({0}), b = leaf({0, 0}), none = leaf({0});
  a.set_grad(from_vector(Doubles{3}, {1}));
  b.set_grad(from_vector(Doubles{0, 4}, {2}));
  const std::vector<Tensor> parameters = {a, b, none};
  const Tensor norm = nn::clip_grad_norm_(parameters, 1);
  EXPECT_FALSE(norm.is_realized());
  EXPECT_EQ(norm.item(), 5);
  EXPECT_NEAR(a.grad().item(), 3 / (5 + 1e-6), 1e-12);
  EXPECT_FALSE(none.grad().is_defined());
  nn::clip_grad_value_(parameters, 0.25);
  EXPECT_EQ(b.grad().to_vector<double>(), (Doubles{0, 0.25}));
}

TEST(ParameterAverages, AreAppliedAndTakenBack) {
  const Tensor w = leaf({2});
  optim::ParameterAverages averages({w}, 0.75);
  averages.update();
  w.assign(from_vector(Doubles{6}, {1}));
  averages.update();
  const std::vector<Tensor> before = averages.apply();
  EXPECT_EQ(w.item(), 3);
  averages.restore(before);
  EXPECT_EQ(w.item(), 6);
  EXPECT_EQ(averages.averages()[0].item(), 3);
  EXPECT_EQ(averages.count(), 2);
}

}  // namespace
}  // namespace coregrad
