// Construction of primitives: shapes, dtypes, errors.

#include "base/error.h"
#include "ops/primitives.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <vector>

namespace coregrad::ops {
namespace {

using Dims = std::vector<int64_t>;

Dims shape_of(const Graph& g, NodeId x) { return {g.shape(x).begin(), g.shape(x).end()}; }

template <class E, class F>
std::string message_of(F&& f) {
  try {
    f();
  } catch (const E& e) {
    return e.what();
  }
  return "nothing was thrown";
}

NodeId in(Graph& g, Dims shape, DType t = DType::Float32, int64_t index = 0) {
  return input(g, index, t, shape);
}

TEST(Primitives, BinaryBroadcastsTrailingDimensions) {
  Graph g;
  const NodeId y = add(g, in(g, {4, 1, 3}), in(g, {2, 1}));
  EXPECT_EQ(shape_of(g, y), (Dims{4, 2, 3}));
  EXPECT_EQ(g.dtype(y), DType::Float32);
}

TEST(Primitives, ShapesThatDoNotBroadcastAreNamed) {
  Graph g;
  EXPECT_EQ(message_of<ShapeError>([&] { add(g, in(g, {2, 3}), in(g, {4})); }),
            "add: extents must be equal or 1, aligned at the last dimension: got [2,3] and [4]");
}

TEST(Primitives, PromotionTakesTheHigherCategoryThenTheWiderType) {
  Graph g;
  const auto result = [&](DType a, Dims sa, DType b, Dims sb) {
    return g.dtype(mul(g, in(g, sa, a), in(g, sb, b, 1)));
  };
  EXPECT_EQ(result(DType::Int64, {2}, DType::Float32, {2}), DType::Float32);
  EXPECT_EQ(result(DType::Float32, {2}, DType::Float64, {2}), DType::Float64);
  EXPECT_EQ(result(DType::Float32, {2}, DType::Float64, {}), DType::Float32);
  EXPECT_EQ(result(DType::Int32, {2}, DType::Int64, {}), DType::Int32);
  EXPECT_EQ(result(DType::Int32, {2}, DType::Float64, {}), DType::Float64);
  EXPECT_EQ(result(DType::Bool, {2}, DType::Int32, {}), DType::Int32);
  EXPECT_EQ(result(DType::Float32, {}, DType::Float64, {}), DType::Float64);
  EXPECT_EQ(result(DType::Float64, {}, DType::Int64, {2}), DType::Float64);
}

TEST(Primitives, FloatFunctionsOfIntegersComputeInFloat32) {
  Graph g;
  EXPECT_EQ(g.dtype(unary(g, Op::Exp, in(g, {2}, DType::Int64))), DType::Float32);
  EXPECT_EQ(g.dtype(unary(g, Op::Sqrt, in(g, {2}, DType::Bool))), DType::Float32);
  EXPECT_EQ(g.dtype(unary(g, Op::Floor, in(g, {2}, DType::Int32))), DType::Int32);
  EXPECT_EQ(g.dtype(unary(g, Op::Neg, in(g, {2}, DType::Int64))), DType::Int64);
  EXPECT_EQ(g.dtype(binary(g, Op::Atan2, in(g, {2}, DType::Int64), in(g, {2}, DType::Int64, 1))),
            DType::Float32);
}

TEST(Primitives, OperationsRefuseDtypesTheyDoNotTake) {
  Graph g;
  const NodeId f = in(g, {2, 3}), b = in(g, {2, 3}, DType::Bool, 1),
               i = in(g, {2, 3}, DType::Int32, 2);
  EXPECT_EQ(message_of<DTypeError>([&] { unary(g, Op::Not, f); }),
            "not: the operand must be bool or an integer: got f32[2,3]");
  EXPECT_THROW(unary(g, Op::Neg, b), DTypeError);
  EXPECT_THROW(binary(g, Op::Sub, b, b), DTypeError);
  EXPECT_EQ(message_of<DTypeError>([&] { binary(g, Op::And, f, b); }),
            "and: the operands must be bool or integers: got f32[2,3] and b8[2,3]");
  EXPECT_THROW(binary(g, Op::Shl, b, b), DTypeError);
  EXPECT_THROW(select(g, i, f, f), DTypeError);
  EXPECT_THROW(contract(g, f, i, {}), DTypeError);
  EXPECT_THROW(random(g, i, DType::Float32, Dims{2}, 0), DTypeError);
  EXPECT_THROW(iota(g, DType::Float32, 3), DTypeError);
  EXPECT_THROW(gather(g, f, 0, f), DTypeError);
  EXPECT_THROW(unary(g, Op::Add, f), ValueError);
}

TEST(Primitives, SixtyFiveDimensionsAreRefused) {
  Graph g;
  EXPECT_NO_THROW(in(g, Dims(64, 1)));
  EXPECT_EQ(message_of<ShapeError>([&] { in(g, Dims(65, 1)); }),
            "input: a tensor has at most 64 dimensions: got 65");
  EXPECT_THROW(reshape(g, in(g, {1}), Dims(65, 1)), ShapeError);
  EXPECT_THROW(broadcast_to(g, in(g, {1}), Dims(65, 1)), ShapeError);
}

TEST(Primitives, SizesThatOverflowAreRefused) {
  Graph g;
  EXPECT_THROW(in(g, {int64_t{1} << 40, int64_t{1} << 40}), ShapeError);
  EXPECT_THROW(broadcast_to(g, in(g, {1, 1}), Dims{int64_t{1} << 40, int64_t{1} << 40}),
               ShapeError);
  EXPECT_THROW(in(g, {-1}), ShapeError);
  EXPECT_NO_THROW(in(g, {0, int64_t{1} << 62}));
  EXPECT_THROW(input(g, 0, DType::Float32, Dims{4, 4}, Dims{INT64_MAX / 2, 1}), ShapeError);
}

TEST(Primitives, InputStridesHaveOneSpelling) {
  Graph g;
  EXPECT_EQ(input(g, 0, DType::Float32, Dims{2, 1, 3}),
            input(g, 0, DType::Float32, Dims{2, 1, 3}, Dims{3, 99, 1}));
  EXPECT_THROW(input(g, 0, DType::Float32, Dims{2, 3}, Dims{1}), LayoutError);
  EXPECT_THROW(input(g, -1, DType::Float32, Dims{2}), ValueError);
}

TEST(Primitives, ReshapeInfersOneExtent) {
  Graph g;
  const NodeId x = in(g, {2, 6});
  EXPECT_EQ(shape_of(g, reshape(g, x, Dims{3, -1})), (Dims{3, 4}));
  EXPECT_EQ(message_of<ShapeError>([&] { reshape(g, x, Dims{5, -1}); }),
            "reshape: no extent for -1 keeps the 12 elements: got f32[2,6] to [5,-1]");
  EXPECT_THROW(reshape(g, x, Dims{-1, -1}), ShapeError);
  EXPECT_THROW(reshape(g, x, Dims{11}), ShapeError);
  EXPECT_EQ(shape_of(g, reshape(g, in(g, {0, 3}), Dims{3, 0})), (Dims{3, 0}));
  EXPECT_THROW(reshape(g, in(g, {0, 3}), Dims{0, -1}), ShapeError);
}

TEST(Primitives, ReductionsDropOrKeepDimensions) {
  Graph g;
  const NodeId x = in(g, {2, 3, 4});
  EXPECT_EQ(shape_of(g, reduce(g, Op::Sum, x, Dims{1})), (Dims{2, 4}));
  EXPECT_EQ(shape_of(g, reduce(g, Op::Sum, x, Dims{-1, 0}, true)), (Dims{1, 3, 1}));
  EXPECT_EQ(shape_of(g, reduce(g, Op::ReduceMax, x, {})), (Dims{}));
  EXPECT_EQ(g.dtype(reduce(g, Op::ArgMax, x, Dims{2})), DType::Int64);
  EXPECT_EQ(g.dtype(reduce(g, Op::Sum, in(g, {4}, DType::Bool), {})), DType::Int64);
  EXPECT_EQ(g.dtype(reduce(g, Op::Prod, in(g, {4}, DType::Int32), {})), DType::Int64);
  EXPECT_EQ(g.dtype(reduce(g, Op::ReduceMax, in(g, {4}, DType::Bool), {})), DType::Bool);
  EXPECT_THROW(reduce(g, Op::ArgMax, x, {}), ValueError);
  EXPECT_THROW(reduce(g, Op::Sum, x, Dims{1, -2}), ValueError);
  EXPECT_EQ(message_of<IndexError>([&] { reduce(g, Op::Sum, x, Dims{3}); }),
            "sum: the dimension must lie in [-3, 3) for rank 3: got 3");
}

TEST(Primitives, MaxOfNothingIsAnError) {
  Graph g;
  const NodeId x = in(g, {0, 3});
  EXPECT_EQ(message_of<ShapeError>([&] { reduce(g, Op::ReduceMax, x, Dims{0}); }),
            "reduce_max: nothing to reduce: a reduced dimension has no elements: got f32[0,3]");
  EXPECT_EQ(shape_of(g, reduce(g, Op::ReduceMax, x, Dims{1})), (Dims{0}));
  EXPECT_EQ(shape_of(g, reduce(g, Op::Sum, x, Dims{0})), (Dims{3}));
}

TEST(Primitives, SumsAndProductsOfNothingDoNotSeeTheConstant) {
  for (const double value : {double{NAN}, double{INFINITY}, -double{INFINITY}, 2.0}) {
    Graph g;
    const NodeId x = full(g, Dims{0, 3}, Scalar::of_float(DType::Float32, value));
    for (const Op op : {Op::Sum, Op::Prod}) {
      const NodeId y = reduce(g, op, x, Dims{0});
      ASSERT_EQ(shape_of(g, y), (Dims{3}));
      const std::optional<Scalar> result = constant_value(g, y);
      ASSERT_TRUE(result.has_value());
      EXPECT_EQ(result->f, op == Op::Prod ? 1 : 0) << value;
    }
  }
}

TEST(Primitives, WindowAppendsOneDimensionPerWindow) {
  Graph g;
  const NodeId x = in(g, {2, 3, 7, 9});
  const WindowDim windows[] = {{2, 3, 2, 1}, {3, 2, 1, 3}};
  const NodeId y = window(g, x, windows);
  EXPECT_EQ(g[y].op, Op::Window);
  EXPECT_EQ(shape_of(g, y), (Dims{2, 3, 3, 6, 3, 2}));
  const WindowDim too_large[] = {{2, 4, 1, 3}};
  EXPECT_EQ(
      message_of<ShapeError>([&] { window(g, x, too_large); }),
      "window: a window that reaches over 10 elements must fit: got dimension 2 of f32[2,3,7,9]");
}

TEST(Primitives, PadAddsLowHighAndInterior) {
  Graph g;
  const NodeId y =
      pad(g, in(g, {3, 2}), Dims{1, 0}, Dims{2, 0}, Dims{1, 2}, Scalar::of(DType::Float32, 0));
  EXPECT_EQ(shape_of(g, y), (Dims{8, 4}));
  EXPECT_THROW(pad(g, in(g, {3}), Dims{-1}, Dims{0}, Dims{0}, Scalar()), ValueError);
}

TEST(Primitives, ConcatPromotesAndChecksExtents) {
  Graph g;
  const NodeId parts[] = {in(g, {2, 3}), in(g, {4, 3}, DType::Float64, 1)};
  const NodeId y = concat(g, parts, 0);
  EXPECT_EQ(shape_of(g, y), (Dims{6, 3}));
  EXPECT_EQ(g.dtype(y), DType::Float64);
  EXPECT_EQ(message_of<ShapeError>([&] { concat(g, parts, 1); }),
            "concat: extents other than dimension 1 must be equal: got f32[2,3] and f64[4,3]");
}

ContractSpec matmul_spec(int64_t m, int64_t n, int64_t k) {
  return {{m, n, k},
          {DimMap::label(0), DimMap::label(2)},
          {DimMap::label(2), DimMap::label(1)},
          {0, 1}};
}

TEST(Primitives, ContractChecksItsLabels) {
  Graph g;
  const NodeId a = in(g, {2, 3}), b = in(g, {3, 4}, DType::Float32, 1);
  EXPECT_EQ(shape_of(g, contract(g, a, b, matmul_spec(2, 4, 3))), (Dims{2, 4}));
  EXPECT_EQ(message_of<ShapeError>([&] { contract(g, a, b, matmul_spec(2, 4, 5)); }),
            "contract: label 2 has extent 5, dimension 1 of lhs must have it too: got f32[2,3]");
  ContractSpec spec = matmul_spec(2, 4, 3);
  spec.out = {0, 0};
  EXPECT_THROW(contract(g, a, b, spec), ValueError);
  spec.out = {0, 7};
  EXPECT_THROW(contract(g, a, b, spec), ValueError);
  spec = matmul_spec(2, 4, 3);
  spec.lhs[0].s = 0;
  EXPECT_THROW(contract(g, a, b, spec), ValueError);
  spec.lhs[0] = {0, 1, INT64_MAX, INT64_MAX, 0, 1};
  EXPECT_THROW(contract(g, a, b, spec), ShapeError);
  spec = matmul_spec(2, 4, 3);
  spec.extents.push_back(9);
  EXPECT_THROW(contract(g, a, b, spec), ValueError);
  spec = matmul_spec(2, 4, 3);
  spec.lhs.pop_back();
  EXPECT_THROW(contract(g, a, b, spec), ShapeError);
}

TEST(Primitives, ContractsThatDifferInLabelNamesAreOneNode) {
  Graph g;
  const NodeId a = in(g, {2, 3}), b = in(g, {3, 4}, DType::Float32, 1);
  const ContractSpec renamed{{3, 2, 4},
                             {DimMap::label(1), DimMap::label(0)},
                             {DimMap::label(0), DimMap::label(2)},
                             {1, 2}};
  EXPECT_EQ(contract(g, a, b, matmul_spec(2, 4, 3)), contract(g, a, b, renamed));
}

TEST(Primitives, GatherAndScatterCheckShapes) {
  Graph g;
  const NodeId x = in(g, {4, 5}), i = in(g, {2, 5}, DType::Int64, 1),
               v = in(g, {2, 5}, DType::Float32, 2);
  EXPECT_EQ(shape_of(g, gather(g, x, 0, i)), (Dims{2, 5}));
  EXPECT_EQ(shape_of(g, scatter(g, x, 0, i, v, ScatterMode::Add)), (Dims{4, 5}));
  EXPECT_THROW(gather(g, v, 1, in(g, {3, 5}, DType::Int64, 3)), ShapeError);
  EXPECT_THROW(scatter(g, x, 0, i, x, ScatterMode::Add), ShapeError);
  EXPECT_THROW(scatter(g, x, 0, i, in(g, {2, 5}, DType::Float64, 4), ScatterMode::Set), DTypeError);
  EXPECT_EQ(gather(g, x, 0, i), gather(g, x, -2, i));
}

TEST(Primitives, ScansAndSortsKeepTheShape) {
  Graph g;
  EXPECT_EQ(g.dtype(scan(g, Op::CumSum, in(g, {4}, DType::Bool), 0)), DType::Int64);
  EXPECT_EQ(g.dtype(scan(g, Op::CumSum, in(g, {4}), 0)), DType::Float32);
  EXPECT_EQ(g.dtype(argsort(g, in(g, {4, 2}), 0, true)), DType::Int64);
  EXPECT_THROW(scan(g, Op::CumProd, in(g, {}), 0), IndexError);
}

}  // namespace
}  // namespace coregrad::ops
