// LoopKernel to LLVM IR: the function, its arguments and its units. kernel_emitter.h has the map.

#include "codegen/loops/loop_emitter.h"

#include "base/checked.h"
#include "base/error.h"
#include "codegen/ir/control_flow.h"
#include "codegen/loops/kernel_emitter.h"
#include "runtime/plan.h"

#include <llvm/IR/Constants.h>
#include <llvm/IR/Dominators.h>
#include <llvm/IR/Intrinsics.h>
#include <llvm/IR/IntrinsicsX86.h>
#include <llvm/IR/Module.h>
#include <llvm/Transforms/Utils/PromoteMemToReg.h>

#include <algorithm>

namespace coregrad {

using llvm::Value;

namespace {

/// Instructions for one element, times vectors and rows that are walked in step.
constexpr double kMostRowsCost = 128;

}  // namespace

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
    const SymInt elements = store.row_elements;
    const SymInt bytes = checked_mul(elements, size_of(dtype), "partial row");
    Value* const row = builder_.CreateUDiv(begin_, size(kernel_.chunk));
    buffers_[b] =
        builder_.CreateGEP(builder_.getInt8Ty(), buffers_[b], builder_.CreateMul(row, size(bytes)));
    llvm::Constant* identity = reduction_identity(builder_.getContext(), store.combine, dtype);
    if (dtype == DType::Bool) identity = builder_.getInt8(identity->isNullValue() ? 0 : 1);
    const int64_t width = std::max<int64_t>(1, target_.lanes(size_of(dtype)));
    const auto fill = [&](SymInt first, SymInt end, int64_t lanes) {
      if (first.is_number() && end.is_number() && first.number() >= end.number()) return;
      emit_loop(builder_, size(first), size(end), lanes, [&](Value* i) {
        Value* const stored =
            lanes > 1 ? builder_.CreateVectorSplat(static_cast<unsigned>(lanes), identity)
                      : identity;
        builder_.CreateAlignedStore(stored, builder_.CreateGEP(identity->getType(), buffers_[b], i),
                                    llvm::Align(static_cast<uint64_t>(size_of(dtype))));
      });
    };
    const SymInt whole = floor_div(elements, width) * width;
    fill(0, whole, width);
    fill(whole, elements, 1);
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
  values_.emplace(builder_, kernel_, target_, buffers_, status_, params_);
  for (size_t b = 0; b < kernel_.buffers.size(); ++b)
    if (streams_ && kernel_.buffers[b].non_temporal)
      values_->set_alignment(static_cast<int>(b), kStreamAlignment);
  plan_combines();

  bool is_empty = false;
  for (int a = 0; a < kernel_.num_parallel; ++a) is_empty |= kernel_.axes[a].extent == 0;
  if (!is_empty) for_units();

  for (Combine& c : combines_)
    if (c.place == Place::Function)
      combine_in_memory(*values_, kernel_.stores[c.store], c.accumulator->total());
  // Streaming stores are not ordered by what tells others that this chunk is done.
  if (streams_) builder_.CreateIntrinsic(llvm::Intrinsic::x86_sse_sfence, {}, {});
  builder_.CreateBr(done);
  builder_.SetInsertPoint(done);
  builder_.CreateRetVoid();

  llvm::DominatorTree dominators(*function_);
  llvm::PromoteMemToReg(allocas_, dominators);
}

void KernelEmitter::for_units() {
  const int last = kernel_.num_parallel - 1;
  if (kernel_.lane_parallel && kernel_.num_parallel == 1 &&
      (!fits_one_block(0) || has_open_extent())) {
    // One run of elements: units need not be told apart.
    const auto of_call = [&](SymInt n) { return has_open_extent() ? params_.add(n) : size(n); };
    Value *const extent = of_call(kernel_.axes[0].extent), *const block = of_call(kernel_.block);
    Value* const first = builder_.CreateNSWMul(begin_, block);
    Value* const end = builder_.CreateBinaryIntrinsic(llvm::Intrinsic::smin,
                                                      builder_.CreateNSWMul(end_, block), extent);
    std::vector<size_t> level_stores;
    for (const LoopPass& p : schedule_.passes)
      level_stores.insert(level_stores.end(), p.stores.begin(), p.stores.end());
    start_lane_sums(level_stores);
    Group group = {&*values_};
    for_lanes(*values_, last, first, end, kernel_.block % schedule_.width == 0, schedule_.lane_cost,
              schedule_.unroll, [&](int copies, Value* base, const VectorLane& lane) {
                level_body(group, last, copies, base, lane);
              });
    finish_lane_sums(*values_, level_stores);
    return;
  }
  const int rows = rows_at_once();
  values_->push_scope();
  loop(begin_, end_, rows, [&](Value* n) { unit(n, rows); });
  values_->pop_scope();
}

/// How many units to walk in step, so that what they add to one place in memory is read and written
/// once: neighbours along the axis before the lanes, of which every chunk has a multiple. All rows
/// of that axis come before the next block of lanes then.
int KernelEmitter::rows_at_once() const {
  const int axis = kernel_.num_parallel - 2;
  if (!kernel_.lane_parallel || axis < 0 || !schedule_.loop_sets.empty()) return 1;
  const auto has_rows = [&](const Combine& c) {
    const IndexExpr& place = kernel_.stores[c.store].index;
    return (index_axes(kernel_, place, schedule_.value_axes) >> axis & 1) != 0;
  };
  const auto meets = [&](const Combine& c) { return c.place == Place::Memory && !has_rows(c); };
  // A sum over the lanes of one row cannot wait for the end of several.
  const auto is_of_one_row = [&](const Combine& c) {
    return c.place == Place::LaneLoop && has_rows(c);
  };
  if (std::ranges::none_of(combines_, meets) || std::ranges::any_of(combines_, is_of_one_row))
    return 1;
  for (const int rows : {4, 2})
    if (is_multiple(kernel_.axes[axis].extent, rows) && is_multiple(kernel_.chunk, rows) &&
        rows * schedule_.unroll * schedule_.lane_cost <= kMostRowsCost)
      return rows;
  return 1;
}

void KernelEmitter::unit(Value* n, int rows) {
  const int last = kernel_.num_parallel - 1;
  const bool has_lane_axis = kernel_.lane_parallel && last >= 0;
  Value* rest = n;
  Value* block_number = nullptr;
  std::vector<int> order;  // the fastest first
  for (int a = last; a >= 0; --a) order.push_back(a);
  if (rows > 1) std::swap(order[0], order[1]);
  for (const int a : order) {
    const SymInt extent = kernel_.axes[a].extent;
    const bool in_blocks = has_lane_axis && a == last;
    const SymInt count = in_blocks ? ceil_div(extent, kernel_.block) : extent;
    const bool is_slowest = a == order.back();
    Value* digit = number(0);
    if (!count.is_identical(1)) {
      digit = is_slowest ? rest : builder_.CreateURem(rest, size(count));
      if (!is_slowest) rest = builder_.CreateUDiv(rest, size(count));
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
  const SymInt extent = kernel_.axes[last].extent;
  std::vector<size_t> level_stores;
  for (const LoopPass& p : schedule_.passes)
    level_stores.insert(level_stores.end(), p.stores.begin(), p.stores.end());
  Value* const first = builder_.CreateNSWMul(block_number, number(kernel_.block));
  Value* const end = builder_.CreateBinaryIntrinsic(
      llvm::Intrinsic::smin, builder_.CreateNSWAdd(first, number(kernel_.block)), size(extent));
  std::optional<int64_t> count;
  if (fits_one_block(last))
    count = extent.number();
  else if (is_multiple(extent, kernel_.block))
    count = kernel_.block;
  start_lane_sums(level_stores);
  std::vector<std::unique_ptr<ValueEmitter>> others;
  Group group = {&*values_};
  for (int r = 1; r < rows; ++r) {
    others.push_back(std::make_unique<ValueEmitter>(*values_));
    group.push_back(others.back().get());
    Value* const row =
        builder_.CreateNSWAdd(axis_values_[static_cast<size_t>(last) - 1], number(r));
    others.back()->set_axis(last - 1, row);
    others.back()->push_scope();
  }
  const bool is_aligned = kernel_.block % schedule_.width == 0 || fits_one_block(last);
  const LaneBody body = [&](int copies, Value* base, const VectorLane& lane) {
    level_body(group, last, copies, base, lane);
  };
  if (count)
    static_lanes(*values_, last, first, *count, is_aligned, schedule_.lane_cost, schedule_.unroll,
                 body);
  else
    for_lanes(*values_, last, first, end, is_aligned, schedule_.lane_cost, schedule_.unroll, body);
  finish_lane_sums(*values_, level_stores);
}

/// `copies` vectors of lanes at the parallel level, of each row in `outer`.
void KernelEmitter::level_body(Group& outer, int axis, int copies, Value* base,
                               const VectorLane& lane) {
  const auto start_of = [&](int copy) {
    return builder_.CreateNSWAdd(base, number(int64_t{copy} * lane.width));
  };
  const auto enter = [&](ValueEmitter& member, Value* start, const VectorLane& own) {
    member.push_scope();
    set_axis(member, axis, start);
    member.set_lane(own);
  };
  if (schedule_.loop_sets.empty()) {
    // Nothing to walk in step: one vector after the other, which share what is uniform.
    for (int u = 0; u < copies; ++u) {
      Value* const start = start_of(u);
      inside_and_at_borders(outer, axis, 1, start, lane, [&](const VectorLane& own) {
        for (ValueEmitter* row : outer) enter(*row, start, own);
        emit_stores(outer, schedule_.passes[0].stores, u, /*slot_step=*/0);
        for (ValueEmitter* row : outer) row->pop_scope();
      });
    }
    return;
  }
  COREGRAD_CHECK(outer.size() == 1);
  inside_and_at_borders(outer, axis, copies, base, lane, [&](const VectorLane& own) {
    std::vector<std::unique_ptr<ValueEmitter>> members;
    Group group;
    for (int u = 0; u < copies; ++u) {
      members.push_back(std::make_unique<ValueEmitter>(*outer[0]));
      group.push_back(members.back().get());
      enter(*group.back(), start_of(u), own);
    }
    passes(group);
  });
}

/// Emits a body for vectors of lanes from `base` on. Where masks depend on the lane, as at the
/// borders of an image, there is another one without them for what lies between; of several rows in
/// step, for those that all exist.
void KernelEmitter::inside_and_at_borders(Group& rows, int axis, int vectors, Value* base,
                                          VectorLane lane,
                                          const std::function<void(const VectorLane&)>& body) {
  constexpr int64_t kFewVectors = 3;  // a border at each end
  const SymInt extent = kernel_.axes[axis].extent;
  Value* is_inside = nullptr;
  lane.of_rows = rows.size() > 1;
  if (!lane.mask && lane.width > 1 &&
      !(extent.is_number() && extent.number() < kFewVectors * lane.width * vectors)) {
    for (ValueEmitter* const row : rows) {
      row->push_scope();
      row->set_axis(axis, base);
      row->set_lane(lane);
      if (Value* const own = row->lanes_are_inside(vectors))
        is_inside = is_inside ? builder_.CreateAnd(is_inside, own) : own;
      row->pop_scope();
    }
  }
  if (!is_inside) return body(lane);
  const auto body_where = [&](bool inside) {
    lane.is_inside = inside;
    body(lane);
  };
  emit_if(builder_, is_inside, [&] { body_where(true); }, [&] { body_where(false); });
}

void KernelEmitter::passes(Group& group) {
  for (const LoopPass& pass : schedule_.passes) {
    for (const LoopNest& nest : pass.nests) emit_nest(group, nest);
    emit_stores(group, pass.stores, 0);
  }
}

namespace {

bool streams(const LoopKernel& kernel, const Target& target) {
  // The row of an accumulating store is read again at once, and its pointer is moved.
  for (const KernelStore& store : kernel.stores)
    COREGRAD_CHECK(store.combine == Op::Literal || !kernel.buffers[store.buffer].non_temporal);
  return target.can_stream() &&
         std::any_of(kernel.buffers.begin(), kernel.buffers.end(),
                     [](const KernelBuffer& b) { return b.is_written && b.non_temporal; });
}

}  // namespace

std::vector<SymInt> emit_loop_kernel(llvm::Module& module, const std::string& symbol,
                                     const LoopKernel& kernel, const Target& target) {
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
    KernelEmitter emitter(function, kernel, schedule, target, false);
    emitter.run();
    return emitter.params();
  }
  // Streaming stores need aligned addresses, which only the pointers of the call can tell.
  llvm::Function* const streaming = make(symbol + ".stream", llvm::GlobalValue::InternalLinkage);
  llvm::Function* const plain = make(symbol + ".plain", llvm::GlobalValue::InternalLinkage);
  KernelEmitter(streaming, kernel, schedule, target, true).run();
  KernelEmitter emitter(plain, kernel, schedule, target, false);
  emitter.run();  // asks for the same parameters
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
  b.CreateCondBr(b.CreateICmpEQ(b.CreateAnd(bits, b.getInt64(kStreamAlignment - 1)), b.getInt64(0)),
                 yes, no);
  const auto forward = [&](llvm::BasicBlock* block, llvm::Function* to) {
    b.SetInsertPoint(block);
    std::vector<Value*> arguments;
    for (llvm::Argument& a : function->args()) arguments.push_back(&a);
    b.CreateCall(to, arguments);
    b.CreateRetVoid();
  };
  forward(yes, streaming);
  forward(no, plain);
  return emitter.params();
}

SymInt scratch_bytes(const LoopKernel& kernel, const Target& target) {
  return schedule_loops(kernel, target).scratch_bytes;
}

}  // namespace coregrad
