#include "runtime/thread_team.h"

#include "base/error.h"
#include "runtime/cpu_count.h"
#include "runtime/cpu_placement.h"

#include <gtest/gtest.h>

#include "team_size.h"
#include "thread_sanitizer.h"
#include <atomic>
#include <chrono>
#include <cstdlib>
#include <numeric>
#include <random>
#include <sched.h>
#include <set>
#include <sys/wait.h>
#include <thread>
#include <unistd.h>
#include <vector>

namespace coregrad {
namespace {

/// Counts how often each unit of each phase ran, and notices when phases or worker numbers overlap.
struct Ledger {
  std::vector<TeamJob::Phase> phases;
  std::vector<std::vector<std::atomic<int>>> ran;
  std::vector<std::atomic<int64_t>> left;
  std::vector<std::atomic<int>> busy;
  std::atomic<int> faults{0};

  explicit Ledger(std::vector<TeamJob::Phase> p)
      : phases(std::move(p)), left(phases.size()), busy(kMaxThreads) {
    for (size_t i = 0; i < phases.size(); ++i) {
      ran.emplace_back(static_cast<size_t>(phases[i].range));
      left[i] = phases[i].range;
    }
  }

  TeamJob job() {
    return {phases.data(), static_cast<int64_t>(phases.size()), &Ledger::body, this};
  }

  static void body(void* context, int64_t phase, int64_t begin, int64_t end, int worker) {
    auto& self = *static_cast<Ledger*>(context);
    if (worker < 0 || worker >= ThreadTeam::global().max_workers()) ++self.faults;
    if (self.busy[static_cast<size_t>(worker)].fetch_add(1) != 0) ++self.faults;
    if (phase > 0 && self.left[static_cast<size_t>(phase) - 1] != 0) ++self.faults;
    const TeamJob::Phase& p = self.phases[static_cast<size_t>(phase)];
    if (begin % p.chunk != 0 || begin >= end || end != std::min(begin + p.chunk, p.range))
      ++self.faults;
    for (int64_t i = begin; i < end; ++i)
      ++self.ran[static_cast<size_t>(phase)][static_cast<size_t>(i)];
    self.left[static_cast<size_t>(phase)] -= end - begin;
    self.busy[static_cast<size_t>(worker)].fetch_sub(1);
  }

  /// Number of units that did not run exactly once, plus what the bodies noticed.
  int wrong() const {
    int count = faults;
    for (const auto& phase : ran)
      for (const auto& unit : phase) count += unit != 1;
    return count;
  }
};

std::vector<TeamJob::Phase> random_phases(std::mt19937& random) {
  std::vector<TeamJob::Phase> phases(random() % 12 + 1);
  for (auto& p : phases) {
    p.range = static_cast<int64_t>(random() % 3 == 0 ? random() % 4 : random() % 400);
    p.chunk = static_cast<int64_t>(random() % 40 + 1);
    p.serial = random() % 4 == 0;
  }
  // An empty phase finishes without a body; the ledger of the next one sees nothing left.
  return phases;
}

TEST(ThreadTeam, RunsEveryUnitOfEveryPhaseOnce) {
  for (int threads : {1, 2, 5}) {
    const TeamSize size(threads);
    std::mt19937 random(1);
    for (int i = 0; i < 300; ++i) {
      Ledger ledger(random_phases(random));
      ThreadTeam::global().run(ledger.job());
      ASSERT_EQ(ledger.wrong(), 0) << "job " << i << " with " << threads << " threads";
    }
  }
}

TEST(ThreadTeam, StartsAPhaseWhenThePreviousOneIsDone) {
  const TeamSize size(4);
  Ledger ledger(std::vector<TeamJob::Phase>(200, {64, 1, false}));
  ThreadTeam::global().run(ledger.job());
  EXPECT_EQ(ledger.wrong(), 0);
}

TEST(ThreadTeam, RunsTheChunksOfASerialPhaseInOrderOnTheCaller) {
  const TeamSize size(4);
  struct Seen {
    std::set<std::thread::id> ids;
    std::vector<int64_t> bounds;
  } seen;
  const TeamJob::Phase phase{10, 4, true};
  ThreadTeam::global().run({&phase, 1,
                            [](void* context, int64_t, int64_t begin, int64_t end, int) {
                              auto& s = *static_cast<Seen*>(context);
                              s.ids.insert(std::this_thread::get_id());
                              s.bounds.insert(s.bounds.end(), {begin, end});
                            },
                            &seen});
  EXPECT_EQ(seen.ids, std::set<std::thread::id>{std::this_thread::get_id()});
  EXPECT_EQ(seen.bounds, (std::vector<int64_t>{0, 4, 4, 8, 8, 10}));
}

TEST(ThreadTeam, SharesAPhaseThatIsLongEnough) {
  const TeamSize size(2);
  std::atomic<int> by_worker{0};
  const TeamJob::Phase phase{200, 1, false};
  ThreadTeam::global().run({&phase, 1,
                            [](void* context, int64_t, int64_t, int64_t, int worker) {
                              if (worker == 1) ++*static_cast<std::atomic<int>*>(context);
                              std::this_thread::sleep_for(std::chrono::milliseconds(1));
                            },
                            &by_worker});
  EXPECT_GT(by_worker, 0);
}

TEST(ThreadTeam, WakesParkedWorkersAgain) {
  const TeamSize size(3);
  for (int i = 0; i < 30; ++i) {
    Ledger ledger({{500, 1, false}, {500, 7, false}});
    ThreadTeam::global().run(ledger.job());
    ASSERT_EQ(ledger.wrong(), 0);
    std::this_thread::sleep_for(std::chrono::milliseconds(i % 3));
  }
}

TEST(ThreadTeam, ServesManyCallersAtOnce) {
  const TeamSize size(3);
  std::atomic<int> wrong{0};
  std::vector<std::thread> callers;
  for (unsigned c = 0; c < 8; ++c)
    callers.emplace_back([&, c] {
      std::mt19937 random(c);
      for (int i = 0; i < 150; ++i) {
        Ledger ledger(random_phases(random));
        ThreadTeam::global().run(ledger.job());
        wrong += ledger.wrong();
      }
    });
  for (auto& t : callers) t.join();
  EXPECT_EQ(wrong, 0);
}

TEST(ThreadTeam, ChangesSizeWhileJobsRun) {
  const TeamSize size(2);
  std::atomic<bool> stop{false};
  std::atomic<int> wrong{0};
  std::vector<std::thread> callers;
  for (unsigned c = 0; c < 3; ++c)
    callers.emplace_back([&, c] {
      std::mt19937 random(c);
      while (!stop) {
        Ledger ledger(random_phases(random));
        ThreadTeam::global().run(ledger.job());
        wrong += ledger.wrong();
      }
    });
  std::mt19937 random(9);
  for (int i = 0; i < 200; ++i) {
    ThreadTeam::global().set_num_threads(static_cast<int>(random() % 6 + 1));
    std::this_thread::sleep_for(std::chrono::microseconds(random() % 500));
  }
  stop = true;
  for (auto& t : callers) t.join();
  EXPECT_EQ(wrong, 0);
}

/// The threads that took part in a job of 400 units, each as a bit, with the limits that `limit`
/// sets.
template <class Limit>
uint64_t workers_of_a_job(Limit limit) {
  std::atomic<uint64_t> seen{0};
  const TeamJob::Phase phase{400, 1, false};
  TeamJob job{&phase, 1,
              [](void* context, int64_t, int64_t, int64_t, int worker) {
                static_cast<std::atomic<uint64_t>*>(context)->fetch_or(uint64_t{1} << worker);
                std::this_thread::sleep_for(std::chrono::microseconds(50));
              },
              &seen};
  limit(job);
  ThreadTeam::global().run(job);
  return seen;
}

TEST(ThreadTeam, NeverPassesAWorkerNumberThatTheCallerHasNoRoomFor) {
  const TeamSize size(4);
  EXPECT_EQ(workers_of_a_job([](TeamJob& job) { job.max_workers = 2; }) & ~uint64_t{3}, 0u);
}

TEST(ThreadTeam, AJobTakesNoMoreThreadsThanItAsksFor) {
  const TeamSize size(4);
  for (int i = 0; i < 5; ++i) {
    EXPECT_EQ(workers_of_a_job([](TeamJob& job) { job.max_threads = 1; }), 1u);
    EXPECT_EQ(workers_of_a_job([](TeamJob& job) { job.max_threads = 2; }) & ~uint64_t{3}, 0u);
  }
  EXPECT_NE(workers_of_a_job([](TeamJob&) {}), 1u);
}

TEST(ThreadTeam, RunsAJobFromInsideAJob) {
  const TeamSize size(3);
  std::atomic<int> wrong{0};
  const TeamJob::Phase phase{40, 1, false};
  ThreadTeam::global().run({&phase, 1,
                            [](void* context, int64_t, int64_t, int64_t, int) {
                              Ledger inner({{100, 3, false}, {50, 1, false}});
                              ThreadTeam::global().run(inner.job());
                              *static_cast<std::atomic<int>*>(context) += inner.wrong();
                            },
                            &wrong});
  EXPECT_EQ(wrong, 0);
}

TEST(ThreadTeam, RejectsAnImpossibleSize) {
  EXPECT_THROW(ThreadTeam::global().set_num_threads(0), ValueError);
  EXPECT_THROW(ThreadTeam::global().set_num_threads(kMaxThreads + 1), ValueError);
}

TEST(ThreadTeam, CountsAtLeastOneUsableCpu) {
  EXPECT_GE(usable_cpus(), 1);
  EXPECT_LE(usable_cpus(), static_cast<int>(std::thread::hardware_concurrency()));
}

TEST(ThreadTeamDeathTest, LetsTheProcessExitWhileWorkersSpin) {
  if (test::kThreadSanitizer) GTEST_SKIP() << test::kNoThreadsAfterFork;
  EXPECT_EXIT(
      {
        ThreadTeam::global().set_num_threads(4);
        Ledger ledger({{500, 1, false}});
        ThreadTeam::global().run(ledger.job());
        std::exit(ledger.wrong());
      },
      testing::ExitedWithCode(0), "");
}

TEST(ThreadTeam, WorksInAForkedChild) {
  if (test::kThreadSanitizer) GTEST_SKIP() << test::kNoThreadsAfterFork;
  const TeamSize size(3);
  Ledger before({{500, 1, false}});
  ThreadTeam::global().run(before.job());
  const pid_t child = fork();
  ASSERT_GE(child, 0);
  if (child == 0) {
    int wrong = 0;
    for (int i = 0; i < 20; ++i) {
      Ledger ledger({{500, 1, false}, {300, 2, false}});
      ThreadTeam::global().run(ledger.job());
      wrong += ledger.wrong();
    }
    _exit(wrong == 0 && ThreadTeam::global().num_threads() == 3 ? 0 : 1);
  }
  int status = 0;
  ASSERT_EQ(waitpid(child, &status, 0), child);
  EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0);
  Ledger after({{500, 1, false}});
  ThreadTeam::global().run(after.job());
  EXPECT_EQ(after.wrong(), 0);
}

#if defined(__linux__)
TEST(CpuPlacement, KeepsAThreadOffOneCpuAndGivesTheFormerOneBack) {
  cpu_set_t before;
  ASSERT_EQ(sched_getaffinity(0, sizeof(before), &before), 0);
  if (CPU_COUNT(&before) < 2) GTEST_SKIP() << "a thread on a machine with one CPU has no choice";
  std::thread([&] {
    CpuPlacement placement;
    placement.attach();
    for (int turn = 0; turn < 4; ++turn) {
      const int here = current_cpu();
      placement.avoid(here);
      EXPECT_NE(current_cpu(), here);
      cpu_set_t now;
      ASSERT_EQ(sched_getaffinity(0, sizeof(now), &now), 0);
      EXPECT_EQ(CPU_COUNT(&now), CPU_COUNT(&before) - 1);
    }
    placement.detach();
  }).join();
}

TEST(CpuPlacement, RespectsAMaskThatSomebodyElseSet) {
  std::thread([] {
    CpuPlacement placement;
    placement.attach();
    const int here = current_cpu();
    cpu_set_t only;
    CPU_ZERO(&only);
    CPU_SET(static_cast<size_t>(here), &only);
    ASSERT_EQ(sched_setaffinity(0, sizeof(only), &only), 0);
    placement.avoid(here);  // would leave no CPU
    EXPECT_EQ(current_cpu(), here);
    cpu_set_t now;
    ASSERT_EQ(sched_getaffinity(0, sizeof(now), &now), 0);
    EXPECT_TRUE(CPU_EQUAL(&now, &only));
    placement.detach();
  }).join();
}
#endif

TEST(ThreadTeam, WithoutDisturbanceEachThreadKeepsItsPartOfTheUnits) {
  const TeamSize size(2);
  // Each worker takes chunks from its own end of the range, so what the caller does not do alone is
  // one piece at the end.
  const std::vector<TeamJob::Phase> phases{{4000, 10, false}};
  struct Seen {
    std::vector<std::atomic<int>> by = std::vector<std::atomic<int>>(400);
    std::atomic<int> sink{0};
    static void body(void* context, int64_t, int64_t begin, int64_t, int worker) {
      auto& self = *static_cast<Seen*>(context);
      self.by[static_cast<size_t>(begin / 10)] = worker + 1;
      for (int i = 0; i < 2000; ++i) self.sink.fetch_add(1, std::memory_order_relaxed);
    }
  };
  Seen seen;
  for (int repeat = 0; repeat < 5; ++repeat) {
    ThreadTeam::global().run({phases.data(), 1, &Seen::body, &seen});
    int changes = 0;
    for (size_t i = 1; i < 400; ++i) changes += seen.by[i] != seen.by[i - 1];
    // Caller, worker; then perhaps what the caller took from the end while the worker woke, or
    // what the worker took from the end of the caller's part.
    EXPECT_LE(changes, 3);
  }
}

}  // namespace
}  // namespace coregrad
