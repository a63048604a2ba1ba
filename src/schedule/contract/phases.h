#pragma once
// Takes contractions apart whose windows divide: the input gradient of a strided convolution.
//
// Where an index is (a*u + b*v + c) / s, only every s-th pair (u, v) meets an element; multiplied
// out, all other products are zeros. For each remainder r of the output label u (its phase) the
// summed label has one remainder that matters, so u = s*u' + r and v = s*v' + r' give a smaller
// contraction without division. The phases together do the work of the useful products only.

#include "kernel/contract_kernel.h"
#include "kernel/target.h"

#include <vector>

namespace coregrad {

/// Contractions that together compute all results of `kernel`, each element once. One (the kernel
/// itself) where nothing divides, phases do not come apart, or the work is too small to matter.
/// Where all dimensions together have too many phases, some of them keep their divisions.
std::vector<ContractKernel> split_phases(const ContractKernel& kernel, const Target& target);

}  // namespace coregrad
