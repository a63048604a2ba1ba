#pragma once
// Sums of products over k in vector registers: what outer and dot tiles have in common.
//
// A sum of floats has three levels, so that its rounding errors do not grow with k: so many
// products are added up in a register, so many of those sums in memory of the stack, and those of
// all blocks in the result. (A chain of n additions has an error of sqrt(n) roundings or, where all
// terms have one sign, n / 2 of them.)

#include "codegen/contract/step_context.h"

#include <llvm/IR/IRBuilder.h>

#include <functional>
#include <span>
#include <vector>

namespace coregrad {

/// A micro-kernel under construction.
class KSums {
 public:
  KSums(llvm::Function* function, const ContractPlan& plan, ContractParams& params);

 protected:
  /// Adds the products of one step to the sums; operands lie at the two pointers.
  using Step = std::function<void(std::span<llvm::Value*>, llvm::Value*, llvm::Value*)>;

  /// `count` vectors of sums over k_count steps of k, `k_step` at a time.
  std::vector<llvm::Value*> emit_sums(size_t count, llvm::Value* k_count, int64_t k_step,
                                      const Step& step);
  llvm::Value* sum_of(llvm::Value* a, llvm::Value* b) {
    return is_float(plan_.dtype) ? b_.CreateFAdd(a, b) : b_.CreateAdd(a, b);
  }
  /// So many elements behind a pointer.
  llvm::Value* behind(llvm::Type* type, llvm::Value* pointer, int64_t elements) {
    return b_.CreateConstGEP1_64(type, pointer, static_cast<uint64_t>(elements));
  }
  /// From an element to a neighbour: a constant or a parameter.
  struct Distance {
    int64_t number = 0;
    llvm::Value* value = nullptr;  ///< in place of the number
  };
  llvm::Value* behind(llvm::Type* type, llvm::Value* pointer, const Distance& distance,
                      int64_t times) {
    if (!distance.value) return behind(type, pointer, times * distance.number);
    return b_.CreateGEP(type, pointer, b_.CreateMul(distance.value, emit_i64(b_, times)));
  }
  /// A row of the operand of a tile whose first is at the pointer.
  llvm::Value* row_at(llvm::Value* pointer, int64_t row);
  /// An element of a row of the result.
  llvm::Value* result(int64_t row, int64_t lane);
  /// A mask of the first lanes.
  llvm::Value* first_lanes(int64_t active);
  unsigned width() const { return static_cast<unsigned>(plan_.width); }

  llvm::IRBuilder<> b_;
  llvm::Function* function_;
  const ContractPlan& plan_;
  ContractParams& params_;
  /// Places of the steps of k, relative to the first, if windows are packed.
  struct Table {
    llvm::Value* start = nullptr;
    llvm::IntegerType* entry = nullptr;
  };
  Table row_table_, lane_table_;
  llvm::Type* element_;
  llvm::FixedVectorType* vector_;
  llvm::Align align_;
  ElementMemory row_memory_, lane_memory_;
  Distance row_across_, row_k_, lane_across_, lane_k_, result_stride_;

 private:
  /// Where a loop over steps of k stands: the steps left, the places of rows and lanes, the sums.
  using State = std::vector<llvm::Value*>;
  static constexpr size_t kLeft = 0, kRows = 1, kLanes = 2, kSums = 3;

  int64_t most_steps(int64_t k_step) const;
  Distance distance(SymInt elements);
  Distance chosen(NumberOfPlan of);
  std::vector<llvm::Value*> emit_chains(const State& start, size_t count, int64_t k_step,
                                        const Step& step);
  State emit_k_loop(State state, int64_t k_step, const Step& step);
  State emit_k_steps(const State& start, int64_t k_step, int64_t unrolled, bool may_skip,
                     const Step& step);
  llvm::Value* emit_room(size_t count);
  void emit_zeros(llvm::Value* room, size_t count);
  llvm::Value* local(llvm::Value* room, size_t i) {
    return b_.CreateConstGEP1_64(vector_, room, static_cast<uint64_t>(i));
  }
  std::vector<llvm::Value*> load_sums(llvm::Value* room, size_t count);
  void add_to(llvm::Value* room, std::span<llvm::Value* const> sums);
  Table table(const std::vector<int64_t>& offsets);
  Table table_among_parameters();
  llvm::Value* place(const Table& table, unsigned base, llvm::Value* at);
};

}  // namespace coregrad
