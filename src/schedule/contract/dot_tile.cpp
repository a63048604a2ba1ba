// Dot tiles: vectors run along k in both operands, which are read in place.

#include "schedule/contract/candidates.h"

#include <algorithm>
#include <cmath>

namespace coregrad {

std::optional<Candidate> plan_dot(ContractPlan plan, const Target& target) {
  constexpr int64_t kWidest = 16;  // wider outputs are better blocked and packed
  if (std::min(plan.m.extent, plan.n.extent) > kWidest || plan.k.extent < plan.width ||
      !plan.is_plain(plan.row_side, plan.m) || !plan.is_plain(plan.lane_side, plan.n) ||
      !is_always(plan.segments(plan.row_side, plan.k)[0].coef, 1) ||
      !is_always(plan.segments(plan.lane_side, plan.k)[0].coef, 1))
    return std::nullopt;
  plan.tile = DotTile();
  const int64_t rows = std::clamp<int64_t>(plan.m.extent, 1, 4);
  const int64_t registers = target.num_registers - 3 - std::min<int64_t>(plan.m.extent, 4);
  const int64_t lanes = std::min({plan.n.extent, registers / rows, int64_t{8}, plan.width});
  plan.set_panels(rows, std::max<int64_t>(lanes, 1));
  if (plan.has_symbols) {
    if (!plan.m.is_fixed) plan.tile_rows = rows;
    plan.count_panels();
  }

  const auto r = static_cast<double>(plan.tile_rows), l = static_cast<double>(plan.tile_lanes);
  // A cast is two operations beside each load.
  const double casts = (plan.row_side.memory != plan.dtype ? 2 * r : 0) +
                       (plan.lane_side.memory != plan.dtype ? 2 * l : 0);
  const double step = std::max({r * l, r + l + casts, 4.0});
  const auto tiles = static_cast<double>(plan.num_row_panels * plan.num_lane_panels),
             steps =
                 std::ceil(static_cast<double>(plan.k.extent) / static_cast<double>(plan.width));
  const double cost = static_cast<double>(plan.p.extent) *
                      (tiles * (steps * step + r * l * 6 + 10) +
                       static_cast<double>(plan.m.extent) * static_cast<double>(plan.n.extent) *
                           cost_of_stores(plan));
  return Candidate{std::move(plan), cost};
}

}  // namespace coregrad
