#pragma once
// How a contraction is computed: the roles of its labels, the tile of results that is kept in
// registers, the blocks around it and how blocks are packed. Pure arithmetic on shapes; no LLVM.
//
// A unit of work is (group of p, block of rows, block of lanes) and owns its outputs.

#include "kernel/target.h"
#include "schedule/contract/packing.h"
#include "schedule/contract/roles.h"

#include <cstdint>
#include <string>
#include <variant>

namespace coregrad {

/// Vector registers: broadcasts of row elements times vectors of lanes at each step of k.
struct OuterTile {
  int64_t steps_at_once = 1;  ///< steps of k that its loop takes at once
};

/// Vector registers along k in both operands, whose lanes are summed at the end: narrow outputs.
struct DotTile {};

constexpr int64_t kMatrixSide = 16;   ///< rows and lanes of a register of sums
constexpr int64_t kMatrixDepth = 32;  ///< steps of k of an instruction

/// Tile registers (AMX). Packed operands are bfloat16, like memory.
struct MatrixTile {
  int64_t lanes_at_once = 0;   ///< lanes of a unit that are packed at once
  int64_t k_at_once = 0;       ///< steps of k that sums are kept in registers for
  int64_t finished_lanes = 0;  ///< lanes that the epilogue takes at once
};

struct ContractPlan : ContractRoles {
  std::variant<OuterTile, DotTile, MatrixTile> tile;
  RowPacking rows;
  LanePacking lanes;
  /// Lanes as LaneWindows packs them (rows k, columns n), otherwise as they are. With windows the
  /// lanes multiplied are packed columns: where more than the outermost label of n slides, some lie
  /// between the lanes of n and are dropped at the end.
  WindowPacking lane_windows;
  int64_t num_lanes = 1;

  /// Estimated vector operations to pack `width` elements of a side; 0 in place.
  double lane_copy_cost = 0, row_copy_cost = 0;

  /// Rows come in panels of tile_rows, after num_tall_panels in panels of tile_rows - 1; or
  /// last_rows_overlap().
  int64_t tile_rows = 1, num_row_panels = 1, num_tall_panels = 1;
  /// Lanes come in panels of tile_lanes; the last one may be narrower.
  int64_t tile_lanes = 1, num_lane_panels = 1;

  int64_t panels_per_row_block = 1, num_row_blocks = 1;
  int64_t panels_per_lane_block = 1, num_lane_blocks = 1;
  /// A block of k does not cross a multiple of k_turn steps.
  int64_t k_block = 1, num_k_blocks = 1, k_turn = 1;
  int64_t p_per_unit = 1, num_p_groups = 1;
  int64_t first_unit = 0;  ///< of this phase among those of all

  /// Scratch of a worker, in elements: packed lanes, packed rows, results, and what is copied first
  /// for tile registers.
  int64_t lane_pack_elements = 0, row_pack_elements = 0, result_elements = 0, copy_elements = 0;
  int64_t lane_pack_offset = 0;  ///< of the first packed lane
  int64_t result_stride = 0;     ///< from row to row
  /// Micro-kernels write their sums to where the step's result lies: rows result_stride apart, and
  /// no lanes behind the last.
  bool writes_result = false;

  ContractPlan() = default;
  /// Roles alone: nothing is packed.
  explicit ContractPlan(const ContractRoles& roles)
      : ContractRoles(roles),
        lane_windows(plain_packing(lane_side, k, n, sizes)),
        num_lanes(n.extent) {}

  const MatrixTile* matrix() const { return std::get_if<MatrixTile>(&tile); }
  bool is_outer() const { return std::holds_alternative<OuterTile>(tile); }
  bool is_dot() const { return std::holds_alternative<DotTile>(tile); }
  const RowWindows* row_windows() const { return std::get_if<RowWindows>(&rows); }
  bool packs_rows() const { return !std::holds_alternative<RowsInPlace>(rows); }
  bool packs_lanes() const { return !std::holds_alternative<LanesInPlace>(lanes); }

  /// Panels of about equal height.
  void set_panels(int64_t rows_of_tile, int64_t lanes_of_tile);
  /// Panels of this tile.
  void count_panels();
  /// Gives symbols values: the code is the same, counts are chosen anew. Of lane_windows, extents
  /// are right, and nothing that only code is made from.
  void set_sizes(const SizeFunction& value_of, const Target& target);
  /// Whether packed lanes may lie between those of n.
  bool has_lanes_between() const;
  /// Of the last lane panel.
  int64_t last_lanes() const { return num_lanes - (num_lane_panels - 1) * tile_lanes; }
  int64_t units() const;
  int64_t scratch_elements() const;
  /// `elements` rounded up to whole cache lines.
  int64_t whole_lines(int64_t elements) const;
  /// Whether code for panels of tile_rows - 1 is there; sizes that share it may need it.
  bool has_low_panels() const;
  /// Whether all panels have tile_rows, of any number of rows that are as many or more: the last
  /// begins where it fits, and its first rows are those of the panel before, multiplied again.
  bool last_rows_overlap() const { return !m.is_fixed && tile_rows > 1; }
  /// Whether sums of several blocks of k may have to be added.
  bool may_cut_k() const {
    return num_k_blocks > 1 || (has_symbols && (packs_lanes() || packs_rows()));
  }
  int64_t rows_per_block() const;  ///< most rows of a block
  /// Most rows of sums of a block, each panel's behind those of the one before.
  int64_t sums_per_block() const {
    return last_rows_overlap() ? panels_per_row_block * tile_rows : rows_per_block();
  }
  int64_t lanes_per_block() const { return panels_per_lane_block * tile_lanes; }
  std::string to_text() const;
};

/// Chooses everything. `kernel` must be valid (emit_contract_kernel checks it), and have no symbols
/// unless has_common_plan().
ContractPlan plan_contract(const ContractKernel& kernel, const Target& target);

/// Whether all values of the kernel's symbols can have one plan. (Panels for tile registers are
/// laid out by numbers.)
bool has_common_plan(const ContractKernel& kernel, const Target& target);

}  // namespace coregrad
