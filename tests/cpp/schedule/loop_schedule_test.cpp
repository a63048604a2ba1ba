// Decisions about loops for every machine, made without one line of machine code.

#include "schedule/loop_schedule.h"

#include "kernel/value_axes.h"
#include "schedule/arrange_loops.h"

#include <gtest/gtest.h>

#include "described_targets.h"
#include "kernel_writer.h"

namespace coregrad {
namespace {

using test::KernelWriter;
constexpr DType kF32 = DType::Float32;

/// out[i, j] = f(in[i, j]) of rows x columns, read with its own strides.
LoopKernel map_of(int64_t rows, int64_t columns, Op op, int64_t row_step, int64_t column_step,
                  DType dtype = kF32) {
  KernelWriter w;
  const IndexExpr i = w.axis(rows), j = w.axis(columns);
  const int x = w.input(dtype), out = w.output(dtype);
  const ValueId v = w.load(x, w.sum(w.times(i, row_step), w.times(j, column_step)));
  w.store(op == Op::Detach ? v : w.op(op, dtype, v), out, w.sum(w.times(i, columns), j));
  return w.kernel;
}

TEST(ArrangeLoops, NeighboursInMemoryBecomeOneAxis) {
  for (const Target& target : described_targets()) {
    LoopKernel dense = map_of(30, 40, Op::Neg, 40, 1), gaps = map_of(30, 40, Op::Neg, 50, 1);
    arrange_loops(dense, target);
    arrange_loops(gaps, target);
    EXPECT_EQ(dense.axes.size(), 1u);
    EXPECT_EQ(gaps.axes.size(), 2u);
  }
}

TEST(ArrangeLoops, LanesRunWhereMostAccessesAreNeighbours) {
  // Two operands lie by columns, the result by rows: two gathers cost more than one scatter.
  for (const Target& target : described_targets()) {
    KernelWriter w;
    const IndexExpr i = w.axis(64), j = w.axis(64);
    const int x = w.input(kF32), y = w.input(kF32), z = w.input(kF32), out = w.output(kF32);
    const IndexExpr turned = w.sum(w.times(j, 64), i);
    ValueId total = w.op(Op::Add, kF32, w.load(x, turned), w.load(y, turned));
    total = w.op(Op::Add, kF32, total, w.load(z, turned));
    w.store(total, out, w.sum(w.times(i, 64), j));
    LoopKernel k = w.kernel;
    arrange_loops(k, target);
    SymInt step = 0;
    const int lane = k.num_parallel - 1;
    ASSERT_TRUE(k.context.affine_in(k.values[0].index, lane, &step));
    EXPECT_EQ(step, 1) << name_of(target.isa);
  }
}

TEST(ArrangeLoops, OnlyLargeResultsGoAroundTheCaches) {
  for (const Target& target : described_targets()) {
    const int64_t bytes = target.thresholds.stream_bytes;
    for (const auto& [elements, streams] : {std::pair{bytes / 16, false}, {bytes, true}}) {
      LoopKernel k = map_of(1, elements, Op::Neg, elements, 1);
      const LoopCost cost = arrange_loops(k, target);
      EXPECT_EQ(k.buffers[1].non_temporal, streams) << name_of(target.isa);
      EXPECT_EQ(cost.bytes.number(), 8 * elements);
    }
  }
}

TEST(ArrangeLoops, DearValuesAreKeptForTheNextPassAndCheapOnesAreMadeAgain) {
  for (const Target& target : described_targets())
    for (const auto& [op, is_kept] : {std::pair{Op::Exp, true}, {Op::Neg, false}}) {
      KernelWriter w(false);
      const IndexExpr r = w.axis(8), i = w.axis(100, 0);
      const int x = w.input(kF32), out = w.output(kF32);
      const IndexExpr at = w.sum(w.times(r, 100), i);
      const ValueId v = w.op(op, kF32, w.load(x, at));
      w.store(w.op(Op::Div, kF32, v, w.reduce(Op::Sum, kF32, v)), out, at);
      LoopKernel k = w.kernel;
      arrange_loops(k, target);
      // A tiny machine's cache has no room for a row.
      EXPECT_EQ(k.values[static_cast<size_t>(v)].keep,
                is_kept && 4 * 100 * (k.lane_parallel ? target.lanes(4) : 1) <= target.l2_bytes / 4)
          << name_of(target.isa) << " " << target.machine;
    }
}

TEST(ArrangeLoops, DearElementsMakeSmallerChunks) {
  for (const Target& target : described_targets()) {
    LoopKernel cheap = map_of(1000, 4096, Op::Neg, 5000, 1),
               dear = map_of(1000, 4096, Op::Exp, 5000, 1);
    const LoopCost a = arrange_loops(cheap, target), b = arrange_loops(dear, target);
    EXPECT_LT(a.ns, b.ns);
    EXPECT_GE(cheap.chunk, dear.chunk);
  }
}

TEST(LoopSchedule, VectorsFillARegisterOfTheNarrowestThatIsComputed) {
  for (const Target& target : described_targets()) {
    if (target.machine == "tiny") continue;  // its blocks are one lane
    for (const auto& [dtype, op, bytes] : {std::tuple{kF32, Op::Neg, 4},
                                           {DType::Float64, Op::Neg, 8},
                                           {DType::Int8, Op::Detach, 1},
                                           {DType::UInt16, Op::Detach, 2},
                                           {DType::UInt32, Op::Detach, 4}}) {
      LoopKernel k = map_of(1, 4096, op, 4096, 1, dtype);
      arrange_loops(k, target);
      EXPECT_EQ(schedule_loops(k, target).width, target.lanes(bytes)) << name_of(dtype);
    }
  }
}

TEST(LoopSchedule, CheapLoopsAreUnrolledAndDearOnesAreNot) {
  for (const Target& target : described_targets()) {
    if (target.machine == "tiny") continue;
    LoopKernel cheap = map_of(1, 4096, Op::Neg, 4096, 1), dear = map_of(1, 4096, Op::Exp, 4096, 1);
    arrange_loops(cheap, target);
    arrange_loops(dear, target);
    EXPECT_EQ(schedule_loops(cheap, target).unroll, 4);
    EXPECT_EQ(schedule_loops(dear, target).unroll, 1);
  }
}

TEST(LoopSchedule, ASoftmaxTakesThreePasses) {
  for (const Target& target : described_targets()) {
    KernelWriter w(false);
    const IndexExpr r = w.axis(8), i = w.axis(100, 0);
    const int x = w.input(kF32), out = w.output(kF32);
    const IndexExpr at = w.sum(w.times(r, 100), i);
    const ValueId v = w.load(x, at), top = w.reduce(Op::ReduceMax, kF32, v);
    const ValueId e = w.op(Op::Exp, kF32, w.op(Op::Sub, kF32, v, top));
    const ValueId total = w.reduce(Op::Sum, kF32, e);
    w.store(w.op(Op::Div, kF32, e, total), out, at);
    const LoopSchedule schedule = schedule_loops(w.kernel, target);
    ASSERT_EQ(schedule.passes.size(), 3u);
    EXPECT_EQ(schedule.passes[0].nests[0].reductions, std::vector{top});
    EXPECT_EQ(schedule.passes[1].nests[0].reductions, std::vector{total});
    EXPECT_EQ(schedule.passes[2].nests[0].stores.size(), 1u);
    EXPECT_EQ(specialized(schedule.loop_set_iterations), std::vector<int64_t>{100});
  }
}

TEST(ValueAxes, ReductionsNoLongerDependOnWhatTheySum) {
  KernelWriter w;
  const IndexExpr p = w.axis(3), q = w.axis(4), s = w.axis(5, 0);
  const int x = w.input(kF32);
  const ValueId whole = w.load(x, w.sum(w.times(p, 5), s)), row = w.load(x, q);
  const ValueId sum = w.reduce(Op::Sum, kF32, whole), both = w.op(Op::Add, kF32, sum, row);
  const std::vector<uint64_t> axes = value_axes(w.kernel);
  EXPECT_EQ(axes[static_cast<size_t>(whole)], 0b101u);
  EXPECT_EQ(axes[static_cast<size_t>(row)], 0b010u);
  EXPECT_EQ(axes[static_cast<size_t>(sum)], 0b001u);
  EXPECT_EQ(axes[static_cast<size_t>(both)], 0b011u);
}

}  // namespace
}  // namespace coregrad
