// Whole graphs through the compiler against the interpreter.

#include "base/error.h"
#include "compile/compiler.h"
#include "grad/gradient.h"
#include "ops/operators.h"
#include "ops/primitives.h"
#include "runtime/thread_team.h"

#include <gtest/gtest.h>

#include "compile_check.h"
#include <atomic>
#include <functional>
#include <numeric>
#include <pthread.h>
#include <thread>

namespace coregrad {
namespace {

using Dims = std::vector<int64_t>;
using test::check;
using test::check_strided;
using test::in;
using test::matmul_spec;

NodeId spread(Graph& g, NodeId x, const Dims& keep, const Dims& full) {
  return ops::broadcast_to(g, ops::reshape(g, x, keep), full);
}

TEST(Compile, RunsAnElementwiseChain) {
  Graph g;
  const NodeId x = in(g, 0, {37, 53}), y = in(g, 1, {53});
  CompileReport report;
  check(g, {ops::exp(g, ops::unary(g, Op::Tanh, ops::add(g, ops::mul(g, x, y), x)))}, &report);
  EXPECT_EQ(report.steps, 1);
}

/// A batched product in PyTorch: views around a product of three dimensions.
TEST(Compile, AReshapedOutputIsWrittenByTheEpilogueBelow) {
  Graph g;
  const NodeId x = in(g, 0, {6, 5, 8}, DType::BFloat16), y = in(g, 1, {6, 8, 7}, DType::BFloat16);
  ContractSpec spec;
  spec.extents = {6, 5, 7, 8};
  spec.lhs = {DimMap::label(0), DimMap::label(1), DimMap::label(3)};
  spec.rhs = {DimMap::label(0), DimMap::label(3), DimMap::label(2)};
  spec.out = {0, 1, 2};
  const NodeId product =
      ops::contract(g, ops::cast(g, x, DType::Float32), ops::cast(g, y, DType::Float32), spec);
  CompileReport report;
  check(g, {ops::reshape(g, ops::cast(g, product, DType::BFloat16), Dims{2, 3, 5, 7})}, &report);
  EXPECT_EQ(report.steps, 1);
}

TEST(Compile, AProductReadsOperandsThroughCastsThatKeepTheirValues) {
  const auto product = [](Graph& g, NodeId x, NodeId y) {
    return ops::contract(g, x, ops::permute(g, y, Dims{1, 0}), matmul_spec(9, 11, 37));
  };
  for (const DType memory : {DType::Int8, DType::UInt8, DType::Int16, DType::Bool, DType::Int32,
                             DType::BFloat16, DType::Float16, DType::Float32, DType::Int64}) {
    for (const DType dtype : {DType::Float32, DType::Float64, DType::Int32, DType::Int64}) {
      if (is_float(memory) && !is_float(dtype)) continue;
      Graph g;
      const NodeId x = in(g, 0, {9, 37}, dtype), y = in(g, 1, {11, 37}, memory);
      CompileReport report;
      check(g, {product(g, x, ops::cast(g, y, dtype))}, &report);
      const bool is_read =
          size_of(memory) <= size_of(dtype) && !(is_narrow(memory) && dtype == DType::Float64);
      EXPECT_EQ(report.steps, is_read ? 1 : 2) << name_of(memory) << " " << name_of(dtype);
    }
  }
  // A first cast that rounds must not be left out.
  Graph g;
  const NodeId x = in(g, 0, {9, 37}, DType::Float64), y = in(g, 1, {11, 37}, DType::Int32);
  const NodeId large = ops::mul(g, y, ops::literal(g, DType::Int32, 99999999));
  const NodeId rounded =
      ops::permute(g, ops::cast(g, ops::permute(g, large, Dims{1, 0}), DType::Float32), Dims{1, 0});
  check(g, {product(g, x, ops::cast(g, rounded, DType::Float64))});
}

constexpr DType kSmallIntegers[] = {DType::Int8, DType::UInt8, DType::Int16, DType::UInt16,
                                    DType::UInt32};

TEST(Compile, SmallIntegersAreReadAndWrittenAsMemoryHoldsThem) {
  for (const DType dtype : kSmallIntegers) {
    Graph g;
    const NodeId x = ops::input(g, 0, dtype, Dims{13, 37}, Dims{40, 1}), y = in(g, 1, {37}, dtype);
    const NodeId sum = ops::add(g, x, y);
    EXPECT_EQ(g.dtype(sum), dtype);
    CompileReport report;
    check(g, {sum, ops::cast(g, sum, DType::Float32)}, &report);
    EXPECT_EQ(report.steps, 1);
    check(g, {x, ops::reduce(g, Op::Sum, x, Dims{1}), ops::reduce(g, Op::ReduceMax, x, Dims{0}),
              ops::argsort(g, x, 1, false), ops::cast(g, x, DType::Bool)});
  }
}

TEST(Compile, SmallIntegersAreMovedAsTheyAreAndWrapWhereTheyAreComputed) {
  for (const DType dtype : kSmallIntegers) {
    Graph g;
    const NodeId x = in(g, 0, {13, 37}, dtype), y = in(g, 1, {13, 37}, dtype);
    const NodeId at = ops::cast(g, ops::compare(g, Op::Lt, x, y), DType::Int64);
    const NodeId shifted =
        ops::pad(g, x, Dims{1, 0}, Dims{0, 2}, Dims{0, 0}, Scalar::of_int(dtype, 7));
    const NodeId parts[] = {x, shifted};
    const NodeId moved[] = {
        ops::select(g, ops::compare(g, Op::Le, x, y), x, ops::literal(g, dtype, 3)),
        ops::gather(g, x, 0, at), ops::scatter(g, x, 1, at, y, ScatterMode::Set),
        ops::permute(g, x, Dims{1, 0}),
        ops::concat(g, {{parts[0], ops::narrow(g, shifted, 1, 0, 37)}}, 0)};
    for (const NodeId node : moved) EXPECT_EQ(g.dtype(node), dtype);
    check(g, {moved[0], moved[1], moved[2], moved[3], moved[4]});
    const NodeId computed[] = {ops::mul(g, x, y), ops::unary(g, Op::Neg, x),
                               ops::unary(g, Op::Not, y), ops::binary(g, Op::Max, x, y),
                               ops::scatter(g, x, 1, at, y, ScatterMode::Add)};
    for (const NodeId node : computed) EXPECT_EQ(g.dtype(node), dtype);
    check(g, {computed[0], computed[1], computed[2], computed[3], computed[4],
              ops::unary(g, Op::Exp, x), ops::scan(g, Op::CumSum, x, 1)});
    for (const DType to : kSmallIntegers) check(g, {ops::cast(g, x, to)});
  }
}

TEST(Compile, ConstantsOfSmallIntegersFoldToWhatIsComputed) {
  Graph g;
  const auto number = [&](int64_t v) { return ops::literal(g, Scalar::of_int(DType::Int8, v)); };
  const auto value = [&](NodeId node) { return static_cast<int64_t>(g[node].literal); };
  EXPECT_EQ(value(ops::add(g, number(100), number(100))), -56);
  EXPECT_EQ(value(ops::unary(g, Op::Neg, number(-128))), -128);
  EXPECT_EQ(value(ops::cast(g, number(-1), DType::UInt8)), 255);
  EXPECT_EQ(value(ops::cast(g, number(-1), DType::UInt32)), 4294967295);
  EXPECT_EQ(value(ops::cast(g, ops::literal(g, DType::Float32, 300), DType::Int8)), 44);
}

TEST(Compile, ReadsStridedInputs) {
  Graph g;
  const NodeId x = ops::input(g, 0, DType::Float32, Dims{5, 7, 9}, Dims{1, 45, 5});
  const NodeId y = ops::input(g, 1, DType::Float32, Dims{5, 7, 9}, Dims{0, 9, 1});
  check(g, {ops::add(g, x, y)});
  // Steps of the library know dense memory only.
  check(g, {ops::scan(g, Op::CumSum, x, 0), ops::argsort(g, x, 1, false)});
}

TEST(Compile, RunsViews) {
  Graph g;
  const NodeId x = in(g, 0, {6, 10, 8});
  const NodeId p = ops::permute(g, x, Dims{2, 0, 1});
  const NodeId r = ops::reshape(g, p, Dims{48, 10});
  const NodeId s = ops::slice(g, r, Dims{3, 1}, Dims{40, 9}, Dims{2, 3});
  const NodeId f = ops::flip(g, s, Dims{1});
  const NodeId q =
      ops::pad(g, f, Dims{2, 0}, Dims{1, 3}, Dims{0, 1}, Scalar::of(DType::Float32, 7));
  check(g, {p, r, s, f, q, ops::mul(g, q, q)});
}

TEST(Compile, RunsWindows) {
  Graph g;
  const NodeId x = in(g, 0, {2, 3, 11, 13});
  const ops::WindowDim dims[] = {{2, 3, 2, 1}, {3, 2, 1, 2}};
  const NodeId w = ops::window(g, x, dims);
  check(g, {ops::reduce(g, Op::ReduceMax, w, Dims{4, 5}), ops::reduce(g, Op::Sum, w, Dims{4, 5})});
}

TEST(Compile, RunsSoftmaxAsOneStep) {
  Graph g;
  for (const Dims& shape : {Dims{33, 257}, Dims{4, 5}, Dims{1, 1000}, Dims{300, 3}}) {
    Graph h;
    const NodeId x = in(h, 0, shape);
    const Dims keep = {shape[0], 1};
    const NodeId top = ops::reduce(h, Op::ReduceMax, x, Dims{1});
    const NodeId e = ops::exp(h, ops::sub(h, x, spread(h, top, keep, shape)));
    const NodeId sum = ops::reduce(h, Op::Sum, e, Dims{1});
    CompileReport report;
    check(h, {ops::div(h, e, spread(h, sum, keep, shape))}, &report);
    EXPECT_EQ(report.steps, 1);
  }
}

TEST(Compile, KeepsAValueForEachOfTheVectorsThatGoThroughALoopTogether) {
  // Columns side by side; `value` is dear enough to be kept, and cheap enough for several vectors.
  for (const Dims& shape : {Dims{33, 257}, Dims{4, 1000}, Dims{64, 64}}) {
    Graph g;
    const NodeId x = in(g, 0, shape);
    const NodeId two = ops::literal(g, DType::Float32, 2);
    const NodeId value = ops::div(g, x, ops::add(g, ops::mul(g, x, x), two));
    const NodeId sum = ops::reduce(g, Op::Sum, value, Dims{0}, /*keepdim=*/true);
    CompileReport report;
    check(g, {ops::sub(g, value, ops::broadcast_to(g, sum, shape))}, &report);
    EXPECT_EQ(report.steps, 1);
  }
}

TEST(Compile, RunsReductionsOverEveryChoiceOfDimensions) {
  for (int mask = 1; mask < 8; ++mask)
    for (const Op op : {Op::Sum, Op::Prod, Op::ReduceMax, Op::ReduceMin}) {
      Graph g;
      const NodeId x = in(g, 0, {7, 18, 33});
      Dims dims;
      for (int d = 0; d < 3; ++d)
        if (mask >> d & 1) dims.push_back(d);
      check(g, {ops::reduce(g, op, ops::mul(g, x, x), dims)});
    }
}

TEST(Compile, RunsLargeReductionsInParts) {
  for (const Dims& shape : {Dims{300000}, Dims{4099, 40}, Dims{3, 70001}, Dims{100003}}) {
    Graph g;
    const NodeId x = in(g, 0, shape);
    check(g, {ops::reduce(g, Op::Sum, x, {}), ops::reduce(g, Op::ReduceMax, x, Dims{0})});
  }
}

TEST(Compile, PadsThePartsOfAReductionWithWhatChangesNoResult) {
  // A prime number of elements has no equal parts. All results are such that a wrong padding shows.
  const Dims shape = {100003};
  for (const DType dtype : {DType::Float32, DType::Int64}) {
    Graph g;
    const NodeId x = in(g, 0, shape, dtype);
    const NodeId positive = ops::add(g, ops::mul(g, x, x), ops::literal(g, Scalar::of(dtype, 1)));
    check(g, {ops::reduce(g, Op::ReduceMin, positive, {}),
              ops::reduce(g, Op::ReduceMax, ops::neg(g, positive), {}),
              ops::reduce(g, Op::Sum, positive, {})});
  }
  Graph g;
  const NodeId x = in(g, 0, shape, DType::Float64);
  const NodeId small = ops::mul(g, x, ops::literal(g, DType::Float64, 1e-4));
  const NodeId three = ops::literal(g, DType::Float64, 3);
  check(g, {ops::reduce(g, Op::Prod, ops::exp(g, small), {}),
            ops::reduce(g, Op::ReduceMin, ops::compare(g, Op::Lt, x, three), {}),
            ops::reduce(g, Op::ReduceMax, ops::compare(g, Op::Lt, three, x), {})});
}

TEST(Compile, AddsLongColumnsInParts) {
  for (const Dims& shape : {Dims{1024, 512}, Dims{1000, 530}, Dims{777, 701}, Dims{30, 3, 6000},
                            Dims{4, 300, 601}, Dims{9, 70000}})
    for (const Op op : {Op::Sum, Op::Prod, Op::ReduceMax, Op::ReduceMin}) {
      Graph g;
      const NodeId x = in(g, 0, shape);
      const auto last = static_cast<int64_t>(shape.size()) - 2;
      check(g, {ops::reduce(g, op, x, Dims{last}),
                ops::reduce(g, op, ops::unary(g, Op::Sin, x), Dims{0})});
    }
  for (const DType dtype : {DType::Float64, DType::Int32, DType::Int64}) {
    Graph g;
    const NodeId x = in(g, 0, {1200, 500}, dtype);
    const NodeId square = ops::mul(g, x, x);  // is stored as well as summed
    check(g, {square, ops::reduce(g, Op::Sum, square, Dims{0}),
              ops::reduce(g, Op::ReduceMax, x, Dims{0})});
  }
}

TEST(Compile, AddsLongColumnsInTheSameOrderForOneAndTwoThreads) {
  Graph g;
  const NodeId sum = ops::reduce(g, Op::Sum, in(g, 0, {1001, 600}), Dims{0});
  const auto inputs = test::random_inputs(g, 5);
  ThreadTeam& team = ThreadTeam::global();
  const int before = team.num_threads();
  team.set_num_threads(1);
  const auto one = test::run_compiled(g, {{sum}}, inputs);
  team.set_num_threads(2);
  const auto two = test::run_compiled(g, {{sum}}, inputs);
  team.set_num_threads(before);
  EXPECT_EQ(one, two);
}

TEST(Compile, RunsArgReductions) {
  Graph g;
  const NodeId x = in(g, 0, {9, 40, 5});
  check(g, {ops::reduce(g, Op::ArgMax, x, Dims{1}), ops::reduce(g, Op::ArgMin, x, Dims{2}),
            ops::reduce(g, Op::ArgMax, x, Dims{0})});
}

TEST(Compile, RunsBatchNormWithRunningStatistics) {
  Graph g;
  const Dims full = {4, 6, 9, 7}, keep = {1, 6, 1, 1};
  const NodeId x = in(g, 0, full), running = in(g, 1, {6});
  const NodeId scale = ops::literal(g, DType::Float32, 1.0 / (4 * 9 * 7));
  const NodeId mean = ops::mul(g, ops::reduce(g, Op::Sum, x, Dims{0, 2, 3}), scale);
  const NodeId centred = ops::sub(g, x, spread(g, mean, keep, full));
  const NodeId var =
      ops::mul(g, ops::reduce(g, Op::Sum, ops::mul(g, centred, centred), Dims{0, 2, 3}), scale);
  const NodeId rstd =
      ops::unary(g, Op::Rsqrt, ops::add(g, var, ops::literal(g, DType::Float32, 1e-5)));
  const NodeId y = ops::mul(g, centred, spread(g, rstd, keep, full));
  const NodeId now = ops::add(g, ops::mul(g, running, ops::literal(g, DType::Float32, 0.9)),
                              ops::mul(g, mean, ops::literal(g, DType::Float32, 0.1)));
  CompileReport report;
  check(g, {y, mean, rstd, now}, &report);
  EXPECT_EQ(report.steps, 1);
}

TEST(Compile, RunsMatmulWithEpilogue) {
  Graph g;
  const NodeId a = in(g, 0, {65, 30}), b = in(g, 1, {30, 47}), bias = in(g, 2, {47});
  const NodeId c = ops::contract(g, a, b, matmul_spec(65, 47, 30));
  const NodeId y = ops::maximum(g, ops::add(g, c, bias), ops::literal(g, DType::Float32, 0));
  CompileReport report;
  check(g, {y}, &report);
  EXPECT_EQ(report.steps, 1);
  check(g, {y, c});
}

TEST(Compile, JoinsNoKernelWithOneThatReadsItsResultElsewhere) {
  Graph g;
  const NodeId dear = ops::exp(g, ops::unary(g, Op::Tanh, in(g, 0, {6})));
  const NodeId sums = ops::reduce(g, Op::Sum, in(g, 1, {6, 40}), Dims{1});
  for (const NodeId p : {dear, sums}) {
    // Along two axes at once, over its end, and where another reduction has an axis more.
    const NodeId outer = ops::add(g, spread(g, p, {6, 1}, {6, 6}), spread(g, p, {1, 6}, {6, 6}));
    const NodeId padded = ops::pad(g, p, Dims{0}, Dims{3}, Dims{0}, Scalar::of(DType::Float32, 2));
    const NodeId inner = ops::reduce(
        g, Op::Sum, ops::mul(g, in(g, 2, {6, 5, 7}), spread(g, p, {6, 1, 1}, {6, 5, 7})), Dims{2});
    for (const NodeId reader : {outer, padded, inner}) check(g, {p, reader});
  }
  // What reads a concatenation waits for all of its parts.
  for (const int64_t n : {6, 300}) {
    const NodeId one = ops::exp(g, ops::unary(g, Op::Tanh, in(g, 5, {300})));
    const NodeId part = ops::slice(g, one, Dims{0}, Dims{n}, Dims{1});
    const NodeId parts[] = {one, ops::exp(g, in(g, 6, {n}))};
    const NodeId whole = ops::flip(g, ops::concat(g, parts, 0), Dims{0});
    check(g, {ops::add(g, part, ops::slice(g, whole, Dims{0}, Dims{n}, Dims{1})),
              ops::add(g, one, ops::slice(g, whole, Dims{0}, Dims{300}, Dims{1}))});
  }
  // A product that its reader wants straight and transposed is no epilogue.
  const NodeId c = ops::contract(g, in(g, 3, {16, 9}), in(g, 4, {9, 16}), matmul_spec(16, 16, 9));
  check(g, {ops::sub(g, c, ops::permute(g, c, Dims{1, 0}))});
}

TEST(Compile, TakesOverMemoryOnlyOfWhatDiesAndIsReadInPlace) {
  // Scans are steps of their own, so what they read and give lies in memory.
  Graph g;
  const NodeId sums = ops::scan(g, Op::CumSum, in(g, 0, {300}), 0);
  const NodeId half = ops::mul(g, sums, ops::literal(g, DType::Float32, 0.5));
  const NodeId turned = ops::add(g, half, ops::flip(g, sums, Dims{0}));
  const NodeId shifted = ops::scan(g, Op::CumSum, turned, 0);
  check(g, {shifted});
  const NodeId again = ops::scan(g, Op::CumSum, half, 0);
  check(g, {ops::add(g, again, sums)});
}

TEST(Compile, DoesNotTakeOverAConcatOfWhichAPartIsReadAsWell) {
  Graph g;
  const NodeId sums = ops::scan(g, Op::CumSum, in(g, 0, {8, 1, 5}), 0);
  const NodeId part = ops::unary(g, Op::Tanh, sums);
  const std::vector<NodeId> parts = {part, ops::exp(g, part)};
  const NodeId whole = ops::concat(g, parts, 1);
  const NodeId product = ops::mul(g, whole, part);
  check(g, {ops::scan(g, Op::CumSum, product, 0)});
}

TEST(Compile, ReadsColumnSumsWhenTheyAreComplete) {
  Graph g;
  const NodeId sums = ops::reduce(g, Op::Sum, in(g, 0, {4, 64, 512}), Dims{1});
  const NodeId scaled = ops::mul(g, sums, ops::literal(g, DType::Float32, 0.01));
  check(g, {ops::exp(g, scaled)});
  check(g, {sums, ops::exp(g, scaled)});
}

TEST(Compile, RunsMatmulOfTransposedAndComputedOperands) {
  Graph g;
  const NodeId a = in(g, 0, {30, 65}), b = in(g, 1, {47, 30});
  const NodeId at = ops::permute(g, a, Dims{1, 0});
  const NodeId bt = ops::permute(g, ops::exp(g, b), Dims{1, 0});
  check(g, {ops::contract(g, at, bt, matmul_spec(65, 47, 30))});
}

TEST(Compile, RunsAConvolution) {
  Graph g;
  const NodeId x = in(g, 0, {3, 4, 9, 11}), w = in(g, 1, {5, 4, 3, 3});
  ContractSpec spec;  // n o oh ow | c kh kw
  spec.extents = {3, 5, 5, 6, 4, 3, 3};
  spec.lhs = {DimMap::label(0), DimMap::label(4), {2, 5, 2, 1, -1, 1}, {3, 6, 2, 1, -1, 1}};
  spec.rhs = {DimMap::label(1), DimMap::label(4), DimMap::label(5), DimMap::label(6)};
  spec.out = {0, 1, 2, 3};
  const NodeId y = ops::contract(g, x, w, spec);
  check(g, {y, ops::unary(g, Op::Tanh, y)});
}

TEST(Compile, RunsDepthwiseConvolutionsAndTheirGradients) {
  // Windows that fit exactly, that leave elements over, and that reach into the padding.
  for (const int64_t stride : {1, 2, 3})
    for (const int64_t pad : {0, 1, 2})
      for (const int64_t dilation : {1, 2}) {
        Graph g;
        const int64_t h = 9, w = 12;
        const auto out = [&](int64_t n) { return (n + 2 * pad - 2 * dilation - 1) / stride + 1; };
        const NodeId x = in(g, 0, {2, 3, h, w}), kernel = in(g, 1, {3, 3, 3});
        ContractSpec spec;  // n c oh ow | kh kw
        spec.extents = {2, 3, out(h), out(w), 3, 3};
        spec.lhs = {DimMap::label(0),
                    DimMap::label(1),
                    {2, 4, stride, dilation, -pad, 1},
                    {3, 5, stride, dilation, -pad, 1}};
        spec.rhs = {DimMap::label(1), DimMap::label(4), DimMap::label(5)};
        spec.out = {0, 1, 2, 3};
        const NodeId y = ops::contract(g, x, kernel, spec);
        const NodeId outputs[] = {y}, targets[] = {x, kernel};
        const NodeId seeds[] = {in(g, 2, {2, 3, out(h), out(w)})};
        const std::vector<NodeId> slopes = gradients(g, outputs, seeds, targets);
        check(g, {y, slopes[0], slopes[1]});
      }
}

TEST(Compile, RunsGatherAndReportsBadIndices) {
  Graph g;
  const NodeId table = in(g, 0, {8, 20}), ids = in(g, 1, {6, 3}, DType::Int64);
  const NodeId index = ops::broadcast_to(g, ops::reshape(g, ids, Dims{18, 1}), Dims{18, 20});
  const NodeId rows = ops::gather(g, table, 0, index);
  check(g, {ops::mul(g, rows, rows)});

  const auto inputs = test::random_inputs(g, 1);
  auto bad = inputs;
  reinterpret_cast<int64_t*>(bad[1].data())[5] = 8;
  const std::vector<NodeId> outputs = {rows};
  EXPECT_THROW(test::run_compiled(g, outputs, bad), IndexError);
}

TEST(Compile, ScattersSlicesOfIndicesAndValues) {
  Graph g;
  const NodeId x = in(g, 0, {9, 4}), values = in(g, 1, {6, 8});
  const NodeId ids = in(g, 2, {5, 1}, DType::Int64);
  const auto sliced = [&](NodeId n, const Dims& starts, const Dims& stops) {
    return ops::slice(g, n, starts, stops, Dims{1, 1});
  };
  const NodeId rows = sliced(ids, {2, 0}, {5, 1}), some = sliced(values, {3, 4}, {6, 8});
  const NodeId index = ops::broadcast_to(g, rows, Dims{3, 4});
  check(g, {ops::scatter(g, x, 0, index, some, ScatterMode::Add),
            ops::scatter(g, x, 0, index, some, ScatterMode::Max)});
}

TEST(Compile, ReportsBadIndicesIntoOperandsThatAreTheSameEverywhere) {
  Graph g;
  const NodeId index = in(g, 0, {6, 3}, DType::Int64);
  const auto number = [](double x) { return Scalar::of_float(DType::Float32, x); };
  const NodeId row = in(g, 1, {1, 3}), scalar = in(g, 2, {});
  const std::pair<const char*, NodeId> tables[] = {
      {"a constant", ops::full(g, Dims{4, 3}, number(2))},
      {"a constant of one row", ops::full(g, Dims{1, 3}, number(2))},
      {"the only number", ops::iota(g, DType::Int64, 1)},
      {"a repeated row", ops::broadcast_to(g, row, Dims{4, 3})},
      {"one row", row},
      {"a repeated number", ops::broadcast_to(g, scalar, Dims{4, 3})},
      {"columns that count", ops::broadcast_to(g, ops::iota(g, DType::Int64, 3), Dims{4, 3})},
      {"nothing but padding", ops::pad(g, ops::full(g, Dims{0, 3}, number(1)), Dims{2, 0},
                                       Dims{2, 0}, Dims{0, 0}, number(7))},
  };
  for (const auto& [name, table] : tables) {
    SCOPED_TRACE(name);
    const bool is_vector = g.rank(table) == 1;
    const NodeId at = is_vector ? ops::reshape(g, index, Dims{18}) : index;
    const NodeId picked = ops::gather(g, table, 0, at);
    const NodeId sum = ops::reduce(g, Op::Sum, picked, Dims{0});
    for (const NodeId output : {picked, sum}) {
      const std::vector<NodeId> outputs = {output};
      auto inputs = test::random_inputs(g, 1);
      auto* const numbers = reinterpret_cast<int64_t*>(inputs[0].data());
      std::fill_n(numbers, 18, 0);
      EXPECT_NO_THROW(test::run_compiled(g, outputs, inputs));
      for (const int64_t bad : {int64_t{4}, int64_t{-1}, INT64_MIN}) {
        numbers[7] = bad;
        EXPECT_THROW(test::run_compiled(g, outputs, inputs), IndexError) << bad;
      }
    }
  }
}

TEST(Compile, RunsRandomTheSameForEveryFusion) {
  Graph g;
  const NodeId seed = ops::literal(g, Scalar::of_int(DType::Int64, 1234567890123));
  const NodeId u = ops::random(g, seed, DType::Float32, Dims{33, 20}, 5);
  const NodeId d = ops::random(g, seed, DType::Float64, Dims{7, 11}, 6);
  const NodeId i = ops::random(g, seed, DType::Int64, Dims{19}, 7);
  check(g, {u, d, i, ops::mul(g, u, in(g, 0, {33, 20}))});
  // Rows and slices that start inside a block of the generator.
  for (const DType dtype : {DType::Float32, DType::Float64}) {
    const NodeId v = ops::random(g, seed, dtype, Dims{9, 37}, 8);
    check(g, {ops::reduce(g, Op::Sum, v, Dims{1}),
              ops::slice(g, v, Dims{1, 3}, Dims{8, 36}, Dims{1, 1})});
  }
}

TEST(Compile, StepsOfAnUnrolledLoopShareTheirMachineCode) {
  Graph g;
  const NodeId xs = in(g, 0, {12, 4, 8}), w = in(g, 1, {8, 8});
  NodeId h = in(g, 2, {4, 8});
  std::vector<NodeId> steps;
  for (int64_t t = 0; t < 12; ++t) {
    const NodeId x = ops::reshape(
        g, ops::slice(g, xs, Dims{t, 0, 0}, Dims{t + 1, 4, 8}, Dims{1, 1, 1}), Dims{4, 8});
    h = ops::unary(g, Op::Tanh, ops::add(g, x, ops::contract(g, h, w, matmul_spec(4, 8, 8))));
    steps.push_back(ops::reshape(g, h, Dims{1, 4, 8}));
  }
  CompileReport report;
  check(g, {ops::concat(g, steps, 0)}, &report);
  EXPECT_EQ(report.steps, 12);
  EXPECT_LE(report.kernels_compiled, 1);
}

TEST(Compile, RunsZeroSizedAndScalarGraphs) {
  Graph g;
  const NodeId x = in(g, 0, {0, 5}), s = in(g, 1, {});
  check(g,
        {ops::exp(g, x), ops::reduce(g, Op::Sum, x, Dims{0}), ops::reduce(g, Op::Sum, x, Dims{1}),
         ops::reduce(g, Op::Prod, x, Dims{0}), ops::reduce(g, Op::Prod, x, Dims{1}),
         ops::add(g, s, ops::literal(g, DType::Float32, 2))});
}

TEST(Compile, CopiesOutputsThatAreInputsOrRepeat) {
  Graph g;
  const NodeId x = in(g, 0, {4, 5});
  const NodeId y = ops::neg(g, x);
  check(g, {x, y, y, ops::permute(g, x, Dims{1, 0}),
            ops::full(g, Dims{3}, Scalar::of(DType::Float32, 4))});
}

TEST(Compile, WritesOutputsWithTheStridesAsked) {
  Graph g;
  const NodeId x = in(g, 0, {4, 6});
  const NodeId y = ops::neg(g, x);
  const auto inputs = test::random_inputs(g, 3);
  const OutputSpec spec{y, {1, 4}, -1};
  const CompiledPlan compiled = compile(g, std::span(&spec, 1), 1);
  std::vector<float> out(24);
  const void* in_pointers[] = {inputs[0].data()};
  void* out_pointers[] = {out.data()};
  run(*compiled.plan, in_pointers, out_pointers);
  const auto* from = reinterpret_cast<const float*>(inputs[0].data());
  for (size_t i = 0; i < 4; ++i)
    for (size_t j = 0; j < 6; ++j) EXPECT_EQ(out[i + 4 * j], -from[i * 6 + j]);
}

TEST(Compile, UpdatesAnInputInItsOwnMemory) {
  Graph g;
  const NodeId x = in(g, 0, {1000});
  const NodeId doubled = ops::add(g, x, x);
  const NodeId sum = ops::reduce(g, Op::Sum, x, {});
  const OutputSpec specs[] = {{doubled, {}, 0}, {sum, {}, -1}};
  const CompiledPlan compiled = compile(g, specs, 1);
  std::vector<float> values(1000, 1.5f);
  float total = 0;
  const void* in_pointers[] = {values.data()};
  void* out_pointers[] = {values.data(), &total};
  run(*compiled.plan, in_pointers, out_pointers);
  EXPECT_EQ(total, 1500.0f);
  for (float v : values) EXPECT_EQ(v, 3.0f);
}

TEST(Compile, UpdatesAnInputAfterAllOfItIsRead) {
  Graph g;
  const NodeId x = in(g, 0, {1000});
  const OutputSpec spec{ops::sub(g, ops::flip(g, x, Dims{0}), x), {}, 0};
  const CompiledPlan compiled = compile(g, std::span(&spec, 1), 1);
  std::vector<float> values(1000);
  std::iota(values.begin(), values.end(), 0.0f);
  const void* in_pointers[] = {values.data()};
  void* out_pointers[] = {values.data()};
  run(*compiled.plan, in_pointers, out_pointers);
  for (size_t i = 0; i < 1000; ++i) EXPECT_EQ(values[i], 999.0f - 2.0f * static_cast<float>(i));
}

TEST(Compile, OutputsThatAreInputsKeepTheirOldValuesWhereInputsAreOverwritten) {
  Graph g;
  const NodeId x = in(g, 0, {4}), y = in(g, 1, {4}), z = in(g, 2, {4});
  const NodeId two = ops::add(g, x, x);
  // x and y swap, z is overwritten by 2 x, and the old x and z are results.
  const OutputSpec specs[] = {{y, {}, 0}, {x, {}, 1}, {two, {}, 2}, {x, {}, -1}, {z, {}, -1}};
  const CompiledPlan compiled = compile(g, specs, 3);
  float memory[3][4] = {{1, 2, 3, 4}, {5, 6, 7, 8}, {9, 10, 11, 12}}, old[2][4] = {};
  const void* const inputs[] = {memory[0], memory[1], memory[2]};
  void* const outputs[] = {memory[0], memory[1], memory[2], old[0], old[1]};
  run(*compiled.plan, inputs, outputs);
  for (int i = 0; i < 4; ++i) {
    const auto f = static_cast<float>(i);
    EXPECT_EQ(memory[0][i], f + 5);
    EXPECT_EQ(memory[1][i], f + 1);
    EXPECT_EQ(memory[2][i], 2 * (f + 1));
    EXPECT_EQ(old[0][i], f + 1);
    EXPECT_EQ(old[1][i], f + 9);
  }
}

TEST(Compile, CompilesEqualStructuresOnce) {
  Graph g;
  NodeId x = in(g, 0, {64, 64});
  std::vector<NodeId> outputs;
  for (int layer = 0; layer < 6; ++layer) {
    // Scaled so that tanh does not saturate, where small differences would grow from layer to
    // layer.
    const NodeId product = ops::contract(g, x, in(g, 1 + layer, {64, 64}), matmul_spec(64, 64, 64));
    x = ops::unary(g, Op::Tanh, ops::mul(g, product, ops::literal(g, DType::Float32, 0.05)));
    outputs.push_back(x);
  }
  CompileReport report;
  check(g, outputs, &report);
  EXPECT_EQ(report.kernels, 6);
  EXPECT_LE(report.kernels_compiled, 1);
}

// What reads the memory that it writes has code of its own: it must not compute an element twice.
TEST(Compile, AnUpdateInPlaceIsAnotherKernel) {
  for (const bool is_kept : {true, false}) {
    Graph g;
    const NodeId sums = ops::scan(g, Op::CumSum, in(g, 0, {1301, 3}), 1);
    const NodeId squares = ops::add(g, ops::mul(g, sums, sums), ops::literal(g, DType::Float32, 1));
    std::vector<NodeId> outputs = {ops::scan(g, Op::CumSum, squares, 1)};
    if (is_kept) outputs.push_back(sums);  // so its memory is not taken
    check(g, outputs);
  }
}

// As an optimiser has one for each parameter. The last one is summed and so is another kernel; two
// and three elements are less than any vector.
TEST(Compile, EqualFunctionsOfManyShapesAreOneKernel) {
  Graph g;
  std::vector<NodeId> outputs;
  int64_t inputs = 0;
  const auto update = [&](const std::vector<int64_t>& shape) {
    const NodeId x = in(g, inputs++, shape), step = in(g, inputs++, shape);
    const NodeId rate = ops::literal(g, DType::Float32, 0.3);
    return ops::sub(g, x, ops::mul(g, ops::unary(g, Op::Tanh, step), rate));
  };
  for (const int64_t n : {2, 3, 8, 33, 64, 1000, 4096, 70001}) outputs.push_back(update({n}));
  outputs.push_back(update({64, 33}));
  outputs.push_back(update({7, 3, 3, 3}));
  outputs.push_back(ops::reduce(g, Op::Sum, update({40, 5}), {{0}}));
  CompileReport report;
  check(g, outputs, &report);
  EXPECT_EQ(report.kernels, 11);
  EXPECT_LE(report.kernels_compiled, 4);
}

TEST(Compile, SizesShareTheirMachineCode) {
  // Rows are what changes: of a product with an epilogue, of what follows, and of one summed over
  // them.
  for (const int64_t rows : {31, 64, 30, 47, 100, 239}) {
    Graph g;
    const NodeId x = in(g, 0, {rows, 48}), w = in(g, 1, {48, 80}), b = in(g, 2, {80});
    const NodeId h =
        ops::unary(g, Op::Tanh, ops::add(g, ops::contract(g, x, w, matmul_spec(rows, 80, 48)), b));
    const NodeId y = ops::div(g, ops::exp(g, x), ops::literal(g, DType::Float32, 3));
    const NodeId outputs[] = {h, y};
    const auto inputs = test::random_inputs(g, static_cast<uint64_t>(rows));
    std::vector<InputView> views;
    for (const auto& i : inputs) views.push_back({i.data()});
    const std::vector<Array> expected = interpret(g, outputs, views);
    CompileOptions options;
    options.any_size = true;
    CompileReport report;
    const auto got = test::run_compiled(g, outputs, inputs, options, &report);
    for (size_t k = 0; k < 2; ++k)
      EXPECT_EQ(test::compare_results(DType::Float32, got[k], expected[k].data), "") << rows;
    EXPECT_EQ(report.kernels, 2);
    EXPECT_EQ(report.kernels_compiled, rows == 31 ? 2 : 0) << rows;
  }
}

TEST(Compile, RunsEveryDType) {
  for (const DType t : {DType::Bool, DType::Int32, DType::Int64, DType::Float32, DType::Float64}) {
    Graph g;
    const NodeId x = in(g, 0, {13, 21}, t), y = in(g, 1, {13, 21}, t);
    std::vector<NodeId> outputs = {ops::maximum(g, x, y), ops::compare(g, Op::Lt, x, y),
                                   ops::select(g, ops::compare(g, Op::Eq, x, y), x, y),
                                   ops::reduce(g, Op::Sum, x, Dims{1}),
                                   ops::reduce(g, Op::ReduceMin, x, Dims{0})};
    for (const DType to : {DType::Bool, DType::Int32, DType::Int64, DType::Float32, DType::Float64})
      outputs.push_back(ops::cast(g, x, to));
    if (t != DType::Bool) outputs.push_back(ops::sub(g, x, ops::mul(g, y, y)));
    check(g, outputs);
  }
}

/// Runs `body` on a thread with a stack of 256 KiB.
void on_small_stack(const std::function<void()>& body) {
  pthread_attr_t attributes;
  ASSERT_EQ(pthread_attr_init(&attributes), 0);
  ASSERT_EQ(pthread_attr_setstacksize(&attributes, 256 * 1024), 0);
  pthread_t thread;
  const auto start = [](void* argument) -> void* {
    (*static_cast<const std::function<void()>*>(argument))();
    return nullptr;
  };
  ASSERT_EQ(pthread_create(&thread, &attributes, start, const_cast<std::function<void()>*>(&body)),
            0);
  pthread_join(thread, nullptr);
  pthread_attr_destroy(&attributes);
}

TEST(Compile, RunsAChainOfAMillionNodesAndItsGradientOnASmallStack) {
  on_small_stack([] {
    Graph g;
    const NodeId x = in(g, 0, {3});
    NodeId y = x;
    for (int i = 0; i < 500000; ++i) y = ops::neg(g, ops::unary(g, Op::Sin, y));
    const NodeId targets[] = {x};
    const NodeId outputs[] = {ops::reduce(g, Op::Sum, y, {})};
    const NodeId dx = gradients(g, outputs, {}, targets)[0];
    EXPECT_GT(g.size(), 1000000u);
    const std::vector<float> values = {0.5f, -1.0f, 2.0f};
    const InputView view{values.data()};
    const std::vector<NodeId> both = {outputs[0], dx};
    const std::vector<Array> expected = interpret(g, both, std::span(&view, 1));
    const OutputSpec specs[] = {{both[0], {}, -1}, {both[1], {}, -1}};
    const CompiledPlan compiled = compile(g, specs, 1);
    EXPECT_LE(compiled.report.kernels_compiled, 40);
    float sum = -1;
    std::vector<float> gradient(3, -1.0f);
    const void* in_pointers[] = {values.data()};
    void* out_pointers[] = {&sum, gradient.data()};
    run(*compiled.plan, in_pointers, out_pointers);
    EXPECT_NEAR(sum, expected[0].as<float>()[0], 1e-3);
    for (size_t i = 0; i < 3; ++i) EXPECT_NEAR(gradient[i], expected[1].as<float>()[i], 1e-4);
  });
}

TEST(Compile, PlansRunFromSeveralThreadsAtOnce) {
  Graph g;
  const NodeId x = in(g, 0, {64, 300}), w = in(g, 1, {300, 50});
  const NodeId c = ops::contract(g, ops::unary(g, Op::Tanh, x), w, matmul_spec(64, 50, 300));
  const NodeId y =
      ops::div(g, c,
               spread(g, ops::reduce(g, Op::ReduceMax, ops::unary(g, Op::Abs, c), Dims{1}), {64, 1},
                      {64, 50}));
  const OutputSpec spec{y, {}, -1};
  const CompiledPlan compiled = compile(g, std::span(&spec, 1), 2);
  const auto inputs = test::random_inputs(g, 9);
  const void* in_pointers[] = {inputs[0].data(), inputs[1].data()};
  std::vector<float> expected(64 * 50);
  void* expected_pointers[] = {expected.data()};
  run(*compiled.plan, in_pointers, expected_pointers);
  std::vector<std::thread> threads;
  std::atomic<int> wrong = 0;
  for (int t = 0; t < 6; ++t)
    threads.emplace_back([&] {
      std::vector<float> out(64 * 50);
      void* out_pointers[] = {out.data()};
      for (int repeat = 0; repeat < 50; ++repeat) {
        run(*compiled.plan, in_pointers, out_pointers);
        if (out != expected) ++wrong;
      }
    });
  for (std::thread& t : threads) t.join();
  EXPECT_EQ(wrong, 0);
}

// What is cut out of something, turned around or repeated needs no copy.
TEST(Compile, AScatterReadsIndicesAndValuesWhereTheyLie) {
  for (const int64_t width : {1, 5, 16, 70, 300}) {
    Graph g;
    const NodeId edges = in(g, 0, {2, 40}, DType::Int64), rows = in(g, 1, {43, width});
    const NodeId to = ops::reshape(g, ops::narrow(g, edges, 0, 1, 2), Dims{40, 1});
    const NodeId index = ops::broadcast_to(g, to, Dims{40, width});
    const NodeId values = ops::flip(g, ops::narrow(g, rows, 0, 3, 43), Dims{0});
    const NodeId zeros = ops::full(g, Dims{9, width}, Scalar::of(DType::Float32, 0));
    for (const ScatterMode mode : {ScatterMode::Add, ScatterMode::Set, ScatterMode::Max}) {
      CompileReport report;
      check(g, {ops::scatter(g, zeros, 0, index, values, mode)}, &report);
      EXPECT_EQ(report.steps, 2);
    }
  }
}

}  // namespace
}  // namespace coregrad
