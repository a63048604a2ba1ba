#include "codegen/contract/pack.h"

#include "base/checked.h"
#include "codegen/contract/operand_address.h"

#include <llvm/IR/Module.h>

#include <algorithm>
#include <array>
#include <utility>

namespace coregrad {
namespace {

constexpr int64_t kFarBytes = 1024;

/// The shared signature: void (ptr source, i64 p, i64 r0, i64 r1, i64 c0, i64 c1, ptr target), and
/// as many numbers behind it.
llvm::Function* declare_pack(llvm::Module& module, const std::string& name, size_t more = 0) {
  llvm::LLVMContext& context = module.getContext();
  llvm::Type* const pointer = llvm::PointerType::get(context, 0);
  llvm::Type* const i64 = llvm::Type::getInt64Ty(context);
  std::vector<llvm::Type*> types = {pointer, i64, i64, i64, i64, i64, pointer};
  types.insert(types.end(), more, i64);
  return declare_part(module, name, types, {0, 6});
}

llvm::Value* floor_divide(llvm::IRBuilder<>& b, llvm::Value* x, int64_t d) {
  if (d == 1) return x;
  llvm::Value* const divisor = emit_i64(b, d);
  llvm::Value* const quotient = b.CreateSDiv(x, divisor);
  llvm::Value* const below = b.CreateICmpSLT(b.CreateSRem(x, divisor), emit_i64(b, 0));
  return b.CreateSub(quotient, b.CreateZExt(below, b.getInt64Ty()));
}

/// Writes runs along the innermost column segment.
class RunPacker {
 public:
  RunPacker(llvm::Function* function, const ContractPlan& plan, const WindowPacking& packing,
            int64_t stride, const Target& target)
      : b_(llvm::BasicBlock::Create(function->getContext(), "entry", function)),
        plan_(plan),
        packing_(packing),
        operand_(packing.operand),
        stride_(stride),
        target_(target),
        function_(function),
        width_(static_cast<unsigned>(plan.width)),
        memory_(b_, operand_.memory, plan.dtype),
        element_(is_narrow(plan.dtype)
                     ? memory_.type()
                     : contract_element_type(function->getContext(), plan.dtype)) {}

  void emit() {
    const auto p_segments = segments_of(operand_, plan_.p, plan_.extents);
    const auto row_segments = segments_of(operand_, packing_.rows, plan_.extents);
    auto outer = segments_of(operand_, packing_.columns, packing_.extents);
    run_ = outer.back();
    outer.pop_back();
    PartialAddress base = emit_base(b_, operand_);
    emit_advance(b_, operand_, p_segments, function_->getArg(1), base);
    llvm::Value *const r0 = function_->getArg(2), *const r1 = function_->getArg(3),
                       *const c0 = function_->getArg(4), *const c1 = function_->getArg(5);
    llvm::Value* const extent = emit_i64(b_, run_.extent);
    llvm::Value* const first_run = outer.empty() ? emit_i64(b_, 0) : b_.CreateUDiv(c0, extent);
    llvm::Value* const first_u = outer.empty() ? c0 : b_.CreateURem(c0, extent);
    const bool short_runs = !outer.empty() && has_short_runs(outer);
    // The machine's own prefetching follows the runs of a row, but not to the next row.
    for (const Segment& segment : row_segments)
      if (std::abs(segment.coef) * size_of(plan_.dtype) >= kFarBytes) ahead_ = segment.coef;
    emit_loop(b_, r0, r1, 1, [&](llvm::Value* r) {
      PartialAddress row = base;
      emit_advance(b_, operand_, row_segments, r, row);
      llvm::Value* const target_row =
          b_.CreateGEP(element_, function_->getArg(6),
                       emit_mul_add(b_, b_.CreateSub(r, r0), stride_, emit_i64(b_, 0)));
      if (outer.empty()) {
        emit_run(row, c0, c1, target_row);
        return;
      }
      // Columns c0 .. c1 cross runs: the first and the last may be cut.
      llvm::Value* const bits = short_runs ? row_bits(row) : nullptr;
      llvm::BasicBlock* const before = b_.GetInsertBlock();
      llvm::BasicBlock* const loop = llvm::BasicBlock::Create(b_.getContext(), "run", function_);
      llvm::BasicBlock* const done =
          llvm::BasicBlock::Create(b_.getContext(), "runs_done", function_);
      b_.CreateBr(loop);
      b_.SetInsertPoint(loop);
      llvm::PHINode *const c = b_.CreatePHI(b_.getInt64Ty(), 2),
                           *const number = b_.CreatePHI(b_.getInt64Ty(), 2),
                           *const u = b_.CreatePHI(b_.getInt64Ty(), 2);
      c->addIncoming(c0, before);
      number->addIncoming(first_run, before);
      u->addIncoming(first_u, before);
      PartialAddress here = row;
      emit_advance(b_, operand_, outer, number, here);
      llvm::Value* const length = emit_min(b_, b_.CreateSub(extent, u), b_.CreateSub(c1, c));
      llvm::Value* const place = b_.CreateGEP(element_, target_row, b_.CreateSub(c, c0));
      if (short_runs)
        emit_short_run(here, u, bits, place);
      else
        emit_run(here, u, b_.CreateAdd(u, length), place);
      llvm::Value* const next = b_.CreateAdd(c, length);
      c->addIncoming(next, b_.GetInsertBlock());
      number->addIncoming(b_.CreateAdd(number, emit_i64(b_, 1)), b_.GetInsertBlock());
      u->addIncoming(emit_i64(b_, 0), b_.GetInsertBlock());
      b_.CreateCondBr(b_.CreateICmpSLT(next, c1), loop, done);
      b_.SetInsertPoint(done);
    });
    b_.CreateRetVoid();
  }

 private:
  /// The run positions u with 0 <= x + f * u < reach, where f is not 0.
  std::pair<llvm::Value*, llvm::Value*> limits_along_run(const CheckedDim& check, llvm::Value* x) {
    const int64_t f = check.factor(run_.label);
    const int64_t reach = checked_mul(check.extent, check.s, "contract");
    if (f > 0)
      return {b_.CreateNeg(floor_divide(b_, x, f)),
              b_.CreateNeg(floor_divide(b_, b_.CreateSub(x, emit_i64(b_, reach)), f))};
    return {b_.CreateNeg(floor_divide(b_, b_.CreateSub(emit_i64(b_, reach - 1), x), -f)),
            b_.CreateAdd(floor_divide(b_, x, -f), emit_i64(b_, 1))};
  }

  bool is_along_run(const CheckedDim& check) const {
    return run_.label >= 0 && check.factor(run_.label) != 0;
  }

  /// Whether each run is one vector whose border is the same for all runs of a row: small images.
  bool has_short_runs(const std::vector<Segment>& outer) const {
    if (!target_.has_masks || run_.coef != 1 || run_.extent > static_cast<int64_t>(width_))
      return false;
    return std::all_of(
        operand_.checks.begin(), operand_.checks.end(), [&](const CheckedDim& check) {
          return check.s == 1 &&
                 (!is_along_run(check) ||
                  std::none_of(outer.begin(), outer.end(), [&](const Segment& segment) {
                    return segment.label >= 0 && check.factor(segment.label) != 0;
                  }));
        });
  }

  /// Bit u: whether the row's runs have an element at position u.
  llvm::Value* row_bits(const PartialAddress& row) {
    llvm::Value *low = emit_i64(b_, 0), *high = emit_i64(b_, run_.extent);
    for (size_t i = 0; i < operand_.checks.size(); ++i) {
      if (!is_along_run(operand_.checks[i])) continue;
      const auto [from, to] = limits_along_run(operand_.checks[i], row.positions[i]);
      low = emit_max(b_, low, from);
      high = emit_min(b_, high, to);
    }
    const auto ones_from = [&](llvm::Value* place) {
      return b_.CreateShl(emit_i64(b_, -1),
                          emit_min(b_, emit_max(b_, place, emit_i64(b_, 0)), emit_i64(b_, 63)));
    };
    return b_.CreateAnd(ones_from(low), b_.CreateNot(ones_from(high)));
  }

  /// A run from position u on: one vector, zero where the row has no element.
  void emit_short_run(const PartialAddress& address, llvm::Value* u, llvm::Value* bits,
                      llvm::Value* target) {
    llvm::Value* word = b_.CreateLShr(bits, u);
    for (size_t i = 0; i < operand_.checks.size(); ++i) {
      const CheckedDim& check = operand_.checks[i];
      if (is_along_run(check)) continue;
      word = b_.CreateSelect(b_.CreateICmpULT(address.positions[i], emit_i64(b_, check.extent)),
                             word, emit_i64(b_, 0));
    }
    llvm::Value* const mask = b_.CreateBitCast(b_.CreateTrunc(word, b_.getIntNTy(width_)),
                                               llvm::FixedVectorType::get(b_.getInt1Ty(), width_));
    llvm::Value* const source =
        memory_.pointer(function_->getArg(0), b_.CreateAdd(address.offset, u));
    prefetch(source);
    b_.CreateAlignedStore(memory_.load(source, width_, mask), target, align());
  }

  /// Asks for the elements of the next row.
  void prefetch(llvm::Value* source) {
    if (ahead_ == 0) return;
    llvm::Value* const at = memory_.pointer(source, emit_i64(b_, ahead_));
    b_.CreateIntrinsic(llvm::Intrinsic::prefetch, {b_.getPtrTy()},
                       {at, b_.getInt32(0), b_.getInt32(3), b_.getInt32(1)});
  }

  /// target[i] = element at run position begin + i for begin + i < end.
  void emit_run(PartialAddress address, llvm::Value* begin, llvm::Value* end, llvm::Value* target) {
    llvm::Value *low = begin, *high = end;  // positions that lie inside the operand
    std::vector<size_t> stepped;            // checks with s > 1 that vary along the run
    for (size_t i = 0; i < operand_.checks.size(); ++i) {
      const CheckedDim& check = operand_.checks[i];
      const int64_t f = run_.label < 0 ? 0 : check.factor(run_.label);
      llvm::Value* const x = address.positions[i];
      const int64_t reach = checked_mul(check.extent, check.s, "contract");
      if (f == 0) {
        llvm::Value* ok = b_.CreateICmpULT(x, emit_i64(b_, reach));
        if (check.s > 1) {
          llvm::Value* const s = emit_i64(b_, check.s);
          ok = b_.CreateAnd(ok, b_.CreateICmpEQ(b_.CreateSRem(x, s), emit_i64(b_, 0)));
          address.offset = emit_mul_add(b_, b_.CreateSDiv(x, s), check.stride, address.offset);
        }
        high = b_.CreateSelect(ok, high, low);
        continue;
      }
      if (check.s > 1) {
        stepped.push_back(i);
        continue;
      }
      const auto [from, to] = limits_along_run(check, x);
      low = emit_max(b_, low, from);
      high = emit_min(b_, high, to);
    }
    llvm::Value* const source = memory_.pointer(function_->getArg(0), address.offset);
    const auto store = [&](llvm::Value* u, llvm::Value* value) {
      b_.CreateAlignedStore(value, b_.CreateGEP(element_, target, b_.CreateSub(u, begin)), align());
    };
    if (operand_.checks.empty() && run_.coef == 1) {
      llvm::Value* const whole =
          b_.CreateAnd(b_.CreateSub(end, begin), emit_i64(b_, -static_cast<int64_t>(width_)));
      llvm::Value* const whole_end = b_.CreateAdd(begin, whole);
      emit_loop(b_, begin, whole_end, width_, [&](llvm::Value* u) {
        prefetch(memory_.pointer(source, u));
        store(u, plain_load(source, u));
      });
      emit_if(b_, b_.CreateICmpSLT(whole_end, end),
              [&] { store(whole_end, masked_load(source, whole_end, low, high)); });
      return;
    }
    if (run_.coef == 1 && stepped.empty() && target_.has_masks && run_.extent > width_) {
      // Runs are short and their borders vary: one mask for two vectors, and no branch.
      const int64_t pair = 2 * static_cast<int64_t>(width_);
      emit_loop(b_, begin, end, pair, [&](llvm::Value* u) {
        const auto bits_from = [&](llvm::Value* place) {
          llvm::Value* const inside = emit_min(
              b_, emit_max(b_, b_.CreateSub(place, u), emit_i64(b_, 0)), emit_i64(b_, pair));
          return b_.CreateShl(emit_i64(b_, -1), inside);
        };
        llvm::Value* const bits = b_.CreateAnd(bits_from(low), b_.CreateNot(bits_from(high)));
        for (int64_t part = 0; part < pair; part += width_) {
          llvm::Value* const word =
              b_.CreateTrunc(b_.CreateLShr(bits, emit_i64(b_, part)), b_.getIntNTy(width_));
          llvm::Value* const mask =
              b_.CreateBitCast(word, llvm::FixedVectorType::get(b_.getInt1Ty(), width_));
          llvm::Value* const at = b_.CreateAdd(u, emit_i64(b_, part));
          prefetch(memory_.pointer(source, at));
          store(at, memory_.load(memory_.pointer(source, at), width_, mask));
        }
      });
      return;
    }
    if (stepped.empty() && run_.extent <= static_cast<int64_t>(width_) / 2) {
      // A few elements: less than the mask of a vector costs.
      emit_loop(b_, begin, end, 1, [&](llvm::Value* u) {
        llvm::Value* const inside =
            b_.CreateAnd(b_.CreateICmpSGE(u, low), b_.CreateICmpSLT(u, high));
        store(u, either(
                     inside,
                     [&] {
                       llvm::Value* const place = emit_mul_add(b_, u, run_.coef, emit_i64(b_, 0));
                       return memory_.load(memory_.pointer(source, place), 0);
                     },
                     [&] { return llvm::Constant::getNullValue(element_); }));
      });
      return;
    }
    emit_loop(b_, begin, end, width_, [&](llvm::Value* u) {
      if (!stepped.empty())
        store(u, stepped_load(address, stepped, u, low, high));
      else if (run_.coef == 1)
        store(u, contiguous_load(source, u, low, high));
      else if (run_.coef == 2)
        store(u, every_second_load(source, u, low, high));
      else
        store(u, strided_load(source, u, low, high));
    });
  }

  llvm::Align align() const { return llvm::Align(static_cast<uint64_t>(size_of(plan_.dtype))); }
  llvm::Value* lane_mask(llvm::Value* u, llvm::Value* low, llvm::Value* high) {
    return emit_lane_mask(b_, b_.CreateSub(low, u), b_.CreateSub(high, u), width_,
                          size_of(plan_.dtype), target_);
  }
  llvm::Value* plain_load(llvm::Value* source, llvm::Value* u) {
    return memory_.load(memory_.pointer(source, u), width_);
  }
  llvm::Value* masked_load(llvm::Value* source, llvm::Value* u, llvm::Value* low,
                           llvm::Value* high) {
    return memory_.load(memory_.pointer(source, u), width_, lane_mask(u, low, high));
  }

  /// Masked on machines with masks; elsewhere only where some lane is outside.
  llvm::Value* contiguous_load(llvm::Value* source, llvm::Value* u, llvm::Value* low,
                               llvm::Value* high) {
    if (target_.has_masks) return masked_load(source, u, low, high);
    return either(
        all_inside(u, low, high), [&] { return plain_load(source, u); },
        [&] { return masked_load(source, u, low, high); });
  }

  /// Whether a vector from run position u on lies inside.
  llvm::Value* all_inside(llvm::Value* u, llvm::Value* low, llvm::Value* high) {
    return b_.CreateAnd(b_.CreateICmpSGE(u, low),
                        b_.CreateICmpSLE(b_.CreateAdd(u, emit_i64(b_, width_)), high));
  }

  /// One of two values, by a branch.
  template <class Then, class Otherwise>
  llvm::Value* either(llvm::Value* condition, Then then, Otherwise otherwise) {
    llvm::BasicBlock* const yes = llvm::BasicBlock::Create(b_.getContext(), "inside", function_);
    llvm::BasicBlock* const no = llvm::BasicBlock::Create(b_.getContext(), "border", function_);
    llvm::BasicBlock* const join = llvm::BasicBlock::Create(b_.getContext(), "join", function_);
    b_.CreateCondBr(condition, yes, no);
    b_.SetInsertPoint(yes);
    llvm::Value* const first = then();
    llvm::BasicBlock* const yes_end = b_.GetInsertBlock();
    b_.CreateBr(join);
    b_.SetInsertPoint(no);
    llvm::Value* const second = otherwise();
    llvm::BasicBlock* const no_end = b_.GetInsertBlock();
    b_.CreateBr(join);
    b_.SetInsertPoint(join);
    llvm::PHINode* const value = b_.CreatePHI(first->getType(), 2);
    value->addIncoming(first, yes_end);
    value->addIncoming(second, no_end);
    return value;
  }

  /// Two vectors of neighbours, of which every second place is kept.
  llvm::Value* every_second_load(llvm::Value* source, llvm::Value* u, llvm::Value* low,
                                 llvm::Value* high) {
    if (target_.has_masks) return masked_every_second_load(source, u, low, high);
    return either(
        all_inside(u, low, high),
        [&] {
          // The second vector ends at the last element: nothing behind it is read.
          llvm::Value* const at = memory_.pointer(source, emit_mul_add(b_, u, 2, emit_i64(b_, 0)));
          std::vector<int> places;
          for (int l = 0; l < static_cast<int>(width_); ++l)
            places.push_back(2 * l < static_cast<int>(width_) ? 2 * l : 2 * l + 1);
          return b_.CreateShuffleVector(
              memory_.load(at, width_),
              memory_.load(memory_.pointer(at, emit_i64(b_, width_ - 1)), width_), places);
        },
        [&] { return masked_every_second_load(source, u, low, high); });
  }

  llvm::Value* masked_every_second_load(llvm::Value* source, llvm::Value* u, llvm::Value* low,
                                        llvm::Value* high) {
    llvm::Value* const mask = lane_mask(u, low, high);
    std::vector<int> evens;
    llvm::Value* halves[2];
    for (unsigned half = 0; half < 2; ++half) {
      std::vector<int> spread;
      for (unsigned l = 0; l < width_; ++l)
        spread.push_back(l % 2 == 0 ? static_cast<int>(half * width_ / 2 + l / 2)
                                    : static_cast<int>(width_));
      llvm::Value* const part =
          b_.CreateShuffleVector(mask, llvm::Constant::getNullValue(mask->getType()), spread);
      llvm::Value* const at = memory_.pointer(
          source, emit_mul_add(b_, u, 2, emit_i64(b_, static_cast<int64_t>(half * width_))));
      halves[half] = memory_.load(at, width_, part);
    }
    for (unsigned l = 0; l < width_; ++l) evens.push_back(static_cast<int>(2 * l));
    return b_.CreateShuffleVector(halves[0], halves[1], evens);
  }

  llvm::Value* strided_load(llvm::Value* source, llvm::Value* u, llvm::Value* low,
                            llvm::Value* high) {
    llvm::Value* const lanes = emit_lane_numbers(b_, width_);
    llvm::Value* const places = b_.CreateMul(b_.CreateAdd(lanes, b_.CreateVectorSplat(width_, u)),
                                             b_.CreateVectorSplat(width_, emit_i64(b_, run_.coef)));
    return memory_.gather(source, places, lane_mask(u, low, high));
  }

  /// Dimensions that divide: only every s-th lane may lie on an element.
  llvm::Value* stepped_load(const PartialAddress& address, const std::vector<size_t>& stepped,
                            llvm::Value* u, llvm::Value* low, llvm::Value* high) {
    const auto splat = [&](llvm::Value* v) { return b_.CreateVectorSplat(width_, v); };
    const auto constant = [&](int64_t v) { return splat(emit_i64(b_, v)); };
    llvm::Value* const at = b_.CreateAdd(emit_lane_numbers(b_, width_), splat(u));
    llvm::Value* places =
        b_.CreateAdd(splat(address.offset), b_.CreateMul(at, constant(run_.coef)));
    llvm::Value* mask =
        b_.CreateAnd(b_.CreateICmpSGE(at, splat(low)), b_.CreateICmpSLT(at, splat(high)));
    for (const size_t i : stepped) {
      const CheckedDim& check = operand_.checks[i];
      llvm::Value* const x = b_.CreateAdd(splat(address.positions[i]),
                                          b_.CreateMul(at, constant(check.factor(run_.label))));
      llvm::Value* const in_range =
          b_.CreateICmpULT(x, constant(checked_mul(check.extent, check.s, "contract")));
      llvm::Value *on, *index;
      if ((check.s & (check.s - 1)) == 0) {
        on = b_.CreateICmpEQ(b_.CreateAnd(x, constant(check.s - 1)), constant(0));
        index = b_.CreateAShr(x, constant(__builtin_ctzll(static_cast<uint64_t>(check.s))));
      } else {
        on = b_.CreateICmpEQ(b_.CreateSRem(x, constant(check.s)), constant(0));
        index = b_.CreateSDiv(x, constant(check.s));
      }
      mask = b_.CreateAnd(mask, b_.CreateAnd(in_range, on));
      places = b_.CreateAdd(places, b_.CreateMul(index, constant(check.stride)));
    }
    return memory_.gather(function_->getArg(0), places, mask);
  }

  llvm::IRBuilder<> b_;
  const ContractPlan& plan_;
  const WindowPacking& packing_;
  const AffineOperand& operand_;
  int64_t stride_;
  const Target& target_;
  llvm::Function* function_;
  unsigned width_;
  ElementMemory memory_;
  llvm::Type* element_;
  Segment run_;
  int64_t ahead_ = 0;  ///< elements to the next row, if it is far
};

}  // namespace

void transpose_blocks(llvm::IRBuilder<>& b, std::vector<llvm::Value*>& rows, int64_t width) {
  const int block = static_cast<int>(rows.size());
  const auto interleave = [&](llvm::Value* x, llvm::Value* y, int first, int unit) {
    // Units of `unit` elements taken in turn from x and y, starting at `first` of each block.
    std::vector<int> lanes;
    for (int base = 0; base < static_cast<int>(width); base += block)
      for (int j = 0; j < block; ++j) {
        const int from = base + first + j / (2 * unit) * unit + j % unit;
        lanes.push_back((j / unit) % 2 == 0 ? from : static_cast<int>(width) + from);
      }
    return b.CreateShuffleVector(x, y, lanes);
  };
  if (block == 2) {
    rows = {interleave(rows[0], rows[1], 0, 1), interleave(rows[0], rows[1], 1, 1)};
    return;
  }
  COREGRAD_CHECK(block == 4);
  llvm::Value *const low01 = interleave(rows[0], rows[1], 0, 1), *const high01 = interleave(
                                                                     rows[0], rows[1], 2, 1);
  llvm::Value *const low23 = interleave(rows[2], rows[3], 0, 1), *const high23 = interleave(
                                                                     rows[2], rows[3], 2, 1);
  rows = {interleave(low01, low23, 0, 2), interleave(low01, low23, 2, 2),
          interleave(high01, high23, 0, 2), interleave(high01, high23, 2, 2)};
}

llvm::Function* emit_pack_runs(llvm::Module& module, const std::string& name,
                               const ContractPlan& plan, const WindowPacking& packing,
                               int64_t stride, const Target& target) {
  llvm::Function* const function = declare_pack(module, name);
  RunPacker(function, plan, packing, stride, target).emit();
  return function;
}

llvm::Function* emit_pack_transposed(llvm::Module& module, const std::string& name,
                                     const ContractPlan& plan, const Target& target) {
  llvm::Function* const function = declare_pack(module, name);
  llvm::IRBuilder<> b(llvm::BasicBlock::Create(module.getContext(), "entry", function));
  const AffineOperand& operand = plan.lane_side;
  COREGRAD_CHECK(operand.checks.empty());
  llvm::Type* const element = contract_element_type(module.getContext(), plan.dtype);
  const auto width = static_cast<unsigned>(plan.width);
  const llvm::Align align(static_cast<uint64_t>(size_of(plan.dtype)));
  const auto lanes = segments_of(operand, plan.n, plan.extents);
  auto outer = segments_of(operand, plan.k, plan.extents);
  const Segment run = outer.back();
  COREGRAD_CHECK(run.coef == 1);
  outer.pop_back();

  llvm::Value *const k0 = function->getArg(2), *const k1 = function->getArg(3),
                     *const n0 = function->getArg(4), *const n1 = function->getArg(5);
  PartialAddress base = emit_base(b, operand);
  emit_advance(b, operand, segments_of(operand, plan.p, plan.extents), function->getArg(1), base);
  llvm::Value* const extent = emit_i64(b, run.extent);
  // 16-byte blocks of `block` steps of k: vector j collects lanes j, j + block, j + 2 * block, ..
  const unsigned block = 16 / static_cast<unsigned>(size_of(plan.dtype));
  ElementMemory memory(b, operand.memory, plan.dtype);
  llvm::Type *const piece = memory.type(block), *const vector = memory.type(width);
  // The last vector of lanes is moved back to end at the last lane: it repeats lanes that are
  // packed already, in front of n0 if need be, where the row before has its padding.
  const bool moves_back = lanes.size() == 1 && plan.n.extent >= plan.width;
  emit_loop(b, n0, n1, width, [&](llvm::Value* first_n) {
    llvm::Value* const n =
        moves_back ? emit_min(b, first_n, emit_i64(b, plan.n.extent - plan.width)) : first_n;
    std::vector<llvm::Value*> sources(width);
    for (unsigned l = 0; l < width; ++l) {
      PartialAddress lane = base;
      if (moves_back) {
        emit_advance(b, operand, lanes, n, lane);
        lane.offset =
            b.CreateAdd(lane.offset, emit_i64(b, checked_mul(l, lanes[0].coef, "contract")));
      } else {
        // Lanes behind the last one repeat it: they are not used, but must be readable.
        emit_advance(b, operand, lanes,
                     emit_min(b, b.CreateAdd(n, emit_i64(b, l)), b.CreateSub(n1, emit_i64(b, 1))),
                     lane);
      }
      sources[l] = lane.offset;
    }
    llvm::Value* const target_column =
        b.CreateGEP(element, function->getArg(6), b.CreateSub(n, n0));
    // `groups` blocks of k at once, so that all of a cache line that a lane's row of memory brings
    // is used while it is there: rows that lie a power of two apart push each other out of the
    // caches.
    const auto copy = [&](llvm::Value* place, llvm::Value* k, llvm::Value* mask, unsigned groups) {
      llvm::Value* const source = memory.pointer(function->getArg(0), place);
      std::vector<std::vector<llvm::Value*>> rows(groups, std::vector<llvm::Value*>(block));
      for (unsigned j = 0; j < block; ++j) {
        for (unsigned part = 0; part < width / block; ++part) {
          for (unsigned g = 0; g < groups; ++g) {
            llvm::Value* const from = memory.pointer(
                source, b.CreateAdd(sources[part * block + j], emit_i64(b, int64_t{g} * block)));
            llvm::Value* const loaded =
                mask ? static_cast<llvm::Value*>(b.CreateMaskedLoad(
                           piece, from, memory.align(), mask, llvm::Constant::getNullValue(piece)))
                     : b.CreateAlignedLoad(piece, from, memory.align());
            llvm::Value*& row = rows[g][j];
            if (width == block) {
              row = loaded;
              continue;
            }
            if (part == 0) row = llvm::PoisonValue::get(vector);
            row = b.CreateInsertVector(vector, row, loaded, emit_i64(b, part * block));
          }
        }
      }
      for (unsigned g = 0; g < groups; ++g) {
        for (llvm::Value*& row : rows[g]) row = memory.cast(row);
        transpose_blocks(b, rows[g], plan.width);
        for (unsigned i = 0; i < block; ++i) {
          llvm::Value* const row = b.CreateAdd(b.CreateSub(k, k0), emit_i64(b, g * block + i));
          b.CreateAlignedStore(rows[g][i],
                               b.CreateGEP(element, target_column,
                                           emit_mul_add(b, row, plan.lane_stride, emit_i64(b, 0))),
                               align);
        }
      }
    };
    // k0 .. k1 in pieces of one run.
    llvm::BasicBlock* const before = b.GetInsertBlock();
    llvm::BasicBlock* const loop = llvm::BasicBlock::Create(b.getContext(), "run", function);
    llvm::BasicBlock* const done = llvm::BasicBlock::Create(b.getContext(), "runs_done", function);
    llvm::Value* const first = outer.empty() ? emit_i64(b, 0) : b.CreateUDiv(k0, extent);
    llvm::Value* const first_u = outer.empty() ? k0 : b.CreateURem(k0, extent);
    b.CreateCondBr(b.CreateICmpSLT(k0, k1), loop, done);
    b.SetInsertPoint(loop);
    llvm::PHINode *const k = b.CreatePHI(b.getInt64Ty(), 2),
                         *const number = b.CreatePHI(b.getInt64Ty(), 2),
                         *const u = b.CreatePHI(b.getInt64Ty(), 2);
    k->addIncoming(k0, before);
    number->addIncoming(first, before);
    u->addIncoming(first_u, before);
    PartialAddress here{emit_i64(b, 0), {}};
    if (!outer.empty()) emit_advance(b, operand, outer, number, here);
    llvm::Value* const place = b.CreateAdd(here.offset, u);
    llvm::Value* const length = emit_min(b, b.CreateSub(extent, u), b.CreateSub(k1, k));
    const unsigned groups = run.extent >= plan.width ? width / block : 1;
    llvm::Value* const lines =
        b.CreateAnd(length, emit_i64(b, -static_cast<int64_t>(groups * block)));
    llvm::Value* const whole = b.CreateAnd(length, emit_i64(b, -static_cast<int64_t>(block)));
    emit_loop(b, emit_i64(b, 0), lines, groups * block, [&](llvm::Value* i) {
      copy(b.CreateAdd(place, i), b.CreateAdd(k, i), nullptr, groups);
    });
    if (groups > 1)
      emit_loop(b, lines, whole, block, [&](llvm::Value* i) {
        copy(b.CreateAdd(place, i), b.CreateAdd(k, i), nullptr, 1);
      });
    emit_if(b, b.CreateICmpSLT(whole, length), [&] {
      llvm::Value* const mask = emit_lane_mask(b, emit_i64(b, 0), b.CreateSub(length, whole), block,
                                               size_of(plan.dtype), target);
      copy(b.CreateAdd(place, whole), b.CreateAdd(k, whole), mask, 1);
    });
    llvm::Value* const next = b.CreateAdd(k, length);
    k->addIncoming(next, b.GetInsertBlock());
    number->addIncoming(b.CreateAdd(number, emit_i64(b, 1)), b.GetInsertBlock());
    u->addIncoming(emit_i64(b, 0), b.GetInsertBlock());
    b.CreateCondBr(b.CreateICmpSLT(next, k1), loop, done);
    b.SetInsertPoint(done);
  });
  b.CreateRetVoid();
  return function;
}

llvm::Function* emit_pack_row_panels(llvm::Module& module, const std::string& name,
                                     const ContractPlan& plan) {
  llvm::Function* const function = declare_pack(module, name, 2);
  llvm::IRBuilder<> b(llvm::BasicBlock::Create(module.getContext(), "entry", function));
  const AffineOperand& operand = plan.row_side;
  llvm::Type* const element = contract_element_type(module.getContext(), plan.dtype);
  const auto width = static_cast<unsigned>(plan.width);
  const llvm::Align align(static_cast<uint64_t>(size_of(plan.dtype)));
  ElementMemory memory(b, operand.memory, plan.dtype);
  const int64_t row_k = segments_of(operand, plan.k, plan.extents).back().coef;
  llvm::Value *const k0 = function->getArg(2), *const k1 = function->getArg(3),
                     *const first = function->getArg(4), *const end = function->getArg(5);
  PartialAddress base = emit_base(b, operand);
  emit_advance(b, operand, segments_of(operand, plan.p, plan.extents), function->getArg(1), base);
  llvm::Value* const source = memory.pointer(function->getArg(0), base.offset);
  llvm::Value *const num_tall_panels = function->getArg(7), *const panel_elements =
                                                                function->getArg(8);
  llvm::Value* const tall_end = emit_min(b, end, num_tall_panels);
  // Steps of k outside: memory is read in its own order. A panel's vectors are stored whole; what
  // is too much lies where the next step is stored afterwards.
  emit_loop(b, k0, k1, 1, [&](llvm::Value* k) {
    llvm::Value* const from = memory.pointer(source, emit_mul_add(b, k, row_k, emit_i64(b, 0)));
    llvm::Value* const to =
        b.CreateGEP(element, function->getArg(6),
                    emit_mul_add(b, b.CreateSub(k, k0), plan.row_stride, emit_i64(b, 0)));
    const auto copy = [&](llvm::Value* panel, int64_t rows) {
      llvm::Value* const tall_rows = b.CreateMul(panel, emit_i64(b, plan.tile_rows));
      llvm::Value* const m = rows == plan.tile_rows
                                 ? tall_rows
                                 : b.CreateSub(tall_rows, b.CreateSub(panel, num_tall_panels));
      llvm::Value* const place =
          b.CreateGEP(element, to, b.CreateMul(b.CreateSub(panel, first), panel_elements));
      for (int64_t done = 0; done < rows; done += width) {
        std::vector<llvm::Constant*> bits;
        for (int64_t l = 0; l < width; ++l) bits.push_back(b.getInt1(done + l < rows));
        llvm::Value* const at = memory.pointer(memory.pointer(from, m), emit_i64(b, done));
        b.CreateAlignedStore(memory.load(at, width, llvm::ConstantVector::get(bits)),
                             b.CreateConstGEP1_64(element, place, static_cast<uint64_t>(done)),
                             align);
      }
    };
    emit_loop(b, first, tall_end, 1, [&](llvm::Value* panel) { copy(panel, plan.tile_rows); });
    if (plan.has_low_panels())
      emit_loop(b, emit_max(b, first, tall_end), end, 1,
                [&](llvm::Value* panel) { copy(panel, plan.tile_rows - 1); });
  });
  b.CreateRetVoid();
  return function;
}

}  // namespace coregrad
