#include "interp/kernels.h"
#include "ir/iteration.h"

#include <cstring>

namespace coregrad::interp {

Array run_iterate(const Graph& graph, NodeId id, Operands operands) {
  const Iteration& body = *graph.iteration(graph.attr(id, 0));
  const auto number = static_cast<size_t>(graph.attr(id, 1).number());
  const int64_t steps = graph.attr(id, 2).number();
  const bool is_reversed = graph.attr(id, 3) != 0;
  const bool is_stacked = number >= body.next.size();
  std::vector<NodeId> roots = body.next;
  if (is_stacked) roots.push_back(body.stacked[number - body.next.size()]);

  Array out = make_array(graph.dtype(id), graph.shape(id));
  std::vector<Array> carried;  // empty before the first step
  for (int64_t place = 0; place < steps; ++place) {
    const int64_t step = is_reversed ? steps - 1 - place : place;
    std::vector<InputView> views;
    size_t next_carried = 0;
    for (const Iteration::Input& input : body.inputs) {
      const Array& whole = *operands[input.operand];
      const int64_t at = step + input.shift;
      if (input.kind == Iteration::Kind::Carried) {
        const size_t c = next_carried++;
        views.push_back({carried.empty() ? whole.data.data() : carried[c].data.data()});
      } else if (input.kind == Iteration::Kind::Constant) {
        views.push_back({whole.data.data()});
      } else if (at < 0 || at >= steps) {
        views.push_back({operands[input.edge]->data.data()});
      } else {
        views.push_back({whole.data.data() +
                         static_cast<size_t>(at) * whole.data.size() / static_cast<size_t>(steps)});
      }
    }
    std::vector<Array> results = interpret(body.graph, roots, views);
    if (is_stacked) {
      const std::vector<std::byte>& slice = results.back().data;
      if (!slice.empty())
        std::memcpy(out.data.data() + static_cast<size_t>(step) * slice.size(), slice.data(),
                    slice.size());
      results.pop_back();
    }
    carried = std::move(results);
  }
  return is_stacked ? out : std::move(carried[number]);
}

}  // namespace coregrad::interp
