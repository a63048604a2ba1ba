#pragma once
// Runs a plan: binds pointers and calls steps, nothing else.

#include "runtime/plan.h"
#include "runtime/thread_team.h"

#include <functional>
#include <span>

namespace coregrad {

/// Called after each step with the pointers of its arguments; for COREGRAD_VALIDATE and tests.
class StepObserver {
 public:
  virtual ~StepObserver() = default;
  virtual void after_step(const Plan& plan, size_t step, std::span<void* const> buffers) = 0;
};

/// Which threads run a plan: our team, or those of the program that calls.
struct RunThreads {
  int most = kMaxThreads;  ///< that take part, the caller among them
  HostParallelFor host = nullptr;
};

/// The totals of the plan's steps as they are now.
PlanTotals total_up(const Plan& plan);

/// Runs `plan` on the calling thread and the shared team. Re-entrant: any number of threads may run
/// the same plan. Inputs and outputs are in the plan's order; an output may be the memory of an
/// input when the compiler planned it so. Leaves the caller's floating-point environment as it was.
/// Throws what an external step threw, and IndexError when a kernel met an element index out of
/// range (outputs are then undefined).
void run(const Plan& plan, std::span<const void* const> inputs, std::span<void* const> outputs,
         StepObserver* observer = nullptr, RunThreads threads = {});

}  // namespace coregrad
