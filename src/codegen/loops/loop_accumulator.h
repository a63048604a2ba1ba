#pragma once
// The running state of one reduction inside generated loops.
//
// States are stack slots that emit_loop_kernel turns into registers at the end, so loops need not
// thread them through. Partial results are combined in an order that only the kernel decides.

#include "coregrad/dtype.h"
#include "ir/op.h"

#include <llvm/IR/IRBuilder.h>

#include <vector>

namespace coregrad {

/// The elementwise operation that a reduction repeats.
Op combining_op(Op reduction);
/// What a reduction of nothing gives; ArgMax and ArgMin start from the identity of their
/// comparison.
llvm::Constant* reduction_identity(llvm::LLVMContext& context, Op reduction, DType dtype);
/// One step of a reduction other than ArgMax and ArgMin.
llvm::Value* combine(llvm::IRBuilder<>& builder, Op reduction, DType dtype, llvm::Value* a,
                     llvm::Value* b);

class Accumulator {
 public:
  /// `slots` states of `width` lanes (1: scalars) and one scalar state for single elements.
  /// `positions` below 2^31 are counted in 32 bits.
  Accumulator(llvm::IRBuilder<>& builder, std::vector<llvm::AllocaInst*>& allocas, Op reduction,
              DType dtype, int slots, int width, int64_t positions);
  /// Gives every slot one more state, which `flush` of the level below adds to. Before reset().
  void add_level();
  /// Whether rounding errors add up: a sum of floats.
  bool is_float_sum() const { return reduction_ == Op::Sum && is_float(dtype_); }

  /// Moves what `level` took since its last flush to the level above, if there is one. Elements are
  /// taken by level 0.
  void flush(size_t level);

  /// Back to the identity.
  void reset();
  /// Takes one element a lane (or a scalar into the scalar state). Lanes where `mask` is false do
  /// not count. `position` (ArgMax, ArgMin): of each element, in position_type() or vectors of it.
  void update(int slot, llvm::Value* value, llvm::Value* mask, llvm::Value* position = nullptr);
  /// The result of each lane of one slot.
  llvm::Value* lanes(int slot);
  /// The result of everything.
  llvm::Value* total();
  llvm::Type* position_type() const { return position_type_; }

 private:
  struct State {
    llvm::Value* value;
    llvm::Value* position;  ///< null but for ArgMax and ArgMin
  };
  struct Slots {
    llvm::AllocaInst* value;
    llvm::AllocaInst* position;
  };
  bool is_arg() const { return reduction_ == Op::ArgMax || reduction_ == Op::ArgMin; }
  Slots make_slots(int width);
  State load(const Slots& slots);
  State finished(size_t slot);
  void clear(const Slots& slots, int width);
  void store(const Slots& slots, const State& state);
  State merge(const State& a, const State& b, bool positions_decide);
  llvm::Value* result(const State& state);

  llvm::IRBuilder<>& builder_;
  std::vector<llvm::AllocaInst*>& allocas_;
  Op reduction_;
  DType dtype_;
  int width_;
  llvm::IntegerType* position_type_;
  std::vector<std::vector<Slots>> levels_;  ///< each of one state a slot
  Slots scalar_;
};

}  // namespace coregrad
