#include "runtime/executor.h"

#include "base/checked.h"
#include "base/error.h"
#include "base/flags.h"
#include "runtime/allocator.h"
#include "runtime/fp_environment.h"
#include "runtime/guarded_memory.h"
#include "runtime/profiler.h"
#include "runtime/thread_team.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <cassert>
#include <string>
#include <string_view>
#include <vector>

namespace coregrad {
namespace {

// Scratch blocks of two workers never share a line or its prefetched neighbour.
constexpr int64_t kScratchPadding = 128;

/// `size` elements without initial values, on the stack up to N of them.
template <class T, size_t N>
class Scratchpad {
 public:
  explicit Scratchpad(size_t size) {
    if (size > N) heap_ = allocate_block(static_cast<int64_t>(size * sizeof(T)));
    data_ = size > N ? static_cast<T*>(heap_.get()) : stack_.data();
  }
  T* data() { return data_; }
  T& operator[](size_t i) { return data_[i]; }

 private:
  std::array<T, N> stack_;
  Block heap_;
  T* data_;
};

/// Whether the team gets the step.
bool is_parallel(const Plan& plan, const Step& step) {
  return step.range > step.chunk && step.cost_ns >= plan.serial_cost_ns;
}

/// A worker's part of the step that runs, when steps are timed.
struct alignas(128) TimedPart : ThreadSpan {};

struct RunState {
  const Plan* plan;
  void* const* args;
  std::byte* scratch;
  int64_t scratch_stride;
  const KernelFpScope* fp;
  size_t first_step = 0;  ///< step of the job's phase 0
  TimedPart* timed = nullptr;
  RunStatus status{};

  void call(size_t index, int64_t begin, int64_t end, int worker) {
    const Step& step = plan->steps[index];
    assert(begin % step.chunk == 0 && end == std::min(begin + step.chunk, step.range));
    const StepArgs step_args{args + step.first_arg, plan->params.data() + step.first_param,
                             scratch + worker * scratch_stride, &status, step.context};
    if (step.kind == StepKind::External && worker == 0) [[unlikely]] {
      fp->leave();
      step.function(&step_args, begin, end, worker);
      fp->enter();
      return;
    }
    step.function(&step_args, begin, end, worker);
  }

  static void body(void* context, int64_t phase, int64_t begin, int64_t end, int worker) {
    auto* run = static_cast<RunState*>(context);
    run->call(run->first_step + static_cast<size_t>(phase), begin, end, worker);
  }

  static void timed_body(void* context, int64_t phase, int64_t begin, int64_t end, int worker) {
    TimedPart& part = static_cast<RunState*>(context)->timed[worker];
    const int64_t start = profile_clock_ns();
    body(context, phase, begin, end, worker);
    part.end_ns = profile_clock_ns();
    if (part.track < 0) {
      part.track = current_track();
      part.begin_ns = start;
    }
    part.units += end - begin;
  }
};

/// The slow road: one job a step, with the observer and the profiler called in between.
void run_watched(RunState& state, TeamJob job, StepObserver* observer) {
  const Plan& plan = *state.plan;
  const bool timing = is_profiling();
  ThreadTeam& team = ThreadTeam::global();
  std::vector<TimedPart> parts;
  if (timing) {
    job.max_workers = std::min(job.max_workers, team.max_workers());
    parts.resize(static_cast<size_t>(job.max_workers));
    job.body = RunState::timed_body;
  }
  const TeamJob::Phase* phases = job.phases;
  job.num_phases = 1;
  for (size_t i = 0; i < plan.steps.size(); ++i) {
    state.first_step = i;
    job.phases = phases + i;
    if (timing) {
      std::fill(parts.begin(), parts.end(), TimedPart{});
      state.timed = parts.data();
      const int64_t start = profile_clock_ns();
      team.run(job);
      const int64_t end = profile_clock_ns();
      // Copied together: the parts lie apart in memory.
      std::vector<ThreadSpan> spans(parts.begin(), parts.end());
      profile_step(plan, i, start, end, spans);
    } else {
      team.run(job);
    }
    if (observer == nullptr) continue;
    state.fp->leave();
    const Step& step = plan.steps[i];
    observer->after_step(plan, i, {state.args + step.first_arg, step.num_args});
    state.fp->enter();
  }
}

void bind_slots(const Plan& plan, std::span<const void* const> inputs,
                std::span<void* const> outputs, std::byte* temporaries, void** slots) {
  for (size_t i = 0; i < plan.slots.size(); ++i) {
    const Slot& slot = plan.slots[i];
    switch (slot.kind) {
      case SlotKind::Input:
        slots[i] = static_cast<std::byte*>(const_cast<void*>(inputs[slot.index])) + slot.offset;
        break;
      case SlotKind::Output:
        slots[i] = static_cast<std::byte*>(outputs[slot.index]) + slot.offset;
        break;
      case SlotKind::Temporary:
        slots[i] = temporaries + slot.index;
        break;
    }
  }
}

[[noreturn]] void raise_bad_index(const Plan& plan, const RunStatus& status) {
  const std::string_view operation = status.bad_operation;
  std::string where;
  if (operation == "gather" && !plan.gathering.empty())
    where = fmt::format(", in {}{}", plan.gathering.size() > 1 ? "one of: " : "",
                        fmt::join(plan.gathering, ", "));
  raise<IndexError>("{}: index {} is out of range for a dimension of extent {}{}", operation,
                    status.bad_index, status.bad_extent, where);
}

}  // namespace

PlanTotals total_up(const Plan& plan) {
  PlanTotals totals;
  for (const Step& step : plan.steps) {
    totals.flops += step.flops;
    totals.bytes += step.bytes;
    totals.cost_ns += step.cost_ns;
    totals.has_external |= step.kind == StepKind::External;
    if (!is_parallel(plan, step)) continue;
    totals.shared_cost_ns += step.cost_ns;
    ++totals.parallel_steps;
    totals.chunks += (step.range - 1) / step.chunk + 1;
  }
  return totals;
}

void run(const Plan& plan, std::span<const void* const> inputs, std::span<void* const> outputs,
         StepObserver* observer, RunThreads threads) {
  if (observer == nullptr) observer = plan.observer.get();
  COREGRAD_CHECK(inputs.size() == static_cast<size_t>(plan.num_inputs));
  COREGRAD_CHECK(outputs.size() == static_cast<size_t>(plan.num_outputs));
  const size_t num_steps = plan.steps.size();

  const PlanTotals totals = plan.totals ? *plan.totals : total_up(plan);
  const Counters share{.plans = 1,
                       .steps = static_cast<int64_t>(num_steps),
                       .parallel_steps = totals.parallel_steps,
                       .chunks = totals.chunks,
                       .flops = totals.flops,
                       .bytes = totals.bytes};
  const bool any_parallel = totals.parallel_steps > 0 && threads.most > 1;

  // Temporaries and all workers' scratch are one block.
  const bool guarded = flags().check_memory;
  const int64_t scratch_bytes = round_up(plan.max_scratch_bytes, 64);
  int64_t stride = plan.max_scratch_bytes > 0 ? scratch_bytes + kScratchPadding : 0;
  if (guarded && stride > 0) stride = guarded_pages(scratch_bytes) + page_bytes();
  int workers = 1;
  if (any_parallel && stride > 0) {
    workers = ThreadTeam::global().max_workers();
    if (threads.host != nullptr) workers = std::clamp(threads.most, workers, kMaxThreads);
  }
  int64_t scratch_start = round_up(plan.temporary_bytes, guarded ? page_bytes() : 64);
  const int64_t block_bytes =
      checked_add(scratch_start, checked_mul(stride, workers, "run: scratch"), "run: temporaries");
  Block block;
  if (block_bytes > 0) block = allocate_block(block_bytes);
  auto* const base = static_cast<std::byte*>(block.get());
  if (guarded) [[unlikely]] {
    for (const int64_t page : plan.guard_pages) forbid_page(base + page);
    for (int w = 0; stride > 0 && w < workers; ++w)
      forbid_page(base + scratch_start + (w + 1) * stride - page_bytes());
    if (stride > 0) scratch_start += guarded_offset(scratch_bytes, true);
  }

  Scratchpad<void*, 96> slots(plan.slots.size());
  bind_slots(plan, inputs, outputs, base, slots.data());
  Scratchpad<void*, 256> args(plan.args.size());
  for (size_t i = 0; i < plan.args.size(); ++i) args[i] = slots[plan.args[i].value];

  RunState state;
  {
    const KernelFpScope fp;
    state = {&plan, args.data(), stride > 0 ? base + scratch_start : nullptr, stride, &fp};
    const bool watched = observer != nullptr || !profiling_is_off();
    if (!any_parallel && !watched) {
      for (size_t i = 0; i < num_steps; ++i) {
        const Step& step = plan.steps[i];
        for_each_chunk(step.range, step.chunk,
                       [&](int64_t begin, int64_t end) { state.call(i, begin, end, 0); });
      }
    } else {
      Scratchpad<TeamJob::Phase, 64> phases(num_steps);
      for (size_t i = 0; i < num_steps; ++i)
        phases[i] = {plan.steps[i].range, plan.steps[i].chunk, !is_parallel(plan, plan.steps[i]),
                     plan.steps[i].kind == StepKind::External, plan.steps[i].cost_ns};
      TeamJob job{phases.data(), static_cast<int64_t>(num_steps), RunState::body, &state};
      job.max_threads = threads.most;
      job.host = threads.host;
      job.cost_ns = totals.shared_cost_ns;
      if (stride > 0) job.max_workers = workers;
      if (watched) {
        run_watched(state, job, observer);
      } else {
        ThreadTeam::global().run(job);
      }
    }
  }
  count_run(share);
  if (state.status.error != nullptr) [[unlikely]]
    std::rethrow_exception(state.status.error);
  if (state.status.bad_extent >= 0) [[unlikely]]
    raise_bad_index(plan, state.status);
}

}  // namespace coregrad
