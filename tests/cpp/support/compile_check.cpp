#include "compile_check.h"

#include "compile/validate.h"
#include "ir/print.h"

namespace coregrad::test {

std::string compare_results(DType dtype, std::span<const std::byte> got,
                            std::span<const std::byte> expected) {
  return first_difference(dtype, got, expected, dtype == DType::Float64 ? 1e-9 : 1e-4);
}

void expect_compiled_matches(const Graph& graph, std::span<const NodeId> outputs, uint64_t seed,
                             CompileReport* report) {
  const auto inputs = random_inputs(graph, seed);
  std::vector<InputView> views;
  for (const auto& b : inputs) views.push_back({b.data()});
  const std::vector<Array> expected = interpret(graph, outputs, views);
  for (const bool optimize : {true, false}) {
    CompileOptions options;
    options.optimize = optimize;
    options.any_size = optimize == (seed % 2 == 0);
    const auto got = run_compiled(graph, outputs, inputs, options, optimize ? report : nullptr);
    for (size_t k = 0; k < outputs.size(); ++k) {
      const std::string difference =
          compare_results(graph.dtype(outputs[k]), got[k], expected[k].data);
      EXPECT_TRUE(difference.empty())
          << (optimize ? "optimised" : "unfused") << " output " << k << ": " << difference << "\n"
          << to_text(graph, outputs);
    }
  }
}

void check_strided(const Graph& g, NodeId output, const std::vector<int64_t>& strides) {
  const auto inputs = random_inputs(g, 5);
  const auto expected = run_compiled(g, std::span(&output, 1), inputs);
  const OutputSpec spec{output, {strides.begin(), strides.end()}, -1};
  const CompiledPlan compiled =
      compile(g, std::span(&spec, 1), static_cast<int64_t>(inputs.size()));
  const Shape shape = g.shape(output);
  ASSERT_EQ(shape.size(), 2u);
  const int64_t last = (shape[0] - 1) * strides[0] + (shape[1] - 1) * strides[1];
  std::vector<float> out(static_cast<size_t>(last + 1), -77);
  std::vector<const void*> in_pointers;
  for (const auto& b : inputs) in_pointers.push_back(b.data());
  void* out_pointers[] = {out.data()};
  run(*compiled.plan, in_pointers, out_pointers);
  std::vector<float> dense_out;
  for (int64_t i = 0; i < shape[0]; ++i)
    for (int64_t j = 0; j < shape[1]; ++j)
      dense_out.push_back(out[static_cast<size_t>(i * strides[0] + j * strides[1])]);
  EXPECT_EQ(compare_results(DType::Float32, std::as_bytes(std::span(dense_out)), expected[0]), "");
}

}  // namespace coregrad::test
