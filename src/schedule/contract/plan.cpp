#include "schedule/contract/plan.h"

#include "base/checked.h"
#include "schedule/contract/candidates.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>

namespace coregrad {

void ContractPlan::set_panels(int64_t rows_of_tile, int64_t lanes_of_tile) {
  num_row_panels = std::max<int64_t>(1, ceil_div(m.extent, rows_of_tile));
  tile_rows = std::max<int64_t>(1, ceil_div(m.extent, num_row_panels));
  num_tall_panels = m.extent - num_row_panels * (tile_rows - 1);
  tile_lanes = lanes_of_tile;
  num_lane_panels = std::max<int64_t>(1, ceil_div(num_lanes, tile_lanes));
}

void ContractPlan::count_panels() {
  num_row_panels = std::max<int64_t>(1, ceil_div(m.extent, tile_rows));
  num_tall_panels =
      last_rows_overlap() ? num_row_panels : m.extent - num_row_panels * (tile_rows - 1);
  num_lane_panels = std::max<int64_t>(1, ceil_div(num_lanes, tile_lanes));
}

void ContractPlan::set_sizes(const SizeFunction& value_of, const Target& target) {
  const auto replace = [&](SymInt& x) { x = value_of(x); };
  const auto replace_operand = [&](AffineOperand& operand) {
    replace(operand.base);
    std::ranges::for_each(operand.coef, replace);
    for (CheckedDim& check : operand.checks) replace(check.extent), replace(check.stride);
  };
  for (size_t i = 0; i < sizes.size(); ++i) {
    replace(sizes[i]);
    extents[i] = sizes[i].number();
  }
  replace_operand(row_side);
  replace_operand(lane_side);
  for (FlatSpace* space : {&p, &m, &n, &k}) {
    replace(space->size);
    space->extent = space->size.number();
  }
  num_lanes = n.extent;
  if (lane_windows.is_window()) {
    lane_windows.set_extents(sizes);
    if (n.extent > 0) num_lanes = lane_windows.position(n.extent - 1) + 1;
  }
  count_panels();
  choose_blocks(*this, target);
}

bool ContractPlan::has_lanes_between() const {
  if (!has_symbols) return num_lanes != n.extent;
  return std::ranges::any_of(lane_windows.windows, [&](const SlidingWindow& window) {
    return window.sliding != n.labels.front();
  });
}

int64_t ContractPlan::units() const {
  if (p.extent == 0 || m.extent == 0 || n.extent == 0) return 0;
  return checked_mul(checked_mul(num_p_groups, num_row_blocks, "contract"), num_lane_blocks,
                     "contract");
}

int64_t ContractPlan::scratch_elements() const {
  return checked_add(checked_add(lane_pack_elements, row_pack_elements, "contract"),
                     checked_add(result_elements, copy_elements, "contract"), "contract");
}

int64_t ContractPlan::whole_lines(int64_t elements) const {
  return round_up(elements, 64 / size_of(dtype));
}

bool ContractPlan::has_low_panels() const {
  if (matrix())
    return tile_rows > kMatrixSide && (any_size || (m.extent - 1) % tile_rows < kMatrixSide);
  if (has_symbols) return num_tall_panels < num_row_panels;
  return num_tall_panels < num_row_panels ||
         (any_size && tile_rows > 1 && is_outer() && !row_windows());
}

int64_t ContractPlan::rows_per_block() const {
  return std::min(panels_per_row_block * tile_rows, m.extent);
}

std::string ContractPlan::to_text() const {
  constexpr const char* kTiles[] = {"outer", "dot", "matrix"};
  const auto name = [](const auto& packing) { return packing.kName; };
  return fmt::format(
      "{}{} p {}={} m {}={} n {}={} k {}={}; tile {}x{} ({}+{} x {} panels); lanes {}, rows {}; "
      "blocks: {} p-groups of {}, {} of rows ({} panels), {} of lanes ({} panels), {} of k ({}); "
      "{} lane windows, scratch {} elements{}",
      kTiles[tile.index()], swapped ? " swapped" : "", p.labels, p.extent, m.labels, m.extent,
      n.labels, n.extent, k.labels, k.extent, tile_rows, tile_lanes, num_tall_panels,
      num_row_panels - num_tall_panels, num_lane_panels, std::visit(name, lanes),
      std::visit(name, rows), num_p_groups, p_per_unit, num_row_blocks, panels_per_row_block,
      num_lane_blocks, panels_per_lane_block, num_k_blocks, k_block, lane_windows.windows.size(),
      scratch_elements(), writes_result ? ", result in place" : "");
}

double cost_of_stores(const ContractPlan& plan) {
  if (plan.stores_vectors) return 3.0 / static_cast<double>(plan.width);
  return plan.store_step * size_of(plan.dtype) <= 16 ? 1.7 : 6;
}

bool has_common_plan(const ContractKernel& kernel, const Target& target) {
  const auto is_narrow_memory = [](const ContractOperand& operand) {
    return operand.memory == DType::BFloat16;
  };
  const bool has_matrix_tile =
      target.has_amx && is_narrow_memory(kernel.lhs) && is_narrow_memory(kernel.rhs);
  return !has_matrix_tile;
}

ContractPlan plan_contract(const ContractKernel& kernel, const Target& target) {
  std::optional<Candidate> best;
  const auto consider = [&](std::optional<Candidate> candidate) {
    if (candidate && (!best || candidate->cost < best->cost)) best = std::move(candidate);
  };
  for (const ContractRoles& roles : possible_roles(kernel, target)) {
    const ContractPlan plan(roles);
    consider(plan_outer(plan, target));
    consider(plan_dot(plan, target));
    if (!roles.has_symbols) {
      consider(plan_matrix(plan, target));
      if (const auto windows = with_row_windows(plan)) consider(plan_outer(*windows, target));
    }
    for (const bool all : {false, true})
      if (const auto windows = with_lane_windows(plan, all, target))
        consider(plan_outer(*windows, target));
  }
  COREGRAD_CHECK(best.has_value());
  ContractPlan& plan = best->plan;
  if (plan.matrix())
    choose_matrix_blocks(plan, target);
  else
    choose_blocks(plan, target);
  return std::move(plan);
}

}  // namespace coregrad
