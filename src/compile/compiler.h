#pragma once
// Graph in, plan out. Where sizes are symbols, a plan for each set of their values comes out.

#include "ir/graph.h"
#include "kernel/index_expr.h"
#include "runtime/plan.h"

#include <climits>

#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

namespace coregrad {

class ShapeEnv;
struct PlanTemplate;  // compile/plan_template.h

/// One result of the graph and where it goes.
struct OutputSpec {
  NodeId node;
  /// Strides of the memory the caller gives, in elements; empty: contiguous.
  std::vector<SymInt> strides;
  /// >= 0: the memory is that of this input, which is overwritten after its last read.
  int64_t aliases_input = -1;
};

/// A step that somebody else supplies for Op::External: called once on one thread with the
/// operands' buffers (contiguous) and then those of the results that are wanted.
/// StepArgs::params[r] says which argument result r is, or -1 where nobody reads it.
struct ExternalStep {
  std::string name;
  StepFunction function;
  const void* context;
  std::shared_ptr<const void> keep_alive;
  int64_t num_results = 1;
  /// Where sizes are symbols: the context for those that `value_of` gives as numbers.
  std::function<std::shared_ptr<const void>(const SizeFunction& value_of)> make_context = nullptr;
};

struct CompileOptions {
  std::span<const ExternalStep> externals;  ///< by external id
  bool optimize = true;                     ///< false: one kernel a node, for comparison
  std::string name = "graph";               ///< for logs, traces and dumps
  /// The same graph with other sizes will follow: kernels that can share their code with those.
  bool any_size = false;
  std::shared_ptr<ShapeEnv> env = nullptr;  ///< of the symbols in the graph's sizes
  int max_threads = INT_MAX;                ///< that make machine code; no more than are useful
};

/// What compiling cost and made; for reports.
struct CompileReport {
  int64_t nodes_in = 0, nodes_optimized = 0;
  int64_t kernels = 0, kernels_compiled = 0, kernel_cache_hits = 0;
  int64_t steps = 0;
  int64_t temporary_bytes = 0;
  double total_ms = 0, passes_ms = 0, lowering_ms = 0, llvm_ms = 0;
};

struct CompiledPlan {
  std::shared_ptr<const Plan> plan;  ///< null where sizes are symbols: `sizes` makes plans
  std::shared_ptr<const PlanTemplate> sizes;
  CompileReport report;
  std::string graph_dot;  ///< the optimised graph with its kernels as clusters
};

/// Compiles the outputs. Op::Input nodes are bound by their index; `num_inputs` includes unused
/// ones. Thread-safe for different graphs.
CompiledPlan compile(const Graph& graph, std::span<const OutputSpec> outputs, int64_t num_inputs,
                     const CompileOptions& options = {});

}  // namespace coregrad
