#include "compile/shared_kernels.h"

#include "base/log.h"
#include "codegen/contract/step.h"
#include "codegen/jit/host_target.h"

namespace coregrad {

namespace {

/// A kernel for each, null where its planning asks for what symbols leave open.
std::vector<std::shared_ptr<const SharedContract::SpecialKernel>> compile_special(
    const std::vector<KernelSource>& sources) {
  std::vector<std::shared_ptr<const SharedContract::SpecialKernel>> kernels;
  try {
    for (const auto& kernel : compile_kernels(sources, host_target()))
      kernels.push_back(std::make_shared<SharedContract::SpecialKernel>(
          kernel, SizeProgram(kernel->symbolic->sizes())));
    return kernels;
  } catch (const InternalError& error) {
    log().debug("no kernel for few rows or lanes: {}", error.what());
    if (sources.size() == 1) return {nullptr};
  }
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
      const std::scoped_lock lock(contract.mutex_);
      contract.special_.emplace(few[missing[j]], made[j]);
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
    kernels.push_back(loops->kernel_);
  }
  if (missing.empty()) return kernels;
  const auto made = compile_kernels(sources, host_target());
  for (size_t j = 0; j < missing.size(); ++j) {
    const StreamedLoops& loops = *wanted[missing[j]];
    const std::scoped_lock lock(loops.mutex_);
    kernels[missing[j]] = loops.kernel_ = made[j];
  }
  return kernels;
}

}  // namespace coregrad
