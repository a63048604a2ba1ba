// plan_fusion: choose roots, make one kernel a root, merge, attach epilogues, order.

#include "compile/fusion.h"

#include "base/checked.h"
#include "base/log.h"
#include "compile/fusion_merge.h"
#include "compile/fusion_roots.h"
#include "compile/unit_graph.h"
#include "compile/view_map.h"

#include <algorithm>
#include <map>
#include <optional>
#include <set>

namespace coregrad {
namespace {

class Planner {
 public:
  Planner(const Graph& graph, std::span<const NodeId> outputs, const FusionOptions& options)
      : graph_(graph),
        outputs_(outputs),
        options_(options),
        live_(mark_live(graph, outputs)),
        roots_(choose_roots(graph, outputs, options)),
        reads_(graph.size()),
        units_(graph_, roots_, reads_) {}

  /// Nothing if merged kernels wait for each other: `merge` missed a cycle.
  std::optional<FusionPlan> plan() {
    make_units();
    if (options_.merge) {
      units_.link();
      // Elementwise kernels first become each other's or a contract's, then parts of reductions: a
      // value that a contract can write on its way out needs no pass of its own.
      merge(/*elementwise_only=*/true);
      attach_epilogues();
      merge(/*elementwise_only=*/false);
      merge_alternating_parts();
    }
    FusionPlan result;
    result.is_stored = find_stored();
    std::optional<std::vector<FusionUnit>> ordered = units_.order();
    if (!ordered) return {};
    result.units = std::move(*ordered);
    result.is_root = std::move(roots_.is_root);
    result.placed = std::move(roots_.placed);
    result.needs_dense = std::move(roots_.needs_dense);
    return result;
  }

 private:
  void make_units();
  void add_parts(NodeId concat);
  void add_external_or_library(NodeId node, std::set<std::pair<Op, int64_t>>& calls_seen);
  FusionUnit loop_unit(NodeId node) const;
  void merge(bool elementwise_only);
  UnitId merge_into_producers(UnitId unit, bool elementwise_only);
  UnitId merge_into_sibling(UnitId unit, bool elementwise_only);
  bool is_candidate(UnitId unit, bool elementwise_only) const;
  std::optional<FusionUnit> merged(UnitId first, UnitId second) const;
  void attach_epilogues();
  void merge_alternating_parts();
  NodeMap<bool> find_stored() const;
  /// Nodes that both kernels together compute, within the limit of one kernel.
  bool fits(const FusionUnit& a, const FusionUnit& b) const;

  const Graph& graph_;
  std::span<const NodeId> outputs_;
  const FusionOptions& options_;
  std::vector<bool> live_;
  FusionRoots roots_;
  NodeMap<RootReads> reads_;  ///< of roots of loop units
  UnitGraph units_;
  NodeMap<std::vector<UnitId>> readers_;  ///< of a node's memory, for sibling merges
};

FusionUnit Planner::loop_unit(NodeId node) const {
  FusionUnit unit;
  const Shape domain = domain_of(graph_, node);
  const std::vector<bool> reduced = reduced_dims(graph_, node);
  const bool fixed = is_reduce(graph_[node].op);
  FusionRoot root{node, {}, {}, 0};
  for (size_t d = 0; d < domain.size(); ++d) {
    if (domain[d].is_identical(1)) {
      root.axes.push_back(-1);
      continue;
    }
    root.axes.push_back(static_cast<int>(unit.axes.size()));
    unit.axes.push_back({domain[d], !fixed       ? FusionAxisKind::Free
                                    : reduced[d] ? FusionAxisKind::Loop
                                                 : FusionAxisKind::Parallel});
  }
  unit.roots.push_back(std::move(root));
  return unit;
}

/// A unit for each part of a Concat that is not computed in its place by another one.
void Planner::add_parts(NodeId concat) {
  const std::span<const NodeId> parts = graph_.operands(concat);
  for (size_t p = 0; p < parts.size(); ++p) {
    const auto part = static_cast<int64_t>(p);
    const Placement& placed = roots_.placed[strided_view(graph_, parts[p]).base];
    if (placed.concat == concat && placed.part == part) continue;
    FusionUnit unit;
    // The part's own value is computed here unless it is a root, which is then copied.
    FusionRoot root{parts[p], {}, concat, part};
    for (const SymInt extent : graph_.shape(parts[p])) {
      const bool is_one = extent.is_identical(1);
      root.axes.push_back(is_one ? -1 : static_cast<int>(unit.axes.size()));
      if (!is_one) unit.axes.push_back({extent, FusionAxisKind::Free});
    }
    unit.roots.push_back(std::move(root));
    units_.add(std::move(unit));
  }
}

void Planner::add_external_or_library(NodeId node, std::set<std::pair<Op, int64_t>>& calls_seen) {
  FusionUnit unit;
  const Op op = graph_[node].op;
  unit.kind = op == Op::Contract ? UnitKind::Contract : UnitKind::Library;
  unit.node = node;
  if (family_of(op) == Family::External) {
    // All results of one call are one step, at the place of the first.
    if (!calls_seen.emplace(op, graph_.attr(node, 0)).second) return;
    for (uint32_t k = node.value; k < graph_.size(); ++k)
      if (live_[k] && graph_[{k}].op == op && graph_.attr({k}, 0) == graph_.attr(node, 0))
        unit.results.push_back({k});
  } else if (unit.kind == UnitKind::Library) {
    unit.results.push_back(node);
  }
  units_.add(std::move(unit));
}

void Planner::make_units() {
  std::set<std::pair<Op, int64_t>> calls_seen;
  for (uint32_t i = 0; i < graph_.size(); ++i) {
    const NodeId id{i};
    if (!live_[i] || !roots_.is_root[id]) continue;
    if (graph_[id].op == Op::Concat) {
      add_parts(id);
    } else if (is_fusable(graph_, id)) {
      RootReads& r = reads_[id];
      r.reads = collect_reads(graph_, id, roots_.is_root, false, r.context);
      units_.add(loop_unit(id));
    } else {
      add_external_or_library(id, calls_seen);
    }
  }
}

bool Planner::fits(const FusionUnit& a, const FusionUnit& b) const {
  int64_t nodes = 0;
  for (const FusionUnit* u : {&a, &b})
    for (const FusionRoot& r : u->roots) nodes += roots_.cone[r.node];
  return nodes <= 2 * options_.max_cone;
}

bool Planner::is_candidate(UnitId unit, bool elementwise_only) const {
  const FusionUnit& u = units_[unit];
  return units_.is_alive(unit) && u.kind == UnitKind::Loop && !u.roots[0].concat.is_valid() &&
         !(elementwise_only && u.is_fixed());
}

std::optional<FusionUnit> Planner::merged(UnitId first, UnitId second) const {
  if (!fits(units_[first], units_[second])) return {};
  return merge_units(graph_, units_[first], units_[second], reads_);
}

/// The unit after it was merged into those that it reads, one after the other.
UnitId Planner::merge_into_producers(UnitId unit, bool elementwise_only) {
  for (bool changed = true; changed;) {
    changed = false;
    std::vector<UnitId> candidates = units_.producers(unit);
    std::sort(candidates.rbegin(), candidates.rend());
    for (UnitId p : candidates) {
      if (!is_candidate(p, elementwise_only)) continue;
      std::optional<FusionUnit> both = merged(p, unit);
      if (!both || units_.reads_assembled(unit, p) || units_.reaches(p, unit, true)) continue;
      units_.replace(p, unit, std::move(*both));
      unit = p;
      changed = true;
      break;
    }
  }
  return unit;
}

/// The unit, or an earlier one that reads the same memory and has taken it.
UnitId Planner::merge_into_sibling(UnitId unit, bool elementwise_only) {
  constexpr size_t kMostReaders = 8;
  std::set<UnitId> siblings;
  for (const FusionRoot& r : units_[unit].roots)
    for (const FusionRead& read : reads_[r.node].reads) {
      const std::vector<UnitId>& list = readers_[read.node];
      for (size_t k = list.size() - std::min(list.size(), kMostReaders); k < list.size(); ++k)
        if (list[k] != unit && is_candidate(list[k], elementwise_only)) siblings.insert(list[k]);
    }
  for (auto s = siblings.rbegin(); s != siblings.rend(); ++s) {
    std::optional<FusionUnit> both = merged(*s, unit);
    if (!both || units_.reaches(*s, unit, false) || units_.reaches(unit, *s, false)) continue;
    units_.replace(*s, unit, std::move(*both));
    return *s;
  }
  return unit;
}

void Planner::merge(bool elementwise_only) {
  readers_ = NodeMap<std::vector<UnitId>>(graph_.size());
  units_.each_alive([&](UnitId u) {
    if (!is_candidate(u, elementwise_only)) return;
    UnitId current = merge_into_producers(u, elementwise_only);
    current = merge_into_sibling(current, elementwise_only);
    for (const FusionRoot& r : units_[current].roots)
      for (const FusionRead& read : reads_[r.node].reads) {
        std::vector<UnitId>& list = readers_[read.node];
        if (list.empty() || list.back() != current) list.push_back(current);
      }
  });
}

void Planner::attach_epilogues() {
  units_.each_alive([&](UnitId c) {
    if (units_[c].kind != UnitKind::Contract) return;
    bool attached = false;
    units_.each_alive([&](UnitId u) {
      const FusionUnit& unit = units_[u];
      if (attached || unit.kind != UnitKind::Loop || unit.roots[0].concat.is_valid()) return;
      const std::vector<UnitId> sources = units_.producers(u);
      if (std::ranges::find(sources, c) == sources.end()) return;
      auto epilogue = as_epilogue(graph_, units_[c].node, unit, reads_);
      if (!epilogue || units_.reads_assembled(u, c) || units_.reaches(c, u, true)) return;
      units_.replace(c, u, std::move(*epilogue));
      attached = true;
    });
  });
}

/// Two parts whose elements alternate in their Concat's memory (real and imaginary parts, the
/// phases of a strided transposed convolution) are one kernel, which can write whole vectors.
/// Neither can wait for the other: nobody reads a Concat before both are there.
void Planner::merge_alternating_parts() {
  std::map<NodeId, std::vector<UnitId>> units_of;  // by Concat, in the order of parts
  units_.each_alive([&](UnitId u) {
    const FusionUnit& unit = units_[u];
    if (unit.kind == UnitKind::Loop && unit.roots[0].concat.is_valid())
      units_of[unit.roots[0].concat].push_back(u);
  });
  for (const auto& [concat, units] : units_of) {
    if (units.size() != 2 || !parts_alternate(graph_, concat)) continue;
    FusionUnit both = units_[units[0]];
    const FusionUnit& second = units_[units[1]];
    if (!fits(both, second)) continue;
    both.roots.insert(both.roots.end(), second.roots.begin(), second.roots.end());
    units_.replace(units[0], units[1], std::move(both));
  }
}

/// Which nodes need memory: outputs, and what another unit reads than the one that makes it.
NodeMap<bool> Planner::find_stored() const {
  NodeMap<bool> is_stored(graph_.size(), false);
  for (NodeId o : outputs_)
    if (graph_[o].op != Op::Input) is_stored[o] = true;
  for (uint32_t i = 0; i < graph_.size(); ++i)
    if (const NodeId concat = roots_.placed[{i}].concat; live_[i] && concat.is_valid())
      is_stored[{i}] = is_stored[concat] = true;
  units_.each_alive([&](UnitId u) {
    const auto need = [&](NodeId id) {
      if (graph_[id].op == Op::Input) return;
      for (UnitId m : units_.makers(id))
        if (m != u) is_stored[id] = true;
    };
    const FusionUnit& unit = units_[u];
    if (unit.kind != UnitKind::Loop)
      for (const StridedView& v : memory_operands(graph_, unit.node))
        if (v.base.is_valid()) need(v.base);
    for (NodeId r : unit.results) is_stored[r] = true;
    for (const FusionRoot& r : unit.roots) {
      if (!r.concat.is_valid()) {
        for (const FusionRead& read : reads_[r.node].reads) need(read.node);
        continue;
      }
      is_stored[r.concat] = true;
      if (roots_.is_root[r.node]) {
        need(r.node);
        continue;
      }
      IndexContext context;
      for (const FusionRead& read : collect_reads(graph_, r.node, roots_.is_root, false, context))
        need(read.node);
    }
  });
  return is_stored;
}

}  // namespace

FusionPlan plan_fusion(const Graph& graph, std::span<const NodeId> outputs,
                       const FusionOptions& options) {
  if (std::optional<FusionPlan> plan = Planner(graph, outputs, options).plan())
    return std::move(*plan);
  // Right, and slower: one kernel a root cannot wait for itself.
  log().warn("fusion: kernels would wait for each other; {} nodes are compiled without merging",
             graph.size());
  FusionOptions apart = options;
  apart.merge = false;
  std::optional<FusionPlan> plan = Planner(graph, outputs, apart).plan();
  COREGRAD_CHECK(plan.has_value());
  plan->is_unmerged = true;
  return std::move(*plan);
}

}  // namespace coregrad
