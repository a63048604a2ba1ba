// Packs lanes whose memory is contiguous along k: transposed in registers.

#include "base/checked.h"
#include "codegen/contract/operand_address.h"
#include "codegen/contract/pack.h"
#include "codegen/ir/control_flow.h"

#include <llvm/IR/Module.h>

namespace coregrad {
namespace {

class TransposePacker {
 public:
  TransposePacker(llvm::Function* function, const ContractPlan& plan, const Target& target,
                  ContractParams& params)
      : b_(llvm::BasicBlock::Create(function->getContext(), "entry", function)),
        function_(function),
        plan_(plan),
        operand_(plan.lane_side),
        machine_(target),
        params_(params),
        lanes_(plan.segments(operand_, plan.n)),
        outer_(plan.segments(operand_, plan.k)),
        run_(outer_.back()),
        memory_(b_, operand_.memory, plan.dtype),
        element_(contract_element_type(function->getContext(), plan.dtype)),
        width_(static_cast<unsigned>(plan.width)),
        block_(16 / static_cast<unsigned>(size_of(plan.dtype))) {
    COREGRAD_CHECK(operand_.checks.empty() && is_always(run_.coef, 1));
    outer_.pop_back();
  }

  void emit() {
    llvm::Value *const n0 = function_->getArg(4), *const n1 = function_->getArg(5);
    const PartialAddress base = emit_pack_base(b_, params_, plan_, operand_, function_);
    emit_loop(b_, n0, n1, width_, [&](llvm::Value* first) {
      llvm::Value* const n = find_lanes(base, first, n1);
      target_ = b_.CreateGEP(element_, function_->getArg(6), b_.CreateSub(n, n0));
      emit_steps();
    });
    b_.CreateRetVoid();
  }

 private:
  /// Where each lane of a vector from `first` on lies, at k = 0; the first lane that is meant.
  llvm::Value* find_lanes(const PartialAddress& base, llvm::Value* first, llvm::Value* n1) {
    // The last vector of lanes is moved back to end at the last lane: it repeats lanes that are
    // packed already, in front of n0 if need be, where the row before has its padding.
    const bool moves_back = lanes_.size() == 1 && SymInt::is_at_most(plan_.width, plan_.n.size);
    llvm::Value* const n =
        moves_back ? emit_min(b_, first, params_.size(plan_.n.size - plan_.width)) : first;
    sources_.clear();
    llvm::Value* lane_step = nullptr;
    for (unsigned l = 0; l < width_; ++l) {
      PartialAddress lane = base;
      if (moves_back) {
        emit_advance(b_, params_, operand_, lanes_, n, lane);
        if (l == 0) lane_step = params_.size(lanes_[0].coef);
        lane.offset = b_.CreateAdd(lane.offset, b_.CreateMul(lane_step, emit_i64(b_, l)));
      } else {
        // Lanes behind the last one repeat it: they are not used, but must be readable.
        emit_advance(
            b_, params_, operand_, lanes_,
            emit_min(b_, b_.CreateAdd(n, emit_i64(b_, l)), b_.CreateSub(n1, emit_i64(b_, 1))),
            lane);
      }
      sources_.push_back(lane.offset);
    }
    return n;
  }

  /// The vector's steps k0 .. k1, in pieces of one run.
  void emit_steps() {
    llvm::Value *const k0 = function_->getArg(2), *const k1 = function_->getArg(3);
    llvm::Value* const extent = params_.size(run_.extent);
    const RunStart start =
        outer_.empty() ? RunStart{emit_i64(b_, 0), k0} : emit_run_start(b_, k0, extent);
    emit_runs(b_, start, k0, k1, b_.CreateICmpSLT(k0, k1),
              [&](llvm::Value* k, llvm::Value* number, llvm::Value* u) {
                PartialAddress here{emit_i64(b_, 0), {}};
                if (!outer_.empty()) emit_advance(b_, params_, operand_, outer_, number, here);
                llvm::Value* const place = b_.CreateAdd(here.offset, u);
                llvm::Value* const length =
                    emit_min(b_, b_.CreateSub(extent, u), b_.CreateSub(k1, k));
                // All of a cache line that a lane's row of memory brings is used while it is there:
                // rows that lie a power of two apart push each other out of the caches.
                const unsigned blocks = run_.extent.hint() >= plan_.width ? width_ / block_ : 1;
                const auto multiple_of = [&](unsigned steps) {
                  return b_.CreateAnd(length, emit_i64(b_, -static_cast<int64_t>(steps)));
                };
                llvm::Value *const lines = multiple_of(blocks * block_), *const whole =
                                                                             multiple_of(block_);
                const auto copy = [&](llvm::Value* i, llvm::Value* mask, unsigned count) {
                  llvm::Value* const from = b_.CreateAdd(place, i);
                  emit_blocks(from, b_.CreateAdd(k, i), mask, count);
                };
                emit_loop(b_, emit_i64(b_, 0), lines, blocks * block_,
                          [&](llvm::Value* i) { copy(i, nullptr, blocks); });
                if (blocks > 1)
                  emit_loop(b_, lines, whole, block_, [&](llvm::Value* i) { copy(i, nullptr, 1); });
                emit_if(b_, b_.CreateICmpSLT(whole, length), [&] {
                  copy(whole,
                       emit_lane_mask(b_, emit_i64(b_, 0), b_.CreateSub(length, whole), block_,
                                      size_of(plan_.dtype), machine_),
                       1);
                });
                return length;
              });
  }

  /// `count` blocks of steps from k on, whose elements of a lane lie at `place` from the lane's
  /// first. In a block, vector j collects lanes j, j + block, j + 2 * block, ..
  void emit_blocks(llvm::Value* place, llvm::Value* k, llvm::Value* mask, unsigned count) {
    llvm::Type *const piece = memory_.type(block_), *const vector = memory_.type(width_);
    llvm::Value* const source = memory_.pointer(function_->getArg(0), place);
    std::vector<std::vector<llvm::Value*>> rows(count, std::vector<llvm::Value*>(block_));
    for (unsigned j = 0; j < block_; ++j) {
      for (unsigned part = 0; part < width_ / block_; ++part) {
        for (unsigned i = 0; i < count; ++i) {
          llvm::Value* const from = memory_.pointer(
              source, b_.CreateAdd(sources_[part * block_ + j], emit_i64(b_, int64_t{i} * block_)));
          llvm::Value* const loaded =
              mask ? static_cast<llvm::Value*>(b_.CreateMaskedLoad(
                         piece, from, memory_.align(), mask, llvm::Constant::getNullValue(piece)))
                   : b_.CreateAlignedLoad(piece, from, memory_.align());
          llvm::Value*& row = rows[i][j];
          if (width_ == block_) {
            row = loaded;
            continue;
          }
          if (part == 0) row = llvm::PoisonValue::get(vector);
          row = b_.CreateInsertVector(vector, row, loaded, emit_i64(b_, part * block_));
        }
      }
    }
    for (unsigned i = 0; i < count; ++i) {
      for (llvm::Value*& row : rows[i]) row = memory_.cast(row);
      transpose_blocks(b_, rows[i], plan_.width);
      for (unsigned j = 0; j < block_; ++j) {
        llvm::Value* const row =
            b_.CreateAdd(b_.CreateSub(k, function_->getArg(2)), emit_i64(b_, i * block_ + j));
        b_.CreateAlignedStore(
            rows[i][j],
            b_.CreateGEP(element_, target_,
                         emit_mul_add(b_, row, plan_.tile_lanes, emit_i64(b_, 0))),
            llvm::Align(static_cast<uint64_t>(size_of(plan_.dtype))));
      }
    }
  }

  llvm::IRBuilder<> b_;
  llvm::Function* function_;
  const ContractPlan& plan_;
  const AffineOperand& operand_;
  const Target& machine_;
  ContractParams& params_;
  std::vector<Segment> lanes_, outer_;  ///< outer_: of k, around the run
  Segment run_;
  ElementMemory memory_;
  llvm::Type* element_;
  unsigned width_, block_;             ///< block_: steps of k in 16 bytes
  std::vector<llvm::Value*> sources_;  ///< of the lanes of the vector that is being packed
  llvm::Value* target_ = nullptr;      ///< of its first step
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

Pack pack_transposed(StepContext& step) {
  return Pack(step, step.plan.lane_side, [&](llvm::Function* function) {
    TransposePacker(function, step.plan, step.target, step.params).emit();
  });
}

}  // namespace coregrad
