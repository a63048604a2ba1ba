#pragma once
// Rows and lanes as tile registers (AMX) take them.
//
// An instruction adds the product of 16 rows x 32 steps of k and 32 steps of k x 16 lanes to 16 x
// 16 float32 sums. Operands are packed as panels of 16 rows or lanes, the blocks of a panel one
// after the other: 16 rows of 32 steps of k, or 16 pairs of steps of k for 16 lanes. Steps of k are
// padded to a multiple of 32 with zeros, rows and lanes to a multiple of 16 with anything.

#include "codegen/contract/pack.h"

#include <optional>

namespace coregrad {

/// One side of a product.
class MatrixPacker {
 public:
  /// Adds the functions that pack to the module.
  MatrixPacker(StepContext& step, bool is_row_side);

  /// Copies rows or lanes [first, end) of a block to the scratch for them.
  void pack(const Block& block, llvm::Value* first, llvm::Value* end);
  /// Where a tile finds its rows or lanes at a step of k; both from the first that is packed.
  llvm::Value* tile(llvm::Value* local, llvm::Value* k);

 private:
  StepContext& step_;
  bool is_row_side_;
  const MatrixPanels& how_;
  const AffineOperand& operand_;
  const FlatSpace& space_;    ///< rows or lanes
  std::optional<Pack> copy_;  ///< where memory is no plain matrix
  llvm::Function* pack_ = nullptr;
};

}  // namespace coregrad
