#pragma once
// One small team of threads whose caller never waits for a thread that has not started.
//
// A job is a sequence of phases (a plan's steps). Each phase's units are cut into chunks; whoever
// is free claims the next chunk with one atomic add. The caller claims chunks too and can finish
// alone; a worker that wakes late finds nothing left. Workers spin for some microseconds, then
// park.

#include <cstdint>

namespace coregrad {

inline constexpr int kMaxThreads = 1024;

/// `body(context, phase, begin, end, worker)`: units [begin, end) of a phase. worker 0 is the
/// caller.
struct TeamJob {
  struct Phase {
    int64_t range;  ///< units
    int64_t chunk;  ///< units per claim
    bool serial;    ///< run by the caller alone, in one call
  };
  const Phase* phases;
  int64_t num_phases;
  void (*body)(void* context, int64_t phase, int64_t begin, int64_t end, int worker);
  void* context;
  /// False: the work is too short to pay for waking anyone; only threads that still spin help.
  bool wake = true;
  /// No more threads than these take part, the caller among them.
  int max_threads = kMaxThreads;
  /// The caller has room for workers 0 .. max_workers - 1.
  int max_workers = kMaxThreads;
};

class ThreadTeam {
 public:
  /// The process's team, started on first use and rebuilt in a forked child.
  static ThreadTeam& global();

  /// Runs all phases in order; phase k+1 starts when every chunk of phase k is done. Jobs of other
  /// threads may be in progress: then this one may run on the caller alone. Body must not throw.
  void run(const TeamJob& job);

  /// Threads including the caller. COREGRAD_NUM_THREADS, else the CPUs this process may use.
  int num_threads() const;
  /// Takes effect for the next job; 1 .. 1024.
  void set_num_threads(int n);
  /// Upper bound of `worker` + 1 over all jobs, for per-worker scratch.
  int max_workers() const;

 private:
  ThreadTeam();
  ~ThreadTeam();
  struct Impl;
  Impl* impl_;
};

}  // namespace coregrad
