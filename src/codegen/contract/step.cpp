// The contraction step: units of (group of p, rows, lanes), each packed, multiplied and finished.
//
// In schedule/contract/:
//   plan            what is chosen; a file for each kind of tile (outer_tile, dot_tile,
//   matrix_tile) roles, packing  labels to rows, lanes and sums; how blocks lie in scratch windows
//   operands packed once for all steps of a window phases          windows that divide (input
//   gradients of strided convolutions) taken apart
// In this folder:
//   outer_tile, dot_tile, matrix_tile             micro-kernels
//   row_packing, lane_packing, matrix_packing     calls that pack, and where tiles find operands
//   pack, pack_runs, pack_transposed              what is called
//   epilogue                                      from sums to results
//   here                                          the loops around them

#include "codegen/contract/step.h"

#include "base/checked.h"
#include "base/flags.h"
#include "base/log.h"
#include "codegen/contract/epilogue.h"
#include "codegen/contract/lane_packing.h"
#include "codegen/contract/matrix_packing.h"
#include "codegen/contract/row_packing.h"
#include "codegen/contract/tiles.h"
#include "codegen/ir/control_flow.h"
#include "runtime/plan.h"
#include "schedule/contract/phases.h"

#include <fmt/format.h>
#include <llvm/IR/Module.h>

#include <algorithm>
#include <bit>
#include <cstddef>
#include <optional>
#include <tuple>
#include <utility>

namespace coregrad {
namespace {

class StepEmitter : public StepContext {
 public:
  /// The function gets the StepArgs, the first and the end of the units, and where other steps
  /// share it, what epilogue to call and its parameters.
  StepEmitter(llvm::Function* units, SharedFunctions& parts, const std::string& name,
              const ContractPlan& chosen, const FlatEpilogue* direct, llvm::Function* epilogue,
              const Target& machine, ContractParams& sizes)
      : StepContext{*units->getParent(),
                    parts,
                    name,
                    chosen,
                    machine,
                    sizes,
                    llvm::IRBuilder<>(units->getContext()),
                    contract_element_type(units->getContext(), chosen.dtype)},
        units_(units),
        direct_(direct),
        epilogue_(epilogue) {
    if (const auto* windows = std::get_if<LaneWindows>(&plan.lanes); windows && plan.has_symbols)
      params.reserve_table(static_cast<size_t>(windows->most_steps(plan, target)));
    emit_micro_kernels();
    if (plan.matrix()) {
      matrix_rows_.emplace(*this, true);
      matrix_lanes_.emplace(*this, false);
    } else {
      rows_ = make_row_packer(*this);
      lanes_ = make_lane_packer(*this);
    }
  }

  void emit() {
    b.SetInsertPoint(llvm::BasicBlock::Create(module.getContext(), "entry", units_));
    args = units_->getArg(0);
    if (plan.has_symbols)
      params.start_shared(units_->getArg(4), true);
    else
      params.start(units_->getArg(0));
    read_sizes();
    llvm::Value* const buffers = load_argument(b, args, offsetof(StepArgs, buffers));
    row_source = load_buffer(b, buffers, plan.swapped ? 1 : 0);
    lane_source = load_buffer(b, buffers, plan.swapped ? 0 : 1);
    llvm::Value* const scratch = load_argument(b, args, offsetof(StepArgs, scratch));
    lane_pack = at(scratch, constant(plan.lane_pack_offset));
    row_pack = at(scratch, number([](const Plan& p) { return p.lane_pack_elements; }));
    result = at(row_pack, number([](const Plan& p) { return p.row_pack_elements; }));
    if (plan.copy_elements > 0)
      copy = at(result, number([](const Plan& p) { return p.result_elements; }));
    if (direct_) direct_result_.emplace(*this, *direct_);
    if (plan.matrix()) emit_matrix_begin(b);
    emit_loop(b, units_->getArg(1), units_->getArg(2), 1,
              [&](llvm::Value* unit) { emit_unit(unit); });
    if (plan.matrix()) emit_matrix_end(b);
    b.CreateRetVoid();
  }

 private:
  using Plan = ContractPlan;

  /// Micro-kernels for panels of one width.
  struct Kernels {
    SharedPart tall, low;
  };

  int64_t last_lanes() const { return plan.last_lanes(); }
  /// Whether the number of lanes is a symbol's.
  bool has_any_lanes() const { return !plan.n.is_fixed; }

  /// Whether the last lane panel needs micro-kernels of its own: fewer vectors, or memory that must
  /// not be read behind its lanes.
  bool has_tail() const {
    if (has_any_lanes()) return plan.is_dot() || !plan.packs_lanes();
    if (last_lanes() == plan.tile_lanes) return false;
    if (plan.is_dot()) return true;
    return (plan.is_outer() && (!plan.packs_lanes() || plan.writes_result)) ||
           ceil_div(last_lanes(), plan.width) < ceil_div(plan.tile_lanes, plan.width);
  }

  void emit_micro_kernels() {
    const auto each = [&](int64_t lanes, bool is_cut = false) {
      const auto emit = [&](int64_t rows) {
        return emit_micro_kernel(module, shared, plan, {rows, lanes, is_cut}, target, params);
      };
      Kernels kernels;
      kernels.tall = emit(plan.tile_rows);
      if (plan.has_low_panels())
        kernels.low = emit(plan.matrix() ? kMatrixSide : plan.tile_rows - 1);
      return kernels;
    };
    if (has_any_lanes()) {
      full_ = each(plan.tile_lanes);
      // Dot tiles take what is left lane by lane.
      if (has_tail()) tail_ = plan.is_dot() ? each(1) : each(plan.tile_lanes, true);
      return;
    }
    if (!has_tail() || plan.num_lane_panels > 1) full_ = each(plan.tile_lanes);
    if (has_tail())
      tail_ = each(plan.matrix() ? round_up(last_lanes(), kMatrixSide) : last_lanes());
  }

  /// A number of blocks: most often one, which needs no division.
  llvm::Value* count(NumberOfPlan blocks) {
    return blocks(plan) == 1 && !plan.has_symbols ? constant(1) : number(blocks);
  }

  /// What depends on the extents and on nothing else of the structure.
  void read_sizes() {
    num_row_panels_ = number([](const Plan& p) { return p.num_row_panels; });
    num_tall_panels = number([](const Plan& p) { return p.num_tall_panels; });
    num_lane_panels_ = number([](const Plan& p) { return p.num_lane_panels; });
    num_row_blocks_ = count([](const Plan& p) { return p.num_row_blocks; });
    num_lane_blocks_ = count([](const Plan& p) { return p.num_lane_blocks; });
    num_k_blocks_ = count([](const Plan& p) { return p.num_k_blocks; });
    p_per_unit_ = count([](const Plan& p) { return p.p_per_unit; });
    p_extent_ = number([](const Plan& p) { return p.p.extent; });
    num_lanes_ = number([](const Plan& p) { return p.num_lanes; });
    k_turn_ = number([](const Plan& p) { return p.k_turn; });
    k_block_ = number([](const Plan& p) { return p.k_block; });
    if (plan.last_rows_overlap())
      result_stride_ = number([](const Plan& p) { return p.result_stride; });
    if (plan.may_cut_k())
      sums_stride_ = params.constant(
          plan, [](const Plan& p) { return p.num_k_blocks > 1 ? p.result_stride : 0; });
    if (plan.matrix() || plan.last_rows_overlap())
      num_rows_ = number([](const Plan& p) { return p.m.extent; });
    if (!plan.matrix()) {
      rows_->read_sizes();
      lanes_->read_sizes();
    }
    if (has_tail())
      full_lanes_ = number([](const Plan& p) {
        const bool is_whole = p.has_symbols && p.last_lanes() == p.tile_lanes;
        return is_whole ? p.num_lanes : p.num_lanes - p.last_lanes();
      });
  }

  /// The first row that is a panel's own.
  llvm::Value* panel_row(llvm::Value* panel) {
    llvm::Value* const tall = b.CreateMul(panel, constant(plan.tile_rows));
    if (num_rows_) return emit_min(b, tall, num_rows_);
    llvm::Value* const behind = b.CreateSub(panel, num_tall_panels);
    return b.CreateSub(tall, emit_max(b, behind, constant(0)));
  }

  /// The first row that a panel multiplies, of its own or of the panel before.
  llvm::Value* first_row(llvm::Value* panel_row) {
    if (!plan.last_rows_overlap()) return panel_row;
    return emit_min(b, panel_row, b.CreateSub(num_rows_, constant(plan.tile_rows)));
  }

  /// The panels [first, end) of one of `blocks` blocks, which differ by one panel at most: a short
  /// last block would leave one thread with less to do.
  std::pair<llvm::Value*, llvm::Value*> share(llvm::Value* block, llvm::Value* panels,
                                              llvm::Value* blocks) {
    const auto start = [&](llvm::Value* i) { return b.CreateUDiv(b.CreateMul(i, panels), blocks); };
    return {start(block), start(b.CreateAdd(block, constant(1)))};
  }

  void emit_unit(llvm::Value* unit) {
    llvm::Value* const lane_block = b.CreateURem(unit, num_lane_blocks_);
    llvm::Value* const rest = b.CreateUDiv(unit, num_lane_blocks_);
    llvm::Value* const row_block = b.CreateURem(rest, num_row_blocks_);
    llvm::Value* const p_group = b.CreateUDiv(rest, num_row_blocks_);
    Block block;
    std::tie(block.first_panel, block.end_panel) =
        share(row_block, num_row_panels_, num_row_blocks_);
    block.m0 = first_row(panel_row(block.first_panel));
    block.m1 = panel_row(block.end_panel);
    const auto [first_lanes, end_lanes] = share(lane_block, num_lane_panels_, num_lane_blocks_);
    block.n0 = b.CreateMul(first_lanes, constant(plan.tile_lanes));
    block.n1 = emit_min(b, b.CreateMul(end_lanes, constant(plan.tile_lanes)), num_lanes_);
    llvm::Value* const p0 = b.CreateMul(p_group, p_per_unit_);
    llvm::Value* const p1 = emit_min(b, b.CreateAdd(p0, p_per_unit_), p_extent_);
    emit_loop(b, p0, p1, 1, [&](llvm::Value* p) {
      block.p = p;
      if (const MatrixTile* tile = plan.matrix()) return emit_matrix_blocks(*tile, p0, block);
      emit_loop(b, constant(0), num_k_blocks_, 1,
                [&](llvm::Value* k_block) { emit_block(p0, block, k_block); });
    });
  }

  /// A block for tiles in vector registers.
  void emit_block(llvm::Value* p0, Block block, llvm::Value* k_block) {
    std::tie(block.k0, block.k1) = steps_of(k_block);
    if (plan.packs_rows()) emit_rows_once(p0, block.p, [&] { rows_->pack(block); });
    lanes_->pack(block);
    rows_->locate(block);
    lanes_->locate(block);
    llvm::Value* const k_count = b.CreateSub(block.k1, block.k0);
    llvm::Value* const accumulate = b.CreateICmpSGT(k_block, constant(0));
    emit_loop(b, block.first_panel, block.end_panel, 1, [&](llvm::Value* panel) {
      llvm::Value* const own_m = panel_row(panel);
      llvm::Value* const next_m = panel_row(b.CreateAdd(panel, constant(1)));
      llvm::Value* const m = first_row(own_m);
      llvm::Value* const local_m = b.CreateSub(m, block.m0);
      llvm::Value* const rows = rows_->tile(block, {panel, m, local_m});
      llvm::Value* const sums = direct_result_ ? at(direct_result_->row(block.p, m), block.n0)
                                               : sums_of_panel(block, panel, local_m);
      llvm::Value* const is_tall = b.CreateICmpSLT(panel, num_tall_panels);
      emit_lane_panels(block.n0, block.n1, is_tall, [&](llvm::Value* n) {
        llvm::Value* const local_n = b.CreateSub(n, block.n0);
        llvm::Value* const lanes = lanes_->tile(block, n, local_n);
        return std::vector{rows, lanes, at(sums, local_n), k_count, accumulate};
      });
      if (!epilogue_) return;
      llvm::Value* own_sums = sums;
      if (plan.last_rows_overlap())
        own_sums = at(sums, b.CreateMul(b.CreateSub(own_m, m), result_stride_));
      emit_finish(k_block, block.p, own_m, next_m, block.n0, block.n1, own_sums);
    });
  }

  /// Panels that share rows have sums of their own: those of several blocks of k are added up.
  llvm::Value* sums_of_panel(const Block& block, llvm::Value* panel, llvm::Value* local_m) {
    if (!plan.last_rows_overlap()) return sums_of_row(local_m);
    return sums_of_row(
        b.CreateMul(b.CreateSub(panel, block.first_panel), constant(plan.tile_rows)));
  }

  /// Where sums are kept between blocks of k, or until the epilogue reads them.
  llvm::Value* sums_of_row(llvm::Value* local_m) {
    if (!plan.may_cut_k()) return result;
    return at(result, b.CreateMul(local_m, sums_stride_));
  }

  /// Calls micro-kernels for the panels of lanes [first, end); operands(n) are those of one call.
  template <class Operands>
  void emit_lane_panels(llvm::Value* first, llvm::Value* end, llvm::Value* is_tall,
                        Operands operands) {
    const auto multiply = [&](const Kernels& kernels, llvm::Value* n) {
      std::vector<llvm::Value*> arguments = operands(n);
      llvm::Value *callee = kernels.tall.function, *own = params.address(kernels.tall.first_param);
      if (kernels.low.function) {
        callee = b.CreateSelect(is_tall, callee, kernels.low.function);
        own = b.CreateSelect(is_tall, own, params.address(kernels.low.first_param));
      }
      arguments.push_back(own);
      b.CreateCall(kernels.tall.function->getFunctionType(), callee, arguments);
    };
    llvm::Value* const full_end = has_tail() ? emit_min(b, end, full_lanes_) : end;
    if (full_.tall.function)
      emit_loop(b, first, full_end, plan.tile_lanes, [&](llvm::Value* n) { multiply(full_, n); });
    if (has_tail() && has_any_lanes() && plan.is_dot())
      emit_loop(b, emit_max(b, first, full_end), end, 1,
                [&](llvm::Value* n) { multiply(tail_, n); });
    else if (has_tail())
      emit_if(b, b.CreateICmpSLT(full_end, end), [&] { multiply(tail_, full_end); });
  }

  /// The epilogue, after the last block of k.
  void emit_finish(llvm::Value* k_block, llvm::Value* p, llvm::Value* m, llvm::Value* next_m,
                   llvm::Value* n0, llvm::Value* n1, llvm::Value* sums) {
    llvm::Value* callee = epilogue_;
    if (plan.has_symbols) callee = units_->getArg(3);
    const auto finish = [&] {
      b.CreateCall(epilogue_->getFunctionType(), callee, {args, p, m, next_m, n0, n1, sums});
    };
    if (!plan.may_cut_k()) return finish();
    emit_if(b, b.CreateICmpEQ(k_block, b.CreateSub(num_k_blocks_, constant(1))), finish);
  }

  /// Packs rows where they are not there from the p before.
  void emit_rows_once(llvm::Value* p0, llvm::Value* p, const std::function<void()>& pack) {
    if (plan.may_cut_k() || !plan.shares_rows()) return pack();
    emit_if(b, b.CreateICmpEQ(p, p0), pack);
  }

  /// The blocks of a unit at block.p for tile registers.
  void emit_matrix_blocks(const MatrixTile& tile, llvm::Value* p0, Block block) {
    const bool one_k_block = plan.num_k_blocks == 1;
    const auto pack_rows = [&] { matrix_rows_->pack(block, block.m0, block.m1); };
    if (one_k_block) {
      std::tie(block.k0, block.k1) = steps_of(constant(0));
      emit_rows_once(p0, block.p, pack_rows);
    }
    emit_loop(b, block.n0, block.n1, tile.lanes_at_once, [&](llvm::Value* n) {
      Block part = block;
      part.n0 = n;
      part.n1 = emit_min(b, b.CreateAdd(n, constant(tile.lanes_at_once)), block.n1);
      emit_loop(b, constant(0), num_k_blocks_, 1, [&](llvm::Value* k_block) {
        std::tie(block.k0, block.k1) = std::tie(part.k0, part.k1) = steps_of(k_block);
        if (!one_k_block) pack_rows();
        matrix_lanes_->pack(part, part.n0, part.n1);
        emit_matrix_block(tile, part, k_block);
      });
    });
  }

  /// The packed rows of the unit times packed lanes.
  void emit_matrix_block(const MatrixTile& tile, const Block& block, llvm::Value* k_block) {
    llvm::Value* const k_count = b.CreateSub(block.k1, block.k0);
    emit_loop(b, block.first_panel, block.end_panel, 1, [&](llvm::Value* panel) {
      llvm::Value* const m = panel_row(panel);
      llvm::Value* const next_m = panel_row(b.CreateAdd(panel, constant(1)));
      llvm::Value* const local_m = b.CreateSub(m, block.m0);
      llvm::Value* const is_tall =
          b.CreateICmpSGT(b.CreateSub(next_m, m), constant(plan.tile_rows - kMatrixSide));
      // A few panels of lanes, and then their epilogue, while the sums are in the first cache.
      emit_loop(b, block.n0, block.n1, tile.finished_lanes, [&](llvm::Value* first) {
        llvm::Value* const end =
            emit_min(b, b.CreateAdd(first, constant(tile.finished_lanes)), block.n1);
        llvm::Value* const sums = sums_of_row(local_m);
        emit_loop(b, constant(0), k_count, tile.k_at_once, [&](llvm::Value* k) {
          llvm::Value* const steps = emit_min(b, b.CreateSub(k_count, k), constant(tile.k_at_once));
          llvm::Value* const accumulate = b.CreateICmpSGT(b.CreateAdd(k, k_block), constant(0));
          emit_lane_panels(first, end, is_tall, [&](llvm::Value* n) {
            llvm::Value* const rows = matrix_rows_->tile(local_m, k);
            llvm::Value* const lanes = matrix_lanes_->tile(b.CreateSub(n, block.n0), k);
            return std::vector{rows, lanes, at(sums, b.CreateSub(n, first)), steps, accumulate};
          });
        });
        emit_finish(k_block, block.p, m, next_m, first, end, sums);
      });
    });
  }

  /// First and end of a block's steps of k.
  std::pair<llvm::Value*, llvm::Value*> steps_of(llvm::Value* k_block) {
    // At least one: an empty sum has a block without steps.
    const int64_t blocks =
        std::max<int64_t>(ceil_div(plan.k_turn, std::max<int64_t>(plan.k_block, 1)), 1);
    llvm::Value *turn = constant(0), *block = k_block;
    if (!plan.has_symbols && plan.num_k_blocks > blocks) {
      turn = b.CreateMul(b.CreateUDiv(k_block, constant(blocks)), k_turn_);
      block = b.CreateURem(k_block, constant(blocks));
    }
    llvm::Value* const k0 = b.CreateAdd(turn, b.CreateMul(block, k_block_));
    return {k0, emit_min(b, b.CreateAdd(k0, k_block_), b.CreateAdd(turn, k_turn_))};
  }

  llvm::Function* units_;
  const FlatEpilogue* direct_;  ///< with plan.writes_result
  std::optional<DirectResult> direct_result_;
  llvm::Function* epilogue_;  ///< otherwise; with symbols, one of its type is an argument
  Kernels full_, tail_;       ///< for whole lane panels, and the last one
  std::unique_ptr<RowPacker> rows_;
  std::unique_ptr<LanePacker> lanes_;
  std::optional<MatrixPacker> matrix_rows_, matrix_lanes_;
  llvm::Value *num_row_panels_ = nullptr, *num_lane_panels_ = nullptr;
  llvm::Value *num_row_blocks_ = nullptr, *num_lane_blocks_ = nullptr, *num_k_blocks_ = nullptr;
  llvm::Value *p_per_unit_ = nullptr, *p_extent_ = nullptr;
  llvm::Value *num_rows_ = nullptr, *num_lanes_ = nullptr, *full_lanes_ = nullptr;
  llvm::Value *k_turn_ = nullptr, *k_block_ = nullptr;
  llvm::Value* sums_stride_ = nullptr;    ///< from row to row of sums that are kept
  llvm::Value* result_stride_ = nullptr;  ///< from row to row of a tile's sums
};

llvm::Function* declare_step(llvm::Module& module, const std::string& name) {
  llvm::LLVMContext& context = module.getContext();
  llvm::Type* const i64 = llvm::Type::getInt64Ty(context);
  llvm::Type* const types[] = {llvm::PointerType::get(context, 0), i64, i64,
                               llvm::Type::getInt32Ty(context)};
  return llvm::Function::Create(
      llvm::FunctionType::get(llvm::Type::getVoidTy(context), types, false),
      llvm::Function::ExternalLinkage, name, module);
}

/// What a step calls for some of its units: the function, and what it gets after the StepArgs and
/// the first and the end of the units.
struct Units {
  llvm::Function* function = nullptr;
  llvm::Function* epilogue = nullptr;
  size_t first_param = 0;  ///< of a shared function
};

/// Adds the function that computes units of a plan. With symbols it is shared: all but the epilogue
/// is the same for many contractions.
Units emit_units(llvm::Module& module, SharedFunctions& shared, const std::string& name,
                 const ContractKernel& kernel, const ContractPlan& plan, const FlatEpilogue* direct,
                 const Target& target, ContractParams& params) {
  llvm::Type* const pointer = llvm::PointerType::get(module.getContext(), 0);
  llvm::Type* const i64 = llvm::Type::getInt64Ty(module.getContext());
  Units units;
  if (!direct)
    units.epilogue = emit_epilogue(module, name + ".finish", kernel, plan, target, params);
  const auto write = [&](llvm::Module& own, const std::vector<llvm::Type*>& arguments) {
    llvm::Function* const function = declare_part(own, name, arguments, {});
    StepEmitter emitter(function, shared, name, plan, direct, units.epilogue, target, params);
    units.first_param = params.count();
    emitter.emit();
    return function;
  };
  if (plan.has_symbols) {
    units.function = shared.add(module, [&](llvm::Module& own) {
      return write(own, {pointer, i64, i64, pointer, pointer});
    });
  } else {
    units.function = write(module, {pointer, i64, i64});
  }
  return units;
}

bool is_empty(const ContractKernel& kernel) {
  return std::ranges::any_of(
      kernel.spec.out, [&](int64_t label) { return is_always(kernel.spec.extents[label], 0); });
}

int64_t scratch_bytes(const ContractPlan& plan) {
  return checked_mul(plan.scratch_elements(), size_of(plan.dtype), "contract scratch");
}

}  // namespace

ContractStep emit_contract_kernel(llvm::Module& module, SharedFunctions& shared,
                                  const std::string& symbol, const ContractKernel& kernel,
                                  const Target& target) {
  check_kernel(kernel);
  llvm::Function* const function = declare_step(module, symbol);
  llvm::IRBuilder<> b(llvm::BasicBlock::Create(module.getContext(), "entry", function));
  ContractStep step;
  ContractParams params;
  step.range = 0;
  if (is_empty(kernel)) {
    b.CreateRetVoid();
    return step;
  }
  // The units of all phases, one phase after the other.
  const bool has_symbols = kernel.has_symbols();
  std::vector<ContractPlan> symbolic;
  COREGRAD_CHECK(!has_symbols || has_common_plan(kernel, target));
  const std::vector<ContractKernel> phases = split_phases(kernel, target);
  for (size_t i = 0; i < phases.size(); ++i) {
    params.start_phase(i);
    ContractPlan plan = plan_contract(phases[i], target);
    plan.first_unit = step.range;
    if (has_symbols) symbolic.push_back(plan);
    const std::optional<FlatEpilogue> direct = write_result_directly(phases[i], plan);
    if (flags().debug >= 3) log().debug("{}: {}", symbol, plan.to_text());
    const std::string name =
        phases.size() == 1 ? symbol + ".units" : fmt::format("{}.phase{}", symbol, i);
    const Units units = emit_units(module, shared, name, phases[i], plan,
                                   direct ? &*direct : nullptr, target, params);
    params.start(function->getArg(0));
    llvm::Value* const first =
        i == 0 ? emit_i64(b, 0)
               : params.number(plan, [](const ContractPlan& p) { return p.first_unit; });
    llvm::Value* const begin = emit_max(b, b.CreateSub(function->getArg(1), first), emit_i64(b, 0));
    llvm::Value* const end =
        emit_min(b, b.CreateSub(function->getArg(2), first),
                 params.number(plan, [](const ContractPlan& p) { return p.units(); }));
    emit_if(b, b.CreateICmpSLT(begin, end), [&] {
      std::vector<llvm::Value*> arguments = {function->getArg(0), begin, end};
      if (has_symbols)
        arguments.insert(arguments.end(), {units.epilogue, params.address(units.first_param)});
      b.CreateCall(units.function, arguments);
    });
    step.range = checked_add(step.range, plan.units(), "contract");
    step.scratch_bytes = std::max(step.scratch_bytes, scratch_bytes(plan));
    step.flops += 2.0 * static_cast<double>(plan.p.extent) * static_cast<double>(plan.m.extent) *
                  static_cast<double>(plan.n.extent) * static_cast<double>(plan.k.extent);
  }
  b.CreateRetVoid();
  step.params = params.values();
  if (has_symbols)
    step.symbolic = std::make_shared<SymbolicContract>(std::move(symbolic), target, params);
  return step;
}

SymbolicContract::SymbolicContract(std::vector<ContractPlan> plans, Target target,
                                   ContractParams params)
    : plans_(std::move(plans)), target_(std::move(target)), params_(std::move(params)) {
  labels_ = plans_.front().sizes;
  const auto take = [&](SymInt size) {
    sizes_.push_back(size);
    return SymInt(size.hint());
  };
  for (ContractPlan& plan : plans_) {
    if (!plan.lane_windows.is_window()) plan.lane_windows = {};
    ContractPlan(plan).set_sizes(take, target_);
  }
  sizes_.insert(sizes_.end(), params_.values().begin(), params_.values().end());
}

std::vector<AssumedExtent> SymbolicContract::few(std::span<const int64_t> values) const {
  std::vector<AssumedExtent> assumed;
  if (plans_.size() > 1) return assumed;
  const ContractPlan& plan = plans_.front();
  for (const FlatSpace* space : {&plan.m, &plan.n}) {
    if (space->is_fixed) continue;
    // A tile of more lanes than there are multiplies nothing by the rest.
    const int64_t enough = space == &plan.n ? std::max(kFew, plan.tile_lanes) : kFew;
    int64_t extent = 1, by_numbers = 1;
    for (const int64_t label : space->labels) {
      const int64_t value = std::min(values[static_cast<size_t>(label)], enough);
      extent = std::min(extent * value, enough);
      if (labels_[static_cast<size_t>(label)].is_number())
        by_numbers = std::min(by_numbers * value, enough);
    }
    if (extent >= enough || extent == 0) continue;
    // One, and from each power of two to the next.
    int64_t least = std::max<int64_t>(
        static_cast<int64_t>(std::bit_floor(static_cast<uint64_t>(extent))) / by_numbers, 1);
    for (const int64_t label : space->labels) {
      if (labels_[static_cast<size_t>(label)].is_number()) continue;
      assumed.resize(labels_.size());
      assumed[static_cast<size_t>(label)] = {std::exchange(least, 1), extent == 1};
    }
  }
  return assumed;
}

std::optional<SymbolicContract::Bound> SymbolicContract::bind(
    std::span<const int64_t> values) const {
  auto next = values.begin();
  thread_local std::vector<ContractPlan> plans;  // whose lists have room already
  plans = plans_;
  Bound bound;
  bound.range = 0;
  for (ContractPlan& plan : plans) {
    plan.set_sizes([&](SymInt) { return SymInt(*next++); }, target_);
    if (plan.last_rows_overlap() && plan.m.extent > 0 && plan.m.extent < plan.tile_rows) return {};
    plan.first_unit = bound.range;
    bound.range = checked_add(bound.range, plan.units(), "contract");
    bound.scratch_bytes = std::max(bound.scratch_bytes, scratch_bytes(plan));
  }
  bound.params.assign(next, values.end());
  for (const auto& [param, phase, of] : params_.chosen()) bound.params[param] = of(plans[phase]);
  for (const auto& [param, phase, count] : params_.tables())
    std::get<LaneWindows>(plans[phase].lanes)
        .write_step_offsets(plans[phase], std::span(bound.params).subspan(param, count));
  return bound;
}

}  // namespace coregrad
