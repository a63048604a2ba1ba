// Matrix tiles: products in tile registers, which take bfloat16 and sum in float32.

#include "base/checked.h"
#include "schedule/contract/candidates.h"

#include <algorithm>
#include <cmath>

namespace coregrad {
namespace {

/// How an operand whose rows or lanes are `space` is packed, and the estimated cost for `width`
/// elements.
MatrixPanels choose_packing(const ContractPlan& plan, const AffineOperand& operand,
                            const FlatSpace& space, bool is_lane_side, double* cost) {
  const Segment across = plan.segments(operand, space).back(),
                k = plan.segments(operand, plan.k).back();
  const bool next_k = is_always(k.coef, 1) || plan.k.extent == 1,
             next_across = is_always(across.coef, 1) || space.extent == 1;
  const bool is_plain = plan.is_plain(operand, space);
  MatrixPanels result;
  result.along_k = next_k && (is_plain || !next_across || k.extent > across.extent);
  // Measured with operands that come from L3.
  *cost = result.along_k ? (is_lane_side ? 11 : 9) : (is_lane_side ? 13 : 16);
  if (is_plain && (next_k || next_across)) {
    result.stride = (result.along_k ? across.coef : k.coef).number();
    return result;
  }
  result.is_copied = true;
  const Segment& run = result.along_k ? k : across;
  const auto w = static_cast<double>(plan.width);
  *cost +=
      (is_always(run.coef, 1) ? 2.5 : 2 * w) + 8 * w / static_cast<double>(run.extent.number());
  return result;
}

/// The instructions in vector operations: 16 cycles for 16 x 16 x 32 multiply-adds, twice as many
/// with operands that come from L2.
double cost_of_products(int64_t rows, int64_t lanes, int64_t k) {
  return static_cast<double>(rows) * static_cast<double>(lanes) *
         static_cast<double>(round_up(k, kMatrixDepth)) / 128;
}

/// What a block packs at once.
struct PackedPart {
  int64_t lanes = 0, k = 0;
};

/// All steps of k, so that rows are packed once a unit, unless they would leave no room for lanes.
PackedPart choose_part(int64_t rows, int64_t lanes, int64_t k, const Target& target) {
  const int64_t budget = target.l2_bytes / 2 / 2;  // packed elements that share half of L2
  for (const int64_t part : {512, 256, 128})
    if ((rows + std::min(part, lanes)) * k <= budget) return {std::min(part, lanes), k};
  const int64_t part = std::min<int64_t>(256, lanes);
  const int64_t most = std::max<int64_t>(256, budget / (rows + part));
  return {part, k <= most + most / 4 ? k : round_up(ceil_div(k, ceil_div(k, most)), kMatrixDepth)};
}

/// The numbers of blocks with which the slowest thread is done first.
void split_for_threads(ContractPlan& plan, MatrixTile& tile, const Target& target) {
  const int64_t k = plan.k.extent;
  double best = INFINITY;
  const int64_t most_blocks = std::max<int64_t>(64, 4 * target.threads);
  for (int64_t row_blocks = 1; row_blocks <= std::min(plan.num_row_panels, most_blocks);
       ++row_blocks) {
    for (int64_t lane_blocks = 1; lane_blocks <= std::min(plan.num_lane_panels, most_blocks);
         ++lane_blocks) {
      const int64_t rows = ceil_div(plan.num_row_panels, row_blocks) * plan.tile_rows,
                    lanes = ceil_div(plan.num_lane_panels, lane_blocks) * plan.tile_lanes;
      const PackedPart part = choose_part(rows, lanes, k, target);
      const int64_t k_blocks = ceil_div(k, part.k);
      const int64_t row_times = k_blocks > 1 ? ceil_div(lanes, part.lanes) : 1;
      const auto r = static_cast<double>(rows), l = static_cast<double>(lanes),
                 steps = static_cast<double>(k) / static_cast<double>(plan.width);
      const double unit = 2000 + cost_of_products(rows, lanes, k) +
                          steps * (r * plan.row_copy_cost * static_cast<double>(row_times) +
                                   l * plan.lane_copy_cost) +
                          static_cast<double>(k_blocks - 1) * r * l / 4;
      const auto share = static_cast<double>(ceil_div(
          checked_mul(plan.p.extent, row_blocks * lane_blocks, "contract"), target.threads));
      if (unit * (share + 0.1) >= best) continue;
      best = unit * (share + 0.1);
      plan.num_row_blocks = row_blocks, plan.num_lane_blocks = lane_blocks;
      plan.panels_per_row_block = ceil_div(plan.num_row_panels, row_blocks);
      plan.panels_per_lane_block = ceil_div(plan.num_lane_panels, lane_blocks);
      tile.lanes_at_once = round_up(ceil_div(lanes, ceil_div(lanes, part.lanes)), plan.tile_lanes);
      plan.k_block = part.k;
      plan.num_k_blocks = k_blocks;
    }
  }
}

}  // namespace

std::optional<Candidate> plan_matrix(ContractPlan plan, const Target& target) {
  if (!target.has_amx || plan.row_side.memory != DType::BFloat16 ||
      plan.lane_side.memory != DType::BFloat16 || plan.k.extent == 0)
    return std::nullopt;
  plan.tile = MatrixTile();
  // Eight registers: as many sums as leave room for their operands.
  plan.tile_rows = plan.m.extent > kMatrixSide ? 2 * kMatrixSide : kMatrixSide;
  plan.tile_lanes = plan.m.extent > kMatrixSide ? 2 * kMatrixSide : 4 * kMatrixSide;
  plan.num_row_panels = plan.num_tall_panels =
      std::max<int64_t>(1, ceil_div(plan.m.extent, plan.tile_rows));
  plan.num_lane_panels = std::max<int64_t>(1, ceil_div(plan.n.extent, plan.tile_lanes));
  plan.rows = choose_packing(plan, plan.row_side, plan.m, false, &plan.row_copy_cost);
  plan.lanes = choose_packing(plan, plan.lane_side, plan.n, true, &plan.lane_copy_cost);
  if (target.only_tiles) return Candidate{std::move(plan), 0};
  // What is left beside products this fast: results stored one by one are dear.
  const auto p = static_cast<double>(plan.p.extent), m = static_cast<double>(plan.m.extent),
             n = static_cast<double>(plan.n.extent), k = static_cast<double>(plan.k.extent),
             w = static_cast<double>(plan.width);
  const double store_cost = plan.stores_vectors ? 3 / w : 12;
  const auto panels = static_cast<double>(plan.num_row_panels * plan.num_lane_panels);
  const double cost =
      1000 +
      p * (cost_of_products(round_up(plan.m.extent, kMatrixSide),
                            round_up(plan.n.extent, kMatrixSide), plan.k.extent) +
           panels * 150 + m * k * plan.row_copy_cost / w * std::ceil(n / 512) +
           n * k * plan.lane_copy_cost / w * std::ceil(m / 512) + m * n * (store_cost + 2 / w));
  return Candidate{std::move(plan), cost};
}

void choose_matrix_blocks(ContractPlan& plan, const Target& target) {
  constexpr int64_t kMostSteps = 256;  // a panel of rows over so many steps of k stays in L1
  constexpr int64_t kFinishedLanes = 128;
  auto& tile = std::get<MatrixTile>(plan.tile);
  split_for_threads(plan, tile, target);
  plan.k_turn = plan.k.extent;
  tile.k_at_once =
      round_up(ceil_div(plan.k_block, ceil_div(plan.k_block, kMostSteps)), kMatrixDepth);
  const int64_t blocks =
      checked_mul(plan.p.extent, plan.num_row_blocks * plan.num_lane_blocks, "contract");
  plan.p_per_unit = std::clamp<int64_t>(blocks / (16 * target.threads), 1, plan.p.extent);
  plan.num_p_groups = ceil_div(plan.p.extent, plan.p_per_unit);

  const int64_t rows = plan.panels_per_row_block * plan.tile_rows, lanes = tile.lanes_at_once;
  plan.row_pack_elements = std::get<MatrixPanels>(plan.rows).reserve(plan, rows);
  plan.lane_pack_elements = std::get<MatrixPanels>(plan.lanes).reserve(plan, lanes);
  tile.finished_lanes = plan.num_k_blocks > 1 ? lanes : std::min(lanes, kFinishedLanes);
  plan.result_stride = tile.finished_lanes + 16;
  plan.result_elements = checked_mul(plan.num_k_blocks > 1 ? rows : plan.tile_rows,
                                     plan.result_stride, "contract scratch");
}

}  // namespace coregrad
