#include "runtime/host_threads.h"

#include "runtime/fp_environment.h"

#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <sys/wait.h>
#include <thread>
#include <unistd.h>
#include <vector>

namespace coregrad {
namespace {

using std::chrono::milliseconds;

std::atomic<int> regions{0};
std::atomic<int> delay_ms{0};  ///< of each region's end

/// A host as OpenMP is one: a part a thread, and an end when all threads have been there.
int32_t host_loop(int64_t begin, int64_t end, int64_t, void (*body)(int64_t, int64_t, void*),
                  void* context) {
  ++regions;
  std::vector<std::thread> threads;
  for (int64_t i = begin + 1; i < end; ++i)
    threads.emplace_back([=] {
      body(i, i + 1, context);
      std::this_thread::sleep_for(milliseconds(delay_ms));
    });
  body(begin, begin + 1, context);
  for (std::thread& t : threads) t.join();
  return 0;
}

/// A host inside one of its parallel regions: all parts at once.
int32_t busy_loop(int64_t begin, int64_t end, int64_t, void (*body)(int64_t, int64_t, void*),
                  void* context) {
  ++regions;
  body(begin, end, context);
  return 0;
}

int32_t refusing_loop(int64_t, int64_t, int64_t, void (*)(int64_t, int64_t, void*), void*) {
  ++regions;
  return 1;
}

/// A job whose phases note the units that ran, the threads that ran them, and whether the phase
/// before was complete.
struct Noted {
  std::vector<TeamJob::Phase> phases;
  std::vector<std::vector<std::atomic<int>>> ran;
  std::vector<std::atomic<int64_t>> left;
  std::atomic<uint64_t> workers{0};
  std::atomic<int> faults{0};
  milliseconds pause{0};

  explicit Noted(std::vector<TeamJob::Phase> p) : phases(std::move(p)), left(phases.size()) {
    for (size_t i = 0; i < phases.size(); ++i) {
      ran.emplace_back(static_cast<size_t>(phases[i].range));
      left[i] = phases[i].range;
    }
  }

  bool run(HostParallelFor host, int threads = 3) {
    TeamJob job{phases.data(), static_cast<int64_t>(phases.size()), &Noted::body, this};
    job.host = host;
    job.max_threads = threads;
    return run_on_host_threads(job);
  }

  static void body(void* context, int64_t phase, int64_t begin, int64_t end, int worker) {
    auto& self = *static_cast<Noted*>(context);
    if (phase > 0 && self.left[static_cast<size_t>(phase) - 1] != 0) ++self.faults;
    if ((read_fp_word() & ~kFpStatusBits) != kKernelFpWord) ++self.faults;
    self.workers.fetch_or(uint64_t{1} << worker);
    for (int64_t i = begin; i < end; ++i)
      ++self.ran[static_cast<size_t>(phase)][static_cast<size_t>(i)];
    if (self.pause.count() > 0) std::this_thread::sleep_for(self.pause);
    self.left[static_cast<size_t>(phase)] -= end - begin;
  }

  int wrong() const {
    int count = faults;
    for (const auto& phase : ran)
      for (const auto& unit : phase) count += unit != 1;
    return count;
  }
};

/// Runs the job once the host is not avoided any more: on a busy machine it is late at any time.
bool run_in_time(Noted& job, HostParallelFor host, int threads = 3) {
  for (int i = 0; i < 2000; ++i) {
    regions = 0;
    if (job.run(host, threads)) return true;
    std::this_thread::sleep_for(milliseconds(5));
  }
  return false;
}

class HostThreads : public testing::Test {
 protected:
  void SetUp() override { delay_ms = 0; }
};

TEST_F(HostThreads, RunEveryUnitOfEveryPhaseOnceAndInOrder) {
  for (int i = 0; i < 50; ++i) {
    Noted job({{200, 1, false},
               {1, 1, false},
               {64, 7, false},
               {0, 1, false},
               {30, 1, true},
               {100, 3, false}});
    ASSERT_TRUE(run_in_time(job, host_loop));
    ASSERT_EQ(job.wrong(), 0);
    ASSERT_EQ(regions, 1);
  }
}

TEST_F(HostThreads, ShareAPhaseThatIsLongEnough) {
  Noted job({{60, 1, false}});
  job.pause = milliseconds(1);
  ASSERT_TRUE(run_in_time(job, host_loop));
  EXPECT_EQ(job.workers, 7u);
}

TEST_F(HostThreads, OneRegionServesAllPhasesUpToOneThatWantsTheThreadsItself) {
  Noted job({{1, 1, true},
             {20, 1, false},
             {1, 1, false},
             {20, 1, false},
             {1, 1, true, true},
             {20, 1, false},
             {1, 1, true}});
  ASSERT_TRUE(run_in_time(job, host_loop));
  EXPECT_EQ(job.wrong(), 0);
  EXPECT_EQ(regions, 2);
}

TEST_F(HostThreads, AreNotKeptThroughALongSerialPhase) {
  Noted job({{20, 1, false}, {1, 1, true}, {20, 1, false}, {1, 1, true}, {20, 1, false}});
  job.phases[3].cost_ns = 5e6;
  ASSERT_TRUE(run_in_time(job, host_loop));
  EXPECT_EQ(job.wrong(), 0);
  EXPECT_EQ(regions, 2);
}

TEST_F(HostThreads, AForkInAPhaseLeavesTheChildToDoTheRestAlone) {
  struct Forking : Noted {
    using Noted::Noted;
    pid_t child = -1;
    static void body(void* context, int64_t phase, int64_t begin, int64_t end, int worker) {
      auto& self = *static_cast<Forking*>(context);
      if (phase == 1) {
        self.child = fork();
        if (self.child == 0) forget_host_threads();
      }
      Noted::body(static_cast<Noted*>(context), phase, begin, end, worker);
    }
  };
  Forking job({{20, 1, false}, {1, 1, true, true}, {20, 1, false}});
  TeamJob team_job{job.phases.data(), 3, &Forking::body, &job};
  team_job.host = host_loop;
  team_job.max_threads = 3;
  regions = 0;
  while (!run_on_host_threads(team_job)) std::this_thread::sleep_for(milliseconds(5));
  if (job.child == 0) _exit(regions == 1 ? job.wrong() : 100);
  EXPECT_EQ(regions, 2);
  int status = 0;
  ASSERT_EQ(waitpid(job.child, &status, 0), job.child);
  EXPECT_EQ(status, 0);
}

TEST_F(HostThreads, TheCallerAloneDoesItWhereTheHostIsBusyOrRefuses) {
  Noted busy({{20, 1, false}, {20, 1, false}});
  ASSERT_TRUE(run_in_time(busy, busy_loop));
  EXPECT_EQ(busy.wrong(), 0);
  EXPECT_EQ(busy.workers, 1u);
  Noted refused({{20, 1, false}, {20, 1, false}});
  ASSERT_TRUE(run_in_time(refused, refusing_loop));
  EXPECT_EQ(refused.wrong(), 0);
}

TEST_F(HostThreads, AJobForOneThreadDoesNotTroubleThem) {
  regions = 0;
  EXPECT_FALSE(Noted({{20, 1, false}}).run(host_loop, 1));
  EXPECT_EQ(regions, 0);
}

TEST_F(HostThreads, AJobInsideAJobGoesToOurTeam) {
  struct Nesting {
    std::atomic<int> on_host{0};
    static void body(void* context, int64_t, int64_t, int64_t, int worker) {
      Noted inner({{20, 1, false}});
      if (worker == 0) static_cast<Nesting*>(context)->on_host += inner.run(host_loop);
    }
  } nesting;
  const TeamJob::Phase phase{20, 1, false};
  TeamJob job{&phase, 1, &Nesting::body, &nesting};
  job.host = host_loop;
  job.max_threads = 2;
  Noted first({{20, 1, false}});
  ASSERT_TRUE(run_in_time(first, host_loop));
  while (!run_on_host_threads(job)) std::this_thread::sleep_for(milliseconds(5));
  EXPECT_EQ(nesting.on_host, 0);
}

TEST_F(HostThreads, AreLeftAloneForAsLongAsTheyWereLate) {
  delay_ms = 30;
  Noted late({{20, 1, false}}), next({{20, 1, false}}), last({{20, 1, false}});
  ASSERT_TRUE(run_in_time(late, host_loop));
  const auto start = std::chrono::steady_clock::now();
  EXPECT_FALSE(next.run(host_loop));
  delay_ms = 0;
  ASSERT_TRUE(run_in_time(last, host_loop));
  EXPECT_GE(std::chrono::steady_clock::now() - start, milliseconds(25));
}

TEST_F(HostThreads, StayBehindInAForkedChild) {
  Noted before({{20, 1, false}});
  ASSERT_TRUE(run_in_time(before, host_loop));
  const pid_t child = fork();
  ASSERT_GE(child, 0);
  if (child == 0) {
    forget_host_threads();
    Noted job({{20, 1, false}});
    std::this_thread::sleep_for(milliseconds(20));
    _exit(job.run(host_loop) ? 1 : 0);
  }
  int status = 0;
  ASSERT_EQ(waitpid(child, &status, 0), child);
  EXPECT_EQ(status, 0);
}

}  // namespace
}  // namespace coregrad
