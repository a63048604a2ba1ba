// Blocks for tiles in vector registers: how much of rows, lanes and k is packed and multiplied at
// once, how many blocks are a unit of work, and the scratch that a unit needs.

#include "base/checked.h"
#include "schedule/contract/candidates.h"

#include <algorithm>
#include <cmath>

namespace coregrad {
namespace {

/// Rows and lanes of a block.
int64_t side_of_block(const ContractPlan& plan, const Target& target) {
  const int64_t bytes = target.thresholds.contract_side_bytes;
  return std::max(std::min<int64_t>(64, bytes), bytes / size_of(plan.dtype));
}

double multiply_adds(const ContractPlan& plan) {
  return static_cast<double>(plan.p.extent) * static_cast<double>(plan.m.extent) *
         static_cast<double>(plan.n.extent) *
         static_cast<double>(std::max<int64_t>(1, plan.k.extent));
}

/// What reading the operands costs, as multiply-adds: those of few rows or lanes wait for memory.
double reads(const ContractPlan& plan) {
  constexpr double kOfAByte = 4;
  const auto elements = [](const FlatSpace& a, const FlatSpace& b) {
    return static_cast<double>(a.extent) * static_cast<double>(b.extent);
  };
  return kOfAByte * static_cast<double>(plan.p.extent) *
         (elements(plan.m, plan.k) * static_cast<double>(size_of(plan.row_side.memory)) +
          elements(plan.k, plan.n) * static_cast<double>(size_of(plan.lane_side.memory)));
}

void split_rows(ContractPlan& plan, int64_t blocks) {
  plan.num_row_blocks = std::clamp<int64_t>(blocks, 1, plan.num_row_panels);
  plan.panels_per_row_block = ceil_div(plan.num_row_panels, plan.num_row_blocks);
}

void split_lanes(ContractPlan& plan, int64_t blocks) {
  plan.num_lane_blocks = std::clamp<int64_t>(blocks, 1, plan.num_lane_panels);
  plan.panels_per_lane_block = ceil_div(plan.num_lane_panels, plan.num_lane_blocks);
}

/// Blocks at most as large as caches like.
void cover(ContractPlan& plan, const Target& target) {
  const int64_t side = side_of_block(plan, target);
  // Rows that are read in place take no room: a taller block packs the lanes less often.
  split_rows(plan, ceil_div(plan.m.extent, plan.packs_rows() ? side : 4 * side));
  split_lanes(plan, ceil_div(plan.num_lanes, std::max<int64_t>(lanes_of_block(plan, target), 1)));
}

/// Halves blocks until there are `wanted`, or until packing what two blocks share would cost more
/// than an even share among threads is worth.
void split_for_threads(ContractPlan& plan, int64_t wanted) {
  const auto blocks = [&] { return plan.p.extent * plan.num_row_blocks * plan.num_lane_blocks; };
  while (blocks() < wanted) {
    // Packing cost per multiply-add after one more split of either kind.
    const auto rows = static_cast<double>(plan.rows_per_block()),
               lanes = static_cast<double>(plan.lanes_per_block()),
               w = static_cast<double>(plan.width);
    const double row_copy = plan.row_copy_cost;
    const double lane_copy = lane_copy_cost(plan, plan.lanes_per_block()),
                 narrow_copy = lane_copy_cost(plan, ceil_div(plan.lanes_per_block(), 2));
    const double now = lane_copy / rows + row_copy / lanes;
    const double by_rows =
        plan.panels_per_row_block > 1 ? 2 * lane_copy / rows + row_copy / lanes : INFINITY;
    const double by_lanes =
        plan.panels_per_lane_block > 1 ? narrow_copy / rows + 2 * row_copy / lanes : INFINITY;
    // What an even share among threads is worth: the factor by which all work may grow.
    const double allowed = blocks() < 2 ? 1.5 : blocks() < 4 ? 1.08 : blocks() < 8 ? 1.04 : 1.012;
    if ((1 + std::min(by_rows, by_lanes)) / (1 + now) > allowed) break;
    if (by_lanes < by_rows || (by_lanes == by_rows && lanes / w > rows / 4))
      split_lanes(plan, plan.num_lane_blocks * 2);
    else
      split_rows(plan, plan.num_row_blocks * 2);
  }
}

/// Several p make a unit where there are more blocks than units wanted.
void group_p(ContractPlan& plan, int64_t wanted) {
  // Packed rows that are the same for every p are packed once a unit, so larger groups pay.
  const bool shares_packed_rows = plan.packs_rows() && plan.shares_rows();
  const int64_t most_units = shares_packed_rows ? std::min<int64_t>(wanted, 64) : wanted;
  const int64_t blocks = plan.p.extent * plan.num_row_blocks * plan.num_lane_blocks;
  plan.p_per_unit = std::clamp<int64_t>(blocks / most_units, 1, plan.p.extent);
  plan.num_p_groups = ceil_div(plan.p.extent, plan.p_per_unit);
}

/// The k range of a block: packed panels share half of L2.
void cut_k(ContractPlan& plan, const Target& target) {
  plan.num_k_blocks = 1;
  plan.k_block = plan.k_turn = plan.k.extent;
  if (!plan.packs_lanes() && !plan.packs_rows()) return;
  auto* const row_windows = std::get_if<RowWindows>(&plan.rows);
  const int64_t packed_lanes =
      plan.packs_lanes()
          ? ceil_div(plan.lanes_per_block() + plan.lane_windows.reach(), plan.lane_windows.steps())
          : 0;
  const int64_t packed_rows =
      plan.packs_rows()
          ? ceil_div(plan.rows_per_block(), row_windows ? row_windows->windows.steps() : 1)
          : 0;
  const int64_t step_bytes = size_of(plan.dtype) * (packed_lanes + packed_rows);
  const int64_t most_steps = target.thresholds.contract_steps;
  const int64_t most = std::clamp<int64_t>(target.l2_bytes / 2 / std::max<int64_t>(step_bytes, 1),
                                           std::min<int64_t>(64, most_steps), most_steps);
  const int64_t most_at_end = most + most / 4;  // rather than a short last block
  if (row_windows) return row_windows->cut_k(plan, most_at_end);
  if (plan.k.extent <= most_at_end) return;
  const auto* const lane_windows = std::get_if<LaneWindows>(&plan.lanes);
  plan.k_block = round_up(ceil_div(plan.k.extent, ceil_div(plan.k.extent, most)),
                          lane_windows ? lane_windows->turn : plan.width);
  plan.num_k_blocks = ceil_div(plan.k.extent, plan.k_block);
}

/// What `reserve` makes of each kind of packing; `widest`: lanes of blocks of other sizes.
void lay_out_scratch(ContractPlan& plan, int64_t widest) {
  const int64_t most_rows = plan.rows_per_block();
  const int64_t most_lanes = plan.any_size ? widest : plan.lanes_per_block();
  plan.lane_pack_elements =
      std::visit([&](auto& lanes) { return lanes.reserve(plan, most_lanes); }, plan.lanes);
  if (plan.packs_rows()) {
    const int64_t elements =
        std::visit([&](auto& rows) { return rows.reserve(plan, most_rows); }, plan.rows);
    plan.row_pack_elements = plan.whole_lines(elements + 2 * plan.width);
  }
  plan.result_stride =
      plan.whole_lines(round_up(most_lanes, plan.width)) + 64 / size_of(plan.dtype);
  const int64_t rows = plan.num_k_blocks > 1 ? plan.sums_per_block() : plan.tile_rows;
  plan.result_elements =
      plan.whole_lines(checked_mul(rows, plan.result_stride, "contract scratch") + plan.width);
}

}  // namespace

int64_t lanes_of_block(const ContractPlan& plan, const Target& target) {
  const int64_t side = side_of_block(plan, target);
  return std::min(plan.num_lanes,
                  std::clamp<int64_t>(4 * plan.lane_windows.reach(), side, 4 * side));
}

double lane_copy_cost(const ContractPlan& plan, int64_t lanes) {
  return plan.lane_copy_cost / static_cast<double>(plan.lane_windows.steps()) *
         (1 + static_cast<double>(plan.lane_windows.reach()) /
                  static_cast<double>(std::max<int64_t>(lanes, 1)));
}

void choose_blocks(ContractPlan& plan, const Target& target) {
  const double work = multiply_adds(plan);
  // Units: about a million multiply-adds or more each, and enough of them to share out.
  const auto wanted = static_cast<int64_t>(
      std::clamp(std::max(work, reads(plan)) / static_cast<double>(target.thresholds.contract_unit),
                 1.0, static_cast<double>(std::clamp(8 * target.threads, 8, 256))));
  cover(plan, target);
  const int64_t widest = plan.lanes_per_block();
  split_for_threads(plan, wanted);
  group_p(plan, wanted);
  cut_k(plan, target);
  // A core whose other hyperthread is busy issues half as many instructions: those of the loop
  // itself then cost a tenth. Small products are not worth the longer code.
  if (auto* const outer = std::get_if<OuterTile>(&plan.tile))
    if (plan.k_block >= 32 && work >= static_cast<double>(target.thresholds.contract_loop))
      outer->steps_at_once = 4;
  lay_out_scratch(plan, widest);
}

}  // namespace coregrad
