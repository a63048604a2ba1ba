#pragma once
// Kernels of symbols, and those for some sizes alone that are made when such sizes are met.

#include "base/size_program.h"
#include "codegen/jit/kernel_cache.h"
#include "kernel/contract_kernel.h"
#include "kernel/loop_kernel.h"

#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <utility>
#include <vector>

namespace coregrad {

/// A contraction of symbols: its kernel for all sizes, and those for few rows or lanes, which are
/// made when they are met.
class SharedContract {
 public:
  SharedContract(ContractKernel source, std::shared_ptr<const CompiledKernel> general)
      : source_(std::move(source)), general_(std::move(general)) {}

  const CompiledKernel& general() const { return *general_; }

  /// Contractions and their sizes.
  using Wanted = std::pair<const SharedContract*, std::span<const int64_t>>;
  /// A kernel for few rows or lanes, and what its sizes are.
  struct SpecialKernel {
    std::shared_ptr<const CompiledKernel> kernel;
    SizeProgram sizes;
  };
  using Special = std::optional<std::shared_ptr<const SpecialKernel>>;
  /// The best kernel for each: the general one where there is no value, one for numbers alone where
  /// it is null. What is not there is made, all at once.
  static std::vector<Special> special_kernels(std::span<const Wanted> wanted);
  const ContractKernel& source() const { return source_; }

 private:
  using Few = std::vector<AssumedExtent>;

  ContractKernel source_;
  std::shared_ptr<const CompiledKernel> general_;
  mutable std::mutex mutex_;
  mutable std::map<Few, std::shared_ptr<const SpecialKernel>> special_;  ///< null: there is none
};

/// Loops of symbols whose results go around the caches, for sizes that move much: a kernel of its
/// own with the same parameters, which is made when it is met.
class StreamedLoops {
 public:
  explicit StreamedLoops(LoopKernel source) : source_(std::move(source)) { source_.stream(); }

  /// The kernel of each, null where there is none. What is not there is made, all at once.
  static std::vector<std::shared_ptr<const CompiledKernel>> kernels(
      std::span<const StreamedLoops* const> wanted);

 private:
  LoopKernel source_;
  mutable std::mutex mutex_;
  mutable std::optional<std::shared_ptr<const CompiledKernel>> kernel_;  ///< once it was asked for
};

}  // namespace coregrad
