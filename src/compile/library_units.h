#pragma once
// Irregular primitives as ready-made steps (runtime/library_steps.h), and external operations.

#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "compile/compiler.h"
#include "compile/fusion.h"

namespace coregrad {

struct LibraryUnit {
  std::string name;
  StepFunction function = nullptr;
  const void* context = nullptr;
  std::shared_ptr<const void> context_owner;
  std::vector<NodeId> operands, results;  ///< the step's arguments, operands first
  int64_t range = 1, chunk = 1, scratch_bytes = 0;
  std::vector<int64_t> params;
  double cost_ns = 0;
};

/// The step for a Scatter, Scan, Library or External unit; nothing when it has no elements to make.
std::optional<LibraryUnit> make_library_unit(const Graph& graph, const FusionUnit& unit,
                                             std::span<const ExternalStep> externals);

}  // namespace coregrad
