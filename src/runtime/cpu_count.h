#pragma once
// How many CPUs this process may use.

namespace coregrad {

/// The CPUs in the affinity mask, less if a control group grants a smaller quota; at least 1.
int usable_cpus();

}  // namespace coregrad
