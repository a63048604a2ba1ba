#include "runtime/library_steps.h"

#include <algorithm>

namespace coregrad {

void append(Plan& plan, const LibraryStep& from, std::span<const SlotId> args, std::string name) {
  Step step;
  step.function = from.function;
  step.context = from.context.get();
  step.kind = from.kind;
  step.first_arg = static_cast<uint32_t>(plan.args.size());
  step.num_args = static_cast<uint32_t>(args.size());
  step.range = from.range;
  step.chunk = from.chunk;
  step.scratch_bytes = from.scratch_bytes;
  step.flops = from.flops;
  step.bytes = from.bytes;
  step.cost_ns = from.cost_ns;
  step.name = std::move(name);
  plan.args.insert(plan.args.end(), args.begin(), args.end());
  plan.max_scratch_bytes = std::max(plan.max_scratch_bytes, step.scratch_bytes);
  if (from.context) plan.keep_alive.push_back(from.context);
  plan.steps.push_back(std::move(step));
}

}  // namespace coregrad
