#include "ir/print.h"

#include "ops/operators.h"
#include "ops/primitives.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <vector>

namespace coregrad {
namespace {

using Dims = std::vector<int64_t>;
using ::testing::HasSubstr;

TEST(Print, TextHasOneLinePerLiveNode) {
  Graph g;
  const NodeId x = ops::input(g, 0, DType::Float32, Dims{2, 3});
  const NodeId dead = ops::exp(g, x);
  const NodeId y = ops::permute(g, ops::neg(g, x), Dims{1, 0});
  EXPECT_TRUE(dead.is_valid());
  EXPECT_EQ(to_text(g, {{y}}),
            "%0 = input f32[2,3] {0,3,1}\n"
            "%2 = neg f32[2,3] %0\n"
            "%3 = permute f32[3,2] %2 {1,0}\n"
            "return %3\n");
}

TEST(Print, LiteralsPadsAndContractsShowTheirValues) {
  Graph g;
  EXPECT_EQ(node_text(g, ops::literal(g, DType::Float32, 0.1)), "%0 = literal f32[] {0.1}");
  EXPECT_EQ(node_text(g, ops::literal(g, Scalar::of_int(DType::Bool, 1))),
            "%1 = literal b8[] {true}");
  const NodeId x = ops::input(g, 0, DType::Float32, Dims{4});
  const NodeId p = ops::pad(g, x, Dims{1}, Dims{2}, Dims{0}, Scalar::of(DType::Float32, -2.5));
  EXPECT_THAT(node_text(g, p), HasSubstr("= pad f32[7] %2 {1,2,0 fill=-2.5}"));
  const NodeId w = ops::input(g, 1, DType::Float32, Dims{3});
  const ContractSpec conv{{2, 3}, {{0, 1, 2, 1, -1, 1}}, {DimMap::label(1)}, {0}};
  EXPECT_THAT(node_text(g, ops::contract(g, x, w, conv)), HasSubstr("{(2a+b-1),b->a a=2 b=3}"));
}

TEST(Print, OriginsAreEscaped) {
  Graph g;
  g.set_origin("a \"quoted\"\nname\\");
  const NodeId x = ops::input(g, 0, DType::Float32, Dims{2});
  EXPECT_EQ(node_text(g, x), "%0 = input f32[2] {0,1}  # a \\\"quoted\\\"\\nname\\\\");
  EXPECT_THAT(to_dot(g, {{x}}), HasSubstr("a \\\"quoted\\\"\\nname\\\\\", fillcolor"));
}

TEST(Print, DotGroupsNodesIntoClusters) {
  Graph g;
  const NodeId x = ops::input(g, 0, DType::Float32, Dims{2});
  const NodeId y = ops::exp(g, x);
  const std::vector<int32_t> cluster = {-1, 5};
  const std::string dot = to_dot(g, {{y}}, cluster);
  EXPECT_THAT(dot, HasSubstr("subgraph cluster_5 {\n    label=\"kernel 5\";\n    n1 ["));
  EXPECT_THAT(dot, HasSubstr("  n0 -> n1;\n"));
  EXPECT_THAT(dot, HasSubstr("n1 -> out0"));
}

}  // namespace
}  // namespace coregrad
