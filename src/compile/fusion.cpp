// plan_fusion: choose roots, make one kernel a root, merge, attach epilogues, order.

#include "compile/fusion.h"

#include "base/checked.h"
#include "base/log.h"
#include "compile/fusion_merge.h"
#include "compile/view_map.h"

#include <algorithm>
#include <deque>
#include <map>
#include <optional>
#include <queue>
#include <set>

namespace coregrad {
namespace {

/// Rough cost of an elementwise op in vector instructions.
int op_cost(Op op, DType dtype) {
  constexpr int kFunction = 14;  // exp, tanh and the like
  switch (family_of(op)) {
    case Family::Unary: {
      constexpr Op kFree[] = {Op::Detach};
      constexpr Op kSingle[] = {Op::Neg,  Op::Abs,   Op::Not,  Op::Floor,
                                Op::Ceil, Op::Round, Op::Trunc};
      constexpr Op kDivision[] = {Op::Sign, Op::Sqrt, Op::Rsqrt, Op::Reciprocal};
      if (std::ranges::find(kFree, op) != std::end(kFree)) return 0;
      if (std::ranges::find(kSingle, op) != std::end(kSingle)) return 1;
      if (std::ranges::find(kDivision, op) != std::end(kDivision)) return 4;
      return kFunction;
    }
    case Family::Binary:
      if (op == Op::Pow || op == Op::Atan2 || op == Op::Rem) return 30;
      if (op == Op::Div) return is_float(dtype) ? 4 : 20;
      return 1;
    case Family::Random:
      return 30;
    case Family::Gather:
      return 8;
    case Family::Compare:
    case Family::Select:
    case Family::Cast:
      return 1;
    case Family::Leaf:
    case Family::View:
    case Family::Reduce:
    case Family::Contract:
    case Family::Scatter:
    case Family::Scan:
    case Family::Library:
    case Family::External:
      return 0;
  }
  return 0;
}

constexpr int kShareCost = 24;   // a shared value this dear is stored rather than computed twice
constexpr int kRepeatCost = 10;  // the same for a value read many times over (windows, broadcasts)

/// Whether a Concat has two parts, whose elements alternate in row-major memory.
bool parts_alternate(const Graph& graph, NodeId concat) {
  const Shape shape = graph.shape(concat);
  const auto dim = static_cast<size_t>(graph.attr(concat, 0));
  const std::span<const NodeId> parts = graph.operands(concat);
  return parts.size() == 2 && shape[dim] == 2 && graph.shape(parts[0])[dim] == 1 &&
         std::all_of(shape.begin() + static_cast<int64_t>(dim) + 1, shape.end(),
                     [](int64_t extent) { return extent == 1; });
}

class Planner {
 public:
  Planner(const Graph& graph, std::span<const NodeId> outputs, const FusionOptions& options)
      : graph_(graph), outputs_(outputs), options_(options), live_(mark_live(graph, outputs)) {}

  /// Nothing if merged kernels wait for each other: `merge` missed a cycle.
  std::optional<FusionPlan> plan() {
    choose_roots();
    make_units();
    if (options_.merge) {
      link_units();
      // Elementwise kernels first become each other's or a contract's, then parts of reductions: a
      // value that a contract can write on its way out needs no pass of its own.
      merge(/*elementwise_only=*/true);
      attach_epilogues();
      merge(/*elementwise_only=*/false);
      merge_alternating_parts();
    }
    mark_stored();
    if (!order()) return {};
    return std::move(result_);
  }

 private:
  void choose_roots();
  void cut_long_cones();
  void place_parts();
  void make_units();
  void merge(bool elementwise_only);
  void attach_epilogues();
  void merge_alternating_parts();
  void mark_stored();
  bool order();

  bool& root(NodeId n) { return root_flags_[n.value]; }
  void add_unit(FusionUnit unit);
  const std::vector<FusionRead>& reads_of(NodeId root) const { return reads_[root.value].reads; }
  /// Units whose results `unit` reads.
  std::vector<int> producers(int unit) const;
  bool reaches(int from, int to, bool skip_direct) const;
  /// Whether `reader` reads a Concat of which `maker` computes a part: it has to wait for all of
  /// it.
  bool reads_assembled(int reader, int maker) const;
  /// Nodes that both kernels together compute, within the limit of one kernel.
  bool fits(const FusionUnit& a, const FusionUnit& b) const;
  void replace(int keep, int gone, FusionUnit merged);
  /// Fills `latest_`, `consumers_` and `merged_into_` before the first merge.
  void link_units();
  int alive_unit(int unit) const;
  /// The bound of a unit and, where it is lower, of all that come after it.
  void raise_latest(int unit, uint32_t latest);

  const Graph& graph_;
  std::span<const NodeId> outputs_;
  const FusionOptions& options_;
  std::vector<bool> live_;
  std::vector<int64_t> cone_;  // by node index: nodes between it and the roots below
  std::deque<bool> root_flags_;
  std::vector<RootReads> reads_;  // by node index, for roots of loop units
  std::vector<FusionUnit> units_;
  std::vector<bool> alive_;
  std::vector<std::vector<int>> makers_;  // by node index: units that write the node's memory
  std::vector<uint32_t> last_root_;       // by unit: largest root index
  // By unit: no root of it or of a unit before it has a larger index, for pruning searches. A
  // merged unit may come before one whose own roots are all older.
  std::vector<uint32_t> latest_;
  std::vector<std::vector<int>> consumers_;  // by unit
  std::vector<int> merged_into_;             // by unit; -1 while alive
  FusionPlan result_;
};

void Planner::choose_roots() {
  const uint32_t n = graph_.size();
  root_flags_.assign(n, false);
  const auto make_root = [&](NodeId id) {
    if (graph_[id].op != Op::Input) root(id) = true;
  };
  for (NodeId o : outputs_) make_root(o);
  // cost of computing a node from roots and memory, and how many users it has
  std::vector<int> cost(n, 0);
  std::vector<uint32_t> uses(n, 0);
  std::vector<bool> repeated(n, false);
  std::vector<double> sliced(n, 0);  // elements that slices read of it
  for (uint32_t i = 0; i < n; ++i) {
    if (!live_[i]) continue;
    const NodeId id{i};
    const Op op = graph_[id].op;
    for (NodeId o : graph_.operands(id)) ++uses[o.value];
    switch (family_of(op)) {
      case Family::Contract:
      case Family::Scatter:
      case Family::Scan:
      case Family::Library:
      case Family::External:
        make_root(id);
        for (const StridedView& v : memory_operands(graph_, id))
          if (v.base.is_valid()) make_root(v.base);
        break;
      case Family::Reduce:
        make_root(id);
        break;
      case Family::View:
        if (op == Op::Concat) {
          make_root(id);
        } else if ((op == Op::Expand || op == Op::Window) &&
                   graph_.numel(id) >= 4 * graph_.numel(graph_.operand(id, 0))) {
          repeated[graph_.operand(id, 0).value] = true;
        } else if (op == Op::Slice) {
          NodeId of = graph_.operand(id, 0);
          while (graph_[of].op == Op::Reshape || graph_[of].op == Op::Permute)
            of = graph_.operand(of, 0);
          sliced[of.value] += static_cast<double>(graph_.numel(id));
        }
        break;
      case Family::Gather: {
        // What is gathered from must lie in memory, or be cheap.
        const NodeId source = graph_.operand(id, 0);
        make_root(strided_view(graph_, source, true).base);
        break;
      }
      case Family::Leaf:
        break;
      case Family::Random:
      case Family::Unary:
      case Family::Binary:
      case Family::Compare:
      case Family::Select:
      case Family::Cast:
        if (!options_.merge) make_root(id);
        break;
    }
  }
  for (uint32_t i = 0; i < n; ++i) {
    const NodeId id{i};
    if (!live_[i] || graph_[id].op == Op::Input) continue;
    if (root(id) && !is_fusable(graph_, id)) continue;
    const Op op = graph_[id].op;
    int total = op_cost(op, graph_.dtype(id));
    for (NodeId o : graph_.operands(id))
      if (graph_[o].op != Op::Input && !root(o)) total = std::min(total + cost[o.value], 1 << 20);
    cost[i] = total;
    if (root(id) || !is_fusable(graph_, id) || family_of(graph_[id].op) == Family::View) continue;
    // Slices that overlap, such as the steps of an unrolled window, each compute it again.
    const auto elements = static_cast<double>(graph_.numel(id));
    const bool overlaps = (sliced[i] - elements) * total >= kShareCost * elements;
    if (graph_.numel(id) > 1 && ((uses[i] > 1 && total >= kShareCost) ||
                                 (repeated[i] && total >= kRepeatCost) || overlaps)) {
      // A widened value is stored in its narrow form.
      const NodeId below = op == Op::Cast ? graph_.operand(id, 0) : id;
      if (is_narrow(graph_.dtype(below)) && is_elementwise(graph_[below].op)) {
        root(below) = true;
        cost[i] = 1;
      } else {
        root(id) = true;
      }
    }
  }
  cut_long_cones();
  place_parts();
}

/// Parts of a Concat that are computed by kernels anyway get its memory from the start, where every
/// reader can find them with strides. Parts of one kernel (gates, outputs of time steps) then need
/// no kernel each.
void Planner::place_parts() {
  result_.placed.assign(graph_.size(), {});
  result_.needs_dense.assign(graph_.size(), false);
  std::vector<bool> is_output(graph_.size(), false);
  std::vector<uint32_t> uses(graph_.size(), 0);
  for (NodeId o : outputs_) is_output[o.value] = true;
  for (uint32_t i = 0; i < graph_.size(); ++i)
    if (live_[i])
      for (NodeId o : graph_.operands({i})) ++uses[o.value];
  for (uint32_t i = 0; i < graph_.size(); ++i) {
    if (!live_[i] || !root({i}) || is_fusable(graph_, {i}) || graph_[{i}].op == Op::Concat)
      continue;
    for (const StridedView& v : memory_operands(graph_, {i}))
      if (v.base.is_valid()) result_.needs_dense[v.base.value] = true;
  }
  for (uint32_t i = 0; i < graph_.size(); ++i) {
    const NodeId concat{i};
    if (!live_[i] || graph_[concat].op != Op::Concat) continue;
    const auto dim = static_cast<size_t>(graph_.attr(concat, 0));
    const Shape whole = graph_.shape(concat);
    const bool is_run = std::all_of(whole.begin(), whole.begin() + static_cast<int64_t>(dim),
                                    [](int64_t extent) { return extent == 1; });
    const std::span<const NodeId> parts = graph_.operands(concat);
    int64_t start = 0;
    for (size_t p = 0; p < parts.size(); ++p) {
      const Shape shape = graph_.shape(parts[p]);
      const StridedView view = strided_view(graph_, parts[p]);
      const Placement placement{concat, static_cast<int64_t>(p), start, view.base == parts[p]};
      start += shape[dim];
      const NodeId base = view.base;
      const Op op = graph_[base].op;
      const bool is_computed =
          is_elementwise(op) || is_reduce(op) || op == Op::Contract || op == Op::Concat;
      if (!is_computed || is_output[base.value] || result_.placed[base.value].concat.is_valid() ||
          graph_.numel(base) != graph_.numel(parts[p]) || graph_.numel(base) <= 1)
        continue;
      // Computed where it is stored, together with the other one.
      if (parts_alternate(graph_, concat) && is_elementwise(op) && uses[base.value] == 1) continue;
      const std::vector<int64_t> dense = contiguous_strides(shape);
      bool is_same = view.offset == 0;
      for (size_t d = 0; d < shape.size(); ++d)
        is_same = is_same && (shape[d] == 1 || view.strides[d] == dense[d]);
      if (!is_same) continue;
      const bool must_be_dense = !placement.is_whole_part || result_.needs_dense[base.value];
      if (must_be_dense && !is_run) continue;
      if (must_be_dense) result_.needs_dense[i] = true;
      result_.placed[base.value] = placement;
      root(base) = true;
    }
  }
}

void Planner::cut_long_cones() {
  // An upper bound of the nodes between a node and the roots below it; a node over the limit
  // becomes a root itself. Sharing makes the bound larger than the truth, so the truth is counted
  // before a cut.
  std::vector<int64_t> bound(graph_.size(), 0);
  for (uint32_t i = 0; i < graph_.size(); ++i) {
    const NodeId id{i};
    if (!live_[i] || graph_[id].op == Op::Input) continue;
    int64_t total = 1;
    for (NodeId o : graph_.operands(id))
      if (graph_[o].op != Op::Input && !root(o)) total += bound[o.value];
    if (total > options_.max_cone) {
      std::set<uint32_t> cone = {i};
      std::vector<NodeId> stack = {id};
      while (!stack.empty() && static_cast<int64_t>(cone.size()) <= options_.max_cone) {
        const NodeId at = stack.back();
        stack.pop_back();
        for (NodeId o : graph_.operands(at))
          if (graph_[o].op != Op::Input && !root(o) && cone.insert(o.value).second)
            stack.push_back(o);
      }
      total = static_cast<int64_t>(cone.size());
      if (total > options_.max_cone && is_fusable(graph_, id)) root(id) = true;
    }
    bound[i] = total;
  }
  cone_ = std::move(bound);
}

bool Planner::fits(const FusionUnit& a, const FusionUnit& b) const {
  int64_t nodes = 0;
  for (const FusionUnit* u : {&a, &b})
    for (const FusionRoot& r : u->roots) nodes += cone_[r.node.value];
  return nodes <= 2 * options_.max_cone;
}

void Planner::add_unit(FusionUnit unit) {
  const int index = static_cast<int>(units_.size());
  uint32_t last = 0;
  const auto owns = [&](NodeId node) {
    result_.for_each_memory(node, [&](NodeId id) {
      makers_[id.value].push_back(index);
      last = std::max(last, id.value);
    });
  };
  if (unit.kind == UnitKind::Contract) owns(unit.node);
  for (NodeId r : unit.results) owns(r);
  for (const FusionRoot& r : unit.roots) owns(r.concat.is_valid() ? r.concat : r.node);
  units_.push_back(std::move(unit));
  alive_.push_back(true);
  last_root_.push_back(last);
}

void Planner::link_units() {
  latest_ = last_root_;
  merged_into_.assign(units_.size(), -1);
  consumers_.resize(units_.size());
  for (int u = 0; u < static_cast<int>(units_.size()); ++u)
    for (int p : producers(u)) consumers_[static_cast<size_t>(p)].push_back(u);
}

void Planner::make_units() {
  reads_.resize(graph_.size());
  makers_.resize(graph_.size());
  result_.is_root.assign(root_flags_.begin(), root_flags_.end());
  const auto loop_unit = [&](NodeId node) {
    FusionUnit unit;
    const Shape domain = domain_of(graph_, node);
    const std::vector<bool> reduced = reduced_dims(graph_, node);
    const bool fixed = is_reduce(graph_[node].op);
    FusionRoot root{node, {}, {}, 0};
    for (size_t d = 0; d < domain.size(); ++d) {
      if (domain[d] == 1) {
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
  };
  std::set<int64_t> externals_seen;
  for (uint32_t i = 0; i < graph_.size(); ++i) {
    const NodeId id{i};
    if (!live_[i] || !result_.is_root[i]) continue;
    const Op op = graph_[id].op;
    if (op == Op::Concat) {
      const std::span<const NodeId> parts = graph_.operands(id);
      for (size_t p = 0; p < parts.size(); ++p) {
        const Placement& placed = result_.placed[strided_view(graph_, parts[p]).base.value];
        if (placed.concat == id && placed.part == static_cast<int64_t>(p)) continue;
        FusionUnit unit;
        const Shape shape = graph_.shape(parts[p]);
        FusionRoot root{parts[p], {}, id, static_cast<int64_t>(p)};
        for (int64_t extent : shape) {
          root.axes.push_back(extent == 1 ? -1 : static_cast<int>(unit.axes.size()));
          if (extent != 1) unit.axes.push_back({extent, FusionAxisKind::Free});
        }
        // The part's own value is computed here unless it is a root, which is then copied.
        unit.roots.push_back(std::move(root));
        add_unit(std::move(unit));
      }
    } else if (is_fusable(graph_, id)) {
      RootReads& r = reads_[i];
      r.reads = collect_reads(graph_, id, result_.is_root, false, r.context);
      add_unit(loop_unit(id));
    } else {
      FusionUnit unit;
      unit.kind = op == Op::Contract ? UnitKind::Contract : UnitKind::Library;
      unit.node = id;
      if (op == Op::External) {
        // All results of one external call are one step, at the place of the first.
        if (!externals_seen.insert(graph_.attr(id, 0)).second) continue;
        for (uint32_t k = i; k < graph_.size(); ++k)
          if (live_[k] && graph_[{k}].op == Op::External &&
              graph_.attr({k}, 0) == graph_.attr(id, 0))
            unit.results.push_back({k});
      } else if (unit.kind == UnitKind::Library) {
        unit.results.push_back(id);
      }
      add_unit(std::move(unit));
    }
  }
}

std::vector<int> Planner::producers(int unit) const {
  std::vector<int> found;
  const auto add = [&](NodeId id) {
    for (int m : makers_[id.value])
      if (m != unit && std::find(found.begin(), found.end(), m) == found.end()) found.push_back(m);
  };
  const FusionUnit& u = units_[static_cast<size_t>(unit)];
  if (u.kind != UnitKind::Loop)
    for (const StridedView& v : memory_operands(graph_, u.node))
      if (v.base.is_valid()) add(v.base);
  for (const FusionRoot& r : u.roots) {
    if (r.concat.is_valid() && (result_.is_root[r.node.value] || graph_[r.node].op == Op::Input)) {
      add(r.node);
      continue;
    }
    if (r.concat.is_valid()) {
      IndexContext context;
      for (const FusionRead& read : collect_reads(graph_, r.node, result_.is_root, false, context))
        add(read.node);
      continue;
    }
    for (const FusionRead& read : reads_of(r.node)) add(read.node);
  }
  return found;
}

bool Planner::reaches(int from, int to, bool skip_direct) const {
  // A path from -> ... -> to along data flow; searched backwards from `to`.
  uint32_t first = UINT32_MAX;
  const FusionUnit& f = units_[static_cast<size_t>(from)];
  if (f.kind != UnitKind::Loop) first = f.node.value;
  for (const FusionRoot& r : f.roots)
    first = std::min(first, r.concat.is_valid() ? r.concat.value : r.node.value);
  std::set<int> seen;
  std::vector<int> stack;
  for (int p : producers(to)) {
    if (p == from) {
      if (skip_direct) continue;
      return true;
    }
    if (seen.insert(p).second) stack.push_back(p);
  }
  while (!stack.empty()) {
    const int at = stack.back();
    stack.pop_back();
    if (latest_[static_cast<size_t>(at)] < first) continue;
    for (int p : producers(at)) {
      if (p == from) return true;
      if (seen.insert(p).second) stack.push_back(p);
    }
  }
  return false;
}

bool Planner::reads_assembled(int reader, int maker) const {
  for (const FusionRoot& r : units_[static_cast<size_t>(reader)].roots)
    for (const FusionRead& read : reads_of(r.node)) {
      if (graph_[read.node].op != Op::Concat) continue;
      const std::vector<int>& makers = makers_[read.node.value];
      if (std::find(makers.begin(), makers.end(), maker) != makers.end()) return true;
    }
  return false;
}

void Planner::replace(int keep, int gone, FusionUnit merged) {
  const auto own = [&](const FusionUnit& u, auto&& f) {
    if (u.kind == UnitKind::Contract) result_.for_each_memory(u.node, f);
    for (const FusionRoot& r : u.roots)
      result_.for_each_memory(r.concat.is_valid() ? r.concat : r.node, f);
  };
  own(units_[static_cast<size_t>(gone)], [&](NodeId id) {
    for (int& m : makers_[id.value])
      if (m == gone) m = keep;
  });
  last_root_[static_cast<size_t>(keep)] =
      std::max(last_root_[static_cast<size_t>(keep)], last_root_[static_cast<size_t>(gone)]);
  units_[static_cast<size_t>(keep)] = std::move(merged);
  alive_[static_cast<size_t>(gone)] = false;
  merged_into_[static_cast<size_t>(gone)] = keep;
  std::vector<int>&to = consumers_[static_cast<size_t>(keep)],
  &from = consumers_[static_cast<size_t>(gone)];
  to.insert(to.end(), from.begin(), from.end());
  from.clear();
  raise_latest(keep,
               std::max(latest_[static_cast<size_t>(keep)], latest_[static_cast<size_t>(gone)]));
}

int Planner::alive_unit(int unit) const {
  while (merged_into_[static_cast<size_t>(unit)] >= 0)
    unit = merged_into_[static_cast<size_t>(unit)];
  return unit;
}

void Planner::raise_latest(int unit, uint32_t latest) {
  latest_[static_cast<size_t>(unit)] = latest;
  std::vector<int> stack{unit};
  while (!stack.empty()) {
    const int at = stack.back();
    stack.pop_back();
    for (int& c : consumers_[static_cast<size_t>(at)]) {
      c = alive_unit(c);
      if (latest_[static_cast<size_t>(c)] >= latest) continue;
      latest_[static_cast<size_t>(c)] = latest;
      stack.push_back(c);
    }
  }
}

void Planner::merge(bool elementwise_only) {
  const auto is_candidate = [&](int u) {
    const FusionUnit& unit = units_[static_cast<size_t>(u)];
    return alive_[static_cast<size_t>(u)] && unit.kind == UnitKind::Loop &&
           !unit.roots[0].concat.is_valid() && !(elementwise_only && unit.is_fixed());
  };
  // Readers of a buffer, for sibling merges.
  std::vector<std::vector<int>> readers(graph_.size());
  const int count = static_cast<int>(units_.size());
  for (int u = 0; u < count; ++u) {
    if (!is_candidate(u)) continue;
    int current = u;
    for (bool changed = true; changed;) {
      changed = false;
      std::vector<int> candidates = producers(current);
      std::sort(candidates.rbegin(), candidates.rend());
      for (int p : candidates) {
        if (!is_candidate(p) ||
            !fits(units_[static_cast<size_t>(p)], units_[static_cast<size_t>(current)]))
          continue;
        const auto merged = merge_units(graph_, units_[static_cast<size_t>(p)],
                                        units_[static_cast<size_t>(current)], reads_);
        if (!merged || reads_assembled(current, p) || reaches(p, current, true)) continue;
        replace(p, current, *merged);
        current = p;
        changed = true;
        break;
      }
    }
    // Beside an earlier kernel that reads the same memory.
    std::set<int> siblings;
    for (const FusionRoot& r : units_[static_cast<size_t>(current)].roots)
      for (const FusionRead& read : reads_of(r.node)) {
        std::vector<int>& list = readers[read.node.value];
        for (size_t k = list.size() > 8 ? list.size() - 8 : 0; k < list.size(); ++k)
          if (list[k] != current && is_candidate(list[k])) siblings.insert(list[k]);
      }
    for (auto s = siblings.rbegin(); s != siblings.rend(); ++s) {
      if (!fits(units_[static_cast<size_t>(*s)], units_[static_cast<size_t>(current)])) continue;
      const auto merged = merge_units(graph_, units_[static_cast<size_t>(*s)],
                                      units_[static_cast<size_t>(current)], reads_);
      if (!merged || reaches(*s, current, false) || reaches(current, *s, false)) continue;
      replace(*s, current, *merged);
      current = *s;
      break;
    }
    for (const FusionRoot& r : units_[static_cast<size_t>(current)].roots)
      for (const FusionRead& read : reads_of(r.node)) {
        std::vector<int>& list = readers[read.node.value];
        if (list.empty() || list.back() != current) list.push_back(current);
      }
  }
}

void Planner::attach_epilogues() {
  const int count = static_cast<int>(units_.size());
  for (int c = 0; c < count; ++c) {
    if (!alive_[static_cast<size_t>(c)] ||
        units_[static_cast<size_t>(c)].kind != UnitKind::Contract)
      continue;
    const NodeId node = units_[static_cast<size_t>(c)].node;
    for (int u = 0; u < count; ++u) {
      const FusionUnit& unit = units_[static_cast<size_t>(u)];
      if (!alive_[static_cast<size_t>(u)] || unit.kind != UnitKind::Loop ||
          unit.roots[0].concat.is_valid())
        continue;
      const std::vector<int> sources = producers(u);
      if (std::find(sources.begin(), sources.end(), c) == sources.end()) continue;
      auto epilogue = as_epilogue(graph_, node, unit, reads_);
      if (!epilogue || reads_assembled(u, c) || reaches(c, u, true)) continue;
      replace(c, u, std::move(*epilogue));
      break;
    }
  }
}

/// Two parts whose elements alternate in their Concat's memory (real and imaginary parts, the
/// phases of a strided transposed convolution) are one kernel, which can write whole vectors.
/// Neither can wait for the other: nobody reads a Concat before both are there.
void Planner::merge_alternating_parts() {
  std::map<NodeId, std::vector<int>> units_of;  // by Concat, in the order of parts
  for (int u = 0; u < static_cast<int>(units_.size()); ++u) {
    const FusionUnit& unit = units_[static_cast<size_t>(u)];
    if (alive_[static_cast<size_t>(u)] && unit.kind == UnitKind::Loop &&
        unit.roots[0].concat.is_valid())
      units_of[unit.roots[0].concat].push_back(u);
  }
  for (const auto& [concat, units] : units_of) {
    if (units.size() != 2 || !parts_alternate(graph_, concat)) continue;
    const FusionUnit& second = units_[static_cast<size_t>(units[1])];
    FusionUnit merged = units_[static_cast<size_t>(units[0])];
    if (!fits(merged, second)) continue;
    merged.roots.insert(merged.roots.end(), second.roots.begin(), second.roots.end());
    replace(units[0], units[1], std::move(merged));
  }
}

void Planner::mark_stored() {
  result_.is_stored.assign(graph_.size(), false);
  for (NodeId o : outputs_)
    if (graph_[o].op != Op::Input) result_.is_stored[o.value] = true;
  for (uint32_t i = 0; i < graph_.size(); ++i)
    if (live_[i] && result_.placed[i].concat.is_valid())
      result_.is_stored[i] = result_.is_stored[result_.placed[i].concat.value] = true;
  const auto need = [&](int unit, NodeId id) {
    if (graph_[id].op == Op::Input) return;
    for (int m : makers_[id.value])
      if (m != unit) result_.is_stored[id.value] = true;
  };
  for (int u = 0; u < static_cast<int>(units_.size()); ++u) {
    const FusionUnit& unit = units_[static_cast<size_t>(u)];
    if (!alive_[static_cast<size_t>(u)]) continue;
    if (unit.kind != UnitKind::Loop)
      for (const StridedView& v : memory_operands(graph_, unit.node))
        if (v.base.is_valid()) need(u, v.base);
    for (NodeId r : unit.results) result_.is_stored[r.value] = true;
    for (const FusionRoot& r : unit.roots) {
      if (r.concat.is_valid()) {
        result_.is_stored[r.concat.value] = true;
        if (result_.is_root[r.node.value]) {
          need(u, r.node);
          continue;
        }
        IndexContext context;
        for (const FusionRead& read :
             collect_reads(graph_, r.node, result_.is_root, false, context))
          need(u, read.node);
        continue;
      }
      for (const FusionRead& read : reads_of(r.node)) need(u, read.node);
    }
  }
}

bool Planner::order() {
  // Kahn's algorithm; among ready units the one whose last root comes first.
  const int count = static_cast<int>(units_.size());
  std::vector<std::vector<int>> consumers(static_cast<size_t>(count));
  std::vector<int> waiting(static_cast<size_t>(count), 0);
  using Entry = std::pair<uint32_t, int>;
  std::priority_queue<Entry, std::vector<Entry>, std::greater<>> ready;
  for (int u = 0; u < count; ++u) {
    if (!alive_[static_cast<size_t>(u)]) continue;
    for (int p : producers(u)) {
      consumers[static_cast<size_t>(p)].push_back(u);
      ++waiting[static_cast<size_t>(u)];
    }
    if (waiting[static_cast<size_t>(u)] == 0) ready.emplace(last_root_[static_cast<size_t>(u)], u);
  }
  size_t alive = 0;
  for (bool a : alive_) alive += a;
  while (!ready.empty()) {
    const int u = ready.top().second;
    ready.pop();
    for (int c : consumers[static_cast<size_t>(u)])
      if (--waiting[static_cast<size_t>(c)] == 0)
        ready.emplace(last_root_[static_cast<size_t>(c)], c);
    result_.units.push_back(std::move(units_[static_cast<size_t>(u)]));
  }
  return result_.units.size() == alive;
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
