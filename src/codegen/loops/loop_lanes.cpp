// Loops, and the lane loop with what is left at its end.

#include "codegen/ir/control_flow.h"
#include "codegen/loops/kernel_emitter.h"

#include <llvm/IR/Constants.h>
#include <llvm/IR/Intrinsics.h>

#include <algorithm>

namespace coregrad {

using llvm::Value;

namespace {

/// Bodies above this many instructions are not repeated for the last, partial vector.
constexpr double kLargeBody = 60;

}  // namespace

void KernelEmitter::loop(Value* first, Value* end, int64_t step, const Body& body) {
  llvm::LLVMContext& context = builder_.getContext();
  llvm::BasicBlock* const before = builder_.GetInsertBlock();
  auto* const head = llvm::BasicBlock::Create(context, "loop", function_);
  auto* const after = llvm::BasicBlock::Create(context, "after", function_);
  builder_.CreateBr(head);
  builder_.SetInsertPoint(head);
  llvm::PHINode* const i = builder_.CreatePHI(builder_.getInt64Ty(), 2);
  i->addIncoming(first, before);
  body(i);
  Value* const next = builder_.CreateNSWAdd(i, number(step));
  i->addIncoming(next, builder_.GetInsertBlock());
  builder_.CreateCondBr(builder_.CreateICmpSLT(next, end), head, after);
  builder_.SetInsertPoint(after);
}

void KernelEmitter::blocked_loop(Value* first, Value* end, int64_t step, std::span<const Cut> cuts,
                                 const Body& body) {
  if (cuts.empty()) {
    loop(first, end, step, body);
    return;
  }
  const int64_t stride = step * cuts.back().block;
  loop(first, end, stride, [&](Value* start) {
    Value* const stop = builder_.CreateBinaryIntrinsic(
        llvm::Intrinsic::smin, end, builder_.CreateNSWAdd(start, number(stride)));
    blocked_loop(start, stop, step, cuts.first(cuts.size() - 1), body);
    for (const auto& sum : *sums_) sum->flush(cuts.back().level);
  });
}

/// The first `remaining` lanes.
Value* KernelEmitter::lane_mask(Value* remaining) {
  const auto width = static_cast<unsigned>(schedule_.width);
  std::vector<llvm::Constant*> lanes;
  for (unsigned l = 0; l < width; ++l) lanes.push_back(builder_.getInt32(l));
  Value* const count =
      builder_.CreateBinaryIntrinsic(llvm::Intrinsic::smin, remaining, number(schedule_.width));
  Value* const splat =
      builder_.CreateVectorSplat(width, builder_.CreateTrunc(count, builder_.getInt32Ty()));
  return builder_.CreateICmpULT(llvm::ConstantVector::get(lanes), splat);
}

/// Whether the last, partial vector may begin earlier, and compute what was computed before:
/// nothing that it reads was written meanwhile. AVX2 takes long for a masked store, where the
/// machine is AMD's, and others have none.
bool KernelEmitter::may_repeat_lanes(double cost) const {
  const auto is_plain = [](const KernelStore& s) { return s.combine == Op::Literal; };
  return kernel_.lane_parallel && !target_.has_masks && cost <= kLargeBody &&
         std::ranges::all_of(kernel_.stores, is_plain) &&
         std::ranges::none_of(kernel_.buffers, &KernelBuffer::may_alias);
}

/// A number of elements that comes with the call.
void KernelEmitter::for_lanes(ValueEmitter& at, int axis, Value* begin, Value* end, bool aligned,
                              double cost, int unroll, const LaneBody& body) {
  const int width = schedule_.width;
  const bool is_row = !kernel_.lane_parallel;
  const std::span<const Cut> cuts = is_row ? cuts_of(kLaneLoop) : std::span<const Cut>{};
  at.push_scope();
  const VectorLane all{axis, width, nullptr, aligned};
  if (width == 1) {
    blocked_loop(begin, end, 1, cuts, [&](Value* i) { body(1, i, all); });
    at.pop_scope();
    return;
  }
  // Whether elements come in steps of so many only.
  const bool is_open = axis == 0 && has_open_extent();
  const auto come_in = [&](int64_t step) {
    return !is_open && is_multiple(kernel_.axes[axis].extent, step) &&
           (is_row || kernel_.block % step == 0);
  };
  const bool whole_vectors = come_in(width);
  const auto masked = [&](Value* first, std::span<const Cut> in) {
    blocked_loop(first, end, width, in, [&](Value* i) {
      VectorLane lane = all;
      if (!whole_vectors) lane.mask = lane_mask(builder_.CreateNSWSub(end, i));
      body(1, i, lane);
    });
  };
  if (unroll == 1 && (whole_vectors || (cost > kLargeBody && target_.has_masks))) {
    masked(begin, cuts);
    at.pop_scope();
    return;
  }
  // Whole steps, then the rest, each behind a test.
  const int64_t step = int64_t{width} * unroll;
  Value* const whole = builder_.CreateNSWAdd(
      begin, builder_.CreateAnd(builder_.CreateNSWSub(end, begin), number(-step)));
  emit_if(builder_, builder_.CreateICmpSLT(begin, whole),
          [&] { blocked_loop(begin, whole, step, cuts, [&](Value* i) { body(unroll, i, all); }); });
  if (!come_in(step)) {
    const auto rest = [&] {
      if (masked_rest_ || whole_vectors)
        masked(whole, {});
      else
        loop(whole, end, 1, [&](Value* i) { body(1, i, VectorLane{axis, 1, nullptr, false}); });
    };
    const auto repeated_rest = [&] {
      Value* const last = builder_.CreateNSWSub(end, number(width));
      loop(whole, end, width, [&](Value* i) {
        body(1, builder_.CreateBinaryIntrinsic(llvm::Intrinsic::smin, i, last),
             VectorLane{axis, width, nullptr, false});
      });
    };
    emit_if(builder_, builder_.CreateICmpSLT(whole, end), [&] {
      if (!may_repeat_lanes(cost) || whole_vectors) return rest();
      emit_if(builder_, builder_.CreateICmpSLE(number(width), builder_.CreateNSWSub(end, begin)),
              repeated_rest, rest);
    });
  }
  at.pop_scope();
}

/// A number of elements that is known now: no tests, and the last mask is a constant.
void KernelEmitter::static_lanes(ValueEmitter& at, int axis, Value* begin, int64_t count,
                                 bool aligned, double cost, int unroll, const LaneBody& body) {
  if (count <= 0) return;
  const int width = schedule_.width;
  const VectorLane all{axis, width, nullptr, aligned};
  const std::span<const Cut> cuts =
      kernel_.lane_parallel ? std::span<const Cut>{} : cuts_of(kLaneLoop);
  at.push_scope();
  int64_t done = 0;
  const auto from = [&](int64_t offset) { return builder_.CreateNSWAdd(begin, number(offset)); };
  const auto vectors = [&](int64_t end, int copies) {
    const int64_t step = int64_t{width} * copies;
    const int64_t stop = done + (end - done) / step * step;
    if (stop == done) return;
    if (stop == done + step)
      body(copies, from(done), all);
    else
      blocked_loop(from(done), from(stop), step, copies == unroll ? cuts : std::span<const Cut>{},
                   [&](Value* i) { body(copies, i, all); });
    done = stop;
  };
  vectors(count, unroll);
  const int64_t left = (count - done) / width;
  if (left > 0)
    vectors(count, static_cast<double>(left) * cost <= kLargeBody ? static_cast<int>(left) : 1);
  if (done < count && count >= width && may_repeat_lanes(cost)) {
    body(1, from(count - width), VectorLane{axis, width, nullptr, false});
  } else if (done < count) {
    std::vector<llvm::Constant*> active;
    for (int l = 0; l < width; ++l) active.push_back(builder_.getInt1(done + l < count));
    VectorLane last = all;
    last.mask = llvm::ConstantVector::get(active);
    body(1, from(done), last);
  }
  at.pop_scope();
}

}  // namespace coregrad
