#include "compile/iterated_steps.h"

#include "base/checked.h"
#include "base/shape_env.h"
#include "compile/library_units.h"
#include "compile/plan_template.h"

#include <algorithm>

namespace coregrad {
namespace {

SymInt bytes_of(const Graph& graph, NodeId node) {
  return checked_mul(graph.numel(node), size_of(graph.dtype(node)), "iteration");
}

int64_t rounded(int64_t bytes) { return round_up(bytes, 64); }

/// What lies `bytes` behind the start of a slot.
Slot behind(Slot slot, int64_t bytes) {
  (slot.kind == SlotKind::Temporary ? slot.index : slot.offset) += bytes;
  return slot;
}

}  // namespace

LibraryUnit iterated_unit(const Graph& graph, const FusionUnit& unit,
                          const CompileOptions& options) {
  const NodeId node = unit.node;
  auto made = std::make_shared<IteratedSteps>();
  made->body = graph.iteration(graph.attr(node, 0));
  made->steps = graph.attr(node, 2);
  made->is_reversed = graph.attr(node, 3) != 0;
  const Iteration& body = *made->body;
  for (const Iteration::Input& input : body.inputs)
    made->input_bytes.push_back(bytes_of(body.graph, input.node));

  std::vector<OutputSpec> specs;
  const auto add = [&](NodeId inner, int stacked, int last) {
    specs.push_back({inner, {}, -1});
    made->outputs.push_back({stacked, last, bytes_of(body.graph, inner)});
  };
  const size_t num_operands = graph.operands(node).size(), num_carried = body.next.size();
  std::vector<int> last(num_carried, -1);
  for (size_t r = 0; r < unit.results.size(); ++r) {
    const auto number = static_cast<size_t>(graph.attr(unit.results[r], 1).number());
    const auto argument = static_cast<int>(num_operands + r);
    if (number < num_carried)
      last[number] = argument;
    else
      add(body.stacked[number - num_carried], argument, -1);
  }
  for (size_t c = 0; c < num_carried; ++c) {
    const auto at = std::ranges::find(specs, body.next[c], &OutputSpec::node);
    made->carried.push_back(static_cast<size_t>(at - specs.begin()));
    if (last[c] >= 0 || at == specs.end()) {
      made->carried.back() = specs.size();
      add(body.next[c], -1, last[c]);
    }
  }
  CompileOptions inner;
  inner.optimize = options.optimize;
  inner.any_size = options.any_size;
  inner.env = options.env;
  inner.max_threads = options.max_threads;
  inner.name = options.name + ", " + body.name;
  made->compiled = compile(body.graph, specs, static_cast<int64_t>(body.inputs.size()), inner);

  LibraryUnit result;
  result.name = body.name;
  result.operands.assign(graph.operands(node).begin(), graph.operands(node).end());
  result.results = unit.results;
  result.completes = false;  // the steps that take its place are not those of the graph
  result.iterated = std::move(made);
  return result;
}

BoundIteration::BoundIteration(const IteratedSteps& steps, size_t step, const ShapeEnv* env,
                               std::span<const int64_t> values)
    : source_(&steps), step_(step) {
  const auto value = [&](SymInt x) { return env ? env->evaluate(x, values) : x.number(); };
  const CompiledPlan& compiled = steps.compiled;
  body_ = compiled.sizes ? compiled.sizes->bind(values) : compiled.plan;
  count_ = value(steps.steps);
  for (const SymInt x : steps.input_bytes) input_bytes_.push_back(value(x));
  workspace_bytes_ = rounded(body_->temporary_bytes);
  for (const IteratedSteps::Output& o : steps.outputs) {
    output_bytes_.push_back(value(o.bytes));
    own_places_.push_back(workspace_bytes_);
    if (o.stacked < 0)
      workspace_bytes_ =
          checked_add(workspace_bytes_, checked_mul(2, rounded(output_bytes_.back()), "iteration"),
                      "iteration");
  }
}

void BoundIteration::append_to(std::vector<Step>& steps, Plan& plan, int64_t workspace) const {
  const Plan& body = *body_;
  const std::span<const SlotId> given = plan.args_of(plan.steps[step_]);
  const std::vector<SlotId> arguments(given.begin(), given.end());
  const auto first_param = static_cast<uint32_t>(plan.params.size());
  plan.params.insert(plan.params.end(), body.params.begin(), body.params.end());
  plan.keep_alive.insert(plan.keep_alive.end(), body.keep_alive.begin(), body.keep_alive.end());
  plan.gathering.insert(plan.gathering.end(), body.gathering.begin(), body.gathering.end());

  const auto step_at = [&](int64_t place) {
    return source_->is_reversed ? count_ - 1 - place : place;
  };
  const auto of_argument = [&](size_t argument, int64_t distance) {
    return behind(plan.slots[arguments[argument].value], distance);
  };
  const auto of_workspace = [&](int64_t place) {
    return Slot{SlotKind::Temporary, workspace + place, 0, 0};
  };
  /// Where an output of the body goes at a place in the order.
  const auto of_output = [&](size_t number, int64_t place) {
    const IteratedSteps::Output& o = source_->outputs[number];
    const int64_t bytes = output_bytes_[number];
    if (o.stacked >= 0) return of_argument(static_cast<size_t>(o.stacked), step_at(place) * bytes);
    if (o.last >= 0 && place == count_ - 1) return of_argument(static_cast<size_t>(o.last), 0);
    return of_workspace(own_places_[number] + place % 2 * rounded(bytes));
  };
  const std::vector<Iteration::Input>& inputs = source_->body->inputs;
  std::vector<size_t> number_of_carried(inputs.size());
  for (size_t k = 0, c = 0; k < inputs.size(); ++k)
    if (inputs[k].kind == Iteration::Kind::Carried) number_of_carried[k] = c++;
  const auto of_input = [&](size_t k, int64_t place) {
    const Iteration::Input& input = inputs[k];
    if (input.kind == Iteration::Kind::Constant) return of_argument(input.operand, 0);
    if (input.kind == Iteration::Kind::Carried)
      return place == 0 ? of_argument(input.operand, 0)
                        : of_output(source_->carried[number_of_carried[k]], place - 1);
    const int64_t at = step_at(place) + input.shift;
    return at < 0 || at >= count_ ? of_argument(input.edge, 0)
                                  : of_argument(input.operand, at * input_bytes_[k]);
  };

  for (int64_t place = 0; place < count_; ++place) {
    const auto first_slot = static_cast<uint32_t>(plan.slots.size());
    for (const Slot& inner : body.slots) {
      Slot slot = inner.kind == SlotKind::Temporary ? of_workspace(inner.index)
                  : inner.kind == SlotKind::Input
                      ? of_input(static_cast<size_t>(inner.index), place)
                      : of_output(static_cast<size_t>(inner.index), place);
      if (inner.kind != SlotKind::Temporary) slot = behind(slot, inner.offset);
      slot.bytes = inner.bytes;
      plan.slots.push_back(slot);
    }
    for (const Step& inner : body.steps) {
      Step step = inner;
      step.first_param += first_param;
      step.first_arg = static_cast<uint32_t>(plan.args.size());
      for (const SlotId slot : body.args_of(inner)) plan.args.push_back({first_slot + slot.value});
      steps.push_back(std::move(step));
    }
  }
}

void expand(Plan& plan, std::span<const BoundIteration> iterations,
            std::span<const int64_t> workspaces) {
  std::vector<Step> steps;
  size_t next = 0;
  for (size_t s = 0; s < plan.steps.size(); ++s) {
    if (next < iterations.size() && iterations[next].step() == s) {
      iterations[next].append_to(steps, plan, workspaces[next]);
      ++next;
    } else {
      steps.push_back(plan.steps[s]);
    }
  }
  plan.steps = std::move(steps);
}

}  // namespace coregrad
