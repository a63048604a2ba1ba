// Loads and stores. Nothing outside the elements that are asked for is ever touched.

#include "base/error.h"
#include "codegen/values/value_emitter.h"

#include <llvm/Analysis/VectorUtils.h>
#include <llvm/IR/Constants.h>
#include <llvm/IR/MDBuilder.h>
#include <llvm/IR/Module.h>

#include <algorithm>
#include <numeric>

namespace coregrad {

using llvm::ConstantInt;
using llvm::Value;

namespace {

/// Bytes of the block of zeros that masked-off loads read: the widest vector of any kernel.
constexpr uint64_t kZeroBytes = 1024;

bool is_true(const Value* mask) {
  const auto* constant = llvm::dyn_cast_or_null<llvm::Constant>(mask);
  return constant && constant->isAllOnesValue();
}

bool is_false(const Value* mask) {
  const auto* constant = llvm::dyn_cast<llvm::Constant>(mask);
  return constant && constant->isNullValue();
}

/// The lanes [first, first + count).
std::vector<int> lane_range(unsigned first, unsigned count) {
  std::vector<int> lanes(count);
  std::iota(lanes.begin(), lanes.end(), static_cast<int>(first));
  return lanes;
}

std::vector<int> reversed_lanes(int width) {
  std::vector<int> lanes = lane_range(0, static_cast<unsigned>(width));
  std::reverse(lanes.begin(), lanes.end());
  return lanes;
}

}  // namespace

llvm::Type* ValueEmitter::memory_type(DType dtype) const {
  return dtype == DType::Bool ? builder_.getInt8Ty() : element_type(builder_.getContext(), dtype);
}

Value* ValueEmitter::to_register(DType dtype, Value* memory) {
  if (dtype != DType::Bool) return memory;
  return builder_.CreateICmpNE(memory, llvm::Constant::getNullValue(memory->getType()));
}

template <class Instruction>
Instruction* ValueEmitter::annotate(Instruction* access, int buffer) {
  llvm::MDNode* const own = alias_scopes_[buffer];
  if (!own) return access;
  const bool is_written = kernel_.buffers[buffer].is_written;
  llvm::SmallVector<llvm::Metadata*, 8> others;
  for (size_t b = 0; b < alias_scopes_.size(); ++b)
    if (static_cast<int>(b) != buffer && alias_scopes_[b] &&
        (is_written || kernel_.buffers[b].is_written))
      others.push_back(alias_scopes_[b]);
  llvm::LLVMContext& context = builder_.getContext();
  access->setMetadata(llvm::LLVMContext::MD_alias_scope, llvm::MDNode::get(context, {own}));
  if (!others.empty())
    access->setMetadata(llvm::LLVMContext::MD_noalias, llvm::MDNode::get(context, others));
  return access;
}

Value* ValueEmitter::zeros() {
  llvm::Module& module = *builder_.GetInsertBlock()->getModule();
  constexpr const char* kName = "coregrad.zeros";
  if (llvm::GlobalVariable* const existing = module.getNamedGlobal(kName)) return existing;
  llvm::Type* const type = llvm::ArrayType::get(builder_.getInt8Ty(), kZeroBytes);
  auto* const block =
      new llvm::GlobalVariable(module, type, true, llvm::GlobalValue::PrivateLinkage,
                               llvm::Constant::getNullValue(type), kName);
  block->setAlignment(llvm::Align(64));
  return block;
}

/// Lanes of a mask in another order, in which the lane behind the last is false. Conjunctions are
/// taken apart and constants folded, so that a part of a mask that has no lane is seen as one:
/// where LLVM 19 finds out later that a part of a conjunction is false, it loads the whole
/// register, whatever lies there.
Value* ValueEmitter::pick_lanes(Value* mask, llvm::ArrayRef<int> order) {
  if (auto* const both = llvm::dyn_cast<llvm::BinaryOperator>(mask);
      both && both->getOpcode() == llvm::Instruction::And)
    return builder_.CreateAnd(pick_lanes(both->getOperand(0), order),
                              pick_lanes(both->getOperand(1), order));
  return builder_.CreateShuffleVector(mask, llvm::Constant::getNullValue(mask->getType()), order);
}

/// Masked accesses are of one register each: of a wider one, LLVM 19 may read whole registers of
/// which no lane is asked for.
Value* ValueEmitter::masked_load(llvm::FixedVectorType* type, Value* pointer, Value* lanes,
                                 int buffer) {
  if (is_false(lanes)) return llvm::Constant::getNullValue(type);
  const auto size = static_cast<unsigned>(size_of(kernel_.buffers[buffer].dtype));
  const unsigned width = type->getNumElements(), half = width / 2;
  if (width * size <= static_cast<unsigned>(target_.vector_bytes) || half == 0)
    return annotate(builder_.CreateMaskedLoad(type, pointer, llvm::Align(size), lanes,
                                              llvm::Constant::getNullValue(type)),
                    buffer);
  auto* const half_type = llvm::FixedVectorType::get(type->getElementType(), half);
  Value* const low =
      masked_load(half_type, pointer, pick_lanes(lanes, lane_range(0, half)), buffer);
  Value* const next = builder_.CreateConstGEP1_64(type->getElementType(), pointer, half);
  Value* const high =
      masked_load(half_type, next, pick_lanes(lanes, lane_range(half, half)), buffer);
  return builder_.CreateShuffleVector(low, high, lane_range(0, width));
}

void ValueEmitter::masked_store(Value* vector, Value* pointer, Value* lanes, int buffer) {
  if (is_false(lanes)) return;
  const auto size = static_cast<unsigned>(size_of(kernel_.buffers[buffer].dtype));
  auto* const type = llvm::cast<llvm::FixedVectorType>(vector->getType());
  const unsigned width = type->getNumElements(), half = width / 2;
  if (width * size <= static_cast<unsigned>(target_.vector_bytes) || half == 0) {
    annotate(builder_.CreateMaskedStore(vector, pointer, llvm::Align(size), lanes), buffer);
    return;
  }
  masked_store(builder_.CreateShuffleVector(vector, lane_range(0, half)), pointer,
               pick_lanes(lanes, lane_range(0, half)), buffer);
  Value* const next = builder_.CreateConstGEP1_64(type->getElementType(), pointer, half);
  masked_store(builder_.CreateShuffleVector(vector, lane_range(half, half)), next,
               pick_lanes(lanes, lane_range(half, half)), buffer);
}

/// What a mask asks of all lanes together, and what of each; null: nothing.
std::pair<Value*, Value*> ValueEmitter::split_mask(Value* mask) {
  if (!mask || !mask->getType()->isVectorTy()) return {mask, nullptr};
  if (Value* const all = llvm::getSplatValue(mask)) return {all, nullptr};
  const auto* const both = llvm::dyn_cast<llvm::BinaryOperator>(mask);
  if (!both || both->getOpcode() != llvm::Instruction::And) return {nullptr, mask};
  const auto [a_all, a] = split_mask(both->getOperand(0));
  const auto [b_all, b] = split_mask(both->getOperand(1));
  if (!a_all && !b_all) return {nullptr, mask};
  return {a_all && b_all ? builder_.CreateAnd(a_all, b_all) : (a_all ? a_all : b_all),
          a && b ? builder_.CreateAnd(a, b) : (a ? a : b)};
}

Value* ValueEmitter::lane_mask_and(Value* mask) {
  if (is_true(mask)) mask = nullptr;
  if (!mask) return lane_.mask;
  mask = widen(mask);
  return lane_.mask ? builder_.CreateAnd(mask, lane_.mask) : mask;
}

/// The largest number of bytes that the address of lane 0 is seen to be a multiple of. Every access
/// that needs more than its element's alignment asks here: the pointer itself counts, and what is
/// added to it.
int64_t ValueEmitter::proven_alignment(int buffer, const SplitIndex& index) const {
  const int64_t size = size_of(kernel_.buffers[buffer].dtype);
  SymInt bytes = common_divisor(alignments_[buffer], index.base.constant * size);
  for (const auto& term : index.base.terms) {
    const Atom& atom = kernel_.context.atom(term.atom);
    const bool steps_by_vectors =
        lane_.aligned && atom.kind == AtomKind::Axis && atom.id == lane_.axis;
    bytes = common_divisor(bytes, term.factor * size * (steps_by_vectors ? lane_.width : 1));
  }
  return bytes.number();
}

Value* ValueEmitter::element_pointer(int buffer, const IndexExpr& index) {
  get_values_of(index);
  const DType dtype = kernel_.buffers[buffer].dtype;
  llvm::Type* const type = memory_type(dtype);
  const IndexExpr base = split(index).base;
  // One step a level, the constant last: it becomes the displacement of the address.
  std::vector<std::pair<int, IndexExpr>> by_level;
  for (const auto& term : base.terms) {
    const int level = level_of(IndexExpr{0, {term}});
    auto at = std::find_if(by_level.begin(), by_level.end(),
                           [&](const auto& entry) { return entry.first == level; });
    if (at == by_level.end()) at = by_level.insert(at, {level, {}});
    at->second.terms.push_back(term);
  }
  std::sort(by_level.begin(), by_level.end(),
            [](const auto& a, const auto& b) { return a.first < b.first; });
  Value* pointer = buffers_[buffer];
  int last = 0;
  for (const auto& [level, sum] : by_level) {
    Value* const offset = scalar_index(sum);
    const AtLevel at(*this, level);
    pointer = builder_.CreateGEP(type, pointer, offset);
    last = level;
  }
  if (base.constant.is_identical(0)) return pointer;
  const AtLevel at(*this, last);
  return builder_.CreateGEP(type, pointer, sizes_.size(base.constant));
}

namespace {

/// Steps of so many elements from lane to lane are offsets of 32 bits.
bool is_small(SymInt slope) {
  constexpr int64_t kMost = int64_t{1} << 24;
  return slope.lower_bound() > -kMost && slope.upper_bound() < kMost;
}

}  // namespace

/// Every second element from a pointer on, in two loads.
Value* ValueEmitter::load_every_second(llvm::FixedVectorType* type, Value* pointer, Value* lanes,
                                       int buffer) {
  const auto width = static_cast<int>(type->getNumElements());
  const llvm::Align align(static_cast<uint64_t>(size_of(kernel_.buffers[buffer].dtype)));
  // Both end at the last element: without a mask the second begins one early.
  const int second = lanes ? width : width - 1;
  const auto at = [&](int element) { return element < width ? element : width + element - second; };
  std::vector<int> even;
  for (int l = 0; l < width; ++l) even.push_back(at(2 * l));
  Value* halves[2];
  for (int half = 0; half < 2; ++half) {
    Value* const from = builder_.CreateConstGEP1_64(type->getElementType(), pointer,
                                                    static_cast<uint64_t>(half * second));
    if (!lanes) {
      halves[half] = annotate(builder_.CreateAlignedLoad(type, from, align), buffer);
      continue;
    }
    std::vector<int> spread;  // the lane of each element, and none for the others
    for (int element = half * width; element < (half + 1) * width; ++element)
      spread.push_back(element % 2 == 0 ? element / 2 : width);
    halves[half] = masked_load(type, from, pick_lanes(lanes, spread), buffer);
  }
  return builder_.CreateShuffleVector(halves[0], halves[1], even);
}

Value* ValueEmitter::load_split(int buffer, const SplitIndex& index, Value* mask) {
  const DType dtype = kernel_.buffers[buffer].dtype;
  llvm::Type* const type = memory_type(dtype);
  const llvm::Align align(static_cast<uint64_t>(size_of(dtype)));
  const auto width = static_cast<unsigned>(lane_.width);
  if (is_true(mask)) mask = nullptr;
  // A mask for all lanes together leads the address astray, to zeros, in place of masking each.
  const auto guarded = [&](Value* pointer, Value* uniform_mask) {
    return uniform_mask ? builder_.CreateSelect(uniform_mask, pointer, zeros()) : pointer;
  };

  if (index.is_uniform()) {
    Value* const lanes = mask && mask->getType()->isVectorTy() ? mask : nullptr;
    Value* uniform_mask = mask;
    if (lanes) uniform_mask = builder_.CreateOrReduce(lane_mask_and(lanes));
    Value* const pointer = guarded(element_pointer(buffer, index.base), uniform_mask);
    Value* const scalar =
        to_register(dtype, annotate(builder_.CreateAlignedLoad(type, pointer, align), buffer));
    if (!lanes) return scalar;
    Value* const vector = widen(scalar);
    return builder_.CreateSelect(lanes, vector, llvm::Constant::getNullValue(vector->getType()));
  }

  auto* const vector_type = llvm::FixedVectorType::get(type, width);
  llvm::Constant* const nothing = llvm::Constant::getNullValue(vector_type);
  Value* pointer = element_pointer(buffer, index.base);
  if (index.is_affine() && (index.slope.is_identical(1) || index.slope.is_identical(-1))) {
    const bool is_reversed = index.slope.is_identical(-1);
    if (is_reversed) pointer = builder_.CreateConstGEP1_64(type, pointer, 1 - uint64_t{width});
    const auto [uniform_mask, own] = split_mask(mask);
    pointer = guarded(pointer, uniform_mask);
    // Inactive lanes may lie outside the buffer but not outside the zeros.
    COREGRAD_CHECK(width * static_cast<uint64_t>(size_of(dtype)) <= kZeroBytes);
    Value* lanes = lane_mask_and(own);
    if (lanes && is_reversed) lanes = pick_lanes(lanes, reversed_lanes(lane_.width));
    Value* const loaded =
        lanes ? masked_load(vector_type, pointer, lanes, buffer)
              : static_cast<Value*>(
                    annotate(builder_.CreateAlignedLoad(vector_type, pointer, align), buffer));
    return to_register(
        dtype,
        is_reversed ? builder_.CreateShuffleVector(loaded, reversed_lanes(lane_.width)) : loaded);
  }
  if (index.is_affine() && index.slope.is_identical(2)) {
    const auto [uniform_mask, own] = split_mask(mask);
    pointer = guarded(pointer, uniform_mask);
    COREGRAD_CHECK(2 * width * static_cast<uint64_t>(size_of(dtype)) <= kZeroBytes);
    return to_register(dtype, load_every_second(vector_type, pointer, lane_mask_and(own), buffer));
  }
  Value* const lanes = lane_mask_and(mask);
  IndexExpr varying{0, index.vectors};
  const bool is_narrow = fits_int32(varying) && is_small(index.slope);
  Value* const addresses =
      builder_.CreateGEP(type, pointer, lane_offsets(index, is_narrow ? 32 : 64));
  return to_register(
      dtype,
      annotate(builder_.CreateMaskedGather(vector_type, addresses, align, lanes, nothing), buffer));
}

/// Whether the index was checked against an extent of 0: then not even element 0 is there.
bool ValueEmitter::is_of_nothing(const IndexExpr& index) const {
  if (index.is_constant()) return false;
  std::vector<int> axes, values;
  kernel_.context.collect(index, axes, values);
  return std::any_of(values.begin(), values.end(), [&](int id) {
    const KernelValue& v = kernel_.values[id];
    return v.kind == ValueKind::CheckIndex && SymInt::is_at_most(v.bounds.high, v.bounds.low);
  });
}

ValueEmitter::Emitted ValueEmitter::emit_load(const KernelValue& v) {
  if (is_of_nothing(v.index)) {
    llvm::Type* const type = element_type(builder_.getContext(), v.dtype);
    // Belongs to the scope of the check, so that each scope checks anew.
    return {llvm::Constant::getNullValue(type), nullptr, level_of(v.index)};
  }
  const SplitIndex index = split(v.index);
  int level = level_of(v.index);
  Value* mask = nullptr;
  if (v.operands[0] != kNoValue) {
    const Emitted& e = emitted_[v.operands[0]];
    mask = e.value;
    level = std::max(level, e.level);
  }
  if (!index.is_uniform() || (mask && mask->getType()->isVectorTy()))
    level = std::max(level, lane_level_);
  const AtLevel at(*this, level);
  return {load_split(v.buffer, index, mask), nullptr, level};
}

Value* ValueEmitter::load_here(int buffer, const IndexExpr& index) {
  get_values_of(index);
  return load_split(buffer, split(index), nullptr);
}

llvm::Value* ValueEmitter::to_memory(DType dtype, Value* value) {
  if (dtype != DType::Bool) return value;
  llvm::Type* type = memory_type(dtype);
  if (auto* lanes = llvm::dyn_cast<llvm::FixedVectorType>(value->getType()))
    type = llvm::FixedVectorType::get(type, lanes->getNumElements());
  return builder_.CreateZExt(value, type);
}

/// Writes a vector of neighbours, around the caches where the buffer asks for it and `alignment`,
/// in bytes, allows it.
void ValueEmitter::whole_store(Value* vector, Value* pointer, int64_t alignment, int buffer) {
  const KernelBuffer& target = kernel_.buffers[buffer];
  const int64_t vector_bytes = size_of(target.dtype) * lane_.width;
  const int64_t needed = std::min<int64_t>(64, vector_bytes);
  const bool streams = target.non_temporal && vector_bytes >= 16 && alignment % needed == 0;
  auto* const store =
      annotate(builder_.CreateAlignedStore(
                   vector, pointer,
                   llvm::Align(static_cast<uint64_t>(streams ? needed : size_of(target.dtype)))),
               buffer);
  if (streams)
    store->setMetadata(llvm::LLVMContext::MD_nontemporal,
                       llvm::MDNode::get(builder_.getContext(),
                                         llvm::ConstantAsMetadata::get(builder_.getInt32(1))));
}

bool ValueEmitter::emit_store_pair(const KernelStore& even, const KernelStore& odd) {
  if (!has_lanes() || lane_.mask || even.buffer != odd.buffer || even.combine != Op::Literal ||
      odd.combine != Op::Literal)
    return false;
  const IndexExpr distance = kernel_.context.sub(odd.index, even.index);
  const SplitIndex parts = split(even.index);
  if (!parts.is_affine() || !parts.slope.is_identical(2) || !distance.is_constant() ||
      !distance.constant.is_identical(1))
    return false;
  const DType dtype = kernel_.buffers[even.buffer].dtype;
  Value* const values[] = {to_memory(dtype, get_vector(even.value)),
                           to_memory(dtype, get_vector(odd.value))};
  Value* const first = element_pointer(even.buffer, parts.base);
  const int64_t alignment = proven_alignment(even.buffer, parts);
  const int width = lane_.width;
  for (int half = 0; half < 2; ++half) {
    std::vector<int> order;
    for (int l = half * width / 2; l < (half + 1) * width / 2; ++l)
      order.insert(order.end(), {l, width + l});
    whole_store(
        builder_.CreateShuffleVector(values[0], values[1], order),
        builder_.CreateConstGEP1_64(memory_type(dtype), first, static_cast<uint64_t>(half * width)),
        alignment, even.buffer);
  }
  return true;
}

void ValueEmitter::store_here(int buffer, const IndexExpr& index, Value* value) {
  get_values_of(index);
  const KernelBuffer& target = kernel_.buffers[buffer];
  llvm::Type* const type = memory_type(target.dtype);
  const auto size = static_cast<uint64_t>(size_of(target.dtype));
  const llvm::Align align(size);
  const SplitIndex parts = split(index);
  Value* pointer = element_pointer(buffer, parts.base);

  if (parts.is_uniform()) {
    if (value->getType()->isVectorTy()) value = builder_.CreateExtractElement(value, uint64_t{0});
    annotate(builder_.CreateAlignedStore(to_memory(target.dtype, value), pointer, align), buffer);
    return;
  }

  Value* memory = to_memory(target.dtype, widen(value));
  Value* lanes = lane_.mask;
  if (parts.is_affine() && (parts.slope.is_identical(1) || parts.slope.is_identical(-1))) {
    if (parts.slope.is_identical(-1)) {
      const auto width = static_cast<uint64_t>(lane_.width);
      pointer = builder_.CreateConstGEP1_64(type, pointer, 1 - width);
      memory = builder_.CreateShuffleVector(memory, reversed_lanes(lane_.width));
      if (lanes) lanes = pick_lanes(lanes, reversed_lanes(lane_.width));
    }
    if (lanes) return masked_store(memory, pointer, lanes, buffer);
    whole_store(memory, pointer, parts.slope.is_identical(1) ? proven_alignment(buffer, parts) : 1,
                buffer);
    return;
  }
  if (parts.is_affine() && parts.slope.is_number() && !lanes && !target_.has_masks) {
    // One by one at known distances: no vector of addresses that would be taken apart again.
    for (int l = 0; l < lane_.width; ++l)
      annotate(builder_.CreateAlignedStore(
                   builder_.CreateExtractElement(memory, static_cast<uint64_t>(l)),
                   builder_.CreateConstGEP1_64(type, pointer,
                                               static_cast<uint64_t>(l * parts.slope.number())),
                   align),
               buffer);
    return;
  }
  const bool is_narrow = fits_int32({0, parts.vectors}) && is_small(parts.slope);
  Value* const addresses =
      builder_.CreateGEP(type, pointer, lane_offsets(parts, is_narrow ? 32 : 64));
  annotate(builder_.CreateMaskedScatter(memory, addresses, align, lanes), buffer);
}

void ValueEmitter::emit_store(const KernelStore& store) {
  COREGRAD_CHECK(store.combine == Op::Literal);
  get_values_of(store.index);
  Value* const value =
      index_varies_over_lanes(store.index) ? get_vector(store.value) : get(store.value);
  store_here(store.buffer, store.index, value);
}

}  // namespace coregrad
