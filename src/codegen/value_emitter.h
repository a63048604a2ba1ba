#pragma once
// Emits the values of a LoopKernel as LLVM IR at the builder's insertion point.
//
// Shared by the loop emitter (whole LoopKernels) and the contraction emitter (prologues that feed
// packing, epilogues on a register tile). A value that does not depend on the lane axis is emitted
// once as a scalar; others as vectors of `lane.width` elements (bool as <W x i1> or i1).

#include <span>
#include <vector>

#include <llvm/IR/IRBuilder.h>

#include "codegen/loop_kernel.h"
#include "codegen/target.h"

namespace coregrad {

/// Which axis the lanes run along. Lane l stands at axis value base + l.
struct Lane {
  int axis = -1;                   ///< -1: no lanes, everything scalar
  int width = 1;
  llvm::Value* mask = nullptr;     ///< <width x i1>: active lanes; null: all
};

class ValueEmitter {
 public:
  /// `buffers`: base pointers in the kernel's order. `status`: pointer to RunStatus or null when no
  /// value checks indices.
  ValueEmitter(llvm::IRBuilder<>& builder, const LoopKernel& kernel, const Target& target,
               std::span<llvm::Value* const> buffers, llvm::Value* status);

  /// Value of an axis (i64); for the lane axis, of lane 0. Forgets nothing: use scopes.
  void set_axis(int axis, llvm::Value* value);
  void set_lane(const Lane& lane);
  /// Supplies a value made elsewhere: a reduction's result, a kept row, a contraction's tile.
  void bind(ValueId id, llvm::Value* value);

  /// The value; scalar if it is uniform over lanes.
  llvm::Value* get(ValueId id);
  /// The value with one element per lane.
  llvm::Value* get_vector(ValueId id);
  llvm::Value* emit_index(const IndexExpr& index);  ///< i64, or <width x i64> if it varies over lanes
  void emit_store(const KernelStore& store);        ///< plain stores only

  bool varies_over_lanes(ValueId id) const;

  /// Values emitted inside a scope are forgotten at its end: they need not dominate what follows.
  void push_scope();
  void pop_scope();

 private:
  llvm::Value* emit(ValueId id);

  llvm::IRBuilder<>& builder_;
  const LoopKernel& kernel_;
  const Target& target_;
  std::vector<llvm::Value*> buffers_;
  llvm::Value* status_;
  std::vector<llvm::Value*> axis_values_;
  Lane lane_;
  std::vector<llvm::Value*> emitted_;
  std::vector<std::vector<std::pair<ValueId, llvm::Value*>>> scopes_;
};

/// LLVM type of one element (i1 for bool in registers; memory holds bool as one byte, 0 or 1).
llvm::Type* element_type(llvm::LLVMContext& context, DType dtype);

}  // namespace coregrad
