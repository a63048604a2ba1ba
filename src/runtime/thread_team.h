#pragma once
// One small team of threads whose caller never waits for a thread that has not started.
//
// A job is a sequence of phases (a plan's steps). Each phase's units are cut into chunks; whoever
// is free claims the next chunk with one atomic operation. The caller claims chunks too and can
// finish alone; a worker that wakes late finds nothing left. Workers spin for some microseconds,
// then park.

#include <algorithm>
#include <cstdint>

namespace coregrad {

inline constexpr int kMaxThreads = 1024;

/// Calls `body` with parts of [begin, end), of at least `grain` elements, on several threads, the
/// first part on the calling one, and returns when all are done. PyTorch's `torch_parallel_for`.
using HostParallelFor = int32_t (*)(int64_t begin, int64_t end, int64_t grain,
                                    void (*body)(int64_t begin, int64_t end, void* context),
                                    void* context);

/// Calls `work(begin, end)` with the chunks of [0, range) in order.
template <class Work>
void for_each_chunk(int64_t range, int64_t chunk, Work work) {
  for (int64_t begin = 0; begin < range;) {
    const int64_t end = begin + std::min(chunk, range - begin);
    work(begin, end);
    begin = end;
  }
}

/// `body(context, phase, begin, end, worker)`: units [begin, end) of a phase, one chunk of it at
/// any number of threads. worker 0 is the caller.
struct TeamJob {
  struct Phase {
    int64_t range;  ///< units
    int64_t chunk;  ///< units per claim
    bool serial;    ///< run by the caller alone
    /// Calls code that may want the host's threads for itself.
    bool outside = false;
    double cost_ns = 0;  ///< on one thread, estimated
  };
  const Phase* phases;
  int64_t num_phases;
  void (*body)(void* context, int64_t phase, int64_t begin, int64_t end, int worker);
  void* context;
  /// Of the shared phases on one thread, estimated.
  double cost_ns = 1e9;
  /// No more threads than these take part, the caller among them.
  int max_threads = kMaxThreads;
  /// The caller has room for workers 0 .. max_workers - 1.
  int max_workers = kMaxThreads;
  /// Where the work came from a program with threads of its own, its parallel loop.
  HostParallelFor host = nullptr;

  /// False: the work is too short to pay for waking anyone (a system call of 2 to 3 us and the time
  /// until it runs); only threads that still spin help.
  bool wakes() const { return cost_ns >= 20000; }

  /// Runs a phase on the calling thread.
  void run_alone(int64_t phase) const {
    for_each_chunk(phases[phase].range, phases[phase].chunk,
                   [&](int64_t begin, int64_t end) { body(context, phase, begin, end, 0); });
  }
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
