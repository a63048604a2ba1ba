// Matrix products on one thread: GFLOP/s of the generated code by size and layout, and compile
// time.

#include "codegen/jit/host_target.h"

#include <benchmark/benchmark.h>

#include "../../tests/cpp/support/compiled_contract.h"
#include <vector>

namespace coregrad {
namespace {

void run_matmul(benchmark::State& state, bool lhs_transposed, bool rhs_transposed) {
  const int64_t m = state.range(0), k = state.range(1), n = state.range(2);
  const CompiledContract compiled(
      matmul_kernel(DType::Float32, 1, m, k, n, lhs_transposed, rhs_transposed), host_target());
  std::vector<float> lhs(static_cast<size_t>(m * k), 0.5f), rhs(static_cast<size_t>(k * n), 0.25f),
      out(static_cast<size_t>(m * n));
  for (auto _ : state) {
    compiled.run({lhs.data(), rhs.data(), out.data()});
    benchmark::ClobberMemory();
  }
  state.counters["FLOP/s"] =
      benchmark::Counter(compiled.step.flops, benchmark::Counter::kIsIterationInvariantRate,
                         benchmark::Counter::kIs1000);
  state.counters["units"] = static_cast<double>(compiled.step.range);
  state.counters["compile_ms"] = compiled.times.build_ms + compiled.times.optimize_ms +
                                 compiled.times.codegen_ms + compiled.times.link_ms;
}

void sizes(benchmark::internal::Benchmark* bench) {
  bench->ArgNames({"m", "k", "n"});
  for (const int64_t size : {64, 256, 512, 1024}) bench->Args({size, size, size});
  bench->Args({10, 64, 10})->Args({128, 784, 256})->Args({32, 768, 3072});
  bench->Args({1, 768, 768})->Args({4, 768, 3072})->Args({64, 512, 10});
}

BENCHMARK_CAPTURE(run_matmul, nn, false, false)->Apply(sizes);
BENCHMARK_CAPTURE(run_matmul, nt, false, true)->Apply(sizes);
BENCHMARK_CAPTURE(run_matmul, tn, true, false)->Apply(sizes);

}  // namespace
}  // namespace coregrad
