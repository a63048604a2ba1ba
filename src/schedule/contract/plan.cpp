#include "schedule/contract/plan.h"

#include "base/checked.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cmath>
#include <optional>

namespace coregrad {

int64_t ContractPlan::units() const {
  if (p.extent == 0 || m.extent == 0 || n.extent == 0) return 0;
  return checked_mul(checked_mul(num_p_groups, num_row_blocks, "contract"), num_lane_blocks,
                     "contract");
}

int64_t ContractPlan::scratch_elements() const {
  return checked_add(checked_add(lane_pack_elements, row_pack_elements, "contract"),
                     checked_add(result_elements, copy_elements, "contract"), "contract");
}

int64_t ContractPlan::panel_row(int64_t i) const {
  return i * tile_rows - std::max<int64_t>(0, i - num_tall_panels);
}

int64_t ContractPlan::rows_per_block() const {
  return std::min(panels_per_row_block * tile_rows, m.extent);
}

std::vector<int64_t> ContractPlan::lane_offsets() const {
  std::vector<int64_t> offsets;
  for (int64_t i = 0; i < k_block; ++i)
    offsets.push_back(lane_windows.packed_row(i) * lane_stride + lane_windows.offset(i));
  return offsets;
}

std::vector<int64_t> ContractPlan::row_offsets() const {
  std::vector<int64_t> offsets;
  for (int64_t i = 0; i < k_block; ++i) offsets.push_back(row_windows.position(i));
  return offsets;
}

std::string ContractPlan::to_text() const {
  const auto name = [](LanePacking how) {
    switch (how) {
      case LanePacking::InPlace:
        return "in place";
      case LanePacking::Runs:
        return "runs";
      case LanePacking::Transpose:
        return "transpose";
    }
    return "";
  };
  const auto row_name = [](RowPacking how) {
    switch (how) {
      case RowPacking::InPlace:
        return "in place";
      case RowPacking::RunsAlongK:
        return "runs along k";
      case RowPacking::RunsAlongM:
        return "runs along m";
      case RowPacking::Panels:
        return "panels";
      case RowPacking::Windows:
        return "windows";
    }
    return "";
  };
  return fmt::format(
      "{}{} p {}={} m {}={} n {}={} k {}={}; tile {}x{} ({}+{} x {} panels); lanes {}, rows {}; "
      "blocks: {} p-groups of {}, {} of rows ({} panels), {} of lanes ({} panels), {} of k ({}); "
      "{} lane windows, scratch {} elements{}",
      kind == TileKind::Dot      ? "dot"
      : kind == TileKind::Matrix ? "matrix"
                                 : "outer",
      swapped ? " swapped" : "", p.labels, p.extent, m.labels, m.extent, n.labels, n.extent,
      k.labels, k.extent, tile_rows, tile_lanes, num_tall_panels, num_row_panels - num_tall_panels,
      num_lane_panels, name(lane_packing), row_name(row_packing), num_p_groups, p_per_unit,
      num_row_blocks, panels_per_row_block, num_lane_blocks, panels_per_lane_block, num_k_blocks,
      k_block, lane_windows.windows.size(), scratch_elements(),
      writes_result ? ", result in place" : "");
}

namespace {

AffineOperand affine(const ContractOperand& operand, DType dtype, const std::vector<DimMap>& maps,
                     const std::vector<int64_t>& extents) {
  AffineOperand form;
  form.memory = operand.memory.value_or(dtype);
  form.base = operand.offset;
  form.coef.assign(extents.size(), 0);
  for (size_t d = 0; d < maps.size(); ++d) {
    const DimMap& map = maps[d];
    const int64_t extent = operand.shape[d], stride = operand.strides[d];
    CheckedDim dim;
    dim.c = map.c, dim.s = map.s, dim.extent = extent, dim.stride = stride;
    const auto put = [&](int64_t label, int64_t factor) {
      // Labels of extent 1 are always 0.
      if (label < 0 || factor == 0 || extents[static_cast<size_t>(label)] <= 1) return;
      if (dim.u < 0 || dim.u == label) {
        dim.u = label, dim.a = checked_add(dim.a, factor, "contract");
      } else {
        dim.v = label, dim.b = factor;
      }
    };
    put(map.u, map.a);
    put(map.v, map.b);
    if (dim.s > 1 && dim.a % dim.s == 0 && dim.b % dim.s == 0 && dim.c % dim.s == 0)
      dim.a /= dim.s, dim.b /= dim.s, dim.c /= dim.s, dim.s = 1;
    const auto [low, high] = index_range(
        {std::max<int64_t>(dim.u, 0), dim.v, dim.u < 0 ? 0 : dim.a, dim.b, dim.c, 1}, extents);
    const bool can_leave = low < 0 || high > checked_mul(extent, dim.s, "contract");
    if (dim.s == 1) {
      form.base = checked_add(form.base, checked_mul(dim.c, stride, "contract"), "contract");
      for (const auto& [label, factor] : {std::pair{dim.u, dim.a}, std::pair{dim.v, dim.b}}) {
        if (label < 0) continue;
        int64_t& coef = form.coef[static_cast<size_t>(label)];
        coef = checked_add(coef, checked_mul(factor, stride, "contract"), "contract");
      }
    }
    if (dim.s > 1 || can_leave) form.checks.push_back(dim);
  }
  return form;
}

constexpr int64_t kMostWindowSteps = 64, kMostSlidingStep = 4;
constexpr int64_t kMostBlock = 1024, kLeastWindowBlock = 128;
constexpr int64_t kTallest = 16;  ///< rows of a tile
constexpr int64_t kFinishedLanes = 128;
constexpr int64_t kMostTileSteps = 256;  ///< a panel of rows over so many steps of k stays in L1

struct TileCost {
  int64_t rows = 1, lanes = 1;
  double slots = 0;  ///< multiply-add slots of one step of k over the whole m x n
};

/// A register tile of at most `tallest` rows that keeps the multiply-add units busiest for rows x
/// lanes outputs. `line`: elements of a cache line if rows are neighbours in memory, so that each
/// step of k asks for others; 0 if they are far apart. `only_rows`: the only number of rows that
/// will do, or 0. `split`: vectors of lanes lie across cache lines, which are loaded one by one.
TileCost choose_outer_tile(int64_t rows, int64_t tallest, int64_t lanes, int64_t width,
                           int64_t line, const Target& target, int64_t only_rows = 0,
                           bool split = false) {
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

/// Orders labels by falling address coefficient, so that neighbours can merge and the last is
/// closest in memory. Stable: equal ones keep their order.
void sort_by_coef(std::vector<int64_t>& labels, const AffineOperand& operand) {
  std::stable_sort(labels.begin(), labels.end(), [&](int64_t x, int64_t y) {
    return std::abs(operand.coef[static_cast<size_t>(x)]) >
           std::abs(operand.coef[static_cast<size_t>(y)]);
  });
}

constexpr int64_t kEvenRows = 720720;  // what all tile heights up to kTallest divide

/// The greatest height that panels of so many rows may have if many numbers of rows are to have the
/// same. From r * (r - 1) on, every number is a sum of r and r - 1. Six rows of four vectors are
/// nearly as good as fourteen of two.
int64_t common_height(int64_t rows) {
  if (rows >= kTallest * (kTallest - 1)) return kTallest;
  int64_t height = 6;
  while (height > 1 && height * (height - 1) > rows) --height;
  return height;
}

class Planner {
 public:
  Planner(const ContractKernel& kernel, const Target& target) : kernel_(kernel), target_(target) {
    sides_[0] = affine(kernel.lhs, kernel.dtype, kernel.spec.lhs, kernel.spec.extents);
    sides_[1] = affine(kernel.rhs, kernel.dtype, kernel.spec.rhs, kernel.spec.extents);
    width_ = std::max<int64_t>(1, target.lanes(size_of(kernel.dtype)));
    const int64_t labels = static_cast<int64_t>(kernel.spec.extents.size());
    for (int64_t label = 0; label < labels; ++label)
      if (extent(label) != 1 && kernel.spec.is_summed(label)) summed_.push_back(label);
    // Where the first result goes decides along which labels vectors can be stored.
    const KernelStore& store = kernel.epilogue.stores.front();
    for (size_t axis = 0; axis < kernel.spec.out.size(); ++axis) {
      const int64_t label = kernel.spec.out[axis];
      if (extent(label) == 1) continue;
      int64_t factor = 0;
      if (!kernel.epilogue.context.affine_in(store.index, static_cast<int>(axis), &factor))
        factor = 0;
      outputs_.push_back(label);
      store_factor_.resize(kernel.spec.extents.size(), 0);
      store_factor_[static_cast<size_t>(label)] = factor;
    }
  }

  ContractPlan plan() {
    std::optional<ContractPlan> best;
    double best_cost = INFINITY;
    for (const bool swapped : {false, true}) {
      for (const bool only_contiguous : {true, false}) {
        for (const bool k_by_rows : {true, false}) {
          const ContractPlan arranged = arrange(swapped, only_contiguous, k_by_rows);
          const auto consider = [&](ContractPlan plan) {
            const std::optional<double> cost = choose_tile_and_packing(plan);
            if (cost && (!best || *cost < best_cost)) best = std::move(plan), best_cost = *cost;
          };
          ContractPlan plan = arranged;
          consider(plan);
          plan.kind = TileKind::Dot;
          consider(plan);
          plan.kind = TileKind::Matrix;
          consider(plan);
          if (std::optional<ContractPlan> windows = with_row_windows(arranged))
            consider(std::move(*windows));
          for (const bool all : {false, true})
            if (std::optional<ContractPlan> windows = with_lane_windows(arranged, all))
              consider(std::move(*windows));
        }
      }
    }
    COREGRAD_CHECK(best.has_value());
    if (best->kind == TileKind::Matrix)
      choose_matrix_blocks(*best);
    else
      choose_blocks(*best);
    return std::move(*best);
  }

 private:
  int64_t extent(int64_t label) const { return kernel_.spec.extents[static_cast<size_t>(label)]; }

  FlatSpace space(std::vector<int64_t> labels) const {
    FlatSpace result;
    for (const int64_t label : labels)
      result.extent = checked_mul(result.extent, extent(label), "contract");
    result.labels = std::move(labels);
    return result;
  }

  ContractPlan arrange(bool swapped, bool only_contiguous, bool k_by_rows) const {
    ContractPlan plan;
    plan.dtype = kernel_.dtype;
    plan.extents = kernel_.spec.extents;
    plan.swapped = swapped;
    plan.row_side = sides_[swapped ? 1 : 0];
    plan.lane_side = sides_[swapped ? 0 : 1];
    plan.width = width_;
    plan.any_size = kernel_.any_size;
    std::vector<int64_t> p, m, n, lanes, k = summed_;
    for (const int64_t label : outputs_) {
      const bool in_rows = plan.row_side.depends_on(label),
                 in_lanes = plan.lane_side.depends_on(label);
      (in_rows && !in_lanes ? m : in_lanes && !in_rows ? lanes : p).push_back(label);
    }
    std::stable_sort(lanes.begin(), lanes.end(), [&](int64_t x, int64_t y) {
      return std::abs(store_factor_[static_cast<size_t>(x)]) >
             std::abs(store_factor_[static_cast<size_t>(y)]);
    });
    if (only_contiguous) {
      // Labels that one vector store can run across; the others are looped over outside.
      int64_t reach = 1;
      while (!lanes.empty() && store_factor_[static_cast<size_t>(lanes.back())] == reach) {
        reach *= extent(lanes.back());
        n.insert(n.begin(), lanes.back());
        lanes.pop_back();
      }
      p.insert(p.end(), lanes.begin(), lanes.end());
    } else {
      n = lanes;
    }
    sort_by_coef(m, plan.row_side);
    sort_by_coef(k, k_by_rows ? plan.row_side : plan.lane_side);
    plan.p = space(std::move(p)), plan.m = space(std::move(m));
    plan.n = space(std::move(n)), plan.k = space(std::move(k));
    plan.lane_windows = plain_packing(plan.lane_side, plan.k, plan.n, plan.extents);
    plan.num_lanes = plan.n.extent;
    return plan;
  }

  bool stores_contiguously(const ContractPlan& plan) const {
    int64_t reach = 1;
    for (auto label = plan.n.labels.rbegin(); label != plan.n.labels.rend(); ++label) {
      if (store_factor_[static_cast<size_t>(*label)] != reach) return false;
      reach *= extent(*label);
    }
    return true;
  }

  /// To store a result: whole vectors, every few elements of some lines, or each in a line of its
  /// own.
  double cost_of_stores(const ContractPlan& plan) const {
    if (stores_contiguously(plan)) return 3.0 / static_cast<double>(width_);
    const int64_t step = std::abs(store_factor_[static_cast<size_t>(plan.n.labels.back())]);
    return step * size_of(plan.dtype) <= 16 ? 1.7 : 6;
  }

  /// Fills tile and packing; the estimated cost in vector operations, or nothing where the kind
  /// does not apply. Constants are measured on AVX-512 and only have to rank the candidates.
  std::optional<double> choose_tile_and_packing(ContractPlan& plan) const {
    if (plan.kind == TileKind::Matrix) return choose_tiles(plan);
    const auto rows = segments_of(plan.row_side, plan.m, plan.extents),
               row_k = segments_of(plan.row_side, plan.k, plan.extents),
               lanes = segments_of(plan.lane_side, plan.n, plan.extents),
               lane_k = segments_of(plan.lane_side, plan.k, plan.extents);
    const bool rows_plain = plan.row_side.checks.empty() && rows.size() == 1 && row_k.size() == 1;
    const bool lanes_plain =
        plan.lane_side.checks.empty() && lanes.size() == 1 && lane_k.size() == 1;
    const auto p = static_cast<double>(plan.p.extent), m = static_cast<double>(plan.m.extent),
               n = static_cast<double>(plan.n.extent), k = static_cast<double>(plan.k.extent),
               w = static_cast<double>(width_);
    const double store_cost = cost_of_stores(plan);
    if (plan.kind == TileKind::Dot) {
      // Wide outputs are better blocked and packed.
      if (std::min(plan.m.extent, plan.n.extent) > 16 || !rows_plain || !lanes_plain ||
          plan.k.extent < width_ || row_k[0].coef != 1 || lane_k[0].coef != 1)
        return std::nullopt;
      const int64_t r = std::min<int64_t>(plan.m.extent, 4);
      const int64_t budget = target_.num_registers - 3 - r;
      const int64_t c =
          std::min({plan.n.extent, budget / std::max<int64_t>(r, 1), int64_t{8}, width_});
      plan.lane_packing = LanePacking::InPlace;
      plan.row_packing = RowPacking::InPlace;
      set_panels(plan, std::max<int64_t>(r, 1), std::max<int64_t>(c, 1));
      const auto rd = static_cast<double>(plan.tile_rows),
                 cd = static_cast<double>(plan.tile_lanes);
      // A cast is two operations beside each load.
      const double casts = (plan.row_side.memory != plan.dtype ? 2 * rd : 0) +
                           (plan.lane_side.memory != plan.dtype ? 2 * cd : 0);
      const double step = std::max({rd * cd, rd + cd + casts, 4.0});
      const double tiles = static_cast<double>(plan.num_row_panels * plan.num_lane_panels);
      return p * (tiles * (std::ceil(k / w) * step + rd * cd * 6 + 10) + m * n * store_cost);
    }
    const int64_t line =
        rows_plain && rows[0].coef == 1 && row_k[0].coef != 1 ? 64 / size_of(plan.dtype) : 0;
    const bool split = plan.num_lanes != plan.n.extent;
    const bool has_common_height = kernel_.any_size && !plan.row_windows.is_window();
    TileCost tile;
    if (has_common_height) {
      tile = choose_outer_tile(kEvenRows, common_height(plan.m.extent), plan.num_lanes, width_,
                               line, target_, 0, split);
      tile.slots *= m / static_cast<double>(kEvenRows);
    } else if (plan.row_windows.is_window()) {
      tile = choose_window_tile(plan);
    } else {
      tile = choose_outer_tile(plan.m.extent, kTallest, plan.num_lanes, width_, line, target_, 0,
                               split);
    }
    if (std::isinf(tile.slots)) return std::nullopt;
    set_panels(plan, tile.rows, tile.lanes);
    if (has_common_height) {
      plan.tile_rows = tile.rows;
      plan.num_tall_panels = plan.m.extent - plan.num_row_panels * (plan.tile_rows - 1);
    }
    const auto row_panels = static_cast<double>(plan.num_row_panels),
               lane_panels = static_cast<double>(plan.num_lane_panels);
    double cost =
        p * (k * tile.slots + row_panels * lane_panels * 15 + m * n * (store_cost + 2 / w));

    // Lanes: in place while few row panels read them, else packed once a row block.
    const bool can_transpose =
        plan.lane_side.checks.empty() && lane_k.back().coef == 1 && lane_k.back().extent > 1;
    const Segment run =
        segments_of(plan.lane_windows.operand, plan.lane_windows.columns, plan.lane_windows.extents)
            .back();
    const bool stepped =
        std::any_of(plan.lane_side.checks.begin(), plan.lane_side.checks.end(),
                    [&](const CheckedDim& d) { return d.s > 1 && d.factor(run.label) != 0; });
    const double per_run = 8.0 / static_cast<double>(std::max<int64_t>(run.extent, 1));
    double copy = INFINITY;
    if (run.coef == 1 && !stepped)
      copy = 2.5 / w + per_run;
    else if (run.coef == 2 && !stepped)
      copy = 5 / w + per_run;
    else
      copy = (stepped ? 4 : 2) + per_run;
    plan.lane_packing = LanePacking::Runs;
    if (can_transpose && run.coef != 1 && !plan.lane_windows.is_window() && 7 / w < copy)
      plan.lane_packing = LanePacking::Transpose, copy = 7 / w;
    const double row_blocks = std::ceil(m / 256);
    plan.lane_copy_cost = copy * w;
    double lane_cost = p * k * static_cast<double>(plan.num_lanes) * row_blocks *
                       lane_copy_cost(plan, lanes_of_block(plan)) / w;
    if (lanes_plain && run.coef == 1 && !plan.lane_windows.is_window()) {
      const double bytes = k * n * size_of(plan.dtype);
      // Panels after the first find the lanes in a cache, unless rows of lanes lie so far apart
      // that they push each other out.
      const bool apart = std::abs(lane_k[0].coef) * size_of(plan.dtype) >= 1024;
      const double again = bytes <= 24 * 1024 ? 0.05 : apart ? 0.9 : 0.3;
      const double widen = plan.lane_side.memory != plan.dtype ? row_panels : 0;
      const double in_place = p * k * n / w * (0.25 + again * (row_panels - 1) + widen);
      if (in_place < lane_cost) {
        plan.lane_packing = LanePacking::InPlace, lane_cost = in_place;
        plan.lane_copy_cost = 0;
      }
    }
    // Rows: each row's next elements share a line where they are neighbours along k. Otherwise each
    // step of k asks for another line, once for each panel of lanes, and large blocks do not stay
    // in the caches.
    const auto copy_cost = [&](const Segment& run) {
      return (run.coef == 1 ? 2.5 / w : 2) + 8.0 / static_cast<double>(run.extent);
    };
    const double row_times =
        std::any_of(plan.p.labels.begin(), plan.p.labels.end(),
                    [&](int64_t label) { return plan.row_side.depends_on(label); })
            ? p
            : 1;
    if (plan.row_windows.is_window()) {
      const WindowPacking& packing = plan.row_windows;
      const double per_element =
          packing.share() *
          copy_cost(segments_of(packing.operand, packing.columns, packing.extents).back());
      plan.row_packing = RowPacking::Windows;
      plan.row_copy_cost = per_element * w;
      return cost + lane_cost + row_times * m * k * per_element * std::ceil(n / 256);
    }
    double row_cost = 0;
    const bool near_along_k = row_k[0].coef == 1 || plan.k.extent == 1;
    const bool fits = m * k * static_cast<double>(size_of(plan.dtype)) <=
                      static_cast<double>(target_.l2_bytes) / 4;
    // Elements that are widened one by one, again for each panel of lanes.
    const double widen_rows = plan.row_side.memory != plan.dtype ? p * k * m * lane_panels : 0;
    const double in_place_cost =
        (rows_plain && !near_along_k ? p * k * row_panels * lane_panels * (fits ? 0.5 : 4) : 0) +
        widen_rows;
    plan.row_packing = RowPacking::InPlace;
    if (rows_plain) row_cost = in_place_cost;
    {
      const bool by_panels = rows_plain && rows[0].coef == 1;
      const double along_m_cost =
                       by_panels ? 4 / static_cast<double>(plan.tile_rows) : copy_cost(rows.back()),
                   along_k_cost = copy_cost(row_k.back());
      const bool along_m = along_m_cost < along_k_cost;
      const double per_element = std::min(along_m_cost, along_k_cost);
      const double packed_cost = row_times * m * k * per_element * std::ceil(n / 256);
      if (!rows_plain || packed_cost < in_place_cost) {
        plan.row_packing = !along_m    ? RowPacking::RunsAlongK
                           : by_panels ? RowPacking::Panels
                                       : RowPacking::RunsAlongM;
        plan.row_copy_cost = per_element * w;
        row_cost = packed_cost;
      }
    }
    return cost + lane_cost + row_cost;
  }

  /// How an operand whose rows or lanes are `space` is packed for tile registers, and the estimated
  /// cost for `width` elements.
  TileOperand tile_operand(const ContractPlan& plan, const AffineOperand& operand,
                           const FlatSpace& space, bool is_lane_side, double* cost) const {
    const std::vector<Segment> across = segments_of(operand, space, plan.extents),
                               k = segments_of(operand, plan.k, plan.extents);
    const bool next_k = k.back().coef == 1 || plan.k.extent == 1,
               next_across = across.back().coef == 1 || space.extent == 1;
    const bool is_plain = operand.checks.empty() && across.size() == 1 && k.size() == 1;
    TileOperand result;
    result.along_k = next_k && (is_plain || !next_across || k.back().extent > across.back().extent);
    // Measured with operands that come from L3.
    *cost = result.along_k ? (is_lane_side ? 11 : 9) : (is_lane_side ? 13 : 16);
    if (is_plain && (next_k || next_across)) {
      result.stride = result.along_k ? across.back().coef : k.back().coef;
      return result;
    }
    result.is_copied = true;
    const Segment& run = result.along_k ? k.back() : across.back();
    const auto w = static_cast<double>(width_);
    *cost += (run.coef == 1 ? 2.5 : 2 * w) + 8 * w / static_cast<double>(run.extent);
    return result;
  }

  /// choose_tile_and_packing for tile registers, which take bfloat16.
  std::optional<double> choose_tiles(ContractPlan& plan) const {
    if (!target_.has_tiles || plan.row_side.memory != DType::BFloat16 ||
        plan.lane_side.memory != DType::BFloat16 || plan.k.extent == 0)
      return std::nullopt;
    // Eight registers: as many sums as leave room for their operands.
    plan.tile_rows = plan.m.extent > 16 ? 32 : 16;
    plan.tile_lanes = plan.tile_rows == 32 ? 32 : 64;
    plan.num_row_panels = plan.num_tall_panels =
        std::max<int64_t>(1, ceil_div(plan.m.extent, plan.tile_rows));
    plan.num_lane_panels = std::max<int64_t>(1, ceil_div(plan.n.extent, plan.tile_lanes));
    plan.tile_row_side = tile_operand(plan, plan.row_side, plan.m, false, &plan.row_copy_cost);
    plan.tile_lane_side = tile_operand(plan, plan.lane_side, plan.n, true, &plan.lane_copy_cost);
    if (target_.only_tiles) return 0;
    // What is left beside products this fast: results stored one by one are dear.
    const auto p = static_cast<double>(plan.p.extent), m = static_cast<double>(plan.m.extent),
               n = static_cast<double>(plan.n.extent), k = static_cast<double>(plan.k.extent),
               w = static_cast<double>(width_);
    const double store_cost = stores_contiguously(plan) ? 3 / w : 12;
    const auto panels = static_cast<double>(plan.num_row_panels * plan.num_lane_panels);
    return 1000 + p * (matrix_cost(round_up(plan.m.extent, 16), round_up(plan.n.extent, 16),
                                   plan.k.extent) +
                       panels * 150 + m * k * plan.row_copy_cost / w * std::ceil(n / 512) +
                       n * k * plan.lane_copy_cost / w * std::ceil(m / 512) +
                       m * n * (store_cost + 2 / w));
  }

  /// Tile instructions in vector operations: 16 cycles for 16 x 16 x 32 multiply-adds, twice as
  /// many with operands that come from L2.
  static double matrix_cost(int64_t rows, int64_t lanes, int64_t k) {
    return static_cast<double>(rows) * static_cast<double>(lanes) *
           static_cast<double>(round_up(k, 32)) / 128;
  }

  /// choose_blocks for tile registers.
  void choose_matrix_blocks(ContractPlan& plan) const {
    const int64_t k = plan.k.extent;
    const int64_t budget = target_.l2_bytes / 2 / 2;  // packed elements that share half of L2
    // Lanes packed at once, and steps of k: all of them, so that rows are packed once a unit,
    // unless they would leave no room for lanes.
    const auto part_of = [&](int64_t rows, int64_t lanes) {
      for (const int64_t part : {512, 256, 128})
        if ((rows + std::min(part, lanes)) * k <= budget)
          return std::pair{std::min(part, lanes), k};
      const int64_t part = std::min<int64_t>(256, lanes);
      const int64_t most = std::max<int64_t>(256, budget / (rows + part));
      return std::pair{part,
                       k <= most + most / 4 ? k : round_up(ceil_div(k, ceil_div(k, most)), 32)};
    };
    double best = INFINITY;
    const int64_t most_blocks = std::max<int64_t>(64, 4 * target_.threads);
    for (int64_t row_blocks = 1; row_blocks <= std::min(plan.num_row_panels, most_blocks);
         ++row_blocks) {
      for (int64_t lane_blocks = 1; lane_blocks <= std::min(plan.num_lane_panels, most_blocks);
           ++lane_blocks) {
        const int64_t rows = ceil_div(plan.num_row_panels, row_blocks) * plan.tile_rows,
                      lanes = ceil_div(plan.num_lane_panels, lane_blocks) * plan.tile_lanes;
        const auto [part, k_block] = part_of(rows, lanes);
        const int64_t k_blocks = ceil_div(k, k_block);
        const int64_t row_times = k_blocks > 1 ? ceil_div(lanes, part) : 1;
        const auto r = static_cast<double>(rows), l = static_cast<double>(lanes),
                   steps = static_cast<double>(k) / static_cast<double>(width_);
        const double unit = 2000 + matrix_cost(rows, lanes, k) +
                            steps * (r * plan.row_copy_cost * static_cast<double>(row_times) +
                                     l * plan.lane_copy_cost) +
                            static_cast<double>(k_blocks - 1) * r * l / 4;
        const auto share = static_cast<double>(ceil_div(
            checked_mul(plan.p.extent, row_blocks * lane_blocks, "contract"), target_.threads));
        if (unit * (share + 0.1) >= best) continue;
        best = unit * (share + 0.1);
        plan.num_row_blocks = row_blocks, plan.num_lane_blocks = lane_blocks;
        plan.panels_per_row_block = ceil_div(plan.num_row_panels, row_blocks);
        plan.panels_per_lane_block = ceil_div(plan.num_lane_panels, lane_blocks);
        plan.lanes_at_once = round_up(ceil_div(lanes, ceil_div(lanes, part)), plan.tile_lanes);
        plan.k_block = k_block;
        plan.num_k_blocks = k_blocks;
      }
    }
    plan.k_turn = k;
    plan.k_at_once = round_up(ceil_div(plan.k_block, ceil_div(plan.k_block, kMostTileSteps)), 32);
    const int64_t blocks =
        checked_mul(plan.p.extent, plan.num_row_blocks * plan.num_lane_blocks, "contract");
    plan.p_per_unit = std::clamp<int64_t>(blocks / (16 * target_.threads), 1, plan.p.extent);
    plan.num_p_groups = ceil_div(plan.p.extent, plan.p_per_unit);

    // Two elements of memory take the place of one of scratch.
    const auto area = [&](int64_t a, int64_t b) { return checked_mul(a, b, "contract scratch"); };
    const int64_t rows = plan.panels_per_row_block * plan.tile_rows, lanes = plan.lanes_at_once;
    const int64_t k_padded = round_up(plan.k_block, 32);
    plan.row_stride = plan.lane_stride = k_padded * 16;
    plan.row_pack_elements = area(rows / 16, plan.row_stride) / 2;
    plan.lane_pack_elements = area(lanes / 16, plan.lane_stride) / 2;
    plan.finished_lanes = plan.num_k_blocks > 1 ? lanes : std::min(lanes, kFinishedLanes);
    plan.result_stride = plan.finished_lanes + 16;
    plan.result_elements = area(plan.num_k_blocks > 1 ? rows : plan.tile_rows, plan.result_stride);
    for (const auto& [side, across] :
         {std::pair{&plan.tile_row_side, rows}, std::pair{&plan.tile_lane_side, lanes}}) {
      if (!side->is_copied) continue;
      side->stride = (side->along_k ? k_padded : across) + 32;
      plan.copy_elements = std::max(plan.copy_elements,
                                    area(side->along_k ? across : k_padded, side->stride) / 2 + 64);
    }
  }

  /// The plan with rows packed once for all steps of the windows over them, if there are any.
  std::optional<ContractPlan> with_row_windows(ContractPlan plan) const {
    const auto find = [&] {
      return find_windows(plan.row_side, plan.m, plan.k, plan.k.labels, plan.extents,
                          kMostSlidingStep);
    };
    plan.row_windows = find();
    if (!plan.row_windows.is_window()) return std::nullopt;
    // Steps of windows are neighbouring rows.
    plan.m.labels = plan.row_windows.rows.labels;
    for (const SlidingWindow& window : plan.row_windows.windows)
      plan.m.labels.push_back(window.window);
    plan.row_windows = find();
    choose_row_span(plan, kMostBlock);
    // What is packed for the neighbouring blocks must not cost what is won.
    if (4 * plan.row_span_columns() > 3 * plan.k_block * plan.row_windows.steps() ||
        plan.k_block < std::min(plan.k.extent, kLeastWindowBlock))
      return std::nullopt;
    return plan;
  }

  /// Tiles of whole windows, or of whole inner labels of one, so that the distances between the
  /// rows of a tile are the same in all of them.
  TileCost choose_window_tile(const ContractPlan& plan) const {
    TileCost best;
    best.slots = INFINITY;
    const auto consider = [&](int64_t rows) {
      const TileCost tile =
          choose_outer_tile(plan.m.extent, kTallest, plan.n.extent, width_, 0, target_, rows);
      if (tile.slots < best.slots) best = tile;
    };
    int64_t inner = 1;
    for (size_t i = plan.row_windows.windows.size(); i-- > 0;) {
      inner *= extent(plan.row_windows.windows[i].window);
      consider(inner);
    }
    for (int64_t windows = 2; windows <= plan.row_windows.rows.extent; ++windows)
      if (plan.row_windows.rows.extent % windows == 0 && windows * inner <= 16)
        consider(windows * inner);
    return best;
  }

  /// Blocks of at most `most` steps of k whose packed columns are neighbours.
  static void choose_row_span(ContractPlan& plan, int64_t most) {
    const WindowPacking& packing = plan.row_windows;
    plan.k_turn = 1;
    // A block reads from the place of its first step to as far behind that of its last as windows
    // reach, those over the labels outside of the block among them.
    int64_t last = 0;
    for (size_t i = plan.k.labels.size(); i-- > 0;) {
      const int64_t label = plan.k.labels[i];
      const int64_t extent = plan.extents[static_cast<size_t>(label)];
      const int64_t blocks = ceil_div(extent, std::max<int64_t>(1, most / plan.k_turn));
      const int64_t inner = plan.k_turn;
      const int64_t span = packing.position_step(label);
      plan.k_turn *= extent;
      if (blocks == 1 && i > 0) {
        last += (extent - 1) * span;
        continue;
      }
      plan.row_span_k = inner;
      plan.row_span = span;
      plan.row_span_rest = last + packing.reach() + 1 - span;
      plan.k_block = ceil_div(extent, blocks) * inner;
      break;
    }
    plan.num_k_blocks = plan.k.extent / plan.k_turn * ceil_div(plan.k_turn, plan.k_block);
  }

  /// The plan with lanes packed once for the steps of windows that slide along the outermost label
  /// of the lanes, or along all labels, if there are any.
  std::optional<ContractPlan> with_lane_windows(ContractPlan plan, bool all) const {
    if (plan.n.labels.empty() || (all && plan.n.labels.size() == 1)) return std::nullopt;
    const std::vector<int64_t> sliding =
        all ? plan.n.labels : std::vector<int64_t>{plan.n.labels.front()};
    WindowPacking& packing = plan.lane_windows;
    packing = find_windows(plan.lane_side, plan.k, plan.n, sliding, plan.extents, 1);
    if (!packing.is_window()) return std::nullopt;
    // From the outermost window inwards.
    size_t first = 0;
    while (first < packing.rows.labels.size() && packing.rows.labels[first] == plan.k.labels[first])
      ++first;
    for (size_t i = first; i < plan.k.labels.size(); ++i)
      plan.lane_turn *= extent(plan.k.labels[i]);
    plan.num_lanes = packing.position(plan.n.extent - 1) + 1;
    // What is packed for the neighbour must not cost what is won.
    const int64_t lanes = lanes_of_block(plan);
    if (plan.lane_turn > kMostWindowSteps ||
        4 * (lanes + packing.reach()) > 3 * lanes * packing.steps())
      return std::nullopt;
    return plan;
  }

  /// Rows and lanes of a block.
  int64_t side_of_block(const ContractPlan& plan) const {
    const int64_t bytes = target_.thresholds.contract_side_bytes;
    return std::max<int64_t>(std::min<int64_t>(64, bytes), bytes / size_of(plan.dtype));
  }

  /// Lanes of a block before units are cut: more where each block packs some for its neighbour.
  int64_t lanes_of_block(const ContractPlan& plan) const {
    const int64_t side = side_of_block(plan);
    return std::min(plan.num_lanes,
                    std::clamp<int64_t>(4 * plan.lane_windows.reach(), side, 4 * side));
  }

  /// lane_copy_cost of a block of so many lanes.
  static double lane_copy_cost(const ContractPlan& plan, int64_t lanes) {
    return plan.lane_copy_cost / static_cast<double>(plan.lane_windows.steps()) *
           (1 + static_cast<double>(plan.lane_windows.reach()) /
                    static_cast<double>(std::max<int64_t>(lanes, 1)));
  }

  static void set_panels(ContractPlan& plan, int64_t tile_rows, int64_t tile_lanes) {
    plan.num_row_panels = std::max<int64_t>(1, ceil_div(plan.m.extent, tile_rows));
    plan.tile_rows = std::max<int64_t>(1, ceil_div(plan.m.extent, plan.num_row_panels));
    plan.num_tall_panels = plan.m.extent - plan.num_row_panels * (plan.tile_rows - 1);
    plan.tile_lanes = tile_lanes;
    plan.num_lane_panels = std::max<int64_t>(1, ceil_div(plan.num_lanes, tile_lanes));
  }

  void choose_blocks(ContractPlan& plan) const {
    const int64_t size = size_of(plan.dtype);
    const int64_t side = side_of_block(plan);
    // Rows that are read in place take no room: a taller block packs the lanes less often.
    const int64_t most_rows = plan.row_packing == RowPacking::InPlace ? 4 * side : side;
    const auto split = [](int64_t panels, int64_t blocks, int64_t* per_block, int64_t* count) {
      *count = std::max<int64_t>(1, std::min(blocks, panels));
      *per_block = ceil_div(panels, *count);
    };
    split(plan.num_row_panels, ceil_div(plan.m.extent, most_rows), &plan.panels_per_row_block,
          &plan.num_row_blocks);
    split(plan.num_lane_panels,
          ceil_div(plan.num_lanes, std::max<int64_t>(lanes_of_block(plan), 1)),
          &plan.panels_per_lane_block, &plan.num_lane_blocks);

    const int64_t widest = plan.lanes_per_block();
    // Units: about a million multiply-adds or more each, and enough of them to share out.
    const double work = static_cast<double>(plan.p.extent) * static_cast<double>(plan.m.extent) *
                        static_cast<double>(plan.n.extent) *
                        static_cast<double>(std::max<int64_t>(1, plan.k.extent));
    const int64_t wanted = static_cast<int64_t>(
        std::clamp(work / static_cast<double>(target_.thresholds.contract_unit), 1.0,
                   static_cast<double>(std::clamp(8 * target_.threads, 8, 256))));
    const double row_copy = plan.row_copy_cost;
    const auto blocks = [&] { return plan.p.extent * plan.num_row_blocks * plan.num_lane_blocks; };
    while (blocks() < wanted) {
      // Packing cost per multiply-add after one more split of either kind.
      const double rows = static_cast<double>(plan.rows_per_block()),
                   lanes = static_cast<double>(plan.lanes_per_block());
      const double w = static_cast<double>(width_);
      const double lane_copy = lane_copy_cost(plan, plan.lanes_per_block()),
                   narrow_copy = lane_copy_cost(plan, ceil_div(plan.lanes_per_block(), 2));
      const double now = lane_copy / rows + row_copy / lanes;
      const double split_rows =
          plan.panels_per_row_block > 1 ? 2 * lane_copy / rows + row_copy / lanes : INFINITY;
      const double split_lanes =
          plan.panels_per_lane_block > 1 ? narrow_copy / rows + 2 * row_copy / lanes : INFINITY;
      const double after = std::min(split_rows, split_lanes);
      // What an even share among threads is worth: the factor by which all work may grow.
      const double allowed = blocks() < 2 ? 1.5 : blocks() < 4 ? 1.08 : blocks() < 8 ? 1.04 : 1.012;
      if ((1 + after) / (1 + now) > allowed) break;
      const bool by_lanes =
          split_lanes < split_rows || (split_lanes == split_rows && lanes / w > rows / 4);
      if (by_lanes)
        split(plan.num_lane_panels, plan.num_lane_blocks * 2, &plan.panels_per_lane_block,
              &plan.num_lane_blocks);
      else
        split(plan.num_row_panels, plan.num_row_blocks * 2, &plan.panels_per_row_block,
              &plan.num_row_blocks);
    }
    // Packed rows that are the same for every p are packed once a unit, so larger groups pay.
    const bool shares_rows =
        plan.row_packing != RowPacking::InPlace &&
        std::none_of(plan.p.labels.begin(), plan.p.labels.end(),
                     [&](int64_t label) { return plan.row_side.depends_on(label); });
    const int64_t most_units = shares_rows ? std::min<int64_t>(wanted, 64) : wanted;
    plan.p_per_unit = std::clamp<int64_t>(blocks() / most_units, 1, plan.p.extent);
    plan.num_p_groups = ceil_div(plan.p.extent, plan.p_per_unit);

    // The k range of a block: packed panels share half of L2.
    const bool packs_lanes = plan.lane_packing != LanePacking::InPlace;
    const bool packs_rows = plan.row_packing != RowPacking::InPlace;
    const int64_t rows = plan.rows_per_block(), lanes = plan.lanes_per_block();
    plan.num_k_blocks = 1;
    plan.k_block = plan.k_turn = plan.k.extent;
    if (packs_lanes || packs_rows) {
      const bool windows = plan.row_packing == RowPacking::Windows;
      const int64_t lane_steps = plan.lane_windows.steps();
      const int64_t row_bytes =
          size * ((packs_lanes ? ceil_div(lanes + plan.lane_windows.reach(), lane_steps) : 0) +
                  (packs_rows ? ceil_div(rows, windows ? plan.row_windows.steps() : 1) : 0));
      const int64_t most_steps = target_.thresholds.contract_steps;
      const int64_t most =
          std::clamp<int64_t>(target_.l2_bytes / 2 / std::max<int64_t>(row_bytes, 1),
                              std::min<int64_t>(64, most_steps), most_steps);
      if (windows) {
        choose_row_span(plan, most + most / 4);
      } else if (plan.k.extent > most + most / 4) {
        plan.num_k_blocks = ceil_div(plan.k.extent, most);
        plan.k_block = round_up(ceil_div(plan.k.extent, plan.num_k_blocks),
                                plan.lane_windows.is_window() ? plan.lane_turn : width_);
        plan.num_k_blocks = ceil_div(plan.k.extent, plan.k_block);
      }
    }
    // A core whose other hyperthread is busy issues half as many instructions: those of the loop
    // itself then cost a tenth. Small products are not worth the longer code.
    if (plan.kind == TileKind::Outer && plan.k_block >= 32 &&
        work >= static_cast<double>(target_.thresholds.contract_loop))
      plan.steps_at_once = 4;
    const auto padded = [&](int64_t elements) { return round_up(elements, 64 / size); };
    const auto area = [&](int64_t a, int64_t b) { return checked_mul(a, b, "contract scratch"); };
    if (packs_lanes) {
      const int64_t most_lanes = kernel_.any_size ? widest : lanes;
      // In front of a block: room for lanes that a transposing pack repeats. Behind its last step
      // of k: for steps that it writes too many, and for what the last vector is too long.
      plan.lane_pack_offset = padded(width_);
      const int64_t steps = plan.k_block / plan.lane_windows.steps(), behind = width_;
      if (plan.has_lane_panels()) {
        plan.lane_stride = plan.tile_lanes;
        plan.lane_panel_elements = padded(area(steps, plan.lane_stride) + width_);
        plan.lane_pack_elements = plan.lane_pack_offset +
                                  area(plan.lane_panel_elements, most_lanes / plan.tile_lanes) +
                                  padded(area(behind, plan.lane_stride) + width_);
      } else {
        plan.lane_stride =
            padded(round_up(most_lanes + plan.lane_windows.reach(), width_)) + 64 / size;
        plan.lane_pack_elements =
            padded(plan.lane_pack_offset + area(steps + behind, plan.lane_stride) + width_);
      }
    }
    if (packs_rows) {
      int64_t elements = 0;
      switch (plan.row_packing) {
        case RowPacking::InPlace:
          break;
        case RowPacking::RunsAlongK:
          plan.row_stride = padded(plan.k_block + width_) + 64 / size;
          elements = area(rows, plan.row_stride);
          break;
        case RowPacking::RunsAlongM:
          plan.row_stride = padded(rows + width_);
          elements = area(plan.k_block, plan.row_stride);
          break;
        case RowPacking::Panels:
          plan.row_stride = plan.tile_rows;
          // Behind a panel: room for the rest of the vector that its last elements are stored with.
          plan.row_panel_elements = padded(area(plan.k_block, plan.row_stride) + width_);
          elements = area(plan.row_panel_elements, plan.panels_per_row_block);
          break;
        case RowPacking::Windows:
          plan.row_stride = padded(plan.row_span_columns() + width_) + 64 / size;
          elements = area(ceil_div(rows, plan.row_windows.steps()) + 1, plan.row_stride);
          break;
      }
      plan.row_pack_elements = padded(elements + 2 * width_);
    }
    plan.result_stride = padded(round_up(kernel_.any_size ? widest : lanes, width_)) + 64 / size;
    plan.result_elements =
        padded(area(plan.num_k_blocks > 1 ? rows : plan.tile_rows, plan.result_stride) + width_);
  }

  const ContractKernel& kernel_;
  const Target& target_;
  AffineOperand sides_[2];
  int64_t width_ = 1;
  std::vector<int64_t> outputs_, summed_;
  std::vector<int64_t> store_factor_;
};

}  // namespace

ContractPlan plan_contract(const ContractKernel& kernel, const Target& target) {
  return Planner(kernel, target).plan();
}

}  // namespace coregrad
