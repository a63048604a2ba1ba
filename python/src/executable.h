#pragma once
// What runs a compiled graph: the plan, or the reference interpreter as an oracle for debugging.

#include "compile/compiler.h"
#include "ir/graph.h"
#include "runtime/thread_team.h"

#include <memory>
#include <span>
#include <string>
#include <vector>

namespace coregrad::python {

/// Of code that is for one set of sizes, roughly, over what its plan takes.
inline constexpr int64_t kCodeBytes = 128 << 10;

class Executable {
 public:
  virtual ~Executable() = default;
  /// Thread-safe. Pointers are in the order of the graph's inputs and of the outputs.
  virtual void run(std::span<const void* const> inputs, std::span<void* const> outputs) const = 0;
  /// True when a run takes less than a hand-over of the GIL is worth, waits for nobody and calls
  /// nothing that needs the GIL on another thread.
  virtual bool is_short() const = 0;
  /// The plan, or the graph of an interpreter, as text.
  virtual std::string to_text() const = 0;
  /// What it takes of memory.
  virtual int64_t bytes() const = 0;
};

/// Shape and dtype of each result of an external call.
struct ExternalResult {
  DType dtype;
  std::vector<int64_t> shape;
};

/// Plans run on the threads behind this loop from now on; null: on our own team.
void attach_host_threads(HostParallelFor parallel_for);

/// Runs the plan that compile() made, with at most `max_threads` threads.
std::unique_ptr<Executable> make_plan_executable(std::shared_ptr<const Plan> plan, int max_threads);

/// Interprets the graph. `results[k]` are the results of external call k.
std::unique_ptr<Executable> make_oracle_executable(
    const Graph& graph, std::span<const OutputSpec> outputs, int64_t num_inputs,
    std::vector<ExternalStep> externals, std::vector<std::vector<ExternalResult>> results);

}  // namespace coregrad::python
