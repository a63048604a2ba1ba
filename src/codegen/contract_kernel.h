#pragma once
// Contractions as machine code: packing, register-tile micro-kernel, blocking, fused epilogue.
//
// Plain description of a Contract node after canonicalisation by the compiler. The generator
// decides which free labels become rows and lanes of the tile, how panels are packed, and the
// blocking.

#include "codegen/jit.h"
#include "codegen/loop_kernel.h"
#include "codegen/target.h"
#include "ir/contract.h"

#include <optional>
#include <string>
#include <vector>

namespace llvm {
class Module;
}

namespace coregrad {

/// How an operand is read: an affine place in a buffer. `strides` are in elements, one per operand
/// dimension; the element is zero where a DimMap leaves the extent `shape[d]`.
struct ContractOperand {
  std::vector<int64_t> shape;
  std::vector<int64_t> strides;
  int64_t offset = 0;           ///< of element 0 from the buffer's start, in elements
  std::optional<DType> memory;  ///< what memory holds if not the kernel's dtype: cast as it is read
};

/// Whether a contraction of `dtype` can cast what it reads from `memory`.
bool can_be_memory(DType memory, DType dtype);

/// buffers of the step: 0 = lhs, 1 = rhs, then the buffers of `epilogue` in its order.
///
/// `epilogue` is a LoopKernel whose parallel axes are the output dimensions in order (no loop sets,
/// lane_parallel) and in which exactly one value is ValueKind::Bound: the contraction's result at
/// those axes. Its stores are the step's results. A plain contraction has one store of the bound
/// value.
struct ContractKernel {
  DType dtype;
  ContractSpec spec;
  ContractOperand lhs, rhs;
  LoopKernel epilogue;
  /// Other sizes will follow: code that several of them can share is worth a few per cent.
  bool any_size = false;

  std::string structure_key() const;
};

/// What the executor needs to know of the generated step.
struct ContractStep {
  int64_t range = 1, chunk = 1;
  int64_t scratch_bytes = 0;  ///< per worker
  double flops = 0;
  std::vector<int64_t> params;  ///< StepArgs::params
};

/// Adds `symbol`, a StepFunction, to the module.
ContractStep emit_contract_kernel(llvm::Module& module, const std::string& symbol,
                                  const ContractKernel& kernel, const Target& target);

}  // namespace coregrad
