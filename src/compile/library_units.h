#pragma once
// Irregular primitives as ready-made steps (runtime/library_steps.h), and external operations.

#include "compile/compiler.h"
#include "compile/fusion.h"
#include "kernel/loop_kernel.h"
#include "runtime/library_steps.h"

#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

namespace coregrad {

/// A step of the library, for sizes that `value_of` gives as numbers.
using MakeLibraryStep = std::function<LibraryStep(const SizeFunction& value_of)>;

struct IteratedSteps;  // compile/iterated_steps.h

/// One step of a library op. Its arguments are operands, then results, or the other way round.
struct LibraryUnit {
  std::string name;
  StepKind kind = StepKind::Library;
  StepFunction function = nullptr;
  const void* context = nullptr;
  std::shared_ptr<const void> context_owner;
  std::vector<NodeId> operands, results;
  std::vector<SymInt> offsets;  ///< bytes before what is read of each operand; empty: none
  bool results_first = false;
  bool completes = true;  ///< false: a later step of the same op goes on with the result
  int64_t range = 1, chunk = 1, scratch_bytes = 0;
  std::vector<SymInt> params;
  double cost_ns = 0;
  /// What is repeated in the place of this step; null where it is one.
  std::shared_ptr<const IteratedSteps> iterated;
  /// Where sizes are symbols: makes what runs for those of a call. What is above is for hints.
  MakeLibraryStep make;
};

/// The step that runs, as a unit without operands and results.
LibraryUnit library_unit(std::string name, LibraryStep step);

/// The steps of a Scatter, Scan, Library or External unit, in order. Those of an iteration are
/// compiled.
std::vector<LibraryUnit> make_library_units(const Graph& graph, const FusionUnit& unit,
                                            const CompileOptions& options);

}  // namespace coregrad
