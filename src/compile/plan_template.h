#pragma once
// A plan whose sizes are symbols, and the plans that it is for numbers.

#include "base/shape_env.h"
#include "base/size_program.h"
#include "codegen/jit/kernel_cache.h"
#include "compile/iterated_steps.h"
#include "compile/library_units.h"
#include "compile/memory_plan.h"
#include "kernel/contract_kernel.h"
#include "runtime/plan.h"

#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <utility>
#include <variant>
#include <vector>

namespace coregrad {

/// A contraction of symbols: its kernel for all sizes, and those for few rows or lanes, which are
/// made when they are met.
class SharedContract {
 public:
  SharedContract(ContractKernel source, std::shared_ptr<const CompiledKernel> general)
      : source_(std::move(source)), general_(std::move(general)) {}

  const CompiledKernel& general() const { return *general_; }

  /// Contractions and their sizes.
  using Wanted = std::pair<const SharedContract*, std::span<const int64_t>>;
  /// A kernel for few rows or lanes, and what its sizes are.
  struct SpecialKernel {
    std::shared_ptr<const CompiledKernel> kernel;
    SizeProgram sizes;
  };
  using Special = std::optional<std::shared_ptr<const SpecialKernel>>;
  /// The best kernel for each: the general one where there is no value, one for numbers alone where
  /// it is null. What is not there is made, all at once.
  static std::vector<Special> special_kernels(std::span<const Wanted> wanted);
  const ContractKernel& source() const { return source_; }

 private:
  using Few = std::vector<AssumedExtent>;

  ContractKernel source_;
  std::shared_ptr<const CompiledKernel> general_;
  mutable std::mutex mutex_;
  mutable std::map<Few, std::shared_ptr<const SpecialKernel>> special_;  ///< null: there is none
};

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
  /// `numbers` are those that `sizes` has for what is planned.
  void make_planned(Plan& bound, std::span<const int64_t> values,
                    std::span<const int64_t> numbers) const;
};

}  // namespace coregrad
