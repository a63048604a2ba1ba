#include "runtime/executor.h"

#include "base/error.h"
#include "runtime/allocator.h"
#include "runtime/fp_environment.h"
#include "runtime/profiler.h"
#include "runtime/thread_team.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "team_size.h"
#include <cstring>
#include <numeric>
#include <thread>
#include <vector>

namespace coregrad {
namespace {

/// Builds plans by hand over int64 buffers.
struct PlanBuilder {
  Plan plan;

  SlotId slot(SlotKind kind, int64_t index, int64_t bytes) {
    plan.slots.push_back({kind, index, bytes});
    return {static_cast<uint32_t>(plan.slots.size() - 1)};
  }
  SlotId input(int64_t count) { return slot(SlotKind::Input, plan.num_inputs++, count * 8); }
  SlotId output(int64_t count) { return slot(SlotKind::Output, plan.num_outputs++, count * 8); }
  SlotId temporary(int64_t count) {
    const SlotId id = slot(SlotKind::Temporary, plan.temporary_bytes, count * 8);
    plan.temporary_bytes += (count * 8 + 63) / 64 * 64;
    return id;
  }
  Step& step(StepFunction function, std::vector<SlotId> args, int64_t range, int64_t chunk = 1,
             double cost_ns = 0) {
    Step s;
    s.function = function;
    s.first_arg = static_cast<uint32_t>(plan.args.size());
    s.num_args = static_cast<uint32_t>(args.size());
    s.range = range;
    s.chunk = chunk;
    s.cost_ns = cost_ns;
    s.name = "step" + std::to_string(plan.steps.size());
    plan.args.insert(plan.args.end(), args.begin(), args.end());
    plan.steps.push_back(s);
    return plan.steps.back();
  }
};

int64_t* ints(const StepArgs* args, int i) { return static_cast<int64_t*>(args->buffers[i]); }

void add(const StepArgs* args, int64_t begin, int64_t end, int) {
  for (int64_t i = begin; i < end; ++i) ints(args, 2)[i] = ints(args, 0)[i] + ints(args, 1)[i];
}

/// out[i] = a[i] + b[i - 1], which is wrong if a phase starts before the previous one is done.
void add_shifted(const StepArgs* args, int64_t begin, int64_t end, int) {
  const int64_t n = 20000;
  for (int64_t i = begin; i < end; ++i)
    ints(args, 2)[i] = (ints(args, 0)[i] + ints(args, 1)[(i + n - 1) % n]) % 1000003;
}

std::vector<int64_t> run_ints(const Plan& plan, const std::vector<std::vector<int64_t>>& inputs,
                              size_t size) {
  std::vector<const void*> in;
  for (const auto& v : inputs) in.push_back(v.data());
  std::vector<int64_t> result(size, -1);
  void* out[] = {result.data()};
  run(plan, in, out);
  return result;
}

TEST(Executor, BindsInputsOutputsAndTemporaries) {
  PlanBuilder b;
  const SlotId x = b.input(3), y = b.input(3), t = b.temporary(3), out = b.output(3);
  b.step(add, {x, y, t}, 3);
  b.step(add, {t, y, out}, 3);
  EXPECT_EQ(run_ints(b.plan, {{1, 2, 3}, {10, 20, 30}}, 3), (std::vector<int64_t>{21, 42, 63}));
}

TEST(Executor, KeepsTotalsThatCountOnlySharedStepsAsParallel) {
  PlanBuilder b;
  const SlotId x = b.input(8), y = b.input(8), out = b.output(8);
  b.step(add, {x, y, out}, 8, 8, 1e6).flops = 8;  // one chunk: nothing to share
  b.step(add, {x, y, out}, 8, 2, 1e5).bytes = 24;
  b.step(add, {x, y, out}, 8, 2, 10).flops = 2;  // too cheap to share
  b.step(add, {x, y, out}, 1).kind = StepKind::External;
  const PlanTotals totals = total_up(b.plan);
  EXPECT_EQ(totals.parallel_steps, 1);
  EXPECT_EQ(totals.chunks, 4);
  EXPECT_EQ(totals.shared_cost_ns, 1e5);
  EXPECT_EQ(totals.cost_ns, 1e6 + 1e5 + 10);
  EXPECT_EQ(totals.flops, 10);
  EXPECT_EQ(totals.bytes, 24);
  EXPECT_TRUE(totals.has_external);
}

TEST(Executor, RunsTheSameWithAndWithoutStoredTotals) {
  PlanBuilder b;
  const SlotId x = b.input(8), y = b.input(8), out = b.output(8);
  b.step(add, {x, y, out}, 8, 2, 1e5);
  const std::vector<int64_t> one(8, 1), two(8, 2);
  const std::vector<int64_t> without = run_ints(b.plan, {one, two}, 8);
  b.plan.totals = total_up(b.plan);
  EXPECT_EQ(run_ints(b.plan, {one, two}, 8), without);
}

TEST(Executor, PassesParametersAndContext) {
  PlanBuilder b;
  const int64_t factor = 7;
  const SlotId out = b.output(2);
  b.plan.params = {99, 5, 6};
  Step& s = b.step(
      [](const StepArgs* args, int64_t begin, int64_t end, int) {
        for (int64_t i = begin; i < end; ++i)
          ints(args, 0)[i] = args->params[i] * *static_cast<const int64_t*>(args->context);
      },
      {out}, 2);
  s.first_param = 1;
  s.num_params = 2;
  s.context = &factor;
  EXPECT_EQ(run_ints(b.plan, {}, 2), (std::vector<int64_t>{35, 42}));
}

/// Many dependent steps, some shared and some not, with more slots than fit on the stack.
Plan long_plan(int64_t n, int steps) {
  PlanBuilder b;
  SlotId one = b.input(n), other = b.input(n);
  for (int i = 0; i < steps; ++i) {
    const SlotId result = i + 1 == steps ? b.output(n) : b.temporary(n);
    b.step(add_shifted, {one, other, result}, n, 128, i % 3 == 0 ? 0 : 10000);
    one = other;
    other = result;
  }
  return b.plan;
}

TEST(Executor, GivesTheSameResultForEveryNumberOfThreads) {
  const int64_t n = 20000;
  const Plan plan = long_plan(n, 120);
  std::vector<std::vector<int64_t>> inputs(2, std::vector<int64_t>(n));
  std::iota(inputs[0].begin(), inputs[0].end(), 1);
  std::iota(inputs[1].begin(), inputs[1].end(), 7);
  for (auto& v : inputs)
    for (auto& x : v) x = x * 2654435761 % 1000;
  const TeamSize one(1);
  const auto expected = run_ints(plan, inputs, n);
  for (int threads : {2, 3, 7}) {
    const TeamSize more(threads);
    for (int i = 0; i < 5; ++i) EXPECT_EQ(run_ints(plan, inputs, n), expected) << threads;
  }
}

TEST(Executor, GivesEachCallOneChunkWhateverTheStepCosts) {
  for (const double cost_ns : {0.0, 1e6})
    for (const int threads : {1, 3}) {
      const TeamSize size(threads);
      PlanBuilder b;
      b.step([](const StepArgs* args, int64_t begin, int64_t end,
                int) { ints(args, 0)[begin / 4] += end - begin; },
             {b.output(3)}, 10, 4, cost_ns);
      EXPECT_EQ(run_ints(b.plan, {}, 3), (std::vector<int64_t>{3, 3, 1}))
          << threads << " threads, " << cost_ns << " ns";
    }
}

TEST(Executor, RunsOnePlanFromManyThreads) {
  const int64_t n = 20000;
  const Plan plan = long_plan(n, 30);
  const std::vector<std::vector<int64_t>> inputs(2, std::vector<int64_t>(n, 3));
  const auto expected = run_ints(plan, inputs, n);
  std::atomic<int> wrong{0};
  std::vector<std::thread> threads;
  for (int t = 0; t < 5; ++t)
    threads.emplace_back([&] {
      for (int i = 0; i < 8; ++i) wrong += run_ints(plan, inputs, n) != expected;
    });
  for (auto& t : threads) t.join();
  EXPECT_EQ(wrong, 0);
}

TEST(Executor, GivesEachWorkerItsOwnAlignedScratch) {
  const TeamSize size(4);
  PlanBuilder b;
  const SlotId out = b.output(4000);
  Step& s = b.step(
      [](const StepArgs* args, int64_t begin, int64_t end, int worker) {
        auto* scratch = static_cast<int64_t*>(args->scratch);
        for (int64_t i = begin; i < end; ++i) {
          for (int k = 0; k < 37; ++k) scratch[k] = i * 37 + k;
          int64_t sum = reinterpret_cast<uintptr_t>(scratch) % 64 == 0 ? 0 : 1;
          for (int k = 0; k < 37; ++k) sum += scratch[k] - i * 37 - k;
          ints(args, 0)[i] = sum;
        }
      },
      {out}, 4000, 3, 1e6);
  s.scratch_bytes = b.plan.max_scratch_bytes = 37 * 8;
  for (int i = 0; i < 20; ++i) EXPECT_EQ(run_ints(b.plan, {}, 4000), std::vector<int64_t>(4000, 0));
}

TEST(Executor, ReportsAnIndexOutOfRange) {
  PlanBuilder b;
  b.step(
      [](const StepArgs* args, int64_t, int64_t, int) {
        args->status->bad_index = 12;
        args->status->bad_extent = 10;
      },
      {}, 1);
  try {
    run(b.plan, {}, {});
    FAIL() << "no error";
  } catch (const IndexError& error) {
    EXPECT_THAT(error.what(), testing::HasSubstr("gather: index 12"));
    EXPECT_THAT(error.what(), testing::HasSubstr("extent 10"));
  }
}

TEST(Executor, SkipsStepsWithoutWork) {
  PlanBuilder b;
  b.step([](const StepArgs*, int64_t, int64_t, int) { FAIL() << "called"; }, {}, 0, 1, 1e6);
  b.step([](const StepArgs*, int64_t, int64_t, int) { FAIL() << "called"; }, {}, 0);
  run(b.plan, {}, {});
}

TEST(Executor, ShowsEachStepToTheObserver) {
  struct Watcher : StepObserver {
    std::vector<std::vector<int64_t>> seen;
    void after_step(const Plan& plan, size_t step, std::span<void* const> buffers) override {
      EXPECT_EQ(buffers.size(), plan.steps[step].num_args);
      EXPECT_EQ(step, seen.size());
      const auto* result = static_cast<const int64_t*>(buffers[2]);
      seen.emplace_back(result, result + 2);
    }
  } watcher;
  PlanBuilder b;
  const SlotId x = b.input(2), t = b.temporary(2), out = b.output(2);
  b.step(add, {x, x, t}, 2, 1, 1e6);
  b.step(add, {t, x, out}, 2);
  const std::vector<int64_t> in{1, 2};
  std::vector<int64_t> result(2);
  const void* inputs[] = {in.data()};
  void* outputs[] = {result.data()};
  run(b.plan, inputs, outputs, &watcher);
  EXPECT_EQ(watcher.seen, (std::vector<std::vector<int64_t>>{{2, 4}, {3, 6}}));
}

TEST(Executor, RunsKernelsInTheDefaultFloatingPointEnvironmentAndRestoresTheCallers) {
  PlanBuilder b;
  const SlotId out = b.output(1000), foreign = b.output(1);
  b.step(
      [](const StepArgs* args, int64_t begin, int64_t end, int) {
        for (int64_t i = begin; i < end; ++i)
          ints(args, 0)[i] = (read_fp_word() & ~kFpStatusBits) == kKernelFpWord;
        volatile double one = 1, three = 3;
        one = one / three;  // raises the inexact flag
      },
      {out}, 1000, 1, 1e7);
  b.step([](const StepArgs* args, int64_t, int64_t, int) { ints(args, 0)[0] = read_fp_word(); },
         {foreign}, 1)
      .kind = StepKind::External;
  const FpWord before = read_fp_word();
#if defined(__x86_64__)
  const FpWord mine = (before & ~kFpStatusBits) | 0x8040;  // flush and assume zero
#else
  const FpWord mine = before | (1 << 24);
#endif
  write_fp_word(mine);
  std::vector<int64_t> ok(1000);
  int64_t seen_outside = 0;
  void* outputs[] = {ok.data(), &seen_outside};
  run(b.plan, {}, outputs);
  const FpWord after = read_fp_word();
  write_fp_word(before);
  EXPECT_EQ(after, mine);
  EXPECT_EQ(seen_outside, static_cast<int64_t>(mine));
  EXPECT_EQ(ok, std::vector<int64_t>(1000, 1));
}

TEST(Executor, TakesNoNewMemoryInSteadyState) {
  PlanBuilder b;
  SlotId x = b.input(8);
  for (int i = 0; i < 20; ++i) {
    const SlotId t = i == 19 ? b.output(8) : b.temporary(8);
    b.step(add, {x, x, t}, 8);
    x = t;
  }
  const std::vector<int64_t> in(8, 1);
  std::vector<int64_t> result(8);
  const void* inputs[] = {in.data()};
  void* outputs[] = {result.data()};
  run(b.plan, inputs, outputs);
  const Counters before = counters();
  for (int i = 0; i < 100; ++i) run(b.plan, inputs, outputs);
  const Counters after = counters();
  EXPECT_EQ(after.plans - before.plans, 100);
  EXPECT_EQ(after.steps - before.steps, 2000);
  EXPECT_EQ(after.parallel_steps, before.parallel_steps);
  EXPECT_EQ(after.allocations - before.allocations, 100);
  EXPECT_EQ(after.allocation_hits - before.allocation_hits, 100);
  EXPECT_EQ(result[0], 1 << 20);
}

TEST(Executor, PrintsAPlan) {
  PlanBuilder b;
  const SlotId x = b.input(2), t = b.temporary(2), out = b.output(2);
  b.plan.params = {42};
  b.step(add, {x, x, t}, 2).num_params = 1;
  b.step(add, {t, x, out}, 2).kind = StepKind::Contract;
  const std::string text = to_text(b.plan);
  EXPECT_THAT(text, testing::HasSubstr("1 inputs, 1 outputs"));
  EXPECT_THAT(text,
              testing::HasSubstr("loop     step0(s0 in0[16], s0 in0[16], s1 tmp@0[16]) params 42"));
  EXPECT_THAT(text, testing::HasSubstr("contract step1(s1 tmp@0[16], s0 in0[16], s2 out0[16])"));
}

}  // namespace
}  // namespace coregrad
