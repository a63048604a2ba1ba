// In-place updates: a temporary that dies in a step becomes the memory of what the step writes.

#include "compile/draft.h"

#include <algorithm>

namespace coregrad {
namespace {

/// True when every access to both buffers is at one and the same place that no loop revisits.
bool is_safe_in_place(const LoopKernel& kernel, int read, int written) {
  const IndexExpr* place = nullptr;
  for (const KernelStore& s : kernel.stores) {
    if (s.buffer != written) continue;
    if (place || s.combine != Op::Literal) return false;
    place = &s.index;
  }
  if (!place) return false;
  std::vector<int> axes, values;
  kernel.context.collect(*place, axes, values);
  if (!values.empty()) return false;
  for (int a : axes)
    if (kernel.axes[a].loop_set >= 0) return false;
  return std::ranges::all_of(kernel.values, [&](const KernelValue& v) {
    return v.kind != ValueKind::Load || v.buffer != read || v.index == *place;
  });
}

/// True when a further argument is in the same memory: a part of a Concat and the whole.
bool is_read_twice(const DraftStep& step, size_t argument) {
  const auto same = [&](const Memory& m) {
    return m.kind == step.arguments[argument].kind && m.index == step.arguments[argument].index;
  };
  return std::count_if(step.arguments.begin(), step.arguments.end(), same) > 1;
}

/// The temporary that an argument is, whole; invalid where it is none.
NodeId whole_temporary(const DraftStep& step, size_t argument) {
  const Memory& m = step.arguments[argument];
  const NodeId node = step.nodes[argument];
  return m.kind == Memory::Kind::Node && m.index == node.value ? node : NodeId{};
}

}  // namespace

TakenOver share_memory(Draft& draft, const Graph& graph) {
  TakenOver taken_over;
  std::map<int64_t, size_t> last_use;
  for (size_t s = 0; s < draft.steps.size(); ++s)
    for (const Memory& m : draft.steps[s].arguments)
      if (m.kind == Memory::Kind::Node) last_use[m.index] = s;
  for (size_t s = 0; s < draft.steps.size(); ++s) {
    const DraftStep& step = draft.steps[s];
    if (step.source < 0) continue;
    auto* kernel = std::get_if<LoopKernel>(&draft.sources[step.source]);
    if (!kernel || kernel->num_loop_sets > 0) continue;
    std::vector<NodeId> taken;
    for (size_t w = 0; w < step.arguments.size(); ++w) {
      const NodeId node = whole_temporary(step, w);
      if (!step.written[w] || !node.is_valid() || graph[node].op == Op::Concat) continue;
      for (size_t r = 0; r < step.arguments.size(); ++r) {
        const NodeId source = whole_temporary(step, r);
        if (step.written[r] || !source.is_valid() || source == node ||
            last_use[source.value] != s || is_read_twice(step, r) ||
            std::ranges::find(taken, source) != taken.end() ||
            !SymInt::are_equal(graph.numel(source), graph.numel(node)) ||
            size_of(graph.dtype(source)) != size_of(graph.dtype(node)) ||
            !is_safe_in_place(*kernel, static_cast<int>(r), static_cast<int>(w)))
          continue;
        taken_over[node] = source;
        taken.push_back(source);
        kernel->buffers[w].may_alias = true;
        break;
      }
    }
  }
  return taken_over;
}

}  // namespace coregrad
