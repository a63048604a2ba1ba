#pragma once
// Draft steps and machine code as a plan.

#include "compile/draft.h"
#include "compile/plan_template.h"

#include <memory>
#include <span>
#include <string>
#include <vector>

namespace coregrad {

struct PlanParts {
  const Graph& graph;
  const MemoryMap& memory;
  std::span<const OutputSpec> outputs;
  int64_t num_inputs;
  const Draft& draft;
  const TakenOver& taken_over;
  /// One a source; null for what is planned when sizes are known.
  std::span<const std::shared_ptr<const CompiledKernel>> kernels;
  const Target& target;
  std::shared_ptr<ShapeEnv> env;  ///< of the symbols in the graph; null for none
};

PlanTemplate assemble_plan(const PlanParts& parts);

/// Recomputes each step of a run with the reference interpreter (COREGRAD_VALIDATE).
std::shared_ptr<StepObserver> make_validator(const Graph& graph, const MemoryMap& memory,
                                             const Draft& draft);

}  // namespace coregrad
