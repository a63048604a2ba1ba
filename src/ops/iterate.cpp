#include "ops/iterate.h"

#include "base/error.h"
#include "ops/detail.h"

#include <algorithm>

namespace coregrad::ops {

IterationBuilder::IterationBuilder(Graph& around, std::string name) : around_(around) {
  iteration_->name = std::move(name);
}

size_t IterationBuilder::operand(NodeId node) {
  operands_.push_back(node);
  return operands_.size() - 1;
}

NodeId IterationBuilder::add(Iteration::Input input, Shape shape) {
  const DType dtype = around_.dtype(operands_[input.operand]);
  const auto number = static_cast<int64_t>(iteration_->inputs.size());
  // The list lies in the other graph, which does not grow here.
  input.node = ops::input(iteration_->graph, number, dtype, shape);
  iteration_->inputs.push_back(input);
  return input.node;
}

NodeId IterationBuilder::carried(NodeId first) {
  return add({Iteration::Kind::Carried, operand(first)}, around_.shape(first));
}

NodeId IterationBuilder::constant(NodeId value) {
  return add({Iteration::Kind::Constant, operand(value)}, around_.shape(value));
}

NodeId IterationBuilder::slices(NodeId sequence, int64_t shift, std::optional<NodeId> edge) {
  if (around_.rank(sequence) == 0)
    raise<ShapeError>("{}: a sequence must have a dimension: got {}", iteration_->name,
                      describe(around_, sequence));
  const Shape shape = around_.shape(sequence).subspan(1);
  if ((shift != 0) != edge.has_value() || (edge && !same_shape(around_.shape(*edge), shape)))
    raise<ShapeError>(
        "{}: a sequence that is read at other steps needs a slice for its edge: got {}",
        iteration_->name, describe(around_, sequence));
  Iteration::Input input{
      .kind = Iteration::Kind::Sequence, .operand = operand(sequence), .shift = shift};
  if (edge) input.edge = operand(*edge);
  return add(input, shape);
}

IterationBuilder::Results IterationBuilder::finish(SymInt steps, bool reverse) {
  if (steps < 1)
    raise<ShapeError>("{}: there must be at least one step: got {}", iteration_->name, steps);
  const Iteration& body = *iteration_;
  const int64_t number = around_.add_iteration(iteration_);
  const auto result = [&](size_t k, NodeId inner, bool is_stacked) {
    Dims shape = shape_of(body.graph, inner);
    if (is_stacked) shape.insert(shape.begin(), steps);
    const SymInt attrs[] = {number, static_cast<int64_t>(k), steps, reverse ? 1 : 0};
    return make(around_, Op::Iterate, body.graph.dtype(inner), shape, operands_, attrs);
  };
  Results results;
  for (size_t k = 0; k < body.stacked.size(); ++k)
    results.stacked.push_back(result(body.next.size() + k, body.stacked[k], true));
  for (size_t c = 0; c < body.next.size(); ++c) {
    const auto at = std::ranges::find(body.stacked, body.next[c]);
    if (at == body.stacked.end()) {
      results.last.push_back(result(c, body.next[c], false));
      continue;
    }
    const NodeId all = results.stacked[static_cast<size_t>(at - body.stacked.begin())];
    const SymInt last = reverse ? SymInt(0) : steps - 1;
    results.last.push_back(squeeze(around_, narrow(around_, all, 0, last, last + 1), {{0}}));
  }
  return results;
}

}  // namespace coregrad::ops
