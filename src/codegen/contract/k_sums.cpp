#include "codegen/contract/k_sums.h"

#include "base/checked.h"

#include <llvm/IR/Module.h>

#include <algorithm>

namespace coregrad {
namespace {

constexpr int64_t kChain = 128, kChainsOfSum = 8;

}  // namespace

KSums::KSums(llvm::Function* function, const ContractPlan& plan, ContractParams& params)
    : b_(llvm::BasicBlock::Create(function->getContext(), "entry", function)),
      function_(function),
      plan_(plan),
      params_(params),
      element_(contract_element_type(function->getContext(), plan.dtype)),
      vector_(llvm::FixedVectorType::get(element_, width())),
      align_(static_cast<uint64_t>(size_of(plan.dtype))),
      row_memory_(b_, plan.packs_rows() ? plan.dtype : plan.row_side.memory, plan.dtype),
      lane_memory_(b_, plan.packs_lanes() ? plan.dtype : plan.lane_side.memory, plan.dtype) {
  params_.start_shared(function->getArg(5), plan.has_symbols);
  // What is packed lies as the tile's shape says; runs have strides of their own.
  const auto between = [&](bool is_packed, SymInt elements) {
    return is_packed ? Distance{elements.number()} : distance(elements);
  };
  const auto distances = [&](const auto& packing) { return packing.distances(plan); };
  const Distances rows = std::visit(distances, plan.rows);
  const Distances lanes = std::visit(distances, plan.lanes);
  row_across_ = between(plan.packs_rows(), rows.across);
  row_k_ = between(plan.packs_rows(), rows.k);
  lane_across_ = between(plan.packs_lanes(), lanes.across);
  lane_k_ = between(plan.packs_lanes(), lanes.k);
  if (std::holds_alternative<RowRunsAlongK>(plan.rows))
    row_across_ =
        chosen([](const ContractPlan& p) { return std::get<RowRunsAlongK>(p.rows).stride; });
  if (std::holds_alternative<RowRunsAlongM>(plan.rows))
    row_k_ = chosen([](const ContractPlan& p) { return std::get<RowRunsAlongM>(p.rows).stride; });
  if (std::holds_alternative<LaneWindows>(plan.lanes))
    lane_k_ = chosen([](const ContractPlan& p) { return std::get<LaneWindows>(p.lanes).stride; });
  result_stride_ = chosen([](const ContractPlan& p) { return p.result_stride; });
  if (const auto* lanes = std::get_if<LaneWindows>(&plan.lanes))
    lane_table_ = plan.has_symbols ? table_among_parameters() : table(lanes->step_offsets(plan));
  if (const RowWindows* rows = plan.row_windows())
    row_table_ = table(rows->step_offsets(plan.k_block));
}

KSums::Distance KSums::distance(SymInt elements) {
  if (params_.is_constant(elements)) return {elements.number()};
  return {0, params_.size(elements)};
}

/// A distance that planning chooses.
KSums::Distance KSums::chosen(NumberOfPlan of) {
  if (!plan_.has_symbols) return {of(plan_)};
  return {0, params_.number(plan_, of)};
}

/// Steps of k that one call adds up, at most; of any number where other steps share the code.
int64_t KSums::most_steps(int64_t k_step) const {
  const int64_t chain = kChain * k_step;
  if (plan_.has_symbols && plan_.k.is_fixed && plan_.k.extent <= chain) return chain;
  if (plan_.any_size) return INT64_MAX;
  return plan_.is_dot() ? plan_.k.extent : plan_.k_block;
}

std::vector<llvm::Value*> KSums::emit_sums(size_t count, llvm::Value* k_count, int64_t k_step,
                                           const Step& step) {
  const std::vector<llvm::Value*> zeros(count, llvm::Constant::getNullValue(vector_));
  if (is_always(plan_.k.size, 0)) return zeros;
  State state{k_count, row_table_.start ? row_table_.start : function_->getArg(0),
              lane_table_.start ? lane_table_.start : function_->getArg(1)};
  if (!is_float(plan_.dtype) || most_steps(k_step) <= kChain * k_step) {
    state.insert(state.end(), zeros.begin(), zeros.end());
    state = emit_k_loop(state, k_step, step);
    return {state.begin() + kSums, state.end()};
  }
  return emit_chains(state, count, k_step, step);
}

/// Chain after chain, and their sums in memory; of steps that may be few the only chain's as it is.
std::vector<llvm::Value*> KSums::emit_chains(const State& start, size_t count, int64_t k_step,
                                             const Step& step) {
  const int64_t chain = kChain * k_step;
  llvm::Value* const is_long = most_steps(k_step) == INT64_MAX
                                   ? b_.CreateICmpSGT(start[kLeft], emit_i64(b_, chain))
                                   : nullptr;
  std::vector<llvm::Value*> levels = {emit_room(count)};
  if (most_steps(k_step) / kChainsOfSum > chain) levels.push_back(emit_room(count));
  const auto clear = [&] {
    for (llvm::Value* level : levels) emit_zeros(level, count);
  };
  if (is_long)
    emit_if(b_, is_long, clear);
  else
    clear();
  llvm::BasicBlock* const before = b_.GetInsertBlock();
  llvm::BasicBlock* const head = llvm::BasicBlock::Create(b_.getContext(), "chain", function_);
  llvm::BasicBlock* const done = llvm::BasicBlock::Create(b_.getContext(), "sum", function_);
  b_.CreateBr(head);
  b_.SetInsertPoint(head);
  std::vector<llvm::PHINode*> carried;
  for (llvm::Value* value : start) {
    carried.push_back(b_.CreatePHI(value->getType(), 2));
    carried.back()->addIncoming(value, before);
  }
  llvm::PHINode* const number = b_.CreatePHI(b_.getInt64Ty(), 2);
  number->addIncoming(emit_i64(b_, 1), before);
  llvm::Value* const steps = emit_min(b_, carried[kLeft], emit_i64(b_, chain));
  State part{steps, carried[kRows], carried[kLanes]};
  part.insert(part.end(), count, llvm::Constant::getNullValue(vector_));
  part = emit_k_loop(part, k_step, step);
  llvm::BasicBlock* const first_ends = b_.GetInsertBlock();
  llvm::BasicBlock* const all =
      is_long ? llvm::BasicBlock::Create(b_.getContext(), "all", function_) : nullptr;
  if (is_long) {
    llvm::BasicBlock* const keep = llvm::BasicBlock::Create(b_.getContext(), "keep", function_);
    b_.CreateCondBr(is_long, keep, all);
    b_.SetInsertPoint(keep);
  }
  const std::vector<llvm::Value*> only_chain(part.begin() + kSums, part.end());
  add_to(levels[0], only_chain);
  if (levels.size() > 1) {
    llvm::Value* const is_whole =
        b_.CreateICmpEQ(b_.CreateAnd(number, emit_i64(b_, kChainsOfSum - 1)), emit_i64(b_, 0));
    emit_if(b_, is_whole, [&] {
      add_to(levels[1], load_sums(levels[0], count));
      emit_zeros(levels[0], count);
    });
  }
  part[kLeft] = b_.CreateNSWSub(carried[kLeft], steps);
  for (size_t i = 0; i < carried.size(); ++i) carried[i]->addIncoming(part[i], b_.GetInsertBlock());
  number->addIncoming(b_.CreateNSWAdd(number, emit_i64(b_, 1)), b_.GetInsertBlock());
  b_.CreateCondBr(b_.CreateICmpSGT(part[kLeft], emit_i64(b_, 0)), head, done);
  b_.SetInsertPoint(done);
  if (levels.size() > 1) add_to(levels[1], load_sums(levels[0], count));
  std::vector<llvm::Value*> sums = load_sums(levels.back(), count);
  if (!is_long) return sums;
  llvm::BasicBlock* const chains_end = b_.GetInsertBlock();
  b_.CreateBr(all);
  b_.SetInsertPoint(all);
  for (size_t i = 0; i < count; ++i) {
    llvm::PHINode* const merged = b_.CreatePHI(vector_, 2);
    merged->addIncoming(only_chain[i], first_ends);
    merged->addIncoming(sums[i], chains_end);
    sums[i] = merged;
  }
  return sums;
}

/// Room for `count` vectors on the stack.
llvm::Value* KSums::emit_room(size_t count) {
  llvm::BasicBlock& entry = function_->getEntryBlock();
  return llvm::IRBuilder<>(&entry, entry.begin())
      .CreateAlloca(llvm::ArrayType::get(vector_, static_cast<uint64_t>(count)));
}

void KSums::emit_zeros(llvm::Value* room, size_t count) {
  for (size_t i = 0; i < count; ++i)
    b_.CreateStore(llvm::Constant::getNullValue(vector_), local(room, i));
}

std::vector<llvm::Value*> KSums::load_sums(llvm::Value* room, size_t count) {
  std::vector<llvm::Value*> sums;
  for (size_t i = 0; i < count; ++i) sums.push_back(b_.CreateLoad(vector_, local(room, i)));
  return sums;
}

void KSums::add_to(llvm::Value* room, std::span<llvm::Value* const> sums) {
  for (size_t i = 0; i < sums.size(); ++i)
    b_.CreateStore(sum_of(b_.CreateLoad(vector_, local(room, i)), sums[i]), local(room, i));
}

/// The state after all the steps that are left in `state`, at least one.
KSums::State KSums::emit_k_loop(State state, int64_t k_step, const Step& step) {
  const auto* const outer = std::get_if<OuterTile>(&plan_.tile);
  const int64_t unrolled = outer ? outer->steps_at_once : 1;
  // Blocks end where k_block or k_turn does; those of symbols are cut at whole vectors.
  const bool divides =
      plan_.has_symbols
          ? plan_.k.is_fixed && plan_.k.extent % unrolled == 0 && plan_.width % unrolled == 0
          : !plan_.any_size && plan_.k_turn % unrolled == 0 && plan_.k_block % unrolled == 0;
  if (unrolled > 1) state = emit_k_steps(state, k_step, unrolled, !divides, step);
  const bool may_be_none = plan_.has_symbols && plan_.k.size.lower_bound() < 1;
  if (unrolled == 1 || !divides)
    state = emit_k_steps(state, k_step, 1, unrolled > 1 || may_be_none, step);
  return state;
}

/// A loop that takes `unrolled` steps at once while so many are left. It runs at least once
/// unless it `may_skip`.
KSums::State KSums::emit_k_steps(const State& start, int64_t k_step, int64_t unrolled,
                                 bool may_skip, const Step& step) {
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
  State state(carried.begin(), carried.end());
  // From a step to the next: in a table of places, or in memory. Vectors of a dot tile run along k.
  const auto advance = [&](llvm::Value*& at, const Table& table, llvm::Type* element,
                           const Distance& k) {
    if (table.start)
      at = behind(table.entry, at, 1);
    else if (plan_.is_dot())
      at = behind(element, at, k_step);
    else
      at = behind(element, at, k, k_step);
  };
  for (int64_t i = 0; i < unrolled; ++i) {
    step(std::span(state).subspan(kSums), place(row_table_, 0, state[kRows]),
         place(lane_table_, 1, state[kLanes]));
    advance(state[kRows], row_table_, row_memory_.type(), row_k_);
    advance(state[kLanes], lane_table_, lane_memory_.type(), lane_k_);
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

KSums::Table KSums::table(const std::vector<int64_t>& offsets) {
  std::vector<uint32_t> entries;
  for (const int64_t offset : offsets) {
    COREGRAD_CHECK(offset >= 0 && offset <= INT32_MAX);
    entries.push_back(static_cast<uint32_t>(offset));
  }
  llvm::Constant* const data = llvm::ConstantDataArray::get(b_.getContext(), entries);
  return {new llvm::GlobalVariable(*function_->getParent(), data->getType(), true,
                                   llvm::GlobalValue::PrivateLinkage, data, "places"),
          b_.getInt32Ty()};
}

/// The phase's, at a distance from this function's parameters that is one of them.
KSums::Table KSums::table_among_parameters() {
  const auto distance =
      static_cast<int64_t>(params_.tables().back().param) - static_cast<int64_t>(params_.count());
  llvm::Value* const own = params_.address(params_.count());
  return {b_.CreateGEP(b_.getInt64Ty(), own, params_.add(distance)), b_.getInt64Ty()};
}

/// Where a step's elements lie: at `at` itself, or where the entry of the table there says.
llvm::Value* KSums::place(const Table& table, unsigned base, llvm::Value* at) {
  if (!table.start) return at;
  llvm::Value* const offset =
      b_.CreateAlignedLoad(table.entry, at, llvm::Align(table.entry->getBitWidth() / 8));
  return b_.CreateGEP(element_, function_->getArg(base), b_.CreateZExt(offset, b_.getInt64Ty()));
}

llvm::Value* KSums::row_at(llvm::Value* pointer, int64_t row) {
  if (const RowWindows* const windows = plan_.row_windows())
    return behind(row_memory_.type(), pointer, windows->row_offset(row) - windows->row_offset(0));
  return behind(row_memory_.type(), pointer, row_across_, row);
}

llvm::Value* KSums::result(int64_t row, int64_t lane) {
  return behind(element_, behind(element_, function_->getArg(2), result_stride_, row), lane);
}

llvm::Value* KSums::first_lanes(int64_t active) {
  std::vector<llvm::Constant*> bits;
  for (int64_t l = 0; l < plan_.width; ++l) bits.push_back(b_.getInt1(l < active));
  return llvm::ConstantVector::get(bits);
}

}  // namespace coregrad
