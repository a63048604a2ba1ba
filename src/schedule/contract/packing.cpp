#include "schedule/contract/packing.h"

#include "base/checked.h"
#include "schedule/contract/plan.h"

#include <algorithm>

namespace coregrad {
namespace {

int64_t area(int64_t a, int64_t b) { return checked_mul(a, b, "contract scratch"); }

/// Rows a whole number of lines and one more apart.
int64_t padded_row(const ContractPlan& plan, int64_t elements) {
  return plan.whole_lines(elements) + 64 / size_of(plan.dtype);
}

Distances in_place(const ContractPlan& plan, const AffineOperand& operand, const FlatSpace& space) {
  return {plan.segments(operand, space).back().coef, plan.segments(operand, plan.k).back().coef};
}

}  // namespace

Distances RowsInPlace::distances(const ContractPlan& plan) const {
  return in_place(plan, plan.row_side, plan.m);
}

int64_t RowRunsAlongK::reserve(ContractPlan& plan, int64_t rows) {
  stride = padded_row(plan, plan.k_block + plan.width);
  return area(rows, stride);
}

int64_t RowRunsAlongM::reserve(ContractPlan& plan, int64_t rows) {
  stride = plan.whole_lines(rows + plan.width);
  return area(plan.k_block, stride);
}

Distances RowPanels::distances(const ContractPlan& plan) const { return {1, plan.tile_rows}; }

int64_t RowPanels::reserve(ContractPlan& plan, int64_t) {
  // Behind a panel: room for the rest of the vector that its last elements are stored with.
  panel_elements = plan.whole_lines(area(plan.k_block, plan.tile_rows) + plan.width);
  return area(panel_elements, plan.panels_per_row_block);
}

int64_t RowWindows::reserve(ContractPlan& plan, int64_t rows) {
  stride = padded_row(plan, columns(plan.k_block) + plan.width);
  return area(ceil_div(rows, windows.steps()) + 1, stride);
}

void RowWindows::cut_k(ContractPlan& plan, int64_t most) {
  plan.k_turn = 1;
  // A block reads from the place of its first step to as far behind that of its last as windows
  // reach, those over the labels outside of the block among them.
  int64_t last = 0;
  for (size_t i = plan.k.labels.size(); i-- > 0;) {
    const int64_t label = plan.k.labels[i], extent = plan.extent(label);
    const int64_t blocks = ceil_div(extent, std::max<int64_t>(1, most / plan.k_turn));
    const int64_t inner = plan.k_turn;
    const int64_t step = windows.position_step(label);
    plan.k_turn *= extent;
    if (blocks == 1 && i > 0) {
      last += (extent - 1) * step;
      continue;
    }
    span_k = inner;
    span = step;
    span_rest = last + windows.reach() + 1 - step;
    plan.k_block = ceil_div(extent, blocks) * inner;
    break;
  }
  plan.num_k_blocks = plan.k.extent / plan.k_turn * ceil_div(plan.k_turn, plan.k_block);
}

std::vector<int64_t> RowWindows::step_offsets(int64_t k_block) const {
  std::vector<int64_t> offsets;
  for (int64_t i = 0; i < k_block; ++i) offsets.push_back(windows.position(i));
  return offsets;
}

Distances LanesInPlace::distances(const ContractPlan& plan) const {
  return in_place(plan, plan.lane_side, plan.n);
}

Distances LanePanels::distances(const ContractPlan& plan) const { return {1, plan.tile_lanes}; }

// In front of a block: room for lanes that a transposing pack repeats. Behind its last step of k:
// for steps that it writes too many, and for what the last vector is too long.
int64_t LanePanels::reserve(ContractPlan& plan, int64_t lanes) {
  plan.lane_pack_offset = plan.whole_lines(plan.width);
  panel_elements = plan.whole_lines(area(plan.k_block, plan.tile_lanes) + plan.width);
  return plan.lane_pack_offset + area(panel_elements, lanes / plan.tile_lanes) +
         plan.whole_lines(area(plan.width, plan.tile_lanes) + plan.width);
}

int64_t LaneWindows::reserve(ContractPlan& plan, int64_t lanes) {
  plan.lane_pack_offset = plan.whole_lines(plan.width);
  stride = padded_row(plan, round_up(lanes + plan.lane_windows.reach(), plan.width));
  const int64_t steps = plan.k_block / plan.lane_windows.steps() + plan.width;
  return plan.whole_lines(plan.lane_pack_offset + area(steps, stride) + plan.width);
}

std::vector<int64_t> LaneWindows::step_offsets(const ContractPlan& plan) const {
  std::vector<int64_t> offsets;
  for (int64_t i = 0; i < plan.k_block; ++i)
    offsets.push_back(plan.lane_windows.packed_row(i) * stride + plan.lane_windows.offset(i));
  return offsets;
}

void LaneWindows::write_step_offsets(const ContractPlan& plan, std::span<int64_t> offsets) const {
  std::array<int64_t, kMostWindows> strides = {};
  const std::vector<SlidingWindow>& windows = plan.lane_windows.windows;
  for (size_t w = 0; w < windows.size(); ++w)
    strides[w] = plan.lane_windows.column_stride(windows[w].sliding);
  const auto count = static_cast<size_t>(plan.k_block);
  COREGRAD_CHECK(count <= offsets.size());
  const int64_t turn_elements = turn / plan.lane_windows.steps() * stride;
  for (size_t first = 0; first < count; first += places->size()) {
    const auto turns = static_cast<int64_t>(first / places->size());
    for (size_t i = 0; i < places->size(); ++i) {
      const auto& [row, ahead] = (*places)[i];
      int64_t offset = turns * turn_elements + row * stride;
      for (size_t w = 0; w < kMostWindows; ++w) offset += ahead[w] * strides[w];
      offsets[first + i] = offset;
    }
  }
}

// As choose_blocks() cuts k.
int64_t LaneWindows::most_steps(const ContractPlan& plan, const Target& target) const {
  const int64_t most = target.thresholds.contract_steps;
  const int64_t steps = round_up(std::max(most + most / 4, most + turn), turn);
  return plan.k.is_fixed ? std::min(plan.k.extent, steps) : steps;
}

int64_t MatrixPanels::reserve(ContractPlan& plan, int64_t count) {
  // Two elements of memory take the place of one of scratch.
  const int64_t k_padded = round_up(plan.k_block, kMatrixDepth);
  panel_elements = k_padded * kMatrixSide;
  if (is_copied) {
    stride = (along_k ? k_padded : count) + 32;
    plan.copy_elements =
        std::max(plan.copy_elements, area(along_k ? count : k_padded, stride) / 2 + 64);
  }
  return area(count / kMatrixSide, panel_elements) / 2;
}

}  // namespace coregrad
