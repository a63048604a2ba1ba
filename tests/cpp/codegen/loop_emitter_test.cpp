// Loop kernels against plain loops, on every instruction set of the machine, with unreadable pages
// around the buffers.

#include "loop_test_util.h"
#include <numeric>
#include <utility>

namespace coregrad {
namespace {

using test::CompiledKernel;
using test::GuardedArray;
using test::KernelWriter;
using test::random_values;
using test::runnable_isas;

constexpr DType kF32 = DType::Float32, kI64 = DType::Int64;

/// Relative to the size of the numbers; sums may be taken in any order.
void expect_near(double got, double expected, double tolerance = 1e-5) {
  if (std::isnan(expected)) {
    EXPECT_TRUE(std::isnan(got));
    return;
  }
  if (std::isinf(expected)) {
    EXPECT_EQ(got, expected);
    return;
  }
  EXPECT_NEAR(got, expected, tolerance * (1 + std::fabs(expected)));
}

TEST(LoopEmitter, MapsContiguousElementsOfAnyNumber) {
  for (const Isa isa : runnable_isas()) {
    for (const int64_t n : {1, 2, 3, 7, 15, 16, 17, 31, 33, 63, 64, 65, 100, 255, 1000}) {
      for (const int64_t block : {int64_t{16}, int64_t{5}, int64_t{64}, n}) {
        KernelWriter w;
        const IndexExpr i = w.axis(n);
        const int x = w.input(kF32), y = w.input(kF32), out = w.output(kF32);
        w.store(w.op(Op::Add, kF32, w.op(Op::Mul, kF32, w.load(x, i), w.load(y, i)), w.load(x, i)),
                out, i);
        w.kernel.block = block;
        w.kernel.chunk = 2;
        const auto a = random_values<float>(static_cast<size_t>(n), 1),
                   b = random_values<float>(static_cast<size_t>(n), 2);
        GuardedArray<float> ga(a), gb(b, false), go(std::vector<float>(a.size(), -9));
        CompiledKernel(w.kernel, isa).run({ga.data(), gb.data(), go.data()});
        for (size_t k = 0; k < a.size(); ++k) expect_near(go[k], a[k] * b[k] + a[k]);
      }
    }
  }
}

TEST(LoopEmitter, MapsStridedBroadcastAndFlippedOperands) {
  for (const Isa isa : runnable_isas()) {
    for (const int64_t n : {1, 6, 16, 21, 40, 70}) {
      constexpr int64_t kRows = 5;
      KernelWriter w;
      const IndexExpr r = w.axis(kRows), i = w.axis(n);
      const int column = w.input(kF32), row = w.input(kF32), transposed = w.input(kF32),
                pairs = w.input(kF32), out = w.output(kF32), flipped = w.output(kF32);
      const ValueId per_row = w.load(column, r);
      const ValueId reversed = w.load(row, w.plus(w.times(i, -1), n - 1));
      const ValueId across = w.load(transposed, w.sum(w.times(i, kRows), r));
      const ValueId even = w.load(pairs, w.times(i, 2));
      const ValueId sum = w.op(Op::Add, kF32, w.op(Op::Add, kF32, per_row, reversed),
                               w.op(Op::Add, kF32, across, even));
      const IndexExpr at = w.sum(w.times(r, n), i);
      w.store(sum, out, at);
      w.store(sum, flipped, w.sum(w.times(r, n), w.plus(w.times(i, -1), n - 1)));
      w.kernel.block = n;
      const auto size = static_cast<size_t>(n);
      const auto c = random_values<float>(kRows, 1), d = random_values<float>(size, 2),
                 t = random_values<float>(size * kRows, 3),
                 p = random_values<float>(2 * size - 1, 4);
      for (const bool guard_end : {true, false}) {
        GuardedArray<float> gc(c, guard_end), gd(d, guard_end), gt(t, guard_end), gp(p, guard_end),
            go(std::vector<float>(size * kRows), guard_end),
            gf(std::vector<float>(size * kRows), guard_end);
        CompiledKernel(w.kernel, isa)
            .run({gc.data(), gd.data(), gt.data(), gp.data(), go.data(), gf.data()});
        for (size_t k = 0; k < kRows; ++k)
          for (size_t j = 0; j < size; ++j) {
            const float expected = c[k] + d[size - 1 - j] + (t[j * kRows + k] + p[2 * j]);
            expect_near(go[k * size + j], expected);
            expect_near(gf[k * size + size - 1 - j], expected);
          }
      }
    }
  }
}

TEST(LoopEmitter, InterleavesTwoStoresOnlyWhereTheyAlternate) {
  constexpr float kUntouched = -9;
  for (const Isa isa : runnable_isas()) {
    for (const int64_t n : {1, 8, 16, 33, 64}) {
      for (const int64_t distance : {1, 3, -1, 5}) {
        const int64_t first = std::max<int64_t>(0, -distance), second = first + distance;
        KernelWriter w;
        const IndexExpr i = w.axis(n);
        const int x = w.input(kF32), y = w.input(kF32), out = w.output(kF32);
        w.store(w.load(x, i), out, w.plus(w.times(i, 2), first));
        w.store(w.load(y, i), out, w.plus(w.times(i, 2), second));
        w.kernel.block = n;
        const auto size = static_cast<size_t>(n);
        const auto a = random_values<float>(size, 1), b = random_values<float>(size, 2);
        std::vector<float> expected(2 * size + 5, kUntouched);
        for (size_t k = 0; k < size; ++k) {
          expected[2 * k + static_cast<size_t>(first)] = a[k];
          expected[2 * k + static_cast<size_t>(second)] = b[k];
        }
        GuardedArray<float> ga(a), gb(b), go(std::vector<float>(expected.size(), kUntouched));
        CompiledKernel(w.kernel, isa).run({ga.data(), gb.data(), go.data()});
        for (size_t k = 0; k < expected.size(); ++k)
          EXPECT_EQ(go[k], expected[k]) << n << " elements, distance " << distance << ", " << k;
      }
    }
  }
}

TEST(LoopEmitter, PadsWithMasksAndNeverReadsOutside) {
  for (const Isa isa : runnable_isas()) {
    for (const int64_t n : {1, 5, 16, 30, 64}) {
      // out[r, i] = x[r - 1, i - 3] or 7, with two rows of x.
      constexpr int64_t kRows = 4;
      const int64_t width = n + 8;
      KernelWriter w;
      const IndexExpr r = w.axis(kRows), i = w.axis(width);
      const int x = w.input(kF32), out = w.output(kF32);
      const ValueId row_mask = w.in_range(w.plus(r, -1), 0, 2),
                    lane_mask = w.in_range(w.plus(i, -3), 0, n);
      const ValueId mask = w.op(Op::And, DType::Bool, row_mask, lane_mask);
      const IndexExpr at = w.sum(w.times(w.plus(r, -1), n), w.plus(i, -3));
      w.store(w.op(Op::Select, kF32, mask, w.load(x, at, mask), w.literal(kF32, 7)), out,
              w.sum(w.times(r, width), i));
      w.kernel.block = width;
      const auto a = random_values<float>(static_cast<size_t>(2 * n), 1);
      for (const bool guard_end : {true, false}) {
        GuardedArray<float> ga(a, guard_end),
            go(std::vector<float>(static_cast<size_t>(kRows * width)), guard_end);
        CompiledKernel(w.kernel, isa).run({ga.data(), go.data()});
        for (int64_t k = 0; k < kRows; ++k)
          for (int64_t j = 0; j < width; ++j) {
            const bool inside = k >= 1 && k < 3 && j >= 3 && j < 3 + n;
            EXPECT_EQ(go[static_cast<size_t>(k * width + j)],
                      inside ? a[static_cast<size_t>((k - 1) * n + j - 3)] : 7.0f);
          }
      }
    }
  }
}

TEST(LoopEmitter, GathersWithCheckedIndices) {
  for (const Isa isa : runnable_isas()) {
    constexpr int64_t kExtent = 13;
    for (const int64_t n : {1, 9, 16, 37, 64}) {
      KernelWriter w;
      const IndexExpr i = w.axis(n);
      const int indices = w.input(kI64), x = w.input(kF32), out = w.output(kF32);
      const ValueId at = w.check(w.load(indices, i), kExtent);
      w.store(w.load(x, w.kernel.context.value(at, {0, kExtent - 1})), out, i);
      w.kernel.block = n;
      auto places = random_values<int64_t>(static_cast<size_t>(n), 5, 0, 13);
      const auto a = random_values<float>(kExtent, 6);
      CompiledKernel kernel(w.kernel, isa);
      GuardedArray<float> ga(a), go(std::vector<float>(static_cast<size_t>(n)));
      {
        GuardedArray<int64_t> gi(places);
        const RunStatus status = kernel.run({gi.data(), ga.data(), go.data()});
        EXPECT_EQ(status.bad_extent, -1);
        for (size_t k = 0; k < places.size(); ++k)
          EXPECT_EQ(go[k], a[static_cast<size_t>(places[k])]);
      }
      for (const int64_t bad : {int64_t{-1}, kExtent, INT64_MIN, INT64_MAX}) {
        auto wrong = places;
        wrong[static_cast<size_t>(n) / 2] = bad;
        GuardedArray<int64_t> gi(wrong);
        const RunStatus status = kernel.run({gi.data(), ga.data(), go.data()});
        EXPECT_EQ(status.bad_extent, kExtent);
        EXPECT_EQ(status.bad_index, bad);
        EXPECT_EQ(go[static_cast<size_t>(n) / 2], a[0]);
      }
    }
  }
}

TEST(LoopEmitter, GathersFromNothingOnlyReport) {
  for (const Isa isa : runnable_isas()) {
    KernelWriter w;
    const IndexExpr i = w.axis(20);
    const int indices = w.input(kI64), x = w.input(kF32), out = w.output(kF32);
    const ValueId at = w.check(w.load(indices, i), 0);
    w.store(w.load(x, w.kernel.context.value(at, {0, 0})), out, i);
    w.kernel.block = 20;
    GuardedArray<int64_t> gi(std::vector<int64_t>(20, 3));
    GuardedArray<float> go(std::vector<float>(20, 1));
    const RunStatus status = CompiledKernel(w.kernel, isa).run({gi.data(), nullptr, go.data()});
    EXPECT_EQ(status.bad_extent, 0);
    EXPECT_EQ(status.bad_index, 3);
    EXPECT_EQ(go[19], 0);
  }
}

TEST(LoopEmitter, LooksUpRowsOfATable) {
  // out[r, i] = table[index[r], i]: the check stands outside the lane loop.
  for (const Isa isa : runnable_isas()) {
    constexpr int64_t kRows = 6, kTable = 9;
    for (const int64_t n : {1, 8, 33, 200}) {
      KernelWriter w;
      const IndexExpr r = w.axis(kRows), i = w.axis(n);
      const int indices = w.input(kI64), x = w.input(kF32), out = w.output(kF32);
      const ValueId at = w.check(w.load(indices, r), kTable);
      const IndexExpr row = w.kernel.context.value(at, {0, kTable - 1});
      w.store(w.load(x, w.sum(w.times(row, n), i)), out, w.sum(w.times(r, n), i));
      w.kernel.block = n;
      auto places = random_values<int64_t>(kRows, 5, 0, 9);
      places[3] = 9;
      const auto a = random_values<float>(static_cast<size_t>(kTable * n), 6);
      GuardedArray<int64_t> gi(places);
      GuardedArray<float> ga(a), go(std::vector<float>(static_cast<size_t>(kRows * n)));
      const RunStatus status = CompiledKernel(w.kernel, isa).run({gi.data(), ga.data(), go.data()});
      EXPECT_EQ(status.bad_extent, kTable);
      EXPECT_EQ(status.bad_index, 9);
      for (size_t k = 0; k < kRows; ++k)
        for (int64_t j = 0; j < n; ++j)
          EXPECT_EQ(go[k * static_cast<size_t>(n) + static_cast<size_t>(j)],
                    a[static_cast<size_t>((k == 3 ? 0 : places[k]) * n + j)]);
    }
  }
}

TEST(LoopEmitter, DividesIndices) {
  for (const Isa isa : runnable_isas()) {
    for (const int64_t divisor : {3, 16, 64, 7}) {
      constexpr int64_t kN = 64 * 5 + 9;
      KernelWriter w;
      const IndexExpr i = w.axis(kN);
      const int x = w.input(kF32), out = w.output(kF32), number = w.output(kI64);
      IndexContext& c = w.kernel.context;
      // Columns before rows; and a division of a negative number.
      const IndexExpr q = c.div(i, divisor), m = c.mod(i, divisor);
      const int64_t rows = ceil_div(kN, divisor);
      w.store(w.load(x, c.add(c.mul(m, rows), q)), out, i);
      const IndexExpr shifted = w.plus(i, -50);
      w.store(w.index(c.add(c.mul(c.div(shifted, divisor), 1000), c.mod(shifted, divisor))), number,
              i);
      w.kernel.block = 64;
      const auto a = random_values<float>(static_cast<size_t>(rows * divisor), 1);
      GuardedArray<float> ga(a), go(std::vector<float>(kN, 0));
      GuardedArray<int64_t> gn(std::vector<int64_t>(kN, 0));
      CompiledKernel(w.kernel, isa).run({ga.data(), go.data(), gn.data()});
      for (int64_t k = 0; k < kN; ++k) {
        EXPECT_EQ(go[static_cast<size_t>(k)],
                  a[static_cast<size_t>(k % divisor * rows + k / divisor)]);
        EXPECT_EQ(gn[static_cast<size_t>(k)],
                  floor_div(k - 50, divisor) * 1000 + floor_mod(k - 50, divisor));
      }
    }
  }
}

TEST(LoopEmitter, WritesInPlace) {
  for (const Isa isa : runnable_isas()) {
    KernelWriter w;
    constexpr int64_t kN = 133;
    const IndexExpr i = w.axis(kN);
    const int x = w.input(kF32), out = w.output(kF32), other = w.output(kF32);
    w.kernel.buffers[1].may_alias = true;
    const ValueId v = w.load(x, i);
    w.store(w.op(Op::Mul, kF32, v, v), out, i);
    w.store(w.op(Op::Neg, kF32, w.load(x, i)), other, i);
    w.kernel.block = 32;
    const auto a = random_values<float>(kN, 1);
    GuardedArray<float> ga(a), go(std::vector<float>(kN, 0));
    CompiledKernel(w.kernel, isa).run({ga.data(), ga.data(), go.data()});
    for (size_t k = 0; k < kN; ++k) {
      EXPECT_EQ(ga[k], a[k] * a[k]);
      EXPECT_EQ(go[k], -a[k]);
    }
  }
}

TEST(LoopEmitter, StreamsLargeOutputsWhateverTheirAlignment) {
  for (const Isa isa : runnable_isas()) {
    KernelWriter w;
    constexpr int64_t kN = 16 * 40;
    const IndexExpr i = w.axis(kN);
    const int x = w.input(kF32), out = w.output(kF32);
    w.kernel.buffers[1].non_temporal = true;
    w.store(w.op(Op::Neg, kF32, w.load(x, i)), out, i);
    w.kernel.block = 64;
    w.kernel.chunk = 3;
    CompiledKernel kernel(w.kernel, isa);
    const auto a = random_values<float>(kN, 1);
    for (const size_t shift : {size_t{0}, size_t{1}}) {
      GuardedArray<float> ga(a), go(std::vector<float>(kN + shift, 0), false);
      kernel.run({ga.data(), go.data() + shift});
      for (size_t k = 0; k < kN; ++k) EXPECT_EQ(go[k + shift], -a[k]);
    }
  }
}

TEST(LoopEmitter, ReducesRowsOfEverySize) {
  for (const Isa isa : runnable_isas()) {
    std::vector<int64_t> sizes = {100, 127, 128, 129, 1000, 4099};
    for (int64_t n = 1; n <= 70; n += isa == Isa::Avx512 ? 1 : 3) sizes.push_back(n);
    for (const int64_t n : sizes) {
      constexpr int64_t kRows = 3;
      KernelWriter w(false);
      const IndexExpr r = w.axis(kRows), i = w.axis(n, 0);
      const int x = w.input(kF32), sums = w.output(kF32), tops = w.output(kF32),
                lows = w.output(kF32), where = w.output(kI64), bottom = w.output(kI64),
                products = w.output(kF32);
      const ValueId v = w.load(x, w.sum(w.times(r, n), i));
      w.store(w.reduce(Op::Sum, kF32, v), sums, r);
      w.store(w.reduce(Op::ReduceMax, kF32, v), tops, r);
      w.store(w.reduce(Op::ReduceMin, kF32, v), lows, r);
      w.store(w.reduce(Op::ArgMax, kI64, v), where, r);
      w.store(w.reduce(Op::ArgMin, kI64, v), bottom, r);
      w.store(w.reduce(Op::Prod, kF32, v), products, r);
      auto a = random_values<float>(static_cast<size_t>(n * kRows), 1, 0.8, 1.2);
      for (float& f : a) f = std::round(f * 32) / 32;  // many equal ones
      if (n > 5) a[static_cast<size_t>(2 * n + n / 2)] = NAN, a.back() = NAN;
      GuardedArray<float> ga(a), gs({0, 0, 0}), gt({0, 0, 0}), gl({0, 0, 0}), gp({0, 0, 0});
      GuardedArray<int64_t> gw({0, 0, 0}), gb({0, 0, 0});
      CompiledKernel(w.kernel, isa)
          .run({ga.data(), gs.data(), gt.data(), gl.data(), gw.data(), gb.data(), gp.data()});
      for (size_t k = 0; k < kRows; ++k) {
        const float* row = a.data() + k * static_cast<size_t>(n);
        double sum = 0, product = 1;
        int64_t top = 0, low = 0;
        for (int64_t j = 0; j < n; ++j) {
          sum += row[j], product *= row[j];
          if (row[j] > row[top] || (std::isnan(row[j]) && !std::isnan(row[top]))) top = j;
          if (row[j] < row[low] || (std::isnan(row[j]) && !std::isnan(row[low]))) low = j;
        }
        expect_near(gs[k], sum);
        expect_near(gt[k], row[top]);
        expect_near(gl[k], row[low]);
        EXPECT_EQ(gw[k], top) << n;
        EXPECT_EQ(gb[k], low) << n;
        if (n < 100) expect_near(gp[k], product, 1e-4);
      }
    }
  }
}

TEST(LoopEmitter, FindsTheFirstOfInfinitelySmallElements) {
  for (const Isa isa : runnable_isas()) {
    KernelWriter w(false);
    const IndexExpr i = w.axis(37, 0);
    const int x = w.input(kF32), out = w.output(kI64);
    w.store(w.reduce(Op::ArgMax, kI64, w.load(x, i)), out, {});
    GuardedArray<float> ga(std::vector<float>(37, -INFINITY));
    GuardedArray<int64_t> go({-1});
    CompiledKernel(w.kernel, isa).run({ga.data(), go.data()});
    EXPECT_EQ(go[0], 0);
  }
}

TEST(LoopEmitter, ReductionsOfNothingGiveIdentities) {
  for (const Isa isa : runnable_isas()) {
    for (const bool lane_parallel : {false, true}) {
      KernelWriter w(lane_parallel);
      const IndexExpr r = w.axis(19), i = w.axis(0, 0);
      const int x = w.input(kF32), sums = w.output(kF32), products = w.output(kF32),
                tops = w.output(kF32);
      const ValueId v = w.load(x, w.sum(r, i));
      w.store(w.reduce(Op::Sum, kF32, v), sums, r);
      w.store(w.reduce(Op::Prod, kF32, v), products, r);
      w.store(w.reduce(Op::ReduceMax, kF32, v), tops, r);
      w.kernel.block = 19;
      GuardedArray<float> none({}), gs(std::vector<float>(19, 5)), gp(std::vector<float>(19, 5)),
          gt(std::vector<float>(19, 5));
      CompiledKernel(w.kernel, isa).run({none.data(), gs.data(), gp.data(), gt.data()});
      for (size_t k = 0; k < 19; ++k) {
        EXPECT_EQ(gs[k], 0);
        EXPECT_EQ(gp[k], 1);
        EXPECT_EQ(gt[k], -INFINITY);
      }
    }
  }
}

TEST(LoopEmitter, KernelsOfNoUnitsCompile) {
  KernelWriter w;
  const IndexExpr r = w.axis(0), i = w.axis(8);
  const int x = w.input(kF32), out = w.output(kF32);
  const IndexExpr at = w.sum(w.times(r, 8), i);
  w.store(w.load(x, at), out, at);
  w.kernel.block = 8;
  GuardedArray<float> none({});
  CompiledKernel(w.kernel, runnable_isas()[0]).run({none.data(), none.data()});
}

/// Softmax of [rows, n] in three passes.
LoopKernel softmax(int64_t rows, int64_t n, bool keep, bool lane_parallel = false) {
  KernelWriter w(lane_parallel);
  const IndexExpr r = w.axis(rows), i = w.axis(n, 0);
  const int x = w.input(kF32), out = w.output(kF32);
  // In column mode the rows are the fast dimension.
  const IndexExpr at = lane_parallel ? w.sum(w.times(i, rows), r) : w.sum(w.times(r, n), i);
  const ValueId v = w.load(x, at);
  const ValueId top = w.reduce(Op::ReduceMax, kF32, v);
  const ValueId e = w.op(Op::Exp, kF32, w.op(Op::Sub, kF32, v, top));
  w.kernel.values[static_cast<size_t>(e)].keep = keep;
  const ValueId total = w.reduce(Op::Sum, kF32, e);
  w.store(w.op(Op::Div, kF32, e, total), out, at);
  w.kernel.block = lane_parallel ? rows : 1;
  return w.kernel;
}

TEST(LoopEmitter, ComputesSoftmaxInThreePasses) {
  for (const Isa isa : runnable_isas()) {
    for (const int64_t n : {1, 10, 16, 33, 128, 1000}) {
      for (const int variant : {0, 1, 2, 3}) {
        const bool keep = variant % 2 == 1, columns = variant >= 2;
        constexpr int64_t kRows = 21;
        const auto size = static_cast<size_t>(n * kRows);
        const auto a = random_values<float>(size, 1, -5, 5);
        GuardedArray<float> ga(a), go(std::vector<float>(size, 0));
        CompiledKernel(softmax(kRows, n, keep, columns), isa).run({ga.data(), go.data()});
        const auto at = [&](int64_t r, int64_t i) {
          return static_cast<size_t>(columns ? i * kRows + r : r * n + i);
        };
        for (int64_t r = 0; r < kRows; ++r) {
          double total = 0;
          for (int64_t j = 0; j < n; ++j) total += std::exp(static_cast<double>(a[at(r, j)]));
          for (int64_t j = 0; j < n; ++j)
            expect_near(go[at(r, j)], std::exp(static_cast<double>(a[at(r, j)])) / total);
        }
      }
    }
  }
}

TEST(LoopEmitter, NormalisesOverTwoAxesOfALoopSet) {
  // Batch statistics: one unit a channel, the loop set is (batch, pixels); then x - mean.
  for (const Isa isa : runnable_isas()) {
    for (const int64_t pixels : {1, 9, 49, 64, 200}) {
      for (const bool keep : {false, true}) {
        constexpr int64_t kBatch = 4, kChannels = 3;
        KernelWriter w(false);
        const IndexExpr c = w.axis(kChannels), n = w.axis(kBatch, 0), p = w.axis(pixels, 0);
        const int x = w.input(kF32), out = w.output(kF32), squares = w.output(kF32);
        const IndexExpr at = w.sum(w.times(n, kChannels * pixels), w.sum(w.times(c, pixels), p));
        const ValueId v = w.op(Op::Add, kF32, w.load(x, at), w.literal(kF32, 1));
        w.kernel.values[static_cast<size_t>(v)].keep = keep;
        const ValueId mean = w.op(Op::Mul, kF32, w.reduce(Op::Sum, kF32, v),
                                  w.literal(kF32, 1.0 / static_cast<double>(kBatch * pixels)));
        const ValueId centred = w.op(Op::Sub, kF32, v, mean);
        w.store(centred, out, at);
        w.store(w.reduce(Op::Sum, kF32, w.op(Op::Mul, kF32, centred, centred)), squares, c);
        const auto size = static_cast<size_t>(kBatch * kChannels * pixels);
        const auto a = random_values<float>(size, 1);
        GuardedArray<float> ga(a), go(std::vector<float>(size, 0)), gs({0, 0, 0});
        CompiledKernel(w.kernel, isa).run({ga.data(), go.data(), gs.data()});
        for (int64_t k = 0; k < kChannels; ++k) {
          double sum = 0, square = 0;
          const auto each = [&](auto f) {
            for (int64_t b = 0; b < kBatch; ++b)
              for (int64_t j = 0; j < pixels; ++j)
                f(static_cast<size_t>((b * kChannels + k) * pixels + j));
          };
          each([&](size_t j) { sum += a[j]; });
          const double average = sum / static_cast<double>(kBatch * pixels);
          each([&](size_t j) { expect_near(go[j], a[j] - average); });
          each([&](size_t j) { square += (a[j] - average) * (a[j] - average); });
          expect_near(gs[static_cast<size_t>(k)], square, 1e-4);
        }
      }
    }
  }
}

TEST(LoopEmitter, RunsTwoLoopSetsInOneKernel) {
  // out[r, j] = y[r, j] * sum_i x[r, i], with different extents.
  for (const Isa isa : runnable_isas()) {
    constexpr int64_t kRows = 4, kX = 45, kY = 19;
    KernelWriter w(false);
    const IndexExpr r = w.axis(kRows), i = w.axis(kX, 0), j = w.axis(kY, 1);
    const int x = w.input(kF32), y = w.input(kF32), out = w.output(kF32), tops = w.output(kF32);
    const ValueId total = w.reduce(Op::Sum, kF32, w.load(x, w.sum(w.times(r, kX), i)), 0);
    const IndexExpr at = w.sum(w.times(r, kY), j);
    const ValueId v = w.op(Op::Mul, kF32, w.load(y, at), total);
    w.store(v, out, at);
    w.store(w.reduce(Op::ReduceMax, kF32, v, 1), tops, r);
    const auto a = random_values<float>(kRows * kX, 1), b = random_values<float>(kRows * kY, 2);
    GuardedArray<float> ga(a), gb(b), go(std::vector<float>(kRows * kY, 0)), gt({0, 0, 0, 0});
    CompiledKernel(w.kernel, isa).run({ga.data(), gb.data(), go.data(), gt.data()});
    for (size_t k = 0; k < kRows; ++k) {
      double sum = 0, top = -INFINITY;
      for (size_t l = 0; l < kX; ++l) sum += a[k * kX + l];
      for (size_t l = 0; l < kY; ++l) {
        expect_near(go[k * kY + l], sum * b[k * kY + l], 1e-4);
        top = std::max(top, sum * b[k * kY + l]);
      }
      expect_near(gt[k], top, 1e-4);
    }
  }
}

TEST(LoopEmitter, ReducesColumns) {
  for (const Isa isa : runnable_isas()) {
    for (const int64_t columns : {1, 5, 16, 31, 64, 100, 257}) {
      for (const int64_t block : {columns, int64_t{32}}) {
        constexpr int64_t kOuter = 2, kRows = 11;
        KernelWriter w;
        const IndexExpr o = w.axis(kOuter), c = w.axis(columns), r = w.axis(kRows, 0);
        const int x = w.input(kF32), sums = w.output(kF32), where = w.output(kI64);
        const ValueId v =
            w.load(x, w.sum(w.times(o, kRows * columns), w.sum(w.times(r, columns), c)));
        const IndexExpr at = w.sum(w.times(o, columns), c);
        w.store(w.reduce(Op::Sum, kF32, v), sums, at);
        w.store(w.reduce(Op::ArgMin, kI64, v), where, at);
        w.kernel.block = block;
        const auto a = random_values<float>(static_cast<size_t>(kOuter * kRows * columns), 1);
        GuardedArray<float> ga(a), gs(std::vector<float>(static_cast<size_t>(kOuter * columns)));
        GuardedArray<int64_t> gw(std::vector<int64_t>(gs.size()));
        CompiledKernel(w.kernel, isa).run({ga.data(), gs.data(), gw.data()});
        for (int64_t k = 0; k < kOuter * columns; ++k) {
          double sum = 0;
          int64_t low = 0;
          const auto element = [&](int64_t row) {
            return a[static_cast<size_t>((k / columns * kRows + row) * columns + k % columns)];
          };
          for (int64_t row = 0; row < kRows; ++row) {
            sum += element(row);
            if (element(row) < element(low)) low = row;
          }
          expect_near(gs[static_cast<size_t>(k)], sum);
          EXPECT_EQ(gw[static_cast<size_t>(k)], low);
        }
      }
    }
  }
}

TEST(LoopEmitter, AccumulatesAFullSumChunkByChunk) {
  for (const Isa isa : runnable_isas()) {
    for (const int64_t n : {1, 63, 64, 500, 1023}) {
      KernelWriter w;
      const IndexExpr i = w.axis(n);
      const int x = w.input(kF32), partial = w.output(kF32), tops = w.output(kF32);
      w.combine(Op::Sum, w.load(x, i), partial, {}, 1);
      w.combine(Op::ReduceMax, w.load(x, i), tops, {}, 1);
      w.kernel.block = 32;
      w.kernel.chunk = 3;
      const auto chunks = static_cast<size_t>(ceil_div(w.kernel.range(), w.kernel.chunk));
      const auto a = random_values<float>(static_cast<size_t>(n), 1);
      GuardedArray<float> ga(a), gp(std::vector<float>(chunks, 9)),
          gt(std::vector<float>(chunks, 0));
      CompiledKernel(w.kernel, isa).run({ga.data(), gp.data(), gt.data()});
      for (size_t c = 0; c < chunks; ++c) {
        double sum = 0, top = -INFINITY;
        for (size_t k = c * 96; k < std::min<size_t>(a.size(), (c + 1) * 96); ++k)
          sum += a[k], top = std::max<double>(top, a[k]);
        expect_near(gp[c], sum);
        expect_near(gt[c], top);
      }
    }
  }
}

TEST(LoopEmitter, AccumulatesColumnsOfRowsIntoChunkRows) {
  // A layer norm's weight gradient: for each column the sum over the rows of the chunk, of a value
  // that needs the row's own reduction; and a count a chunk.
  for (const Isa isa : runnable_isas()) {
    for (const int64_t n : {1, 10, 16, 77, 200}) {
      constexpr int64_t kRows = 11, kChunk = 4;
      KernelWriter w(false);
      const IndexExpr r = w.axis(kRows), i = w.axis(n, 0);
      const int x = w.input(kF32), partial = w.output(kF32), total = w.output(kF32),
                lanes = w.output(kF32);
      const ValueId v = w.load(x, w.sum(w.times(r, n), i));
      const ValueId sum = w.reduce(Op::Sum, kF32, v);
      w.combine(Op::Sum, w.op(Op::Mul, kF32, v, sum), partial, i, n);
      w.combine(Op::Sum, sum, total, {}, 1);
      w.combine(Op::Sum, w.op(Op::Add, kF32, v, sum), lanes, r, kRows);
      w.kernel.chunk = kChunk;
      const auto a = random_values<float>(static_cast<size_t>(kRows * n), 1);
      GuardedArray<float> ga(a), gp(std::vector<float>(static_cast<size_t>(3 * n), 9)),
          gt({9, 9, 9}), gl(std::vector<float>(3 * kRows, 9));
      CompiledKernel(w.kernel, isa).run({ga.data(), gp.data(), gt.data(), gl.data()});
      std::vector<double> columns(static_cast<size_t>(3 * n)), totals(3), rows(3 * kRows);
      for (size_t k = 0; k < kRows; ++k) {
        double row = 0;
        for (size_t j = 0; j < static_cast<size_t>(n); ++j)
          row += a[k * static_cast<size_t>(n) + j];
        totals[k / kChunk] += row;
        for (size_t j = 0; j < static_cast<size_t>(n); ++j) {
          const double element = a[k * static_cast<size_t>(n) + j];
          columns[k / kChunk * static_cast<size_t>(n) + j] += element * row;
          rows[k / kChunk * kRows + k] += element + row;
        }
      }
      for (size_t j = 0; j < columns.size(); ++j) expect_near(gp[j], columns[j], 1e-4);
      for (size_t j = 0; j < rows.size(); ++j) expect_near(gl[j], rows[j], 1e-4);
      for (size_t c = 0; c < 3; ++c) expect_near(gt[c], totals[c], 1e-4);
    }
  }
}

TEST(LoopEmitter, AccumulatesWhereLanesMeet) {
  // Lane-parallel over (n, c, pixels): sums a channel (uniform over lanes), sums a group of four
  // neighbouring pixels (lanes meet), and sums a pixel (each lane its own place).
  for (const Isa isa : runnable_isas())
    for (const int64_t block : {16, 48}) {  // several blocks of lanes, and one
      constexpr int64_t kBatch = 3, kChannels = 2, kPixels = 37;
      KernelWriter w;
      const IndexExpr n = w.axis(kBatch), c = w.axis(kChannels), p = w.axis(kPixels);
      const int x = w.input(kF32), channels = w.output(kF32), groups = w.output(kF32),
                pixels = w.output(kF32);
      const ValueId v =
          w.load(x, w.sum(w.times(n, kChannels * kPixels), w.sum(w.times(c, kPixels), p)));
      w.combine(Op::Sum, v, channels, c, kChannels);
      w.combine(Op::Sum, v, groups, w.kernel.context.div(p, 4), 10);
      w.combine(Op::Sum, v, pixels, p, kPixels);
      w.kernel.block = block;
      w.kernel.chunk = w.kernel.range();
      const auto a = random_values<float>(kBatch * kChannels * kPixels, 1);
      GuardedArray<float> ga(a), gc({9, 9}), gg(std::vector<float>(10, 9)),
          gp(std::vector<float>(kPixels, 9));
      CompiledKernel(w.kernel, isa).run({ga.data(), gc.data(), gg.data(), gp.data()});
      std::vector<double> ec(kChannels), eg(10), ep(kPixels);
      for (size_t k = 0; k < a.size(); ++k) {
        ec[k / kPixels % kChannels] += a[k];
        eg[k % kPixels / 4] += a[k];
        ep[k % kPixels] += a[k];
      }
      for (size_t k = 0; k < ec.size(); ++k) expect_near(gc[k], ec[k]);
      for (size_t k = 0; k < eg.size(); ++k) expect_near(gg[k], eg[k]);
      for (size_t k = 0; k < ep.size(); ++k) expect_near(gp[k], ep[k]);
    }
}

TEST(LoopEmitter, LongFloatSumsKeepTheirLastBits) {
  // 0.1 is not exact: a plain running sum of a million of them is wrong in the fourth digit.
  for (const Isa isa : runnable_isas()) {
    for (const int variant : {0, 1, 2}) {
      constexpr int64_t kN = 1 << 20;
      KernelWriter w(variant == 2);
      const IndexExpr c = w.axis(2);
      const IndexExpr a = variant == 1 ? w.axis(kN / 4, 0) : w.axis(kN, 0);
      const IndexExpr b = variant == 1 ? w.axis(4, 0) : IndexExpr{};
      const int x = w.input(kF32), out = w.output(kF32);
      const ValueId v = w.load(x, w.sum(c, variant == 1 ? w.sum(w.times(a, 4), b) : a));
      w.store(w.reduce(Op::Sum, kF32, v), out, c);
      w.kernel.block = 2;
      GuardedArray<float> ga(std::vector<float>(kN + 1, 0.1f)), go({0, 0});
      CompiledKernel(w.kernel, isa).run({ga.data(), go.data()});
      for (size_t k = 0; k < 2; ++k) expect_near(go[k], 0.1f * static_cast<double>(kN), 1e-6);
    }
  }
}

TEST(LoopEmitter, LongFloatSumsTakeEveryElementOnce) {
  for (const Isa isa : runnable_isas()) {
    for (const bool lane_parallel : {false, true}) {
      // Loops that end at, before and behind the blocks of a sum, at several levels.
      for (const auto& [outer, inner] : {std::pair<int64_t, int64_t>{1, 32},
                                         {1, 33},
                                         {1, 1025},
                                         {31, 32},
                                         {33, 31},
                                         {65, 17},
                                         {2, 16 * 8 * 32 + 5},
                                         {1, 16 * 8 * 32 * 32 + 129},
                                         {33, 16 * 8 * 33 - 1},
                                         {1100, 257}}) {
        KernelWriter w(lane_parallel);
        const IndexExpr c = w.axis(2), a = w.axis(outer, 0), b = w.axis(inner, 0);
        const int x = w.input(kF32), out = w.output(kF32), top = w.output(kF32);
        const ValueId v = w.load(x, w.sum(c, w.sum(w.times(a, inner), b)));
        w.store(w.reduce(Op::Sum, kF32, v), out, c);
        w.store(w.reduce(Op::ReduceMax, kF32, v), top, c);
        w.kernel.block = 2;
        const auto n = static_cast<size_t>(outer * inner);
        std::vector<float> values(n + 1);
        for (size_t i = 0; i <= n; ++i) values[i] = static_cast<float>(i * 7 % 11);
        GuardedArray<float> ga(values), go({0, 0}), gt({0, 0});
        CompiledKernel(w.kernel, isa).run({ga.data(), go.data(), gt.data()});
        for (size_t k = 0; k < 2; ++k) {
          const auto first = values.begin() + static_cast<std::ptrdiff_t>(k);
          EXPECT_EQ(go[k], std::accumulate(first, first + static_cast<std::ptrdiff_t>(n), 0.0f))
              << name_of(isa) << " " << outer << " " << inner;
          EXPECT_EQ(gt[k], 10);
        }
      }
    }
  }
}

TEST(LoopEmitter, SumsOfUniformValuesCountEveryLane) {
  for (const Isa isa : runnable_isas()) {
    for (const int64_t n : {1, 5, 16, 50, 200}) {
      KernelWriter w(false);
      const IndexExpr r = w.axis(2);
      w.axis(n, 0);
      const int x = w.input(kF32), out = w.output(kF32);
      w.store(w.reduce(Op::Sum, kF32, w.load(x, r)), out, r);
      GuardedArray<float> ga({0.5f, 2}), go({0, 0});
      CompiledKernel(w.kernel, isa).run({ga.data(), go.data()});
      EXPECT_EQ(go[0], 0.5f * static_cast<float>(n));
      EXPECT_EQ(go[1], 2 * static_cast<float>(n));
    }
  }
}

TEST(LoopEmitter, ReadsAnyNonZeroByteAsTrue) {
  for (const Isa isa : runnable_isas()) {
    for (const int64_t n : {1, 7, 32, 64, 133}) {
      KernelWriter w;
      const IndexExpr i = w.axis(n);
      const int x = w.input(DType::Bool), y = w.input(DType::Bool), out = w.output(DType::Bool);
      w.store(w.op(Op::And, DType::Bool, w.load(x, i), w.op(Op::Not, DType::Bool, w.load(y, i))),
              out, i);
      w.kernel.block = n;
      const auto a = random_values<uint8_t>(static_cast<size_t>(n), 1, 0, 3),
                 b = random_values<uint8_t>(static_cast<size_t>(n), 2, 0, 255);
      GuardedArray<uint8_t> ga(a), gb(b), go(std::vector<uint8_t>(a.size(), 77));
      CompiledKernel(w.kernel, isa).run({ga.data(), gb.data(), go.data()});
      for (size_t k = 0; k < a.size(); ++k) EXPECT_EQ(go[k], a[k] != 0 && b[k] == 0 ? 1 : 0);
    }
  }
}

TEST(LoopEmitter, CompilesATenOperationMapInMilliseconds) {
  KernelWriter w;
  const IndexExpr i = w.axis(1 << 20);
  const int x = w.input(kF32), y = w.input(kF32), out = w.output(kF32);
  const ValueId a = w.load(x, i), b = w.load(y, i);
  ValueId v = a;
  for (int k = 0; k < 5; ++k) v = w.op(Op::Add, kF32, w.op(Op::Mul, kF32, v, b), a);
  w.store(v, out, i);
  w.kernel.block = 4096;
  CompiledKernel(w.kernel, runnable_isas()[0]);
  const CompiledKernel second(w.kernel, runnable_isas()[0]);
  const CompileTimes& t = second.times;
  RecordProperty("build_ms", fmt::format("{:.2f}", t.build_ms));
  // Far above what it takes, so that only a blow-up fails on a busy machine.
  EXPECT_LT(t.build_ms + t.optimize_ms + t.codegen_ms + t.link_ms, 200);
}

}  // namespace
}  // namespace coregrad
