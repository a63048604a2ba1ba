#include "runtime/host_threads.h"

#include "runtime/fp_environment.h"
#include "runtime/job_lane.h"

#include <array>
#include <cassert>
#include <memory>
#include <thread>
#include <utility>

namespace coregrad {
namespace {

using Clock = std::chrono::steady_clock;
using std::chrono::microseconds;
using std::chrono::nanoseconds;

// After this long without a region the host's threads may sleep. A job that is shorter than the
// second figure would wait longer for their start than they save.
constexpr auto kHostSpin = microseconds(5000);
constexpr double kWorthAColdStartNs = 150000;
// A region that starts this long after it was asked for, or ends this long after its last chunk,
// waited for a thread that lost its CPU. Our own team then takes the jobs for as long as the delay
// was, and for twice as long each time that the host's threads are late again soon: a busy
// neighbour costs a thirtieth at most.
constexpr auto kLate = microseconds(200);
constexpr auto kSoon = microseconds(100000);
constexpr auto kLongestAvoidance = microseconds(1000000);
constexpr int kMostShy = 32;
// The host's threads are not kept through a serial phase that takes longer than this.
constexpr double kLongSerialNs = 1e6;
// A helper that has found nothing for this long lets others have its CPU.
constexpr auto kHelperSpin = microseconds(200);

struct HostState {
  std::atomic<bool> is_forked{false};
  std::atomic<bool> is_taken{false};       ///< a job is in a region or between two
  std::atomic<int64_t> avoid_until_ns{0};  ///< a region was late
  std::atomic<int> shyness{1};             ///< how many delays long to avoid
  std::array<std::unique_ptr<JobLane>, kMaxThreads + 1> lanes;  ///< by number of threads

  void avoid(int64_t now, int64_t delay) {
    const int64_t tried_again = now - avoid_until_ns.load(std::memory_order_relaxed);
    const bool again = tried_again < nanoseconds(kSoon).count();
    const int times = again ? std::min(2 * shyness.load(std::memory_order_relaxed), kMostShy) : 1;
    shyness.store(times, std::memory_order_relaxed);
    const int64_t span = std::min(times * delay, nanoseconds(kLongestAvoidance).count());
    avoid_until_ns.store(now + span, std::memory_order_relaxed);
  }

  /// For the job that has taken the host.
  JobLane& lane_for(int threads) {
    std::unique_ptr<JobLane>& lane = lanes[threads];
    if (!lane) {
      auto made = std::make_unique<JobLane>();
      made->make(threads);
      lane = std::move(made);
    }
    return *lane;
  }
};

/// Never destroyed: threads may still run when the process exits.
HostState& state() {
  static HostState* const made = new HostState;
  return *made;
}

/// The host for one job at a time: each calling thread has host threads of its own, and together
/// they would be more than CPUs.
class TakenHost {
 public:
  explicit TakenHost(HostState& host) : host_(host), mine_(!host.is_taken.exchange(true)) {}
  ~TakenHost() {
    if (mine_) host_.is_taken.store(false, std::memory_order_release);
  }
  TakenHost(const TakenHost&) = delete;
  TakenHost& operator=(const TakenHost&) = delete;
  bool is_mine() const { return mine_; }

 private:
  HostState& host_;
  bool mine_;
};

int64_t now_ns() {
  return std::chrono::duration_cast<nanoseconds>(Clock::now().time_since_epoch()).count();
}

// When the last region that this thread asked for ended; 0 before the first. Threads of the host
// belong to the thread that calls.
thread_local int64_t last_end_ns = 0;

bool is_shared(const TeamJob::Phase& p) { return !p.serial && p.range > p.chunk; }

/// Phases [first, last) of a job, in one parallel region.
struct Region {
  const TeamJob& job;
  JobLane& lane;
  int64_t first, last;
  int64_t started_ns = 0, finished_ns = 0;
  bool is_done = false;

  void lead() {
    started_ns = now_ns();
    for (int64_t phase = first; phase < last; ++phase) {
      const TeamJob::Phase& p = job.phases[phase];
      if (!is_shared(p)) {
        job.run_alone(phase);
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
    Clock::time_point last_work = Clock::now();
    while (!lane.closed.load(std::memory_order_acquire)) {
      if (lane.is_open_to(worker, std::memory_order_acquire)) {
        const int64_t finished = lane.drain(worker, [](int64_t) {});
        if (finished > 0) lane.report(finished);
        last_work = Clock::now();
        continue;
      }
      for (int i = 0; i < kPausesPerLook && !lane.is_worth_a_look(worker); ++i) cpu_pause();
      if (Clock::now() - last_work > kHelperSpin) std::this_thread::yield();
    }
  }

  /// Part 0 leads, also where the host gives one thread several parts.
  static void body(int64_t begin, int64_t, void* context) noexcept {
    auto& region = *static_cast<Region*>(context);
    if (begin == 0) {
      region.lead();
    } else {
      region.help(static_cast<int>(begin));
    }
  }
};

/// The end of the longest run of phases from `first` that ends with a shared one and holds none
/// that must run outside or would keep the threads waiting.
int64_t region_end(const TeamJob& job, int64_t first) {
  int64_t end = first;
  for (int64_t phase = first; phase < job.num_phases; ++phase) {
    const TeamJob::Phase& p = job.phases[phase];
    if (p.outside) break;
    if (is_shared(p)) {
      end = phase + 1;
    } else if (p.cost_ns > kLongSerialNs) {
      break;
    }
  }
  return end;
}

void run_region(HostState& host, const TeamJob& job, Region& region, int threads) {
  region.lane.closed.store(false, std::memory_order_relaxed);
  if (host.is_forked.load(std::memory_order_relaxed)) {  // since the job began
    region.lead();
    return;
  }
  const int64_t asked = now_ns();
  job.host(0, threads, 1, Region::body, &region);
  if (!region.is_done) region.lead();  // the host refused
  const int64_t end = now_ns();
  // A first region starts threads: that is not a delay.
  const int64_t late =
      end - region.finished_ns + (last_end_ns == 0 ? 0 : region.started_ns - asked);
  if (late > nanoseconds(kLate).count()) host.avoid(end, late);
  last_end_ns = end;
}

}  // namespace

bool run_on_host_threads(const TeamJob& job) {
  HostState& host = state();
  const int threads = std::min({job.max_threads, job.max_workers, kMaxThreads});
  if (threads < 2 || host.is_forked.load(std::memory_order_relaxed)) return false;
  for (int64_t phase = 0; phase < job.num_phases; ++phase) {
    const TeamJob::Phase& p = job.phases[phase];
    assert(p.chunk >= 1);
    if (is_shared(p) && (p.range - 1) / p.chunk + 1 > kMostChunks) return false;
  }
  const int64_t now = now_ns();
  if (now < host.avoid_until_ns.load(std::memory_order_relaxed)) return false;
  const bool is_warm = last_end_ns != 0 && now - last_end_ns < nanoseconds(kHostSpin).count();
  if (!is_warm && job.cost_ns < kWorthAColdStartNs) return false;
  const TakenHost taken(host);
  if (!taken.is_mine()) return false;
  JobLane& lane = host.lane_for(threads);
  for (int64_t phase = 0; phase < job.num_phases;) {
    const TeamJob::Phase& p = job.phases[phase];
    if (!is_shared(p)) {
      job.run_alone(phase);
      ++phase;
      continue;
    }
    Region region{job, lane, phase, region_end(job, phase)};
    run_region(host, job, region, threads);
    phase = region.last;
  }
  return true;
}

void forget_host_threads() { state().is_forked.store(true); }

}  // namespace coregrad
