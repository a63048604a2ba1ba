#include "compile/fusion_roots.h"

#include "compile/view_map.h"

#include <algorithm>
#include <set>

namespace coregrad {
namespace {

constexpr int kShareCost = 30;   // a shared value this dear is stored rather than computed twice
constexpr int kRepeatCost = 10;  // the same for a value read many times over (windows, broadcasts)

class RootChooser {
 public:
  RootChooser(const Graph& graph, std::span<const NodeId> outputs, const FusionOptions& options)
      : graph_(graph),
        outputs_(outputs),
        options_(options),
        live_(mark_live(graph, outputs)),
        uses_(count_uses(graph, outputs)),
        repeated_(graph.size(), false),
        sliced_(graph.size(), 0) {
    result_.is_root = NodeMap<bool>(graph.size(), false);
    result_.needs_dense = NodeMap<bool>(graph.size(), false);
    result_.placed = NodeMap<Placement>(graph.size());
  }

  FusionRoots run() {
    for (NodeId o : outputs_) make_root(o);
    each_live([&](NodeId id) { look_at(id); });
    share_dear_values();
    cut_long_cones();
    place_parts();
    return std::move(result_);
  }

 private:
  void look_at(NodeId id);
  void share_dear_values();
  void cut_long_cones();
  void place_parts();
  void place_parts_of(NodeId concat, const NodeMap<bool>& is_output);
  int64_t count_cone(NodeId id) const;

  template <class F>
  void each_live(F f) const {
    for (uint32_t i = 0; i < graph_.size(); ++i)
      if (live_[i]) f(NodeId{i});
  }
  bool is_root(NodeId id) const { return result_.is_root[id]; }
  void make_root(NodeId id) {
    if (graph_[id].op != Op::Input) result_.is_root[id] = true;
  }
  /// Whether users of the node compute it themselves.
  bool is_inside(NodeId id) const { return graph_[id].op != Op::Input && !is_root(id); }

  const Graph& graph_;
  std::span<const NodeId> outputs_;
  const FusionOptions& options_;
  std::vector<bool> live_;
  std::vector<uint32_t> uses_;  ///< by node index
  NodeMap<bool> repeated_;
  NodeMap<double> sliced_;  ///< elements that slices read of it
  FusionRoots result_;
};

/// What a node makes a root by itself, and how its operands are read.
void RootChooser::look_at(NodeId id) {
  const Op op = graph_[id].op;
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
                 graph_.numel(id).hint() >= 4 * graph_.numel(graph_.operand(id, 0)).hint()) {
        repeated_[graph_.operand(id, 0)] = true;
      } else if (op == Op::Slice) {
        NodeId of = graph_.operand(id, 0);
        while (graph_[of].op == Op::Reshape || graph_[of].op == Op::Permute)
          of = graph_.operand(of, 0);
        sliced_[of] += static_cast<double>(graph_.numel(id).hint());
      }
      break;
    case Family::Gather:
      // What is gathered from must lie in memory, or be cheap.
      make_root(strided_view(graph_, graph_.operand(id, 0), true).base);
      break;
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

/// Values that several users read are stored where computing them again costs more.
void RootChooser::share_dear_values() {
  NodeMap<int> cost(graph_.size(), 0);  // of computing a node from roots and memory
  each_live([&](NodeId id) {
    const Op op = graph_[id].op;
    if (op == Op::Input || (is_root(id) && !is_fusable(graph_, id))) return;
    int total = cost_of(op, graph_.dtype(id));
    for (NodeId o : graph_.operands(id))
      if (is_inside(o)) total = std::min(total + cost[o], 1 << 20);
    cost[id] = total;
    if (is_root(id) || !is_fusable(graph_, id) || family_of(op) == Family::View) return;
    // Slices that overlap, such as the steps of an unrolled window, each compute it again.
    const auto elements = static_cast<double>(graph_.numel(id).hint());
    const bool overlaps = (sliced_[id] - elements) * total >= kShareCost * elements;
    const bool is_dear = (uses_[id.value] > 1 && total >= kShareCost) ||
                         (repeated_[id] && total >= kRepeatCost) || overlaps;
    if (graph_.numel(id) <= 1 || !is_dear) return;
    // A widened value is stored as it was before.
    const NodeId below = op == Op::Cast ? graph_.operand(id, 0) : id;
    if (is_only_stored(graph_.dtype(below)) && is_elementwise(graph_[below].op)) {
      make_root(below);
      cost[id] = 1;
    } else {
      make_root(id);
    }
  });
}

int64_t RootChooser::count_cone(NodeId id) const {
  std::set<NodeId> cone = {id};
  std::vector<NodeId> stack = {id};
  while (!stack.empty() && static_cast<int64_t>(cone.size()) <= options_.max_cone) {
    const NodeId at = stack.back();
    stack.pop_back();
    for (NodeId o : graph_.operands(at))
      if (is_inside(o) && cone.insert(o).second) stack.push_back(o);
  }
  return static_cast<int64_t>(cone.size());
}

/// A node with too many nodes between it and the roots below becomes a root itself.
void RootChooser::cut_long_cones() {
  // An upper bound: sharing makes it larger than the truth, so the truth is counted before a cut.
  NodeMap<int64_t> bound(graph_.size(), 0);
  each_live([&](NodeId id) {
    if (graph_[id].op == Op::Input) return;
    int64_t total = 1;
    for (NodeId o : graph_.operands(id))
      if (is_inside(o)) total += bound[o];
    if (total > options_.max_cone) {
      total = count_cone(id);
      if (total > options_.max_cone && is_fusable(graph_, id)) make_root(id);
    }
    bound[id] = total;
  });
  result_.cone = std::move(bound);
}

/// Parts of a Concat that are computed by kernels anyway get its memory from the start, where every
/// reader can find them with strides. Parts of one kernel (gates, outputs of time steps) then need
/// no kernel each.
void RootChooser::place_parts() {
  NodeMap<bool> is_output(graph_.size(), false);
  for (NodeId o : outputs_) is_output[o] = true;
  each_live([&](NodeId id) {
    if (!is_root(id) || is_fusable(graph_, id) || graph_[id].op == Op::Concat) return;
    for (const StridedView& v : memory_operands(graph_, id))
      if (v.base.is_valid()) result_.needs_dense[v.base] = true;
  });
  each_live([&](NodeId id) {
    if (graph_[id].op == Op::Concat) place_parts_of(id, is_output);
  });
}

void RootChooser::place_parts_of(NodeId concat, const NodeMap<bool>& is_output) {
  const auto dim = static_cast<size_t>(graph_.attr(concat, 0));
  const Shape whole = graph_.shape(concat);
  const bool is_run = std::all_of(whole.begin(), whole.begin() + static_cast<int64_t>(dim),
                                  [](SymInt extent) { return extent.is_identical(1); });
  const std::span<const NodeId> parts = graph_.operands(concat);
  SymInt start = 0;
  for (size_t p = 0; p < parts.size(); ++p) {
    const Shape shape = graph_.shape(parts[p]);
    const StridedView view = strided_view(graph_, parts[p]);
    const NodeId base = view.base;
    const Placement placement{concat, static_cast<int64_t>(p), start, base == parts[p]};
    start += shape[dim];
    const Op op = graph_[base].op;
    const bool is_computed =
        is_elementwise(op) || is_reduce(op) || op == Op::Contract || op == Op::Concat;
    if (!is_computed || is_output[base] || result_.placed[base].concat.is_valid() ||
        !SymInt::are_equal(graph_.numel(base), graph_.numel(parts[p])) ||
        graph_.numel(base).hint() <= 1)
      continue;
    // Computed where it is stored, together with the other one.
    if (parts_alternate(graph_, concat) && is_elementwise(op) && uses_[base.value] == 1) continue;
    const std::vector<SymInt> dense = contiguous_strides(shape);
    bool is_same = SymInt::are_equal(view.offset, 0);
    for (size_t d = 0; d < shape.size(); ++d)
      is_same = is_same &&
                (SymInt::are_equal(shape[d], 1) || SymInt::are_equal(view.strides[d], dense[d]));
    if (!is_same) continue;
    const bool must_be_dense = !placement.is_whole_part || result_.needs_dense[base];
    if (must_be_dense && !is_run) continue;
    if (must_be_dense) result_.needs_dense[concat] = true;
    result_.placed[base] = placement;
    result_.is_root[base] = true;
  }
}

}  // namespace

FusionRoots choose_roots(const Graph& graph, std::span<const NodeId> outputs,
                         const FusionOptions& options) {
  return RootChooser(graph, outputs, options).run();
}

/// Whether a Concat has two parts, whose elements alternate in row-major memory.
bool parts_alternate(const Graph& graph, NodeId concat) {
  const Shape shape = graph.shape(concat);
  const auto dim = static_cast<size_t>(graph.attr(concat, 0));
  const std::span<const NodeId> parts = graph.operands(concat);
  return parts.size() == 2 && shape[dim].is_identical(2) &&
         graph.shape(parts[0])[dim].is_identical(1) &&
         std::all_of(shape.begin() + static_cast<int64_t>(dim) + 1, shape.end(),
                     [](SymInt extent) { return extent.is_identical(1); });
}

}  // namespace coregrad
