#include "codegen/contract/micro.h"

#include "base/checked.h"
#include "base/error.h"
#include "codegen/contract/operand_address.h"

#include <llvm/IR/Module.h>

#include <span>
#include <vector>

namespace coregrad {
namespace {

constexpr int64_t kPrefetchSteps = 8;
// A sum of floats has three levels, so that its rounding errors do not grow with k: so many
// products are added up in a register, so many of those sums in memory of the stack, and those of
// all blocks in the result. (A chain of n additions has an error of sqrt(n) roundings or, where all
// terms have one sign, n / 2 of them.)
constexpr int64_t kChain = 128, kChainsOfSum = 8;

/// Distances in elements between neighbours of a tile's operands.
struct Steps {
  int64_t row = 0, row_k = 0;    ///< row side: next row, next k
  int64_t lane = 1, lane_k = 0;  ///< lane side: next lane, next k
};

Steps steps_of(const ContractPlan& plan) {
  Steps steps;
  switch (plan.row_packing) {
    case RowPacking::InPlace:
      steps.row = segments_of(plan.row_side, plan.m, plan.extents).back().coef;
      steps.row_k = segments_of(plan.row_side, plan.k, plan.extents).back().coef;
      break;
    case RowPacking::RunsAlongK:
      steps.row = plan.row_stride, steps.row_k = 1;
      break;
    case RowPacking::RunsAlongM:
    case RowPacking::Panels:
      steps.row = 1, steps.row_k = plan.row_stride;
      break;
    case RowPacking::Windows:  // rows and steps of k come from tables
      break;
  }
  if (plan.lane_packing == LanePacking::InPlace) {
    steps.lane = segments_of(plan.lane_side, plan.n, plan.extents).back().coef;
    steps.lane_k = segments_of(plan.lane_side, plan.k, plan.extents).back().coef;
  } else {
    steps.lane_k = plan.lane_stride;
  }
  return steps;
}

class MicroKernel {
 public:
  MicroKernel(llvm::Function* function, const ContractPlan& plan, int64_t rows, int64_t lanes,
              const Target& target)
      : b_(llvm::BasicBlock::Create(function->getContext(), "entry", function)),
        function_(function),
        plan_(plan),
        target_(target),
        rows_(rows),
        lanes_(lanes),
        steps_(steps_of(plan)),
        element_(contract_element_type(function->getContext(), plan.dtype)),
        vector_(llvm::FixedVectorType::get(element_, static_cast<unsigned>(plan.width))),
        align_(static_cast<uint64_t>(size_of(plan.dtype))),
        row_memory_(b_, plan.row_packing == RowPacking::InPlace ? plan.row_side.memory : plan.dtype,
                    plan.dtype),
        lane_memory_(b_,
                     plan.lane_packing == LanePacking::InPlace ? plan.lane_side.memory : plan.dtype,
                     plan.dtype) {
    if (plan.lane_windows.is_window()) lane_table_ = table(plan.lane_offsets());
    if (plan.row_packing == RowPacking::Windows) row_table_ = table(plan.row_offsets());
  }

  void emit_outer() {
    const int64_t width = plan_.width, vectors = ceil_div(lanes_, width);
    const size_t count = static_cast<size_t>(rows_ * vectors);
    const auto place = [&](size_t i) {
      const int64_t r = static_cast<int64_t>(i) / vectors, v = static_cast<int64_t>(i) % vectors;
      return b_.CreateConstGEP1_64(element_, function_->getArg(2),
                                   static_cast<uint64_t>(r * plan_.result_stride + v * width));
    };
    std::vector<llvm::Value*> sums =
        emit_sums(count, 1, [&](std::span<llvm::Value*> acc, llvm::Value* a, llvm::Value* b) {
          std::vector<llvm::Value*> lane_values;
          for (int64_t v = 0; v < vectors; ++v) lane_values.push_back(load_lanes(b, v));
          // Rows of lanes lie apart, which the machine's own prefetching does not follow.
          const int64_t in_a_line = ceil_div(64, width * size_of(plan_.dtype));
          for (int64_t v = 0; v < vectors && !lanes_are_near(); v += in_a_line) {
            llvm::Value* const ahead = b_.CreateConstGEP1_64(
                lane_memory_.type(), b, static_cast<uint64_t>(v * width + lanes_ahead()));
            b_.CreateIntrinsic(llvm::Intrinsic::prefetch, {b_.getPtrTy()},
                               {ahead, b_.getInt32(0), b_.getInt32(3), b_.getInt32(1)});
          }
          for (int64_t r = 0; r < rows_; ++r) {
            llvm::Value* const at =
                b_.CreateConstGEP1_64(row_memory_.type(), a, static_cast<uint64_t>(row_offset(r)));
            llvm::Value* const splat =
                b_.CreateVectorSplat(static_cast<unsigned>(width), row_memory_.load(at, 0));
            for (int64_t v = 0; v < vectors; ++v) {
              llvm::Value*& sum = acc[static_cast<size_t>(r * vectors + v)];
              sum = emit_multiply_add(b_, splat, lane_values[static_cast<size_t>(v)], sum);
            }
          }
        });
    // The sums of the k blocks before.
    if (plan_.num_k_blocks > 1) {
      llvm::BasicBlock* const before = b_.GetInsertBlock();
      llvm::BasicBlock* const add = llvm::BasicBlock::Create(b_.getContext(), "add", function_);
      llvm::BasicBlock* const ready = llvm::BasicBlock::Create(b_.getContext(), "ready", function_);
      b_.CreateCondBr(function_->getArg(4), add, ready);
      b_.SetInsertPoint(add);
      std::vector<llvm::Value*> totals;
      for (size_t i = 0; i < count; ++i)
        totals.push_back(sum_of(b_.CreateAlignedLoad(vector_, place(i), align_), sums[i]));
      b_.CreateBr(ready);
      b_.SetInsertPoint(ready);
      for (size_t i = 0; i < count; ++i) {
        llvm::PHINode* const merged = b_.CreatePHI(vector_, 2);
        merged->addIncoming(sums[i], before);
        merged->addIncoming(totals[i], add);
        sums[i] = merged;
      }
    }
    for (size_t i = 0; i < count; ++i) {
      const int64_t active = lanes_ - static_cast<int64_t>(i) % vectors * width;
      if (plan_.writes_result && active < width)
        b_.CreateMaskedStore(sums[i], place(i), align_, first_lanes(active));
      else
        b_.CreateAlignedStore(sums[i], place(i), align_);
    }
    b_.CreateRetVoid();
  }

  void emit_dot() {
    const int64_t width = plan_.width;
    const size_t count = static_cast<size_t>(rows_ * lanes_);
    const auto step = [&](std::span<llvm::Value*> acc, llvm::Value* a, llvm::Value* b,
                          llvm::Value* mask) {
      const auto load = [&](ElementMemory& memory, llvm::Value* base, int64_t offset) {
        llvm::Value* const at =
            b_.CreateConstGEP1_64(memory.type(), base, static_cast<uint64_t>(offset));
        const auto lanes = static_cast<unsigned>(width);
        return mask ? memory.load(at, lanes, mask) : memory.load(at, lanes);
      };
      std::vector<llvm::Value*> row_values;
      for (int64_t r = 0; r < rows_; ++r)
        row_values.push_back(load(row_memory_, a, r * steps_.row));
      for (int64_t c = 0; c < lanes_; ++c) {
        llvm::Value* const lane = load(lane_memory_, b, c * steps_.lane);
        for (int64_t r = 0; r < rows_; ++r) {
          llvm::Value*& sum = acc[static_cast<size_t>(r * lanes_ + c)];
          sum = emit_multiply_add(b_, row_values[static_cast<size_t>(r)], lane, sum);
        }
      }
    };
    std::vector<llvm::Value*> sums(count, llvm::Constant::getNullValue(vector_));
    const int64_t whole = plan_.k.extent / width * width, rest = plan_.k.extent - whole;
    if (whole > 0)
      sums = emit_sums(
          count, width,
          [&](std::span<llvm::Value*> acc, llvm::Value* a, llvm::Value* b) {
            step(acc, a, b, nullptr);
          },
          emit_i64(b_, whole));
    if (rest > 0) {
      llvm::Value* const a = b_.CreateConstGEP1_64(row_memory_.type(), function_->getArg(0),
                                                   static_cast<uint64_t>(whole));
      llvm::Value* const b = b_.CreateConstGEP1_64(lane_memory_.type(), function_->getArg(1),
                                                   static_cast<uint64_t>(whole));
      step(sums, a, b, first_lanes(rest));
    }
    // Sums of `group` rows at a time land in the lanes of one vector.
    const int64_t group = std::max<int64_t>(1, width / lanes_);
    for (int64_t first = 0; first < rows_; first += group) {
      const int64_t rows = std::min(group, rows_ - first);
      std::vector<llvm::Value*> part(static_cast<size_t>(width),
                                     llvm::Constant::getNullValue(vector_));
      for (int64_t i = 0; i < rows * lanes_; ++i)
        part[static_cast<size_t>(i)] = sums[static_cast<size_t>(first * lanes_ + i)];
      llvm::Value* const totals = sum_lanes(part);
      for (int64_t r = 0; r < rows; ++r) {
        std::vector<int> take;
        for (int64_t c = 0; c < lanes_; ++c) take.push_back(static_cast<int>(r * lanes_ + c));
        b_.CreateAlignedStore(
            b_.CreateShuffleVector(totals, take),
            b_.CreateConstGEP1_64(element_, function_->getArg(2),
                                  static_cast<uint64_t>((first + r) * plan_.result_stride)),
            align_);
      }
    }
    b_.CreateRetVoid();
  }

 private:
  /// Where a loop over steps of k stands: the steps left, the places of rows and lanes, the sums.
  using KState = std::vector<llvm::Value*>;
  static constexpr size_t kLeft = 0, kRows = 1, kLanes = 2, kSums = 3;

  /// Steps of k that one call adds up, at most.
  int64_t most_steps() const {
    if (plan_.any_size) return INT64_MAX;
    return plan_.kind == TileKind::Dot ? plan_.k.extent : plan_.k_block;
  }

  /// `count` sums over k_count steps of k (by default the call's), `k_step` at a time.
  template <class Step>
  std::vector<llvm::Value*> emit_sums(size_t count, int64_t k_step, Step step,
                                      llvm::Value* k_count = nullptr) {
    const std::vector<llvm::Value*> zeros(count, llvm::Constant::getNullValue(vector_));
    if (plan_.k.extent == 0) return zeros;
    KState state{k_count ? k_count : function_->getArg(3),
                 row_table_ ? static_cast<llvm::Value*>(row_table_) : function_->getArg(0),
                 lane_table_ ? static_cast<llvm::Value*>(lane_table_) : function_->getArg(1)};
    const int64_t chain = kChain * k_step;
    if (!is_float(plan_.dtype) || most_steps() <= chain) {
      state.insert(state.end(), zeros.begin(), zeros.end());
      state = emit_k_loop(state, k_step, step);
      return {state.begin() + kSums, state.end()};
    }
    std::vector<llvm::Value*> levels = {emit_zeros(count)};
    if (most_steps() / kChainsOfSum > chain) levels.push_back(emit_zeros(count));

    // Chain after chain.
    llvm::BasicBlock* const before = b_.GetInsertBlock();
    llvm::BasicBlock* const head = llvm::BasicBlock::Create(b_.getContext(), "chain", function_);
    llvm::BasicBlock* const done = llvm::BasicBlock::Create(b_.getContext(), "sum", function_);
    b_.CreateBr(head);
    b_.SetInsertPoint(head);
    std::vector<llvm::PHINode*> carried;
    for (llvm::Value* value : state) {
      carried.push_back(b_.CreatePHI(value->getType(), 2));
      carried.back()->addIncoming(value, before);
    }
    llvm::PHINode* const number = b_.CreatePHI(b_.getInt64Ty(), 2);
    number->addIncoming(emit_i64(b_, 1), before);
    llvm::Value* const steps = emit_min(b_, carried[kLeft], emit_i64(b_, chain));
    KState part{steps, carried[kRows], carried[kLanes]};
    part.insert(part.end(), zeros.begin(), zeros.end());
    part = emit_k_loop(part, k_step, step);
    add_to(levels[0], std::span(part).subspan(kSums));
    if (levels.size() > 1) {
      llvm::Value* const is_whole =
          b_.CreateICmpEQ(b_.CreateAnd(number, emit_i64(b_, kChainsOfSum - 1)), emit_i64(b_, 0));
      emit_if(b_, is_whole, [&] {
        add_to(levels[1], load_sums(levels[0], count));
        for (size_t i = 0; i < count; ++i)
          b_.CreateStore(llvm::Constant::getNullValue(vector_), local(levels[0], i));
      });
    }
    part[kLeft] = b_.CreateNSWSub(carried[kLeft], steps);
    for (size_t i = 0; i < carried.size(); ++i)
      carried[i]->addIncoming(part[i], b_.GetInsertBlock());
    number->addIncoming(b_.CreateNSWAdd(number, emit_i64(b_, 1)), b_.GetInsertBlock());
    b_.CreateCondBr(b_.CreateICmpSGT(part[kLeft], emit_i64(b_, 0)), head, done);
    b_.SetInsertPoint(done);
    if (levels.size() > 1) add_to(levels[1], load_sums(levels[0], count));
    return load_sums(levels.back(), count);
  }

  llvm::Value* sum_of(llvm::Value* a, llvm::Value* b) {
    return is_float(plan_.dtype) ? b_.CreateFAdd(a, b) : b_.CreateAdd(a, b);
  }

  /// Room for `count` vectors on the stack, all zero.
  llvm::Value* emit_zeros(size_t count) {
    llvm::BasicBlock& entry = function_->getEntryBlock();
    llvm::Value* const room =
        llvm::IRBuilder<>(&entry, entry.begin())
            .CreateAlloca(llvm::ArrayType::get(vector_, static_cast<uint64_t>(count)));
    for (size_t i = 0; i < count; ++i)
      b_.CreateStore(llvm::Constant::getNullValue(vector_), local(room, i));
    return room;
  }
  llvm::Value* local(llvm::Value* room, size_t i) {
    return b_.CreateConstGEP1_64(vector_, room, static_cast<uint64_t>(i));
  }
  std::vector<llvm::Value*> load_sums(llvm::Value* room, size_t count) {
    std::vector<llvm::Value*> sums;
    for (size_t i = 0; i < count; ++i) sums.push_back(b_.CreateLoad(vector_, local(room, i)));
    return sums;
  }
  void add_to(llvm::Value* room, std::span<llvm::Value* const> sums) {
    for (size_t i = 0; i < sums.size(); ++i)
      b_.CreateStore(sum_of(b_.CreateLoad(vector_, local(room, i)), sums[i]), local(room, i));
  }

  /// The state after all the steps that are left in `state`, at least one.
  template <class Step>
  KState emit_k_loop(KState state, int64_t k_step, Step step) {
    const int64_t unrolled = plan_.steps_at_once;
    // Blocks end where k_block or k_turn does.
    const bool divides =
        !plan_.any_size && plan_.k_turn % unrolled == 0 && plan_.k_block % unrolled == 0;
    if (unrolled > 1) state = emit_k_steps(state, k_step, unrolled, !divides, step);
    if (unrolled == 1 || !divides) state = emit_k_steps(state, k_step, 1, unrolled > 1, step);
    return state;
  }

  /// A loop that takes `unrolled` steps at once while so many are left. It runs at least once
  /// unless it `may_skip`.
  template <class Step>
  KState emit_k_steps(const KState& start, int64_t k_step, int64_t unrolled, bool may_skip,
                      Step step) {
    llvm::Value* const taken = emit_i64(b_, unrolled * k_step);
    llvm::BasicBlock* const before = b_.GetInsertBlock();
    llvm::BasicBlock* const loop = llvm::BasicBlock::Create(b_.getContext(), "k", function_);
    llvm::BasicBlock* const done = llvm::BasicBlock::Create(b_.getContext(), "k_done", function_);
    if (may_skip)
      b_.CreateCondBr(b_.CreateICmpSGE(start[kLeft], taken), loop, done);
    else
      b_.CreateBr(loop);
    b_.SetInsertPoint(loop);
    std::vector<llvm::PHINode*> carried;
    for (llvm::Value* value : start) {
      carried.push_back(b_.CreatePHI(value->getType(), 2));
      carried.back()->addIncoming(value, before);
    }
    KState state(carried.begin(), carried.end());
    const bool dot = plan_.kind == TileKind::Dot;
    const auto advance = [&](llvm::Value*& at, bool by_table, llvm::Type* element,
                             int64_t distance) {
      at = by_table ? b_.CreateConstGEP1_64(b_.getInt32Ty(), at, 1)
                    : b_.CreateConstGEP1_64(element, at, static_cast<uint64_t>(distance));
    };
    for (int64_t i = 0; i < unrolled; ++i) {
      step(std::span(state).subspan(kSums), place(row_table_, 0, state[kRows]),
           place(lane_table_, 1, state[kLanes]));
      advance(state[kRows], row_table_, row_memory_.type(), dot ? k_step : k_step * steps_.row_k);
      advance(state[kLanes], lane_table_, lane_memory_.type(),
              dot ? k_step : k_step * steps_.lane_k);
    }
    state[kLeft] = b_.CreateNSWSub(state[kLeft], taken);
    for (size_t i = 0; i < state.size(); ++i) carried[i]->addIncoming(state[i], loop);
    b_.CreateCondBr(b_.CreateICmpSGE(state[kLeft], taken), loop, done);
    b_.SetInsertPoint(done);
    if (!may_skip) return state;
    for (size_t i = 0; i < state.size(); ++i) {
      llvm::PHINode* const merged = b_.CreatePHI(state[i]->getType(), 2);
      merged->addIncoming(start[i], before);
      merged->addIncoming(state[i], loop);
      state[i] = merged;
    }
    return state;
  }

  /// Places of the steps of k, relative to the first.
  llvm::GlobalVariable* table(const std::vector<int64_t>& offsets) {
    std::vector<uint32_t> entries;
    for (const int64_t offset : offsets) {
      COREGRAD_CHECK(offset >= 0 && offset <= INT32_MAX);
      entries.push_back(static_cast<uint32_t>(offset));
    }
    llvm::Constant* const data = llvm::ConstantDataArray::get(b_.getContext(), entries);
    return new llvm::GlobalVariable(*function_->getParent(), data->getType(), true,
                                    llvm::GlobalValue::PrivateLinkage, data, "places");
  }

  /// Where a step's elements lie: at `at` itself, or where the entry of the table there says.
  llvm::Value* place(llvm::GlobalVariable* table, unsigned base, llvm::Value* at) {
    if (!table) return at;
    llvm::Value* const offset = b_.CreateAlignedLoad(b_.getInt32Ty(), at, llvm::Align(4));
    return b_.CreateGEP(element_, function_->getArg(base), b_.CreateZExt(offset, b_.getInt64Ty()));
  }

  /// From the tile's first row to another.
  int64_t row_offset(int64_t r) const {
    return row_table_ ? plan_.row_offset(r) - plan_.row_offset(0) : r * steps_.row;
  }

  /// Whether all packed lanes are in the first cache, where packing has just put them.
  bool lanes_are_near() const {
    return !plan_.any_size && plan_.lane_packing != LanePacking::InPlace &&
           plan_.lane_pack_elements * size_of(plan_.dtype) <= target_.l1_bytes;
  }

  /// From lanes to those some steps of k later, or, where a window reads lanes again, to the next
  /// that no step has read. In memory there is nothing behind the last of few steps: then to those
  /// of the next panel.
  int64_t lanes_ahead() const {
    if (!plan_.any_size && plan_.lane_packing == LanePacking::InPlace &&
        plan_.k_block <= 4 * kPrefetchSteps)
      return lanes_;
    if (!lane_table_) return kPrefetchSteps * steps_.lane_k;
    return ceil_div(kPrefetchSteps, plan_.lane_windows.steps()) * plan_.lane_stride;
  }

  llvm::Value* first_lanes(int64_t active) {
    std::vector<llvm::Constant*> bits;
    for (int64_t l = 0; l < plan_.width; ++l) bits.push_back(b_.getInt1(l < active));
    return llvm::ConstantVector::get(bits);
  }

  /// Vector v of a k row; in place, lanes behind the last are not read.
  llvm::Value* load_lanes(llvm::Value* base, int64_t v) {
    llvm::Value* const at =
        b_.CreateConstGEP1_64(lane_memory_.type(), base, static_cast<uint64_t>(v * plan_.width));
    const auto width = static_cast<unsigned>(plan_.width);
    const int64_t active = std::min(plan_.width, lanes_ - v * plan_.width);
    if (active < plan_.width && plan_.lane_packing == LanePacking::InPlace)
      return lane_memory_.load(at, width, first_lanes(active));
    return lane_memory_.load(at, width);
  }

  /// Lane j of the result is the sum of the lanes of parts[j]; parts has `width` vectors.
  llvm::Value* sum_lanes(std::vector<llvm::Value*> parts) {
    const auto width = static_cast<unsigned>(plan_.width);
    for (unsigned h = width / 2; h >= 1; h /= 2) {
      std::vector<int> low, high;
      for (unsigned j = 0; j < width; ++j) {
        low.push_back(static_cast<int>((j & h) == 0 ? j : width + j - h));
        high.push_back(static_cast<int>((j & h) == 0 ? j + h : width + j));
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

  llvm::IRBuilder<> b_;
  llvm::Function* function_;
  const ContractPlan& plan_;
  const Target& target_;
  int64_t rows_, lanes_;
  Steps steps_;
  llvm::GlobalVariable *row_table_ = nullptr, *lane_table_ = nullptr;  ///< if windows are packed
  llvm::Type* element_;
  llvm::FixedVectorType* vector_;
  llvm::Align align_;
  ElementMemory row_memory_, lane_memory_;
};

}  // namespace

llvm::Function* declare_micro_kernel(llvm::Module& module, const std::string& name) {
  llvm::LLVMContext& context = module.getContext();
  llvm::Type* const pointer = llvm::PointerType::get(context, 0);
  return declare_part(
      module, name,
      {pointer, pointer, pointer, llvm::Type::getInt64Ty(context), llvm::Type::getInt1Ty(context)},
      {0, 1, 2});
}

llvm::Function* emit_micro_kernel(llvm::Module& module, const std::string& name,
                                  const ContractPlan& plan, int64_t rows, int64_t lanes,
                                  const Target& target) {
  llvm::Function* const function = declare_micro_kernel(module, name);
  MicroKernel kernel(function, plan, rows, lanes, target);
  if (plan.kind == TileKind::Dot) {
    kernel.emit_dot();
  } else {
    kernel.emit_outer();
  }
  return function;
}

}  // namespace coregrad
