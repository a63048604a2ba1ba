#pragma once
// Counters that are always on, and what may be switched on: a line a step (COREGRAD_DEBUG=2), a
// trace for Chrome or Perfetto (COREGRAD_TRACE=file), times per step for reports.

#include "runtime/plan.h"

#include <atomic>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

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

/// Times of one kind of step: same name, same estimated work.
struct StepTime {
  std::string name;
  StepKind kind = StepKind::Loop;
  int64_t calls = 0;
  double median_ns = 0, min_ns = 0, total_ns = 0;  ///< median of the last calls
  double flops = 0, bytes = 0;                     ///< of one call
};

/// While one lives, every step that any thread runs is timed.
class StepTimes {
 public:
  StepTimes();
  ~StepTimes();
  StepTimes(const StepTimes&) = delete;
  StepTimes& operator=(const StepTimes&) = delete;
  /// What was seen since the first living StepTimes was made, the most expensive first.
  std::vector<StepTime> rows() const;
};

/// Starts a trace to `path`, which is overwritten; "" ends the current one. IoError if the file
/// cannot be opened.
void set_trace_file(const std::string& path);
/// Writes what is pending. The file is complete JSON after each flush and at the end of the
/// process.
void flush_trace();

/// Shows its lifetime on this thread's track of the trace, if there is one.
class TraceScope {
 public:
  /// `name` must outlive the scope.
  explicit TraceScope(std::string_view name, std::string_view category = "compile");
  ~TraceScope();
  TraceScope(const TraceScope&) = delete;
  TraceScope& operator=(const TraceScope&) = delete;

 private:
  std::string_view name_, category_;
  int64_t begin_ns_;  ///< -1: no trace
};

// ---- For the executor ----

/// Takes over changed flags (for tests; they are read by themselves at the first run).
void refresh_profiling();

/// 0: off; negative: flags not read yet; else steps are run one by one and timed.
inline std::atomic<int> profiling_state{-1};
inline bool profiling_is_off() { return profiling_state.load(std::memory_order_relaxed) == 0; }
/// Slow form of the question: reads the flags when that has not been done.
bool is_profiling();

/// When a thread was busy with a step.
struct ThreadSpan {
  int track = -1;  ///< of the thread; -1: it took no part
  int64_t begin_ns = 0, end_ns = 0;
  int64_t units = 0;
};
int64_t profile_clock_ns();
/// The calling thread's track.
int current_track();
void profile_step(const Plan& plan, size_t step, int64_t begin_ns, int64_t end_ns,
                  std::span<const ThreadSpan> threads);

}  // namespace coregrad
