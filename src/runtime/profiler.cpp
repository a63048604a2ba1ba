#include "runtime/profiler.h"

#include "runtime/allocator.h"

#include <mutex>
#include <vector>

namespace coregrad {
namespace {

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

CounterState& counter_state() {
  static CounterState* state = new CounterState;  // threads may end after static objects did
  return *state;
}

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

}  // namespace coregrad
