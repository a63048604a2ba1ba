#pragma once
// A plan whose sizes are symbols, and the plans that it is for numbers.

#include "base/shape_env.h"
#include "base/size_program.h"
#include "compile/iterated_steps.h"
#include "compile/library_units.h"
#include "compile/memory_plan.h"
#include "compile/shared_kernels.h"
#include "kernel/contract_kernel.h"
#include "runtime/plan.h"

#include <memory>
#include <span>
#include <variant>
#include <vector>

namespace coregrad {

/// What assemble_plan() makes. Every number of `plan` that a symbol decides has its expression
/// here; what the plan itself holds in such a place means nothing.
struct PlanTemplate {
  struct SlotSizes {
    SymInt bytes = 0;
    SymInt offset = 0;      ///< from the start of an input, an output or a temporary
    int64_t lifetime = -1;  ///< of a temporary
  };
  struct StepSizes {
    SymInt range = 1, chunk = 1, scratch_bytes = 0;
    SymInt work = 1;  ///< what costs grow with; the step's own are for the hint
  };
  struct TemporarySizes {
    SymInt bytes;
    int64_t first_step, last_step;
  };

  std::shared_ptr<ShapeEnv> env;  ///< null: every size is a number
  Plan plan;
  std::vector<SlotSizes> slots;  ///< one a slot
  std::vector<StepSizes> steps;  ///< one a step
  std::vector<SymInt> params;    ///< in the order of the steps
  std::vector<TemporarySizes> temporaries;
  /// Steps that are made for each set of values: counts are planned, or all is, with code that
  /// sizes share, or they are the library's.
  struct PlannedAnew {
    size_t step;
    std::variant<std::shared_ptr<const SharedContract>, ContractKernel, MakeLibraryStep> source;
  };
  std::vector<PlannedAnew> planned;
  /// Steps whose results go around the caches where they move that many bytes.
  struct Streamed {
    size_t step;
    SymInt bytes;
    std::shared_ptr<const StreamedLoops> loops;
  };
  std::vector<Streamed> streamed;
  /// Steps that many others take the place of.
  struct Repeated {
    size_t step;
    std::shared_ptr<const IteratedSteps> steps;
  };
  std::vector<Repeated> repeated;
  SizeProgram sizes;  ///< of all of the above but `repeated`, by finish()

  /// To be called when everything is there.
  void finish();
  /// The plan where the symbols have these values. ShapeError where the environment does not admit
  /// them.
  std::shared_ptr<Plan> bind(std::span<const int64_t> values) const;

 private:
  MemoryLayout layout_;  ///< of temporaries, then of what is repeated
  /// `bytes` has one number for each of `streamed`.
  void stream_large(Plan& bound, std::span<const int64_t> bytes) const;
  /// `numbers` are those that `sizes` has for what is planned.
  void make_planned(Plan& bound, std::span<const int64_t> values,
                    std::span<const int64_t> numbers) const;
};

}  // namespace coregrad
