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

}  // namespace coregrad::test
