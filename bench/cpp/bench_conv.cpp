// Convolutions (NCHW) and their gradients on one thread: GFLOP/s of the generated code.

#include "codegen/jit/host_target.h"

#include <benchmark/benchmark.h>

#include "../../tests/cpp/support/compiled_contract.h"
#include <span>
#include <vector>

namespace coregrad {
namespace {

using MakeKernel = ContractKernel (*)(DType, const ConvCase&);

void run_conv(benchmark::State& state, MakeKernel make) {
  const ConvCase c{state.range(0), state.range(1), state.range(2),
                   state.range(2), state.range(3), state.range(4),
                   state.range(5), state.range(6), 1,
                   state.range(7)};
  const ContractKernel kernel = make(DType::Float32, c);
  const CompiledContract compiled(kernel, host_target());
  const auto filled = [](SymInts shape, float value) {
    return std::vector<float>(static_cast<size_t>(checked_numel(shape, "bench")), value);
  };
  std::vector<int64_t> out_shape;
  for (const LoopAxis& axis : kernel.epilogue.axes) out_shape.push_back(axis.extent);
  std::vector<float> lhs = filled(kernel.lhs.shape, 0.5f), rhs = filled(kernel.rhs.shape, 0.25f),
                     out = filled(out_shape, 0);
  for (auto _ : state) {
    compiled.run({lhs.data(), rhs.data(), out.data()});
    benchmark::ClobberMemory();
  }
  state.counters["FLOP/s"] =
      benchmark::Counter(compiled.step.flops, benchmark::Counter::kIsIterationInvariantRate,
                         benchmark::Counter::kIs1000);
  state.counters["units"] = static_cast<double>(compiled.step.range);
}

void shapes(benchmark::internal::Benchmark* bench) {
  bench->ArgNames({"n", "ci", "size", "co", "kernel", "stride", "pad", "groups"});
  bench->Args({64, 1, 8, 32, 3, 1, 1, 1})->Args({64, 32, 8, 64, 3, 1, 1, 1});
  bench->Args({32, 64, 56, 64, 3, 1, 1, 1})->Args({64, 1, 28, 32, 3, 1, 0, 1});
  bench->Args({64, 32, 26, 64, 3, 1, 0, 1})->Args({16, 256, 14, 256, 3, 1, 1, 1});
  bench->Args({16, 64, 56, 128, 3, 2, 1, 1})->Args({16, 256, 14, 1024, 1, 1, 0, 1});
  bench->Args({16, 128, 28, 128, 3, 1, 1, 128});
  bench->Unit(benchmark::kMillisecond);
}

BENCHMARK_CAPTURE(run_conv, forward, conv_forward_kernel)->Apply(shapes);
BENCHMARK_CAPTURE(run_conv, input_gradient, conv_input_gradient_kernel)->Apply(shapes);
BENCHMARK_CAPTURE(run_conv, weight_gradient, conv_weight_gradient_kernel)->Apply(shapes);

}  // namespace
}  // namespace coregrad
