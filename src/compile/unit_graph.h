#pragma once
// Kernels in the making: who makes which memory, who waits for whom. Internal to fusion.

#include "compile/fusion_merge.h"
#include "compile/fusion_roots.h"

#include <optional>
#include <vector>

namespace coregrad {

struct UnitId {
  uint32_t value = UINT32_MAX;
  constexpr bool is_valid() const { return value != UINT32_MAX; }
  constexpr auto operator<=>(const UnitId&) const = default;
};

template <class T>
using UnitMap = IdMap<UnitId, T>;

class UnitGraph {
 public:
  /// Keeps references to all of them. `reads` has the reads of each root that is no Concat's part.
  UnitGraph(const Graph& graph, const FusionRoots& roots, const NodeMap<RootReads>& reads)
      : graph_(graph), roots_(roots), reads_(reads), makers_(graph.size()) {}

  void add(FusionUnit unit);
  /// After the last add(), before the first replace().
  void link();

  size_t size() const { return units_.size(); }
  const FusionUnit& operator[](UnitId id) const { return units_[id]; }
  /// Not merged into another one.
  bool is_alive(UnitId id) const { return !merged_into_[id].is_valid(); }
  /// Calls f(unit) for the units that are alive when it is their turn.
  template <class F>
  void each_alive(F f) const {
    for (uint32_t u = 0; u < units_.size(); ++u)
      if (is_alive({u})) f(UnitId{u});
  }

  /// Units that write a node's memory.
  const std::vector<UnitId>& makers(NodeId node) const { return makers_[node]; }
  /// Units whose results `unit` reads.
  std::vector<UnitId> producers(UnitId unit) const;
  /// Whether there is a path from -> ... -> to along data flow; `skip_direct`: of two edges or
  /// more.
  bool reaches(UnitId from, UnitId to, bool skip_direct) const;
  /// Whether `reader` reads a Concat of which `maker` computes a part: it has to wait for all of
  /// it.
  bool reads_assembled(UnitId reader, UnitId maker) const;
  /// `merged` takes the places of both.
  void replace(UnitId keep, UnitId gone, FusionUnit merged);

  /// The units in an order in which they can run, of those that are ready the one whose last root
  /// comes first; nothing if some wait for each other. Moves them out.
  std::optional<std::vector<FusionUnit>> order();

 private:
  /// Calls f(node) for all memory that the unit's roots and its contract are written to.
  template <class F>
  void for_each_memory(const FusionUnit& unit, F f) const;
  UnitId alive_one(UnitId unit) const;
  /// The bound of a unit and, where it is lower, of all that come after it.
  void raise_latest(UnitId unit, uint32_t latest);

  const Graph& graph_;
  const FusionRoots& roots_;
  const NodeMap<RootReads>& reads_;
  UnitMap<FusionUnit> units_;
  UnitMap<UnitId> merged_into_;
  NodeMap<std::vector<UnitId>> makers_;
  UnitMap<uint32_t> last_root_;  ///< largest root index
  /// No root of a unit or of one before it has a larger index, for pruning searches. A merged unit
  /// may come before one whose own roots are all older.
  UnitMap<uint32_t> latest_;
  UnitMap<std::vector<UnitId>> consumers_;
};

}  // namespace coregrad
