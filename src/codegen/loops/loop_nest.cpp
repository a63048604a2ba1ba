// Loop sets: their loops, reductions and kept rows.

#include "base/checked.h"
#include "base/error.h"
#include "codegen/loops/kernel_emitter.h"

#include <llvm/IR/Constants.h>

#include <algorithm>
#include <functional>
#include <span>

namespace coregrad {

using llvm::Value;

/// Row-major position in the loop set of lane 0, or of each lane (`type` decides the width).
Value* KernelEmitter::loop_position(int loop_set, const VectorLane& lane, llvm::Type* type) {
  const std::vector<int>& axes = schedule_.loop_sets[loop_set];
  Value* position = number(0);
  SymInt stride = 1;
  for (size_t k = axes.size(); k-- > 0;) {
    const auto axis = static_cast<size_t>(axes[k]);
    position =
        builder_.CreateNSWAdd(position, builder_.CreateNSWMul(axis_values_[axis], size(stride)));
    stride *= kernel_.axes[axis].extent;
  }
  position = builder_.CreateTrunc(position, type);
  const bool lanes_count = lane.width > 1 && lane.axis >= 0;
  if (!lanes_count) return position;
  const auto width = static_cast<unsigned>(lane.width);
  Value* const splat = builder_.CreateVectorSplat(width, position);
  if (lane.axis < kernel_.num_parallel) return splat;
  std::vector<llvm::Constant*> steps;
  for (unsigned l = 0; l < width; ++l) steps.push_back(llvm::ConstantInt::get(type, l));
  return builder_.CreateAdd(splat, llvm::ConstantVector::get(steps));
}

llvm::Type* KernelEmitter::kept_type(ValueId id, int width) {
  llvm::Type* const element = value(id).dtype == DType::Bool
                                  ? builder_.getInt8Ty()
                                  : element_type(builder_.getContext(), value(id).dtype);
  return width > 1 ? llvm::FixedVectorType::get(element, static_cast<unsigned>(width)) : element;
}

Value* KernelEmitter::kept_address(ValueId id, int slot) {
  const KeptRow& row = schedule_.row_of(id);
  const int set = [&] {
    for (const LoopPass& p : schedule_.passes)
      for (const LoopNest& n : p.nests)
        for (const ValueId kept : n.kept_writes)
          if (kept == id) return n.loop_set;
    COREGRAD_UNREACHABLE("a kept value that no walk writes");
  }();
  Value* position = loop_position(set, VectorLane{}, builder_.getInt64Ty());
  if (kernel_.lane_parallel) {
    const int64_t lanes = int64_t{schedule_.width} * schedule_.unroll;
    position = builder_.CreateNSWAdd(builder_.CreateNSWMul(position, number(lanes)),
                                     number(int64_t{slot} * schedule_.width));
  }
  Value* const start = builder_.CreateGEP(builder_.getInt8Ty(), scratch_, size(row.offset));
  return builder_.CreateGEP(kept_type(id, 1), start, position);
}

void KernelEmitter::emit_nest(Group& group, const LoopNest& nest) {
  const auto set = static_cast<size_t>(nest.loop_set);
  const std::vector<int>& axes = schedule_.loop_sets[set];
  const SymInt iterations = schedule_.loop_set_iterations[set];
  const bool is_row = !kernel_.lane_parallel;
  const int width = is_row ? schedule_.width : group[0]->has_lanes() ? group[0]->lane().width : 1;
  const int slots = is_row ? nest.unroll : static_cast<int>(group.size());
  Sums sums;
  for (const ValueId id : nest.reductions) {
    const KernelValue& v = value(id);
    const bool is_arg = v.op == Op::ArgMax || v.op == Op::ArgMin;
    sums.push_back(std::make_unique<Accumulator>(builder_, allocas_, v.op,
                                                 is_arg ? value(v.operands[0]).dtype : v.dtype,
                                                 slots, width, iterations.upper_bound()));
  }
  plan_cuts(nest, sums);
  for (const auto& sum : sums) sum->reset();
  if (iterations > 0) {
    // Opens one loop an axis; the innermost of a row runs along the lanes.
    const std::function<void(size_t)> open = [&](size_t k) {
      if (is_row && k + 1 >= axes.size()) {
        row_lanes(*group[0], nest, sums);
        return;
      }
      if (k == axes.size()) {
        nest_body(group, nest, sums, 0);
        return;
      }
      const SymInt extent = kernel_.axes[axes[k]].extent;
      if (extent.is_identical(1)) {
        open(k + 1);
        return;
      }
      for (ValueEmitter* member : group) member->push_scope();
      const Body turn = [&](Value* i) {
        for (ValueEmitter* member : group) set_axis(*member, axes[k], i);
        open(k + 1);
      };
      blocked_loop(number(0), size(extent), 1, cuts_of(k), turn);
      for (ValueEmitter* member : group) member->pop_scope();
    };
    open(0);
  }
  for (size_t r = 0; r < sums.size(); ++r)
    for (size_t m = 0; m < group.size(); ++m)
      group[m]->bind(nest.reductions[r],
                     is_row ? sums[r]->total() : sums[r]->lanes(static_cast<int>(m)));
}

/// Cuts loops into blocks, and those into blocks, so that no level of a float sum adds more than
/// kChain terms one after the other: the rounding error grows with the logarithm of the number of
/// elements. (At the end of a row's lane loop a few more may come.)
void KernelEmitter::plan_cuts(const LoopNest& nest, Sums& sums) {
  constexpr int64_t kChain = 32;
  sums_ = &sums;
  cuts_.clear();
  if (std::none_of(sums.begin(), sums.end(), [](const auto& sum) { return sum->is_float_sum(); }))
    return;
  const std::vector<int>& axes = schedule_.loop_sets[nest.loop_set];
  int64_t chain =
      1;  // terms that one turn of the loop adds to the level that is the highest so far
  for (size_t k = axes.size(); k-- > 0;) {
    const bool is_lanes = !kernel_.lane_parallel && k + 1 == axes.size();
    // Of more than so many the highest level adds longer chains.
    constexpr int64_t kMostTurns = kChain * kChain * kChain;
    const SymInt extent = kernel_.axes[axes[k]].extent;
    int64_t turns =
        extent.is_number() ? extent.number() : std::min(extent.upper_bound(), kMostTurns);
    if (is_lanes) turns = std::max<int64_t>(turns / (int64_t{schedule_.width} * nest.unroll), 1);
    int64_t block = 1;
    while (chain * ceil_div(turns, block) > kChain) {
      block *= std::max<int64_t>(kChain / chain, 1);
      cuts_.push_back({is_lanes ? kLaneLoop : k, block, cuts_.size()});
      chain = 1;
    }
    chain *= ceil_div(turns, block);
  }
  for (const auto& sum : sums)
    for (size_t level = 0; sum->is_float_sum() && level < cuts_.size(); ++level) sum->add_level();
}

/// The cuts of one loop, the innermost first.
std::span<const KernelEmitter::Cut> KernelEmitter::cuts_of(size_t position) const {
  const auto is_here = [&](const Cut& cut) { return cut.position == position; };
  const auto first = std::find_if(cuts_.begin(), cuts_.end(), is_here);
  return {first, std::find_if_not(first, cuts_.end(), is_here)};
}

void KernelEmitter::row_lanes(ValueEmitter& at, const LoopNest& nest, Sums& sums) {
  const std::vector<int>& axes = schedule_.loop_sets[nest.loop_set];
  Group group = {&at};
  start_lane_sums(nest.stores);
  if (axes.empty()) {
    nest_body(group, nest, sums, 0);
  } else {
    const int axis = axes.back();
    const SymInt extent = kernel_.axes[axis].extent;
    const LaneBody body = [&](int copies, Value* base, const VectorLane& lane) {
      for (int u = 0; u < copies; ++u) {
        Value* const start = builder_.CreateNSWAdd(base, number(int64_t{u} * lane.width));
        inside_and_at_borders(group, axis, 1, start, lane, [&](const VectorLane& own) {
          at.push_scope();
          set_axis(at, axis, start);
          at.set_lane(own);
          nest_body(group, nest, sums, u);
          at.pop_scope();
        });
      }
    };
    if (extent.is_number())
      static_lanes(at, axis, number(0), extent.number(), true, nest.cost, nest.unroll, body);
    else
      for_lanes(at, axis, number(0), size(extent), true, nest.cost, nest.unroll, body);
  }
  finish_lane_sums(at, nest.stores);
}

/// One vector (of each member) inside the loops of a loop set.
void KernelEmitter::nest_body(Group& group, const LoopNest& nest, Sums& sums, int first_slot) {
  const bool is_row = !kernel_.lane_parallel;
  const auto kept_align = [&](ValueId id) {
    return llvm::Align(static_cast<uint64_t>(size_of(value(id).dtype)));
  };
  // Everything is read before anything is written: an output may be the memory of an input.
  for (size_t m = 0; m < group.size(); ++m) {
    ValueEmitter& at = *group[m];
    const int width = at.has_lanes() ? at.lane().width : 1;
    for (const ValueId id : nest.kept_reads) {
      Value* kept = builder_.CreateAlignedLoad(
          kept_type(id, width), kept_address(id, static_cast<int>(m)), kept_align(id));
      if (value(id).dtype == DType::Bool)
        kept = builder_.CreateICmpNE(kept, llvm::Constant::getNullValue(kept->getType()));
      at.bind(id, kept);
    }
    for (const ValueId id : nest.reductions) at.get_vector(value(id).operands[0]);
    for (const ValueId id : nest.kept_writes) at.get_vector(id);
  }
  for (size_t m = 0; m < group.size(); ++m) {
    ValueEmitter& at = *group[m];
    const int slot = first_slot + static_cast<int>(m);
    for (size_t r = 0; r < nest.reductions.size(); ++r) {
      const KernelValue& v = value(nest.reductions[r]);
      const bool is_arg = v.op == Op::ArgMax || v.op == Op::ArgMin;
      Value* element = at.get_vector(v.operands[0]);
      const DType from = value(v.operands[0]).dtype;
      if (!is_arg && from != v.dtype)
        element = emit_elementwise(builder_, Op::Cast, from, v.dtype, {&element, 1});
      Value* const position =
          is_arg ? loop_position(nest.loop_set, at.lane(), sums[r]->position_type()) : nullptr;
      sums[r]->update(slot, element, is_row ? at.lane().mask : nullptr, position);
    }
    for (const ValueId id : nest.kept_writes) {
      Value* element = at.get_vector(id);
      const int width = at.has_lanes() ? at.lane().width : 1;
      if (value(id).dtype == DType::Bool)
        element = builder_.CreateZExt(element, kept_type(id, width));
      builder_.CreateAlignedStore(element, kept_address(id, static_cast<int>(m)), kept_align(id));
    }
  }
  emit_stores(group, nest.stores, first_slot);
}

}  // namespace coregrad
