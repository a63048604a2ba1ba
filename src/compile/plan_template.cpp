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

std::shared_ptr<const CompiledKernel> SharedContract::kernel_for(
    std::span<const int64_t> values) const {
  constexpr size_t kMostSpecial = 16;
  std::vector<int64_t> few = general_->symbolic->few(values);
  if (few.empty()) return nullptr;
  const std::scoped_lock lock(mutex_);
  const auto found = special_.find(few);
  if (found != special_.end()) return found->second;
  if (special_.size() == kMostSpecial) return nullptr;
  ContractKernel kernel = source_;
  kernel.assumed = few;
  std::shared_ptr<const CompiledKernel> made;
  try {
    made = compile_kernels({kernel}, host_target()).front();
  } catch (const InternalError& error) {  // it asked for what is not decided
    log().debug("no kernel for few rows or lanes: {}", error.what());
  }
  return special_.emplace(std::move(few), std::move(made)).first->second;
}

void PlanTemplate::finish() {
  std::vector<SymInt> all;  // in the order in which bind() takes them
  for (const TemporarySizes& t : temporaries) all.push_back(t.bytes);
  for (const SlotSizes& slot : slots) all.insert(all.end(), {slot.bytes, slot.offset});
  all.insert(all.end(), params.begin(), params.end());
  for (const StepSizes& s : steps)
    all.insert(all.end(), {s.range, s.chunk, s.scratch_bytes, s.work});
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
  make_planned(*bound, values, {number, numbers.end()});
  if (!iterations.empty())
    expand(*bound, iterations, std::span(memory.offsets).subspan(temporaries.size()));
  for (const Step& step : bound->steps)
    bound->max_scratch_bytes = std::max(bound->max_scratch_bytes, step.scratch_bytes);
  bound->totals = total_up(*bound);
  return bound;
}

void PlanTemplate::make_planned(Plan& bound, std::span<const int64_t> values,
                                std::span<const int64_t> numbers) const {
  if (planned.empty()) return;
  const SizeFunction value_of = [&](SymInt x) { return SymInt(env->evaluate(x, values)); };
  std::vector<KernelSource> contracts;
  std::vector<size_t> contract_steps;
  // Equal layers have equal products: the same kernel for the same sizes.
  std::map<const SymbolicContract*, size_t> step_of;
  for (const PlannedAnew& p : planned) {
    if (const auto* contract = std::get_if<std::shared_ptr<const SharedContract>>(&p.source)) {
      const CompiledKernel& general = (*contract)->general();
      const size_t count = general.symbolic->sizes().size();
      const std::span<const int64_t> of_it = numbers.first(count);
      numbers = numbers.subspan(count);
      const auto [equal, is_first] = step_of.try_emplace(general.symbolic.get(), p.step);
      if (!is_first) {
        take_from(bound, p.step, equal->second);
        continue;
      }
      if (const auto special = (*contract)->kernel_for(of_it)) {
        std::vector<int64_t> of_special;
        for (const SymInt x : special->symbolic->sizes())
          of_special.push_back(env->evaluate(x, values));
        take(bound, p.step, special->symbolic->bind(of_special));
        bound.steps[p.step].function = special->function;
        bound.keep_alive.push_back(special->code);
      } else {
        take(bound, p.step, general.symbolic->bind(of_it));
      }
      continue;
    }
    if (const auto* make = std::get_if<MakeLibraryStep>(&p.source)) {
      const LibraryUnit unit = library_unit({}, (*make)(value_of));
      take(bound, p.step, unit);
      bound.steps[p.step].context = unit.context;
      bound.keep_alive.push_back(unit.context_owner);
      continue;
    }
    ContractKernel kernel = std::get<ContractKernel>(p.source).with_sizes(value_of);
    kernel.any_size = true;
    contracts.emplace_back(std::move(kernel));
    contract_steps.push_back(p.step);
  }
  const auto kernels = compile_kernels(contracts, host_target());
  for (size_t i = 0; i < kernels.size(); ++i) {
    take(bound, contract_steps[i], *kernels[i]);
    bound.keep_alive.push_back(kernels[i]->code);
  }
}

}  // namespace coregrad
