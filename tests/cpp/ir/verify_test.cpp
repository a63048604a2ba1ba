// The verifier accepts what the construction layer makes and refuses what breaks a rule.

#include "ir/verify.h"

#include "base/error.h"
#include "ops/operators.h"
#include "ops/primitives.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <vector>

namespace coregrad {
namespace {

using Dims = std::vector<int64_t>;
using ::testing::HasSubstr;

std::string complaint(const Graph& g, NodeId root) {
  try {
    verify(g, {{root}}, "a pass");
  } catch (const InternalError& e) {
    return e.what();
  }
  return "";
}

struct Verify : ::testing::Test {
  Graph g;
  NodeId x = ops::input(g, 0, DType::Float32, Dims{2, 3});
  NodeId y = ops::input(g, 1, DType::Float64, Dims{2, 3});
  NodeId b = ops::input(g, 2, DType::Bool, Dims{2, 3});
  NodeId i = ops::input(g, 3, DType::Int64, Dims{2, 3});

  NodeId raw(Op op, DType dtype, Dims shape, std::vector<NodeId> operands, Dims attrs = {}) {
    return g.intern(op, dtype, shape, operands, attrs);
  }
};

TEST_F(Verify, AcceptsEveryPrimitive) {
  std::vector<NodeId> roots = {
      ops::exp(g, x),
      ops::add(g, x, y),
      ops::compare(g, Op::Lt, x, y),
      ops::select(g, b, x, y),
      ops::cast(g, x, DType::Int32),
      ops::reshape(g, x, Dims{3, 2}),
      ops::permute(g, x, Dims{1, 0}),
      ops::broadcast_to(g, x, Dims{4, 2, 3}),
      ops::narrow(g, x, 1, 1, 3),
      ops::flip(g, x, Dims{0}),
      ops::pad(g, x, Dims{1, 0}, Dims{0, 2}, Dims{0, 1}, Scalar::of(DType::Float32, 7)),
      ops::concat(g, std::vector<NodeId>{x, y}, 1),
      ops::reduce(g, Op::Sum, i, Dims{1}),
      ops::reduce(g, Op::ArgMax, x, Dims{1}),
      ops::gather(g, x, 1, ops::cast(g, i, DType::Int64)),
      ops::scatter(g, x, 0, i, ops::exp(g, x), ScatterMode::Max),
      ops::scan(g, Op::CumSum, b, 1),
      ops::argsort(g, x, 0, true),
      ops::iota(g, DType::Int32, 5),
      ops::random(g, ops::literal(g, Scalar::of_int(DType::Int64, 3)), DType::Float32, Dims{4}, 1),
      ops::external(g, 0, 0, {{x, y}}, DType::Float32, Dims{1})};
  const ops::WindowDim w[] = {{1, 2, 1, 1}};
  roots.push_back(ops::window(g, x, w));
  const ContractSpec spec{{2, 2, 3},
                          {DimMap::label(0), DimMap::label(2)},
                          {DimMap::label(1), DimMap::label(2)},
                          {0, 1}};
  roots.push_back(ops::contract(g, x, ops::exp(g, x), spec));
  EXPECT_NO_THROW(verify(g, roots, "construction"));
}

TEST_F(Verify, MessageNamesThePassTheRuleAndTheNode) {
  const NodeId bad = raw(Op::Add, DType::Float32, {2, 3}, {x, y});
  EXPECT_EQ(
      complaint(g, bad),
      "verify: after a pass: operands must have the result's dtype: got %4 = add f32[2,3] %0 %1\n"
      "  operand %0 = input f32[2,3] {0,3,1}\n  operand %1 = input f64[2,3] {1,3,1}");
}

TEST_F(Verify, IgnoresDeadNodes) {
  raw(Op::Add, DType::Float32, {2, 3}, {x, y});
  EXPECT_EQ(complaint(g, ops::exp(g, x)), "");
}

TEST_F(Verify, RefusesBrokenRules) {
  const auto f32 = DType::Float32;
  EXPECT_THAT(complaint(g, raw(Op::Exp, f32, {3, 2}, {x})), HasSubstr("result's shape"));
  EXPECT_THAT(complaint(g, raw(Op::Exp, f32, {2, 3}, {x, x})), HasSubstr("number of operands"));
  EXPECT_THAT(complaint(g, raw(Op::Exp, DType::Int64, {2, 3}, {i})), HasSubstr("takes floats"));
  EXPECT_THAT(complaint(g, raw(Op::Eq, f32, {2, 3}, {x, x})), HasSubstr("gives bool"));
  EXPECT_THAT(complaint(g, raw(Op::Reshape, f32, {7}, {x})), HasSubstr("number of elements"));
  EXPECT_THAT(complaint(g, raw(Op::Permute, f32, {3, 2}, {x}, {1, 1})), HasSubstr("permutation"));
  EXPECT_THAT(complaint(g, raw(Op::Expand, f32, {4, 3}, {x})), HasSubstr("extent of 1"));
  EXPECT_THAT(complaint(g, raw(Op::Slice, f32, {2, 2}, {x}, {0, 1, 2, 1})), HasSubstr("lie in"));
  EXPECT_THAT(complaint(g, raw(Op::Flip, f32, {2, 3}, {x}, {2, 0})), HasSubstr("0 or 1"));
  EXPECT_THAT(complaint(g, raw(Op::Pad, f32, {2, 3}, {x}, {1, 0, 0, 0, 0, 0})),
              HasSubstr("follow"));
  EXPECT_THAT(complaint(g, raw(Op::Window, f32, {2, 3, 2}, {x}, {1, 2, 1, 1})),
              HasSubstr("follow"));
  EXPECT_THAT(complaint(g, raw(Op::Concat, f32, {5, 3}, {x, x}, {0})), HasSubstr("add up"));
  EXPECT_THAT(complaint(g, raw(Op::Sum, f32, {3}, {x}, {1})), HasSubstr("disappear"));
  EXPECT_THAT(complaint(g, raw(Op::ArgMax, f32, {3}, {x}, {0})), HasSubstr("int64"));
  EXPECT_THAT(complaint(g, raw(Op::Gather, f32, {2, 3}, {x, x}, {0})),
              HasSubstr("index must be int64"));
  EXPECT_THAT(complaint(g, raw(Op::Scatter, f32, {2, 3}, {x, i, x}, {0, 9})), HasSubstr("mode"));
  EXPECT_THAT(complaint(g, raw(Op::CumSum, f32, {2, 3}, {x}, {2})), HasSubstr("dimension"));
  EXPECT_THAT(complaint(g, raw(Op::Iota, f32, {2}, {})), HasSubstr("integer"));
  EXPECT_THAT(complaint(g, raw(Op::Random, f32, {2}, {x}, {0})), HasSubstr("seed"));
  EXPECT_THAT(complaint(g, raw(Op::Literal, f32, {2}, {})), HasSubstr("rank 0"));
  EXPECT_THAT(complaint(g, raw(Op::Select, f32, {2, 3}, {x, x, x})), HasSubstr("condition"));
  const ContractSpec spec{
      {2, 3}, {DimMap::label(0), DimMap::label(1)}, {DimMap::label(0), DimMap::label(1)}, {1}};
  EXPECT_THAT(complaint(g, raw(Op::Contract, f32, {3}, {x, x}, specialized(spec.encode()))),
              HasSubstr("numbered first"));
  EXPECT_THROW(verify(g, {{NodeId{12345}}}, "a pass"), InternalError);
}

}  // namespace
}  // namespace coregrad
