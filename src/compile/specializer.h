#pragma once
// Plans for one set of sizes, from a graph whose sizes are symbols.

#include "base/shape_env.h"
#include "compile/compiler.h"
#include "ir/graph.h"

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

namespace coregrad {

/// What compile() was given, kept for plans of numbers that are wanted later.
class Specializer {
 public:
  /// `graph` is not changed any more; `options` are those of the symbols, with their environment.
  Specializer(std::shared_ptr<const Graph> graph, std::vector<OutputSpec> outputs,
              int64_t num_inputs, const CompileOptions& options);

  /// What compile() makes of the graph in which the symbols are these numbers, on one thread.
  /// Precondition: the environment admits them. Thread-safe.
  CompiledPlan compile_for(std::span<const int64_t> values) const;

 private:
  std::shared_ptr<const Graph> graph_;
  std::vector<OutputSpec> outputs_;
  int64_t num_inputs_;
  CompileOptions options_;
  std::vector<ExternalStep> externals_;
};

}  // namespace coregrad
