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

#include "codegen/contract_kernel.h"

#include <cstdint>
#include <string>
#include <vector>

namespace coregrad {

/// An operand dimension whose index may leave the extent, or that divides: the element is zero
/// unless x = a*u + b*v + c is a multiple of s and 0 <= x / s < extent.
struct CheckedDim {
  int64_t u = -1, v = -1;  ///< labels; -1: none
  int64_t a = 0, b = 0, c = 0, s = 1;
  int64_t extent = 0;
  int64_t stride = 0;  ///< elements; only dimensions with s > 1 address through it

  int64_t factor(int64_t label) const { return (u == label ? a : 0) + (v == label ? b : 0); }
};

/// Element address = base + sum of coef[label] * label, plus stride * (x / s) of checks with s > 1.
struct AffineOperand {
  DType memory = DType::Float32;  ///< dtype of the elements in memory
  int64_t base = 0;
  std::vector<int64_t> coef;
  std::vector<CheckedDim> checks;

  bool depends_on(int64_t label) const;
  bool is_checked(int64_t label) const;
};

struct FlatSpace {
  std::vector<int64_t> labels;  ///< outermost first; extents above 1 only
  int64_t extent = 1;
};

/// Labels of a flat space that one operand addresses with one coefficient.
struct Segment {
  int64_t extent = 1;
  int64_t coef = 0;
  int64_t label = -1;  ///< set if the segment is a single label (checks may need its value)
};

/// The space as the operand sees it, outermost first; neighbours merge where addresses allow. Never
/// empty: a space without labels is one segment of extent 1.
std::vector<Segment> segments_of(const AffineOperand& operand, const FlatSpace& space,
                                 const std::vector<int64_t>& extents);

enum class LanePacking : uint8_t {
  InPlace,    ///< rows of lanes are contiguous in memory and read there
  Runs,       ///< copied run by run along the lanes
  Transpose,  ///< memory is contiguous along k: transposed in registers
};

enum class RowPacking : uint8_t {
  InPlace,
  RunsAlongK,  ///< copied to [row][k]
  RunsAlongM,  ///< copied to [k][row]
  Panels,  ///< memory is plain and contiguous along rows: copied to [panel][k][row of the panel]
};

/// What the micro-kernel does at each step of k.
enum class TileKind : uint8_t {
  Outer,  ///< broadcast of row elements times vectors of lanes
  Dot,    ///< vectors run along k in both operands; lanes are summed at the end (narrow outputs)
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

  /// Estimated vector operations to pack `width` elements of a side; 0 in place.
  double lane_copy_cost = 0, row_copy_cost = 0;

  /// Rows come in panels of tile_rows, after num_tall_panels in panels of tile_rows - 1.
  int64_t tile_rows = 1, num_row_panels = 1, num_tall_panels = 1;
  /// Lanes come in panels of tile_lanes; the last one may be narrower.
  int64_t tile_lanes = 1, num_lane_panels = 1;

  int64_t panels_per_row_block = 1, num_row_blocks = 1;
  int64_t panels_per_lane_block = 1, num_lane_blocks = 1;
  int64_t k_block = 1, num_k_blocks = 1;
  int64_t p_per_unit = 1, num_p_groups = 1;

  // Scratch of a worker, in elements. Rows of a packed block lie `stride` apart.
  int64_t lane_stride = 0, lane_pack_offset = 0, lane_pack_elements = 0;
  int64_t row_stride = 0, row_panel_elements = 0, row_pack_elements = 0;
  int64_t result_stride = 0, result_elements = 0;

  int64_t units() const;
  int64_t scratch_elements() const;
  /// First row of panel i (i up to num_row_panels gives m.extent).
  int64_t panel_row(int64_t i) const;
  int64_t rows_per_block() const;  ///< most rows of a block
  int64_t lanes_per_block() const { return panels_per_lane_block * tile_lanes; }
  std::string to_text() const;
};

/// Chooses everything. `kernel` must be valid (emit_contract_kernel checks it).
ContractPlan plan_contract(const ContractKernel& kernel, const Target& target);

}  // namespace coregrad
