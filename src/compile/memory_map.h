#pragma once
// Where nodes have their memory, and which of it a step touches.

#include "compile/compiler.h"
#include "compile/fusion.h"
#include "compile/lower_loops.h"

#include <compare>
#include <cstdint>
#include <map>
#include <span>
#include <vector>

namespace coregrad {

/// Memory a step touches: a node's own, an input's, or an output's (by number).
struct Memory {
  enum class Kind : uint8_t { Node, Input, Output } kind;
  int64_t index;      ///< node index, input number, output number
  SymInt offset = 0;  ///< bytes from its start
  std::strong_ordering operator<=>(const Memory& other) const {
    if (const auto c = kind <=> other.kind; c != 0) return c;
    if (const auto c = index <=> other.index; c != 0) return c;
    return SymInt::order(offset, other.offset);
  }
  bool operator==(const Memory& other) const { return (*this <=> other) == 0; }
};

/// Which outputs are written by the step that computes them, and which are copied at the end.
struct OutputPlaces {
  std::map<NodeId, int64_t> output_of;  ///< node -> the output whose memory it is computed into
  std::vector<int64_t> copied;          ///< the other outputs
};

/// `outputs` name nodes of `graph`.
OutputPlaces place_outputs(const Graph& graph, const FusionPlan& fusion,
                           std::span<const OutputSpec> outputs, int64_t num_inputs);

class MemoryMap : public Layouts {
 public:
  /// Keeps references to all of them.
  MemoryMap(const Graph& graph, const FusionPlan& fusion, std::span<const OutputSpec> outputs,
            const OutputPlaces& places)
      : graph_(graph), fusion_(fusion), outputs_(outputs), places_(places) {}

  std::vector<SymInt> strides(NodeId node) const override;
  Memory memory_of(NodeId node) const;

 private:
  const Graph& graph_;
  const FusionPlan& fusion_;
  std::span<const OutputSpec> outputs_;
  const OutputPlaces& places_;
};

}  // namespace coregrad
