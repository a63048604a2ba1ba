#pragma once
// Keeps a helping thread off the CPU of the thread it helps.
//
// A scheduler may wake a thread on its waker's CPU and leave it there while another CPU is idle
// (seen for seconds on two-core virtual machines). The two then take turns and nothing is gained.

#include <atomic>
#include <memory>

namespace coregrad {

/// The CPU that the calling thread runs on; -1 where the system does not tell.
int current_cpu();

/// Where one thread may run: its own affinity mask, less one CPU at a time.
class CpuPlacement {
 public:
  CpuPlacement();
  ~CpuPlacement();
  /// Called by the thread itself when it starts, and before it ends.
  void attach();
  void detach();
  /// Any thread: moves the attached one away from `cpu`, which it may use again once another CPU is
  /// avoided. Does nothing where that would leave no CPU. A mask that others set is respected.
  void avoid(int cpu);

 private:
  struct State;
  std::unique_ptr<State> state_;
  std::atomic<int> avoided_{-1};
};

}  // namespace coregrad
