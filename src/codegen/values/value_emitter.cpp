// Scopes and values. Start reading at `get`: it emits what a value rests on in order, and `emit`
// places each at the outermost scope that knows its axes.

#include "codegen/values/value_emitter.h"

#include "base/error.h"
#include "codegen/math/vector_math.h"

#include <llvm/IR/Constants.h>
#include <llvm/IR/Intrinsics.h>
#include <llvm/IR/MDBuilder.h>
#include <llvm/IR/Module.h>

#include <algorithm>
#include <optional>

namespace coregrad {

using llvm::ConstantFP;
using llvm::ConstantInt;
using llvm::Value;

namespace {

template <class F>
void for_each_dependency(const LoopKernel& kernel, const KernelValue& v, F&& f) {
  for (const ValueId id : v.operands)
    if (id != kNoValue) f(id);
  if (v.index.is_constant()) return;
  std::vector<int> axes, values;
  kernel.context.collect(v.index, axes, values);
  for (const int id : values) f(id);
}

}  // namespace

ValueEmitter::ValueEmitter(llvm::IRBuilder<>& builder, const LoopKernel& kernel,
                           const Target& target, std::span<Value* const> buffers, Value* status,
                           StepParams& sizes)
    : builder_(builder),
      kernel_(kernel),
      target_(target),
      buffers_(buffers.begin(), buffers.end()),
      status_(status),
      sizes_(sizes),
      axes_of_values_(value_axes(kernel)),
      axes_(kernel.axes.size(), {nullptr, 0}),
      emitted_(kernel.values.size()) {
  COREGRAD_CHECK(buffers_.size() == kernel.buffers.size());
  scopes_.push_back({nullptr, {}, {}, {}, lane_, 0});
  // Axes of extent 1 stand at 0 for ever.
  for (size_t a = 0; a < axes_.size(); ++a)
    if (kernel.axes[a].extent.is_identical(1)) axes_[a].first = builder_.getInt64(0);
  llvm::MDBuilder metadata(builder_.getContext());
  llvm::MDNode* const domain = metadata.createAnonymousAliasScopeDomain();
  for (const KernelBuffer& b : kernel.buffers) alignments_.push_back(size_of(b.dtype));
  for (const KernelBuffer& b : kernel.buffers)
    alias_scopes_.push_back(b.may_alias ? nullptr : metadata.createAnonymousAliasScope(domain));
}

void ValueEmitter::push_scope() {
  scopes_.push_back({builder_.GetInsertBlock(), {}, {}, {}, lane_, lane_level_});
}

void ValueEmitter::pop_scope() {
  COREGRAD_CHECK(depth() > 0);
  const Scope& scope = scopes_.back();
  for (auto it = scope.values.rbegin(); it != scope.values.rend(); ++it)
    emitted_[it->first] = it->second;
  for (auto it = scope.atoms.rbegin(); it != scope.atoms.rend(); ++it)
    atoms_[it->first] = it->second;
  for (auto it = scope.axes.rbegin(); it != scope.axes.rend(); ++it) axes_[it->first] = it->second;
  lane_ = scope.lane;
  lane_level_ = scope.lane_level;
  scopes_.pop_back();
}

ValueEmitter::AtLevel::AtLevel(ValueEmitter& emitter, int level)
    : emitter_(emitter), level_(level) {
  if (level >= emitter.depth()) return;
  llvm::IRBuilder<>& b = emitter.builder_;
  llvm::BasicBlock* const block = emitter.scopes_[static_cast<size_t>(level) + 1].block;
  llvm::Instruction* const terminator = block->getTerminator();
  if (block == b.GetInsertBlock() && !terminator) return;
  saved_ = b.saveIP();
  moved_ = true;
  if (terminator)
    b.SetInsertPoint(terminator);
  else
    b.SetInsertPoint(block);
}

ValueEmitter::AtLevel::~AtLevel() {
  llvm::IRBuilder<>& b = emitter_.builder_;
  // A function with a rare branch ends its block: what follows at this level and at the inner ones
  // that were opened in the same block stands in the next one.
  const std::span inner = std::span(emitter_.scopes_).subspan(static_cast<size_t>(level_) + 1);
  llvm::BasicBlock* const before = inner.empty() ? nullptr : inner.front().block;
  for (Scope& scope : inner)
    if (scope.block == before) scope.block = b.GetInsertBlock();
  if (!moved_) return;
  // By its instruction, which may have moved with the rest of a block that was split.
  if (saved_.getPoint() != saved_.getBlock()->end())
    b.SetInsertPoint(&*saved_.getPoint());
  else
    b.restoreIP(saved_);
}

void ValueEmitter::set_axis(int axis, Value* value) {
  auto& slot = axes_[axis];
  scopes_.back().axes.emplace_back(axis, slot);
  slot = {value, depth()};
}

void ValueEmitter::set_lane(const VectorLane& lane) {
  lane_ = lane;
  lane_level_ = depth();
}

void ValueEmitter::remember(ValueId id, Emitted emitted) {
  Emitted& slot = emitted_[id];
  scopes_[emitted.level].values.emplace_back(id, slot);
  slot = emitted;
}

void ValueEmitter::bind(ValueId id, Value* value) { remember(id, {value, nullptr, depth()}); }

Value* ValueEmitter::get(ValueId id) {
  const auto at = static_cast<size_t>(id);
  if (emitted_[at].value) return emitted_[at].value;
  // What is missing, operands before users.
  std::vector<ValueId> open = {id}, missing;
  std::vector<bool> seen(kernel_.values.size(), false);
  while (!open.empty()) {
    const ValueId next = open.back();
    open.pop_back();
    if (seen[next] || emitted_[next].value) continue;
    seen[next] = true;
    missing.push_back(next);
    for_each_dependency(kernel_, kernel_.values[next],
                        [&](ValueId dependency) { open.push_back(dependency); });
  }
  std::sort(missing.begin(), missing.end());
  for (const ValueId next : missing) remember(next, emit(next));
  return emitted_[at].value;
}

Value* ValueEmitter::get_vector(ValueId id) {
  Value* const value = get(id);
  if (!has_lanes() || value->getType()->isVectorTy()) return value;
  Emitted& emitted = emitted_[id];
  if (llvm::isa<llvm::Constant>(value)) return widen(value);
  const auto width = static_cast<unsigned>(lane_.width);
  if (!emitted.splat ||
      llvm::cast<llvm::FixedVectorType>(emitted.splat->getType())->getNumElements() != width) {
    const AtLevel at(*this, emitted.level);
    emitted.splat = widen(value);
  }
  return emitted.splat;
}

Value* ValueEmitter::widen(Value* value) {
  if (!has_lanes() || value->getType()->isVectorTy()) return value;
  return builder_.CreateVectorSplat(static_cast<unsigned>(lane_.width), value);
}

bool ValueEmitter::varies_over_lanes(ValueId id) const {
  if (!has_lanes()) return false;
  if (const Value* const value = emitted_[id].value) return value->getType()->isVectorTy();
  return (axes_of_values_[id] >> lane_.axis & 1) != 0;
}

Value* ValueEmitter::operand(const KernelValue& v, int k, bool as_vector) {
  return as_vector ? get_vector(v.operands[k]) : get(v.operands[k]);
}

ValueEmitter::Emitted ValueEmitter::emit(ValueId id) {
  const KernelValue& v = kernel_.values[id];
  switch (v.kind) {
    case ValueKind::Literal:
      return {constant_of(builder_.getContext(), v.dtype, v.literal), nullptr, 0};
    case ValueKind::Index:
      return emit_index_value(v);
    case ValueKind::InRange:
      return emit_in_range(v);
    case ValueKind::Load:
      return emit_load(v);
    case ValueKind::Elementwise:
      return emit_elementwise_value(v);
    case ValueKind::Random:
      return emit_random(v);
    case ValueKind::CheckIndex:
      return emit_check_index(v);
    case ValueKind::Reduce:
    case ValueKind::Bound:
      break;
  }
  raise<InternalError>("code generation: value %{} was used before it was supplied in\n{}", id,
                       kernel_.to_text());
}

ValueEmitter::Emitted ValueEmitter::emit_elementwise_value(const KernelValue& v) {
  int level = 0;
  bool is_vector = false;
  int arity = 0;
  while (arity < 3 && v.operands[arity] != kNoValue) {
    const Emitted& e = emitted_[v.operands[arity++]];
    level = std::max(level, e.level);
    is_vector |= e.value->getType()->isVectorTy();
  }
  COREGRAD_CHECK(arity == info(v.op).arity);
  Value* operands[3];
  for (int k = 0; k < arity; ++k) operands[k] = operand(v, k, is_vector);
  const DType from = kernel_.values[v.operands[arity - 1]].dtype;
  const AtLevel at(*this, level);
  const llvm::IRBuilderBase::FastMathFlagGuard guard(builder_);
  llvm::FastMathFlags flags;
  // A product may fuse into the accumulator of a reduction. Other sums and differences are rounded
  // step by step, as in PyTorch: `softmax(a * x)` takes the greatest product from each product, and
  // what is left of an unrounded one is not 0.
  flags.setAllowContract(v.op == Op::Mul);
  builder_.setFastMathFlags(flags);
  return {emit_elementwise(builder_, v.op, from, v.dtype, {operands, static_cast<size_t>(arity)}),
          nullptr, level};
}

ValueEmitter::Emitted ValueEmitter::emit_index_value(const KernelValue& v) {
  const int bits = 8 * size_of(v.dtype);
  const int level = level_of(v.index);
  if (index_varies_over_lanes(v.index)) {
    const AtLevel at(*this, level);
    return {vector_index(v.index, bits), nullptr, level};
  }
  Value* const index = scalar_index(v.index);
  const AtLevel at(*this, level);
  return {builder_.CreateTrunc(index, builder_.getIntNTy(static_cast<unsigned>(bits))), nullptr,
          level};
}

namespace {

/// What is known of an index and its bounds for all lanes and sizes.
std::optional<bool> is_always_in_range(const LoopKernel& kernel, const KernelValue& v) {
  const Range range = kernel.context.range(v.index);
  const auto is_below = [](SymInt a, SymInt b) { return SymInt::is_at_most(a + 1, b); };
  if (SymInt::is_at_most(v.bounds.low, range.low) && is_below(range.high, v.bounds.high))
    return true;
  if (is_below(range.high, v.bounds.low) || SymInt::is_at_most(v.bounds.high, range.low))
    return false;
  return {};
}

}  // namespace

bool ValueEmitter::asks_for_inside(const KernelValue& v) const {
  if (v.kind != ValueKind::InRange || !has_lanes()) return false;
  std::vector<int> axes, values;
  kernel_.context.collect(v.index, axes, values);
  const auto is_set = [&](int axis) {
    return axes_[axis].first != nullptr && axes_[axis].second <= lane_level_;
  };
  if (!values.empty() || !std::ranges::all_of(axes, is_set)) return false;
  const SplitIndex parts = split(v.index);
  return parts.is_affine() && (lane_.of_rows || !parts.is_uniform()) &&
         !is_always_in_range(kernel_, v);
}

Value* ValueEmitter::lanes_are_inside(int vectors) {
  Value* all = nullptr;
  const auto require = [&](Value* condition) {
    all = all ? builder_.CreateAnd(all, condition) : condition;
  };
  for (const KernelValue& v : kernel_.values) {
    if (!asks_for_inside(v)) continue;
    IndexExpr shifted = v.index;
    shifted.constant -= v.bounds.low;
    Value* const size = sizes_.size(v.bounds.high - v.bounds.low);
    Value* const first = scalar_index(split(shifted).base);
    const int64_t lanes = int64_t{vectors} * lane_.width - 1;
    Value* const reach = sizes_.size(split(shifted).slope * lanes);
    require(builder_.CreateICmpULT(first, size));
    require(builder_.CreateICmpULT(builder_.CreateAdd(first, reach), size));
  }
  return all;
}

ValueEmitter::Emitted ValueEmitter::emit_in_range(const KernelValue& v) {
  if (const std::optional<bool> known = is_always_in_range(kernel_, v))
    return {builder_.getInt1(*known), nullptr, 0};
  const int level = level_of(v.index);
  // That is so in this body, and not where the row goes on.
  if (lane_.is_inside && asks_for_inside(v))
    return {builder_.getTrue(), nullptr, std::max(level, lane_level_)};
  // low <= index < high is index - low < high - low for unsigned numbers.
  IndexExpr shifted = v.index;
  shifted.constant -= v.bounds.low;
  const SymInt size = v.bounds.high - v.bounds.low;
  const auto inside = [&](Value* index) {
    return builder_.CreateICmpULT(index, size_like(index->getType(), size));
  };
  if (index_varies_over_lanes(v.index)) {
    const bool is_narrow = fits_int32(shifted) && size.upper_bound() < (int64_t{1} << 30);
    const AtLevel at(*this, level);
    return {inside(vector_index(shifted, is_narrow ? 32 : 64)), nullptr, level};
  }
  Value* const index = scalar_index(shifted);
  const AtLevel at(*this, level);
  return {inside(index), nullptr, level};
}

ValueEmitter::Emitted ValueEmitter::emit_random(const KernelValue& v) {
  const Emitted& seed = emitted_[v.operands[0]];
  const int level = std::max(seed.level, level_of(v.index));
  const AtLevel at(*this, level);
  const bool is_vector = index_varies_over_lanes(v.index);
  const bool is_wide = size_of(v.dtype) == 8;
  Value* const counter = is_vector ? vector_index(v.index, 64) : scalar_index(v.index);
  Value* key = seed.value;
  if (key->getType()->isVectorTy()) key = builder_.CreateExtractElement(key, uint64_t{0});
  Value* result =
      (is_wide ? emit_philox_bits64 : emit_philox_bits)(builder_, key, v.literal.i, counter);
  const auto lanes_of = [&](llvm::Type* element) -> llvm::Type* {
    if (!is_vector) return element;
    return llvm::FixedVectorType::get(element, static_cast<unsigned>(lane_.width));
  };
  const auto number = [&](llvm::Type* type, uint64_t n) { return ConstantInt::get(type, n); };
  // The words that each dtype takes are laid down in ir/philox.h.
  if (is_wide) {
    llvm::Type* const wide = result->getType();
    if (v.dtype == DType::Float64) {
      llvm::Type* const real = lanes_of(builder_.getDoubleTy());
      result = builder_.CreateFMul(
          builder_.CreateUIToFP(builder_.CreateLShr(result, number(wide, 11)), real),
          ConstantFP::get(real, 0x1p-53));
    }
  } else {
    llvm::Type* const narrow = result->getType();
    if (v.dtype == DType::Bool) result = builder_.CreateICmpSLT(result, number(narrow, 0));
    if (v.dtype == DType::Float32) {
      llvm::Type* const real = lanes_of(builder_.getFloatTy());
      // 24 bits are exact in either signedness, and the signed conversion is one instruction.
      result = builder_.CreateFMul(
          builder_.CreateSIToFP(builder_.CreateLShr(result, number(narrow, 8)), real),
          ConstantFP::get(real, 0x1p-24));
    }
  }
  return {result, nullptr, level};
}

ValueEmitter::Emitted ValueEmitter::emit_check_index(const KernelValue& v) {
  COREGRAD_CHECK(status_ != nullptr);
  const Emitted& source = emitted_[v.operands[0]];
  int level = source.level;
  bool is_vector = source.value->getType()->isVectorTy();
  if (v.operands[1] != kNoValue) {
    const Emitted& mask = emitted_[v.operands[1]];
    level = std::max(level, mask.level);
    is_vector |= mask.value->getType()->isVectorTy();
  }
  if (is_vector) level = std::max(level, lane_level_);
  Value* const index = operand(v, 0, is_vector);
  Value* const counts = v.operands[1] == kNoValue ? nullptr : operand(v, 1, is_vector);
  const AtLevel at(*this, level);
  llvm::Type* const type = index->getType();
  Value* const shifted = builder_.CreateSub(index, size_like(type, v.bounds.low));
  Value* const inside =
      builder_.CreateICmpULT(shifted, size_like(type, v.bounds.high - v.bounds.low));
  Value* const checked = builder_.CreateSelect(inside, index, ConstantInt::get(type, 0));
  Value* bad = builder_.CreateNot(inside);
  if (counts) bad = builder_.CreateAnd(bad, counts);
  if (is_vector && lane_.mask) bad = builder_.CreateAnd(bad, lane_.mask);

  // Nothing else branches: the report stands in a cold block beside the straight line.
  llvm::BasicBlock* const before = builder_.GetInsertBlock();
  llvm::LLVMContext& context = builder_.getContext();
  Value* const any = is_vector ? builder_.CreateOrReduce(bad) : bad;
  llvm::BasicBlock* after = nullptr;
  if (before->getTerminator()) {
    after = before->splitBasicBlock(builder_.GetInsertPoint(), "checked");
    before->getTerminator()->eraseFromParent();
  } else {
    after = llvm::BasicBlock::Create(context, "checked", before->getParent());
  }
  auto* const report = llvm::BasicBlock::Create(context, "bad_index", before->getParent());
  builder_.SetInsertPoint(before);
  builder_.CreateCondBr(any, report, after,
                        llvm::MDBuilder(context).createBranchWeights(1, 1u << 20));
  builder_.SetInsertPoint(report);
  Value* first_bad = index;
  if (is_vector) {
    llvm::Type* const bits = builder_.getIntNTy(static_cast<unsigned>(lane_.width));
    Value* const position = builder_.CreateIntrinsic(
        llvm::Intrinsic::cttz, {bits}, {builder_.CreateBitCast(bad, bits), builder_.getTrue()});
    first_bad =
        builder_.CreateExtractElement(index, builder_.CreateZExt(position, builder_.getInt64Ty()));
  }
  // Several workers may report at once; either report will do.
  const auto report_to = [&](uint64_t offset, Value* value) {
    auto* const store = builder_.CreateAlignedStore(
        value, builder_.CreateConstGEP1_64(builder_.getInt8Ty(), status_, offset), llvm::Align(8));
    store->setAtomic(llvm::AtomicOrdering::Monotonic);
  };
  report_to(0, first_bad);
  report_to(8, sizes_.size(v.bounds.high));
  builder_.CreateBr(after);
  if (after->empty())
    builder_.SetInsertPoint(after);
  else
    builder_.SetInsertPoint(after, after->begin());
  return {checked, nullptr, level};
}

}  // namespace coregrad
