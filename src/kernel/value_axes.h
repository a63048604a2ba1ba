#pragma once
// Which axes of a LoopKernel a value or an index depends on.

#include "kernel/loop_kernel.h"

#include <cstdint>
#include <span>
#include <vector>

namespace coregrad {

/// For each value, the axes (bit a: axis a) that it depends on. Kernels have at most 64 axes.
std::vector<uint64_t> value_axes(const LoopKernel& kernel);
/// The axes of an index, those of the values in it included.
uint64_t index_axes(const LoopKernel& kernel, const IndexExpr& index,
                    std::span<const uint64_t> axes_of_values);

}  // namespace coregrad
