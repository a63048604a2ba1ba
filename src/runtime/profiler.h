#pragma once
// Counters that are always on, and what may be switched on: a line a step, a trace, times per step.

#include <atomic>
#include <cstdint>

namespace coregrad {

/// What the process has run so far, over all threads.
struct Counters {
  int64_t plans = 0;
  int64_t steps = 0;
  int64_t parallel_steps = 0;   ///< steps offered to the team
  int64_t chunks = 0;           ///< of the parallel steps
  double flops = 0, bytes = 0;  ///< as estimated by the compiler
  int64_t allocations = 0;      ///< requests to the allocator
  int64_t allocation_hits = 0;  ///< of these, from its cache
};

Counters counters();

/// For the executor: adds one run's share to this thread's counters.
void count_run(const Counters& share);

}  // namespace coregrad
