#include "runtime/host_threads.h"

#include "runtime/fp_environment.h"
#include "runtime/lane.h"

#include <array>
#include <mutex>

namespace coregrad {
namespace {

using Clock = std::chrono::steady_clock;
using std::chrono::microseconds;
using std::chrono::nanoseconds;

// After this long without a region the host's threads may sleep. A job that is shorter than the
// second figure would wait longer for their start than they save.
constexpr auto kHostSpin = microseconds(5000);
constexpr double kWorthAColdStartNs = 150000;
// A region that ends this long after its last chunk waited for a thread that lost its CPU. Our own
// team then takes the jobs for as long as the delay was, and for twice as long each time that the
// host's threads are late again soon: a busy neighbour costs a thirtieth at most.
constexpr auto kLate = microseconds(200);
constexpr auto kSoon = microseconds(100000);
constexpr int kMostShy = 32;

struct HostState {
  std::atomic<bool> is_forked{false};
  std::atomic<int> running{0};             ///< jobs in a region or between two
  std::atomic<int64_t> last_end_ns{0};     ///< of a region, on the steady clock
  std::atomic<int64_t> avoid_until_ns{0};  ///< a region ended late
  std::atomic<int> shyness{1};             ///< how many delays long to avoid
  std::mutex mutex;
  std::array<std::atomic<LaneSet*>, kMaxThreads + 1> lanes{};  ///< by number of threads; kept

  void avoid(int64_t now, int64_t delay) {
    const int64_t tried_again = now - avoid_until_ns.load(std::memory_order_relaxed);
    const bool again = tried_again < nanoseconds(kSoon).count();
    const int times = again ? std::min(2 * shyness.load(std::memory_order_relaxed), kMostShy) : 1;
    shyness.store(times, std::memory_order_relaxed);
    avoid_until_ns.store(now + times * delay, std::memory_order_relaxed);
  }

  LaneSet& lanes_for(int threads) {
    std::atomic<LaneSet*>& place = lanes[static_cast<size_t>(threads)];
    LaneSet* found = place.load(std::memory_order_acquire);
    if (found != nullptr) return *found;
    const std::lock_guard lock(mutex);
    found = place.load();
    if (found == nullptr) {
      found = new LaneSet(threads);
      place.store(found, std::memory_order_release);
    }
    return *found;
  }
};

/// Never destroyed: threads may still run when the process exits.
HostState& state() {
  static HostState* const made = new HostState;
  return *made;
}

int64_t now_ns() {
  return std::chrono::duration_cast<nanoseconds>(Clock::now().time_since_epoch()).count();
}

bool is_shared(const TeamJob::Phase& p) { return !p.serial && p.range > p.chunk; }

/// Phases [first, last) of a job, in one parallel region.
struct Region {
  const TeamJob& job;
  Lane& lane;
  int64_t first, last;
  int64_t finished_ns = 0;
  bool is_done = false;

  void lead() {
    for (int64_t phase = first; phase < last; ++phase) {
      const TeamJob::Phase& p = job.phases[phase];
      if (p.range <= 0) continue;
      if (!is_shared(p)) {
        job.body(job.context, phase, 0, p.range, 0);
        continue;
      }
      const int64_t num_chunks = (p.range - 1) / p.chunk + 1;
      lane.open(job, phase, num_chunks);
      const int64_t own = lane.drain(0, [](int64_t) {});
      if (own < num_chunks) lane.wait_for_others(num_chunks - own);
    }
    lane.closed.store(true, std::memory_order_release);
    finished_ns = now_ns();
    is_done = true;
  }

  void help(int worker) {
    const KernelFpScope fp;
    while (!lane.closed.load(std::memory_order_acquire)) {
      if (lane.is_open_to(worker, std::memory_order_acquire)) {
        const int64_t finished = lane.drain(worker, [](int64_t) {});
        if (finished > 0) lane.report(finished);
      } else {
        cpu_pause();
      }
    }
  }

  /// Part 0 leads, also where the host gives one thread several parts.
  static void body(int64_t begin, int64_t, void* context) {
    auto& region = *static_cast<Region*>(context);
    if (begin == 0) {
      region.lead();
    } else {
      region.help(static_cast<int>(begin));
    }
  }
};

/// The end of the longest run of phases from `first` that ends with a shared one and holds none
/// that must run outside.
int64_t region_end(const TeamJob& job, int64_t first) {
  int64_t end = first;
  for (int64_t phase = first; phase < job.num_phases && !job.phases[phase].outside; ++phase)
    if (is_shared(job.phases[phase])) end = phase + 1;
  return end;
}

}  // namespace

bool run_on_host_threads(const TeamJob& job) {
  HostState& host = state();
  const int threads = std::min({job.max_threads, job.max_workers, kMaxThreads});
  if (threads < 2 || host.is_forked.load(std::memory_order_relaxed)) return false;
  for (int64_t phase = 0; phase < job.num_phases; ++phase)
    if ((job.phases[phase].range - 1) / job.phases[phase].chunk + 1 > kMostChunks) return false;
  const int64_t now = now_ns();
  if (now < host.avoid_until_ns.load(std::memory_order_relaxed)) return false;
  const bool is_warm =
      now - host.last_end_ns.load(std::memory_order_relaxed) < nanoseconds(kHostSpin).count();
  if (!is_warm && job.cost_ns < kWorthAColdStartNs) return false;
  // Each calling thread has host threads of its own: together they would be more than CPUs.
  Lane* lane = host.running.fetch_add(1) == 0 ? host.lanes_for(threads).take() : nullptr;
  if (lane == nullptr) {
    host.running.fetch_sub(1);
    return false;
  }
  for (int64_t phase = 0; phase < job.num_phases;) {
    const TeamJob::Phase& p = job.phases[phase];
    if (!is_shared(p)) {
      if (p.range > 0) job.body(job.context, phase, 0, p.range, 0);
      ++phase;
      continue;
    }
    Region region{job, *lane, phase, region_end(job, phase)};
    lane->closed.store(false, std::memory_order_relaxed);
    job.host(0, threads, 1, Region::body, &region);
    if (!region.is_done) region.lead();  // the host refused
    const int64_t end = now_ns();
    host.last_end_ns.store(end, std::memory_order_relaxed);
    const int64_t late = end - region.finished_ns;
    if (late > nanoseconds(kLate).count()) host.avoid(end, late);
    phase = region.last;
  }
  host.lanes_for(threads).give_back(*lane);
  host.running.fetch_sub(1);
  return true;
}

void forget_host_threads() { state().is_forked.store(true); }

}  // namespace coregrad
