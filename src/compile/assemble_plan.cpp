#include "compile/assemble_plan.h"

#include "base/checked.h"
#include "compile/validate.h"
#include "compile/view_map.h"

#include <algorithm>
#include <string_view>

namespace coregrad {
namespace {

/// Temporaries by the node that has the memory first.
class Temporaries {
 public:
  Temporaries(const Graph& graph, const Draft& draft, const TakenOver& taken_over)
      : taken_over_(taken_over) {
    for (size_t s = 0; s < draft.steps.size(); ++s)
      for (const Memory& m : draft.steps[s].arguments) {
        if (m.kind != Memory::Kind::Node) continue;
        const NodeId owner = owner_of(m);
        const auto [at, is_new] = number_of_.try_emplace(owner, temporaries_.size());
        const auto now = static_cast<int64_t>(s);
        if (is_new)
          temporaries_.push_back(
              {checked_mul(graph.numel(owner), size_of(graph.dtype(owner)), "plan"), now, now});
        temporaries_[at->second].last_step = now;
      }
  }

  PlanTemplate::SlotSizes slot_of(const Memory& m) const {
    const size_t number = number_of_.at(owner_of(m));
    return {temporaries_[number].bytes - m.offset, m.offset, static_cast<int64_t>(number)};
  }
  std::vector<PlanTemplate::TemporarySizes> take() { return std::move(temporaries_); }

 private:
  NodeId owner_of(const Memory& m) const {
    NodeId owner{static_cast<uint32_t>(m.index)};
    for (auto at = taken_over_.find(owner); at != taken_over_.end(); at = taken_over_.find(owner))
      owner = at->second;
    return owner;
  }

  const TakenOver& taken_over_;
  std::map<NodeId, size_t> number_of_;
  std::vector<PlanTemplate::TemporarySizes> temporaries_;
};

/// The user's operators that gather.
std::vector<SharedString> gathering_origins(const Graph& graph) {
  constexpr size_t kMost = 8;
  std::vector<SharedString> origins;
  for (uint32_t i = 0; i < graph.size() && origins.size() < kMost; ++i) {
    const std::string_view origin = graph.origin({i});
    if (graph[{i}].op == Op::Gather && !origin.empty() &&
        std::ranges::find(origins, origin, &SharedString::text) == origins.end())
      origins.emplace_back(std::string(origin));
  }
  return origins;
}

/// What a step runs, and its parameters, or what makes them when sizes are known.
void add_source(PlanTemplate& made, Step& step, const DraftStep& draft, const PlanParts& parts) {
  Plan& plan = made.plan;
  step.first_param = static_cast<uint32_t>(made.params.size());
  const auto take = [&](const auto& from) {
    step.function = from.function;
    made.steps.push_back({from.range, from.chunk, from.scratch_bytes, draft.work});
    step.num_params = static_cast<uint32_t>(from.params.size());
    made.params.insert(made.params.end(), from.params.begin(), from.params.end());
  };
  if (draft.source >= 0 && !parts.kernels[draft.source]) {
    made.planned.push_back(
        {plan.steps.size(), std::get<ContractKernel>(parts.draft.sources[draft.source])});
    made.steps.push_back({.work = draft.work});
  } else if (draft.source >= 0 && parts.kernels[draft.source]->symbolic) {
    const auto& kernel = parts.kernels[draft.source];
    made.planned.push_back(
        {plan.steps.size(),
         std::make_shared<const SharedContract>(
             std::get<ContractKernel>(parts.draft.sources[draft.source]), kernel)});
    made.steps.push_back({.work = draft.work});
    step.function = kernel->function;
    plan.keep_alive.push_back(kernel->code);
  } else if (draft.source >= 0) {
    const auto& kernel = parts.kernels[draft.source];
    take(*kernel);
    // Its sizes are here now, and may outlive the symbols there.
    plan.keep_alive.push_back(kernel->code);
    if (draft.moved)
      made.streamed.push_back({plan.steps.size(), *draft.moved,
                               std::make_shared<const StreamedLoops>(
                                   std::get<LoopKernel>(parts.draft.sources[draft.source]))});
  } else if (draft.library->iterated) {
    made.repeated.push_back({plan.steps.size(), draft.library->iterated});
    made.steps.push_back({});
  } else if (draft.library->make) {
    made.planned.push_back({plan.steps.size(), draft.library->make});
    take(*draft.library);
  } else {
    take(*draft.library);
    step.context = draft.library->context;
    plan.keep_alive.push_back(draft.library->context_owner);
  }
}

}  // namespace

PlanTemplate assemble_plan(const PlanParts& parts) {
  PlanTemplate made;
  made.env = parts.env;
  Plan& plan = made.plan;
  plan.num_inputs = parts.num_inputs;
  plan.num_outputs = static_cast<int64_t>(parts.outputs.size());
  Temporaries temporaries(parts.graph, parts.draft, parts.taken_over);

  std::map<Memory, SlotId> slots;
  const auto add_slot = [&](const Memory& m) {
    switch (m.kind) {
      case Memory::Kind::Input:
        plan.slots.push_back({SlotKind::Input, m.index, 0, 0});
        made.slots.push_back({0, m.offset});
        return;
      case Memory::Kind::Output: {
        const NodeId node = parts.outputs[m.index].node;
        plan.slots.push_back({SlotKind::Output, m.index, 0, 0});
        made.slots.push_back(
            {parts.graph.numel(node) * size_of(parts.graph.dtype(node)) - m.offset, m.offset});
        return;
      }
      case Memory::Kind::Node:
        break;
    }
    plan.slots.push_back({SlotKind::Temporary, 0, 0, 0});
    made.slots.push_back(temporaries.slot_of(m));
  };
  const auto slot_of = [&](const Memory& m) {
    const auto [at, is_new] =
        slots.try_emplace(m, SlotId{static_cast<uint32_t>(plan.slots.size())});
    if (is_new) add_slot(m);
    return at->second;
  };

  for (const DraftStep& draft : parts.draft.steps) {
    Step step;
    step.kind = draft.kind;
    step.name = draft.name;
    step.bytes = draft.bytes;
    step.flops = draft.flops;
    step.cost_ns = draft.cost_ns;
    step.first_arg = static_cast<uint32_t>(plan.args.size());
    step.num_args = static_cast<uint32_t>(draft.arguments.size());
    for (const Memory& m : draft.arguments) plan.args.push_back(slot_of(m));
    add_source(made, step, draft, parts);
    plan.steps.push_back(std::move(step));
  }
  made.temporaries = temporaries.take();
  plan.serial_cost_ns = static_cast<double>(parts.target.thresholds.serial_ns);
  plan.gathering = gathering_origins(parts.graph);
  made.finish();
  return made;
}

std::shared_ptr<StepObserver> make_validator(const Graph& graph, const MemoryMap& memory,
                                             const Draft& draft) {
  std::vector<StepExpectation> steps;
  for (const DraftStep& step : draft.steps) {
    std::vector<ArgumentMemory> read, results;
    // Nobody but its owner knows an external op; a Concat is complete after its last part only; a
    // copy has nothing to recompute.
    const bool skip =
        step.kind == StepKind::External || step.kind == StepKind::Copy || !step.checked;
    for (size_t i = 0; i < step.nodes.size() && !skip; ++i) {
      const NodeId node = step.nodes[i];
      const bool is_input = graph[node].op == Op::Input;
      ArgumentMemory at{node, i, is_input ? memory_strides(graph, node) : memory.strides(node),
                        -step.skipped[i]};
      if (!step.written[i])
        read.push_back(std::move(at));
      else if (graph[node].op != Op::Concat)
        results.push_back(std::move(at));
    }
    steps.push_back(expectation(graph, read, results));
  }
  return std::make_shared<PlanValidator>(std::move(steps));
}

}  // namespace coregrad
