// Every float32 through every unary function, against libm in double: the source of
// docs/math_accuracy.md. A function takes minutes, so none runs unless asked for:
//
//   coregrad_tests --gtest_also_run_disabled_tests --gtest_filter='*EveryFloat*/avx512_tan'

#include "codegen/jit/host_target.h"

#include <gtest/gtest.h>

#include "vector_math_harness.h"
#include <cstdio>
#include <mutex>
#include <thread>
#include <tuple>

namespace coregrad {
namespace {

struct Worst {
  double error = 0;
  float x = 0;

  void offer(double other, float at) {
    if (other > error) error = other, x = at;
  }
};

/// Floats with bit patterns [begin, end). A double of libm is far nearer to the exact value than
/// any digit of the error that is reported.
Worst sweep(Op op, const CompiledMap<float>& map, uint64_t begin, uint64_t end) {
  constexpr int kBlock = 4096;
  std::vector<float> x(kBlock), got(kBlock);
  Worst worst;
  for (uint64_t first = begin; first < end; first += kBlock) {
    for (int i = 0; i < kBlock; ++i) x[i] = std::bit_cast<float>(static_cast<uint32_t>(first + i));
    map(x.data(), x.data(), got.data(), kBlock);
    for (int i = 0; i < kBlock; ++i) {
      const double wanted = reference<double>(op, x[i]);
      // A quick estimate, which special values make infinite or NaN; ulp_error has the last word.
      const auto field =
          std::max<uint64_t>(std::bit_cast<uint64_t>(wanted) >> 52 & 0x7ff, 1023 - 126);
      const auto inverse_ulp = std::bit_cast<double>((2 * 1023 + 23 - field) << 52);
      const double error = std::fabs(got[i] - wanted) * inverse_ulp;
      if (error <= worst.error && std::signbit(wanted) == std::signbit(got[i])) continue;
      worst.offer(ulp_error(got[i], wanted), x[i]);
    }
  }
  return worst;
}

class VectorMathSweep : public testing::TestWithParam<std::tuple<Isa, Op>> {
 protected:
  void SetUp() override {
    const Isa isa = std::get<Isa>(GetParam());
    if (!host_supports(isa)) GTEST_SKIP() << "this machine has no " << name_of(isa);
  }
};

std::string name_of_case(const std::tuple<Isa, Op>& param) {
  return std::string(name_of(std::get<Isa>(param))) + "_" +
         std::string(name_of(std::get<Op>(param)));
}

TEST_P(VectorMathSweep, DISABLED_EveryFloatStaysWithinTwoUlp) {
  constexpr uint64_t kThreads = 2;
  const Isa isa = std::get<Isa>(GetParam());
  const Op op = std::get<Op>(GetParam());
  const Target target = target_for(isa);
  const CompiledMap<float> map(target, op, target.lanes(4));
  Worst worst;
  std::mutex mutex;
  std::vector<std::thread> threads;
  for (uint64_t t = 0; t < kThreads; ++t)
    threads.emplace_back([&, t] {
      constexpr uint64_t kPart = (uint64_t{1} << 32) / kThreads;
      const Worst part = sweep(op, map, t * kPart, (t + 1) * kPart);
      const std::lock_guard lock(mutex);
      worst.offer(part.error, part.x);
    });
  for (std::thread& thread : threads) thread.join();
  std::printf("| %s | %.3f | %a |\n", name_of_case(GetParam()).c_str(), worst.error,
              static_cast<double>(worst.x));
  std::fflush(stdout);
  EXPECT_LE(worst.error, bound_of(op, 2.0)) << "at " << std::hexfloat << worst.x;
}

INSTANTIATE_TEST_SUITE_P(EveryFunction, VectorMathSweep,
                         testing::Combine(testing::Values(Isa::Generic, Isa::Neon, Isa::Avx2,
                                                          Isa::Avx512),
                                          testing::ValuesIn(kMathUnary)),
                         [](const auto& instance) { return name_of_case(instance.param); });

}  // namespace
}  // namespace coregrad
