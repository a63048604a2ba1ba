#pragma once
// How a block of an operand reaches the micro-kernels: one type a packing, with the room it takes
// and where it puts elements. Code that packs is in codegen/contract/row_packing and lane_packing.

#include "kernel/target.h"
#include "schedule/contract/windows.h"

#include <array>
#include <cstdint>
#include <memory>
#include <span>
#include <string_view>
#include <variant>
#include <vector>

namespace coregrad {

struct ContractPlan;

/// Elements between neighbours of a tile's operand.
struct Distances {
  SymInt across = 0;  ///< to the next row or lane
  SymInt k = 0;       ///< to the next step of k
};

/// Blocks in memory as it is.
struct RowsInPlace {
  static constexpr std::string_view kName = "in place";
  Distances distances(const ContractPlan& plan) const;
  int64_t reserve(ContractPlan&, int64_t) { return 0; }
};

/// Copied to [row][k].
struct RowRunsAlongK {
  static constexpr std::string_view kName = "runs along k";
  int64_t stride = 0;  ///< elements from row to row

  Distances distances(const ContractPlan&) const { return {stride, 1}; }
  /// Lays a block of so many rows out; the elements of scratch that it takes.
  int64_t reserve(ContractPlan& plan, int64_t rows);
};

/// Copied to [k][row].
struct RowRunsAlongM {
  static constexpr std::string_view kName = "runs along m";
  int64_t stride = 0;  ///< elements from step to step

  Distances distances(const ContractPlan&) const { return {1, stride}; }
  int64_t reserve(ContractPlan& plan, int64_t rows);
};

/// Memory is plain and contiguous along rows: copied to [panel][k][row of the panel].
struct RowPanels {
  static constexpr std::string_view kName = "panels";
  int64_t panel_elements = 0;  ///< from panel to panel

  Distances distances(const ContractPlan& plan) const;
  int64_t reserve(ContractPlan& plan, int64_t rows);
};

/// Copied to [row without windows][k as packed], once for all steps of the windows; tiles have
/// whole windows.
struct RowWindows {
  static constexpr std::string_view kName = "windows";
  WindowPacking windows;  ///< rows m, columns k
  /// `count` steps of k of a block, a multiple of span_k, take count / span_k * span + span_rest
  /// packed columns.
  int64_t span_k = 1, span = 1, span_rest = 0;
  int64_t stride = 0;  ///< elements from packed row to packed row

  /// Rows and steps of k come from tables.
  Distances distances(const ContractPlan&) const { return {}; }
  int64_t reserve(ContractPlan& plan, int64_t rows);
  /// Cuts k into blocks of at most `most` steps whose packed columns are neighbours.
  void cut_k(ContractPlan& plan, int64_t most);
  /// Packed columns of a whole block of k.
  int64_t columns(int64_t k_block) const { return k_block / span_k * span + span_rest; }
  /// Packed elements from row 0 to row i; i from a multiple of the tile's rows on.
  int64_t row_offset(int64_t i) const { return windows.packed_row(i) * stride + windows.offset(i); }
  /// Where the elements of each step of a block of k lie from those of the first.
  std::vector<int64_t> step_offsets(int64_t k_block) const;
};

/// Rows of lanes are contiguous in memory and read there.
struct LanesInPlace {
  static constexpr std::string_view kName = "in place";
  Distances distances(const ContractPlan& plan) const;
  int64_t reserve(ContractPlan&, int64_t) { return 0; }
};

/// Copied to [panel][k][lane of the panel].
struct LanePanels {
  static constexpr std::string_view kName = "runs";
  int64_t panel_elements = 0;  ///< from panel to panel

  Distances distances(const ContractPlan& plan) const;
  /// Lays a block of so many lanes out; the elements of scratch that it takes.
  int64_t reserve(ContractPlan& plan, int64_t lanes);
};

/// The same where memory is contiguous along k: transposed in registers, not copied run by run.
struct LanesTransposed : LanePanels {
  static constexpr std::string_view kName = "transpose";
};

/// Copied to [k without windows][lane as packed]: windows slide from panel to panel.
struct LaneWindows {
  static constexpr std::string_view kName = "runs";
  static constexpr size_t kMostWindows = 3;  ///< of symbols
  /// Where a step of k lies as packed: its row, and how far ahead it is in each window.
  struct Place {
    int32_t row = 0;
    std::array<int32_t, kMostWindows> ahead = {};
  };
  int64_t turn = 1;    ///< blocks of k have a multiple of so many steps: whole windows
  int64_t stride = 0;  ///< elements from packed step to packed step
  /// With symbols, of the steps of k of one turn: those of the next one lie as many rows behind.
  std::shared_ptr<const std::vector<Place>> places = nullptr;

  Distances distances(const ContractPlan&) const { return {1, stride}; }
  int64_t reserve(ContractPlan& plan, int64_t lanes);
  /// Where lane 0 of each step of a block of k lies from the first packed lane.
  std::vector<int64_t> step_offsets(const ContractPlan& plan) const;
  /// The same for any block of symbols; at most most_steps() of them.
  void write_step_offsets(const ContractPlan& plan, std::span<int64_t> offsets) const;
  int64_t most_steps(const ContractPlan& plan, const Target& target) const;
};

/// Rows or lanes for tile registers: panels of 16, as codegen/contract/matrix_packing.h says.
struct MatrixPanels {
  static constexpr std::string_view kName = "matrix panels";
  bool along_k = true;  ///< steps of k are neighbours in memory, otherwise rows or lanes
  int64_t stride = 0;  ///< elements to the next row or lane, or, not along k, to the next step of k
  bool is_copied = false;      ///< run by run into a block with this stride, which is then packed
  int64_t panel_elements = 0;  ///< of memory, from panel to panel

  Distances distances(const ContractPlan&) const { return {}; }  // whole panels are loaded
  /// Lays out a block of so many rows or lanes; its elements of scratch. What is copied first takes
  /// the plan's copy_elements.
  int64_t reserve(ContractPlan& plan, int64_t count);
};

using RowPacking =
    std::variant<RowsInPlace, RowRunsAlongK, RowRunsAlongM, RowPanels, RowWindows, MatrixPanels>;
using LanePacking =
    std::variant<LanesInPlace, LanePanels, LanesTransposed, LaneWindows, MatrixPanels>;

}  // namespace coregrad
