// Outer tiles: a row element times vectors of lanes, r x v vectors of sums in registers.

#include "base/checked.h"
#include "schedule/contract/candidates.h"

#include <algorithm>
#include <cmath>

namespace coregrad {
namespace {

constexpr int64_t kTallest = 16;  ///< rows of a tile

struct TileCost {
  int64_t rows = 1, lanes = 1;
  double slots = 0;  ///< multiply-add slots of one step of k over the whole m x n
};

/// A register tile of at most `tallest` rows that keeps the multiply-add units busiest for rows x
/// lanes outputs. `line`: elements of a cache line if rows are neighbours in memory, so that each
/// step of k asks for others; 0 if they are far apart. `only_rows`: the only number of rows that
/// will do, or 0. `split`: vectors of lanes lie across cache lines, which are loaded one by one.
TileCost choose_outer_tile(int64_t rows, int64_t tallest, int64_t lanes, int64_t width,
                           int64_t line, const Target& target, bool split, int64_t only_rows = 0) {
  // Two multiply-adds a cycle with a latency of four cycles, and two loads: vectors of lanes, as
  // many prefetches, and a broadcast a row. (Cores with half as many 64-byte multiply-adds lose
  // nothing by these tiles.)
  const double latency = 8;
  // Each row that lies by itself is a stream of cache lines, and rows a power of two apart share
  // few places of the first cache.
  const auto streams = [&](int64_t r) {
    return only_rows == 0 ? 0.25 * static_cast<double>(std::max<int64_t>(r - 8, 0)) : 0;
  };
  const auto step = [&](int64_t r, int64_t v) {
    return std::max({static_cast<double>(r * v), static_cast<double>((split ? 3 : 2) * v + r),
                     latency}) +
           0.5 + 0.25 * static_cast<double>(v) +  // lanes come from L2, rows mostly from L1
           (line == 0       ? streams(r)
            : line % r == 0 ? 1.5
                            : 1.5 + 1.5 * static_cast<double>(r - 1) / static_cast<double>(line));
  };
  const int64_t vectors = ceil_div(lanes, width);
  TileCost best;
  best.slots = INFINITY;
  for (const int64_t v : {1, 2, 3, 4, 6, 8}) {
    if (v > vectors && v > 1) break;
    const int64_t most_rows = std::min<int64_t>((target.num_registers - 1 - v) / v, tallest);
    for (int64_t r = std::min(most_rows, rows);
         r >= std::max<int64_t>(1, only_rows > 0 ? only_rows : std::min(most_rows, rows) / 2);
         --r) {
      const int64_t row_panels = ceil_div(rows, r), short_panels = row_panels * r - rows;
      if (short_panels > row_panels || (only_rows > 0 && r != only_rows)) continue;
      const int64_t lane_panels = ceil_div(vectors, v), last = vectors - (lane_panels - 1) * v;
      const auto column = [&](int64_t nv) {
        return static_cast<double>(row_panels - short_panels) * step(r, nv) +
               (short_panels > 0 ? static_cast<double>(short_panels) * step(r - 1, nv) : 0);
      };
      double slots = static_cast<double>(lane_panels - 1) * column(v) + column(last);
      // A second height or width is more code to compile.
      if (short_panels > 0) slots *= 1.015;
      if (last != v) slots *= 1.005;
      if (slots < best.slots) best = {r, v * width, slots};
    }
  }
  return best;
}

constexpr int64_t kEvenRows = 720720;  // what all tile heights up to kTallest divide

/// The greatest height that panels may have if many numbers of rows are to have the same. From r *
/// (r - 1) on, every number is a sum of r and r - 1. Six rows of four vectors are nearly as good as
/// fourteen of two.
int64_t common_height(const ContractPlan& plan) {
  // With symbols the last panel overlaps the one before, the less the lower they are.
  if (plan.has_symbols) return std::min<int64_t>(plan.m.least < kFew ? 4 : 8, plan.m.least);
  const int64_t rows = plan.m.extent;
  if (rows >= kTallest * (kTallest - 1)) return kTallest;
  int64_t height = 6;
  while (height > 1 && height * (height - 1) > rows) --height;
  return height;
}

/// Tiles of whole windows, or of whole inner labels of one, so that the distances between the rows
/// of a tile are the same in all of them.
TileCost choose_window_tile(const ContractPlan& plan, const WindowPacking& packing,
                            const Target& target) {
  TileCost best;
  best.slots = INFINITY;
  const auto consider = [&](int64_t rows) {
    const TileCost tile = choose_outer_tile(plan.m.extent, kTallest, plan.n.extent, plan.width, 0,
                                            target, false, rows);
    if (tile.slots < best.slots) best = tile;
  };
  int64_t inner = 1;
  for (auto window = packing.windows.rbegin(); window != packing.windows.rend(); ++window) {
    inner *= plan.extent(window->window);
    consider(inner);
  }
  for (int64_t windows = 2; windows <= packing.rows.extent; ++windows)
    if (packing.rows.extent % windows == 0 && windows * inner <= kTallest)
      consider(windows * inner);
  return best;
}

/// The plan's extents as factors of costs.
struct Extents {
  explicit Extents(const ContractPlan& plan)
      : p(static_cast<double>(plan.p.extent)),
        m(static_cast<double>(plan.m.extent)),
        n(static_cast<double>(plan.n.extent)),
        k(static_cast<double>(plan.k.extent)),
        w(static_cast<double>(plan.width)) {}
  double p, m, n, k, w;
};

/// Sets the plan's panels; the cost of the products and of storing them, infinite where no tile
/// fits.
double choose_tile(ContractPlan& plan, const Target& target) {
  const RowWindows* const windows = plan.row_windows();
  const bool are_neighbours = plan.is_plain(plan.row_side, plan.m) &&
                              is_always(plan.segments(plan.row_side, plan.m)[0].coef, 1) &&
                              !is_always(plan.segments(plan.row_side, plan.k)[0].coef, 1);
  const int64_t line = are_neighbours ? 64 / size_of(plan.dtype) : 0;
  const bool split = plan.has_lanes_between();
  const bool has_common_height =
      plan.any_size && !windows && !(plan.has_symbols && plan.m.is_fixed);
  const auto [p, m, n, k, w] = Extents(plan);
  TileCost tile;
  if (has_common_height) {
    tile = choose_outer_tile(kEvenRows, common_height(plan), plan.num_lanes, plan.width, line,
                             target, split);
    tile.slots *= m / static_cast<double>(kEvenRows);
  } else if (windows) {
    tile = choose_window_tile(plan, windows->windows, target);
  } else {
    tile =
        choose_outer_tile(plan.m.extent, kTallest, plan.num_lanes, plan.width, line, target, split);
  }
  if (std::isinf(tile.slots)) return INFINITY;
  plan.set_panels(tile.rows, tile.lanes);
  if (has_common_height) plan.tile_rows = tile.rows;
  if (has_common_height || plan.has_symbols) plan.count_panels();
  const auto row_panels = static_cast<double>(plan.num_row_panels),
             lane_panels = static_cast<double>(plan.num_lane_panels);
  return p *
         (k * tile.slots + row_panels * lane_panels * 15 + m * n * (cost_of_stores(plan) + 2 / w));
}

/// Lanes are read in place while few row panels read them, else packed once a row block.
double choose_lane_packing(ContractPlan& plan, const Target& target) {
  const auto [p, m, n, k, w] = Extents(plan);
  const WindowPacking& packing = plan.lane_windows;
  const std::vector<CheckedDim>& checks = plan.lane_side.checks;
  const Segment lane_k = plan.segments(plan.lane_side, plan.k).back();
  const Segment run = segments_of(packing.operand, packing.columns, packing.extents).back();
  const bool stepped = std::ranges::any_of(
      checks, [&](const CheckedDim& d) { return d.s > 1 && d.factor(run.label) != 0; });
  const double per_run = 8.0 / static_cast<double>(std::max<int64_t>(run.extent.hint(), 1));
  double copy = (stepped ? 4 : 2) + per_run;
  if (!stepped && is_always(run.coef, 1)) copy = 2.5 / w + per_run;
  if (!stepped && is_always(run.coef, 2)) copy = 5 / w + per_run;
  if (!packing.is_window()) {
    plan.lanes = LanePanels();
    const bool can_transpose =
        checks.empty() && is_always(lane_k.coef, 1) && !is_always(lane_k.extent, 1);
    if (can_transpose && !is_always(run.coef, 1) && 7 / w < copy)
      plan.lanes = LanesTransposed(), copy = 7 / w;
  }
  const double row_blocks = std::ceil(m / 256);
  plan.lane_copy_cost = copy * w;
  const double packed = p * k * static_cast<double>(plan.num_lanes) * row_blocks *
                        lane_copy_cost(plan, lanes_of_block(plan, target)) / w;
  if (!plan.is_plain(plan.lane_side, plan.n) || !is_always(run.coef, 1) || packing.is_window())
    return packed;
  const double bytes = k * n * size_of(plan.dtype);
  // Panels after the first find the lanes in a cache, unless rows of lanes lie so far apart that
  // they push each other out.
  const bool apart = std::abs(lane_k.coef.hint()) * size_of(plan.dtype) >= 1024;
  const double again = bytes <= 24 * 1024 ? 0.05 : apart ? 0.9 : 0.3;
  const auto row_panels = static_cast<double>(plan.num_row_panels);
  const double widen = plan.lane_side.memory != plan.dtype ? row_panels : 0;
  const double in_place = p * k * n / w * (0.25 + again * (row_panels - 1) + widen);
  if (!(in_place < packed)) return packed;
  plan.lanes = LanesInPlace();
  plan.lane_copy_cost = 0;
  return in_place;
}

/// To copy an element of a run.
double cost_of_copy(const ContractPlan& plan, const Segment& run) {
  return (is_always(run.coef, 1) ? 2.5 / static_cast<double>(plan.width) : 2) +
         8.0 / static_cast<double>(run.extent.hint());
}

/// Each row's next elements share a line where they are neighbours along k. Otherwise each step of
/// k asks for another line, once for each panel of lanes, and large blocks do not stay in the
/// caches.
double choose_row_packing(ContractPlan& plan, const Target& target) {
  const auto [p, m, n, k, w] = Extents(plan);
  const double times = plan.shares_rows() ? 1 : p;
  const auto packed_cost = [&](double per_element) {
    plan.row_copy_cost = per_element * w;
    return times * m * k * per_element * std::ceil(n / 256);
  };
  if (const RowWindows* const windows = plan.row_windows()) {
    const WindowPacking& packing = windows->windows;
    return packed_cost(
        packing.share() *
        cost_of_copy(plan, segments_of(packing.operand, packing.columns, packing.extents).back()));
  }
  const Segment rows = plan.segments(plan.row_side, plan.m).back(),
                row_k = plan.segments(plan.row_side, plan.k).back();
  const bool is_plain = plan.is_plain(plan.row_side, plan.m);
  const bool near_along_k = is_always(row_k.coef, 1) || is_always(plan.k.size, 1);
  const bool fits =
      m * k * static_cast<double>(size_of(plan.dtype)) <= static_cast<double>(target.l2_bytes) / 4;
  const auto row_panels = static_cast<double>(plan.num_row_panels),
             lane_panels = static_cast<double>(plan.num_lane_panels);
  // Elements that are widened one by one, again for each panel of lanes.
  const double widen = plan.row_side.memory != plan.dtype ? p * k * m * lane_panels : 0;
  const double in_place =
      (near_along_k ? 0 : p * k * row_panels * lane_panels * (fits ? 0.5 : 4)) + widen;
  const bool by_panels = is_plain && is_always(rows.coef, 1);
  const double along_m =
                   by_panels ? 4 / static_cast<double>(plan.tile_rows) : cost_of_copy(plan, rows),
               along_k = cost_of_copy(plan, row_k);
  const double packed = packed_cost(std::min(along_m, along_k));
  if (is_plain && !(packed < in_place)) {
    plan.row_copy_cost = 0;
    return in_place;
  }
  if (along_m >= along_k)
    plan.rows = RowRunsAlongK();
  else if (by_panels)
    plan.rows = RowPanels();
  else
    plan.rows = RowRunsAlongM();
  return packed;
}

}  // namespace

std::optional<Candidate> plan_outer(ContractPlan plan, const Target& target) {
  const double products = choose_tile(plan, target);
  if (std::isinf(products)) return std::nullopt;
  const double lanes = choose_lane_packing(plan, target);
  const double rows = choose_row_packing(plan, target);
  return Candidate{std::move(plan), products + lanes + rows};
}

std::optional<ContractPlan> with_row_windows(ContractPlan plan) {
  constexpr int64_t kMostSlidingStep = 4, kMostBlock = 1024, kLeastBlock = 128;
  const auto find = [&] {
    return find_windows(plan.row_side, plan.m, plan.k, plan.k.labels, plan.sizes, kMostSlidingStep);
  };
  RowWindows rows{.windows = find()};
  if (!rows.windows.is_window()) return std::nullopt;
  // Steps of windows are neighbouring rows.
  plan.m.labels = rows.windows.rows.labels;
  for (const SlidingWindow& window : rows.windows.windows) plan.m.labels.push_back(window.window);
  rows.windows = find();
  rows.cut_k(plan, kMostBlock);
  // What is packed for the neighbouring blocks must not cost what is won.
  if (4 * rows.columns(plan.k_block) > 3 * plan.k_block * rows.windows.steps() ||
      plan.k_block < std::min(plan.k.extent, kLeastBlock))
    return std::nullopt;
  plan.rows = std::move(rows);
  return plan;
}

std::optional<ContractPlan> with_lane_windows(ContractPlan plan, bool all, const Target& target) {
  constexpr int64_t kMostSteps = 64;
  if (plan.n.labels.empty() || (all && plan.n.labels.size() == 1)) return std::nullopt;
  const std::vector<int64_t> sliding =
      all ? plan.n.labels : std::vector<int64_t>{plan.n.labels.front()};
  WindowPacking& packing = plan.lane_windows;
  packing = find_windows(plan.lane_side, plan.k, plan.n, sliding, plan.sizes, 1);
  if (!packing.is_window()) return std::nullopt;
  // From the outermost window inwards.
  LaneWindows lanes;
  const auto first = std::ranges::mismatch(plan.k.labels, packing.rows.labels).in1;
  for (auto label = first; label != plan.k.labels.end(); ++label) {
    if (!plan.sizes[*label].is_number()) return std::nullopt;
    lanes.turn *= plan.extent(*label);
  }
  plan.num_lanes = packing.position(plan.n.extent - 1) + 1;
  if (plan.has_symbols) {
    if (packing.windows.size() > LaneWindows::kMostWindows) return std::nullopt;
    auto places = std::make_shared<std::vector<LaneWindows::Place>>();
    for (int64_t i = 0; i < lanes.turn; ++i) {
      LaneWindows::Place& place = places->emplace_back();
      place.row = static_cast<int32_t>(packing.packed_row(i));
      std::ranges::transform(packing.ahead(i), place.ahead.begin(),
                             [](int64_t n) { return static_cast<int32_t>(n); });
    }
    lanes.places = std::move(places);
  }
  plan.lanes = lanes;
  // What is packed for the neighbour must not cost what is won.
  const int64_t in_block = lanes_of_block(plan, target);
  if (lanes.turn > kMostSteps || 4 * (in_block + packing.reach()) > 3 * in_block * packing.steps())
    return std::nullopt;
  return plan;
}

}  // namespace coregrad
