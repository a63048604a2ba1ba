// Functions that are recorded once: what calls read anew, what they change, and what is refused.

#include "coregrad/compiled_function.h"

#include "coregrad/coregrad.h"

#include <gtest/gtest.h>

#include <cmath>
#include <thread>

namespace coregrad {
namespace {

using Floats = std::vector<float>;
using Results = std::vector<Tensor>;

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

TEST(CompiledFunction, IsRecordedOnceForAShape) {
  int recorded = 0;
  const CompiledFunction f([&](std::span<const Tensor> x) -> Results {
    ++recorded;
    return {exp(x[0]) * 2.0, sum(x[0])};
  });
  for (int i = 0; i < 4; ++i) {
    const Results r = f({row({float(i), 1, 2})});
    EXPECT_TRUE(r[0].is_realized());
    EXPECT_NEAR(r[0].to_vector<float>()[0], 2 * std::exp(double(i)), 1e-4);
    EXPECT_EQ(r[1].item(), i + 3);
  }
  EXPECT_EQ(recorded, 1);
  f({row({1, 2, 3, 4})});
  f({row({1, 2, 3})});
  EXPECT_EQ(recorded, 2);
  EXPECT_EQ(f.report().size(), 2);
  EXPECT_EQ(f.report()[0].calls, 5);
  EXPECT_EQ(f.report()[0].signature, "f32[3]");
}

TEST(CompiledFunction, ReadsWhatIsOutsideAnew) {
  const Tensor scale = row({2});
  const CompiledFunction f([&](std::span<const Tensor> x) -> Results { return {x[0] * scale}; });
  EXPECT_EQ(f({row({3})})[0].item(), 6);
  scale.assign(row({5}));
  EXPECT_EQ(f({row({3})})[0].item(), 15);
  scale.assign(row({1}) + 6.0);  // pending
  EXPECT_EQ(f({row({3})})[0].item(), 21);
  EXPECT_EQ(f.report().size(), 1);
}

TEST(CompiledFunction, TensorsThatWereEqualWhenItWasRecordedMayDiffer) {
  const Tensor a = zeros({2}).realize(), b = zeros({2}).realize();
  const CompiledFunction f(
      [&](std::span<const Tensor> x) -> Results { return {x[0] + a * 2.0 + b * 3.0}; });
  EXPECT_EQ(f({row({1, 1})})[0].to_vector<float>(), (Floats{1, 1}));
  b.assign(row({1, 2}));
  EXPECT_EQ(f({row({1, 1})})[0].to_vector<float>(), (Floats{4, 7}));
  // Arguments that are one tensor once are others later.
  const CompiledFunction difference(
      [](std::span<const Tensor> x) -> Results { return {x[0] - x[1]}; });
  EXPECT_EQ(difference({b, b})[0].to_vector<float>(), (Floats{0, 0}));
  EXPECT_EQ(difference({b, a})[0].to_vector<float>(), (Floats{1, 2}));
}

TEST(CompiledFunction, ChangesWhatItAssignsAtEachCall) {
  const Tensor total = row({0});
  const CompiledFunction f([&](std::span<const Tensor> x) -> Results {
    const Tensor before = reshape(total, {1, 1});
    total.assign(total + x[0]);
    return {before, total * 10.0};
  });
  double sum = 0;
  for (int i = 1; i < 5; ++i) {
    const Results r = f({row({float(i)})});
    EXPECT_EQ(r[0].item(), sum);
    sum += i;
    EXPECT_EQ(r[1].item(), 10 * sum);
    EXPECT_EQ(total.item(), sum);
  }
  // An argument is changed as a tensor from outside is.
  const CompiledFunction g([](std::span<const Tensor> x) -> Results {
    x[0].assign(x[0] * 2.0);
    return {};
  });
  for (int i = 0; i < 3; ++i) g({total});
  EXPECT_EQ(total.item(), 80);
}

TEST(CompiledFunction, DrawsRandomNumbersAnew) {
  Generator generator(7), other(7);
  const CompiledFunction f([&](std::span<const Tensor> x) -> Results {
    return {x[0] + rand({4}, DType::Float32, generator)};
  });
  std::vector<Floats> seen;
  // Recording draws none.
  for (int i = 0; i < 3; ++i) {
    seen.push_back(f({zeros({4})})[0].to_vector<float>());
    EXPECT_EQ(seen.back(), rand({4}, DType::Float32, other).to_vector<float>());
  }
  EXPECT_NE(seen[0], seen[1]);
}

/// Losses of some steps, with a function that makes a step.
template <class MakeStep>
std::vector<double> train(MakeStep make_step) {
  Generator generator(3);
  const auto first = std::make_shared<nn::Linear>(5, 8, true, generator);
  const auto second = std::make_shared<nn::Linear>(8, 1, true, generator);
  const nn::Sequential model({first, std::make_shared<nn::ReLU>(), second});
  optim::Adam optimizer(model.parameters(), 0.05);
  const auto step = [&](std::span<const Tensor> batch) -> Results {
    optimizer.zero_grad();
    const Tensor loss = mse_loss(model(batch[0]), batch[1]).realize();
    loss.backward();
    optimizer.step();
    return {loss};
  };
  const auto run = make_step(step);
  std::vector<double> losses;
  for (int i = 0; i < 12; ++i) {
    Generator data(static_cast<uint64_t>(i));
    const int64_t n = i % 4 == 3 ? 6 : 16;  // a last batch that is smaller
    if (i == 8) optimizer.set_learning_rate(0.01);
    const Tensor x = rand({n, 5}, DType::Float32, data).realize();
    losses.push_back(run(std::vector<Tensor>{x, sum(x, {1}, true).realize()})[0].item());
  }
  losses.push_back(first->weight.grad().to_vector<double>()[3]);
  return losses;
}

TEST(CompiledFunction, IsAWholeTrainingStep) {
  const std::vector<double> expected = train([](auto step) { return step; });
  const std::vector<double> got = train([](auto step) { return CompiledFunction(step); });
  ASSERT_EQ(got.size(), expected.size());
  for (size_t i = 0; i < got.size(); ++i) EXPECT_NEAR(got[i], expected[i], 1e-5) << i;
  EXPECT_LT(got[11], got[0] / 4);
}

TEST(CompiledFunction, TrainsTwiceInOneCall) {
  const auto run = [](bool compiled) {
    const Tensor w = row({4}).set_requires_grad(true);
    optim::SGD optimizer({w}, 0.25);
    const CompiledFunction::Function twice = [&](std::span<const Tensor> x) -> Results {
      for (int i = 0; i < 2; ++i) {
        optimizer.zero_grad();
        sum(w * w * x[0]).realize().backward();
        optimizer.step();
      }
      return {w.detach()};
    };
    const CompiledFunction f(twice);
    const std::vector<Tensor> arguments = {row({0.5})};
    for (int i = 0; i < 3; ++i) compiled ? f(arguments) : twice(arguments);
    return w.item();
  };
  EXPECT_FLOAT_EQ(run(true), run(false));
  EXPECT_FLOAT_EQ(run(true), 4 * std::pow(0.75, 6));
}

TEST(CompiledFunction, GradientsAddUpAsTheyDoWithoutIt) {
  const Tensor w = row({1, 2}).set_requires_grad(true);
  const CompiledFunction f([&](std::span<const Tensor> x) -> Results {
    sum(w * x[0]).realize().backward();
    return {};
  });
  for (int i = 1; i < 4; ++i) {
    f({row({1, 10})});
    EXPECT_EQ(w.grad().to_vector<float>(), (Floats{float(i), 10 * float(i)}));
  }
  w.zero_grad();
  f({row({1, 10})});
  EXPECT_EQ(w.grad().to_vector<float>(), (Floats{1, 10}));
}

TEST(CompiledFunction, TakesFunctionalGradientsOfWhatItComputed) {
  const CompiledFunction f([](std::span<const Tensor> x) -> Results {
    const Tensor y = x[0] * x[0];
    const ValueAndGrad g = value_and_grad(
        [&](std::span<const Tensor> t) { return sum(t[0] * t[0] * y); }, std::vector<Tensor>{y});
    return {g.value, g.gradients[0]};
  });
  for (const float v : {2.f, 3.f}) {
    const Results r = f({row({v})});
    EXPECT_FLOAT_EQ(r[0].item(), std::pow(v, 6));
    EXPECT_FLOAT_EQ(r[1].item(), 2 * std::pow(v, 4));
  }
}

TEST(CompiledFunction, LeavesGradientsOfResultsToTheFunctionItself) {
  const Tensor w = row({3}).set_requires_grad(true);
  const CompiledFunction f([&](std::span<const Tensor> x) -> Results { return {x[0] * w}; });
  for (int i = 1; i < 3; ++i) {
    f({row({2})})[0].realize().backward();
    EXPECT_EQ(w.grad().item(), 2 * i);
  }
  EXPECT_FALSE(f.report()[0].reason.empty());
  const NoGrad guard;
  EXPECT_EQ(f({row({2})})[0].item(), 6);
  EXPECT_TRUE(f.report()[1].reason.empty());
}

TEST(CompiledFunction, GradientsFlowOnThroughWhatWasComputedOutside) {
  const Tensor w = row({3}).set_requires_grad(true), v = row({1}).set_requires_grad(true);
  for (int i = 1; i < 3; ++i) {
    const Tensor h = w * w;
    const CompiledFunction f([&](std::span<const Tensor> x) -> Results {
      const Tensor loss = sum(h * v * x[0]).realize();
      loss.backward();
      return {loss};
    });
    EXPECT_EQ(f({row({2})})[0].item(), 18);
    EXPECT_EQ(w.grad().item(), 12 * i);
    EXPECT_EQ(v.grad().item(), 18 * i);
  }
}

TEST(CompiledFunction, IsPartOfAnotherOne) {
  const CompiledFunction inner([](std::span<const Tensor> x) -> Results { return {x[0] + 1.0}; });
  const CompiledFunction outer(
      [&](std::span<const Tensor> x) -> Results { return {inner({x[0] * 2.0})[0] * 3.0}; });
  EXPECT_EQ(outer({row({4})})[0].item(), 27);
  EXPECT_TRUE(inner.report().empty());
}

TEST(CompiledFunction, GivesArgumentsOn) {
  const Tensor w = row({5});
  const CompiledFunction f([&](std::span<const Tensor> x) -> Results { return {x[0], w}; });
  EXPECT_EQ(f({row({1})})[0].item(), 1);
  EXPECT_EQ(f({row({2})})[0].item(), 2);
  EXPECT_EQ(f({row({2})})[1].item(), 5);
}

TEST(CompiledFunction, RefusesToTellValuesAndTensorsThatLeftIt) {
  const CompiledFunction asks(
      [](std::span<const Tensor> x) -> Results { return {x[0] * sum(x[0]).item()}; });
  EXPECT_NE(message_of([&] { asks({row({1, 2})}); }).find("asked for while"), std::string::npos);
  Tensor left;
  const CompiledFunction leaks([&](std::span<const Tensor> x) -> Results {
    left = x[0] * 2.0;
    return {left};
  });
  leaks({row({1})});
  EXPECT_NE(message_of([&] { left.item(); }).find("return it from the function"),
            std::string::npos);
  EXPECT_NE(message_of([&] { left + 1.0; }).find("return it from the function"), std::string::npos);
  // What failed leaves nothing behind.
  EXPECT_EQ((row({1}) + 1.0).item(), 2);
}

TEST(CompiledFunction, ReadsMemoryAsItLies) {
  const CompiledFunction f([](std::span<const Tensor> x) -> Results { return {x[0] * 2.0}; });
  Floats memory = {1, 2, 3, 4, 5, 6};
  const auto matrix = [&](Dims strides) {
    return from_memory(memory.data(), 24, DType::Float32, {2, 2}, strides, nullptr);
  };
  EXPECT_EQ(f({matrix({2, 1})})[0].to_vector<float>(), (Floats{2, 4, 6, 8}));
  EXPECT_EQ(f({matrix({1, 2})})[0].to_vector<float>(), (Floats{2, 6, 4, 8}));
  EXPECT_EQ(f({matrix({3, 1})})[0].to_vector<float>(), (Floats{2, 4, 8, 10}));
}

TEST(CompiledFunction, RunsFromManyThreadsAtOnce) {
  const Tensor w = row({2});
  const CompiledFunction f([&](std::span<const Tensor> x) -> Results { return {x[0] * w}; });
  std::vector<std::thread> threads;
  std::vector<int> wrong(4);
  for (int t = 0; t < 4; ++t)
    threads.emplace_back([&, t] {
      for (int i = 0; i < 200; ++i) {
        const Tensor mine = row({float(i)}) + w;  // records beside the others
        wrong[t] += f({row({float(i)})})[0].item() != 2 * i;
        wrong[t] += mine.item() != i + 2;
      }
    });
  for (std::thread& t : threads) t.join();
  EXPECT_EQ(wrong, std::vector<int>(4));
}

}  // namespace
}  // namespace coregrad
