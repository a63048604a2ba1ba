// Literal folding and identities, compared as graphs: equal nodes have equal ids.

#include "ir/verify.h"
#include "ops/fold.h"
#include "ops/operators.h"
#include "ops/primitives.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <vector>

namespace coregrad::ops {
namespace {

using Dims = std::vector<int64_t>;
constexpr double kInf = std::numeric_limits<double>::infinity();
constexpr double kNan = std::numeric_limits<double>::quiet_NaN();

struct Fold : ::testing::Test {
  Graph g;
  NodeId x = input(g, 0, DType::Float32, Dims{2, 3});
  NodeId y = input(g, 1, DType::Float32, Dims{2, 3});
  NodeId i = input(g, 2, DType::Int64, Dims{2, 3});
  NodeId j = input(g, 3, DType::Int64, Dims{2, 3});
  NodeId b = input(g, 4, DType::Bool, Dims{2, 3});

  NodeId f32(double v) { return literal(g, DType::Float32, v); }
  NodeId i64(int64_t v) { return literal(g, Scalar::of_int(DType::Int64, v)); }
  NodeId boolean(bool v) { return literal(g, Scalar::of_int(DType::Bool, v)); }
  NodeId filled(NodeId like, NodeId value) { return broadcast_to(g, value, g.shape(like)); }
};

TEST_F(Fold, ArithmeticOnLiteralsIsALiteral) {
  EXPECT_EQ(add(g, f32(1), f32(2)), f32(3));
  EXPECT_EQ(exp(g, f32(0)), f32(1));
  EXPECT_EQ(cast(g, f32(2.75), DType::Int64), i64(2));
  EXPECT_EQ(compare(g, Op::Lt, f32(1), f32(2)), boolean(true));
  EXPECT_EQ(select(g, boolean(false), f32(1), f32(2)), f32(2));
}

TEST_F(Fold, ExpandedLiteralsFoldThroughViewsAndArithmetic) {
  const NodeId ones = full(g, Dims{4, 5}, Scalar::of(DType::Float32, 1));
  EXPECT_EQ(constant_value(g, permute(g, ones, Dims{1, 0}))->f, 1);
  EXPECT_EQ(mul(g, add(g, ones, ones), f32(3)), full(g, Dims{4, 5}, Scalar::of(DType::Float32, 6)));
  EXPECT_EQ(narrow(g, reshape(g, ones, Dims{20}), 0, 3, 9),
            full(g, Dims{6}, Scalar::of(DType::Float32, 1)));
  EXPECT_EQ(reduce(g, Op::Sum, ones, Dims{0}), full(g, Dims{5}, Scalar::of(DType::Float32, 4)));
  EXPECT_EQ(flip(g, ones, Dims{0}), ones);
  EXPECT_EQ(concat(g, std::vector<NodeId>{ones, ones}, 0),
            full(g, Dims{8, 5}, Scalar::of(DType::Float32, 1)));
}

TEST_F(Fold, Float32FoldsRoundAsFloat32Arithmetic) {
  const float a = 0.1f, c = 0.3f;
  EXPECT_EQ(g.literal(div(g, f32(a), f32(c))).f, static_cast<double>(a / c));
  EXPECT_EQ(g.literal(add(g, f32(1e8), f32(1))).f, 1e8);
  EXPECT_EQ(g.literal(sqrt(g, f32(2))).f, static_cast<double>(std::sqrt(2.0f)));
  EXPECT_EQ(g.literal(cast(g, i64(9007199791611905), DType::Float32)).f,
            static_cast<double>(static_cast<float>(int64_t{9007199791611905})));
}

TEST_F(Fold, IntegerFoldsWrapAndDivideTowardsZero) {
  const auto fold = [](Op op, int64_t p, int64_t q, DType t = DType::Int64) {
    return fold_binary(op, Scalar::of_int(t, p), Scalar::of_int(t, q)).i;
  };
  EXPECT_EQ(fold(Op::Add, INT64_MAX, 1), INT64_MIN);
  EXPECT_EQ(fold(Op::Mul, 1 << 20, 1 << 20, DType::Int32), 0);
  EXPECT_EQ(fold(Op::Div, -7, 2), -3);
  EXPECT_EQ(fold(Op::Div, 7, 0), 0);
  EXPECT_EQ(fold(Op::Div, INT64_MIN, -1), INT64_MIN);
  EXPECT_EQ(fold(Op::Rem, -7, 2), -1);
  EXPECT_EQ(fold(Op::Rem, INT64_MIN, -1), 0);
  EXPECT_EQ(fold(Op::Pow, -2, 3), -8);
  EXPECT_EQ(fold(Op::Pow, 2, -1), 0);
  EXPECT_EQ(fold(Op::Pow, -1, -3), -1);
  EXPECT_EQ(fold(Op::Shl, 1, 40, DType::Int32), 0);
  EXPECT_EQ(fold(Op::Shl, 1, -1), 0);
  EXPECT_EQ(fold(Op::Shr, -8, 99), -1);
  EXPECT_EQ(fold(Op::Shr, -8, 1, DType::Int32), -4);
}

TEST_F(Fold, FloatEdgeCases) {
  const auto fold = [](Op op, double p, double q) {
    return fold_binary(op, Scalar::of_float(DType::Float64, p), Scalar::of_float(DType::Float64, q))
        .f;
  };
  EXPECT_TRUE(std::isnan(fold(Op::Max, kNan, 1)));
  EXPECT_TRUE(std::isnan(fold(Op::Min, 1, kNan)));
  EXPECT_EQ(fold(Op::Rem, -7, 2), -1);
  EXPECT_EQ(fold_unary(Op::Round, Scalar::of_float(DType::Float32, 2.5)).f, 2);
  EXPECT_EQ(fold_cast(Scalar::of_float(DType::Float64, kNan), DType::Int32).i, 0);
  EXPECT_EQ(fold_cast(Scalar::of_float(DType::Float64, 1e30), DType::Int32).i, INT32_MAX);
  EXPECT_EQ(fold_cast(Scalar::of_float(DType::Float64, kNan), DType::Bool).i, 1);
  EXPECT_EQ(literal(g, DType::Float32, kNan), literal(g, DType::Float32, -kNan));
}

TEST_F(Fold, AddingZeroVanishesOnlyWhereSignsAllowIt) {
  EXPECT_EQ(add(g, x, f32(-0.0)), x);
  EXPECT_NE(add(g, x, f32(0.0)), x);
  EXPECT_EQ(sub(g, x, f32(0.0)), x);
  EXPECT_NE(sub(g, x, f32(-0.0)), x);
  EXPECT_EQ(add(g, exp(g, x), f32(0.0)), exp(g, x));
  EXPECT_EQ(add(g, mul(g, x, x), f32(0.0)), mul(g, x, x));
  EXPECT_EQ(sub(g, f32(-0.0), x), neg(g, x));
  EXPECT_EQ(add(g, i, i64(0)), i);
  EXPECT_EQ(sub(g, i, i64(0)), i);
  EXPECT_EQ(sub(g, i64(0), i), neg(g, i));
}

TEST_F(Fold, MultiplyingByZeroStaysForFloats) {
  EXPECT_FALSE(constant_value(g, mul(g, x, f32(0))).has_value());
  EXPECT_EQ(constant_value(g, mul(g, i, i64(0)))->i, 0);
  EXPECT_FALSE(constant_value(g, sub(g, x, x)).has_value());
  EXPECT_EQ(constant_value(g, sub(g, i, i))->i, 0);
}

TEST_F(Fold, OneAndMinusOne) {
  EXPECT_EQ(mul(g, x, f32(1)), x);
  EXPECT_EQ(mul(g, f32(1), x), x);
  EXPECT_EQ(mul(g, x, f32(-1)), neg(g, x));
  EXPECT_EQ(div(g, x, f32(1)), x);
  EXPECT_EQ(binary(g, Op::Div, i, i64(1)), i);
}

TEST_F(Fold, NegationMovesAndCancels) {
  EXPECT_EQ(neg(g, neg(g, x)), x);
  EXPECT_EQ(add(g, x, neg(g, y)), sub(g, x, y));
  EXPECT_EQ(add(g, neg(g, x), y), sub(g, y, x));
  EXPECT_EQ(sub(g, x, neg(g, y)), add(g, x, y));
  EXPECT_EQ(mul(g, neg(g, x), neg(g, y)), mul(g, x, y));
  EXPECT_EQ(mul(g, neg(g, x), f32(3)), mul(g, x, f32(-3)));
  EXPECT_EQ(unary(g, Op::Abs, neg(g, x)), unary(g, Op::Abs, x));
}

TEST_F(Fold, CommutativeOperandsHaveOneOrderWithConstantsLast) {
  EXPECT_EQ(add(g, x, y), add(g, y, x));
  EXPECT_EQ(mul(g, f32(3), x), mul(g, x, f32(3)));
  EXPECT_TRUE(constant_value(g, g.operand(mul(g, f32(3), x), 1)).has_value());
  EXPECT_EQ(compare(g, Op::Eq, x, y), compare(g, Op::Eq, y, x));
  EXPECT_NE(sub(g, x, y), sub(g, y, x));
}

TEST_F(Fold, BoolArithmeticIsLogic) {
  EXPECT_EQ(add(g, b, b), b);
  EXPECT_EQ(mul(g, b, boolean(true)), b);
  EXPECT_EQ(mul(g, b, boolean(false)), filled(b, boolean(false)));
  EXPECT_EQ(binary(g, Op::Xor, b, boolean(true)), unary(g, Op::Not, b));
  EXPECT_EQ(compare(g, Op::Eq, b, boolean(true)), b);
  EXPECT_EQ(select(g, b, boolean(false), boolean(true)), unary(g, Op::Not, b));
}

TEST_F(Fold, NotOfComparisonsTurnsAroundExceptForFloatOrder) {
  const auto negated = [&](Op op, NodeId p, NodeId q) {
    return unary(g, Op::Not, compare(g, op, p, q));
  };
  EXPECT_EQ(negated(Op::Eq, x, y), compare(g, Op::Ne, x, y));
  EXPECT_EQ(negated(Op::Lt, i, j), compare(g, Op::Le, j, i));
  EXPECT_EQ(g[negated(Op::Lt, x, y)].op, Op::Not);
  EXPECT_EQ(unary(g, Op::Not, unary(g, Op::Not, b)), b);
}

TEST_F(Fold, ComparisonsOfANodeWithItself) {
  EXPECT_EQ(compare(g, Op::Eq, i, i), filled(i, boolean(true)));
  EXPECT_EQ(g[compare(g, Op::Eq, x, x)].op, Op::Eq);
  EXPECT_EQ(compare(g, Op::Lt, x, x), filled(x, boolean(false)));
}

TEST_F(Fold, SelectSimplifies) {
  EXPECT_EQ(select(g, boolean(true), x, y), x);
  EXPECT_EQ(select(g, b, x, x), x);
  EXPECT_EQ(select(g, unary(g, Op::Not, b), x, y), select(g, b, y, x));
}

TEST_F(Fold, CastsMergeOnlyWhenTheFirstKeepsEveryValue) {
  EXPECT_EQ(cast(g, x, DType::Float32), x);
  EXPECT_EQ(cast(g, cast(g, x, DType::Float64), DType::Float32), x);
  EXPECT_EQ(cast(g, cast(g, b, DType::Float32), DType::Int64), cast(g, b, DType::Int64));
  const NodeId narrow_first = cast(g, cast(g, i, DType::Int32), DType::Int64);
  EXPECT_NE(narrow_first, i);
  EXPECT_EQ(g[narrow_first].op, Op::Cast);
}

TEST_F(Fold, PowersFollowPyTorch) {
  EXPECT_EQ(binary(g, Op::Pow, x, f32(1)), x);
  EXPECT_EQ(binary(g, Op::Pow, x, f32(2)), mul(g, x, x));
  EXPECT_EQ(binary(g, Op::Pow, x, f32(0.5)), sqrt(g, x));
  EXPECT_EQ(binary(g, Op::Pow, x, f32(-1)), unary(g, Op::Reciprocal, x));
  EXPECT_EQ(g[binary(g, Op::Pow, x, f32(2.5))].op, Op::Pow);
}

TEST_F(Fold, IntegerChainsCollectTheirConstants) {
  EXPECT_EQ(add(g, add(g, i, i64(3)), i64(4)), add(g, i, i64(7)));
  EXPECT_EQ(add(g, add(g, i, i64(3)), i64(-3)), i);
  EXPECT_EQ(mul(g, mul(g, i, i64(3)), i64(4)), mul(g, i, i64(12)));
  EXPECT_NE(add(g, add(g, x, f32(3)), f32(4)), add(g, x, f32(7)));
}

TEST_F(Fold, RoundingOfWholeNumbersVanishes) {
  const NodeId f = unary(g, Op::Floor, x);
  EXPECT_EQ(unary(g, Op::Round, f), f);
  EXPECT_EQ(unary(g, Op::Floor, i), i);
}

TEST_F(Fold, ViewsOfViewsCompose) {
  const NodeId t = input(g, 9, DType::Float32, Dims{4, 5, 6});
  EXPECT_EQ(reshape(g, reshape(g, t, Dims{20, 6}), Dims{4, 5, 6}), t);
  EXPECT_EQ(permute(g, permute(g, t, Dims{1, 2, 0}), Dims{2, 0, 1}), t);
  EXPECT_EQ(permute(g, permute(g, t, Dims{1, 2, 0}), Dims{1, 0, 2}), permute(g, t, Dims{2, 1, 0}));
  EXPECT_EQ(flip(g, flip(g, t, Dims{0, 1}), Dims{1}), flip(g, t, Dims{0}));
  EXPECT_EQ(flip(g, flip(g, t, Dims{2}), Dims{2}), t);
  EXPECT_EQ(narrow(g, narrow(g, t, 2, 1, 6, 2), 2, 1, 3), narrow(g, t, 2, 3, 6, 2));
  EXPECT_EQ(narrow(g, t, 1, 0, 5), t);
  EXPECT_EQ(
      broadcast_to(g, broadcast_to(g, unsqueeze(g, t, 0), Dims{2, 4, 5, 6}), Dims{2, 4, 5, 6}),
      broadcast_to(g, t, Dims{2, 4, 5, 6}));
  EXPECT_EQ(pad(g, t, Dims{0, 0, 0}, Dims{0, 0, 0}, Dims{0, 0, 0}, Scalar()), t);
}

TEST_F(Fold, PermutingExtentsOfOneIsAReshape) {
  const NodeId t = input(g, 9, DType::Float32, Dims{4, 1, 6});
  EXPECT_EQ(permute(g, t, Dims{1, 0, 2}), reshape(g, t, Dims{1, 4, 6}));
  EXPECT_EQ(transpose(g, input(g, 10, DType::Float32, Dims{1, 7}), 0, 1),
            reshape(g, input(g, 10, DType::Float32, Dims{1, 7}), Dims{7, 1}));
}

TEST_F(Fold, UnitReshapesGoBelowExpand) {
  const NodeId row = input(g, 9, DType::Float32, Dims{1, 3});
  const NodeId wide = broadcast_to(g, row, Dims{2, 3});
  const NodeId lifted = reshape(g, wide, Dims{2, 1, 3});
  EXPECT_EQ(g[lifted].op, Op::Expand);
  EXPECT_EQ(broadcast_to(g, lifted, Dims{2, 8, 3}),
            broadcast_to(g, reshape(g, row, Dims{1, 1, 3}), Dims{2, 8, 3}));
}

TEST_F(Fold, SlicesReachThroughConcatAndPad) {
  const NodeId joined = concat(g, std::vector<NodeId>{x, y}, 1);
  EXPECT_EQ(narrow(g, joined, 1, 0, 3), x);
  EXPECT_EQ(narrow(g, joined, 1, 4, 6), narrow(g, y, 1, 1, 3));
  EXPECT_EQ(g[narrow(g, joined, 1, 2, 4)].op, Op::Slice);
  const NodeId padded =
      pad(g, x, Dims{1, 2}, Dims{0, 1}, Dims{0, 0}, Scalar::of(DType::Float32, 0));
  EXPECT_EQ(slice(g, padded, Dims{1, 2}, Dims{3, 5}, Dims{1, 1}), x);
}

TEST_F(Fold, ConcatFlattensAndDropsEmptyParts) {
  const NodeId none = input(g, 9, DType::Float32, Dims{2, 0});
  EXPECT_EQ(concat(g, std::vector<NodeId>{x}, 0), x);
  EXPECT_EQ(concat(g, std::vector<NodeId>{x, none}, 1), x);
  const NodeId pair = concat(g, std::vector<NodeId>{x, y}, 0);
  EXPECT_EQ(concat(g, std::vector<NodeId>{pair, x}, 0), concat(g, std::vector<NodeId>{x, y, x}, 0));
}

TEST_F(Fold, WindowsThatDoNotOverlapAreOtherViews) {
  const NodeId t = input(g, 9, DType::Float32, Dims{2, 7, 6});
  const WindowDim both[] = {{1, 2, 2, 1}, {2, 3, 3, 1}};
  const NodeId w = window(g, t, both);
  EXPECT_EQ(Dims(g.shape(w).begin(), g.shape(w).end()), (Dims{2, 3, 2, 2, 3}));
  EXPECT_EQ(
      w, permute(g, reshape(g, narrow(g, t, 1, 0, 6), Dims{2, 3, 2, 2, 3}), Dims{0, 1, 3, 2, 4}));
  const WindowDim whole[] = {{1, 7, 1, 1}};
  EXPECT_EQ(window(g, t, whole), permute(g, reshape(g, t, Dims{2, 1, 7, 6}), Dims{0, 1, 3, 2}));
  const WindowDim points[] = {{2, 1, 2, 1}};
  EXPECT_EQ(window(g, t, points), reshape(g, narrow(g, t, 2, 0, 5, 2), Dims{2, 7, 3, 1}));
}

TEST_F(Fold, ReductionsOfTrivialOperands) {
  const NodeId t = input(g, 9, DType::Float32, Dims{4, 1, 6});
  EXPECT_EQ(reduce(g, Op::Sum, t, Dims{1}), reshape(g, t, Dims{4, 6}));
  EXPECT_EQ(constant_value(g, reduce(g, Op::ArgMax, t, Dims{1}))->i, 0);
  EXPECT_EQ(reduce(g, Op::Sum, reduce(g, Op::Sum, t, Dims{2}), Dims{0}),
            reduce(g, Op::Sum, t, Dims{0, 2}));
  const NodeId row = input(g, 10, DType::Float32, Dims{1, 6});
  const NodeId wide = broadcast_to(g, row, Dims{5, 6});
  EXPECT_EQ(reduce(g, Op::Sum, wide, Dims{0}), mul(g, reshape(g, row, Dims{6}), f32(5)));
  EXPECT_EQ(reduce(g, Op::ReduceMax, wide, Dims{0, 1}), reduce(g, Op::ReduceMax, row, Dims{0, 1}));
}

TEST_F(Fold, RebuildFoldsWithNewOperands) {
  const NodeId product = mul(g, x, y);
  EXPECT_EQ(rebuild(g, g, product, {{x, filled(x, f32(1))}}), x);
  EXPECT_EQ(rebuild(g, g, product, {{y, x}}), product);
  Graph other;
  const NodeId p = input(other, 0, DType::Float32, Dims{2, 3});
  const NodeId q = rebuild(other, g, narrow(g, x, 1, 0, 3, 2), {{p}});
  EXPECT_EQ(q, narrow(other, p, 1, 0, 3, 2));
  EXPECT_NO_THROW(verify(other, {{q}}, "rebuild"));
}

TEST_F(Fold, RebuildRemakesEveryNode) {
  const NodeId t = input(g, 9, DType::Float32, Dims{4, 8});
  const WindowDim w[] = {{1, 3, 2, 1}};
  const NodeId seed = input(g, 10, DType::Int64, Dims{});
  const std::vector<NodeId> nodes = {
      exp(g, t),
      add(g, t, exp(g, t)),
      window(g, t, w),
      narrow(g, t, 1, 1, 8, 3),
      flip(g, t, Dims{0, 1}),
      pad(g, t, Dims{1, 0}, Dims{0, 2}, Dims{3, 0}, Scalar::of(DType::Float32, -kInf)),
      reduce(g, Op::ArgMin, t, Dims{0}),
      reduce(g, Op::Prod, t, {}),
      scan(g, Op::CumProd, t, 1),
      argsort(g, t, 1, true),
      random(g, seed, DType::Float64, Dims{3}, 7),
      iota(g, DType::Int32, 9),
      broadcast_to(g, t, Dims{2, 4, 8}),
      cast(g, t, DType::Bool),
      permute(g, t, Dims{1, 0}),
      concat(g, std::vector<NodeId>{t, exp(g, t), t, t}, 0),
      select(g, b, x, y),
      scatter(g, x, 1, i, y, ScatterMode::Mul),
      gather(g, x, 1, j),
      external(g, 3, 1, {{x, y, b, i}}, DType::Int64, Dims{5})};
  for (NodeId node : nodes) {
    const std::vector<NodeId> operands(g.operands(node).begin(), g.operands(node).end());
    EXPECT_EQ(rebuild(g, g, node, operands), node);
  }
}

}  // namespace
}  // namespace coregrad::ops
