#include "compile/assemble_plan.h"

#include "base/checked.h"
#include "base/flags.h"
#include "compile/memory_plan.h"
#include "compile/validate.h"
#include "compile/view_map.h"
#include "runtime/executor.h"

#include <algorithm>
#include <string_view>

namespace coregrad {
namespace {

/// Offsets of temporaries, by the node that has the memory first.
class Temporaries {
 public:
  Temporaries(const Graph& graph, const Draft& draft, const TakenOver& taken_over)
      : taken_over_(taken_over) {
    for (size_t s = 0; s < draft.steps.size(); ++s)
      for (const Memory& m : draft.steps[s].arguments) {
        if (m.kind != Memory::Kind::Node) continue;
        const NodeId owner = owner_of(m);
        const auto [at, is_new] = number_of_.try_emplace(owner, lifetimes_.size());
        const auto now = static_cast<int64_t>(s);
        if (is_new)
          lifetimes_.push_back(
              {checked_mul(graph.numel(owner), size_of(graph.dtype(owner)), "plan"), now, now});
        lifetimes_[at->second].last_step = now;
      }
    memory_ = flags().check_memory ? plan_guarded_memory(lifetimes_) : plan_memory(lifetimes_);
  }

  const MemoryPlan& memory() const { return memory_; }

  Slot slot_of(const Memory& m) const {
    const size_t life = number_of_.at(owner_of(m));
    return {SlotKind::Temporary, memory_.offsets[life] + m.offset,
            lifetimes_[life].bytes - m.offset};
  }

 private:
  NodeId owner_of(const Memory& m) const {
    NodeId owner{static_cast<uint32_t>(m.index)};
    for (auto at = taken_over_.find(owner); at != taken_over_.end(); at = taken_over_.find(owner))
      owner = at->second;
    return owner;
  }

  const TakenOver& taken_over_;
  std::map<NodeId, size_t> number_of_;
  std::vector<Lifetime> lifetimes_;
  MemoryPlan memory_;
};

/// The user's operators that gather.
std::vector<std::string> gathering_origins(const Graph& graph) {
  constexpr size_t kMost = 8;
  std::vector<std::string> origins;
  for (uint32_t i = 0; i < graph.size() && origins.size() < kMost; ++i) {
    const std::string_view origin = graph.origin({i});
    if (graph[{i}].op == Op::Gather && !origin.empty() &&
        std::ranges::find(origins, origin) == origins.end())
      origins.emplace_back(origin);
  }
  return origins;
}

}  // namespace

Plan assemble_plan(const PlanParts& parts) {
  Plan plan;
  plan.num_inputs = parts.num_inputs;
  plan.num_outputs = static_cast<int64_t>(parts.outputs.size());
  const Temporaries temporaries(parts.graph, parts.draft, parts.taken_over);
  plan.temporary_bytes = temporaries.memory().total_bytes;
  plan.guard_pages = temporaries.memory().guard_pages;

  std::map<Memory, SlotId> slots;
  const auto make_slot = [&](const Memory& m) -> Slot {
    switch (m.kind) {
      case Memory::Kind::Input:
        return {SlotKind::Input, m.index, 0, m.offset};
      case Memory::Kind::Output: {
        const NodeId node = parts.outputs[m.index].node;
        return {SlotKind::Output, m.index,
                parts.graph.numel(node) * size_of(parts.graph.dtype(node)) - m.offset, m.offset};
      }
      case Memory::Kind::Node:
        break;
    }
    return temporaries.slot_of(m);
  };
  const auto slot_of = [&](const Memory& m) {
    const auto [at, is_new] =
        slots.try_emplace(m, SlotId{static_cast<uint32_t>(plan.slots.size())});
    if (is_new) plan.slots.push_back(make_slot(m));
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
    step.first_param = static_cast<uint32_t>(plan.params.size());
    const auto take = [&](const auto& from) {
      step.function = from.function;
      step.range = from.range;
      step.chunk = from.chunk;
      step.scratch_bytes = from.scratch_bytes;
      step.num_params = static_cast<uint32_t>(from.params.size());
      plan.params.insert(plan.params.end(), from.params.begin(), from.params.end());
    };
    if (draft.source >= 0) {
      const auto& kernel = parts.kernels[draft.source];
      take(*kernel);
      plan.keep_alive.push_back(kernel);
    } else {
      take(*draft.library);
      step.context = draft.library->context;
      plan.keep_alive.push_back(draft.library->context_owner);
    }
    plan.max_scratch_bytes = std::max(plan.max_scratch_bytes, step.scratch_bytes);
    plan.steps.push_back(std::move(step));
  }
  plan.serial_cost_ns = static_cast<double>(parts.target.thresholds.serial_ns);
  plan.totals = total_up(plan);
  plan.gathering = gathering_origins(parts.graph);
  return plan;
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
