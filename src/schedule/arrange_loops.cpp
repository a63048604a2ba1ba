// Decisions in the order in which arrange_loops takes them.

#include "schedule/arrange_loops.h"

#include "base/checked.h"
#include "kernel/value_axes.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>
#include <map>
#include <numeric>

namespace coregrad {
namespace {

bool has_index(const KernelValue& v) {
  return v.kind == ValueKind::Load || v.kind == ValueKind::Index || v.kind == ValueKind::InRange ||
         v.kind == ValueKind::Random;
}

/// A kernel like `old` over other axes: `axes[a]` gives old axis a in terms of the new ones.
LoopKernel rebuild_over(const LoopKernel& old, std::vector<LoopAxis> new_axes, int num_parallel,
                        const std::function<std::vector<IndexExpr>(IndexContext&)>& make_axes) {
  LoopKernel k;
  k.axes = std::move(new_axes);
  k.num_parallel = num_parallel;
  k.num_loop_sets = old.num_loop_sets;
  k.buffers = old.buffers;
  k.values = old.values;
  k.stores = old.stores;
  const std::vector<IndexExpr> axes = make_axes(k.context);
  for (KernelValue& v : k.values)
    if (has_index(v)) v.index = translate(old.context, v.index, axes, k.context);
  for (KernelStore& s : k.stores) s.index = translate(old.context, s.index, axes, k.context);
  return k;
}

void for_each_index(const LoopKernel& k, const std::function<void(const IndexExpr&)>& f) {
  for (const KernelValue& v : k.values)
    if (has_index(v)) f(v.index);
  for (const KernelStore& s : k.stores) f(s.index);
}

int64_t count_divisions(const LoopKernel& k) {
  int64_t n = 0;
  std::function<void(const IndexExpr&)> visit = [&](const IndexExpr& e) {
    for (const IndexExpr::Term& t : e.terms) {
      const Atom& a = k.context.atom(t.atom);
      if (a.kind == AtomKind::Div || a.kind == AtomKind::Mod) {
        ++n;
        visit(a.operand);
      }
    }
  };
  for_each_index(k, visit);
  return n;
}

/// `k` with axes a and a+1 (of one group) as one.
LoopKernel joined(const LoopKernel& k, size_t a) {
  std::vector<LoopAxis> axes = k.axes;
  axes[a].extent = checked_mul(axes[a].extent, axes[a + 1].extent, "loop axes");
  const SymInt inner = max(axes[a + 1].extent, 1);  // an empty loop divides by nothing
  axes.erase(axes.begin() + static_cast<std::ptrdiff_t>(a) + 1);
  const bool parallel = k.axes[a].loop_set < 0;
  return rebuild_over(k, axes, k.num_parallel - (parallel ? 1 : 0), [&](IndexContext& c) {
    std::vector<IndexExpr> map;
    for (size_t old = 0; old < k.axes.size(); ++old) {
      const size_t now = old <= a ? old : old - 1;
      const IndexExpr axis = c.axis(static_cast<int>(now), axes[now].extent);
      map.push_back(old == a ? c.div(axis, inner) : old == a + 1 ? c.mod(axis, inner) : axis);
    }
    return map;
  });
}

/// Joins axes a and a+1 (of one group) where no index needs a division afterwards that it had not.
void try_join(LoopKernel& k, size_t a) {
  LoopKernel candidate = joined(k, a);
  if (count_divisions(candidate) <= count_divisions(k)) k = std::move(candidate);
}

bool has_position_reduction(const LoopKernel& k, int set) {
  return std::any_of(k.values.begin(), k.values.end(), [&](const KernelValue& v) {
    return v.kind == ValueKind::Reduce && v.loop_set == set &&
           (v.op == Op::ArgMax || v.op == Op::ArgMin);
  });
}

void join_axes(LoopKernel& k) {
  // Joining keeps the flattened order, so positions (ArgMax) stay what they were.
  for (size_t a = k.axes.size(); a-- > 1;)
    if (k.axes[a].loop_set == k.axes[a - 1].loop_set) try_join(k, a - 1);
}

void reorder_axes(LoopKernel& k, const std::vector<int>& order) {
  // order[new] = old
  std::vector<LoopAxis> axes;
  for (int old : order) axes.push_back(k.axes[old]);
  k = rebuild_over(k, axes, k.num_parallel, [&](IndexContext& c) {
    std::vector<IndexExpr> map(order.size());
    for (size_t now = 0; now < order.size(); ++now)
      map[order[now]] = c.axis(static_cast<int>(now), axes[now].extent);
    return map;
  });
}

/// Vector instructions that memory accesses and reductions of one row cost with lanes along `lane`.
double lane_cost(const LoopKernel& k, const std::vector<uint64_t>& bits, int lane, int lanes) {
  const auto access = [&](const IndexExpr& e, int bytes) {
    SymInt factor = 0;
    const bool affine = k.context.affine_in(e, lane, &factor);
    std::vector<int> axes, values;
    k.context.collect(e, axes, values);
    bool varies = !affine;
    for (int o : values) varies |= (bits[o] >> lane) & 1;
    if (varies) return 1.2 * lanes;
    if (factor.is_identical(0)) return 0.5;
    if (factor.is_identical(1)) return 1.0;
    // Lanes that lie in few cache lines, or each in its own.
    return lanes * (std::abs(factor.hint()) * bytes <= 16 ? 0.7 : 1.5);
  };
  double cost = 0;
  for (size_t i = 0; i < k.values.size(); ++i) {
    const KernelValue& v = k.values[i];
    double times = 1;
    for (size_t a = 0; a < k.axes.size(); ++a)
      if ((bits[i] >> a) & 1) {
        const auto extent = static_cast<double>(std::max<int64_t>(k.axes[a].extent.hint(), 1));
        // Other loop sets have lanes of their own, along their last axes.
        const int set = k.axes[a].loop_set, lane_set = k.axes[lane].loop_set;
        const bool is_lane = static_cast<int>(a) == lane ||
                             (set >= 0 && lane_set >= 0 && set != lane_set &&
                              (a + 1 == k.axes.size() || k.axes[a + 1].loop_set != set));
        times *= is_lane ? std::ceil(extent / lanes) : extent;
      }
    if (v.kind == ValueKind::Load)
      cost += times * access(v.index, size_of(v.dtype));
    else if (v.kind == ValueKind::Reduce && k.axes[lane].loop_set >= 0)
      cost += 12 * times;
    else
      cost += times * computing_cost(v);
  }
  for (const KernelStore& s : k.stores) {
    double times = 1;
    std::vector<int> axes, values;
    k.context.collect(s.index, axes, values);
    for (int a : axes) {
      const auto extent = static_cast<double>(std::max<int64_t>(k.axes[a].extent.hint(), 1));
      times *= a == lane ? std::ceil(extent / lanes) : extent;
    }
    const double one = access(s.index, size_of(k.buffers[s.buffer].dtype));
    cost += times * (one > 1 ? 2 * one : one);  // a scatter is dearer than a gather
  }
  return cost;
}

struct LaneChoice {
  double cost = std::numeric_limits<double>::infinity();
  int axis = -1;
};

LaneChoice best_lane(const LoopKernel& k, int lanes) {
  const std::vector<uint64_t> bits = value_axes(k);
  LaneChoice best;
  // Innermost axes first: of equals the one that is there already wins.
  for (int a = static_cast<int>(k.axes.size()) - 1; a >= 0; --a) {
    const LoopAxis& axis = k.axes[a];
    if (axis.loop_set >= 0) {
      const bool last = a + 1 == static_cast<int>(k.axes.size()) ||
                        k.axes[static_cast<size_t>(a) + 1].loop_set != axis.loop_set;
      if (!last && (has_position_reduction(k, axis.loop_set) || k.num_loop_sets > 1)) continue;
    }
    const double cost = lane_cost(k, bits, a, lanes);
    if (cost < best.cost * 0.999) best = {cost, a};
  }
  return best;
}

/// Joins parallel axes that fill only a part of a vector, where gathering whole vectors across them
/// costs less: small images.
void join_short_lanes(LoopKernel& k, int lanes) {
  while (k.num_loop_sets == 0 && k.num_parallel > 1 && k.axes.back().extent.hint() < lanes) {
    LoopKernel candidate = joined(k, k.axes.size() - 2);
    if (best_lane(candidate, lanes).cost >= best_lane(k, lanes).cost) return;
    k = std::move(candidate);
  }
}

/// Row-major position in the parallel axes from `first` on.
IndexExpr dense_place(LoopKernel& k, int first) {
  std::vector<IndexExpr> index;
  std::vector<SymInt> shape;
  for (int a = first; a < k.num_parallel; ++a) {
    shape.push_back(k.axes[a].extent);
    index.push_back(k.context.axis(a, shape.back()));
  }
  return linearize(k.context, index, contiguous_strides(shape));
}

/// Column sums, parts of which are the outer parallel axes: every unit would walk down a few
/// columns of memory, one line a page. Where each part is a chunk of work the loop's axes can be
/// parallel instead, outside the lanes, and the rows are added in memory to the chunk's row of
/// results, in cache, while the input is read in order.
SymInt add_columns_in_memory(LoopKernel& k, int lanes, const Target& target) {
  constexpr int64_t kMinRows = 4;
  if (!k.lane_parallel || k.num_loop_sets != 1 || k.num_parallel < 2) return 0;
  const std::vector<uint64_t> bits = value_axes(k);
  const int lane = k.num_parallel - 1;
  const SymInt columns = k.axes[lane].extent;
  SymInt rows = 1, parts = 1;
  for (size_t a = 0; a < k.axes.size(); ++a)
    if (static_cast<int>(a) != lane) {
      SymInt& of = k.axes[a].loop_set < 0 ? parts : rows;
      of = checked_mul(of, k.axes[a].extent, "column sums");
    }
  // Symbols are taken for many: parts of few rows are few.
  const auto are_few = [](SymInt n, int64_t least) { return n.is_number() && n.number() < least; };
  if (are_few(parts, 2) || are_few(rows, kMinRows) || are_few(columns, 4 * lanes + 1) ||
      k.axes.size() > 64)
    return 0;
  // Results of the loop go to dense memory as they are, and to nothing else.
  const IndexExpr place = dense_place(k, 0);
  std::vector<int> stores_of(k.buffers.size(), 0);
  for (const KernelStore& s : k.stores) ++stores_of[s.buffer];
  std::vector<bool> is_sum(k.values.size(), false);
  int64_t row_bytes = 0;
  for (size_t i = 0; i < k.values.size(); ++i) {
    const KernelValue& v = k.values[i];
    std::vector<int> axes, used;
    if (has_index(v)) k.context.collect(v.index, axes, used);
    used.insert(used.end(), std::begin(v.operands), std::end(v.operands));
    for (const int o : used)
      if (o >= 0 && is_sum[o]) return 0;
    if (v.kind == ValueKind::Load && v.buffer >= 0) {
      SymInt step = 0;
      if (k.context.affine_in(v.index, lane, &step) && step == 1) row_bytes += size_of(v.dtype);
    }
    if (v.kind != ValueKind::Reduce) continue;
    if (v.op == Op::ArgMax || v.op == Op::ArgMin) return 0;
    is_sum[i] = true;
  }
  if (are_few(rows * columns * row_bytes, target.thresholds.column_bytes)) return 0;
  for (const KernelStore& s : k.stores) {
    if (!is_sum[s.value]) continue;
    const KernelBuffer& buffer = k.buffers[s.buffer];
    const KernelValue& sum = k.values[s.value];
    if (!(s.index == place) || buffer.dtype != sum.dtype || stores_of[s.buffer] != 1) return 0;
  }
  for (const KernelStore& s : k.stores)
    if (!is_sum[s.value] && (bits[s.value] >> k.num_parallel) == 0)
      return 0;  // at the parallel level: would be stored once a row

  const auto num_axes = static_cast<int>(k.axes.size());
  std::vector<LoopAxis> axes = k.axes;
  std::rotate(axes.begin() + lane, axes.begin() + lane + 1, axes.end());
  for (LoopAxis& a : axes) a.loop_set = -1;
  LoopKernel flat = rebuild_over(k, axes, num_axes, [&](IndexContext& c) {
    std::vector<IndexExpr> map;
    for (int old = 0; old < num_axes; ++old) {
      const int now = old < lane ? old : old == lane ? num_axes - 1 : old - 1;
      map.push_back(c.axis(now, axes[now].extent));
    }
    return map;
  });
  flat.num_loop_sets = 0;
  flat.lane_parallel = true;
  for (KernelStore& s : flat.stores) {
    if (!is_sum[s.value]) continue;
    s.combine = flat.values[s.value].op;
    s.row_elements = columns;
    s.index = dense_place(flat, num_axes - 1);
  }
  for (size_t i = 0; i < flat.values.size(); ++i)
    if (is_sum[i]) {
      flat.values[i].kind = ValueKind::Elementwise;
      flat.values[i].op = Op::Cast;
      flat.values[i].loop_set = -1;
    }
  k = std::move(flat);
  return parts;
}

void choose_lane(LoopKernel& k, int lanes) {
  const int best_axis = best_lane(k, lanes).axis;
  if (best_axis < 0) {
    k.lane_parallel = true;
    return;
  }
  std::vector<int> order(k.axes.size());
  std::iota(order.begin(), order.end(), 0);
  const int set = k.axes[best_axis].loop_set;
  k.lane_parallel = set < 0;
  // Move the lane axis to the end of its group.
  size_t end = 0;
  for (size_t a = 0; a < k.axes.size(); ++a)
    if (k.axes[a].loop_set == set) end = a;
  const auto first = order.begin() + best_axis;
  std::rotate(first, first + 1, order.begin() + static_cast<std::ptrdiff_t>(end) + 1);
  if (!std::is_sorted(order.begin(), order.end())) reorder_axes(k, order);
}

/// Loop values that a later pass needs again and that cost more to compute twice than to keep.
void keep_rows(LoopKernel& k, const Target& target) {
  const std::vector<uint64_t> bits = value_axes(k);
  uint64_t loops = 0;
  for (size_t a = 0; a < k.axes.size(); ++a)
    if (k.axes[a].loop_set >= 0) loops |= uint64_t{1} << a;
  std::vector<int> pass(k.values.size(), 0), last_use(k.values.size(), -1);
  std::vector<double> cost(k.values.size(), 0);
  for (size_t i = 0; i < k.values.size(); ++i) {
    const KernelValue& v = k.values[i];
    for (ValueId o : v.operands)
      if (o >= 0) {
        const auto p = static_cast<size_t>(o);
        pass[i] = std::max(pass[i], pass[p]);
        if (bits[p] & loops) cost[i] += cost[p];
      }
    cost[i] += v.kind == ValueKind::Load ? 1 : computing_cost(v);
    if (v.kind == ValueKind::Reduce) {
      ++pass[i];
      cost[i] = 0;
    }
  }
  // The pass in which each loop value is consumed: that of the user, for reductions their
  // operand's.
  for (size_t i = 0; i < k.values.size(); ++i) {
    const KernelValue& v = k.values[i];
    const int at = v.kind == ValueKind::Reduce ? pass[i] - 1 : pass[i];
    for (ValueId o : v.operands)
      if (o >= 0) last_use[o] = std::max(last_use[o], at);
  }
  for (const KernelStore& s : k.stores) {
    const auto v = static_cast<size_t>(s.value);
    last_use[v] = std::max(last_use[v], pass[v]);
  }
  int64_t budget = target.l2_bytes / 4;
  for (size_t i = k.values.size(); i-- > 0;) {
    KernelValue& v = k.values[i];
    if (!(bits[i] & loops) || v.kind == ValueKind::Reduce || v.dtype == DType::Bool) continue;
    if (last_use[i] <= pass[i] || cost[i] < 8) continue;
    int64_t bytes = size_of(v.dtype);
    for (size_t a = 0; a < k.axes.size(); ++a)
      if (k.axes[a].loop_set >= 0 && (bits[i] >> a) & 1)
        bytes = checked_mul(bytes, std::max<int64_t>(k.axes[a].extent.hint(), 1), "kept row");
    // Lanes along a parallel axis keep one row for each lane of the block.
    if (k.lane_parallel) bytes = checked_mul(bytes, target.lanes(4), "kept row");
    if (bytes > budget) continue;
    budget -= bytes;
    v.keep = true;
  }
}

}  // namespace

namespace {

/// Turns of the innermost loops in one unit of elements, at least 1.
SymInt turns_of_loops(const LoopKernel& k) {
  SymInt loops = 0;
  for (int s = 0; s < k.num_loop_sets; ++s) {
    SymInt n = 1;
    for (const LoopAxis& a : k.axes)
      if (a.loop_set == s) n *= a.extent;
    loops += n;
  }
  return max(loops, 1);
}

/// Units of some `chunk_ns` of work, of a kernel that takes `ns` in all (by hints).
SymInt chunk_of(const LoopKernel& k, double ns, double chunk_ns) {
  const SymInt range = max(k.range(), 1);
  const double unit_ns = ns / static_cast<double>(range.hint());
  const auto units = static_cast<int64_t>(chunk_ns / std::max(unit_ns, 1.0));
  if (range.is_number()) return std::clamp<int64_t>(units, 1, range.number());
  // What a unit takes grows with the lanes and loops in it.
  SymInt elements = turns_of_loops(k);
  if (k.lane_parallel && k.num_parallel > 0)
    elements *= max(min(k.axes[static_cast<size_t>(k.num_parallel) - 1].extent, k.block), 1);
  const auto of_elements = static_cast<int64_t>(
      std::min(static_cast<double>(units) * static_cast<double>(elements.hint()), 1e12));
  return max(min(floor_div(std::max<int64_t>(of_elements, 1), elements), range), 1);
}

SymInt size_of_range(const Range& r) { return max(r.high - r.low + 1, 0); }

}  // namespace

LoopCost arrange_loops(LoopKernel& k, const Target& target) {
  join_axes(k);
  int widest = 4;
  for (const KernelBuffer& b : k.buffers) widest = std::max(widest, size_of(b.dtype));
  const int lanes = std::max(1, target.lanes(widest));
  join_short_lanes(k, lanes);
  choose_lane(k, lanes);
  const SymInt parts = add_columns_in_memory(k, lanes, target);
  const bool adds_columns = !parts.is_identical(0);
  if (k.num_loop_sets > 0) keep_rows(k, target);

  // Elements of work, and how dear each is.
  LoopCost total;
  total.elements = turns_of_loops(k);
  for (const LoopAxis& a : k.axes)
    if (a.loop_set < 0) total.elements *= a.extent;
  const auto elements = static_cast<double>(total.elements.hint());
  double per_element = 0;
  for (const KernelValue& v : k.values) {
    if (v.kind == ValueKind::Load) per_element += 0.05 * size_of(v.dtype);
    if (const int cost = computing_cost(v); cost > 0) per_element += 0.01 + 0.02 * cost;
  }
  for (const KernelStore& s : k.stores) per_element += 0.08 * size_of(k.buffers[s.buffer].dtype);
  total.ns = 20 + elements * std::max(per_element, 0.02);

  // Blocks and chunks: some ten microseconds of work a claim.
  const Thresholds& thresholds = target.thresholds;
  k.block = 1;
  if (k.lane_parallel && k.num_parallel > 0) {
    const SymInt extent = k.axes[static_cast<size_t>(k.num_parallel) - 1].extent;
    const int64_t most = k.num_loop_sets > 0 ? 4 * lanes
                         : adds_columns      ? 4 * thresholds.lane_block
                                             : thresholds.lane_block;
    const int64_t largest = std::max<int64_t>(round_up(most, lanes), lanes);
    k.block = extent.is_number()
                  ? std::clamp<int64_t>(round_up(std::max<int64_t>(extent.number(), 1), lanes),
                                        lanes, largest)
                  : largest;
  }
  k.chunk = chunk_of(k, total.ns, static_cast<double>(thresholds.chunk_ns));
  // A chunk is what has a row of results.
  if (adds_columns) k.chunk = max(k.range(), 1) / parts;

  for (const KernelValue& v : k.values)
    if (v.kind == ValueKind::Load)
      total.bytes += size_of_range(k.context.range(v.index)) * size_of(v.dtype);
  for (const KernelStore& s : k.stores)
    total.bytes += size_of_range(k.context.range(s.index)) * size_of(k.buffers[s.buffer].dtype);
  // Results that would only push other data out of the caches go around them.
  if (k.can_stream() && total.bytes.is_number() &&
      total.bytes.number() > target.thresholds.stream_bytes)
    k.stream();
  return total;
}

}  // namespace coregrad
