#pragma once
// Steps before memory and machine code are settled.

#include "codegen/jit/kernel_cache.h"
#include "compile/library_units.h"
#include "compile/memory_map.h"

#include <map>
#include <optional>
#include <string>
#include <vector>

namespace coregrad {

struct DraftStep {
  StepKind kind;
  std::string name;
  std::vector<Memory> arguments;
  std::vector<bool> written;  ///< per argument
  int source = -1;            ///< index into the kernel sources, or -1
  std::optional<LibraryUnit> library;
  bool checked = true;          ///< its results are complete and can be validated
  std::vector<NodeId> nodes;    ///< per argument: whose memory it is
  std::vector<SymInt> skipped;  ///< per argument: bytes of that memory before the pointer
  double bytes = 0, flops = 0, cost_ns = 0;  ///< by hints
  SymInt work = 1;                           ///< what these grow with
  std::optional<SymInt> moved;  ///< bytes; where results go around the caches if it is much

  void add_argument(const Memory& memory, NodeId node, bool is_written) {
    arguments.push_back(memory);
    nodes.push_back(node);
    skipped.push_back(0);
    written.push_back(is_written);
  }
  void skip(size_t argument, SymInt distance) {
    arguments[argument].offset += distance;
    skipped[argument] += distance;
  }
};

struct Draft {
  std::vector<DraftStep> steps;
  std::vector<KernelSource> sources;

  void add(DraftStep step, KernelSource source) {
    step.source = static_cast<int>(sources.size());
    sources.push_back(std::move(source));
    steps.push_back(std::move(step));
  }
};

/// The steps of all units, in order. Kernels of loops are not scheduled yet.
Draft draft_units(const Graph& graph, const FusionPlan& fusion, const MemoryMap& memory,
                  const CompileOptions& options);

/// Appends what fills the outputs that no unit writes.
void draft_copies(Draft& draft, const Graph& graph, const MemoryMap& memory,
                  std::span<const OutputSpec> outputs, std::span<const int64_t> copied,
                  int64_t num_inputs);

/// Schedules the kernels of loops, which gives their steps' costs.
void schedule(Draft& draft, const CompileOptions& options, const Target& target);

/// Node -> node whose memory it takes over: of temporaries that die in the step that writes it,
/// where the kernel is seen to allow it.
using TakenOver = std::map<NodeId, NodeId>;
TakenOver share_memory(Draft& draft, const Graph& graph);

/// Moves the constant part of kernels' indices into the steps' arguments: the steps of an unrolled
/// loop, which read and write one place after another, then share their machine code.
void start_at_first_access(Draft& draft);

}  // namespace coregrad
