// Packs run by run along the innermost column segment.

#include "base/checked.h"
#include "codegen/contract/operand_address.h"
#include "codegen/contract/pack.h"
#include "codegen/ir/control_flow.h"

#include <llvm/IR/Module.h>

#include <algorithm>
#include <utility>

namespace coregrad {
namespace {

constexpr int64_t kFarBytes = 1024;

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
            NumberOfPlan stride, const Target& target, ContractParams& params)
      : b_(llvm::BasicBlock::Create(function->getContext(), "entry", function)),
        plan_(plan),
        packing_(packing),
        operand_(packing.operand),
        stride_(stride),
        target_(target),
        params_(params),
        function_(function),
        width_(static_cast<unsigned>(plan.width)),
        memory_(b_, operand_.memory, plan.dtype),
        element_(is_narrow(plan.dtype)
                     ? memory_.type()
                     : contract_element_type(function->getContext(), plan.dtype)) {}

  void emit() {
    llvm::Value* const stride = params_.constant(plan_, stride_);
    const auto row_segments = segments_of(operand_, packing_.rows, plan_.sizes);
    auto outer = segments_of(operand_, packing_.columns, packing_.extents);
    run_ = outer.back();
    outer.pop_back();
    const PartialAddress base = emit_pack_base(b_, params_, plan_, operand_, function_);
    llvm::Value *const r0 = function_->getArg(2), *const r1 = function_->getArg(3),
                       *const c0 = function_->getArg(4), *const c1 = function_->getArg(5);
    llvm::Value* const extent = params_.size(run_.extent);
    const RunStart start =
        outer.empty() ? RunStart{emit_i64(b_, 0), c0} : emit_run_start(b_, c0, extent);
    const bool short_runs = !outer.empty() && has_short_runs(outer);
    // The machine's own prefetching follows the runs of a row, but not to the next row.
    for (const Segment& segment : row_segments)
      if (std::abs(segment.coef.hint()) * size_of(plan_.dtype) >= kFarBytes) ahead_ = segment.coef;
    emit_loop(b_, r0, r1, 1, [&](llvm::Value* r) {
      PartialAddress row = base;
      emit_advance(b_, params_, operand_, row_segments, r, row);
      llvm::Value* const target_row =
          b_.CreateGEP(element_, function_->getArg(6), b_.CreateMul(b_.CreateSub(r, r0), stride));
      if (outer.empty()) {
        emit_run(row, c0, c1, target_row);
        return;
      }
      // Columns c0 .. c1 cross runs: the first and the last may be cut.
      llvm::Value* const bits = short_runs ? row_bits(row) : nullptr;
      emit_runs(
          b_, start, c0, c1, nullptr, [&](llvm::Value* c, llvm::Value* number, llvm::Value* u) {
            PartialAddress here = row;
            emit_advance(b_, params_, operand_, outer, number, here);
            llvm::Value* const length = emit_min(b_, b_.CreateSub(extent, u), b_.CreateSub(c1, c));
            llvm::Value* const place = b_.CreateGEP(element_, target_row, b_.CreateSub(c, c0));
            if (short_runs)
              emit_short_run(here, u, bits, place);
            else
              emit_run(here, u, b_.CreateAdd(u, length), place);
            return length;
          });
    });
    b_.CreateRetVoid();
  }

 private:
  /// Positions begin .. end of a run, of which low .. high lie inside the operand.
  struct Run {
    PartialAddress address;
    llvm::Value *source = nullptr, *begin, *end, *low, *high, *target;
    std::vector<size_t> stepped = {};  ///< checks with s > 1 that vary along the run
  };

  /// The run positions u with 0 <= x + f * u < reach, where f is not 0.
  std::pair<llvm::Value*, llvm::Value*> limits_along_run(const CheckedDim& check, llvm::Value* x) {
    const int64_t f = check.factor(run_.label);
    const SymInt reach = checked_mul(check.extent, check.s, "contract");
    if (f > 0)
      return {b_.CreateNeg(floor_divide(b_, x, f)),
              b_.CreateNeg(floor_divide(b_, b_.CreateSub(x, params_.size(reach)), f))};
    return {b_.CreateNeg(floor_divide(b_, b_.CreateSub(params_.size(reach - 1), x), -f)),
            b_.CreateAdd(floor_divide(b_, x, -f), emit_i64(b_, 1))};
  }

  /// Whether a run may have more positions.
  bool is_longer_than(int64_t positions) const {
    return !run_.extent.is_number() || run_.extent.number() > positions;
  }

  bool is_along_run(const CheckedDim& check) const {
    return run_.label >= 0 && check.factor(run_.label) != 0;
  }

  /// Whether each run is one vector whose border is the same for all runs of a row: small images.
  bool has_short_runs(const std::vector<Segment>& outer) const {
    if (!target_.has_masks || !is_always(run_.coef, 1) || is_longer_than(width_)) return false;
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
    llvm::Value *low = emit_i64(b_, 0), *high = params_.size(run_.extent);
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
      word = b_.CreateSelect(b_.CreateICmpULT(address.positions[i], params_.size(check.extent)),
                             word, emit_i64(b_, 0));
    }
    llvm::Value* const mask = to_mask(word);
    llvm::Value* const source =
        memory_.pointer(function_->getArg(0), b_.CreateAdd(address.offset, u));
    prefetch(source);
    b_.CreateAlignedStore(memory_.load(source, width_, mask), target, align());
  }

  /// Asks for the elements of the next row.
  void prefetch(llvm::Value* source) {
    if (is_always(ahead_, 0)) return;
    llvm::Value* const at = memory_.pointer(source, params_.size(ahead_));
    b_.CreateIntrinsic(llvm::Intrinsic::prefetch, {b_.getPtrTy()},
                       {at, b_.getInt32(0), b_.getInt32(3), b_.getInt32(1)});
  }

  /// The part of a run that lies inside, by the operand's checks.
  Run find_inside(PartialAddress address, llvm::Value* begin, llvm::Value* end,
                  llvm::Value* target) {
    Run run{.address = std::move(address),
            .begin = begin,
            .end = end,
            .low = begin,
            .high = end,
            .target = target};
    for (size_t i = 0; i < operand_.checks.size(); ++i) {
      const CheckedDim& check = operand_.checks[i];
      llvm::Value* const x = run.address.positions[i];
      if (is_along_run(check)) {
        if (check.s > 1) {
          run.stepped.push_back(i);
          continue;
        }
        const auto [from, to] = limits_along_run(check, x);
        run.low = emit_max(b_, run.low, from);
        run.high = emit_min(b_, run.high, to);
        continue;
      }
      const SymInt reach = checked_mul(check.extent, check.s, "contract");
      llvm::Value* ok = b_.CreateICmpULT(x, params_.size(reach));
      if (check.s > 1) {
        llvm::Value* const s = emit_i64(b_, check.s);
        ok = b_.CreateAnd(ok, b_.CreateICmpEQ(b_.CreateSRem(x, s), emit_i64(b_, 0)));
        run.address.offset =
            emit_mul_add(b_, params_, b_.CreateSDiv(x, s), check.stride, run.address.offset);
      }
      run.high = b_.CreateSelect(ok, run.high, run.low);
    }
    run.source = memory_.pointer(function_->getArg(0), run.address.offset);
    return run;
  }

  /// target[i] = element at run position begin + i for begin + i < end.
  void emit_run(const PartialAddress& address, llvm::Value* begin, llvm::Value* end,
                llvm::Value* target) {
    const Run run = find_inside(address, begin, end, target);
    const auto width = static_cast<int64_t>(width_);
    if (operand_.checks.empty() && is_always(run_.coef, 1))
      emit_whole_vectors(run);
    else if (is_always(run_.coef, 1) && run.stepped.empty() && target_.has_masks &&
             is_longer_than(width))
      emit_masked_pairs(run);
    else if (run.stepped.empty() && !is_longer_than(width / 2))
      emit_elements(run);
    else
      emit_loop(b_, begin, end, width, [&](llvm::Value* u) { store(run, u, load(run, u)); });
  }

  void store(const Run& run, llvm::Value* u, llvm::Value* value) {
    b_.CreateAlignedStore(value, b_.CreateGEP(element_, run.target, b_.CreateSub(u, run.begin)),
                          align());
  }

  /// Nothing to check: whole vectors, and a mask for the last.
  void emit_whole_vectors(const Run& run) {
    llvm::Value* const whole =
        b_.CreateAnd(b_.CreateSub(run.end, run.begin), emit_i64(b_, -static_cast<int64_t>(width_)));
    llvm::Value* const whole_end = b_.CreateAdd(run.begin, whole);
    emit_loop(b_, run.begin, whole_end, width_, [&](llvm::Value* u) {
      prefetch(memory_.pointer(run.source, u));
      store(run, u, plain_load(run, u));
    });
    emit_if(b_, b_.CreateICmpSLT(whole_end, run.end),
            [&] { store(run, whole_end, masked_load(run, whole_end)); });
  }

  /// Runs are short and their borders vary: one mask for two vectors, and no branch.
  void emit_masked_pairs(const Run& run) {
    const int64_t pair = 2 * static_cast<int64_t>(width_);
    emit_loop(b_, run.begin, run.end, pair, [&](llvm::Value* u) {
      const auto bits_from = [&](llvm::Value* place) {
        llvm::Value* const inside =
            emit_min(b_, emit_max(b_, b_.CreateSub(place, u), emit_i64(b_, 0)), emit_i64(b_, pair));
        return b_.CreateShl(emit_i64(b_, -1), inside);
      };
      llvm::Value* const bits = b_.CreateAnd(bits_from(run.low), b_.CreateNot(bits_from(run.high)));
      for (int64_t part = 0; part < pair; part += width_) {
        llvm::Value* const mask = to_mask(b_.CreateLShr(bits, emit_i64(b_, part)));
        llvm::Value* const at = b_.CreateAdd(u, emit_i64(b_, part));
        prefetch(memory_.pointer(run.source, at));
        store(run, at, memory_.load(memory_.pointer(run.source, at), width_, mask));
      }
    });
  }

  /// A few elements: less than the mask of a vector costs.
  void emit_elements(const Run& run) {
    emit_loop(b_, run.begin, run.end, 1, [&](llvm::Value* u) {
      llvm::Value* const inside =
          b_.CreateAnd(b_.CreateICmpSGE(u, run.low), b_.CreateICmpSLT(u, run.high));
      store(run, u,
            either(
                inside,
                [&] {
                  llvm::Value* const place =
                      emit_mul_add(b_, params_, u, run_.coef, emit_i64(b_, 0));
                  return memory_.load(memory_.pointer(run.source, place), 0);
                },
                [&] { return llvm::Constant::getNullValue(element_); }));
    });
  }

  /// A vector from position u on, zero outside.
  llvm::Value* load(const Run& run, llvm::Value* u) {
    if (!run.stepped.empty()) return stepped_load(run, u);
    if (is_always(run_.coef, 1)) return contiguous_load(run, u);
    return is_always(run_.coef, 2) ? every_second_load(run, u) : strided_load(run, u);
  }

  llvm::Align align() const { return llvm::Align(static_cast<uint64_t>(size_of(plan_.dtype))); }
  /// The low bits of a word as a mask.
  llvm::Value* to_mask(llvm::Value* word) {
    return b_.CreateBitCast(b_.CreateTrunc(word, b_.getIntNTy(width_)),
                            llvm::FixedVectorType::get(b_.getInt1Ty(), width_));
  }
  llvm::Value* lane_mask(const Run& run, llvm::Value* u) {
    return emit_lane_mask(b_, b_.CreateSub(run.low, u), b_.CreateSub(run.high, u), width_,
                          size_of(plan_.dtype), target_);
  }
  llvm::Value* plain_load(const Run& run, llvm::Value* u) {
    return memory_.load(memory_.pointer(run.source, u), width_);
  }
  llvm::Value* masked_load(const Run& run, llvm::Value* u) {
    return memory_.load(memory_.pointer(run.source, u), width_, lane_mask(run, u));
  }

  /// Masked on machines with masks; elsewhere only where some lane is outside.
  llvm::Value* contiguous_load(const Run& run, llvm::Value* u) {
    if (target_.has_masks) return masked_load(run, u);
    return either(
        all_inside(run, u), [&] { return plain_load(run, u); },
        [&] { return masked_load(run, u); });
  }

  /// Whether a vector from run position u on lies inside.
  llvm::Value* all_inside(const Run& run, llvm::Value* u) {
    return b_.CreateAnd(b_.CreateICmpSGE(u, run.low),
                        b_.CreateICmpSLE(b_.CreateAdd(u, emit_i64(b_, width_)), run.high));
  }

  /// One of two values, by a branch.
  template <class Then, class Otherwise>
  llvm::Value* either(llvm::Value* condition, Then then, Otherwise otherwise) {
    std::vector<std::pair<llvm::Value*, llvm::BasicBlock*>> values;
    emit_if(
        b_, condition, [&] { values.emplace_back(then(), b_.GetInsertBlock()); },
        [&] { values.emplace_back(otherwise(), b_.GetInsertBlock()); });
    llvm::PHINode* const value = b_.CreatePHI(values[0].first->getType(), 2);
    for (const auto& [of_way, end] : values) value->addIncoming(of_way, end);
    return value;
  }

  /// Two vectors of neighbours, of which every second place is kept.
  llvm::Value* every_second_load(const Run& run, llvm::Value* u) {
    if (target_.has_masks) return masked_every_second_load(run, u);
    return either(
        all_inside(run, u),
        [&] {
          // The second vector ends at the last element: nothing behind it is read.
          llvm::Value* const at =
              memory_.pointer(run.source, emit_mul_add(b_, u, 2, emit_i64(b_, 0)));
          std::vector<int> places;
          for (int l = 0; l < static_cast<int>(width_); ++l)
            places.push_back(2 * l < static_cast<int>(width_) ? 2 * l : 2 * l + 1);
          return b_.CreateShuffleVector(
              memory_.load(at, width_),
              memory_.load(memory_.pointer(at, emit_i64(b_, width_ - 1)), width_), places);
        },
        [&] { return masked_every_second_load(run, u); });
  }

  llvm::Value* masked_every_second_load(const Run& run, llvm::Value* u) {
    llvm::Value* const mask = lane_mask(run, u);
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
          run.source, emit_mul_add(b_, u, 2, emit_i64(b_, static_cast<int64_t>(half * width_))));
      halves[half] = memory_.load(at, width_, part);
    }
    for (unsigned l = 0; l < width_; ++l) evens.push_back(static_cast<int>(2 * l));
    return b_.CreateShuffleVector(halves[0], halves[1], evens);
  }

  llvm::Value* strided_load(const Run& run, llvm::Value* u) {
    llvm::Value* const lanes = emit_lane_numbers(b_, width_);
    llvm::Value* const places = b_.CreateMul(b_.CreateAdd(lanes, b_.CreateVectorSplat(width_, u)),
                                             b_.CreateVectorSplat(width_, params_.size(run_.coef)));
    return memory_.gather(run.source, places, lane_mask(run, u));
  }

  /// Dimensions that divide: only every s-th lane may lie on an element.
  llvm::Value* stepped_load(const Run& run, llvm::Value* u) {
    const auto splat = [&](llvm::Value* v) { return b_.CreateVectorSplat(width_, v); };
    const auto constant = [&](SymInt v) { return splat(params_.size(v)); };
    llvm::Value* const at = b_.CreateAdd(emit_lane_numbers(b_, width_), splat(u));
    llvm::Value* places =
        b_.CreateAdd(splat(run.address.offset), b_.CreateMul(at, constant(run_.coef)));
    llvm::Value* mask =
        b_.CreateAnd(b_.CreateICmpSGE(at, splat(run.low)), b_.CreateICmpSLT(at, splat(run.high)));
    for (const size_t i : run.stepped) {
      const CheckedDim& check = operand_.checks[i];
      llvm::Value* const x = b_.CreateAdd(splat(run.address.positions[i]),
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
  NumberOfPlan stride_;
  const Target& target_;
  ContractParams& params_;
  llvm::Function* function_;
  unsigned width_;
  ElementMemory memory_;
  llvm::Type* element_;
  Segment run_;
  SymInt ahead_ = 0;  ///< elements to the next row, if it is far
};

}  // namespace

Pack pack_runs(StepContext& step, const ContractPlan& plan, const WindowPacking& packing,
               NumberOfPlan stride) {
  return Pack(step, packing.operand, [&](llvm::Function* function) {
    RunPacker(function, plan, packing, stride, step.target, step.params).emit();
  });
}

}  // namespace coregrad
