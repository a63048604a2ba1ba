// Every float32 through every unary function: the source of docs/math_accuracy.md. Takes minutes,
// so it runs only when asked for, and may be told one function:
//
//   coregrad_tests --gtest_also_run_disabled_tests --gtest_filter='*EveryFloat*'

#include <gtest/gtest.h>

#include "vector_math_harness.h"
#include <cstdio>
#include <mutex>
#include <thread>

namespace coregrad {
namespace {

struct Worst {
  double error = 0;
  float x = 0;

  void offer(double other, float at) {
    if (other > error) error = other, x = at;
  }
};

/// Floats with bit patterns [begin, end). Candidates are found with our double functions, which the
/// other tests hold against long double; libm has the last word on each.
Worst sweep(Op op, const CompiledMap<float>& narrow, const CompiledMap<double>& wide,
            uint64_t begin, uint64_t end) {
  constexpr int kBlock = 4096;
  std::vector<float> x(kBlock), got(kBlock);
  std::vector<double> wide_x(kBlock), wanted(kBlock);
  Worst worst;
  const bool is_trig = op == Op::Sin || op == Op::Cos || op == Op::Tan;
  for (uint64_t first = begin; first < end; first += kBlock) {
    // Huge angles take the slow exact road: one block in 32 of them keeps this to minutes.
    const float start = std::fabs(std::bit_cast<float>(static_cast<uint32_t>(first)));
    if (is_trig && start >= 0x1p18f && first / kBlock % 32 != 0) continue;
    for (int i = 0; i < kBlock; ++i) {
      x[i] = std::bit_cast<float>(static_cast<uint32_t>(first + i));
      wide_x[i] = x[i];
    }
    narrow(x.data(), x.data(), got.data(), kBlock);
    wide(wide_x.data(), wide_x.data(), wanted.data(), kBlock);
    for (int i = 0; i < kBlock; ++i) {
      const auto rounded = static_cast<float>(wanted[i]);
      if (std::bit_cast<uint32_t>(rounded) == std::bit_cast<uint32_t>(got[i])) continue;
      if (std::isnan(rounded) && std::isnan(got[i])) continue;
      const auto field =
          std::max<uint64_t>(std::bit_cast<uint64_t>(wanted[i]) >> 52 & 0x7ff, 1023 - 126);
      const auto inverse_ulp = std::bit_cast<double>((2 * 1023 + 23 - field) << 52);
      const double error = std::fabs(got[i] - wanted[i]) * inverse_ulp;
      if (error <= worst.error && std::signbit(rounded) == std::signbit(got[i])) continue;
      worst.offer(ulp_error(got[i], reference<double>(op, x[i])), x[i]);
    }
  }
  return worst;
}

TEST(VectorMathSweep, DISABLED_EveryFloatStaysWithinTwoUlp) {
  constexpr int kThreads = 2;
  const Target& target = host_target();
  std::printf("| function | worst error (ulp) | at |\n|---|---|---|\n");
  for (const Op op : kMathUnary) {
    const CompiledMap<float> narrow(target, op, target.lanes(4));
    const CompiledMap<double> wide(target, op, target.lanes(8));
    Worst worst;
    std::mutex mutex;
    std::vector<std::thread> threads;
    for (uint64_t t = 0; t < kThreads; ++t)
      threads.emplace_back([&, t] {
        constexpr uint64_t kPart = (uint64_t{1} << 32) / kThreads;
        const Worst part = sweep(op, narrow, wide, t * kPart, (t + 1) * kPart);
        const std::lock_guard lock(mutex);
        worst.offer(part.error, part.x);
      });
    for (std::thread& thread : threads) thread.join();
    std::printf("| %s | %.3f | %a |\n", std::string(name_of(op)).c_str(), worst.error,
                static_cast<double>(worst.x));
    std::fflush(stdout);
    EXPECT_LE(worst.error, 2.0) << name_of(op) << " at " << std::hexfloat << worst.x;
  }
}

}  // namespace
}  // namespace coregrad
