#pragma once
// Iterations: a graph that is run for each step of a sequence, however many there are.

#include "ir/iteration.h"
#include "ops/primitives.h"

#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace coregrad::ops {

/// Makes one iteration. What carried(), slices() and constant() give are nodes of body(), in which
/// a step's values are computed; what finish() gives are nodes of the graph around it.
class IterationBuilder {
 public:
  IterationBuilder(Graph& around, std::string name);

  Graph& body() { return iteration_->graph; }
  /// What a step gets from the one before it, the first one `first`.
  NodeId carried(NodeId first);
  /// What `sequence` [steps, ...] has at step + shift, or `edge` where there is no such step.
  NodeId slices(NodeId sequence, int64_t shift = 0, std::optional<NodeId> edge = {});
  /// The same value at each step.
  NodeId constant(NodeId value);

  /// What the next step gets, in the order of carried().
  void hand_on(NodeId value) { iteration_->next.push_back(value); }
  /// A result of all steps.
  void stack(NodeId value) { iteration_->stacked.push_back(value); }

  struct Results {
    std::vector<NodeId> last;     ///< what the last step hands on
    std::vector<NodeId> stacked;  ///< [steps, ...]
  };
  /// Steps are taken from the first to the last, or the other way round. There must be one.
  Results finish(SymInt steps, bool reverse = false);

 private:
  NodeId add(Iteration::Input input, Shape shape);
  size_t operand(NodeId node);

  Graph& around_;
  std::shared_ptr<Iteration> iteration_ = std::make_shared<Iteration>();
  std::vector<NodeId> operands_;
};

}  // namespace coregrad::ops
