#include "runtime/library_steps.h"

#include "base/checked.h"

#include <algorithm>
#include <cmath>

namespace coregrad {

int64_t library_chunk(int64_t range, double cost_ns, double chunk_ns) {
  const double chunks = std::clamp(std::floor(cost_ns / std::max(chunk_ns, 1.0)), 1.0, 64.0);
  return std::max<int64_t>(1, ceil_div(range, static_cast<int64_t>(chunks)));
}

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
