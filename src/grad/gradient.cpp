// Map: Region marks what lies between targets and outputs; check() refuses before anything is
// built; propagate() visits each node once, when the last of its users has given its contribution.

#include "grad/gradient.h"

#include "base/error.h"
#include "base/log.h"
#include "grad/rules.h"
#include "ops/detail.h"

#include <algorithm>

namespace coregrad {
namespace {

/// Nothing behind such a value has a gradient through it.
bool stops_gradient(const Graph& graph, NodeId node) {
  return !is_float(graph.dtype(node)) || graph[node].op == Op::Detach;
}

/// Gradients flow along an edge between two floating values.
bool carries_gradient(const Graph& graph, NodeId node, NodeId operand) {
  return !stops_gradient(graph, node) && is_float(graph.dtype(operand));
}

/// The nodes on some differentiable path from a target to an output.
struct Region {
  std::vector<char> inside;  ///< by node index, up to the last output
  int64_t size = 0;

  bool contains(NodeId id) const { return id.value < inside.size() && inside[id.value] != 0; }
};

Region find_region(const Graph& graph, std::span<const NodeId> outputs,
                   std::span<const NodeId> targets) {
  uint32_t end = 0;
  for (const NodeId output : outputs) end = std::max(end, output.value + 1);
  constexpr char kAfterTarget = 1, kBeforeOutput = 2;
  std::vector<char> marks(end, 0);
  for (const NodeId target : targets)
    if (target.value < end) marks[target.value] = kAfterTarget;
  for (uint32_t i = 0; i < end; ++i)
    for (const NodeId operand : graph.operands({i}))
      if ((marks[operand.value] & kAfterTarget) != 0 && carries_gradient(graph, {i}, operand))
        marks[i] |= kAfterTarget;
  for (const NodeId output : outputs) marks[output.value] |= kBeforeOutput;
  Region region;
  for (uint32_t i = end; i-- > 0;) {
    if ((marks[i] & kBeforeOutput) == 0) continue;
    for (const NodeId operand : graph.operands({i}))
      if (carries_gradient(graph, {i}, operand)) marks[operand.value] |= kBeforeOutput;
  }
  region.inside.resize(end);
  for (uint32_t i = 0; i < end; ++i) {
    region.inside[i] = marks[i] == (kAfterTarget | kBeforeOutput);
    region.size += region.inside[i];
  }
  return region;
}

/// Names what keeps the gradient from a target that is not in the region.
[[noreturn]] void raise_unreachable(const Graph& graph, std::span<const NodeId> outputs,
                                    NodeId target, size_t number) {
  const std::vector<bool> live = mark_live(graph, outputs);
  const std::string what = ops::describe(graph, target);
  if (!live[target.value])
    raise<AutogradError>("gradient: target {} ({} {}) takes no part in the outputs", number,
                         name_of(graph[target].op), what);
  // Between target and outputs there must be a value that is not floating: the first one is to
  // blame.
  std::vector<bool> depends(live.size(), false);
  depends[target.value] = true;
  for (uint32_t i = target.value + 1; i < live.size(); ++i) {
    if (!live[i]) continue;
    for (const NodeId operand : graph.operands({i}))
      if (depends[operand.value]) depends[i] = true;
    if (depends[i] && stops_gradient(graph, {i}))
      raise<AutogradError>(
          "gradient: target {} ({} {}) cannot be reached: {} gives {}, which has no gradient",
          number, name_of(graph[target].op), what, name_of(graph[NodeId{i}].op),
          ops::describe(graph, {i}));
  }
  COREGRAD_UNREACHABLE("an unreachable target with nothing in its way");
}

void check_outputs(const Graph& graph, std::span<const NodeId> outputs,
                   std::span<const NodeId> seeds) {
  if (!seeds.empty() && seeds.size() != outputs.size())
    raise<AutogradError>("gradient: there must be one seed per output: got {} for {} outputs",
                         seeds.size(), outputs.size());
  for (size_t k = 0; k < outputs.size(); ++k) {
    const NodeId output = outputs[k];
    if (!is_float(graph.dtype(output)))
      raise<AutogradError>("gradient: outputs must be floating: output {} ({}) is {}", k,
                           name_of(graph[output].op), ops::describe(graph, output));
    if (seeds.empty()) {
      if (graph.numel(output) != 1)
        raise<AutogradError>(
            "gradient: without seeds outputs must have one element: output {} ({}) is {}", k,
            name_of(graph[output].op), ops::describe(graph, output));
      continue;
    }
    if (graph.dtype(seeds[k]) != graph.dtype(output) ||
        !std::ranges::equal(graph.shape(seeds[k]), graph.shape(output)))
      raise<AutogradError>(
          "gradient: a seed must have its output's shape and dtype: seed {} is {}, output {} is {}",
          k, ops::describe(graph, seeds[k]), k, ops::describe(graph, output));
  }
}

void check_region(const Graph& graph, const Region& region, std::span<const NodeId> outputs,
                  std::span<const NodeId> targets, Unreachable unreachable) {
  for (size_t t = 0; t < targets.size(); ++t) {
    if (!is_float(graph.dtype(targets[t])))
      raise<AutogradError>("gradient: targets must be floating: target {} ({}) is {}", t,
                           name_of(graph[targets[t]].op), ops::describe(graph, targets[t]));
    if (unreachable == Unreachable::Error && !region.contains(targets[t]))
      raise_unreachable(graph, outputs, targets[t], t);
  }
  for (uint32_t i = 0; i < region.inside.size(); ++i) {
    if (!region.contains({i})) continue;
    // A node without operands inside is a target, and needs no rule.
    const std::span<const NodeId> operands = graph.operands({i});
    if (std::ranges::none_of(operands, [&](NodeId o) {
          return region.contains(o) && carries_gradient(graph, {i}, o);
        }))
      continue;
    if (const std::string why = grad::refusal(graph, {i}); !why.empty())
      raise<AutogradError>("gradient: cannot differentiate {} {}: {}", name_of(graph[NodeId{i}].op),
                           ops::describe(graph, {i}), why);
    COREGRAD_CHECK(grad::rule_for(graph[NodeId{i}].op) != nullptr);
  }
}

/// A dimension's part of a value with zeros around it: what the gradient of a slice is.
struct Part {
  NodeId inner;
  int64_t dim = 0;
  SymInt low = 0, high = 0;
};

/// The contribution as a part of one dimension; nothing where it is none.
std::optional<Part> as_part(const Graph& graph, NodeId node) {
  if (graph[node].op != Op::Pad || graph.literal(node).as_double() != 0) return std::nullopt;
  const SymInts attrs = graph.attrs(node);  // low, high, interior
  Part part{graph.operand(node, 0)};
  int found = 0;
  for (int64_t d = 0; d < graph.rank(node); ++d) {
    const auto of = attrs.subspan(static_cast<size_t>(3 * d), 3);
    if (of[2] != 0) return std::nullopt;
    if (of[0] == 0 && of[1] == 0) continue;
    part.dim = d, part.low = of[0], part.high = of[1];
    ++found;
  }
  return found == 1 ? std::optional(part) : std::nullopt;
}

/// The sum of two contributions. Parts that lie side by side, as those of an operand that was
/// split, are put together instead of being filled up with zeros and added.
NodeId accumulate(Graph& graph, NodeId a, NodeId b) {
  std::optional<Part> first = as_part(graph, a), second = as_part(graph, b);
  if (!first || !second || first->dim != second->dim) return ops::add(graph, a, b);
  const auto d = static_cast<size_t>(first->dim);
  const auto is_before = [&](const Part& x, const Part& y) {
    return SymInt::are_equal(x.low + graph.shape(x.inner)[d], y.low);
  };
  if (!is_before(*first, *second)) std::swap(first, second);
  if (!is_before(*first, *second)) return ops::add(graph, a, b);
  std::vector<NodeId> parts;
  for (const NodeId inner : {first->inner, second->inner}) {
    if (graph[inner].op == Op::Concat && graph.attr(inner, 0) == first->dim)
      for (const NodeId operand : graph.operands(inner)) parts.push_back(operand);
    else
      parts.push_back(inner);
  }
  const NodeId joined = ops::concat(graph, parts, first->dim);
  std::vector<SymInt> low(static_cast<size_t>(graph.rank(joined)), 0), high = low, none = low;
  low[d] = first->low;
  high[d] = second->high;
  return ops::pad(graph, joined, low, high, none, Scalar::of(graph.dtype(joined), 0));
}

/// Contributions that each node waits for: one per edge from inside the region, one per output.
std::vector<uint32_t> count_waiting(const Graph& graph, const Region& region,
                                    std::span<const NodeId> outputs) {
  std::vector<uint32_t> waiting(region.inside.size(), 0);
  for (uint32_t i = 0; i < region.inside.size(); ++i) {
    if (!region.contains({i})) continue;
    for (const NodeId operand : graph.operands({i}))
      if (region.contains(operand) && carries_gradient(graph, {i}, operand))
        ++waiting[operand.value];
  }
  for (const NodeId output : outputs)
    if (region.contains(output)) ++waiting[output.value];
  return waiting;
}

class Propagation {
 public:
  Propagation(Graph& graph, const Region& region, std::span<const NodeId> outputs,
              GradientStats& stats)
      : graph_(graph),
        region_(region),
        stats_(stats),
        waiting_(count_waiting(graph, region, outputs)),
        gradients_(region.inside.size()),
        contributions_(region.inside.size(), 0) {}

  void seed(NodeId output, NodeId value) {
    if (!region_.contains(output)) return;
    add(output, value);
    release(output);
  }

  void run() {
    while (!ready_.empty()) {
      stats_.max_ready = std::max(stats_.max_ready, static_cast<int64_t>(ready_.size()));
      const NodeId node = ready_.back();
      ready_.pop_back();
      visit(node);
    }
    if (stats_.nodes_visited != region_.size)
      raise<InternalError>("gradient: {} of {} nodes were visited", stats_.nodes_visited,
                           region_.size);
  }

  /// Invalid where every contribution is zero.
  NodeId gradient(NodeId node) const { return gradients_[node.value]; }

 private:
  void add(NodeId node, NodeId contribution) {
    COREGRAD_CHECK(graph_.dtype(contribution) == graph_.dtype(node) &&
                   ops::same_shape(graph_.shape(contribution), graph_.shape(node)));
    NodeId& sum = gradients_[node.value];
    sum = sum.is_valid() ? accumulate(graph_, sum, contribution) : contribution;
    ++stats_.edges_followed;
    if (++contributions_[node.value] == 2) ++stats_.shared_nodes;
  }

  /// One of the contributions that the node waits for is in (or was zero).
  void release(NodeId node) {
    COREGRAD_CHECK(waiting_[node.value] > 0);
    if (--waiting_[node.value] == 0) ready_.push_back(node);
  }

  void visit(NodeId node) {
    ++stats_.nodes_visited;
    const std::span<const NodeId> span = graph_.operands(node);
    const std::vector<NodeId> operands(span.begin(), span.end());
    const auto is_edge = [&](NodeId operand) {
      return region_.contains(operand) && carries_gradient(graph_, node, operand);
    };
    const NodeId gradient = gradients_[node.value];
    if (gradient.is_valid() && std::ranges::any_of(operands, is_edge)) {
      grad::Backward backward(graph_, node, gradient, region_.inside);
      grad::rule_for(graph_[node].op)(backward);
      for (const auto& [i, contribution] : backward.given())
        if (is_edge(operands[i])) add(operands[i], contribution);
    }
    for (const NodeId operand : operands)
      if (is_edge(operand)) release(operand);
  }

  Graph& graph_;
  const Region& region_;
  GradientStats& stats_;
  std::vector<uint32_t> waiting_;
  std::vector<NodeId> gradients_;
  std::vector<uint32_t> contributions_;
  std::vector<NodeId> ready_;
};

}  // namespace

std::string GradientStats::to_text() const {
  return fmt::format(
      "{} nodes reachable, {} visited, {} edges followed, {} shared nodes, at most {} ready, {} "
      "nodes made",
      nodes_reachable, nodes_visited, edges_followed, shared_nodes, max_ready, nodes_made);
}

std::vector<NodeId> gradients(Graph& graph, std::span<const NodeId> outputs,
                              std::span<const NodeId> seeds, std::span<const NodeId> targets,
                              Unreachable unreachable, GradientStats* stats) {
  check_outputs(graph, outputs, seeds);
  const Region region = find_region(graph, outputs, targets);
  check_region(graph, region, outputs, targets, unreachable);

  GradientStats local;
  local.nodes_reachable = region.size;
  const int64_t before = graph.size();
  Propagation propagation(graph, region, outputs, local);
  for (size_t k = 0; k < outputs.size(); ++k) {
    const NodeId one = seeds.empty() ? ops::full(graph, graph.shape(outputs[k]),
                                                 Scalar::of_float(graph.dtype(outputs[k]), 1))
                                     : seeds[k];
    propagation.seed(outputs[k], one);
  }
  propagation.run();

  std::vector<NodeId> results;
  results.reserve(targets.size());
  for (const NodeId target : targets) {
    NodeId result;
    if (region.contains(target)) result = propagation.gradient(target);
    if (!result.is_valid() && (region.contains(target) || unreachable != Unreachable::Invalid))
      result = grad::zeros_like(graph, target);
    results.push_back(result);
  }
  local.nodes_made = graph.size() - before;
  log().debug("gradient: {}", local.to_text());
  if (stats != nullptr) *stats = local;
  return results;
}

}  // namespace coregrad
