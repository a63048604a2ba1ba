#pragma once
// Products in tile registers (AMX): packing, and the micro-kernel over them.
//
// A tile instruction adds the product of 16 rows x 32 steps of k and 32 steps of k x 16 lanes to 16
// x 16 float32 sums. Operands are packed as panels of 16 rows or lanes, the tiles of a panel one
// after the other: 16 rows of 32 steps of k, or 16 pairs of steps of k for 16 lanes. Steps of k are
// padded to a multiple of 32 with zeros, rows and lanes to a multiple of 16 with anything.

#include "schedule/contract/plan.h"

#include <llvm/IR/IRBuilder.h>

#include <string>

namespace coregrad {

constexpr int64_t kTileSide = 16;   ///< rows and lanes of a tile of sums
constexpr int64_t kTileDepth = 32;  ///< steps of k of an instruction

/// Between these two, tiles may be used. Nothing else uses tile registers, and no other function
/// changes them.
void emit_tiles_begin(llvm::IRBuilder<>& builder);
void emit_tiles_end(llvm::IRBuilder<>& builder);

/// As emit_micro_kernel, for multiples of 16 rows and lanes: eight tiles have to do.
llvm::Function* emit_tile_micro_kernel(llvm::Module& module, const std::string& name,
                                       const ContractPlan& plan, int64_t rows, int64_t lanes);

/// (source, steps of k, rows or lanes, target): packs a block whose first element is `source`.
/// Elements lie as the plan's TileOperand says.
llvm::Function* emit_pack_tile_lanes(llvm::Module& module, const std::string& name,
                                     const ContractPlan& plan, const Target& target);
llvm::Function* emit_pack_tile_rows(llvm::Module& module, const std::string& name,
                                    const ContractPlan& plan, const Target& target);

}  // namespace coregrad
