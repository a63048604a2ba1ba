#include "schedule/loop_schedule.h"

#include "base/checked.h"
#include "base/error.h"
#include "base/sym_int.h"
#include "kernel/value_axes.h"

#include <algorithm>

namespace coregrad {
namespace {

/// Instructions for one vector, roughly.
double cost_of(const KernelValue& v) {
  switch (v.kind) {
    case ValueKind::Literal:
    case ValueKind::Bound:
      return 0;
    case ValueKind::Index:
    case ValueKind::InRange:
    case ValueKind::Load:
    case ValueKind::Reduce:
      return 1;
    case ValueKind::CheckIndex:
      return 4;
    case ValueKind::Random:
    case ValueKind::Elementwise:
      return computing_cost(v);
  }
  COREGRAD_UNREACHABLE("kind of value");
}

class Scheduler {
 public:
  Scheduler(const LoopKernel& kernel, const Target& target) : kernel_(kernel), target_(target) {}

  LoopSchedule run() {
    schedule_.value_axes = value_axes(kernel_);
    find_loop_sets();
    find_stages();
    choose_width();
    place_work();
    for (LoopPass& pass : schedule_.passes)
      for (LoopNest& nest : pass.nests) finish_nest(nest, &pass);
    choose_unroll();
    place_kept_rows();
    return std::move(schedule_);
  }

 private:
  const KernelValue& value(ValueId id) const { return kernel_.values[id]; }

  void find_loop_sets() {
    schedule_.loop_sets.resize(static_cast<size_t>(kernel_.num_loop_sets));
    for (size_t a = 0; a < kernel_.axes.size(); ++a) {
      const int set = kernel_.axes[a].loop_set;
      COREGRAD_CHECK((set < 0) == (a < static_cast<size_t>(kernel_.num_parallel)));
      if (set >= 0) schedule_.loop_sets[set].push_back(static_cast<int>(a));
    }
    for (const std::vector<int>& axes : schedule_.loop_sets) {
      std::vector<SymInt> extents;
      for (const int a : axes) extents.push_back(kernel_.axes[a].extent);
      schedule_.loop_set_iterations.push_back(checked_numel(extents, "loop set"));
    }
  }

  /// The loop set that a set of axes touches, or -1. More than one is a mistake of the kernel.
  int loop_set_of(uint64_t axes) const {
    int result = -1;
    for (size_t a = static_cast<size_t>(kernel_.num_parallel); a < kernel_.axes.size(); ++a) {
      if ((axes >> a & 1) == 0) continue;
      COREGRAD_CHECK(result < 0 || result == kernel_.axes[a].loop_set);
      result = kernel_.axes[a].loop_set;
    }
    return result;
  }

  template <class F>
  void for_each_operand(const KernelValue& v, F&& f) const {
    for (const ValueId id : v.operands)
      if (id != kNoValue) f(id);
    for_each_value_in(v.index, f);
  }
  template <class F>
  void for_each_value_in(const IndexExpr& index, F&& f) const {
    if (index.is_constant()) return;
    std::vector<int> axes, values;
    kernel_.context.collect(index, axes, values);
    for (const int id : values) f(id);
  }

  /// stage: how many passes must be complete before a value can be made.
  void find_stages() {
    stage_.assign(kernel_.values.size(), 0);
    for (size_t i = 0; i < kernel_.values.size(); ++i) {
      const KernelValue& v = kernel_.values[i];
      int stage = 0;
      for_each_operand(v, [&](ValueId id) { stage = std::max(stage, at(stage_, id)); });
      stage_[i] = stage + (v.kind == ValueKind::Reduce ? 1 : 0);
    }
  }

  static int at(const std::vector<int>& of, ValueId id) { return of[id]; }

  LoopPass& pass(int number) {
    if (schedule_.passes.size() <= static_cast<size_t>(number))
      schedule_.passes.resize(static_cast<size_t>(number) + 1);
    return schedule_.passes[number];
  }

  LoopNest& nest(int pass_number, int loop_set) {
    LoopPass& p = pass(pass_number);
    for (LoopNest& n : p.nests)
      if (n.loop_set == loop_set) return n;
    LoopNest made;
    made.loop_set = loop_set;
    p.nests.push_back(std::move(made));
    return p.nests.back();
  }

  void place_work() {
    pass(0);
    for (size_t i = 0; i < kernel_.values.size(); ++i) {
      const KernelValue& v = kernel_.values[i];
      const auto id = static_cast<ValueId>(i);
      if (v.kind == ValueKind::Reduce)
        nest(stage_[i] - 1, v.loop_set).reductions.push_back(id);
      else if (v.keep && loop_set_of(schedule_.value_axes[i]) >= 0)
        nest(stage_[i], loop_set_of(schedule_.value_axes[i])).kept_writes.push_back(id);
    }
    for (size_t s = 0; s < kernel_.stores.size(); ++s) {
      const KernelStore& store = kernel_.stores[s];
      const uint64_t axes = schedule_.value_axes[store.value] |
                            index_axes(kernel_, store.index, schedule_.value_axes);
      int stage = at(stage_, store.value);
      for_each_value_in(store.index, [&](ValueId id) { stage = std::max(stage, at(stage_, id)); });
      const int set = loop_set_of(axes);
      if (set >= 0)
        nest(stage, set).stores.push_back(s);
      else
        pass(std::max(stage - 1, 0)).stores.push_back(s);
    }
  }

  /// What the walk needs: which kept rows it reads and what an element costs.
  void finish_nest(LoopNest& n, const LoopPass* in) {
    const int number = static_cast<int>(in - schedule_.passes.data());
    std::vector<ValueId> open = n.kept_writes;
    for (const ValueId id : n.reductions) open.push_back(value(id).operands[0]);
    for (const size_t s : n.stores) add_roots(kernel_.stores[s], open);
    n.cost = static_cast<double>(n.stores.size() + n.reductions.size() + n.kept_writes.size());
    walk(open, [&](ValueId id) {
      if (loop_set_of(schedule_.value_axes[id]) < 0) return false;
      if (value(id).keep && at(stage_, id) < number) {
        n.kept_reads.push_back(id);
        return false;
      }
      n.cost += cost_of(value(id));
      return true;
    });
  }

  void add_roots(const KernelStore& store, std::vector<ValueId>& open) const {
    open.push_back(store.value);
    for_each_value_in(store.index, [&](ValueId id) { open.push_back(id); });
  }

  /// Visits each value once; `enter` says whether to go on to its operands.
  template <class F>
  void walk(std::vector<ValueId> open, F&& enter) const {
    std::vector<bool> seen(kernel_.values.size(), false);
    while (!open.empty()) {
      const ValueId id = open.back();
      open.pop_back();
      if (seen[id]) continue;
      seen[id] = true;
      if (enter(id)) for_each_operand(value(id), [&](ValueId next) { open.push_back(next); });
    }
  }

  /// Vectors of the narrowest dtype fill a register; wider ones take several. What is only stored
  /// counts where nothing is computed with.
  void choose_width() {
    int narrowest = 16;
    int stored = 16;  // bytes of the narrowest that is only stored
    bool has_bool = false;
    const auto consider = [&](DType t) {
      if (t == DType::Bool)
        has_bool = true;
      else if (is_only_stored(t))
        stored = std::min(stored, size_of(t));
      else
        narrowest = std::min(narrowest, size_of(t));
    };
    for (const KernelValue& v : kernel_.values)
      if (v.kind != ValueKind::Literal) consider(v.dtype);
    for (const KernelStore& s : kernel_.stores) consider(value(s.value).dtype);
    if (narrowest == 16) narrowest = stored;
    int width = narrowest == 16 ? std::min(32, target_.lanes(1)) : target_.lanes(narrowest);
    if (narrowest == 16 && !has_bool) width = 1;
    int64_t extent = 1;  // the most there can be
    const auto most = [&](int axis) { return kernel_.axes[axis].extent.upper_bound(); };
    if (kernel_.lane_parallel) {
      if (kernel_.num_parallel > 0)
        extent = std::min(kernel_.block, most(kernel_.num_parallel - 1));
      if (kernel_.num_parallel == 1) extent = most(0);
    } else {
      for (const std::vector<int>& axes : schedule_.loop_sets)
        if (!axes.empty()) extent = std::max(extent, most(axes.back()));
    }
    while (width > 1 && width / 2 >= extent) width /= 2;
    schedule_.width = width;
  }

  /// Short bodies are unrolled to run at the speed of memory, and for several accumulators that
  /// hide the latency of additions; long ones overlap anyway.
  int unroll_for(double cost, size_t accumulators) const {
    int unroll = cost <= 12 ? 4 : cost <= 20 ? 2 : 1;
    const auto room = static_cast<size_t>(target_.num_registers / 2);
    while (unroll > 1 && accumulators * static_cast<size_t>(unroll) > room) unroll /= 2;
    return unroll;
  }

  void choose_unroll() {
    double cost = 0;
    size_t accumulators = 0;
    for (LoopPass& p : schedule_.passes) {
      for (LoopNest& n : p.nests) {
        n.unroll = unroll_for(n.cost, n.reductions.size() + n.stores.size());
        if (!kernel_.lane_parallel) schedule_.unroll = std::max(schedule_.unroll, n.unroll);
        cost = std::max(cost, n.cost);
        accumulators = std::max(accumulators, n.reductions.size());
      }
    }
    if (!kernel_.lane_parallel) return;
    std::vector<ValueId> open;
    size_t combines = 0;
    for (const LoopPass& p : schedule_.passes)
      for (const size_t s : p.stores) {
        add_roots(kernel_.stores[s], open);
        combines += kernel_.stores[s].combine == Op::Literal ? 0 : 1;
      }
    const uint64_t lane = kernel_.num_parallel > 0 ? uint64_t{1} << (kernel_.num_parallel - 1) : 0;
    walk(open, [&](ValueId id) {
      if ((schedule_.value_axes[id] & lane) == 0) return false;
      schedule_.lane_cost += cost_of(value(id));
      return value(id).kind != ValueKind::Reduce;
    });
    schedule_.unroll =
        unroll_for(std::max(cost, schedule_.lane_cost), std::max(accumulators, combines));
  }

  void place_kept_rows() {
    SymInt offset = 0;
    for (const LoopPass& p : schedule_.passes)
      for (const LoopNest& n : p.nests)
        for (const ValueId id : n.kept_writes) {
          const SymInt elements = schedule_.loop_set_iterations[n.loop_set];
          schedule_.kept.push_back({id, offset, elements});
          const int64_t lanes =
              kernel_.lane_parallel ? int64_t{schedule_.width} * schedule_.unroll : 1;
          // Whole vectors are written at the end of a row.
          const SymInt padded =
              checked_add(checked_mul(elements, lanes, "kept row"), schedule_.width, "kept row");
          const SymInt bytes = checked_mul(padded, size_of(value(id).dtype), "kept row");
          offset = checked_add(offset, round_up(bytes, 64), "kept rows");
        }
    schedule_.scratch_bytes = offset;
  }

  const LoopKernel& kernel_;
  const Target& target_;
  LoopSchedule schedule_;
  std::vector<int> stage_;
};

}  // namespace

const KeptRow& LoopSchedule::row_of(ValueId value) const {
  for (const KeptRow& row : kept)
    if (row.value == value) return row;
  COREGRAD_UNREACHABLE("a kept value without a row");
}

LoopSchedule schedule_loops(const LoopKernel& kernel, const Target& target) {
  return Scheduler(kernel, target).run();
}

}  // namespace coregrad
