// What running a plan costs besides its kernels: calls, hand-overs between threads, allocation, and
// how a busy neighbour delays a step (against a fork and join with one fixed part a thread).

#include "runtime/allocator.h"
#include "runtime/executor.h"
#include "runtime/futex.h"
#include "runtime/thread_team.h"

#include <benchmark/benchmark.h>

#include <atomic>
#include <chrono>
#include <signal.h>
#include <string>
#include <sys/wait.h>
#include <thread>
#include <unistd.h>
#include <vector>

namespace coregrad {
namespace {

void do_nothing(const StepArgs*, int64_t, int64_t, int) {}

/// About `units` times 100 ns of work that stays in registers.
void work_for(int64_t units) {
  uint64_t x = 1;
  for (int64_t i = 0; i < units * 65; ++i) {
    x = x * 6364136223846793005u + 1442695040888963407u;
    benchmark::DoNotOptimize(x);
  }
}

Plan empty_plan(int steps, int64_t range, double cost_ns, StepFunction function = do_nothing) {
  Plan plan;
  plan.num_inputs = 1;
  plan.slots = {{SlotKind::Input, 0, 64}, {SlotKind::Temporary, 0, 64}};
  plan.temporary_bytes = 64;
  for (int i = 0; i < steps; ++i) {
    Step step;
    step.function = function;
    step.first_arg = static_cast<uint32_t>(plan.args.size());
    step.num_args = 2;
    step.range = range;
    step.cost_ns = cost_ns;
    plan.args.insert(plan.args.end(), {SlotId{0}, SlotId{1}});
    plan.steps.push_back(step);
  }
  return plan;
}

void run_plan(benchmark::State& state, const Plan& plan) {
  int64_t input = 0;
  const void* inputs[] = {&input};
  for (auto _ : state) run(plan, inputs, {});
}

void BM_SerialPlan(benchmark::State& state) {
  run_plan(state, empty_plan(static_cast<int>(state.range(0)), 1, 0));
}
BENCHMARK(BM_SerialPlan)->Arg(1)->Arg(20)->Arg(100);

/// Steps of `range(1)` units of about 100 ns offered to the team.
void BM_ParallelPlan(benchmark::State& state) {
  const auto body = [](const StepArgs*, int64_t begin, int64_t end, int) { work_for(end - begin); };
  run_plan(state, empty_plan(static_cast<int>(state.range(0)), state.range(1), 1e6, body));
}
BENCHMARK(BM_ParallelPlan)->ArgsProduct({{1, 20}, {2, 10, 20, 50, 100, 1000}})->UseRealTime();

void BM_SerialWork(benchmark::State& state) {
  for (auto _ : state) work_for(state.range(0));
}
BENCHMARK(BM_SerialWork)->Arg(2)->Arg(10)->Arg(20)->Arg(50)->Arg(100)->Arg(1000);

/// A plan of 100 us after a pause in which the workers park.
void BM_ParallelPlanAfterAPause(benchmark::State& state) {
  const auto body = [](const StepArgs*, int64_t begin, int64_t end, int) { work_for(end - begin); };
  const Plan plan = empty_plan(1, state.range(0), 1e6, body);
  int64_t input = 0;
  const void* inputs[] = {&input};
  for (auto _ : state) {
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
    const auto start = std::chrono::steady_clock::now();
    run(plan, inputs, {});
    state.SetIterationTime(
        std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count());
  }
}
BENCHMARK(BM_ParallelPlanAfterAPause)
    ->Arg(50)
    ->Arg(100)
    ->Arg(200)
    ->Arg(500)
    ->UseManualTime()
    ->Iterations(500);

void BM_AllocateAndFree(benchmark::State& state) {
  for (auto _ : state) benchmark::DoNotOptimize(allocate_block(state.range(0)).get());
}
BENCHMARK(BM_AllocateAndFree)
    ->Arg(64)
    ->Arg(4096)
    ->Arg(200000)
    ->Arg(8 << 20)
    ->Threads(1)
    ->Threads(2);

/// One spinning process a CPU for its lifetime.
class BusyNeighbours {
 public:
  explicit BusyNeighbours(int count) {
    for (int i = 0; i < count; ++i) {
      const pid_t child = fork();
      if (child == 0)
        for (const pid_t parent = getppid(); getppid() == parent;) work_for(10000);
      if (child > 0) children_.push_back(child);
    }
  }
  ~BusyNeighbours() {
    for (pid_t child : children_) {
      kill(child, SIGKILL);
      waitpid(child, nullptr, 0);
    }
  }

 private:
  std::vector<pid_t> children_;
};

/// The opponent: every thread has a fixed part and the caller waits for all of them.
class StaticTeam {
 public:
  explicit StaticTeam(int threads) : size_(threads) {
    for (int i = 1; i < threads; ++i)
      threads_.emplace_back([this] {
        for (int64_t seen = 0;;) {
          while (round_.load(std::memory_order_acquire) == seen) std::this_thread::yield();
          ++seen;
          if (stop_) return;
          work_for(part_);
          done_.fetch_add(1, std::memory_order_release);
        }
      });
  }
  ~StaticTeam() {
    stop_ = true;
    round_.fetch_add(1);
    for (auto& t : threads_) t.join();
  }
  void run(int64_t units) {
    part_ = units / size_;
    done_ = 0;
    round_.fetch_add(1, std::memory_order_release);
    work_for(part_);
    while (done_.load(std::memory_order_acquire) != size_ - 1) std::this_thread::yield();
  }

 private:
  int size_;
  int64_t part_ = 0;
  bool stop_ = false;
  std::atomic<int64_t> round_{0};
  std::atomic<int> done_{0};
  std::vector<std::thread> threads_;
};

/// Ten steps of 500 us of work in chunks of about 16 us; the argument: spinning neighbours.
void BM_BusyNeighbour(benchmark::State& state) {
  const BusyNeighbours neighbours(static_cast<int>(state.range(0)));
  const auto body = [](const StepArgs*, int64_t begin, int64_t end, int) {
    work_for((end - begin) * 160);
  };
  run_plan(state, empty_plan(10, 31, 1e6, body));
}
BENCHMARK(BM_BusyNeighbour)->Arg(0)->Arg(1)->Arg(2)->UseRealTime()->Unit(benchmark::kMillisecond);

void BM_BusyNeighbourStatic(benchmark::State& state) {
  const BusyNeighbours neighbours(static_cast<int>(state.range(0)));
  StaticTeam team(ThreadTeam::global().num_threads());
  for (auto _ : state)
    for (int i = 0; i < 10; ++i) team.run(31 * 160);
}
BENCHMARK(BM_BusyNeighbourStatic)
    ->Arg(0)
    ->Arg(1)
    ->Arg(2)
    ->UseRealTime()
    ->Unit(benchmark::kMillisecond);

void BM_BusyNeighbourSerial(benchmark::State& state) {
  const BusyNeighbours neighbours(static_cast<int>(state.range(0)));
  for (auto _ : state) work_for(10 * 31 * 160);
}
BENCHMARK(BM_BusyNeighbourSerial)
    ->Arg(0)
    ->Arg(1)
    ->Arg(2)
    ->UseRealTime()
    ->Unit(benchmark::kMillisecond);

}  // namespace
}  // namespace coregrad
