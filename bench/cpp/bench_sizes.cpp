// What a set of sizes costs that a symbolic plan has not met: evaluating sizes and placing memory.

#include "base/shape_env.h"
#include "compile/compiler.h"
#include "compile/plan_template.h"
#include "ops/operators.h"
#include "ops/primitives.h"

#include <benchmark/benchmark.h>

#include <memory>
#include <vector>

namespace coregrad {
namespace {

/// Softmaxes in a row, transposed in between so that each is a step.
void BM_BindLoops(benchmark::State& state) {
  const auto env = std::make_shared<ShapeEnv>();
  const SymInt s = env->symbol("s", {2, kUnbounded}, 257),
               t = env->symbol("t", {2, kUnbounded}, 263);
  Graph graph;
  const SymInt shape[] = {s, t};
  NodeId x = ops::input(graph, 0, DType::Float32, shape);
  for (int64_t i = 0; i < state.range(0); ++i)
    x = ops::transpose(graph, ops::softmax(graph, x, -1, std::nullopt), 0, 1);
  const OutputSpec outputs[] = {{x, {}, -1}};
  CompileOptions options;
  options.env = env;
  const CompiledPlan compiled = compile(graph, outputs, 1, options);
  std::vector<int64_t> sizes = {100, 200};
  for (auto _ : state) {
    ++sizes[0];
    benchmark::DoNotOptimize(compiled.sizes->bind(sizes));
  }
  state.counters["steps"] = static_cast<double>(compiled.sizes->steps.size());
}
BENCHMARK(BM_BindLoops)->Arg(1)->Arg(10)->Arg(100)->Unit(benchmark::kMicrosecond);

}  // namespace
}  // namespace coregrad
