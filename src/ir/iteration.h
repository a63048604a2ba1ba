#pragma once
// What Op::Iterate does at each of its steps: a graph of its own.

#include "ir/graph.h"

#include <cstdint>
#include <string>
#include <vector>

namespace coregrad {

/// The body of an iteration. From step to step it hands on *carried* values; it reads a slice of
/// each *sequence*, along the first dimension, and values that stay the same; slices of its results
/// are stacked along a new first dimension.
struct Iteration {
  enum class Kind : uint8_t { Carried, Sequence, Constant };
  /// Input k of the body's graph.
  struct Input {
    Kind kind;
    size_t operand;     ///< of the node: the first value, the whole sequence, or the value
    NodeId node = {};   ///< in the body's graph
    int64_t shift = 0;  ///< a sequence is read at step + shift,
    size_t edge = 0;    ///< and this operand where that lies outside of it
  };

  std::string name;
  Graph graph;
  std::vector<Input> inputs;
  std::vector<NodeId> next;  ///< one for each carried value, in the order of the inputs
  std::vector<NodeId> stacked;

  /// A node's results: the carried values after the last step, then what is stacked.
  size_t num_results() const { return next.size() + stacked.size(); }
};

}  // namespace coregrad
