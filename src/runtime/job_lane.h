#pragma once
// One job in progress, as its threads share it.
//
//   JobLane the fields of the job's phase, and a span of the phase's chunks for each thread. A
//           claim proves that the phase cannot end before the claimer reports, so only claimers
//           read the lane's other fields.
//   Span    the unclaimed chunks of one thread's part. Its owner takes the first, others the last,
//           so that a thread meets the same part of the data in one phase after another, in its
//           own cache, and still nothing waits for a thread that is not there.

#include "runtime/futex.h"
#include "runtime/thread_team.h"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <memory>

namespace coregrad {

// Two lines: the adjacent-line prefetcher makes neighbours share as well.
inline constexpr size_t kApart = 128;
inline constexpr int kNumLanes = 4;
inline constexpr int kPausesPerLook = 16;
inline constexpr int64_t kMostChunks = 0xffffffff;  ///< a span's bounds are half a word each
// The caller spins this long for the last chunks, then sleeps: their owner lost its core.
inline constexpr auto kCallerSpin = std::chrono::microseconds(100);

/// Chunks [first, last) that nobody has claimed, as one word.
struct Span {
  alignas(kApart) std::atomic<uint64_t> bounds{0};

  void open(uint64_t first, uint64_t last) { bounds.store(first << 32 | last); }
};

struct JobLane {
  /// Spans with unclaimed chunks; what idle workers watch.
  alignas(kApart) std::atomic<int64_t> open_spans{0};
  /// The job is over: threads that were lent to it may go.
  std::atomic<bool> closed{false};
  /// Chunks of this phase that workers have finished.
  alignas(kApart) std::atomic<int64_t> done{0};
  std::atomic<uint32_t> caller_sleeps{0};
  // The phase: written by the lane's owner while nothing is claimable.
  alignas(kApart) decltype(TeamJob::body) body = nullptr;
  void* context = nullptr;
  int64_t phase = 0, range = 0, chunk = 1;
  int caller_cpu = -1;
  bool wake = false;
  /// Workers from this number on stand back. Read without order: a worker may still see the number
  /// of the job before.
  std::atomic<int> threads{kMaxThreads};
  alignas(kApart) std::atomic<bool> taken{false};
  int size = 0;
  std::unique_ptr<Span[]> spans;  ///< `size`, one a thread

  void make(int num_threads) {
    size = num_threads;
    spans = std::make_unique<Span[]>(static_cast<size_t>(num_threads));
  }

  bool is_open_to(int worker, std::memory_order order) const {
    return open_spans.load(order) > 0 && worker < threads.load(std::memory_order_relaxed);
  }

  /// Of a thread that waits inside the job: there is work, or nothing more to wait for.
  bool is_worth_a_look(int worker) const {
    return is_open_to(worker, std::memory_order_relaxed) || closed.load(std::memory_order_relaxed);
  }

  /// Makes a phase's chunks claimable.
  void open(const TeamJob& job, int64_t index, int64_t num_chunks) {
    body = job.body;
    context = job.context;
    phase = index;
    range = job.phases[index].range;
    chunk = job.phases[index].chunk;
    wake = job.wakes();
    threads.store(job.max_threads, std::memory_order_relaxed);
    done.store(0, std::memory_order_relaxed);
    const int64_t parts = std::min<int64_t>({size, job.max_threads, num_chunks});
    open_spans.store(parts);
    for (int64_t i = 0; i < parts; ++i)
      spans[i].open(static_cast<uint64_t>(num_chunks * i / parts),
                    static_cast<uint64_t>(num_chunks * (i + 1) / parts));
  }

  /// Claims and runs chunks until none is left, a thread's own span first, then its neighbours'.
  /// Calls `claimed` between a claim and its chunk. Returns the number of chunks.
  template <class Claimed>
  int64_t drain(int worker, Claimed claimed) {
    int64_t finished = 0;
    for (int i = 0; i < size; ++i) {
      if (worker >= threads.load(std::memory_order_relaxed)) break;
      Span& span = spans[(worker + i) % size];
      for (;;) {
        const int64_t index = claim(span, i == 0);
        if (index < 0) break;
        claimed(finished);
        run_chunk(index, worker);
        ++finished;
      }
    }
    return finished;
  }

  /// Tells the caller of chunks that another thread has finished.
  void report(int64_t chunks) {
    done.fetch_add(chunks);
    if (caller_sleeps.load() == 0) return;
    caller_sleeps.store(0);
    futex_wake_one(caller_sleeps);
  }

  void wait_for_others(int64_t chunks);

 private:
  /// Claims the span's first or last chunk; -1 if all are claimed.
  int64_t claim(Span& span, bool from_front) {
    uint64_t bounds = span.bounds.load(std::memory_order_relaxed);
    for (;;) {
      const uint64_t first = bounds >> 32, last = bounds & 0xffffffff;
      if (first >= last) return -1;
      const uint64_t rest = from_front ? (first + 1) << 32 | last : first << 32 | (last - 1);
      if (!span.bounds.compare_exchange_weak(bounds, rest, std::memory_order_acquire,
                                             std::memory_order_relaxed))
        continue;
      if (first + 1 == last) open_spans.fetch_sub(1, std::memory_order_relaxed);
      return static_cast<int64_t>(from_front ? first : last - 1);
    }
  }

  void run_chunk(int64_t index, int worker) const {
    const int64_t begin = index * chunk;
    body(context, phase, begin, begin + std::min(chunk, range - begin), worker);
  }
};

inline void JobLane::wait_for_others(int64_t chunks) {
  using Clock = std::chrono::steady_clock;
  const auto finished = [&] { return done.load(std::memory_order_acquire) == chunks; };
  const Clock::time_point start = Clock::now();
  do {
    for (int i = 0; i < 4 * kPausesPerLook; ++i) {
      if (finished()) return;
      cpu_pause();
    }
  } while (Clock::now() - start < kCallerSpin);
  for (;;) {
    caller_sleeps.store(1);
    if (done.load() == chunks) break;
    futex_wait(caller_sleeps, 1);
    if (finished()) break;
  }
  caller_sleeps.store(0, std::memory_order_relaxed);
}

/// The lanes that threads of one number share: as many jobs as callers, up to kNumLanes.
struct LaneSet {
  explicit LaneSet(int n) : size(n) {
    for (JobLane& lane : lanes) lane.make(n);
  }

  /// A lane, or null if other callers have them all.
  JobLane* take() {
    for (JobLane& lane : lanes) {
      if (lane.taken.load(std::memory_order_relaxed) || lane.taken.exchange(true)) continue;
      lanes_taken.fetch_add(1);
      return &lane;
    }
    return nullptr;
  }

  void give_back(JobLane& lane) {
    lanes_taken.fetch_sub(1);
    lane.taken.store(false, std::memory_order_release);
  }

  const int size;  ///< threads including the caller
  alignas(kApart) std::atomic<int> lanes_taken{0};
  JobLane lanes[kNumLanes];
};

}  // namespace coregrad
