// Concatenations are computed into the memory of the whole.

#include "compile/compiler.h"
#include "ops/operators.h"
#include "ops/primitives.h"

#include <gtest/gtest.h>

#include "compile_check.h"

namespace coregrad {
namespace {

using Dims = std::vector<int64_t>;
using test::check;
using test::check_strided;
using test::in;
using test::matmul_spec;

TEST(Concat, IsWrittenPartByPart) {
  Graph g;
  const NodeId x = in(g, 0, {4, 5}), y = in(g, 1, {4, 3});
  const NodeId parts[] = {ops::exp(g, x), y, x};
  const NodeId c = ops::concat(g, parts, 1);
  check(g, {c, ops::neg(g, c)});
}

TEST(Concat, PartsThatOthersReadLieInItsMemory) {
  for (const int64_t dim : {0, 1}) {
    Graph g;
    const NodeId a = in(g, 0, {4, 4}), b = in(g, 1, {4, 4}), w = in(g, 2, {4, 4});
    const NodeId product = ops::contract(g, a, w, matmul_spec(4, 4, 4));
    const NodeId sums = ops::reduce(g, Op::Sum, in(g, 3, {4, 4, 7}), Dims{2});
    const NodeId e = ops::exp(g, b);
    const NodeId inner_parts[] = {e, product};
    const NodeId inner = ops::concat(g, inner_parts, dim);  // a Concat inside another
    const NodeId parts[] = {sums, inner, a, e};             // one part twice, one an input
    const NodeId c = ops::concat(g, parts, dim);
    // Readers: elementwise, a contract of a part, and a contract of the whole.
    const NodeId used = ops::contract(g, product, w, matmul_spec(4, 4, 4));
    const NodeId first = ops::reduce(g, Op::Sum, ops::mul(g, sums, e), Dims{1});
    const int64_t rows = dim == 0 ? 20 : 4, columns = dim == 0 ? 4 : 20;
    const NodeId whole = ops::contract(g, c, in(g, 4, {columns, 3}), matmul_spec(rows, 3, columns));
    check(g, {c, used, first, whole});
    check(g, {whole, used, first});
    check(g, {ops::neg(g, c), e, inner});
    check_strided(g, c, {1, rows});
    check_strided(g, ops::neg(g, c), {1, rows});
  }
}

TEST(Concat, PartsMayHaveOtherShapesThanTheirNodes) {
  Graph g;
  const NodeId x = in(g, 0, {3, 4}), w = in(g, 1, {4, 4});
  std::vector<NodeId> steps;
  NodeId h = x;
  for (int t = 0; t < 5; ++t) {
    h = ops::unary(g, Op::Tanh, ops::contract(g, h, w, matmul_spec(3, 4, 4)));
    steps.push_back(ops::reshape(g, h, Dims{1, 3, 4}));
  }
  const NodeId stacked = ops::concat(g, steps, 0);
  CompileReport report;
  check(g, {stacked, ops::reduce(g, Op::Sum, stacked, Dims{0})}, &report);
  EXPECT_EQ(report.steps, 6);  // a product each, written to its place, and the sum
  // Columns of a larger matrix are no dense memory for the products that read them.
  std::vector<NodeId> columns;
  for (NodeId s : steps) columns.push_back(ops::reshape(g, s, Dims{3, 4, 1}));
  check(g, {ops::concat(g, columns, 2)});
}

TEST(Concat, UpdatesAnInputOnlyWhenNobodyReadsTheInputAnyMore) {
  Graph g;
  const NodeId x = in(g, 0, {6}), y = in(g, 1, {6});
  const auto half = [&](NodeId n, int64_t from) {
    return ops::slice(g, n, Dims{from}, Dims{from + 3}, Dims{1});
  };
  // Each half is made from the other: writing the first must not destroy what the second reads.
  const NodeId parts[] = {ops::add(g, half(x, 3), half(y, 0)), ops::mul(g, half(x, 0), half(y, 3))};
  const OutputSpec spec{ops::concat(g, parts, 0), {}, 0};
  const CompiledPlan compiled = compile(g, std::span(&spec, 1), 2);
  std::vector<float> a = {1, 2, 3, 4, 5, 6}, b = {10, 20, 30, 2, 3, 4};
  const void* in_pointers[] = {a.data(), b.data()};
  void* out_pointers[] = {a.data()};
  run(*compiled.plan, in_pointers, out_pointers);
  EXPECT_EQ(a, (std::vector<float>{14, 25, 36, 2, 6, 12}));
}

/// Real and imaginary parts, phases of an image: one kernel that writes whole vectors.
TEST(Concat, PartsThatAlternateAreOneStep) {
  for (const DType dtype :
       {DType::Float32, DType::Float64, DType::BFloat16, DType::Int64, DType::Int8, DType::Bool}) {
    for (const Dims& shape : {Dims{37, 1}, Dims{3, 5, 1}, Dims{4, 64, 1}, Dims{2, 33, 1, 1},
                              Dims{1, 1}, Dims{300, 70, 1}}) {
      Graph g;
      const NodeId x = in(g, 0, shape, dtype), y = in(g, 1, shape, dtype);
      const int64_t dim = static_cast<int64_t>(shape.size()) - (shape.size() == 4 ? 2 : 1);
      const auto made = [&](NodeId v, NodeId w) {
        return dtype == DType::Bool ? ops::binary(g, Op::Or, v, w) : ops::mul(g, v, w);
      };
      const NodeId pairs[] = {made(x, y), made(x, x)};
      const NodeId c = ops::concat(g, pairs, dim);
      CompileReport report;
      check(g, {c}, &report);
      EXPECT_EQ(report.steps, 1) << name_of(dtype) << " " << shape.size();
      const NodeId copies[] = {x, y};
      check(g, {ops::concat(g, copies, dim), c, made(x, y)});
    }
  }
  // Along another dimension, in other strides, or three of them, they are what they were.
  Graph g;
  const NodeId x = in(g, 0, {19, 1}), y = in(g, 1, {19, 1});
  const NodeId pair[] = {ops::exp(g, x), ops::neg(g, y)}, three[] = {x, ops::exp(g, y), y};
  const NodeId c = ops::concat(g, pair, 1);
  check(g, {ops::concat(g, pair, 0), c, ops::concat(g, three, 1)});
  check_strided(g, c, {1, 19});
  check_strided(g, c, {5, 2});
}

}  // namespace
}  // namespace coregrad
