#pragma once
// Iterations: the body is compiled once; a plan has its steps as often as there are steps to take.

#include "compile/compiler.h"
#include "compile/fusion.h"
#include "ir/iteration.h"
#include "runtime/plan.h"

#include <memory>
#include <span>
#include <vector>

namespace coregrad {

struct LibraryUnit;  // compile/library_units.h

/// An iteration before sizes are known. Arguments are those of its step: operands, then results.
struct IteratedSteps {
  /// A result of the body's plan.
  struct Output {
    int stacked = -1;  ///< argument that has it for all steps,
    int last = -1;     ///< or for the last one; -1: nobody reads it but the next step
    SymInt bytes;
  };

  std::shared_ptr<const Iteration> body;
  CompiledPlan compiled;  ///< of the body
  SymInt steps;
  bool is_reversed = false;
  std::vector<SymInt> input_bytes;  ///< of one slice, for each input
  std::vector<Output> outputs;
  std::vector<size_t> carried;  ///< for each carried value the output that the next step reads
};

LibraryUnit iterated_unit(const Graph& graph, const FusionUnit& unit,
                          const CompileOptions& options);

/// One where sizes are known.
class BoundIteration {
 public:
  /// `values` are those of the symbols in sizes.
  BoundIteration(const IteratedSteps& steps, size_t step, const ShapeEnv* env,
                 std::span<const int64_t> values);

  size_t step() const { return step_; }
  /// For what a step does not keep.
  int64_t workspace_bytes() const { return workspace_bytes_; }
  /// Appends the steps, with their slots, arguments and parameters, to those of a plan.
  void append_to(std::vector<Step>& steps, Plan& plan, int64_t workspace) const;

 private:
  const IteratedSteps* source_;
  size_t step_;
  std::shared_ptr<const Plan> body_;
  int64_t count_;
  std::vector<int64_t> input_bytes_, output_bytes_;
  std::vector<int64_t>
      own_places_;  ///< in the workspace, of two places for an output without memory
  int64_t workspace_bytes_;
};

/// Puts the steps of iterations, in order, in the place of those that stand for them. `workspaces`
/// are offsets among the plan's temporaries.
void expand(Plan& plan, std::span<const BoundIteration> iterations,
            std::span<const int64_t> workspaces);

}  // namespace coregrad
