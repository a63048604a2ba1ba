// Functions with a rare branch inside loop kernels: they split the block they are written into.

#include "loop_test_util.h"

namespace coregrad {
namespace {

using test::CompiledKernel;
using test::KernelWriter;
using test::random_values;

/// out[r, i] = 2 sin(a[r]) + cos(a[r]) x[i] + sin(x[i]) fmod(a[r], 0.3)
TEST(VectorMathInLoops, FunctionsThatBranchMayStandAtEveryLevel) {
  constexpr DType kF32 = DType::Float32;
  for (const Isa isa : test::runnable_isas()) {
    constexpr int64_t kRows = 3;
    const int64_t n = 37;
    KernelWriter w;
    const IndexExpr r = w.axis(kRows), i = w.axis(n);
    const int a = w.input(kF32), x = w.input(kF32), out = w.output(kF32);
    const ValueId row = w.load(a, r), element = w.load(x, i);
    const auto op = [&](Op o, ValueId p, ValueId q = kNoValue) { return w.op(o, kF32, p, q); };
    const ValueId twice = op(Op::Mul, op(Op::Sin, row), w.literal(kF32, 2));
    const ValueId second = op(Op::Mul, op(Op::Cos, row), element);
    const ValueId rest = op(Op::Rem, row, w.literal(kF32, 0.3f));
    const ValueId third = op(Op::Mul, op(Op::Sin, element), op(Op::Neg, op(Op::Neg, rest)));
    w.store(op(Op::Add, op(Op::Add, twice, second), third), out, w.sum(w.times(r, n), i));
    w.kernel.block = n;
    auto rows = random_values<float>(kRows, 1);
    auto elements = random_values<float>(static_cast<size_t>(n), 2);
    rows[1] = 3e20f;
    elements[5] = 1e30f;
    std::vector<float> got(static_cast<size_t>(kRows * n));
    CompiledKernel(w.kernel, isa).run({rows.data(), elements.data(), got.data()});
    for (size_t p = 0; p < kRows; ++p) {
      for (size_t q = 0; q < static_cast<size_t>(n); ++q) {
        const double s = rows[p], e = elements[q];
        const double wanted = 2 * std::sin(s) + std::cos(s) * e +
                              std::sin(e) * std::fmod(s, static_cast<double>(0.3f));
        EXPECT_NEAR(got[p * static_cast<size_t>(n) + q], wanted, 1e-5 * (1 + std::fabs(e)));
      }
    }
  }
}

}  // namespace
}  // namespace coregrad
