#include "codegen/loops/loop_accumulator.h"

#include "base/error.h"
#include "codegen/values/elementwise_emitter.h"

#include <llvm/IR/Constants.h>
#include <llvm/IR/Function.h>

#include <limits>

namespace coregrad {

using llvm::ConstantFP;
using llvm::ConstantInt;
using llvm::Value;

namespace {

llvm::Type* lanes_of(llvm::Type* element, int width) {
  return width > 1 ? llvm::FixedVectorType::get(element, static_cast<unsigned>(width)) : element;
}

llvm::Constant* lanes_of(llvm::Constant* element, int width) {
  if (width <= 1) return element;
  return llvm::ConstantVector::getSplat(llvm::ElementCount::getFixed(static_cast<unsigned>(width)),
                                        element);
}

}  // namespace

Op combining_op(Op reduction) {
  if (reduction == Op::Sum) return Op::Add;
  if (reduction == Op::Prod) return Op::Mul;
  if (reduction == Op::ReduceMax) return Op::Max;
  if (reduction == Op::ReduceMin) return Op::Min;
  raise<InternalError>("code generation: {} does not combine elementwise", name_of(reduction));
}

llvm::Constant* reduction_identity(llvm::LLVMContext& context, Op reduction, DType dtype) {
  llvm::Type* const type = element_type(context, dtype);
  if (reduction == Op::Sum) return llvm::Constant::getNullValue(type);
  if (reduction == Op::Prod)
    return is_float(dtype) ? ConstantFP::get(type, 1.0)
                           : static_cast<llvm::Constant*>(ConstantInt::get(type, 1));
  const bool greatest = reduction == Op::ReduceMax || reduction == Op::ArgMax;
  COREGRAD_CHECK(greatest || reduction == Op::ReduceMin || reduction == Op::ArgMin);
  if (is_float(dtype)) return ConstantFP::getInfinity(type, greatest);
  if (dtype == DType::Bool) return ConstantInt::getBool(context, !greatest);
  const unsigned bits = type->getIntegerBitWidth();
  return ConstantInt::get(
      type, greatest ? llvm::APInt::getSignedMinValue(bits) : llvm::APInt::getSignedMaxValue(bits));
}

Value* combine(llvm::IRBuilder<>& builder, Op reduction, DType dtype, Value* a, Value* b) {
  const llvm::IRBuilderBase::FastMathFlagGuard guard(builder);
  llvm::FastMathFlags flags;
  flags.setAllowContract(reduction == Op::Sum);
  builder.setFastMathFlags(flags);
  Value* const operands[] = {a, b};
  return emit_elementwise(builder, combining_op(reduction), dtype, dtype, operands);
}

Accumulator::Accumulator(llvm::IRBuilder<>& builder, std::vector<llvm::AllocaInst*>& allocas,
                         Op reduction, DType dtype, int slots, int width, int64_t positions)
    : builder_(builder),
      allocas_(allocas),
      reduction_(reduction),
      dtype_(dtype),
      width_(width),
      position_type_(positions < INT32_MAX ? builder.getInt32Ty() : builder.getInt64Ty()) {
  levels_.emplace_back();
  for (int s = 0; s < slots; ++s) levels_[0].push_back(make_slots(width));
  scalar_ = make_slots(1);
}

Accumulator::Slots Accumulator::make_slots(int width) {
  llvm::BasicBlock& entry = builder_.GetInsertBlock()->getParent()->getEntryBlock();
  llvm::IRBuilder<> at_entry(&entry, entry.begin());
  const auto make = [&](llvm::Type* element) {
    allocas_.push_back(at_entry.CreateAlloca(lanes_of(element, width)));
    return allocas_.back();
  };
  Slots slots{make(element_type(builder_.getContext(), dtype_)), nullptr};
  if (is_arg()) slots.position = make(position_type_);
  return slots;
}

void Accumulator::add_level() {
  std::vector<Slots> level;
  for (size_t s = 0; s < levels_[0].size(); ++s) level.push_back(make_slots(width_));
  levels_.push_back(std::move(level));
}

void Accumulator::clear(const Slots& slots, int width) {
  llvm::Constant* const identity = reduction_identity(builder_.getContext(), reduction_, dtype_);
  // No position yet: larger than every position.
  llvm::Constant* const nowhere = ConstantInt::get(
      position_type_, llvm::APInt::getSignedMaxValue(position_type_->getBitWidth()));
  store(slots, {lanes_of(identity, width), is_arg() ? lanes_of(nowhere, width) : nullptr});
}

void Accumulator::reset() {
  for (const std::vector<Slots>& level : levels_)
    for (const Slots& slots : level) clear(slots, width_);
  clear(scalar_, 1);
}

void Accumulator::flush(size_t level) {
  if (level + 1 >= levels_.size()) return;
  for (size_t s = 0; s < levels_[level].size(); ++s) {
    const Slots &from = levels_[level][s], &to = levels_[level + 1][s];
    store(to, merge(load(to), load(from), true));
    clear(from, width_);
  }
}

Accumulator::State Accumulator::load(const Slots& slots) {
  State state{builder_.CreateLoad(slots.value->getAllocatedType(), slots.value), nullptr};
  if (slots.position)
    state.position = builder_.CreateLoad(slots.position->getAllocatedType(), slots.position);
  return state;
}

void Accumulator::store(const Slots& slots, const State& state) {
  builder_.CreateStore(state.value, slots.value);
  if (slots.position) builder_.CreateStore(state.position, slots.position);
}

/// `positions_decide`: which of two equal values comes first is not known from the order of a and
/// b.
Accumulator::State Accumulator::merge(const State& a, const State& b, bool positions_decide) {
  if (!is_arg()) return {combine(builder_, reduction_, dtype_, a.value, b.value), nullptr};
  Value *better = nullptr, *equal = nullptr;
  const bool greatest = reduction_ == Op::ArgMax;
  if (is_float(dtype_)) {
    better = greatest ? builder_.CreateFCmpOGT(b.value, a.value)
                      : builder_.CreateFCmpOLT(b.value, a.value);
    Value* const a_nan = builder_.CreateFCmpUNO(a.value, a.value);
    Value* const b_nan = builder_.CreateFCmpUNO(b.value, b.value);
    better = builder_.CreateOr(better, builder_.CreateAnd(b_nan, builder_.CreateNot(a_nan)));
    equal = builder_.CreateOr(builder_.CreateFCmpOEQ(a.value, b.value),
                              builder_.CreateAnd(a_nan, b_nan));
  } else if (dtype_ == DType::Bool) {
    better = greatest ? builder_.CreateICmpUGT(b.value, a.value)
                      : builder_.CreateICmpULT(b.value, a.value);
    equal = builder_.CreateICmpEQ(a.value, b.value);
  } else {
    better = greatest ? builder_.CreateICmpSGT(b.value, a.value)
                      : builder_.CreateICmpSLT(b.value, a.value);
    equal = builder_.CreateICmpEQ(a.value, b.value);
  }
  if (positions_decide)
    better = builder_.CreateOr(
        better, builder_.CreateAnd(equal, builder_.CreateICmpSLT(b.position, a.position)));
  return {builder_.CreateSelect(better, b.value, a.value),
          builder_.CreateSelect(better, b.position, a.position)};
}

void Accumulator::update(int slot, Value* value, Value* mask, Value* position) {
  const bool is_scalar = width_ > 1 && !value->getType()->isVectorTy();
  const Slots& slots = is_scalar ? scalar_ : levels_[0][slot];
  const State before = load(slots);
  State after = merge(before, {value, position}, false);
  if (mask) {
    after.value = builder_.CreateSelect(mask, after.value, before.value);
    if (position) after.position = builder_.CreateSelect(mask, after.position, before.position);
  }
  store(slots, after);
}

Value* Accumulator::result(const State& state) {
  if (!is_arg()) return state.value;
  // Every element was the identity itself (or there was none): then the first is the answer.
  Value* const nowhere = ConstantInt::get(
      state.position->getType(), llvm::APInt::getSignedMaxValue(position_type_->getBitWidth()));
  Value* const zero = ConstantInt::get(state.position->getType(), 0);
  Value* const position =
      builder_.CreateSelect(builder_.CreateICmpEQ(state.position, nowhere), zero, state.position);
  return builder_.CreateZExt(position, state.position->getType()->getWithNewBitWidth(64));
}

Accumulator::State Accumulator::finished(size_t slot) {
  State state = load(levels_[0][slot]);
  for (size_t level = 1; level < levels_.size(); ++level)
    state = merge(load(levels_[level][slot]), state, true);
  return state;
}

Value* Accumulator::lanes(int slot) { return result(finished(static_cast<size_t>(slot))); }

Value* Accumulator::total() {
  std::vector<State> states;
  for (size_t s = 0; s < levels_[0].size(); ++s) states.push_back(finished(s));
  while (states.size() > 1) {
    std::vector<State> next;
    for (size_t i = 0; i + 1 < states.size(); i += 2)
      next.push_back(merge(states[i], states[i + 1], true));
    if (states.size() % 2 != 0) next.push_back(states.back());
    states = std::move(next);
  }
  State all = states[0];
  for (int width = width_; width > 1; width /= 2) {
    std::vector<int> low, high;
    for (int l = 0; l < width / 2; ++l) low.push_back(l), high.push_back(l + width / 2);
    const auto part = [&](const std::vector<int>& lanes) -> State {
      const auto pick = [&](Value* v) -> Value* {
        if (!v) return nullptr;
        if (lanes.size() == 1)
          return builder_.CreateExtractElement(v, static_cast<uint64_t>(lanes[0]));
        return builder_.CreateShuffleVector(v, lanes);
      };
      return {pick(all.value), pick(all.position)};
    };
    const State a = part(low), b = part(high);
    all = merge(a, b, true);
  }
  return result(width_ > 1 ? merge(all, load(scalar_), true) : all);
}

}  // namespace coregrad
