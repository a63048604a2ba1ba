#pragma once
// Compiles a graph, runs the plan, and compares with the reference interpreter.

#include "compile/compiler.h"
#include "interp/interpreter.h"
#include "ops/primitives.h"
#include "runtime/executor.h"

#include <gtest/gtest.h>

#include <cstdint>
#include <random>
#include <vector>

namespace coregrad::test {

/// Random input arrays for every Op::Input of the graph, dense or as its strides ask; floats in
/// [-2, 2], integers in [0, 7], bools mixed.
inline std::vector<std::vector<std::byte>> random_inputs(const Graph& graph, uint64_t seed) {
  std::mt19937_64 random(seed);
  std::vector<std::vector<std::byte>> buffers;
  for (uint32_t i = 0; i < graph.size(); ++i) {
    if (graph[{i}].op != Op::Input) continue;
    const auto index = static_cast<size_t>(graph.attr({i}, 0));
    int64_t last = 0;
    const Shape shape = graph.shape({i});
    for (size_t d = 0; d < shape.size(); ++d)
      last += std::max<int64_t>(shape[d] - 1, 0) * graph.attr({i}, d + 1);
    const auto count = static_cast<size_t>(last + 1);
    if (buffers.size() <= index) buffers.resize(index + 1);
    std::vector<std::byte>& b = buffers[index];
    b.resize(count * static_cast<size_t>(size_of(graph.dtype({i}))));
    const auto fill = [&](auto* p, auto make) {
      for (size_t k = 0; k < count; ++k) p[k] = make(random());
    };
    switch (graph.dtype({i})) {
      case DType::Float16:
        fill(reinterpret_cast<Float16*>(b.data()),
             [](uint64_t r) { return Float16(static_cast<float>(r >> 40) * 0x1p-22f - 2); });
        break;
      case DType::BFloat16:
        fill(reinterpret_cast<BFloat16*>(b.data()),
             [](uint64_t r) { return BFloat16(static_cast<float>(r >> 40) * 0x1p-22f - 2); });
        break;
      case DType::Float32:
        fill(reinterpret_cast<float*>(b.data()),
             [](uint64_t r) { return static_cast<float>(r >> 40) * 0x1p-22f - 2; });
        break;
      case DType::Float64:
        fill(reinterpret_cast<double*>(b.data()),
             [](uint64_t r) { return static_cast<double>(r >> 11) * 0x1p-51 - 2; });
        break;
      case DType::Int32:
        fill(reinterpret_cast<int32_t*>(b.data()),
             [](uint64_t r) { return static_cast<int32_t>(r >> 61); });
        break;
      case DType::Int64:
        fill(reinterpret_cast<int64_t*>(b.data()),
             [](uint64_t r) { return static_cast<int64_t>(r >> 61); });
        break;
      case DType::Bool:
        fill(reinterpret_cast<uint8_t*>(b.data()),
             [](uint64_t r) { return static_cast<uint8_t>(r >> 63); });
        break;
      case DType::Int8:
      case DType::UInt8:
        fill(reinterpret_cast<uint8_t*>(b.data()),
             [](uint64_t r) { return static_cast<uint8_t>(r >> 56); });
        break;
      case DType::Int16:
      case DType::UInt16:
        fill(reinterpret_cast<int16_t*>(b.data()),
             [](uint64_t r) { return static_cast<int16_t>(r >> 48); });
        break;
      case DType::UInt32:
        fill(reinterpret_cast<uint32_t*>(b.data()),
             [](uint64_t r) { return static_cast<uint32_t>(r >> 32); });
        break;
    }
  }
  return buffers;
}

/// Runs the compiled outputs; one dense buffer each.
inline std::vector<std::vector<std::byte>> run_compiled(
    const Graph& graph, std::span<const NodeId> outputs,
    const std::vector<std::vector<std::byte>>& inputs, const CompileOptions& options = {},
    CompileReport* report = nullptr) {
  std::vector<OutputSpec> specs;
  for (NodeId o : outputs) specs.push_back({o, {}, -1});
  const CompiledPlan compiled = compile(graph, specs, static_cast<int64_t>(inputs.size()), options);
  if (report) *report = compiled.report;
  std::vector<const void*> in;
  for (const auto& b : inputs) in.push_back(b.data());
  std::vector<std::vector<std::byte>> results;
  std::vector<void*> out;
  for (NodeId o : outputs) {
    results.emplace_back(static_cast<size_t>(graph.numel(o) * size_of(graph.dtype(o))),
                         std::byte{0xAB});
    out.push_back(results.back().data());
  }
  run(*compiled.plan, in, out);
  return results;
}

inline NodeId in(Graph& g, int64_t index, const std::vector<int64_t>& shape,
                 DType dtype = DType::Float32) {
  return ops::input(g, index, dtype, shape);
}

inline ContractSpec matmul_spec(int64_t m, int64_t n, int64_t k) {
  ContractSpec spec;
  spec.extents = {m, n, k};
  spec.lhs = {DimMap::label(0), DimMap::label(2)};
  spec.rhs = {DimMap::label(2), DimMap::label(1)};
  spec.out = {0, 1};
  return spec;
}

/// How far two results may be apart: of the largest magnitude for floats, equal otherwise.
std::string compare_results(DType dtype, std::span<const std::byte> got,
                            std::span<const std::byte> expected);

/// Compiled (fused and unfused) against interpreted.
void expect_compiled_matches(const Graph& graph, std::span<const NodeId> outputs, uint64_t seed = 1,
                             CompileReport* report = nullptr);

inline void check(const Graph& graph, std::vector<NodeId> outputs,
                  CompileReport* report = nullptr) {
  expect_compiled_matches(graph, outputs, 1, report);
}

/// Runs with one output in the strides asked and compares it with the same output row-major.
void check_strided(const Graph& graph, NodeId output, const std::vector<int64_t>& strides);

}  // namespace coregrad::test
