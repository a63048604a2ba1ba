#pragma once
// Code for the packings of rows (schedule/contract/packing.h): a class each.

#include "codegen/contract/step_context.h"

#include <memory>

namespace coregrad {

/// A panel of rows of a block.
struct RowPanel {
  llvm::Value* number = nullptr;
  llvm::Value* m = nullptr;      ///< first row
  llvm::Value* local = nullptr;  ///< from the block's first row
};

class RowPacker {
 public:
  explicit RowPacker(StepContext& step) : step_(step), b_(step.b), plan_(step.plan) {}
  virtual ~RowPacker() = default;

  /// Reads what depends on sizes.
  virtual void read_sizes() {}
  /// Copies a block to the scratch for rows.
  virtual void pack(const Block&) {}
  /// Ahead of a block's panels.
  virtual void locate(const Block&) {}
  /// Where a tile finds its rows at the block's first step of k.
  virtual llvm::Value* tile(const Block& block, const RowPanel& panel) = 0;

 protected:
  StepContext& step_;
  llvm::IRBuilder<>& b_;
  const ContractPlan& plan_;
};

/// Adds the function that packs to the module. Not for tile registers.
std::unique_ptr<RowPacker> make_row_packer(StepContext& step);

}  // namespace coregrad
