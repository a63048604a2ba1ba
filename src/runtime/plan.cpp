#include "runtime/plan.h"

#include <fmt/format.h>

#include <iterator>

namespace coregrad {
namespace {

std::string_view name_of(StepKind kind) {
  switch (kind) {
    case StepKind::Loop:
      return "loop";
    case StepKind::Contract:
      return "contract";
    case StepKind::Copy:
      return "copy";
    case StepKind::Library:
      return "library";
    case StepKind::External:
      return "external";
  }
  return "?";
}

std::string to_text(const Slot& slot) {
  const std::string from = slot.offset > 0 ? fmt::format("+{}", slot.offset) : "";
  switch (slot.kind) {
    case SlotKind::Input:
      return fmt::format("in{}{}[{}]", slot.index, from, slot.bytes);
    case SlotKind::Output:
      return fmt::format("out{}{}[{}]", slot.index, from, slot.bytes);
    case SlotKind::Temporary:
      return fmt::format("tmp@{}[{}]", slot.index, slot.bytes);
  }
  return "?";
}

}  // namespace

int64_t bytes_of(const Plan& plan) {
  const auto bytes = [](const auto& list) {
    return static_cast<int64_t>(list.capacity() * sizeof(list[0]));
  };
  return static_cast<int64_t>(sizeof plan) + bytes(plan.slots) + bytes(plan.steps) +
         bytes(plan.args) + bytes(plan.params) + bytes(plan.guard_pages) + bytes(plan.keep_alive) +
         bytes(plan.gathering);
}

std::string to_text(const Plan& plan) {
  std::string text = fmt::format(
      "plan: {} inputs, {} outputs, {} slots, {} steps, {} temporary bytes, "
      "{} scratch bytes a worker\n",
      plan.num_inputs, plan.num_outputs, plan.slots.size(), plan.steps.size(), plan.temporary_bytes,
      plan.max_scratch_bytes);
  auto out = std::back_inserter(text);
  for (size_t i = 0; i < plan.steps.size(); ++i) {
    const Step& step = plan.steps[i];
    fmt::format_to(out, "{:>4} {:<8} {}(", i, name_of(step.kind), step.name);
    const char* separator = "";
    for (SlotId id : plan.args_of(step)) {
      fmt::format_to(out, "{}s{} {}", separator, id.value, to_text(plan.slots[id.value]));
      separator = ", ";
    }
    text += ')';
    if (step.num_params > 0) {
      text += " params";
      for (int64_t param : plan.params_of(step)) fmt::format_to(out, " {}", param);
    }
    fmt::format_to(out, " range {} by {}", step.range, step.chunk);
    if (step.scratch_bytes > 0) fmt::format_to(out, " scratch {}", step.scratch_bytes);
    fmt::format_to(out, " flops {:.4g} bytes {:.4g} cost {:.4g} us\n", step.flops, step.bytes,
                   step.cost_ns * 1e-3);
  }
  return text;
}

}  // namespace coregrad
