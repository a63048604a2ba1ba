#pragma once
// A contraction as machine code; shared by tests and micro-benchmarks.

#include "base/checked.h"
#include "codegen/contract/step.h"
#include "codegen/jit/jit.h"
#include "runtime/plan.h"

#include "contract_cases.h"
#include <cstdlib>
#include <memory>
#include <vector>

namespace coregrad {

/// Machine code of one contraction.
struct CompiledContract {
  CodeHandle code;
  StepFunction function = nullptr;
  ContractStep step;
  CompileTimes times;

  CompiledContract(const ContractKernel& kernel, const Target& target) {
    code = compile_module(
        target, "contract",
        [&](llvm::Module& module, SharedFunctions& shared) {
          step = emit_contract_kernel(module, shared, "contract", kernel, target);
        },
        &times);
    function = reinterpret_cast<StepFunction>(code->address("contract"));
    scratch.reset(std::aligned_alloc(
        4096, static_cast<size_t>(round_up(std::max<int64_t>(step.scratch_bytes, 64), 4096))));
  }

  /// All units in pieces of `piece` units, on the calling thread; in memory of the caller, if
  /// given.
  void run(const std::vector<void*>& buffers, int64_t piece = INT64_MAX,
           void* own_scratch = nullptr) const {
    RunStatus status;
    const std::vector<int64_t> params = specialized(step.params);
    const StepArgs args{buffers.data(), params.data(), own_scratch ? own_scratch : scratch.get(),
                        &status, nullptr};
    for (int64_t begin = 0; begin < step.range; begin += std::min(piece, step.range))
      function(&args, begin, std::min(step.range, begin + std::min(piece, step.range)), 0);
  }

  struct Free {
    void operator()(void* pointer) const { std::free(pointer); }
  };
  std::unique_ptr<void, Free> scratch;
};

}  // namespace coregrad
