#pragma once
// COREGRAD_VALIDATE=1: each step recomputed by the reference interpreter from the memory it read.

#include "ir/graph.h"
#include "runtime/executor.h"

#include <cstdint>
#include <vector>

namespace coregrad {

/// What one step should have written, as a small graph over its arguments.
struct StepExpectation {
  struct Result {
    NodeId node;                  ///< in `graph`
    size_t argument;              ///< of the step
    std::vector<SymInt> strides;  ///< of that memory, in elements
    int64_t start;                ///< of that memory, in bytes from the argument's pointer
    std::string name;             ///< for the message
  };
  struct Source {
    size_t argument;
    int64_t start;  ///< bytes from the argument's pointer
  };
  Graph graph;  ///< Op::Input k is read from inputs[k]
  std::vector<Source> inputs;
  std::vector<Result> results;
};

/// Throws InternalError for the first element that is too far from the interpreter's. Floats may
/// differ by 1e-4 of the result's largest magnitude plus 1e-6 of the largest that the step read
/// (cancellation); 1e-9 and 1e-12 where everything in the step is float64. Others must be equal.
class PlanValidator : public StepObserver {
 public:
  explicit PlanValidator(std::vector<StepExpectation> steps) : steps_(std::move(steps)) {}
  void after_step(const Plan& plan, size_t step, std::span<void* const> buffers) override;

 private:
  std::vector<StepExpectation> steps_;
};

/// Compares two dense arrays: floats may differ by `relative` of the largest expected magnitude
/// plus `absolute`, others not at all. Empty when they agree, else what differs.
std::string first_difference(DType dtype, std::span<const std::byte> got,
                             std::span<const std::byte> expected, double relative,
                             double absolute = 0);

/// The part of `graph` between `results` and the nodes in `memory` (argument node, argument number,
/// layout), copied without folding.
struct ArgumentMemory {
  NodeId node;
  size_t argument;
  std::vector<SymInt> strides;
  int64_t start = 0;  ///< bytes from the argument's pointer to the node's first element
};
StepExpectation expectation(const Graph& graph, const std::vector<ArgumentMemory>& memory,
                            const std::vector<ArgumentMemory>& results);

}  // namespace coregrad
