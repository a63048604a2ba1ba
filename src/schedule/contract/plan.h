#pragma once
// How a contraction is computed: which labels run along rows, lanes and the summed direction, the
// register tile, the blocking and the packing. Pure arithmetic on shapes; no LLVM.
//
// One operand is the *lane side* (its free labels run along vector lanes), the other the *row side*
// (its elements are broadcast). Labels are put into four flat index spaces, each walked with one
// counter, the last label fastest:
//   p  whatever is looped over outside (batch labels, and free labels that cannot share a vector)
//   m  rows, n  lanes, k  summed
// A unit of work is (group of p, block of rows, block of lanes) and owns its outputs.

#include "kernel/target.h"
#include "schedule/contract/windows.h"

#include <cstdint>
#include <string>
#include <vector>

namespace coregrad {

enum class LanePacking : uint8_t {
  InPlace,    ///< rows of lanes are contiguous in memory and read there
  Runs,       ///< copied run by run along the lanes
  Transpose,  ///< memory is contiguous along k: transposed in registers
};

enum class RowPacking : uint8_t {
  InPlace,
  RunsAlongK,  ///< copied to [row][k]
  RunsAlongM,  ///< copied to [k][row]
  Panels,   ///< memory is plain and contiguous along rows: copied to [panel][k][row of the panel]
  Windows,  ///< copied to [row without windows][k as packed]; tiles have whole windows
};

/// What the micro-kernel does at each step of k.
enum class TileKind : uint8_t {
  Outer,   ///< broadcast of row elements times vectors of lanes
  Dot,     ///< vectors run along k in both operands; lanes are summed at the end (narrow outputs)
  Matrix,  ///< tile registers (codegen/contract/matrix.h); packed operands are bfloat16, like
           ///< memory
};

/// How blocks of an operand are packed for tile registers.
struct TileOperand {
  bool along_k = true;  ///< steps of k are neighbours, otherwise rows or lanes
  int64_t stride = 0;  ///< elements to the next row or lane, or, not along k, to the next step of k
  bool is_copied = false;  ///< run by run into a block with this stride, which is then packed
};

struct ContractPlan {
  DType dtype = DType::Float32;
  std::vector<int64_t> extents;  ///< one per label
  bool swapped = false;          ///< the row side is rhs
  AffineOperand row_side, lane_side;
  FlatSpace p, m, n, k;

  TileKind kind = TileKind::Outer;
  int64_t width = 1;  ///< elements of a vector
  LanePacking lane_packing = LanePacking::Runs;
  RowPacking row_packing = RowPacking::InPlace;

  /// Lanes as Runs packs them (rows k, columns n). With windows, blocks of k have a multiple of
  /// lane_turn steps (whole windows), and the lanes multiplied are packed columns: where more than
  /// the outermost label of n slides, some lie between the lanes of n and are dropped at the end.
  WindowPacking lane_windows;
  int64_t lane_turn = 1, num_lanes = 1;
  /// Rows as Windows packs them (rows m, columns k): count steps of k of a block, a multiple of
  /// row_span_k, take count / row_span_k * row_span + row_span_rest columns.
  WindowPacking row_windows;
  int64_t row_span_k = 1, row_span = 1, row_span_rest = 0;

  /// With TileKind::Matrix. The packing kinds above are not used then.
  TileOperand tile_row_side, tile_lane_side;
  int64_t lanes_at_once = 0;   ///< lanes of a unit that are packed at once
  int64_t k_at_once = 0;       ///< steps of k that a tile of sums is kept in registers for
  int64_t finished_lanes = 0;  ///< lanes that the epilogue takes at once
  int64_t copy_elements = 0;   ///< scratch behind the results

  /// Estimated vector operations to pack `width` elements of a side; 0 in place.
  double lane_copy_cost = 0, row_copy_cost = 0;

  /// Rows come in panels of tile_rows, after num_tall_panels in panels of tile_rows - 1.
  int64_t tile_rows = 1, num_row_panels = 1, num_tall_panels = 1;
  /// Lanes come in panels of tile_lanes; the last one may be narrower.
  int64_t tile_lanes = 1, num_lane_panels = 1;

  int64_t panels_per_row_block = 1, num_row_blocks = 1;
  int64_t panels_per_lane_block = 1, num_lane_blocks = 1;
  /// A block of k does not cross a multiple of k_turn steps.
  int64_t k_block = 1, num_k_blocks = 1, k_turn = 1;
  /// Steps of k that the loop of an outer tile takes at once.
  int64_t steps_at_once = 1;
  int64_t p_per_unit = 1, num_p_groups = 1;

  // Scratch of a worker, in elements. Rows of a packed block lie `stride` apart; with tiles, rows
  // and panels of 16 lanes do, in elements of memory.
  int64_t lane_stride = 0, lane_panel_elements = 0, lane_pack_offset = 0, lane_pack_elements = 0;
  int64_t row_stride = 0, row_panel_elements = 0, row_pack_elements = 0;
  int64_t result_stride = 0, result_elements = 0;
  /// Micro-kernels write their sums to where the step's result lies: rows result_stride apart, and
  /// no lanes behind the last.
  bool writes_result = false;

  int64_t units() const;
  int64_t scratch_elements() const;
  /// First row of panel i (i up to num_row_panels gives m.extent).
  int64_t panel_row(int64_t i) const;
  bool any_size = false;  ///< ContractKernel::any_size
  /// Whether packed lanes come as [panel][k][lane of the panel]. Windows slide from panel to panel,
  /// so they are packed as [k][lane].
  bool has_lane_panels() const {
    return kind == TileKind::Outer && lane_packing != LanePacking::InPlace &&
           !lane_windows.is_window();
  }
  /// Whether code for panels of tile_rows - 1 is there; sizes that share it may need it.
  bool has_low_panels() const {
    if (kind == TileKind::Matrix)
      return tile_rows > 16 && (any_size || (m.extent - 1) % tile_rows < 16);
    return num_tall_panels < num_row_panels ||
           (any_size && tile_rows > 1 && kind == TileKind::Outer && !row_windows.is_window());
  }
  int64_t rows_per_block() const;  ///< most rows of a block
  int64_t lanes_per_block() const { return panels_per_lane_block * tile_lanes; }
  /// Where lane 0 of each step of a block of k lies from the first packed lane, with lane windows.
  std::vector<int64_t> lane_offsets() const;
  /// Where the elements of each step of a block of k lie from those of the first, with row windows.
  std::vector<int64_t> row_offsets() const;
  /// Packed columns of a whole block of k, with row windows.
  int64_t row_span_columns() const { return k_block / row_span_k * row_span + row_span_rest; }
  /// Row windows: packed elements from row 0 to row m; m from a multiple of the tile's rows on.
  int64_t row_offset(int64_t i) const {
    return row_windows.packed_row(i) * row_stride + row_windows.offset(i);
  }
  std::string to_text() const;
};

/// Chooses everything. `kernel` must be valid (emit_contract_kernel checks it).
ContractPlan plan_contract(const ContractKernel& kernel, const Target& target);

}  // namespace coregrad
