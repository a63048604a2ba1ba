#include "compile/unit_graph.h"

#include "compile/view_map.h"

#include <algorithm>
#include <queue>
#include <set>

namespace coregrad {
namespace {

NodeId memory_of(const FusionRoot& root) {
  return root.concat.is_valid() ? root.concat : root.node;
}

bool contains(const std::vector<UnitId>& units, UnitId unit) {
  return std::ranges::find(units, unit) != units.end();
}

}  // namespace

template <class F>
void UnitGraph::for_each_memory(const FusionUnit& unit, F f) const {
  const auto each = [&](NodeId node) { coregrad::for_each_memory(roots_.placed, node, f); };
  if (unit.kind == UnitKind::Contract) each(unit.node);
  for (NodeId r : unit.results) each(r);
  for (const FusionRoot& r : unit.roots) each(memory_of(r));
}

void UnitGraph::add(FusionUnit unit) {
  const UnitId id = merged_into_.push_back({});
  uint32_t last = 0;
  for_each_memory(unit, [&](NodeId node) {
    makers_[node].push_back(id);
    last = std::max(last, node.value);
  });
  units_.push_back(std::move(unit));
  last_root_.push_back(last);
}

void UnitGraph::link() {
  latest_ = last_root_;
  consumers_.resize(units_.size());
  each_alive([&](UnitId u) {
    for (UnitId p : producers(u)) consumers_[p].push_back(u);
  });
}

std::vector<UnitId> UnitGraph::producers(UnitId unit) const {
  std::vector<UnitId> found;
  const auto add_makers = [&](NodeId id) {
    for (UnitId m : makers_[id])
      if (m != unit && !contains(found, m)) found.push_back(m);
  };
  const FusionUnit& u = units_[unit];
  if (u.kind != UnitKind::Loop)
    for (const StridedView& v : memory_operands(graph_, u.node))
      if (v.base.is_valid()) add_makers(v.base);
  for (const FusionRoot& r : u.roots) {
    if (!r.concat.is_valid()) {
      for (const FusionRead& read : reads_[r.node].reads) add_makers(read.node);
    } else if (roots_.is_root[r.node] || graph_[r.node].op == Op::Input) {
      add_makers(r.node);
    } else {
      IndexContext context;
      for (const FusionRead& read : collect_reads(graph_, r.node, roots_.is_root, false, context))
        add_makers(read.node);
    }
  }
  return found;
}

bool UnitGraph::reaches(UnitId from, UnitId to, bool skip_direct) const {
  // Searched backwards from `to`.
  uint32_t first = UINT32_MAX;
  if (units_[from].kind != UnitKind::Loop) first = units_[from].node.value;
  for (const FusionRoot& r : units_[from].roots) first = std::min(first, memory_of(r).value);
  std::set<UnitId> seen;
  std::vector<UnitId> stack;
  for (UnitId p : producers(to)) {
    if (p == from) {
      if (skip_direct) continue;
      return true;
    }
    if (seen.insert(p).second) stack.push_back(p);
  }
  while (!stack.empty()) {
    const UnitId at = stack.back();
    stack.pop_back();
    if (latest_[at] < first) continue;
    for (UnitId p : producers(at)) {
      if (p == from) return true;
      if (seen.insert(p).second) stack.push_back(p);
    }
  }
  return false;
}

bool UnitGraph::reads_assembled(UnitId reader, UnitId maker) const {
  for (const FusionRoot& r : units_[reader].roots)
    for (const FusionRead& read : reads_[r.node].reads)
      if (graph_[read.node].op == Op::Concat && contains(makers_[read.node], maker)) return true;
  return false;
}

void UnitGraph::replace(UnitId keep, UnitId gone, FusionUnit merged) {
  for_each_memory(units_[gone], [&](NodeId id) { std::ranges::replace(makers_[id], gone, keep); });
  last_root_[keep] = std::max(last_root_[keep], last_root_[gone]);
  units_[keep] = std::move(merged);
  merged_into_[gone] = keep;
  std::vector<UnitId>& consumers = consumers_[keep];
  consumers.insert(consumers.end(), consumers_[gone].begin(), consumers_[gone].end());
  consumers_[gone].clear();
  raise_latest(keep, std::max(latest_[keep], latest_[gone]));
}

UnitId UnitGraph::alive_one(UnitId unit) const {
  while (!is_alive(unit)) unit = merged_into_[unit];
  return unit;
}

void UnitGraph::raise_latest(UnitId unit, uint32_t latest) {
  latest_[unit] = latest;
  std::vector<UnitId> stack{unit};
  while (!stack.empty()) {
    const UnitId at = stack.back();
    stack.pop_back();
    for (UnitId& c : consumers_[at]) {
      c = alive_one(c);
      if (latest_[c] >= latest) continue;
      latest_[c] = latest;
      stack.push_back(c);
    }
  }
}

std::optional<std::vector<FusionUnit>> UnitGraph::order() {
  // Kahn's algorithm.
  UnitMap<std::vector<UnitId>> consumers(units_.size());
  UnitMap<int> waiting(units_.size(), 0);
  using Entry = std::pair<uint32_t, UnitId>;
  std::priority_queue<Entry, std::vector<Entry>, std::greater<>> ready;
  size_t alive = 0;
  each_alive([&](UnitId u) {
    ++alive;
    for (UnitId p : producers(u)) {
      consumers[p].push_back(u);
      ++waiting[u];
    }
    if (waiting[u] == 0) ready.emplace(last_root_[u], u);
  });
  std::vector<FusionUnit> ordered;
  while (!ready.empty()) {
    const UnitId u = ready.top().second;
    ready.pop();
    for (UnitId c : consumers[u])
      if (--waiting[c] == 0) ready.emplace(last_root_[c], c);
    ordered.push_back(std::move(units_[u]));
  }
  if (ordered.size() != alive) return {};
  return ordered;
}

}  // namespace coregrad
