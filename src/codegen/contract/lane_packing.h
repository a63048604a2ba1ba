#pragma once
// Code for the packings of lanes (schedule/contract/packing.h): a class each.

#include "codegen/contract/step_context.h"

#include <memory>

namespace coregrad {

class LanePacker {
 public:
  explicit LanePacker(StepContext& step) : step_(step), b_(step.b), plan_(step.plan) {}
  virtual ~LanePacker() = default;

  /// Reads what depends on sizes.
  virtual void read_sizes() {}
  /// Copies a block to the scratch for lanes.
  virtual void pack(const Block&) {}
  /// Ahead of a block's panels.
  virtual void locate(const Block&) {}
  /// Where a tile finds its lanes, n and those behind it, at the block's first step of k; `local`:
  /// n from the block's first lane.
  virtual llvm::Value* tile(const Block& block, llvm::Value* n, llvm::Value* local) = 0;

 protected:
  StepContext& step_;
  llvm::IRBuilder<>& b_;
  const ContractPlan& plan_;
};

/// Adds the function that packs to the module. Not for tile registers.
std::unique_ptr<LanePacker> make_lane_packer(StepContext& step);

}  // namespace coregrad
