// Generated loop kernels on one thread: maps, sums, softmax, batch statistics. The rate counts each
// element once for every buffer that is read or written.

#include "base/checked.h"
#include "codegen/jit/host_target.h"
#include "codegen/jit/jit.h"
#include "codegen/loops/loop_emitter.h"
#include "kernel/loop_kernel.h"
#include "runtime/plan.h"

#include <benchmark/benchmark.h>

#include <cstdlib>
#include <memory>
#include <vector>

namespace coregrad {
namespace {

constexpr DType kF32 = DType::Float32;

ValueId add_value(LoopKernel& k, KernelValue v) {
  k.values.push_back(std::move(v));
  return static_cast<ValueId>(k.values.size()) - 1;
}
IndexExpr add_axis(LoopKernel& k, int64_t extent, int loop_set = -1) {
  k.axes.push_back({extent, loop_set});
  if (loop_set < 0) ++k.num_parallel;
  k.num_loop_sets = std::max(k.num_loop_sets, loop_set + 1);
  return k.context.axis(static_cast<int>(k.axes.size()) - 1, extent);
}
ValueId load(LoopKernel& k, int buffer, const IndexExpr& at) {
  KernelValue v{.kind = ValueKind::Load, .dtype = kF32};
  v.index = at;
  v.buffer = buffer;
  return add_value(k, v);
}
ValueId apply(LoopKernel& k, Op op, ValueId a, ValueId b = kNoValue) {
  KernelValue v{.kind = ValueKind::Elementwise, .op = op, .dtype = kF32};
  v.operands[0] = a, v.operands[1] = b;
  return add_value(k, v);
}
ValueId reduce(LoopKernel& k, Op op, ValueId a) {
  KernelValue v{.kind = ValueKind::Reduce, .op = op, .dtype = kF32};
  v.operands[0] = a;
  v.loop_set = 0;
  return add_value(k, v);
}

/// Runs a kernel over fresh buffers of these many floats.
void measure(benchmark::State& state, const LoopKernel& kernel, std::vector<int64_t> sizes) {
  const Target& target = host_target();
  CompileTimes times;
  const CodeHandle code = compile_module(
      target, "bench",
      [&](llvm::Module& module) { emit_loop_kernel(module, "kernel", kernel, target); }, &times);
  const auto function = reinterpret_cast<StepFunction>(code->address("kernel"));
  struct Free {
    void operator()(float* p) const { std::free(p); }
  };
  std::vector<std::unique_ptr<float, Free>> owners;
  std::vector<void*> buffers;
  double bytes = 0;
  for (const int64_t size : sizes) {
    auto* const p =
        static_cast<float*>(std::aligned_alloc(64, static_cast<size_t>(round_up(size * 4, 64))));
    for (int64_t i = 0; i < size; ++i) p[i] = static_cast<float>(i % 97) * 0.01f;
    owners.emplace_back(p);
    buffers.push_back(p);
    bytes += static_cast<double>(size) * 4;
  }
  std::vector<char> scratch(static_cast<size_t>(scratch_bytes(kernel, target)) + 64);
  void* aligned = scratch.data();
  size_t space = scratch.size();
  std::align(64, space - 64, aligned, space);
  RunStatus status;
  const StepArgs args{buffers.data(), nullptr, aligned, &status, nullptr};
  const int64_t range = kernel.range(), chunk = kernel.chunk;
  for (auto _ : state) {
    for (int64_t begin = 0; begin < range; begin += chunk)
      function(&args, begin, std::min(range, begin + chunk), 0);
    benchmark::ClobberMemory();
  }
  state.counters["GB/s"] = benchmark::Counter(bytes * static_cast<double>(state.iterations()) / 1e9,
                                              benchmark::Counter::kIsRate);
  state.counters["compile_ms"] =
      times.build_ms + times.optimize_ms + times.codegen_ms + times.link_ms;
}

LoopKernel map_kernel(int64_t n, bool stream, bool with_exp) {
  LoopKernel k;
  const IndexExpr i = add_axis(k, n);
  k.buffers = {{kF32}, {kF32}, {kF32, true, stream}};
  const ValueId x = load(k, 0, i), y = load(k, 1, i);
  ValueId v = apply(k, Op::Add, apply(k, Op::Mul, x, y), x);
  if (with_exp) v = apply(k, Op::Exp, v);
  k.stores.push_back({v, 2, i});
  k.block = 4096;
  k.chunk = 16;
  return k;
}

void bench_multiply_add(benchmark::State& state) {
  const int64_t n = state.range(0);
  measure(state, map_kernel(n, state.range(1) != 0, false), {n, n, n});
}
BENCHMARK(bench_multiply_add)
    ->ArgNames({"n", "stream"})
    ->Args({1 << 10, 0})
    ->Args({1 << 14, 0})
    ->Args({1 << 16, 0})
    ->Args({1 << 24, 0})
    ->Args({1 << 24, 1});

void bench_exp(benchmark::State& state) {
  const int64_t n = state.range(0);
  measure(state, map_kernel(n, false, true), {n, n, n});
}
BENCHMARK(bench_exp)->ArgName("n")->Arg(1 << 14)->Arg(1 << 24);

void bench_row_sum(benchmark::State& state) {
  const int64_t rows = state.range(0), n = state.range(1);
  LoopKernel k;
  const IndexExpr r = add_axis(k, rows), i = add_axis(k, n, 0);
  k.buffers = {{kF32}, {kF32, true}};
  k.stores.push_back({reduce(k, Op::Sum, load(k, 0, k.context.add(k.context.mul(r, n), i))), 1, r});
  k.lane_parallel = false;
  k.chunk = rows;
  measure(state, k, {rows * n, rows});
}
BENCHMARK(bench_row_sum)
    ->ArgNames({"rows", "n"})
    ->Args({16, 1000})
    ->Args({64, 4096})
    ->Args({4096, 4096});

void bench_column_sum(benchmark::State& state) {
  const int64_t rows = state.range(0), n = state.range(1);
  LoopKernel k;
  const IndexExpr c = add_axis(k, n), r = add_axis(k, rows, 0);
  k.buffers = {{kF32}, {kF32, true}};
  k.stores.push_back({reduce(k, Op::Sum, load(k, 0, k.context.add(k.context.mul(r, n), c))), 1, c});
  k.block = 256;
  k.chunk = 1;
  measure(state, k, {rows * n, n});
}
BENCHMARK(bench_column_sum)->ArgNames({"rows", "n"})->Args({64, 256})->Args({4096, 1024});

void bench_full_sum(benchmark::State& state) {
  const int64_t n = state.range(0);
  LoopKernel k;
  const IndexExpr i = add_axis(k, n);
  k.buffers = {{kF32}, {kF32, true}};
  k.block = 4096;
  k.chunk = 16;
  k.stores.push_back({load(k, 0, i), 1, {}, Op::Sum, 1});
  measure(state, k, {n, ceil_div(k.range(), k.chunk)});
}
BENCHMARK(bench_full_sum)->ArgName("n")->Arg(1 << 13)->Arg(1 << 24);

void bench_softmax(benchmark::State& state) {
  const int64_t rows = state.range(0), n = state.range(1);
  LoopKernel k;
  const IndexExpr r = add_axis(k, rows), i = add_axis(k, n, 0);
  k.buffers = {{kF32}, {kF32, true}};
  const IndexExpr at = k.context.add(k.context.mul(r, n), i);
  const ValueId x = load(k, 0, at);
  const ValueId e = apply(k, Op::Exp, apply(k, Op::Sub, x, reduce(k, Op::ReduceMax, x)));
  k.values[static_cast<size_t>(e)].keep = state.range(2) != 0;
  k.stores.push_back({apply(k, Op::Div, e, reduce(k, Op::Sum, e)), 1, at});
  k.lane_parallel = false;
  k.chunk = rows;
  measure(state, k, {rows * n, rows * n});
}
BENCHMARK(bench_softmax)
    ->ArgNames({"rows", "n", "keep"})
    ->Args({64, 128, 0})
    ->Args({64, 128, 1})
    ->Args({64, 1000, 0})
    ->Args({64, 1000, 1});

}  // namespace
}  // namespace coregrad
