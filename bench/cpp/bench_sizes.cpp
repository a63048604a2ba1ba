// What a set of sizes costs that a symbolic plan has not met: evaluating sizes and placing memory.

#include "base/shape_env.h"
#include "compile/compiler.h"
#include "compile/plan_template.h"
#include "coregrad/coregrad.h"
#include "ops/operators.h"
#include "ops/primitives.h"

#include <benchmark/benchmark.h>

#include <memory>
#include <vector>

namespace coregrad {
namespace {

/// What binding costs for a graph of `range(0)` steps that `make` gives for sizes s and t.
template <class Make>
void bind_sizes(benchmark::State& state, Make make) {
  const auto env = std::make_shared<ShapeEnv>();
  const SymInt s = env->symbol("s", {2, kUnbounded}, 257),
               t = env->symbol("t", {2, kUnbounded}, 263);
  Graph graph;
  const OutputSpec outputs[] = {{make(graph, s, t, state.range(0)), {}, -1}};
  CompileOptions options;
  options.env = env;
  const CompiledPlan compiled = compile(graph, outputs, 2, options);
  std::vector<int64_t> sizes = {100, 200};
  for (auto _ : state) {
    ++sizes[0];
    benchmark::DoNotOptimize(compiled.sizes->bind(sizes));
  }
  state.counters["steps"] = static_cast<double>(compiled.sizes->steps.size());
}

/// Softmaxes in a row, transposed in between so that each is a step.
void BM_BindLoops(benchmark::State& state) {
  bind_sizes(state, [](Graph& graph, SymInt s, SymInt t, int64_t count) {
    const SymInt shape[] = {s, t};
    NodeId x = ops::input(graph, 0, DType::Float32, shape);
    for (int64_t i = 0; i < count; ++i)
      x = ops::transpose(graph, ops::softmax(graph, x, -1, std::nullopt), 0, 1);
    return x;
  });
}
BENCHMARK(BM_BindLoops)->Arg(1)->Arg(10)->Arg(100)->Unit(benchmark::kMicrosecond);

/// Layers of a perceptron.
void BM_BindProducts(benchmark::State& state) {
  bind_sizes(state, [](Graph& graph, SymInt s, SymInt, int64_t count) {
    const SymInt rows[] = {s, 64}, square[] = {64, 64};
    NodeId x = ops::input(graph, 0, DType::Float32, rows);
    const NodeId w = ops::input(graph, 1, DType::Float32, square);
    for (int64_t i = 0; i < count; ++i) x = ops::relu(graph, ops::matmul(graph, x, w));
    return x;
  });
}
BENCHMARK(BM_BindProducts)->Arg(1)->Arg(10)->Arg(100)->Unit(benchmark::kMicrosecond);

/// A perceptron on tensors: with a batch that is known, and with one that never was (`range(0)`).
void BM_Tensors(benchmark::State& state) {
  const Tensor w = randn({64, 32}).realize(), v = randn({32, 8}).realize();
  const auto batch = [](int64_t n) { return zeros({n, 64}).realize(); };
  const auto run = [&](const Tensor& x) { softmax(matmul(relu(matmul(x, w)), v), -1).realize(); };
  for (const int64_t n : {10, 20, 30}) run(batch(n));
  int64_t n = 100;
  Tensor x = batch(n);
  for (auto _ : state) {
    if (state.range(0) != 0) {
      state.PauseTiming();
      n = n % 1000 + 2;
      x = batch(n);
      state.ResumeTiming();
    }
    run(x);
  }
}
BENCHMARK(BM_Tensors)->ArgName("new")->Arg(0)->Arg(1)->Unit(benchmark::kMicrosecond);

}  // namespace
}  // namespace coregrad
