#include "compile/shared_kernels.h"

#include "base/log.h"
#include "codegen/contract/step.h"
#include "codegen/jit/host_target.h"

namespace coregrad {

namespace {

/// A kernel for each, null where its planning asks for what symbols leave open.
std::vector<std::shared_ptr<const CompiledKernel>> compile_special(
    const std::vector<KernelSource>& sources) {
  try {
    return compile_kernels(sources, host_target());
  } catch (const InternalError& error) {
    log().debug("no kernel for these sizes alone: {}", error.what());
    if (sources.size() == 1) return {nullptr};
  }
  std::vector<std::shared_ptr<const CompiledKernel>> kernels;
  for (const KernelSource& source : sources) kernels.push_back(compile_special({source}).front());
  return kernels;
}

}  // namespace

std::vector<SharedContract::Special> SharedContract::special_kernels(
    std::span<const Wanted> wanted) {
  std::vector<Few> few;
  std::vector<size_t> missing;
  std::vector<KernelSource> sources;
  for (const auto& [contract, values] : wanted) {
    few.push_back(contract->general_->symbolic->few(values));
    const std::scoped_lock lock(contract->mutex_);
    if (few.back().empty() || contract->special_.contains(few.back())) continue;
    missing.push_back(few.size() - 1);
    ContractKernel kernel = contract->source_;
    kernel.assumed = few.back();
    sources.emplace_back(std::move(kernel));
  }
  if (!missing.empty()) {
    const auto made = compile_special(sources);
    for (size_t j = 0; j < missing.size(); ++j) {
      const SharedContract& contract = *wanted[missing[j]].first;
      std::shared_ptr<const SpecialKernel> kernel;
      if (made[j])
        kernel = std::make_shared<SpecialKernel>(made[j], SizeProgram(made[j]->symbolic->sizes()));
      const std::scoped_lock lock(contract.mutex_);
      contract.special_.emplace(few[missing[j]], std::move(kernel));
    }
  }
  std::vector<Special> kernels(wanted.size());
  for (size_t i = 0; i < wanted.size(); ++i) {
    if (few[i].empty()) continue;
    const SharedContract& contract = *wanted[i].first;
    const std::scoped_lock lock(contract.mutex_);
    kernels[i] = contract.special_.at(few[i]);
  }
  return kernels;
}

std::vector<std::shared_ptr<const CompiledKernel>> StreamedLoops::kernels(
    std::span<const StreamedLoops* const> wanted) {
  std::vector<std::shared_ptr<const CompiledKernel>> kernels;
  std::vector<size_t> missing;
  std::vector<KernelSource> sources;
  for (const StreamedLoops* loops : wanted) {
    const std::scoped_lock lock(loops->mutex_);
    if (!loops->kernel_) {
      missing.push_back(kernels.size());
      sources.emplace_back(loops->source_);
    }
    kernels.push_back(loops->kernel_.value_or(nullptr));
  }
  if (missing.empty()) return kernels;
  const auto made = compile_special(sources);
  for (size_t j = 0; j < missing.size(); ++j) {
    const StreamedLoops& loops = *wanted[missing[j]];
    const std::scoped_lock lock(loops.mutex_);
    loops.kernel_ = kernels[missing[j]] = made[j];
  }
  return kernels;
}

}  // namespace coregrad
