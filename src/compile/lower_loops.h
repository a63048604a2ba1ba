#pragma once
// A fused unit as a LoopKernel, by demand: each root is evaluated at its loop indices, operands at
// the indices that the views in between give, down to memory.

#include "compile/fusion.h"
#include "kernel/loop_kernel.h"

#include <vector>

namespace coregrad {

/// Memory that a kernel argument stands for: a node's own buffer (a Concat's for its parts).
struct KernelArgument {
  NodeId node;
  bool is_written = false;
};

struct LoweredLoops {
  LoopKernel kernel;
  std::vector<KernelArgument> arguments;  ///< one per kernel buffer
};

/// How the memory of stored nodes is laid out: strides in elements of a node's buffer (row-major
/// unless an output asked for others).
class Layouts {
 public:
  virtual ~Layouts() = default;
  virtual std::vector<SymInt> strides(NodeId node) const = 0;
};

/// For UnitKind::Loop; not arranged yet. Roots that `plan` does not store are computed but not
/// written.
LoweredLoops lower_loops(const Graph& graph, const FusionPlan& plan, const FusionUnit& unit,
                         const Layouts& layouts);

/// A contract's epilogue: parallel axes are the output dimensions, one Bound value is the result.
/// With no roots: a plain store of the result.
LoweredLoops lower_epilogue(const Graph& graph, const FusionPlan& plan, const FusionUnit& unit,
                            const Layouts& layouts);

}  // namespace coregrad
