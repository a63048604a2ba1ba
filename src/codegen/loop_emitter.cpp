// LoopKernel to LLVM IR. Start reading at `KernelEmitter::run`.
//
//   run           arguments, partial rows, then for_units
//   for_units     the parallel axes; lane-parallel kernels go on to for_lanes
//   level_body    one unit, or one group of lanes: passes, nests, then stores
//   emit_nest     loops over a loop set; row-mode kernels end in for_lanes
//
// A `Group` is the set of value emitters that stand at the parallel level side by side: one in row
// mode (scalars), one a vector in lane-parallel mode. They walk the loop sets in step.

#include "codegen/loop_emitter.h"

#include "base/checked.h"
#include "base/error.h"
#include "codegen/loop_accumulator.h"
#include "codegen/loop_schedule.h"
#include "codegen/value_emitter.h"
#include "runtime/plan.h"

#include <llvm/IR/Constants.h>
#include <llvm/IR/Dominators.h>
#include <llvm/IR/Intrinsics.h>
#include <llvm/IR/IntrinsicsX86.h>
#include <llvm/IR/Module.h>
#include <llvm/Transforms/Utils/PromoteMemToReg.h>

#include <algorithm>
#include <cstddef>
#include <functional>
#include <memory>
#include <optional>

namespace coregrad {
namespace {

using llvm::Value;
using Group = std::vector<ValueEmitter*>;
using Sums = std::vector<std::unique_ptr<Accumulator>>;

/// Bodies above this many instructions are not repeated for the last, partial vector.
constexpr double kLargeBody = 60;

class KernelEmitter {
 public:
  KernelEmitter(llvm::Function* function, const LoopKernel& kernel, const LoopSchedule& schedule,
                const Target& target, bool streaming)
      : function_(function),
        kernel_(kernel),
        schedule_(schedule),
        target_(target),
        streaming_(streaming),
        builder_(llvm::BasicBlock::Create(function->getContext(), "entry", function)),
        axis_values_(kernel.axes.size(), builder_.getInt64(0)),
        // Without cheap masks (AVX2 has them for 4 and 8 bytes) the rest of a row goes one by one.
        masked_rest_(target.has_masks || target.isa == Isa::Avx2) {}

  void run();

 private:
  /// Where an accumulating store keeps its sum while loops run.
  enum class Place { Function, LaneLoop, Memory };
  struct Combine {
    size_t store;
    Place place;
    std::unique_ptr<Accumulator> accumulator;  ///< none for Memory
  };

  // Structure
  void read_arguments();
  void fill_partial_rows();
  void for_units();
  void unit(Value* number);
  void level_body(ValueEmitter& outer, int axis, int copies, Value* base, Lane lane);
  void passes(Group& group);
  void emit_nest(Group& group, const LoopNest& nest);
  void row_lanes(ValueEmitter& at, const LoopNest& nest, Sums& sums);
  void nest_body(Group& group, const LoopNest& nest, Sums& sums, int first_slot);

  // Loops
  using Body = std::function<void(Value*)>;
  /// first, first + step, .. below end; runs at least once.
  void loop(Value* first, Value* end, int64_t step, const Body& body);
  /// The same in blocks of `block` turns, with `after_block` behind each.
  void blocked_loop(Value* first, Value* end, int64_t step, int64_t block, const Body& body,
                    const std::function<void()>& after_block);
  /// The lane loop over [begin, end) of `axis`: `body(copies, base, lane)` emits `copies` vectors.
  using LaneBody = std::function<void(int copies, Value* base, const Lane& lane)>;
  void for_lanes(ValueEmitter& at, int axis, Value* begin, Value* end, std::optional<int64_t> count,
                 bool aligned, double cost, const LaneBody& body);
  void static_lanes(ValueEmitter& at, int axis, Value* begin, int64_t count, bool aligned,
                    double cost, const LaneBody& body);
  Value* lane_mask(Value* remaining);

  /// Where long float sums move to their second level.
  struct Flush {
    Sums* sums = nullptr;
    size_t level = SIZE_MAX;   ///< position in the loop set of the axis whose loop is cut in blocks
    int64_t block = 0;         ///< turns of that loop
    bool after_lanes = false;  ///< that loop is the lane loop of a row
  };
  Flush plan_flush(const std::vector<int>& axes, Sums& sums);
  void flush() {
    for (const auto& sum : *flush_.sums) sum->flush();
  }

  // Stores
  void plan_combines();
  Combine* combine_of(size_t store);
  void start_lane_sums(const std::vector<size_t>& stores);
  void finish_lane_sums(ValueEmitter& at, const std::vector<size_t>& stores);
  void emit_stores(Group& group, const std::vector<size_t>& stores, int first_slot);
  void emit_combine(ValueEmitter& at, size_t store, int slot);
  void combine_in_memory(ValueEmitter& at, const KernelStore& store, Value* value, Value* mask);

  // Loop positions
  Value* loop_position(int loop_set, const Lane& lane, llvm::Type* type);
  Value* kept_address(ValueId value, int slot);
  llvm::Type* kept_type(ValueId id, int width);
  bool has_varying_values(const ValueEmitter& at, const IndexExpr& index) const;

  const KernelValue& value(ValueId id) const { return kernel_.values[static_cast<size_t>(id)]; }
  Value* number(int64_t n) { return builder_.getInt64(static_cast<uint64_t>(n)); }
  void set_axis(ValueEmitter& at, int axis, Value* v) {
    at.set_axis(axis, v);
    axis_values_[static_cast<size_t>(axis)] = v;
  }

  llvm::Function* function_;
  const LoopKernel& kernel_;
  const LoopSchedule& schedule_;
  const Target& target_;
  bool streaming_;
  llvm::IRBuilder<> builder_;
  std::vector<Value*> axis_values_;
  bool masked_rest_;
  std::vector<llvm::AllocaInst*> allocas_;
  std::vector<Value*> buffers_;
  Value *status_ = nullptr, *scratch_ = nullptr;
  std::optional<ValueEmitter> values_;
  std::vector<Combine> combines_;
  Flush flush_;
  Value *begin_ = nullptr, *end_ = nullptr;
};

// ---- Structure ---------------------------------------------------------------------------------

void KernelEmitter::read_arguments() {
  llvm::Type* const pointer = builder_.getPtrTy();
  Value* const args = function_->getArg(0);
  begin_ = function_->getArg(1);
  end_ = function_->getArg(2);
  const auto field = [&](size_t offset) {
    auto* const load = builder_.CreateAlignedLoad(
        pointer, builder_.CreateConstGEP1_64(builder_.getInt8Ty(), args, offset), llvm::Align(8));
    load->setMetadata(llvm::LLVMContext::MD_invariant_load,
                      llvm::MDNode::get(builder_.getContext(), {}));
    return load;
  };
  Value* const table = field(offsetof(StepArgs, buffers));
  scratch_ = field(offsetof(StepArgs, scratch));
  status_ = field(offsetof(StepArgs, status));
  for (size_t b = 0; b < kernel_.buffers.size(); ++b) {
    auto* const load = builder_.CreateAlignedLoad(
        pointer, builder_.CreateConstGEP1_64(pointer, table, b), llvm::Align(8));
    load->setMetadata(llvm::LLVMContext::MD_invariant_load,
                      llvm::MDNode::get(builder_.getContext(), {}));
    buffers_.push_back(load);
  }
}

/// Points the buffers of accumulating stores at this chunk's row, which starts as the identity.
void KernelEmitter::fill_partial_rows() {
  std::vector<bool> done(kernel_.buffers.size(), false);
  for (const KernelStore& store : kernel_.stores) {
    const auto b = static_cast<size_t>(store.buffer);
    if (store.combine == Op::Literal || done[b]) continue;
    done[b] = true;
    const DType dtype = kernel_.buffers[b].dtype;
    const int64_t bytes = checked_mul(store.row_elements, size_of(dtype), "partial row");
    Value* const row = builder_.CreateUDiv(begin_, number(kernel_.chunk));
    buffers_[b] = builder_.CreateGEP(builder_.getInt8Ty(), buffers_[b],
                                     builder_.CreateMul(row, number(bytes)));
    llvm::Constant* identity = reduction_identity(builder_.getContext(), store.combine, dtype);
    if (dtype == DType::Bool) identity = builder_.getInt8(identity->isNullValue() ? 0 : 1);
    const int64_t width = std::max<int64_t>(1, target_.lanes(size_of(dtype)));
    const auto fill = [&](int64_t first, int64_t end, int64_t lanes) {
      if (first >= end) return;
      loop(number(first), number(end), lanes, [&](Value* i) {
        Value* const stored =
            lanes > 1 ? builder_.CreateVectorSplat(static_cast<unsigned>(lanes), identity)
                      : identity;
        builder_.CreateAlignedStore(stored, builder_.CreateGEP(identity->getType(), buffers_[b], i),
                                    llvm::Align(static_cast<uint64_t>(size_of(dtype))));
      });
    };
    const int64_t whole = store.row_elements / width * width;
    fill(0, whole, width);
    fill(whole, store.row_elements, 1);
  }
}

void KernelEmitter::run() {
  read_arguments();
  llvm::LLVMContext& context = builder_.getContext();
  auto* const work = llvm::BasicBlock::Create(context, "work", function_);
  auto* const done = llvm::BasicBlock::Create(context, "done", function_);
  builder_.CreateCondBr(builder_.CreateICmpSLT(begin_, end_), work, done);
  builder_.SetInsertPoint(work);
  fill_partial_rows();
  values_.emplace(builder_, kernel_, target_, buffers_, status_);
  values_->set_streaming(streaming_);
  plan_combines();

  bool is_empty = false;
  for (int a = 0; a < kernel_.num_parallel; ++a)
    is_empty |= kernel_.axes[static_cast<size_t>(a)].extent == 0;
  if (!is_empty) for_units();

  for (Combine& c : combines_)
    if (c.place == Place::Function)
      combine_in_memory(*values_, kernel_.stores[c.store], c.accumulator->total(), nullptr);
  // Streaming stores are not ordered by what tells others that this chunk is done.
  if (streaming_) builder_.CreateIntrinsic(llvm::Intrinsic::x86_sse_sfence, {}, {});
  builder_.CreateBr(done);
  builder_.SetInsertPoint(done);
  builder_.CreateRetVoid();

  llvm::DominatorTree dominators(*function_);
  llvm::PromoteMemToReg(allocas_, dominators);
}

void KernelEmitter::for_units() {
  const int last = kernel_.num_parallel - 1;
  if (kernel_.lane_parallel && kernel_.num_parallel == 1) {
    // One run of elements: units need not be told apart.
    const int64_t extent = kernel_.axes[0].extent;
    Value* const first = builder_.CreateNSWMul(begin_, number(kernel_.block));
    Value* const end = builder_.CreateBinaryIntrinsic(
        llvm::Intrinsic::smin, builder_.CreateNSWMul(end_, number(kernel_.block)), number(extent));
    std::vector<size_t> level_stores;
    for (const LoopPass& p : schedule_.passes)
      level_stores.insert(level_stores.end(), p.stores.begin(), p.stores.end());
    start_lane_sums(level_stores);
    for_lanes(*values_, last, first, end, std::nullopt, kernel_.block % schedule_.width == 0,
              schedule_.lane_cost, [&](int copies, Value* base, const Lane& lane) {
                level_body(*values_, last, copies, base, lane);
              });
    finish_lane_sums(*values_, level_stores);
    return;
  }
  values_->push_scope();
  loop(begin_, end_, 1, [&](Value* n) { unit(n); });
  values_->pop_scope();
}

void KernelEmitter::unit(Value* n) {
  const int last = kernel_.num_parallel - 1;
  const bool has_lane_axis = kernel_.lane_parallel && last >= 0;
  Value* rest = n;
  Value* block_number = nullptr;
  for (int a = last; a >= 0; --a) {
    const int64_t extent = kernel_.axes[static_cast<size_t>(a)].extent;
    const bool in_blocks = has_lane_axis && a == last;
    const int64_t count = in_blocks ? ceil_div(extent, kernel_.block) : extent;
    Value* digit = number(0);
    if (count > 1) {
      digit = a == 0 ? rest : builder_.CreateURem(rest, number(count));
      if (a > 0) rest = builder_.CreateUDiv(rest, number(count));
    }
    if (in_blocks)
      block_number = digit;
    else
      set_axis(*values_, a, digit);
  }
  if (!has_lane_axis) {
    Group group = {&*values_};
    passes(group);
    return;
  }
  const int64_t extent = kernel_.axes[static_cast<size_t>(last)].extent;
  std::vector<size_t> level_stores;
  for (const LoopPass& p : schedule_.passes)
    level_stores.insert(level_stores.end(), p.stores.begin(), p.stores.end());
  Value* const first = builder_.CreateNSWMul(block_number, number(kernel_.block));
  Value* const end = builder_.CreateBinaryIntrinsic(
      llvm::Intrinsic::smin, builder_.CreateNSWAdd(first, number(kernel_.block)), number(extent));
  std::optional<int64_t> count;
  if (kernel_.block >= extent)
    count = extent;
  else if (extent % kernel_.block == 0)
    count = kernel_.block;
  start_lane_sums(level_stores);
  for_lanes(*values_, last, first, end, count,
            kernel_.block % schedule_.width == 0 || kernel_.block >= extent, schedule_.lane_cost,
            [&](int copies, Value* base, const Lane& lane) {
              level_body(*values_, last, copies, base, lane);
            });
  finish_lane_sums(*values_, level_stores);
}

/// `copies` vectors of lanes at the parallel level.
void KernelEmitter::level_body(ValueEmitter& outer, int axis, int copies, Value* base, Lane lane) {
  const auto enter = [&](ValueEmitter& member, int copy) {
    member.push_scope();
    set_axis(member, axis, builder_.CreateNSWAdd(base, number(int64_t{copy} * lane.width)));
    member.set_lane(lane);
  };
  if (schedule_.loop_sets.empty()) {
    // Nothing to walk in step: one vector after the other, which share what is uniform.
    for (int u = 0; u < copies; ++u) {
      enter(outer, u);
      Group group = {&outer};
      emit_stores(group, schedule_.passes[0].stores, u);
      outer.pop_scope();
    }
    return;
  }
  std::vector<std::unique_ptr<ValueEmitter>> members;
  Group group;
  for (int u = 0; u < copies; ++u) {
    members.push_back(std::make_unique<ValueEmitter>(outer));
    group.push_back(members.back().get());
    enter(*group.back(), u);
  }
  passes(group);
}

void KernelEmitter::passes(Group& group) {
  for (const LoopPass& pass : schedule_.passes) {
    for (const LoopNest& nest : pass.nests) emit_nest(group, nest);
    emit_stores(group, pass.stores, 0);
  }
}

// ---- Loops -------------------------------------------------------------------------------------

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

void KernelEmitter::blocked_loop(Value* first, Value* end, int64_t step, int64_t block,
                                 const Body& body, const std::function<void()>& after_block) {
  loop(first, end, step * block, [&](Value* start) {
    Value* const stop = builder_.CreateBinaryIntrinsic(
        llvm::Intrinsic::smin, end, builder_.CreateNSWAdd(start, number(step * block)));
    loop(start, stop, step, body);
    after_block();
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

void KernelEmitter::for_lanes(ValueEmitter& at, int axis, Value* begin, Value* end,
                              std::optional<int64_t> count, bool aligned, double cost,
                              const LaneBody& body) {
  const int width = schedule_.width;
  if (count) {
    static_lanes(at, axis, begin, *count, aligned, cost, body);
    return;
  }
  at.push_scope();
  const Lane all{axis, width, nullptr, aligned};
  if (width == 1) {
    loop(begin, end, 1, [&](Value* i) { body(1, i, all); });
    at.pop_scope();
    return;
  }
  const int64_t extent = kernel_.axes[static_cast<size_t>(axis)].extent;
  const bool whole_vectors = extent % width == 0 && kernel_.block % width == 0;
  const auto masked = [&](Value* first) {
    loop(first, end, width, [&](Value* i) {
      Lane lane = all;
      if (!whole_vectors) lane.mask = lane_mask(builder_.CreateNSWSub(end, i));
      body(1, i, lane);
    });
  };
  if (schedule_.unroll == 1 && (whole_vectors || (cost > kLargeBody && target_.has_masks))) {
    masked(begin);
    at.pop_scope();
    return;
  }
  // Whole steps, then the rest, each behind a test.
  const int64_t step = int64_t{width} * schedule_.unroll;
  llvm::LLVMContext& context = builder_.getContext();
  const auto when = [&](Value* condition, const std::function<void()>& then) {
    auto* const yes = llvm::BasicBlock::Create(context, "some", function_);
    auto* const after = llvm::BasicBlock::Create(context, "none", function_);
    builder_.CreateCondBr(condition, yes, after);
    builder_.SetInsertPoint(yes);
    then();
    builder_.CreateBr(after);
    builder_.SetInsertPoint(after);
  };
  Value* const whole = builder_.CreateNSWAdd(
      begin, builder_.CreateAnd(builder_.CreateNSWSub(end, begin), number(-step)));
  when(builder_.CreateICmpSLT(begin, whole),
       [&] { loop(begin, whole, step, [&](Value* i) { body(schedule_.unroll, i, all); }); });
  if (extent % step != 0 || kernel_.block % step != 0) {
    when(builder_.CreateICmpSLT(whole, end), [&] {
      if (masked_rest_ || whole_vectors)
        masked(whole);
      else
        loop(whole, end, 1, [&](Value* i) { body(1, i, Lane{axis, 1, nullptr, false}); });
    });
  }
  at.pop_scope();
}

/// A number of elements that is known now: no tests, and the last mask is a constant.
void KernelEmitter::static_lanes(ValueEmitter& at, int axis, Value* begin, int64_t count,
                                 bool aligned, double cost, const LaneBody& body) {
  if (count <= 0) return;
  const int width = schedule_.width;
  const Lane all{axis, width, nullptr, aligned};
  at.push_scope();
  int64_t done = 0;
  const auto from = [&](int64_t offset) { return builder_.CreateNSWAdd(begin, number(offset)); };
  const auto vectors = [&](int64_t end, int copies) {
    const int64_t step = int64_t{width} * copies;
    const int64_t stop = done + (end - done) / step * step;
    if (stop == done) return;
    if (stop == done + step)
      body(copies, from(done), all);
    else if (flush_.after_lanes && (stop - done) / step > flush_.block)
      blocked_loop(
          from(done), from(stop), step, flush_.block, [&](Value* i) { body(copies, i, all); },
          [&] { flush(); });
    else
      loop(from(done), from(stop), step, [&](Value* i) { body(copies, i, all); });
    done = stop;
  };
  vectors(count, schedule_.unroll);
  const int64_t left = (count - done) / width;
  if (left > 0)
    vectors(count, static_cast<double>(left) * cost <= kLargeBody ? static_cast<int>(left) : 1);
  if (done < count) {
    std::vector<llvm::Constant*> active;
    for (int l = 0; l < width; ++l) active.push_back(builder_.getInt1(done + l < count));
    Lane last = all;
    last.mask = llvm::ConstantVector::get(active);
    body(1, from(done), last);
  }
  at.pop_scope();
}

// ---- Loop sets ---------------------------------------------------------------------------------

/// Row-major position in the loop set of lane 0, or of each lane (`type` decides the width).
Value* KernelEmitter::loop_position(int loop_set, const Lane& lane, llvm::Type* type) {
  const std::vector<int>& axes = schedule_.loop_sets[static_cast<size_t>(loop_set)];
  Value* position = number(0);
  int64_t stride = 1;
  for (size_t k = axes.size(); k-- > 0;) {
    const auto axis = static_cast<size_t>(axes[k]);
    position =
        builder_.CreateNSWAdd(position, builder_.CreateNSWMul(axis_values_[axis], number(stride)));
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
  Value* position = loop_position(set, Lane{}, builder_.getInt64Ty());
  if (kernel_.lane_parallel) {
    const int64_t lanes = int64_t{schedule_.width} * schedule_.unroll;
    position = builder_.CreateNSWAdd(builder_.CreateNSWMul(position, number(lanes)),
                                     number(int64_t{slot} * schedule_.width));
  }
  Value* const start = builder_.CreateConstGEP1_64(builder_.getInt8Ty(), scratch_,
                                                   static_cast<uint64_t>(row.offset));
  return builder_.CreateGEP(kept_type(id, 1), start, position);
}

void KernelEmitter::emit_nest(Group& group, const LoopNest& nest) {
  const auto set = static_cast<size_t>(nest.loop_set);
  const std::vector<int>& axes = schedule_.loop_sets[set];
  const int64_t iterations = schedule_.loop_set_iterations[set];
  const bool is_row = !kernel_.lane_parallel;
  const int width = is_row ? schedule_.width : group[0]->has_lanes() ? group[0]->lane().width : 1;
  const int slots = is_row ? schedule_.unroll : static_cast<int>(group.size());
  Sums sums;
  for (const ValueId id : nest.reductions) {
    const KernelValue& v = value(id);
    const bool is_arg = v.op == Op::ArgMax || v.op == Op::ArgMin;
    sums.push_back(std::make_unique<Accumulator>(builder_, allocas_, v.op,
                                                 is_arg ? value(v.operands[0]).dtype : v.dtype,
                                                 slots, width, iterations));
  }
  flush_ = plan_flush(axes, sums);
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
      const int64_t extent = kernel_.axes[static_cast<size_t>(axes[k])].extent;
      if (extent == 1) {
        open(k + 1);
        return;
      }
      for (ValueEmitter* member : group) member->push_scope();
      const Body turn = [&](Value* i) {
        for (ValueEmitter* member : group) set_axis(*member, axes[k], i);
        open(k + 1);
      };
      if (k == flush_.level)
        blocked_loop(number(0), number(extent), 1, flush_.block, turn, [&] { flush(); });
      else
        loop(number(0), number(extent), 1, turn);
      for (ValueEmitter* member : group) member->pop_scope();
    };
    open(0);
  }
  for (size_t r = 0; r < sums.size(); ++r)
    for (size_t m = 0; m < group.size(); ++m)
      group[m]->bind(nest.reductions[r],
                     is_row ? sums[r]->total() : sums[r]->lanes(static_cast<int>(m)));
}

/// Cuts the innermost loops that are long enough together into blocks, so that neither the chain of
/// additions inside a block nor the chain of blocks is much longer than the square root of both.
KernelEmitter::Flush KernelEmitter::plan_flush(const std::vector<int>& axes, Sums& sums) {
  std::vector<int64_t> turns(axes.size());
  int64_t total = 1;
  for (size_t k = axes.size(); k-- > 0;) {
    turns[k] = kernel_.axes[static_cast<size_t>(axes[k])].extent;
    const bool is_lanes = !kernel_.lane_parallel && k + 1 == axes.size();
    if (is_lanes) turns[k] /= int64_t{schedule_.width} * schedule_.unroll;
    turns[k] = std::max<int64_t>(turns[k], 1);
    total = checked_mul(total, turns[k], "loop set");
  }
  Flush result{&sums};
  int64_t chain = 256;
  if (total <= 2 * chain) return result;
  while (chain * chain < total) chain *= 2;
  bool is_needed = false;
  for (const auto& sum : sums) {
    if (!sum->is_long_sum()) continue;
    sum->add_second_level();
    is_needed = true;
  }
  int64_t inside = 1;
  for (size_t k = axes.size(); is_needed && k-- > 0; inside *= turns[k]) {
    if (inside * turns[k] <= chain) continue;
    result.after_lanes = !kernel_.lane_parallel && k + 1 == axes.size();
    if (!result.after_lanes) result.level = k;
    result.block = std::max<int64_t>(1, chain / inside);
    break;
  }
  return result;
}

void KernelEmitter::row_lanes(ValueEmitter& at, const LoopNest& nest, Sums& sums) {
  const std::vector<int>& axes = schedule_.loop_sets[static_cast<size_t>(nest.loop_set)];
  Group group = {&at};
  start_lane_sums(nest.stores);
  if (axes.empty()) {
    nest_body(group, nest, sums, 0);
  } else {
    const int axis = axes.back();
    static_lanes(at, axis, number(0), kernel_.axes[static_cast<size_t>(axis)].extent, true,
                 nest.cost, [&](int copies, Value* base, const Lane& lane) {
                   for (int u = 0; u < copies; ++u) {
                     at.push_scope();
                     set_axis(at, axis,
                              builder_.CreateNSWAdd(base, number(int64_t{u} * lane.width)));
                     at.set_lane(lane);
                     nest_body(group, nest, sums, u);
                     at.pop_scope();
                   }
                 });
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

// ---- Stores ------------------------------------------------------------------------------------

void KernelEmitter::plan_combines() {
  std::vector<bool> is_in_nest(kernel_.stores.size(), false);
  for (const LoopPass& p : schedule_.passes)
    for (const LoopNest& n : p.nests)
      for (const size_t s : n.stores) is_in_nest[s] = true;
  for (size_t s = 0; s < kernel_.stores.size(); ++s) {
    const KernelStore& store = kernel_.stores[s];
    if (store.combine == Op::Literal) continue;
    COREGRAD_CHECK(value(store.value).dtype ==
                   kernel_.buffers[static_cast<size_t>(store.buffer)].dtype);
    const uint64_t axes = index_axes(kernel_, store.index, schedule_.value_axes);
    // The axis that lanes run along where the store stands, if its sum can wait for their end.
    int lane_axis = -1;
    if (kernel_.lane_parallel && !is_in_nest[s]) lane_axis = kernel_.num_parallel - 1;
    if (!kernel_.lane_parallel && is_in_nest[s]) {
      const auto set = [&] {
        for (const LoopPass& p : schedule_.passes)
          for (const LoopNest& n : p.nests)
            if (std::find(n.stores.begin(), n.stores.end(), s) != n.stores.end())
              return static_cast<size_t>(n.loop_set);
        COREGRAD_UNREACHABLE("store without a nest");
      }();
      lane_axis = schedule_.loop_sets[set].back();
    }
    Place place = Place::Memory;
    if (axes == 0)
      place = Place::Function;
    else if (lane_axis >= 0 && (axes >> lane_axis & 1) == 0)
      place = Place::LaneLoop;
    Combine made{s, place, nullptr};
    if (place != Place::Memory) {
      made.accumulator =
          std::make_unique<Accumulator>(builder_, allocas_, store.combine, value(store.value).dtype,
                                        schedule_.unroll, schedule_.width, 0);
      made.accumulator->reset();
    }
    combines_.push_back(std::move(made));
  }
}

KernelEmitter::Combine* KernelEmitter::combine_of(size_t store) {
  for (Combine& c : combines_)
    if (c.store == store) return &c;
  return nullptr;
}

void KernelEmitter::start_lane_sums(const std::vector<size_t>& stores) {
  for (const size_t s : stores)
    if (Combine* const c = combine_of(s); c && c->place == Place::LaneLoop) c->accumulator->reset();
}

void KernelEmitter::finish_lane_sums(ValueEmitter& at, const std::vector<size_t>& stores) {
  for (const size_t s : stores)
    if (Combine* const c = combine_of(s); c && c->place == Place::LaneLoop)
      combine_in_memory(at, kernel_.stores[s], c->accumulator->total(), nullptr);
}

void KernelEmitter::emit_stores(Group& group, const std::vector<size_t>& stores, int first_slot) {
  // All values first: an output may be the memory of an input.
  for (ValueEmitter* at : group) {
    for (const size_t s : stores) {
      const KernelStore& store = kernel_.stores[s];
      at->get(store.value);
      if (store.mask != kNoValue) at->get(store.mask);
      if (store.index.is_constant()) continue;
      std::vector<int> axes, values;
      kernel_.context.collect(store.index, axes, values);
      for (const int id : values) at->get(id);
    }
  }
  for (size_t m = 0; m < group.size(); ++m)
    for (const size_t s : stores) {
      if (kernel_.stores[s].combine == Op::Literal)
        group[m]->emit_store(kernel_.stores[s]);
      else
        emit_combine(*group[m], s, first_slot + static_cast<int>(m));
    }
}

void KernelEmitter::emit_combine(ValueEmitter& at, size_t s, int slot) {
  const KernelStore& store = kernel_.stores[s];
  Combine& c = *combine_of(s);
  Value* const element = at.get_vector(store.value);
  Value* mask = store.mask == kNoValue ? nullptr : at.widen(at.get(store.mask));
  if (c.place == Place::Memory) {
    combine_in_memory(at, store, element, mask);
    return;
  }
  if (Value* const lanes = at.has_lanes() ? at.lane().mask : nullptr)
    mask = mask ? builder_.CreateAnd(mask, lanes) : lanes;
  c.accumulator->update(slot, element, mask);
}

/// Reads, combines and writes back: the row belongs to this chunk alone.
void KernelEmitter::combine_in_memory(ValueEmitter& at, const KernelStore& store, Value* element,
                                      Value* mask) {
  const DType dtype = value(store.value).dtype;
  const auto merged = [&](Value* old_value, Value* v) {
    return combine(builder_, store.combine, dtype, old_value, v);
  };
  const bool is_vector = at.has_lanes() && element->getType()->isVectorTy();
  int64_t slope = 0;
  if (!is_vector || (kernel_.context.affine_in(store.index, at.lane().axis, &slope) && slope != 0 &&
                     !has_varying_values(at, store.index))) {
    // Every lane has a place of its own.
    Value* const old_value = at.load_here(store.buffer, store.index, mask);
    at.store_here(store.buffer, store.index, merged(old_value, element), mask);
    return;
  }
  Value* active = at.lane().mask;
  if (mask) active = active ? builder_.CreateAnd(active, mask) : mask;
  if (!at.index_varies_over_lanes(store.index)) {
    Accumulator lanes(builder_, allocas_, store.combine, dtype, 1, at.lane().width, 0);
    lanes.reset();
    lanes.update(0, element, active);
    Value* const old_value = at.load_here(store.buffer, store.index);
    at.store_here(store.buffer, store.index, merged(old_value, lanes.total()));
    return;
  }
  // Lanes may meet in one place, so they go one after the other.
  llvm::LLVMContext& context = builder_.getContext();
  Value* const places = at.emit_index(store.index);
  llvm::Type* const type = element_type(context, dtype);
  llvm::Type* const memory = dtype == DType::Bool ? builder_.getInt8Ty() : type;
  const llvm::Align align(static_cast<uint64_t>(size_of(dtype)));
  for (int l = 0; l < at.lane().width; ++l) {
    const auto lane = static_cast<uint64_t>(l);
    auto* const work = llvm::BasicBlock::Create(context, "lane", function_);
    auto* const after = llvm::BasicBlock::Create(context, "next", function_);
    Value* const is_active =
        active ? builder_.CreateExtractElement(active, lane) : builder_.getTrue();
    builder_.CreateCondBr(is_active, work, after);
    builder_.SetInsertPoint(work);
    Value* const pointer = builder_.CreateGEP(memory, buffers_[static_cast<size_t>(store.buffer)],
                                              builder_.CreateExtractElement(places, lane));
    Value* old_value = builder_.CreateAlignedLoad(memory, pointer, align);
    if (memory != type) old_value = builder_.CreateIsNotNull(old_value);
    Value* const now = merged(old_value, builder_.CreateExtractElement(element, lane));
    builder_.CreateAlignedStore(memory == type ? now : builder_.CreateZExt(now, memory), pointer,
                                align);
    builder_.CreateBr(after);
    builder_.SetInsertPoint(after);
  }
}

bool KernelEmitter::has_varying_values(const ValueEmitter& at, const IndexExpr& index) const {
  if (index.is_constant()) return false;
  std::vector<int> axes, values;
  kernel_.context.collect(index, axes, values);
  return std::any_of(values.begin(), values.end(),
                     [&](int id) { return at.varies_over_lanes(id); });
}

bool streams(const LoopKernel& kernel, const Target& target) {
  if (target.isa != Isa::Avx2 && target.isa != Isa::Avx512) return false;
  return std::any_of(kernel.buffers.begin(), kernel.buffers.end(),
                     [](const KernelBuffer& b) { return b.is_written && b.non_temporal; });
}

}  // namespace

void emit_loop_kernel(llvm::Module& module, const std::string& symbol, const LoopKernel& kernel,
                      const Target& target) {
  llvm::LLVMContext& context = module.getContext();
  llvm::Type *const pointer = llvm::PointerType::get(context, 0),
                    *const i64 = llvm::Type::getInt64Ty(context),
                    *const i32 = llvm::Type::getInt32Ty(context);
  auto* const type =
      llvm::FunctionType::get(llvm::Type::getVoidTy(context), {pointer, i64, i64, i32}, false);
  const LoopSchedule schedule = schedule_loops(kernel, target);
  const auto make = [&](const std::string& name, llvm::GlobalValue::LinkageTypes linkage) {
    return llvm::Function::Create(type, linkage, name, module);
  };
  llvm::Function* const function = make(symbol, llvm::GlobalValue::ExternalLinkage);
  if (!streams(kernel, target)) {
    KernelEmitter(function, kernel, schedule, target, false).run();
    return;
  }
  // Streaming stores need aligned addresses, which only the pointers of the call can tell.
  llvm::Function* const streaming = make(symbol + ".stream", llvm::GlobalValue::InternalLinkage);
  llvm::Function* const plain = make(symbol + ".plain", llvm::GlobalValue::InternalLinkage);
  KernelEmitter(streaming, kernel, schedule, target, true).run();
  KernelEmitter(plain, kernel, schedule, target, false).run();
  llvm::IRBuilder<> b(llvm::BasicBlock::Create(context, "entry", function));
  Value* const table = b.CreateAlignedLoad(
      pointer,
      b.CreateConstGEP1_64(b.getInt8Ty(), function->getArg(0), offsetof(StepArgs, buffers)),
      llvm::Align(8));
  Value* bits = b.getInt64(0);
  for (size_t k = 0; k < kernel.buffers.size(); ++k) {
    if (!kernel.buffers[k].non_temporal || !kernel.buffers[k].is_written) continue;
    Value* const base =
        b.CreateAlignedLoad(pointer, b.CreateConstGEP1_64(pointer, table, k), llvm::Align(8));
    bits = b.CreateOr(bits, b.CreatePtrToInt(base, i64));
  }
  auto* const yes = llvm::BasicBlock::Create(context, "aligned", function);
  auto* const no = llvm::BasicBlock::Create(context, "unaligned", function);
  b.CreateCondBr(b.CreateICmpEQ(b.CreateAnd(bits, b.getInt64(63)), b.getInt64(0)), yes, no);
  const auto forward = [&](llvm::BasicBlock* block, llvm::Function* to) {
    b.SetInsertPoint(block);
    std::vector<Value*> arguments;
    for (llvm::Argument& a : function->args()) arguments.push_back(&a);
    b.CreateCall(to, arguments);
    b.CreateRetVoid();
  };
  forward(yes, streaming);
  forward(no, plain);
}

int64_t scratch_bytes(const LoopKernel& kernel, const Target& target) {
  return schedule_loops(kernel, target).scratch_bytes;
}

}  // namespace coregrad
