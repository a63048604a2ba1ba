#include "runtime/profiler.h"

#include "base/error.h"
#include "base/flags.h"
#include "base/log.h"
#include "runtime/allocator.h"
#include "runtime/trace_file.h"

#include <nlohmann/json.hpp>

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <map>
#include <memory>
#include <mutex>
#include <pthread.h>
#include <tuple>

namespace coregrad {
namespace {

/// The process's T, used until the last thread has ended. Its mutex is free in a forked child.
template <class T>
T& never_destroyed() {
  static T* const object = [] {
    static T* made = new T;
    pthread_atfork([] { made->mutex.lock(); }, [] { made->mutex.unlock(); },
                   [] { made->mutex.unlock(); });
    return made;
  }();
  return *object;
}

/// One thread's counters. Only the owner writes, so plain loads and stores suffice.
struct ThreadCounters {
  std::atomic<int64_t> plans{0}, steps{0}, parallel_steps{0}, chunks{0};
  std::atomic<double> flops{0}, bytes{0};
};

struct CounterState {
  std::mutex mutex;
  std::vector<ThreadCounters*> threads;
  std::vector<ThreadCounters*> spare;  ///< of ended threads, still counted, taken over by new ones
};

CounterState& counter_state() { return never_destroyed<CounterState>(); }

struct CounterOwner {
  ThreadCounters* mine;
  CounterOwner() {
    CounterState& s = counter_state();
    const std::lock_guard lock(s.mutex);
    if (s.spare.empty()) {
      s.threads.push_back(mine = new ThreadCounters);
    } else {
      mine = s.spare.back();
      s.spare.pop_back();
    }
  }
  ~CounterOwner() {
    CounterState& s = counter_state();
    const std::lock_guard lock(s.mutex);
    s.spare.push_back(mine);
  }
};

template <class T>
void bump(std::atomic<T>& counter, T by) {
  counter.store(counter.load(std::memory_order_relaxed) + by, std::memory_order_relaxed);
}

}  // namespace

void count_run(const Counters& share) {
  thread_local CounterOwner owner;
  ThreadCounters& c = *owner.mine;
  bump(c.plans, share.plans);
  bump(c.steps, share.steps);
  bump(c.parallel_steps, share.parallel_steps);
  bump(c.chunks, share.chunks);
  bump(c.flops, share.flops);
  bump(c.bytes, share.bytes);
}

Counters counters() {
  Counters sum;
  {
    CounterState& s = counter_state();
    const std::lock_guard lock(s.mutex);
    for (const ThreadCounters* c : s.threads) {
      sum.plans += c->plans.load(std::memory_order_relaxed);
      sum.steps += c->steps.load(std::memory_order_relaxed);
      sum.parallel_steps += c->parallel_steps.load(std::memory_order_relaxed);
      sum.chunks += c->chunks.load(std::memory_order_relaxed);
      sum.flops += c->flops.load(std::memory_order_relaxed);
      sum.bytes += c->bytes.load(std::memory_order_relaxed);
    }
  }
  const MemoryStats memory = memory_stats();
  sum.allocations = memory.allocations;
  sum.allocation_hits = memory.cache_hits;
  return sum;
}

// ---- What may be switched on ----

namespace {

enum Mode : int { kLines = 1, kTrace = 2, kTimes = 4 };

/// The last calls of one kind of step.
struct Samples {
  static constexpr size_t kKept = 1024;
  StepKind kind = StepKind::Loop;
  int64_t calls = 0;
  double min_ns = 0, total_ns = 0;
  std::vector<double> last;

  void add(double ns) {
    min_ns = calls == 0 ? ns : std::min(min_ns, ns);
    total_ns += ns;
    if (last.size() < kKept) {
      last.push_back(ns);
    } else {
      last[static_cast<size_t>(calls) % kKept] = ns;
    }
    ++calls;
  }

  double median() const {
    std::vector<double> sorted = last;
    const auto middle = sorted.begin() + static_cast<ptrdiff_t>(sorted.size() / 2);
    std::nth_element(sorted.begin(), middle, sorted.end());
    return *middle;
  }
};

struct ProfileState {
  std::mutex mutex;
  std::shared_ptr<TraceFile> trace;
  int collectors = 0;
  std::map<std::tuple<std::string, double, double>, Samples> samples;  ///< by name, flops, bytes
};

ProfileState& profile_state() { return never_destroyed<ProfileState>(); }

/// Lock held.
void update_mode(const ProfileState& s) {
  profiling_state.store((flags().debug >= 2 ? kLines : 0) | (s.trace ? kTrace : 0) |
                        (s.collectors > 0 ? kTimes : 0));
}

/// Lock held. Static objects end after atexit handlers, so the last events are written here.
void open_trace(ProfileState& s, const std::string& path) {
  if (s.trace) s.trace->close();
  s.trace.reset();
  if (path.empty()) return;
  s.trace = std::make_shared<TraceFile>(path);
  static const int once = std::atexit([] { flush_trace(); });
  (void)once;
}

std::shared_ptr<TraceFile> current_trace() {
  ProfileState& s = profile_state();
  const std::lock_guard lock(s.mutex);
  return s.trace;
}

void trace_step(TraceFile& trace, const Step& step, size_t index,
                std::span<const ThreadSpan> threads) {
  for (const ThreadSpan& thread : threads) {
    if (thread.track < 0) continue;
    const nlohmann::json args = {
        {"step", index}, {"units", thread.units}, {"flops", step.flops}, {"bytes", step.bytes}};
    trace.add(step.name.text(), "step", thread.track, thread.begin_ns, thread.end_ns, args.dump());
  }
}

}  // namespace

void refresh_profiling() {
  ProfileState& s = profile_state();
  const std::lock_guard lock(s.mutex);
  try {
    open_trace(s, flags().trace_file);
  } catch (const IoError& error) {  // a wrong path in the environment must not fail the run
    log().warn("{}", error.what());
  }
  update_mode(s);
}

bool is_profiling() {
  if (profiling_state.load(std::memory_order_relaxed) < 0) refresh_profiling();
  return !profiling_is_off();
}

void set_trace_file(const std::string& path) {
  is_profiling();
  ProfileState& s = profile_state();
  const std::lock_guard lock(s.mutex);
  open_trace(s, path);
  update_mode(s);
}

void flush_trace() {
  if (const auto trace = current_trace()) trace->flush();
}

TraceScope::TraceScope(std::string_view name, std::string_view category)
    : name_(name),
      category_(category),
      begin_ns_(is_profiling() && (profiling_state.load() & kTrace) ? profile_clock_ns() : -1) {}

TraceScope::~TraceScope() {
  if (begin_ns_ < 0) return;
  if (const auto trace = current_trace())
    trace->add(name_, category_, current_track(), begin_ns_, profile_clock_ns());
}

StepTimes::StepTimes() {
  is_profiling();
  ProfileState& s = profile_state();
  const std::lock_guard lock(s.mutex);
  if (s.collectors++ == 0) s.samples.clear();
  update_mode(s);
}

StepTimes::~StepTimes() {
  ProfileState& s = profile_state();
  const std::lock_guard lock(s.mutex);
  --s.collectors;
  update_mode(s);
}

std::vector<StepTime> StepTimes::rows() const {
  ProfileState& s = profile_state();
  std::vector<StepTime> rows;
  const std::lock_guard lock(s.mutex);
  for (const auto& [key, samples] : s.samples) {
    const auto& [name, flops, bytes] = key;
    rows.push_back({name, samples.kind, samples.calls, samples.median(), samples.min_ns,
                    samples.total_ns, flops, bytes});
  }
  std::sort(rows.begin(), rows.end(),
            [](const StepTime& a, const StepTime& b) { return a.total_ns > b.total_ns; });
  return rows;
}

int64_t profile_clock_ns() {
  return std::chrono::duration_cast<std::chrono::nanoseconds>(
             std::chrono::steady_clock::now().time_since_epoch())
      .count();
}

void profile_step(const Plan& plan, size_t index, int64_t begin_ns, int64_t end_ns,
                  std::span<const ThreadSpan> threads) {
  const Step& step = plan.steps[index];
  const int mode = profiling_state.load(std::memory_order_relaxed);
  const auto ns = static_cast<double>(std::max<int64_t>(end_ns - begin_ns, 1));
  if (mode & kLines)
    log().debug("step {:>3} {:<48} {:>10.2f} us {:>8.2f} GFLOP/s {:>8.2f} GB/s", index, step.name,
                ns * 1e-3, step.flops / ns, step.bytes / ns);
  if (mode & kTrace)
    if (const auto trace = current_trace()) trace_step(*trace, step, index, threads);
  if (mode & kTimes) {
    ProfileState& s = profile_state();
    const std::lock_guard lock(s.mutex);
    Samples& samples = s.samples[{step.name.text(), step.flops, step.bytes}];
    samples.kind = step.kind;
    samples.add(ns);
  }
}

}  // namespace coregrad
