#include "compile/plan_template.h"

#include "base/flags.h"
#include "base/log.h"
#include "codegen/contract/step.h"
#include "codegen/jit/host_target.h"
#include "codegen/jit/kernel_cache.h"
#include "runtime/executor.h"

#include <algorithm>
#include <map>

namespace coregrad {

namespace {

/// Makes a step run what was made for numbers.
void take(Plan& plan, size_t number, const auto& made) {
  const auto value = [](SymInt x) { return x.number(); };
  Step& step = plan.steps[number];
  if constexpr (requires { made.function; }) step.function = made.function;
  step.range = value(made.range);
  step.chunk = value(made.chunk);
  step.scratch_bytes = value(made.scratch_bytes);
  if (made.params.empty()) return;  // those that it has are for all sizes
  step.first_param = static_cast<uint32_t>(plan.params.size());
  step.num_params = static_cast<uint32_t>(made.params.size());
  for (const SymInt x : made.params) plan.params.push_back(value(x));
}

/// Makes a step run what another one does, for equal sizes.
void take_from(Plan& plan, size_t number, size_t other) {
  Step& step = plan.steps[number];
  const Step& from = plan.steps[other];
  step.function = from.function;
  step.range = from.range;
  step.chunk = from.chunk;
  step.scratch_bytes = from.scratch_bytes;
  step.first_param = from.first_param;
  step.num_params = from.num_params;
}

}  // namespace

void PlanTemplate::finish() {
  std::vector<SymInt> all;  // in the order in which bind() takes them
  for (const TemporarySizes& t : temporaries) all.push_back(t.bytes);
  for (const SlotSizes& slot : slots) all.insert(all.end(), {slot.bytes, slot.offset});
  all.insert(all.end(), params.begin(), params.end());
  for (const StepSizes& s : steps)
    all.insert(all.end(), {s.range, s.chunk, s.scratch_bytes, s.work});
  for (const Streamed& s : streamed) all.push_back(s.bytes);
  for (const PlannedAnew& p : planned)
    if (const auto* contract = std::get_if<std::shared_ptr<const SharedContract>>(&p.source)) {
      const std::vector<SymInt>& sizes_of_it = (*contract)->general().symbolic->sizes();
      all.insert(all.end(), sizes_of_it.begin(), sizes_of_it.end());
    }
  sizes = SizeProgram(all);
  std::vector<Lifetime> lifetimes;
  for (const TemporarySizes& t : temporaries)
    lifetimes.push_back({t.bytes.hint(), t.first_step, t.last_step});
  for (const Repeated& r : repeated)
    lifetimes.push_back({0, static_cast<int64_t>(r.step), static_cast<int64_t>(r.step)});
  layout_ = MemoryLayout(std::move(lifetimes));
  // One pointer for a plan to copy.
  const auto kept =
      std::make_shared<const std::vector<std::shared_ptr<const void>>>(std::move(plan.keep_alive));
  plan.keep_alive = {kept};
}

std::shared_ptr<Plan> PlanTemplate::bind(std::span<const int64_t> values) const {
  if (env)
    if (const std::string why = env->refusal(values); !why.empty())
      raise<ShapeError>("sizes: the plan is not for these: {}", why);
  const std::vector<int64_t> numbers = sizes.run(values);
  auto number = numbers.begin();
  auto bound = std::make_shared<Plan>(plan);

  std::vector<int64_t> bytes(number, number + static_cast<std::ptrdiff_t>(temporaries.size()));
  number += static_cast<std::ptrdiff_t>(temporaries.size());
  std::vector<BoundIteration> iterations;
  for (const Repeated& r : repeated) {
    iterations.emplace_back(*r.steps, r.step, env.get(), values);
    bytes.push_back(iterations.back().workspace_bytes());
  }
  const MemoryPlan memory =
      flags().check_memory ? plan_guarded_memory(bytes) : layout_.place(bytes);
  bound->temporary_bytes = memory.total_bytes;
  bound->guard_pages = memory.guard_pages;

  for (size_t i = 0; i < slots.size(); ++i) {
    Slot& slot = bound->slots[i];
    slot.bytes = *number++;
    const int64_t offset = *number++;
    if (slots[i].lifetime < 0)
      slot.offset = offset;
    else
      slot.index = memory.offsets[static_cast<size_t>(slots[i].lifetime)] + offset;
  }
  bound->params.assign(number, number + static_cast<std::ptrdiff_t>(params.size()));
  number += static_cast<std::ptrdiff_t>(params.size());
  for (size_t s = 0; s < steps.size(); ++s) {
    Step& step = bound->steps[s];
    step.range = *number++;
    step.chunk = std::clamp<int64_t>(*number++, 1, std::max<int64_t>(step.range, 1));
    step.scratch_bytes = *number++;
    const auto work = static_cast<double>(*number++);
    if (steps[s].work.is_number()) continue;
    const double growth = work / static_cast<double>(std::max<int64_t>(steps[s].work.hint(), 1));
    for (double* cost : {&step.flops, &step.bytes, &step.cost_ns}) *cost *= growth;
  }
  stream_large(*bound, {number, streamed.size()});
  number += static_cast<std::ptrdiff_t>(streamed.size());
  make_planned(*bound, values, {number, numbers.end()});
  if (!iterations.empty())
    expand(*bound, iterations, std::span(memory.offsets).subspan(temporaries.size()));
  for (const Step& step : bound->steps)
    bound->max_scratch_bytes = std::max(bound->max_scratch_bytes, step.scratch_bytes);
  bound->totals = total_up(*bound);
  return bound;
}

void PlanTemplate::stream_large(Plan& bound, std::span<const int64_t> bytes) const {
  std::vector<size_t> large;
  std::vector<const StreamedLoops*> loops;
  for (size_t i = 0; i < streamed.size(); ++i) {
    if (bytes[i] <= host_target().thresholds.stream_bytes) continue;
    large.push_back(streamed[i].step);
    loops.push_back(streamed[i].loops.get());
  }
  const auto kernels = StreamedLoops::kernels(loops);
  for (size_t i = 0; i < large.size(); ++i) {
    if (!kernels[i]) continue;
    bound.steps[large[i]].function = kernels[i]->function;
    bound.keep_alive.push_back(kernels[i]->code);
  }
}

void PlanTemplate::make_planned(Plan& bound, std::span<const int64_t> values,
                                std::span<const int64_t> numbers) const {
  if (planned.empty()) return;
  const SizeFunction value_of = [&](SymInt x) { return SymInt(env->evaluate(x, values)); };
  std::vector<KernelSource> contracts;
  std::vector<size_t> contract_steps;
  const auto for_numbers = [&](const ContractKernel& contract, size_t step) {
    ContractKernel kernel = contract.with_sizes(value_of);
    kernel.any_size = true;
    contracts.emplace_back(std::move(kernel));
    contract_steps.push_back(step);
  };
  // Equal layers have equal products: the same kernel for the same sizes.
  std::map<const SymbolicContract*, size_t> step_of;
  std::vector<SharedContract::Wanted> wanted;
  std::vector<size_t> wanted_by;
  for (const PlannedAnew& p : planned) {
    if (const auto* contract = std::get_if<std::shared_ptr<const SharedContract>>(&p.source)) {
      const SymbolicContract* const symbolic = (*contract)->general().symbolic.get();
      const size_t count = symbolic->sizes().size();
      if (step_of.try_emplace(symbolic, p.step).second) {
        wanted.emplace_back(contract->get(), numbers.first(count));
        wanted_by.push_back(p.step);
      }
      numbers = numbers.subspan(count);
      continue;
    }
    if (const auto* make = std::get_if<MakeLibraryStep>(&p.source)) {
      const LibraryUnit unit = library_unit({}, (*make)(value_of));
      take(bound, p.step, unit);
      bound.steps[p.step].context = unit.context;
      bound.keep_alive.push_back(unit.context_owner);
      continue;
    }
    for_numbers(std::get<ContractKernel>(p.source), p.step);
  }
  const auto special = SharedContract::special_kernels(wanted);
  for (size_t i = 0; i < wanted.size(); ++i) {
    const auto& [contract, of_it] = wanted[i];
    std::optional<SymbolicContract::Bound> counts;
    if (!special[i]) {
      counts = contract->general().symbolic->bind(of_it);
    } else if (*special[i]) {
      const auto& [kernel, sizes_of_it] = **special[i];
      counts = kernel->symbolic->bind(sizes_of_it.run(values));
      bound.steps[wanted_by[i]].function = kernel->function;
      bound.keep_alive.push_back(kernel->code);
    }
    if (counts)
      take(bound, wanted_by[i], *counts);
    else
      for_numbers(contract->source(), wanted_by[i]);
  }
  const auto kernels = compile_kernels(contracts, host_target());
  for (size_t i = 0; i < kernels.size(); ++i) {
    take(bound, contract_steps[i], *kernels[i]);
    bound.keep_alive.push_back(kernels[i]->code);
  }
  for (const PlannedAnew& p : planned)
    if (const auto* contract = std::get_if<std::shared_ptr<const SharedContract>>(&p.source))
      if (const size_t first = step_of.at((*contract)->general().symbolic.get()); first != p.step)
        take_from(bound, p.step, first);
}

}  // namespace coregrad
