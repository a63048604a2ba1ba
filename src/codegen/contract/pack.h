#pragma once
// Copies a block of an operand into scratch in the order the micro-kernel reads it.
//
// Padding, dilation and stride of windows are resolved here: a place outside the operand is packed
// as zero, so a convolution is multiplied like a matrix.

#include "schedule/contract/plan.h"

#include <llvm/IR/IRBuilder.h>

#include <string>
#include <vector>

namespace coregrad {

/// A function (source, p, r0, r1, c0, c1, target) that packs target[(r - r0) * stride + (c - c0)] =
/// element at (p, r, c) for packed rows r and columns c, run by run along the columns. May write up
/// to 2 * width - 1 elements behind each row. A plan whose dtype is narrow packs memory as it is.
llvm::Function* emit_pack_runs(llvm::Module& module, const std::string& name,
                               const ContractPlan& plan, const WindowPacking& packing,
                               int64_t stride, const Target& target);

/// The same signature and result for the lane side (rows = k, columns = n) where memory is
/// contiguous along k: 16-byte pieces of a vector of lanes are transposed in registers. May write a
/// piece's steps of k too many, and lanes in front of the first column
/// (ContractPlan::lane_pack_offset).
llvm::Function* emit_pack_transposed(llvm::Module& module, const std::string& name,
                                     const ContractPlan& plan, const Target& target);

/// Rows that are neighbours in memory (one segment each way, no checks) into panels: (source, p,
/// k0, k1, first panel, end panel, target, num_tall_panels, row_panel_elements),
/// [panel][k][row of the panel].
llvm::Function* emit_pack_row_panels(llvm::Module& module, const std::string& name,
                                     const ContractPlan& plan);

/// Within each 16-byte block, element (row i, place j) of the given vectors goes to (row j, place
/// i). Vectors hold as many rows as a block has elements: four or two.
void transpose_blocks(llvm::IRBuilder<>& b, std::vector<llvm::Value*>& rows, int64_t width);

}  // namespace coregrad
