// Dot tiles: vectors run along k in both operands; the lanes of their products are added up at the
// end.

#include "codegen/contract/k_sums.h"
#include "codegen/contract/tiles.h"

#include <algorithm>

namespace coregrad {
namespace {

class DotTileEmitter : KSums {
 public:
  DotTileEmitter(llvm::Function* function, const ContractPlan& plan, const TileSize& size,
                 ContractParams& params)
      : KSums(function, plan, params), rows_(size.rows), lanes_(size.lanes) {}

  void emit() {
    const int64_t width = plan_.width;
    std::vector<llvm::Value*> sums(static_cast<size_t>(rows_ * lanes_),
                                   llvm::Constant::getNullValue(vector_));
    if (!plan_.k.is_fixed) {
      sums = emit_any_k(sums);
      return emit_results(sums);
    }
    const int64_t rest = plan_.k.extent % width, whole = plan_.k.extent - rest;
    if (whole > 0)
      sums = emit_sums(sums.size(), emit_i64(b_, whole), width,
                       [&](std::span<llvm::Value*> acc, llvm::Value* a, llvm::Value* b) {
                         step(acc, a, b, nullptr);
                       });
    if (rest > 0) {
      llvm::Value* const a = behind(row_memory_.type(), function_->getArg(0), whole);
      llvm::Value* const b = behind(lane_memory_.type(), function_->getArg(1), whole);
      step(sums, a, b, first_lanes(rest));
    }
    emit_results(sums);
  }

 private:
  /// Whole vectors, and a mask for the last.
  std::vector<llvm::Value*> emit_any_k(std::vector<llvm::Value*> sums) {
    llvm::Value* const k = params_.size(plan_.k.size);
    llvm::Value* const whole = b_.CreateAnd(k, emit_i64(b_, -plan_.width));
    llvm::Value* const rest = b_.CreateSub(k, whole);
    sums = emit_if_any(whole, sums, [&](std::vector<llvm::Value*>) {
      return emit_sums(sums.size(), whole, plan_.width,
                       [&](std::span<llvm::Value*> acc, llvm::Value* a, llvm::Value* b) {
                         step(acc, a, b, nullptr);
                       });
    });
    return emit_if_any(rest, sums, [&](std::vector<llvm::Value*> more) {
      llvm::Value* const mask =
          b_.CreateICmpSLT(emit_lane_numbers(b_, width()), b_.CreateVectorSplat(width(), rest));
      step(more, b_.CreateGEP(row_memory_.type(), function_->getArg(0), whole),
           b_.CreateGEP(lane_memory_.type(), function_->getArg(1), whole), mask);
      return more;
    });
  }

  /// The sums, or where `count` is not 0, what `change` makes of them.
  template <class Change>
  std::vector<llvm::Value*> emit_if_any(llvm::Value* count, const std::vector<llvm::Value*>& sums,
                                        Change change) {
    llvm::BasicBlock* const before = b_.GetInsertBlock();
    llvm::BasicBlock* const some = llvm::BasicBlock::Create(b_.getContext(), "some", function_);
    llvm::BasicBlock* const join = llvm::BasicBlock::Create(b_.getContext(), "join", function_);
    b_.CreateCondBr(b_.CreateICmpNE(count, emit_i64(b_, 0)), some, join);
    b_.SetInsertPoint(some);
    const std::vector<llvm::Value*> changed = change(sums);
    llvm::BasicBlock* const changed_in = b_.GetInsertBlock();
    b_.CreateBr(join);
    b_.SetInsertPoint(join);
    std::vector<llvm::Value*> result;
    for (size_t i = 0; i < sums.size(); ++i) {
      llvm::PHINode* const merged = b_.CreatePHI(vector_, 2);
      merged->addIncoming(sums[i], before);
      merged->addIncoming(changed[i], changed_in);
      result.push_back(merged);
    }
    return result;
  }

  void emit_results(const std::vector<llvm::Value*>& sums) {
    const int64_t width = plan_.width;
    // Sums of `group` rows at a time land in the lanes of one vector.
    const int64_t group = std::max<int64_t>(1, width / lanes_);
    for (int64_t first = 0; first < rows_; first += group) {
      const int64_t rows = std::min(group, rows_ - first);
      const auto begin = sums.begin() + first * lanes_;
      std::vector<llvm::Value*> part(begin, begin + rows * lanes_);
      part.resize(static_cast<size_t>(width), llvm::Constant::getNullValue(vector_));
      llvm::Value* const totals = sum_lanes(part);
      for (int64_t r = 0; r < rows; ++r) {
        std::vector<int> take;
        for (int64_t c = 0; c < lanes_; ++c) take.push_back(static_cast<int>(r * lanes_ + c));
        b_.CreateAlignedStore(b_.CreateShuffleVector(totals, take), result(first + r, 0), align_);
      }
    }
    b_.CreateRetVoid();
  }

  /// One vector of steps of k, or those of `mask`.
  void step(std::span<llvm::Value*> acc, llvm::Value* a, llvm::Value* b, llvm::Value* mask) {
    const auto load = [&](ElementMemory& memory, llvm::Value* base, const Distance& across,
                          int64_t number) {
      llvm::Value* const at = behind(memory.type(), base, across, number);
      return mask ? memory.load(at, width(), mask) : memory.load(at, width());
    };
    std::vector<llvm::Value*> row_values;
    for (int64_t r = 0; r < rows_; ++r) row_values.push_back(load(row_memory_, a, row_across_, r));
    for (int64_t c = 0; c < lanes_; ++c) {
      llvm::Value* const lane = load(lane_memory_, b, lane_across_, c);
      for (size_t r = 0; r < row_values.size(); ++r) {
        llvm::Value*& sum = acc[r * static_cast<size_t>(lanes_) + static_cast<size_t>(c)];
        sum = emit_multiply_add(b_, row_values[r], lane, sum);
      }
    }
  }

  /// Lane j of the result is the sum of the lanes of parts[j]; parts has `width` vectors.
  llvm::Value* sum_lanes(std::vector<llvm::Value*> parts) {
    for (unsigned h = width() / 2; h >= 1; h /= 2) {
      std::vector<int> low, high;
      for (unsigned j = 0; j < width(); ++j) {
        low.push_back(static_cast<int>((j & h) == 0 ? j : width() + j - h));
        high.push_back(static_cast<int>((j & h) == 0 ? j + h : width() + j));
      }
      for (unsigned i = 0; i < h; ++i) {
        llvm::Value *const x = parts[i], *const y = parts[i + h];
        llvm::Value *const lower = b_.CreateShuffleVector(x, y, low), *const upper =
                                                                          b_.CreateShuffleVector(
                                                                              x, y, high);
        parts[i] = sum_of(lower, upper);
      }
    }
    return parts[0];
  }

  int64_t rows_, lanes_;
};

}  // namespace

void emit_dot_tile(llvm::Function* function, const ContractPlan& plan, const TileSize& size,
                   ContractParams& params) {
  DotTileEmitter(function, plan, size, params).emit();
}

}  // namespace coregrad
