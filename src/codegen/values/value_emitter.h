#pragma once
// Emits the values of a LoopKernel as LLVM IR at the builder's insertion point.
//
// Shared by the loop emitter (whole LoopKernels) and the contraction emitter (epilogues on a tile
// of sums). A value that does not depend on the lane axis is emitted once as a scalar; others as
// vectors of `lane.width` elements (bool as <W x i1> or i1).
//
// Scopes are loop levels. push_scope() is called where the builder stands before the loop's blocks,
// in a block that dominates the loop and what follows it; axes and lanes set afterwards belong to
// the new scope. Whatever depends only on axes of outer scopes is then emitted in that block, once,
// however deep the builder stands when it is asked for. So a load may happen before a loop that
// then runs zero times: the caller sees to it that the address is valid in that case too.
//
// value_emitter.cpp: scopes and values. value_index.cpp: indices. value_memory.cpp: loads, stores.

#include "codegen/ir/step_params.h"
#include "codegen/values/elementwise_emitter.h"
#include "kernel/loop_kernel.h"
#include "kernel/target.h"
#include "kernel/value_axes.h"

#include <llvm/IR/IRBuilder.h>

#include <span>
#include <vector>

namespace coregrad {

/// Which axis the lanes run along. Lane l stands at axis value base + l.
struct VectorLane {
  int axis = -1;  ///< -1: no lanes, everything scalar
  int width = 1;
  llvm::Value* mask = nullptr;  ///< <width x i1>: active lanes; null: all. Lane 0 must be active
  bool aligned = false;         ///< the base is a multiple of width
  bool is_inside = false;       ///< ValueEmitter::lanes_are_inside() holds
  bool of_rows = false;         ///< that asks for what is the same for all lanes, too
};

class ValueEmitter {
 public:
  /// `buffers`: base pointers in the kernel's order. `status`: pointer to RunStatus or null when no
  /// value checks indices.
  ValueEmitter(llvm::IRBuilder<>& builder, const LoopKernel& kernel, const Target& target,
               std::span<llvm::Value* const> buffers, llvm::Value* status, StepParams& sizes);

  /// Value of an axis (i64); for the lane axis, of lane 0. Until the end of the scope.
  void set_axis(int axis, llvm::Value* value);
  /// Until the end of the scope.
  void set_lane(const VectorLane& lane);
  /// What the caller knows of a buffer's pointer: a multiple of `bytes`. Stores to a non_temporal
  /// buffer bypass the caches where that proves their addresses aligned; the caller fences.
  void set_alignment(int buffer, int64_t bytes) { alignments_[buffer] = bytes; }
  /// Supplies a value made elsewhere: a reduction's result, a kept row, a contraction's tile. Until
  /// the end of the scope.
  void bind(ValueId id, llvm::Value* value);

  /// The value; scalar if it is uniform over lanes.
  llvm::Value* get(ValueId id);
  /// The value with one element per lane.
  llvm::Value* get_vector(ValueId id);
  llvm::Value* emit_index(
      const IndexExpr& index);                ///< i64, or <width x i64> if it varies over lanes
  void emit_store(const KernelStore& store);  ///< plain stores only
  /// Two plain stores to every other element each, as whole vectors; false, and nothing is written,
  /// where they are no such pair.
  bool emit_store_pair(const KernelStore& even, const KernelStore& odd);

  /// Exact for a value that was emitted or bound; otherwise whether it may.
  bool varies_over_lanes(ValueId id) const;
  bool index_varies_over_lanes(const IndexExpr& index) const;

  /// Element `index` of a buffer, read here and now (never moved to an outer scope); inactive lanes
  /// give zero.
  llvm::Value* load_here(int buffer, const IndexExpr& index);
  /// Writes active lanes.
  void store_here(int buffer, const IndexExpr& index, llvm::Value* value);
  /// Whether all lanes of so many vectors lie within what kernel values of kind InRange ask of
  /// them, as far as these are affine in the lane, and their other axes set before it; for lanes
  /// of_rows, what does not depend on the lane as well. Null: nothing is asked.
  llvm::Value* lanes_are_inside(int vectors);
  /// Address of the element (of lane 0).
  llvm::Value* element_pointer(int buffer, const IndexExpr& index);

  /// One element per lane of a scalar; vectors pass through.
  llvm::Value* widen(llvm::Value* value);
  const VectorLane& lane() const { return lane_; }
  /// Whether values come as vectors at all.
  bool has_lanes() const { return lane_.axis >= 0 && lane_.width > 1; }

  /// Values emitted inside a scope are forgotten at its end: they need not dominate what follows.
  void push_scope();
  void pop_scope();

 private:
  struct Emitted {
    llvm::Value* value = nullptr;
    llvm::Value* splat = nullptr;
    int level = 0;  ///< the scope it belongs to
  };
  struct Scope {
    llvm::BasicBlock* block;  ///< where values of the scope around it are emitted
    std::vector<std::pair<ValueId, Emitted>> values;  ///< what they were before
    std::vector<std::pair<uint32_t, Emitted>> atoms;
    std::vector<std::pair<int, std::pair<llvm::Value*, int>>> axes;
    VectorLane lane;
    int lane_level;
  };
  /// An index taken apart: its value at lane 0, the step from lane to lane, and the rest.
  struct SplitIndex {
    IndexExpr base;
    SymInt slope = 0;
    std::vector<IndexExpr::Term> vectors;  ///< terms that are not affine in the lane

    bool is_uniform() const { return slope.is_identical(0) && vectors.empty(); }
    bool is_affine() const { return vectors.empty(); }
  };
  /// Moves the builder to where values of a level are emitted, for its lifetime.
  class AtLevel {
   public:
    AtLevel(ValueEmitter& emitter, int level);
    ~AtLevel();
    AtLevel(const AtLevel&) = delete;
    AtLevel& operator=(const AtLevel&) = delete;

   private:
    ValueEmitter& emitter_;
    int level_;
    llvm::IRBuilderBase::InsertPoint saved_;
    bool moved_ = false;
  };

  int depth() const { return static_cast<int>(scopes_.size()) - 1; }
  void remember(ValueId id, Emitted emitted);
  Emitted emit(ValueId id);
  Emitted emit_elementwise_value(const KernelValue& v);
  Emitted emit_index_value(const KernelValue& v);
  Emitted emit_in_range(const KernelValue& v);
  bool asks_for_inside(const KernelValue& v) const;
  Emitted emit_random(const KernelValue& v);
  Emitted emit_check_index(const KernelValue& v);
  Emitted emit_load(const KernelValue& v);
  llvm::Value* operand(const KernelValue& v, int k, bool as_vector);

  void get_values_of(const IndexExpr& index);
  SplitIndex split(const IndexExpr& index) const;
  int level_of(const IndexExpr& index) const;
  bool fits_int32(const IndexExpr& index) const;
  /// i64 at lane 0; each part is emitted at its own level.
  llvm::Value* scalar_index(const IndexExpr& index);
  std::pair<llvm::Value*, int> scalar_atom(AtomId id);
  llvm::Value* vector_index(const IndexExpr& index, int bits);
  llvm::Value* vector_atom(AtomId id, int bits);
  /// Sum of the lane-dependent parts: slope * lane + vectors, without the base.
  llvm::Value* lane_offsets(const SplitIndex& split, int bits);
  llvm::Value* divide(AtomKind kind, llvm::Value* x, SymInt divisor, bool is_non_negative);
  /// A size of x's type.
  llvm::Value* size_like(llvm::Type* type, SymInt size);

  llvm::Type* memory_type(DType dtype) const;
  llvm::Value* to_register(DType dtype, llvm::Value* memory);
  llvm::Value* load_split(int buffer, const SplitIndex& index, llvm::Value* mask);
  llvm::Value* load_every_second(llvm::FixedVectorType* type, llvm::Value* pointer,
                                 llvm::Value* lanes, int buffer);
  llvm::Value* masked_load(llvm::FixedVectorType* type, llvm::Value* pointer, llvm::Value* lanes,
                           int buffer);
  void masked_store(llvm::Value* vector, llvm::Value* pointer, llvm::Value* lanes, int buffer);
  void whole_store(llvm::Value* vector, llvm::Value* pointer, int64_t alignment, int buffer);
  llvm::Value* to_memory(DType dtype, llvm::Value* value);
  llvm::Value* pick_lanes(llvm::Value* mask, llvm::ArrayRef<int> order);
  std::pair<llvm::Value*, llvm::Value*> split_mask(llvm::Value* mask);
  llvm::Value* lane_mask_and(llvm::Value* mask);
  llvm::Value* zeros();
  int64_t proven_alignment(int buffer, const SplitIndex& index) const;
  bool is_of_nothing(const IndexExpr& index) const;
  template <class Instruction>
  Instruction* annotate(Instruction* access, int buffer);

  llvm::IRBuilder<>& builder_;
  const LoopKernel& kernel_;
  const Target& target_;
  std::vector<llvm::Value*> buffers_;
  llvm::Value* status_;
  StepParams& sizes_;
  std::vector<int64_t> alignments_;  ///< of the buffers' pointers, in bytes
  std::vector<uint64_t> axes_of_values_;
  std::vector<std::pair<llvm::Value*, int>> axes_;  ///< value and level
  VectorLane lane_;
  int lane_level_ = 0;
  std::vector<Emitted> emitted_;
  std::vector<Emitted> atoms_;
  std::vector<Scope> scopes_;
  std::vector<llvm::MDNode*> alias_scopes_;  ///< one a buffer; null: nothing is known
};

}  // namespace coregrad
