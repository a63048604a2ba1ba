#pragma once
// Which values and stores of a LoopKernel are emitted in which pass over which loop set, how wide
// and how often unrolled, and where kept rows lie in scratch.

#include "kernel/loop_kernel.h"
#include "kernel/target.h"

#include <cstdint>
#include <vector>

namespace coregrad {

/// One walk over a loop set.
struct LoopNest {
  int loop_set = 0;
  std::vector<ValueId> reductions;   ///< Reduce values that this walk completes
  std::vector<ValueId> kept_writes;  ///< values that go to their rows in scratch
  std::vector<ValueId> kept_reads;   ///< values that come from there instead of being made again
  std::vector<size_t> stores;        ///< numbers of stores inside the loops
  double cost = 0;                   ///< instructions for one element, roughly
  int unroll = 1;                    ///< row mode: vectors in one step of the lane loop
};

struct LoopPass {
  std::vector<LoopNest> nests;
  std::vector<size_t> stores;  ///< numbers of stores at the parallel level, after the nests
};

/// A kept value's row in the worker's scratch block.
struct KeptRow {
  ValueId value;
  SymInt offset;    ///< bytes
  SymInt elements;  ///< positions of the loop set
};

struct LoopSchedule {
  std::vector<uint64_t> value_axes;         ///< bit a: depends on axis a
  std::vector<std::vector<int>> loop_sets;  ///< axes of each loop set, outermost first
  std::vector<SymInt> loop_set_iterations;  ///< 0 if an extent is 0
  std::vector<LoopPass> passes;             ///< at least one
  std::vector<KeptRow> kept;
  SymInt scratch_bytes = 0;
  int width = 1;         ///< lanes of a vector
  int unroll = 1;        ///< vectors in one step of the lane loop (a power of two), at most
  double lane_cost = 0;  ///< instructions for one element of the lane-parallel level

  const KeptRow& row_of(ValueId value) const;
};

LoopSchedule schedule_loops(const LoopKernel& kernel, const Target& target);

}  // namespace coregrad
