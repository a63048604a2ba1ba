#include "kernel/value_axes.h"

#include "base/error.h"

namespace coregrad {

uint64_t index_axes(const LoopKernel& kernel, const IndexExpr& index,
                    std::span<const uint64_t> axes_of_values) {
  uint64_t mask = 0;
  if (index.is_constant()) return mask;
  std::vector<int> axes, values;
  kernel.context.collect(index, axes, values);
  for (const int axis : axes) mask |= uint64_t{1} << axis;
  for (const int id : values) mask |= axes_of_values[id];
  return mask;
}

std::vector<uint64_t> value_axes(const LoopKernel& kernel) {
  COREGRAD_CHECK(kernel.axes.size() <= 64);
  std::vector<uint64_t> result(kernel.values.size(), 0);
  for (size_t i = 0; i < kernel.values.size(); ++i) {
    const KernelValue& v = kernel.values[i];
    uint64_t mask = index_axes(kernel, v.index, result);
    for (const ValueId id : v.operands) {
      if (id == kNoValue) continue;
      COREGRAD_CHECK(static_cast<size_t>(id) < i);
      mask |= result[id];
    }
    if (v.kind == ValueKind::Reduce)
      for (size_t a = 0; a < kernel.axes.size(); ++a)
        if (kernel.axes[a].loop_set == v.loop_set) mask &= ~(uint64_t{1} << a);
    if (v.kind == ValueKind::Bound)
      for (int a = 0; a < kernel.num_parallel; ++a) mask |= uint64_t{1} << a;
    result[i] = mask;
  }
  return result;
}

}  // namespace coregrad
