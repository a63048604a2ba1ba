// Data structures, outermost first:
//   Impl   the process's team: the wanted size and the crews that exist.
//   Crew   a fixed number of workers and the lanes they serve (job_lane.h). Changing the team's
//   size
//          switches crews, so a worker's number is below the size of the crew a job runs on,
//          always.
// Start reading at ThreadTeam::run and help().

#include "runtime/thread_team.h"

#include "base/error.h"
#include "base/flags.h"
#include "runtime/cpu_count.h"
#include "runtime/cpu_placement.h"
#include "runtime/fp_environment.h"
#include "runtime/futex.h"
#include "runtime/host_threads.h"
#include "runtime/job_lane.h"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <memory>
#include <mutex>
#include <pthread.h>
#include <signal.h>
#include <system_error>
#include <thread>
#include <vector>

namespace coregrad {
namespace {

using Clock = std::chrono::steady_clock;
using std::chrono::microseconds;

// A worker that found nothing spins this long, then parks. The next pause is guessed to be like the
// last one: long spins only where they would have met work.
constexpr auto kLongSpin = microseconds(2000);
constexpr auto kShortSpin = microseconds(200);
// A gap between two looks at the clock that only a descheduled thread sees: others need this core.
constexpr auto kDescheduled = microseconds(60);

enum WorkerState : uint32_t { kAwake, kParked };

struct Worker {
  alignas(kApart) std::atomic<uint32_t> state{kAwake};
  CpuPlacement placement;
};

struct Crew : LaneSet {
  explicit Crew(int n) : LaneSet(n), workers(std::make_unique<Worker[]>(static_cast<size_t>(n))) {
    cpu_of = std::make_unique<std::atomic<int16_t>[]>(static_cast<size_t>(n));
    for (int i = 0; i < n; ++i) cpu_of[i].store(-1);
  }

  std::unique_ptr<Worker[]> workers;  ///< [0] is unused
  /// Where each worker was last seen to run. Close together: every job reads them all.
  std::unique_ptr<std::atomic<int16_t>[]> cpu_of;
  std::atomic<int> alive{0};
  std::atomic<bool> retired{false};
  bool lost = false;  ///< its threads and callers stayed behind in a parent process
  alignas(kApart) std::atomic<int> parked{0};

  /// Several callers occupy CPUs of their own, so as many workers stand back.
  bool may_help(int worker) const {
    return worker + lanes_taken.load(std::memory_order_relaxed) <= size;
  }

  bool has_work(int worker, std::memory_order order) const {
    if (!may_help(worker)) return false;
    for (const JobLane& lane : lanes)
      if (lane.is_open_to(worker, order)) return true;
    return false;
  }

  /// Ends the parking of `worker`; false if somebody else did.
  bool unpark(int worker) {
    uint32_t expected = kParked;
    if (!workers[worker].state.compare_exchange_strong(expected, kAwake)) return false;
    parked.fetch_sub(1);
    return true;
  }

  /// Wakes up to `count` parked workers for a lane. Those that find work wake others in turn, so
  /// that the caller pays for one system call and not for one a worker.
  void wake_some(const JobLane& lane, int count) {
    const int end = std::min(size, lane.threads.load(std::memory_order_relaxed));
    for (int i = 1; i < end && count > 0 && parked.load() > 0; ++i) {
      if (!may_help(i)) return;
      if (workers[i].state.load(std::memory_order_relaxed) != kParked || !unpark(i)) continue;
      futex_wake_one(workers[i].state);
      --count;
    }
  }

  void wake_all() {
    for (int i = 1; i < size; ++i)
      if (unpark(i)) futex_wake_one(workers[i].state);
  }

  void leave_cpu_of_caller(const JobLane& lane, int worker) {
    const int cpu = current_cpu();
    if (cpu_of[worker].load(std::memory_order_relaxed) != cpu)
      cpu_of[worker].store(static_cast<int16_t>(cpu), std::memory_order_relaxed);
    if (cpu == lane.caller_cpu) workers[worker].placement.avoid(cpu);
  }

  /// Works on the lane's phase until its last chunk is claimed; false if there was nothing to
  /// claim.
  bool help(JobLane& lane, int worker) {
    if (!lane.is_open_to(worker, std::memory_order_acquire)) return false;
    const int64_t finished = lane.drain(worker, [&](int64_t before) {
      if (before > 0) return;
      leave_cpu_of_caller(lane, worker);
      if (lane.wake && parked.load(std::memory_order_relaxed) > 0 &&
          lane.open_spans.load(std::memory_order_relaxed) > 0)
        wake_some(lane, 2);
    });
    if (finished == 0) return false;
    lane.report(finished);
    return true;
  }

  /// Spins, then sleeps until there may be work. Returns how long to spin the next time.
  Clock::duration idle(int worker, Clock::duration spin) {
    const Clock::time_point start = Clock::now();
    Clock::time_point last = start;
    for (;;) {
      for (int i = 0; i < kPausesPerLook; ++i) {
        if (has_work(worker, std::memory_order_relaxed)) return next_spin(Clock::now() - start);
        cpu_pause();
      }
      const Clock::time_point now = Clock::now();
      if (now - start > spin || now - last > kDescheduled) break;
      last = now;
    }
    Worker& self = workers[worker];
    parked.fetch_add(1);
    self.state.store(kParked);
    // Pairs with open(): either it sees this worker parked, or this look sees the work.
    if (has_work(worker, std::memory_order_seq_cst) || retired.load()) {
      unpark(worker);
    } else {
      while (self.state.load() == kParked) futex_wait(self.state, kParked);
    }
    return next_spin(Clock::now() - start);
  }

  static Clock::duration next_spin(Clock::duration pause) {
    return pause < kLongSpin ? kLongSpin : kShortSpin;
  }

  void work(int worker) {
    write_fp_word(kKernelFpWord);
    workers[worker].placement.attach();
    Clock::duration spin = kShortSpin;
    while (!retired.load(std::memory_order_relaxed)) {
      bool helped = false;
      for (JobLane& lane : lanes)
        if (may_help(worker)) helped |= help(lane, worker);
      if (!helped) spin = idle(worker, spin);
    }
    workers[worker].placement.detach();
    alive.fetch_sub(1);  // the last access: the crew may be given new threads from here on
  }

  void start_threads() {
    retired.store(false);
    parked.store(0);
    // Signals belong to the program's own threads.
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    for (int i = 1; i < size; ++i) {
      workers[i].state.store(kAwake);
      alive.fetch_add(1);
      try {
        std::thread thread([this, i] { work(i); });
#if defined(__linux__)
        pthread_setname_np(thread.native_handle(), "coregrad");
#endif
        thread.detach();
      } catch (const std::system_error&) {  // a thread limit: fewer workers do all the work
        alive.fetch_sub(1);
        break;
      }
    }
    pthread_sigmask(SIG_SETMASK, &before, nullptr);
  }

  JobLane* take_lane() {
    JobLane* lane = take();
    if (lane == nullptr) return nullptr;
    lane->caller_cpu = current_cpu();
    // Those that sleep, or wait to run, where this caller runs.
    for (int i = 1; i < size; ++i)
      if (cpu_of[i].load(std::memory_order_relaxed) == lane->caller_cpu)
        workers[i].placement.avoid(lane->caller_cpu);
    return lane;
  }

  /// Runs one phase on the caller and whoever is free.
  void run_phase(JobLane& lane, const TeamJob& job, int64_t phase, int64_t num_chunks) {
    lane.open(job, phase, num_chunks);
    if (lane.wake && parked.load() > 0) wake_some(lane, 1);
    const int64_t own = lane.drain(0, [](int64_t) {});
    if (own < num_chunks) lane.wait_for_others(num_chunks - own);
  }
};

}  // namespace

struct ThreadTeam::Impl {
  std::atomic<Crew*> current{nullptr};  ///< null: made by the next job that wants workers
  std::atomic<int> wanted{1};
  std::atomic<int> most_wanted{1};
  std::mutex mutex;
  std::vector<std::unique_ptr<Crew>> crews;  ///< never freed: a late caller may hold any of them

  /// The crew of the wanted size; null for one thread.
  Crew* crew() {
    Crew* found = current.load(std::memory_order_acquire);
    if (found != nullptr || wanted.load(std::memory_order_relaxed) == 1) return found;
    const std::lock_guard lock(mutex);
    found = current.load();
    const int size = wanted.load();
    if (found != nullptr || size == 1) return found;
    for (const auto& old : crews)
      if (old->size == size && !old->lost && old->alive.load() == 0) found = old.get();
    if (found == nullptr) found = crews.emplace_back(std::make_unique<Crew>(size)).get();
    found->start_threads();
    current.store(found, std::memory_order_release);
    return found;
  }

  void resize(int n) {
    const std::lock_guard lock(mutex);
    if (n == wanted.load()) return;
    if (n > most_wanted.load()) most_wanted.store(n);
    wanted.store(n);
    Crew* old = current.exchange(nullptr);
    if (old == nullptr) return;
    old->retired.store(true);
    old->wake_all();
  }
};

ThreadTeam::ThreadTeam() : impl_(new Impl) {
  const int n = flags().num_threads;
  const int threads = std::clamp(n > 0 ? n : usable_cpus(), 1, kMaxThreads);
  impl_->wanted = threads;
  impl_->most_wanted = threads;
}

ThreadTeam::~ThreadTeam() { delete impl_; }

ThreadTeam& ThreadTeam::global() {
  // Never destroyed: workers are detached and parked when the process exits, nobody joins them.
  static ThreadTeam* const team = [] {
    static ThreadTeam* made = new ThreadTeam;
    // A forked child has no workers, and lanes may be as a thread left them that it does not have:
    // it never uses its parent's crews and makes a new one when a job wants it.
    pthread_atfork([] { made->impl_->mutex.lock(); }, [] { made->impl_->mutex.unlock(); },
                   [] {
                     forget_host_threads();
                     made->impl_->current.store(nullptr);
                     for (const auto& crew : made->impl_->crews) crew->lost = true;
                     made->impl_->mutex.unlock();
                   });
    return made;
  }();
  return *team;
}

void ThreadTeam::run(const TeamJob& job) {
  if (job.host != nullptr && run_on_host_threads(job)) return;
  Crew* crew = nullptr;
  JobLane* lane = nullptr;
  for (int64_t phase = 0; phase < job.num_phases; ++phase) {
    const TeamJob::Phase& p = job.phases[phase];
    if (p.serial || p.range <= p.chunk) {
      job.run_alone(phase);
      continue;
    }
    const int64_t num_chunks = (p.range - 1) / p.chunk + 1;
    if (lane == nullptr && job.max_threads > 1) {
      crew = job.wakes() ? impl_->crew() : impl_->current.load(std::memory_order_acquire);
      // Without a lane (other callers took them) each later phase asks again.
      const bool useful = crew != nullptr && crew->size <= job.max_workers &&
                          (job.wakes() || crew->parked.load(std::memory_order_relaxed) <
                                              crew->alive.load(std::memory_order_relaxed));
      lane = useful ? crew->take_lane() : nullptr;
    }
    if (lane != nullptr && num_chunks <= kMostChunks) {
      crew->run_phase(*lane, job, phase, num_chunks);
    } else {
      job.run_alone(phase);
    }
  }
  if (lane != nullptr) crew->give_back(*lane);
}

int ThreadTeam::num_threads() const { return impl_->wanted.load(); }

void ThreadTeam::set_num_threads(int n) {
  if (n < 1 || n > kMaxThreads)
    raise<ValueError>("set_num_threads: the number of threads must be in 1 .. {}, got {}",
                      kMaxThreads, n);
  impl_->resize(n);
}

int ThreadTeam::max_workers() const { return impl_->most_wanted.load(); }

}  // namespace coregrad
