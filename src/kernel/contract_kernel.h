#pragma once
// A Contract node with its operands' memory and its epilogue, as code generation takes it.

#include "ir/contract.h"
#include "kernel/loop_kernel.h"

#include <optional>
#include <string>
#include <vector>

namespace coregrad {

/// How an operand is read: an affine place in a buffer. `strides` are in elements, one per operand
/// dimension; the element is zero where a DimMap leaves the extent `shape[d]`.
struct ContractOperand {
  std::vector<SymInt> shape;
  std::vector<SymInt> strides;
  SymInt offset = 0;            ///< of element 0 from the buffer's start, in elements
  std::optional<DType> memory;  ///< what memory holds if not the kernel's dtype: cast as it is read
};

/// Whether a contraction of `dtype` can cast what it reads from `memory`.
bool can_be_memory(DType memory, DType dtype);

/// A side of a product has at least the product of what is assumed of its labels.
struct AssumedExtent {
  int64_t least = 0;  ///< 0: nothing is assumed
  bool is_exact = false;
  auto operator<=>(const AssumedExtent&) const = default;
};

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
  /// For a kernel of symbols where rows or lanes are few, which are worth code of their own: what
  /// is known of the labels' extents, in the order of the labels; empty: nothing.
  std::vector<AssumedExtent> assumed;

  /// Whether a size in it is a symbol's.
  bool has_symbols() const;
  /// The same with other sizes.
  ContractKernel with_sizes(const SizeFunction& value_of) const;
  std::string structure_key() const;
};

/// InternalError for a description that contradicts itself.
void check_kernel(const ContractKernel& kernel);

}  // namespace coregrad
