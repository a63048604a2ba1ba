// Dot tiles: vectors run along k in both operands; the lanes of their products are added up at the
// end.

#include "codegen/contract/k_sums.h"
#include "codegen/contract/tiles.h"

#include <algorithm>

namespace coregrad {
namespace {

class DotTileEmitter : KSums {
 public:
  DotTileEmitter(llvm::Function* function, const ContractPlan& plan, int64_t rows, int64_t lanes)
      : KSums(function, plan), rows_(rows), lanes_(lanes) {}

  void emit() {
    const int64_t width = plan_.width;
    std::vector<llvm::Value*> sums(static_cast<size_t>(rows_ * lanes_),
                                   llvm::Constant::getNullValue(vector_));
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
        b_.CreateAlignedStore(b_.CreateShuffleVector(totals, take),
                              result((first + r) * plan_.result_stride), align_);
      }
    }
    b_.CreateRetVoid();
  }

 private:
  /// One vector of steps of k, or those of `mask`.
  void step(std::span<llvm::Value*> acc, llvm::Value* a, llvm::Value* b, llvm::Value* mask) {
    const auto load = [&](ElementMemory& memory, llvm::Value* base, int64_t offset) {
      llvm::Value* const at = behind(memory.type(), base, offset);
      return mask ? memory.load(at, width(), mask) : memory.load(at, width());
    };
    std::vector<llvm::Value*> row_values;
    for (int64_t r = 0; r < rows_; ++r) row_values.push_back(load(row_memory_, a, r * row_.across));
    for (int64_t c = 0; c < lanes_; ++c) {
      llvm::Value* const lane = load(lane_memory_, b, c * lane_.across);
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

void emit_dot_tile(llvm::Function* function, const ContractPlan& plan, int64_t rows,
                   int64_t lanes) {
  DotTileEmitter(function, plan, rows, lanes).emit();
}

}  // namespace coregrad
