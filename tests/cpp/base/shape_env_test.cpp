#include "base/shape_env.h"

#include "base/checked.h"
#include "base/size_program.h"

#include <gtest/gtest.h>

#include <functional>
#include <random>

namespace coregrad {
namespace {

constexpr SizeBounds kFromTwo{2, kUnbounded};

struct TwoSymbols : testing::Test {
  ShapeEnv env;
  SymInt s = env.symbol("s", kFromTwo, 257), t = env.symbol("t", kFromTwo, 263);

  bool has_guards() const { return !env.guards().empty(); }
};
using SymIntTest = TwoSymbols;

TEST(SymIntNumbers, ComputeAsIntegersDo) {
  const SymInt a = 7, b = -3;
  EXPECT_EQ((a + b).number(), 4);
  EXPECT_EQ((a - b).number(), 10);
  EXPECT_EQ((a * b).number(), -21);
  EXPECT_EQ(floor_div(b, 2).number(), -2);
  EXPECT_EQ(floor_mod(b, 2).number(), 1);
  EXPECT_EQ(max(a, b).number(), 7);
  EXPECT_TRUE(b < a);
  EXPECT_THROW(floor_div(a, 0), ShapeError);
  EXPECT_THROW(SymInt(INT64_MIN), ShapeError);
  EXPECT_EQ(SymInt(INT64_MAX).number(), INT64_MAX);
}

TEST_F(SymIntTest, EqualPolynomialsAreOneExpression) {
  EXPECT_TRUE(((s + 1) * (s + 1)).is_identical(1 + s * s + 2 * s));
  EXPECT_TRUE((s * t - t * s).is_identical(0));
  EXPECT_TRUE((s + 3 - s).is_identical(3));
  EXPECT_TRUE((s + t).is_identical(t + s));
  EXPECT_FALSE(s.is_identical(t));
  EXPECT_EQ((4 * s * t - s + 1).to_text(), "4*s*t - s + 1");
  EXPECT_EQ((-s).to_text(), "-s");
  EXPECT_EQ((2 * s * t).hint(), 2 * 257 * 263);
  EXPECT_FALSE(has_guards());
}

TEST_F(SymIntTest, QuotientsAreTakenAsFarAsPolynomialsDivide) {
  EXPECT_TRUE(floor_div(8 * s * t, 8 * t).is_identical(s));
  EXPECT_TRUE(floor_div(8 * s + 5, 8).is_identical(s));
  EXPECT_TRUE(floor_mod(8 * s + 5, 8).is_identical(5));
  EXPECT_TRUE(floor_div(8 * s - 3, 8).is_identical(s - 1));
  EXPECT_TRUE(floor_div(s * t + t, s + 1).is_identical(t));
  EXPECT_TRUE(floor_div(s * t + s - 1, s).is_identical(t));
  EXPECT_TRUE(floor_mod(s * t + s - 1, s).is_identical(s - 1));
  EXPECT_TRUE(floor_div(4 * s + 2, 8).is_identical(floor_div(2 * s + 1, 4)));
  EXPECT_TRUE(floor_div(floor_div(s, 3), 5).is_identical(floor_div(s, 15)));
  EXPECT_TRUE(floor_div(s + 16, 8).is_identical(floor_div(s, 8) + 2));
  EXPECT_TRUE(floor_mod(6 * s, 8).is_identical(2 * floor_mod(3 * s, 4)));
  EXPECT_EQ(ceil_div(s, 8).to_text(), "((s + 7) // (8))");
  EXPECT_FALSE(has_guards());
}

TEST_F(SymIntTest, WhatBoundsProveNeedsNoGuard) {
  EXPECT_TRUE(s > 1);
  EXPECT_FALSE(s == 1);
  EXPECT_FALSE(s * t == 0);
  EXPECT_TRUE(s * t - t >= 2);
  EXPECT_TRUE(s * s >= s);
  EXPECT_TRUE(floor_div(s, 8) >= 0);
  EXPECT_TRUE(floor_mod(s, 8) < 8);
  EXPECT_TRUE(s == s + t - t);
  EXPECT_TRUE(max(s, 0).is_identical(s));
  EXPECT_TRUE(min(s, s + t).is_identical(s));
  EXPECT_TRUE(max(s, 5) >= 5);
  EXPECT_EQ((3 * s + 1).lower_bound(), 7);
  EXPECT_EQ(s.upper_bound(), kUnbounded);
  EXPECT_FALSE(has_guards());
}

TEST_F(SymIntTest, WhatIsRoundedToMultiplesLiesNearWhatItWas) {
  const SymInt parts = max(min(s, floor_div(s * t, 8192)), 1);
  EXPECT_TRUE(round_up(s, parts) >= s);
  EXPECT_TRUE(floor_div(s, parts) * parts <= s);
  EXPECT_TRUE(s - floor_div(s, parts) * parts >= 0);
  EXPECT_TRUE(round_up(s * t, 8) < s * t + 8);
  EXPECT_TRUE(floor_mod(s, t) < t);
  EXPECT_TRUE(t * floor_div(s, t) + t > s);
  EXPECT_TRUE((round_up(s, parts) / parts).is_identical(ceil_div(s, parts)));
  EXPECT_TRUE(SymInt::is_at_most(floor_div(s, 2), s));
  EXPECT_TRUE(SymInt::is_at_most(1, s - floor_div(2 * s, 3)));
  EXPECT_TRUE(SymInt::is_at_most(floor_div(s, 2) + floor_div(s, 3), s));
  EXPECT_FALSE(SymInt::is_at_most(floor_div(s, 2) + floor_div(2 * s, 3), s));
  EXPECT_FALSE(SymInt::is_at_most(s, t * floor_div(s, t)));
  EXPECT_FALSE(SymInt::is_at_most(round_up(s, parts), s));
  EXPECT_FALSE(SymInt::is_at_most(floor_mod(s, t) + 1, floor_mod(s, t)));
  EXPECT_FALSE(SymInt::is_at_most(t, floor_mod(s, t) + 1));
  EXPECT_FALSE(has_guards());
}

TEST_F(SymIntTest, AnExtremeIsOneOfItsOperandsAndBeyondNeither) {
  const SymInt half = floor_div(s, 2), least = min(half, t), most = max(half, t);
  EXPECT_TRUE(SymInt::is_at_most(2 * least, s));
  EXPECT_TRUE(SymInt::is_at_most(least, most));
  EXPECT_TRUE(SymInt::is_at_most(t, most + 1));
  EXPECT_TRUE(SymInt::is_at_most(least * t, t * t));
  EXPECT_TRUE(SymInt::is_at_most(1, least));
  EXPECT_FALSE(SymInt::is_at_most(t, least));
  EXPECT_FALSE(SymInt::is_at_most(most, half));
  EXPECT_FALSE(has_guards());
}

TEST_F(SymIntTest, WhatCannotBeProvenFallsByHintsAndIsGuarded) {
  EXPECT_FALSE(s == t);
  EXPECT_FALSE(s == t);
  EXPECT_FALSE(t == s);
  EXPECT_TRUE(s != t);
  EXPECT_EQ(env.guards(), std::vector<std::string>{"s - t != 0"});
  EXPECT_TRUE(env.admits(std::vector<int64_t>{5, 6}));
  EXPECT_FALSE(env.admits(std::vector<int64_t>{5, 5}));
  EXPECT_FALSE(env.admits(std::vector<int64_t>{1, 5}));
  EXPECT_EQ(env.refusal(std::vector<int64_t>{5, 5}), "s - t != 0 does not hold");

  EXPECT_TRUE(4 * s > 100);
  EXPECT_TRUE(s >= 20);  // known from the line before
  EXPECT_EQ(env.guards(), (std::vector<std::string>{"s >= 26", "s - t != 0"}));
  EXPECT_TRUE(s * t < 1'000'000);
  EXPECT_TRUE(s * t < 1'000'001);
  EXPECT_FALSE(s * t >= 2'000'000);
  EXPECT_EQ(env.guards().size(), 3);
  EXPECT_FALSE(env.admits(std::vector<int64_t>{1000, 1001}));
}

TEST_F(SymIntTest, ASpecialisedSizeHasOneValue) {
  EXPECT_EQ(s.specialized(), 257);
  EXPECT_EQ((s * 2).specialized(), 514);
  EXPECT_EQ(env.guards(), (std::vector<std::string>{"s >= 257", "s <= 257"}));
  EXPECT_EQ((s * t).specialized(), 257 * 263);
  EXPECT_EQ(env.guards().size(), 3);
  EXPECT_FALSE(env.admits(std::vector<int64_t>{257, 264}));
  EXPECT_TRUE(env.admits(std::vector<int64_t>{257, 263}));
}

TEST_F(SymIntTest, QuestionsAloneLeaveNoGuard) {
  EXPECT_FALSE(SymInt::are_equal(s, t));
  EXPECT_FALSE(SymInt::is_at_most(s, t));
  EXPECT_TRUE(SymInt::is_at_most(s, s + 1));
  EXPECT_FALSE(has_guards());
}

TEST_F(SymIntTest, NumbersThatNoSizeComesNearAreLargerWithoutAGuard) {
  for (const int64_t far : {INT64_MAX, kUnbounded}) {
    EXPECT_TRUE(s < far && s != far && -kUnbounded < s);
    EXPECT_TRUE(SymInt::is_at_most(s, far) && !SymInt::is_at_most(far, s));
    EXPECT_TRUE(min(s, SymInt(far)).is_identical(s) && max(SymInt(-kUnbounded), s).is_identical(s));
  }
  EXPECT_EQ(env.guards(), std::vector<std::string>{});
}

TEST_F(SymIntTest, AClosedEnvironmentDecidesWhatIsProvenOnly) {
  env.close();
  EXPECT_TRUE(s >= 2);
  EXPECT_THROW((void)(s < 100), InternalError);
  EXPECT_THROW((void)s.specialized(), InternalError);
}

TEST_F(SymIntTest, AProgramComputesWhatSizesShareOnce) {
  const SymInt sizes[] = {3, s, 2 * s * t, ceil_div(s * t, 8), ceil_div(s * t, 8) * 4, s * t};
  const SizeProgram program(sizes);
  EXPECT_EQ(program.run(std::vector<int64_t>{5, 7}), (std::vector<int64_t>{3, 5, 70, 5, 20, 35}));
  EXPECT_LE(program.num_instructions(), 8);
  EXPECT_THROW(program.run(std::vector<int64_t>{INT64_MAX / 2, 3}), ShapeError);
  EXPECT_EQ(SizeProgram(std::vector<SymInt>{1, 2}).run({}), (std::vector<int64_t>{1, 2}));
}

TEST_F(SymIntTest, OverflowIsAnError) {
  EXPECT_THROW(env.evaluate(s * t, std::vector<int64_t>{INT64_MAX / 2, 3}), ShapeError);
  EXPECT_THROW(s * (int64_t{1} << 40) * (int64_t{1} << 40), ShapeError);
}

/// Expressions beside functions that compute the same from the symbols' values.
struct Pair {
  SymInt x;
  std::function<int64_t(int64_t, int64_t)> f;
};

class RandomSizes {
 public:
  explicit RandomSizes(int seed) : engine_(static_cast<unsigned>(seed)) {
    const auto symbol = [this](const char* name) {
      const int64_t low = draw(-3, 3), high = draw(0, 1) != 0 ? kUnbounded : low + draw(0, 50);
      bounds_.push_back({low, std::min<int64_t>(high, 60)});
      return env.symbol(name, {low, high}, draw(low, bounds_.back().high));
    };
    pairs_.push_back({symbol("s"), [](int64_t a, int64_t) { return a; }});
    pairs_.push_back({symbol("t"), [](int64_t, int64_t b) { return b; }});
  }

  int64_t draw(int64_t low, int64_t high) {
    return std::uniform_int_distribution<int64_t>(low, high)(engine_);
  }

  std::vector<int64_t> point() {
    return {draw(bounds_[0].low, bounds_[0].high), draw(bounds_[1].low, bounds_[1].high)};
  }

  Pair any() {
    if (draw(0, 3) == 0) {
      const int64_t n = draw(-9, 9);
      return {n, [n](int64_t, int64_t) { return n; }};
    }
    return pairs_[static_cast<size_t>(draw(0, static_cast<int64_t>(pairs_.size()) - 1))];
  }

  void add_one() {
    const Pair a = any(), b = any();
    const auto f = a.f, h = b.f;
    switch (draw(0, 6)) {
      case 0:
        return add({a.x + b.x, [f, h](int64_t s, int64_t t) { return f(s, t) + h(s, t); }});
      case 1:
        return add({a.x - b.x, [f, h](int64_t s, int64_t t) { return f(s, t) - h(s, t); }});
      case 2:
        return add({a.x * b.x, [f, h](int64_t s, int64_t t) { return f(s, t) * h(s, t); }});
      case 3:
        return add(
            {max(a.x, b.x), [f, h](int64_t s, int64_t t) { return std::max(f(s, t), h(s, t)); }});
      case 4:
        return add(
            {min(a.x, b.x), [f, h](int64_t s, int64_t t) { return std::min(f(s, t), h(s, t)); }});
      default:
        break;
    }
    if (b.x.hint() < 1) return;
    if (draw(0, 1) == 0)
      return add({floor_div(a.x, b.x),
                  [f, h](int64_t s, int64_t t) { return floor_div(f(s, t), h(s, t)); }});
    add({floor_mod(a.x, b.x),
         [f, h](int64_t s, int64_t t) { return floor_mod(f(s, t), h(s, t)); }});
  }

  ShapeEnv env;

 private:
  void add(Pair p) {
    if (p.x.is_number() || p.x.expr().terms.size() < 12) pairs_.push_back(std::move(p));
  }

  std::mt19937 engine_;
  std::vector<SizeBounds> bounds_;
  std::vector<Pair> pairs_;
};

TEST(RandomSymInts, EveryDecisionHoldsForWhatIsAdmitted) {
  int64_t admitted = 0, proven = 0;
  for (int seed = 0; seed < 400; ++seed) {
    RandomSizes random(seed);
    for (int i = 0; i < 12; ++i) random.add_one();
    const Pair a = random.any(), b = random.any();
    const SymInt x = a.x, y = b.x;
    const size_t guards = random.env.guards().size();
    const bool is_less = x < y, is_equal = x == y;
    proven += random.env.guards().size() == guards ? 1 : 0;
    const bool at_most = SymInt::is_at_most(x, y), surely_equal = SymInt::are_equal(x, y);
    const int64_t low = x.lower_bound(), high = x.upper_bound();
    for (int i = 0; i < 40; ++i) {
      const std::vector<int64_t> point = random.point();
      if (!random.env.admits(point)) continue;
      ++admitted;
      const int64_t u = a.f(point[0], point[1]), v = b.f(point[0], point[1]);
      ASSERT_EQ(random.env.evaluate(x, point), u) << x.to_text() << " seed " << seed;
      const SymInt both[] = {x, y};
      ASSERT_EQ(SizeProgram(both).run(point), (std::vector<int64_t>{u, v})) << x.to_text();
      ASSERT_EQ(u < v, is_less) << x.to_text() << " < " << y.to_text() << " seed " << seed;
      ASSERT_EQ(u == v, is_equal) << x.to_text() << " = " << y.to_text() << " seed " << seed;
      ASSERT_TRUE(!at_most || u <= v);
      ASSERT_TRUE(!surely_equal || u == v);
      ASSERT_LE(low, u) << x.to_text() << " seed " << seed;
      ASSERT_GE(high, u) << x.to_text() << " seed " << seed;
    }
  }
  EXPECT_GT(admitted, 2000);
  EXPECT_GT(proven, 100);
}

}  // namespace
}  // namespace coregrad
