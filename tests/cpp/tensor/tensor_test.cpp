// The lazy tensor: recording, realisation, plan reuse, memory.

#include "coregrad/coregrad.h"
#include "tensor/session.h"

#include <gtest/gtest.h>

#include <cmath>
#include <thread>

namespace coregrad {
namespace {

using Floats = std::vector<float>;

Tensor row(std::initializer_list<float> values) {
  return from_vector(Floats(values), {static_cast<int64_t>(values.size())});
}

TEST(Tensor, ComputesNothingUntilAskedFor) {
  const SessionStats before = session_stats();
  const Tensor y = exp(row({0, 1, 2})) + 1.0;
  EXPECT_FALSE(y.is_realized());
  EXPECT_EQ(session_stats().realizations, before.realizations);
  const Floats values = y.to_vector<float>();
  EXPECT_TRUE(y.is_realized());
  for (size_t i = 0; i < 3; ++i) EXPECT_NEAR(values[i], std::exp(double(i)) + 1, 1e-5);
}

TEST(Tensor, KnowsShapeAndDtypeBeforeRealisation) {
  const Tensor y = sum(broadcast_to(row({1, 2, 3}), {4, 3}), {0}) * 2;
  EXPECT_EQ(y.shape(), (Dims{3}));
  EXPECT_EQ(y.dtype(), DType::Float32);
  EXPECT_EQ(y.strides(), (Dims{1}));
  EXPECT_EQ(y.to_vector<float>(), (Floats{8, 16, 24}));
}

TEST(Tensor, PromotesNumbersByCategory) {
  const Tensor whole = from_vector(std::vector<int32_t>{1, 2}, {2});
  EXPECT_EQ((whole + 1).dtype(), DType::Int32);
  EXPECT_EQ((whole + 0.5).dtype(), DType::Float32);
  EXPECT_EQ((whole / 2).dtype(), DType::Float32);
  EXPECT_EQ((cast(whole, DType::Bool) + 1).dtype(), DType::Int64);
  EXPECT_EQ((whole / 2).to_vector<float>(), (Floats{0.5f, 1.0f}));
}

TEST(Tensor, NamesTheOperationInErrors) {
  try {
    add(row({1, 2}), row({1, 2, 3}));
    FAIL() << "shapes do not broadcast";
  } catch (const ShapeError& e) {
    EXPECT_NE(std::string(e.what()).find("add"), std::string::npos) << e.what();
  }
  EXPECT_THROW(exp(Tensor()), ValueError);
  EXPECT_THROW(row({1, 2}).item(), ValueError);
  EXPECT_THROW(select(row({1, 2}), 0, 2), IndexError);
}

TEST(Tensor, ASecondIterationCompilesNothing) {
  Tensor x = row({1, 2, 3});
  const auto step = [&] { x = (sqrt(x * x + 1.0) - 0.5).realize(); };
  step();
  const SessionStats before = session_stats();
  for (int i = 0; i < 10; ++i) step();
  const SessionStats after = session_stats();
  EXPECT_EQ(after.plans_compiled, before.plans_compiled);
  EXPECT_EQ(after.plan_hits, before.plan_hits + 10);
}

TEST(Tensor, RealisesTogetherInOnePlan) {
  const Tensor x = row({1, 2, 3});
  const Tensor a = exp(x), b = a * 2.0, c = a + b;
  const int64_t before = session_stats().realizations;
  realize({b, c, a, c});
  EXPECT_EQ(session_stats().realizations, before + 1);
  EXPECT_TRUE(a.is_realized() && b.is_realized() && c.is_realized());
  EXPECT_NEAR(c.to_vector<float>()[0], 3 * std::exp(1.0), 1e-5);
}

TEST(Tensor, ReadsRealisedSubexpressionsInsteadOfComputingThemAgain) {
  const Tensor x = row({1, 2, 3});
  const Tensor a = log(x + 1.0);
  const Tensor b = a * 3.0;
  a.realize();
  const int64_t before = session_stats().plans_compiled;
  b.realize();
  // The plan of `data * 3` alone; made again for other data it is found.
  const Tensor other = (row({4, 5, 6}) * 3.0).realize();
  EXPECT_LE(session_stats().plans_compiled, before + 1);
  EXPECT_EQ(other.to_vector<float>(), (Floats{12, 15, 18}));
  EXPECT_NEAR(b.to_vector<float>()[2], 3 * std::log(4.0), 1e-5);
}

TEST(Tensor, ALongLoopKeepsTheGraphAndItsDataSmall) {
  {
    // How much may pile up is measured by what the last collection left: not that of other tests.
    Session& session = Session::global();
    const Session::Lock lock(session);
    session.collect();
  }
  Tensor x = zeros({16});
  for (int i = 0; i < 3000; ++i) x = (x * 0.5 + 1.0).realize();
  EXPECT_NEAR(x.to_vector<float>()[0], 2.0, 1e-5);
  EXPECT_LT(session_stats().nodes, 4000);
  EXPECT_LT(session_stats().live_data, 2000);
}

TEST(Tensor, AChainOfAMillionOperationsRunsOnASmallStack) {
  Tensor x = row({0});
  const Tensor one = row({1});
  for (int i = 0; i < 1'000'000; ++i) x = i % 2 ? x * one : x + one;
  EXPECT_EQ(x.item(), 500000);
}

TEST(Tensor, ReadsForeignMemoryInPlaceWithItsStrides) {
  auto owner = std::make_shared<Floats>(Floats{1, 2, 3, 4, 5, 6});
  const std::weak_ptr<Floats> watch = owner;
  {
    const Tensor t = from_memory(owner->data(), 24, DType::Float32, {3, 2}, {1, 3}, owner);
    owner.reset();
    EXPECT_FALSE(t.is_contiguous());
    EXPECT_EQ(t.strides(), (Dims{1, 3}));
    EXPECT_EQ(t.to_vector<float>(), (Floats{1, 4, 2, 5, 3, 6}));
    EXPECT_EQ((t * 2.0).to_vector<float>(), (Floats{2, 8, 4, 10, 6, 12}));
    EXPECT_EQ(t.data(), watch.lock()->data());
  }
}

TEST(Tensor, RejectsStridesThatLeaveTheStorage) {
  Floats values(6);
  EXPECT_THROW(from_memory(values.data(), 24, DType::Float32, {3, 2}, {1, 4}, nullptr),
               LayoutError);
  EXPECT_THROW(from_memory(values.data(), 24, DType::Float32, {2}, {-1}, nullptr), LayoutError);
  EXPECT_THROW(from_memory(values.data(), 24, DType::Float32, {2}, {INT64_MAX}, nullptr), Error);
}

TEST(Tensor, CreatesRanges) {
  EXPECT_EQ(arange(2, 8, 2).to_vector<int64_t>(), (std::vector<int64_t>{2, 4, 6}));
  EXPECT_EQ(arange(3, 0, -1).to_vector<int64_t>(), (std::vector<int64_t>{3, 2, 1}));
  EXPECT_EQ(linspace(-1, 1, 5).to_vector<float>(), (Floats{-1, -0.5f, 0, 0.5f, 1}));
  EXPECT_EQ(linspace(0, 1, 1).to_vector<float>(), (Floats{0}));
  EXPECT_EQ(eye(2, 3).to_vector<float>(), (Floats{1, 0, 0, 0, 1, 0}));
  EXPECT_EQ(arange(0, 1, 0.25).to_vector<float>(), (Floats{0, 0.25f, 0.5f, 0.75f}));
  EXPECT_EQ(arange(0, 3, 1, DType::Float64).dtype(), DType::Float64);
  EXPECT_EQ(arange(0.0, 3.0).dtype(), DType::Float32);
  EXPECT_EQ(arange(size_t{2}).to_vector<int64_t>(), (std::vector<int64_t>{0, 1}));
  constexpr int64_t kLarge = int64_t{1} << 62;
  EXPECT_EQ(arange(kLarge, kLarge + 3, 2).to_vector<int64_t>(),
            (std::vector<int64_t>{kLarge, kLarge + 2}));
  EXPECT_EQ(linspace(0, 1, 4, DType::Float32, false).to_vector<float>(),
            (Floats{0, 0.25f, 0.5f, 0.75f}));
  EXPECT_EQ(eye(2, 3, DType::Float32, 1).to_vector<float>(), (Floats{0, 1, 0, 0, 0, 1}));
  EXPECT_THROW(arange(0, 1, 0), ValueError);
  EXPECT_THROW(arange(0, 1, 0.25, DType::Int64), ValueError);
  EXPECT_THROW(arange(0x1p60, 0x1p60 + 4096, 1024, DType::Int64), ValueError);
}

TEST(Tensor, FullTakesTheDtypeOfItsNumber) {
  EXPECT_EQ(full({2}, 3).to_vector<int64_t>(), (std::vector<int64_t>{3, 3}));
  EXPECT_EQ(full({1}, 3).dtype(), DType::Int64);
  EXPECT_EQ(full({1}, true).dtype(), DType::Bool);
  EXPECT_EQ(full({1}, 0.5f).dtype(), DType::Float32);
  EXPECT_EQ(full({1}, 3, DType::UInt8).dtype(), DType::UInt8);
  EXPECT_EQ(full({1}, Scalar::of(DType::Float64, 3)).dtype(), DType::Float64);
  EXPECT_THROW(full({1}, 300, DType::UInt8), ValueError);
  EXPECT_THROW(full({1}, ~uint64_t{0}), ValueError);
}

TEST(Tensor, NumbersOfAnyTypeStandOnEitherSide) {
  const Tensor whole = arange(3);
  for (const Tensor& x : {1 + whole, whole + 1, 1LL + whole, whole + 1LL, whole * size_t{1},
                          uint8_t{1} * whole, 3 - whole, whole - 3})
    EXPECT_EQ(x.dtype(), DType::Int64);
  EXPECT_EQ((3 - whole).to_vector<int64_t>(), (std::vector<int64_t>{3, 2, 1}));
  EXPECT_EQ((1.0F + whole).dtype(), DType::Float32);
  EXPECT_EQ((2 / whole).dtype(), DType::Float32);
  EXPECT_EQ((true + whole).dtype(), DType::Int64);
  EXPECT_THROW(whole * ~uint64_t{0}, ValueError);
}

TEST(Tensor, AnUndefinedTensorIsNoNumber) {
  const Tensor x = row({1, 2}), none;
  const auto message = [](auto call) -> std::string {
    try {
      call();
    } catch (const ValueError& e) {
      return e.what();
    }
    return "no error";
  };
  EXPECT_EQ(message([&] { x* none; }), "mul: the tensor is undefined");
  EXPECT_EQ(message([&] { none + 1; }), "add: the tensor is undefined");
  EXPECT_EQ(message([&] { none + none; }), "add: the tensor is undefined");
  EXPECT_EQ(message([&] { matmul(x, none); }), "matmul: the tensor is undefined");
  EXPECT_EQ(message([&] { exp(none); }), "exp: the tensor is undefined");
  EXPECT_EQ(message([&] { where(x, none, 1); }), "where: the tensor is undefined");
  EXPECT_EQ(message([&] { clamp(x, none); }), "clamp: the tensor is undefined");
}

TEST(Tensor, IndexesByTensorsOfPlaces) {
  const Tensor x = reshape(arange(12), {3, 4});
  const auto at = [](std::vector<int64_t> values) {
    return from_vector(values, {static_cast<int64_t>(values.size())});
  };
  EXPECT_EQ(index(x, std::vector{at({0, -1}), at({1, 2})}).to_vector<int64_t>(),
            (std::vector<int64_t>{1, 10}));
  EXPECT_EQ(index(x, std::vector{at({1})}).shape(), (Dims{1, 4}));
  EXPECT_THROW(index(x, std::vector{at({3})}).realize(), IndexError);
  EXPECT_EQ(squeeze(reshape(x, {1, 12, 1})).shape(), (Dims{12}));
}

TEST(Tensor, RandomNumbersFollowTheSeedAndReuseTheirPlan) {
  manual_seed(7);
  const Floats a = rand({100}).to_vector<float>();
  const int64_t compiled = session_stats().plans_compiled;
  const Floats b = rand({100}).to_vector<float>();
  EXPECT_EQ(session_stats().plans_compiled, compiled);
  EXPECT_NE(a, b);
  manual_seed(7);
  EXPECT_EQ(rand({100}).to_vector<float>(), a);
  for (float v : a) EXPECT_TRUE(v >= 0 && v < 1);
}

TEST(Tensor, NormalNumbersHaveTheirMoments) {
  manual_seed(1);
  const Tensor x = randn({20000});
  EXPECT_NEAR(mean(x).item(), 0, 0.03);
  EXPECT_NEAR(coregrad::std(x).item(), 1, 0.03);
}

TEST(Tensor, ReducesAsPyTorchDoes) {
  const Tensor x = reshape(arange(0, 6, 1, DType::Float32), {2, 3});
  EXPECT_EQ(mean(x, {1}).to_vector<float>(), (Floats{1, 4}));
  EXPECT_EQ(var(x, {1}).to_vector<float>(), (Floats{1, 1}));
  EXPECT_EQ(argmax(x, 1).to_vector<int64_t>(), (std::vector<int64_t>{2, 2}));
  EXPECT_EQ(cumsum(x, 0).to_vector<float>(), (Floats{0, 1, 2, 3, 5, 7}));
  EXPECT_EQ(max(x, {0}, true).shape(), (Dims{1, 3}));
  EXPECT_THROW(mean(arange(0, 3)), DTypeError);
}

TEST(Tensor, SlicesSelectsAndJoins) {
  const Tensor x = reshape(arange(0, 12), {3, 4});
  EXPECT_EQ(slice(x, 1, -2, 100).to_vector<int64_t>(), (std::vector<int64_t>{2, 3, 6, 7, 10, 11}));
  EXPECT_EQ(select(x, 0, -1).to_vector<int64_t>(), (std::vector<int64_t>{8, 9, 10, 11}));
  EXPECT_EQ(split(x, 2).size(), 2u);
  const Tensor again = concat(split(x, 2));
  EXPECT_EQ(again.to_vector<int64_t>(), x.to_vector<int64_t>());
  EXPECT_EQ(stack(std::vector<Tensor>{x, x}, 1).shape(), (Dims{3, 2, 4}));
  EXPECT_EQ(sort(row({3, 1, 2}), 0, true).to_vector<float>(), (Floats{3, 2, 1}));
}

TEST(Tensor, ThreadsRecordAndRealiseAtTheSameTime) {
  std::vector<std::thread> threads;
  std::vector<double> results(4);
  const Tensor shared = row({1, 2, 3});
  for (size_t t = 0; t < results.size(); ++t)
    threads.emplace_back([&, t] {
      Tensor x = shared;
      for (int i = 0; i < 50; ++i) x = (x + double(t)).realize();
      results[t] = sum(x).item();
    });
  for (std::thread& t : threads) t.join();
  for (size_t t = 0; t < results.size(); ++t) EXPECT_EQ(results[t], 6 + 150.0 * double(t));
}

TEST(Realize, ARealisedConstantDoesNotChangeOtherStructures) {
  const auto clipped = [] { return maximum(rand({3, 5}), zeros({3, 5})).realize(); };
  clipped();
  const Tensor zero = zeros({3, 5}).realize();
  const int64_t compiled = session_stats().plans_compiled;
  clipped();
  EXPECT_EQ(session_stats().plans_compiled, compiled);
}

}  // namespace
}  // namespace coregrad
