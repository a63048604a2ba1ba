// Outer tiles: at each step of k, row elements are broadcast and multiplied by vectors of lanes.

#include "base/checked.h"
#include "codegen/contract/k_sums.h"
#include "codegen/contract/tiles.h"

namespace coregrad {
namespace {

constexpr int64_t kPrefetchSteps = 8;

class OuterTileEmitter : KSums {
 public:
  OuterTileEmitter(llvm::Function* function, const ContractPlan& plan, const TileSize& size,
                   const Target& target, ContractParams& params)
      : KSums(function, plan, params),
        target_(target),
        rows_(size.rows),
        lanes_(size.lanes),
        vectors_(ceil_div(size.lanes, plan.width)) {
    if (!size.is_cut) return;
    llvm::Value* const active =
        params.number(plan, [](const ContractPlan& p) { return p.last_lanes(); });
    for (int64_t v = 0; v < vectors_; ++v)
      cut_.push_back(emit_lane_mask(b_, emit_i64(b_, 0),
                                    b_.CreateSub(active, emit_i64(b_, v * plan.width)), width(),
                                    size_of(plan.dtype), target));
  }

  void emit() {
    std::vector<llvm::Value*> sums = emit_sums(
        static_cast<size_t>(rows_ * vectors_), function_->getArg(3), 1,
        [&](std::span<llvm::Value*> acc, llvm::Value* a, llvm::Value* b) { add_step(acc, a, b); });
    if (plan_.may_cut_k()) add_blocks_before(sums);
    for_each_sum([&](size_t i, llvm::Value* place, int64_t active) {
      if (plan_.writes_result && active < plan_.width)
        b_.CreateMaskedStore(sums[i], place, align_, first_lanes(active));
      else
        b_.CreateAlignedStore(sums[i], place, align_);
    });
    b_.CreateRetVoid();
  }

 private:
  /// visit(number, place in the result, lanes from there to the tile's last) for each vector.
  template <class Visit>
  void for_each_sum(Visit visit) {
    size_t i = 0;
    for (int64_t r = 0; r < rows_; ++r)
      for (int64_t v = 0; v < vectors_; ++v)
        visit(i++, result(r, v * plan_.width), lanes_ - v * plan_.width);
  }

  void add_step(std::span<llvm::Value*> acc, llvm::Value* a, llvm::Value* b) {
    std::vector<llvm::Value*> lane_values;
    for (int64_t v = 0; v < vectors_; ++v) lane_values.push_back(load_lanes(b, v));
    // Rows of lanes lie apart, which the machine's own prefetching does not follow.
    const int64_t in_a_line = ceil_div(64, plan_.width * size_of(plan_.dtype));
    for (int64_t v = 0; v < vectors_ && !lanes_are_near(); v += in_a_line) {
      llvm::Value* const ahead = behind(lane_memory_.type(), lanes_ahead(b), v * plan_.width);
      b_.CreateIntrinsic(llvm::Intrinsic::prefetch, {b_.getPtrTy()},
                         {ahead, b_.getInt32(0), b_.getInt32(3), b_.getInt32(1)});
    }
    auto sum = acc.begin();
    for (int64_t r = 0; r < rows_; ++r) {
      llvm::Value* const splat = b_.CreateVectorSplat(width(), row_memory_.load(row_at(a, r), 0));
      for (llvm::Value* lanes : lane_values) {
        *sum = emit_multiply_add(b_, splat, lanes, *sum);
        ++sum;
      }
    }
  }

  /// Adds the sums of the blocks of k before, which lie in the result.
  void add_blocks_before(std::vector<llvm::Value*>& sums) {
    llvm::BasicBlock* const before = b_.GetInsertBlock();
    llvm::BasicBlock* const add = llvm::BasicBlock::Create(b_.getContext(), "add", function_);
    llvm::BasicBlock* const ready = llvm::BasicBlock::Create(b_.getContext(), "ready", function_);
    b_.CreateCondBr(function_->getArg(4), add, ready);
    b_.SetInsertPoint(add);
    std::vector<llvm::Value*> totals;
    for_each_sum([&](size_t i, llvm::Value* place, int64_t) {
      totals.push_back(sum_of(b_.CreateAlignedLoad(vector_, place, align_), sums[i]));
    });
    b_.CreateBr(ready);
    b_.SetInsertPoint(ready);
    for (size_t i = 0; i < sums.size(); ++i) {
      llvm::PHINode* const merged = b_.CreatePHI(vector_, 2);
      merged->addIncoming(sums[i], before);
      merged->addIncoming(totals[i], add);
      sums[i] = merged;
    }
  }

  /// Whether all packed lanes are in the first cache, where packing has just put them.
  bool lanes_are_near() const {
    return !plan_.any_size && plan_.packs_lanes() &&
           plan_.lane_pack_elements * size_of(plan_.dtype) <= target_.l1_bytes;
  }

  /// From lanes to those some steps of k later, or, where a window reads lanes again, to the next
  /// that no step has read. In memory there is nothing behind the last of few steps: then to those
  /// of the next panel.
  llvm::Value* lanes_ahead(llvm::Value* lanes) {
    if (!plan_.any_size && !plan_.packs_lanes() && plan_.k_block <= 4 * kPrefetchSteps)
      return behind(lane_memory_.type(), lanes, lanes_);
    return behind(lane_memory_.type(), lanes, lane_k_,
                  ceil_div(kPrefetchSteps, plan_.lane_windows.steps()));
  }

  /// Vector v of a k row; in place, lanes behind the last are not read.
  llvm::Value* load_lanes(llvm::Value* base, int64_t v) {
    llvm::Value* const at = behind(lane_memory_.type(), base, v * plan_.width);
    if (!cut_.empty()) return lane_memory_.load(at, width(), cut_[static_cast<size_t>(v)]);
    const int64_t active = std::min(plan_.width, lanes_ - v * plan_.width);
    if (active < plan_.width && !plan_.packs_lanes())
      return lane_memory_.load(at, width(), first_lanes(active));
    return lane_memory_.load(at, width());
  }

  const Target& target_;
  int64_t rows_, lanes_, vectors_;
  std::vector<llvm::Value*> cut_;  ///< masks of the lanes that are there, if some may not be
};

}  // namespace

void emit_outer_tile(llvm::Function* function, const ContractPlan& plan, const TileSize& size,
                     const Target& target, ContractParams& params) {
  OuterTileEmitter(function, plan, size, target, params).emit();
}

}  // namespace coregrad
