#pragma once
// The rules by which two kernels become one. Internal to fusion.

#include "compile/fusion.h"

#include <optional>
#include <vector>

namespace coregrad {

/// The reads of one root, with the context its expressions live in.
struct RootReads {
  IndexContext context;
  std::vector<FusionRead> reads;
};

/// `second` merged into `first`, or nothing where no one parallel domain serves both. `second`
/// reads roots of `first` or is independent of it (a sibling); the caller has excluded cycles.
/// `reads` has those of each root.
std::optional<FusionUnit> merge_units(const Graph& graph, const FusionUnit& first,
                                      const FusionUnit& second, const NodeMap<RootReads>& reads);

/// The elementwise kernel `unit` as the epilogue of a contract over the contract's output
/// dimensions, or nothing where it does not read the contract's result one-to-one.
std::optional<FusionUnit> as_epilogue(const Graph& graph, NodeId contract, const FusionUnit& unit,
                                      const NodeMap<RootReads>& reads);

}  // namespace coregrad
