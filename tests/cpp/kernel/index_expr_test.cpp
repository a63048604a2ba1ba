// Simplified index expressions against plain evaluation, and the simplifications that matter.

#include "kernel/index_expr.h"

#include "base/checked.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <functional>
#include <numeric>
#include <random>

namespace coregrad {
namespace {

using Dims = std::vector<int64_t>;

int64_t evaluate(const IndexContext& context, const IndexExpr& e, const Dims& axes) {
  int64_t sum = e.constant;
  for (const auto& t : e.terms) {
    const Atom& a = context.atom(t.atom);
    int64_t value = 0;
    switch (a.kind) {
      case AtomKind::Axis:
      case AtomKind::Value:
        value = axes[static_cast<size_t>(a.id)];
        break;
      case AtomKind::Div:
        value = floor_div(evaluate(context, a.operand, axes), a.divisor);
        break;
      case AtomKind::Mod:
        value = floor_mod(evaluate(context, a.operand, axes), a.divisor);
        break;
    }
    EXPECT_GE(value, a.range.low);
    EXPECT_LE(value, a.range.high);
    sum += t.factor * value;
  }
  return sum;
}

// Calls f with every index of a shape.
void for_each_index(const Dims& shape, const std::function<void(const Dims&)>& f) {
  Dims index(shape.size(), 0);
  for (;;) {
    f(index);
    size_t d = shape.size();
    while (d-- > 0) {
      if (++index[d] < shape[d]) break;
      index[d] = 0;
    }
    if (d == SIZE_MAX) return;
  }
}

// An expression beside the function that it stands for.
struct Both {
  IndexExpr expr;
  std::function<int64_t(const Dims&)> plain;
};

TEST(IndexExpr, RandomChainsEvaluateAsWrittenDown) {
  std::mt19937 random(20240607);
  const auto pick = [&](int64_t low, int64_t high) {
    return std::uniform_int_distribution<int64_t>(low, high)(random);
  };
  for (int round = 0; round < 400; ++round) {
    IndexContext context;
    const Dims extents = {pick(1, 6), pick(1, 5), pick(1, 4)};
    std::vector<Both> pool;
    for (int a = 0; a < 3; ++a)
      pool.push_back({context.axis(a, extents[static_cast<size_t>(a)]),
                      [a](const Dims& i) { return i[static_cast<size_t>(a)]; }});
    for (int step = 0; step < 14; ++step) {
      const Both x = pool[static_cast<size_t>(pick(0, static_cast<int64_t>(pool.size()) - 1))];
      const Both y = pool[static_cast<size_t>(pick(0, static_cast<int64_t>(pool.size()) - 1))];
      const int64_t k = pick(-6, 12), d = pick(1, 12);
      switch (pick(0, 4)) {
        case 0:
          pool.push_back({context.add(x.expr, y.expr),
                          [x, y](const Dims& i) { return x.plain(i) + y.plain(i); }});
          break;
        case 1:
          pool.push_back(
              {context.mul(x.expr, k), [x, k](const Dims& i) { return x.plain(i) * k; }});
          break;
        case 2:
          pool.push_back(
              {context.div(x.expr, d), [x, d](const Dims& i) { return floor_div(x.plain(i), d); }});
          break;
        case 3:
          pool.push_back(
              {context.mod(x.expr, d), [x, d](const Dims& i) { return floor_mod(x.plain(i), d); }});
          break;
        default:
          pool.push_back({context.add(x.expr, IndexContext::constant(k)),
                          [x, k](const Dims& i) { return x.plain(i) + k; }});
      }
    }
    for_each_index(extents, [&](const Dims& i) {
      for (const Both& b : pool) {
        const Range r = context.range(b.expr);
        const int64_t expected = b.plain(i);
        ASSERT_EQ(evaluate(context, b.expr, i), expected) << context.to_text(b.expr);
        ASSERT_GE(expected, r.low);
        ASSERT_LE(expected, r.high);
      }
    });
  }
}

// A random factorisation of n.
Dims random_shape(int64_t n, std::mt19937& random) {
  Dims shape;
  while (n > 1) {
    std::vector<int64_t> divisors;
    for (int64_t d = 1; d <= n; ++d)
      if (n % d == 0) divisors.push_back(d);
    shape.push_back(divisors[random() % divisors.size()]);
    n /= shape.back();
  }
  return shape;
}

TEST(IndexExpr, RandomReshapesAndPermutesReadTheRightElement) {
  std::mt19937 random(7);
  for (int round = 0; round < 300; ++round) {
    const int64_t n = 24 * (1 + static_cast<int64_t>(random() % 6));
    IndexContext context;
    const Dims shape = random_shape(n, random);
    std::vector<IndexExpr> index;
    for (size_t d = 0; d < shape.size(); ++d)
      index.push_back(context.axis(static_cast<int>(d), shape[d]));
    // Memory of the result's layout, carried along: element k of the current view.
    std::vector<int64_t> data(static_cast<size_t>(n));
    std::iota(data.begin(), data.end(), 0);
    struct Step {
      Dims shape, order;
    };
    std::vector<Step> steps;  // from the operand to the result
    Dims current = random_shape(n, random);
    const Dims base = current;
    for (int s = 0; s < 4; ++s) {
      Step step{current, Dims(current.size())};
      std::iota(step.order.begin(), step.order.end(), 0);
      std::shuffle(step.order.begin(), step.order.end(), random);
      Dims permuted;
      for (int64_t o : step.order) permuted.push_back(current[static_cast<size_t>(o)]);
      std::vector<int64_t> moved;
      const Dims strides = specialized(contiguous_strides(current));
      if (!permuted.empty())
        for_each_index(permuted, [&](const Dims& i) {
          int64_t at = 0;
          for (size_t d = 0; d < i.size(); ++d)
            at += i[d] * strides[static_cast<size_t>(step.order[d])];
          moved.push_back(data[static_cast<size_t>(at)]);
        });
      if (!permuted.empty()) data = moved;
      steps.push_back(step);
      current = s == 3 ? shape : random_shape(n, random);
    }
    // Backwards through the views, as the code generator goes.
    IndexExpr linear = linearize(context, index, contiguous_strides(shape));
    for (size_t s = steps.size(); s-- > 0;) {
      Dims permuted;
      for (int64_t o : steps[s].order) permuted.push_back(steps[s].shape[static_cast<size_t>(o)]);
      const std::vector<IndexExpr> at = delinearize(context, linear, permuted);
      std::vector<IndexExpr> below(at.size());
      for (size_t d = 0; d < at.size(); ++d) below[static_cast<size_t>(steps[s].order[d])] = at[d];
      linear = linearize(context, below, contiguous_strides(steps[s].shape));
    }
    int64_t k = 0;
    for_each_index(shape, [&](const Dims& i) {
      ASSERT_EQ(evaluate(context, linear, i), data[static_cast<size_t>(k++)])
          << context.to_text(linear);
    });
  }
}

TEST(IndexExpr, SplitsAndMergesCostNothing) {
  IndexContext c;
  const IndexExpr i = c.axis(0, 5), j = c.axis(1, 8), k = c.axis(2, 3);
  const IndexExpr merged = c.add(c.mul(i, 8), j);
  EXPECT_EQ(c.div(merged, 8), i);
  EXPECT_EQ(c.mod(merged, 8), j);
  const IndexExpr three = c.add(c.mul(merged, 3), k);
  EXPECT_EQ(delinearize(c, three, Dims{5, 8, 3}), (std::vector<IndexExpr>{i, j, k}));
  EXPECT_EQ(delinearize(c, three, Dims{40, 3}), (std::vector<IndexExpr>{merged, k}));
}

TEST(IndexExpr, AReshapeAndItsInverseAreTheIdentity) {
  const std::vector<Dims> shapes = {{2, 3, 4}, {6, 4}, {4, 6}, {24}, {3, 8}, {2, 12}, {8, 3}};
  for (const Dims& from : shapes)
    for (const Dims& through : shapes) {
      // Merging three digits that cut across the axes is left to the graph's reshape of a reshape.
      if (through.size() > 2 && from.size() < 3 && from != Dims{24} && from != Dims{6, 4} &&
          from != Dims{2, 12})
        continue;
      IndexContext c;
      std::vector<IndexExpr> index;
      for (size_t d = 0; d < from.size(); ++d)
        index.push_back(c.axis(static_cast<int>(d), from[d]));
      const IndexExpr linear = linearize(c, index, contiguous_strides(from));
      const IndexExpr again =
          linearize(c, delinearize(c, linear, through), contiguous_strides(through));
      EXPECT_EQ(again, linear) << c.to_text(again) << " is not " << c.to_text(linear);
    }
}

TEST(IndexExpr, DivisionSeesTheDigitsOfASum) {
  IndexContext c;
  const IndexExpr p = c.axis(0, 6), q = c.axis(1, 4);
  const IndexExpr linear = c.add(c.mul(p, 4), q);
  EXPECT_EQ(c.div(linear, 12), c.div(p, 3));
  EXPECT_EQ(c.mod(linear, 12), c.add(c.mul(c.mod(p, 3), 4), q));
}

TEST(IndexExpr, SubstitutionSimplifiesAgain) {
  IndexContext c;
  const IndexExpr i = c.axis(0, 64);
  const IndexExpr e = c.add(c.mul(c.mod(i, 8), 100), c.div(i, 8));
  const IndexExpr split = c.add(c.mul(c.axis(1, 8), 8), c.axis(2, 8));
  EXPECT_EQ(c.substitute(e, {{0, split}}), c.add(c.mul(c.axis(2, 8), 100), c.axis(1, 8)));
}

TEST(IndexExpr, AffineFactorsAreReportedOnlyOutsideDivisions) {
  IndexContext c;
  const IndexExpr i = c.axis(0, 10), j = c.axis(1, 10);
  SymInt factor = -1;
  EXPECT_TRUE(c.affine_in(c.add(c.mul(i, 7), c.div(j, 3)), 0, &factor));
  EXPECT_EQ(factor, 7);
  EXPECT_FALSE(c.affine_in(c.add(c.mul(i, 7), c.div(j, 3)), 1, &factor));
  EXPECT_TRUE(c.affine_in(j, 0, &factor));
  EXPECT_EQ(factor, 0);
}

TEST(IndexExpr, OverflowIsRefused) {
  IndexContext c;
  EXPECT_THROW(c.mul(c.mul(c.axis(0, 4), INT64_MAX / 2), 4), ShapeError);
}

}  // namespace
}  // namespace coregrad
