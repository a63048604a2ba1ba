// The contraction step: units of (group of p, rows, lanes), each packed, multiplied and finished.
//
// In schedule/contract/:
//   plan.cpp     what is chosen: roles of labels, tile, blocks, packing
//   windows.cpp  operands packed once for all steps of a window
//   phases.cpp   windows that divide (input gradients of strided convolutions) taken apart
// In this folder:
//   pack.cpp     operand blocks into scratch
//   micro.cpp    register tiles
//   matrix.cpp   packing and products for tile registers (AMX)
//   here         the loops around them and the epilogue

#include "codegen/contract/step.h"

#include "base/checked.h"
#include "base/flags.h"
#include "base/log.h"
#include "codegen/contract/matrix.h"
#include "codegen/contract/micro.h"
#include "codegen/contract/operand_address.h"
#include "codegen/contract/pack.h"
#include "codegen/ir/step_params.h"
#include "codegen/values/value_emitter.h"
#include "runtime/plan.h"
#include "schedule/contract/phases.h"
#include "schedule/contract/plan.h"

#include <fmt/format.h>
#include <llvm/IR/Module.h>

#include <algorithm>
#include <cstddef>
#include <map>
#include <optional>
#include <span>
#include <tuple>

namespace coregrad {
namespace {

/// The epilogue over the flat spaces p and m, and lanes as (run, place in the run).
struct FlatEpilogue {
  LoopKernel kernel;  ///< no index uses another axis than these four, which are the last
  int p = 0, m = 0, run = 0, lane = 0;
  int64_t run_extent = 1;
};

/// With runs, the last label of the lanes is a run of its own; otherwise all lanes are one run.
FlatEpilogue flatten_epilogue(const ContractKernel& kernel, const ContractPlan& plan, bool runs) {
  FlatEpilogue result{.kernel = kernel.epilogue};
  LoopKernel& flat = result.kernel;
  std::vector<IndexExpr> of_label(plan.extents.size());
  const auto add_axis = [&](std::span<const int64_t> labels) {
    const int axis = static_cast<int>(flat.axes.size());
    int64_t extent = 1;
    for (const int64_t label : labels) extent *= plan.extents[static_cast<size_t>(label)];
    IndexExpr rest = flat.context.axis(axis, extent);
    flat.axes.push_back({extent, -1});
    for (size_t i = labels.size(); i-- > 0;) {
      const auto label = static_cast<size_t>(labels[i]);
      of_label[label] = i == 0 ? rest : flat.context.mod(rest, plan.extents[label]);
      rest = flat.context.div(rest, plan.extents[label]);
    }
    return axis;
  };
  const std::span<const int64_t> lanes = plan.n.labels;
  const size_t outer = runs ? lanes.size() - 1 : 0;
  result.p = add_axis(plan.p.labels);
  result.m = add_axis(plan.m.labels);
  result.run = add_axis(lanes.first(outer));
  result.lane = add_axis(lanes.subspan(outer));
  result.run_extent = flat.axes.back().extent;
  std::map<int, IndexExpr> replacement;
  for (size_t axis = 0; axis < kernel.spec.out.size(); ++axis)
    replacement[static_cast<int>(axis)] = of_label[static_cast<size_t>(kernel.spec.out[axis])];
  for (KernelValue& value : flat.values)
    value.index = flat.context.substitute(value.index, replacement);
  for (KernelStore& store : flat.stores)
    store.index = flat.context.substitute(store.index, replacement);
  flat.num_parallel = static_cast<int>(flat.axes.size());
  return result;
}

/// Whether every access of the epilogue is affine in its lanes.
bool is_affine(const FlatEpilogue& flat) {
  int64_t factor = 0;
  const auto fits = [&](const auto& access) {
    return flat.kernel.context.affine_in(access.index, flat.lane, &factor);
  };
  return std::ranges::all_of(flat.kernel.values, fits) &&
         std::ranges::all_of(flat.kernel.stores, fits);
}

/// The epilogue where it stores the sums as they are and does nothing else, in rows of neighbouring
/// lanes: then the plan is changed so that micro-kernels write them there, which saves a pass over
/// the results. Where sums are made block by block of k, a tile stays in the caches.
std::optional<FlatEpilogue> write_result_directly(const ContractKernel& kernel,
                                                  ContractPlan& plan) {
  const bool fits = plan.kind == TileKind::Outer && plan.num_k_blocks == 1 && !plan.any_size &&
                    plan.num_lanes == plan.n.extent && plan.n.extent > 1 &&
                    size_of(plan.dtype) >= 4;
  const LoopKernel& epilogue = kernel.epilogue;
  if (!fits || epilogue.stores.size() != 1) return std::nullopt;
  const KernelBuffer& buffer = epilogue.buffers[static_cast<size_t>(epilogue.stores[0].buffer)];
  const KernelValue& value = epilogue.values[static_cast<size_t>(epilogue.stores[0].value)];
  if (value.kind != ValueKind::Bound || buffer.dtype != plan.dtype || buffer.non_temporal)
    return std::nullopt;
  FlatEpilogue flat = flatten_epilogue(kernel, plan, false);
  const IndexExpr& index = flat.kernel.stores[0].index;
  const IndexContext& context = flat.kernel.context;
  int64_t lane_stride = 0, row_stride = 0;
  if (!context.affine_in(index, flat.lane, &lane_stride) || lane_stride != 1 ||
      !context.affine_in(index, flat.m, &row_stride))
    return std::nullopt;
  plan.writes_result = true;
  plan.result_stride = row_stride;
  plan.result_elements = 0;
  return flat;
}

llvm::Value* load_argument(llvm::IRBuilder<>& b, llvm::Value* args, size_t offset) {
  return b.CreateAlignedLoad(b.getPtrTy(), b.CreateConstGEP1_64(b.getInt8Ty(), args, offset),
                             llvm::Align(8));
}

llvm::Value* load_buffer(llvm::IRBuilder<>& b, llvm::Value* buffers, size_t number) {
  return b.CreateAlignedLoad(b.getPtrTy(), b.CreateConstGEP1_64(b.getPtrTy(), buffers, number),
                             llvm::Align(8));
}

std::vector<llvm::Value*> load_epilogue_buffers(llvm::IRBuilder<>& b, llvm::Value* args,
                                                const LoopKernel& epilogue) {
  llvm::Value* const list = load_argument(b, args, offsetof(StepArgs, buffers));
  std::vector<llvm::Value*> buffers;
  for (size_t i = 0; i < epilogue.buffers.size(); ++i)
    buffers.push_back(load_buffer(b, list, i + 2));
  return buffers;
}

/// (args, p, m0, m1, n0, n1, result): the values and stores of the epilogue for rows m0 .. m1 and
/// lanes n0 .. n1, whose sums lie in `result`.
llvm::Function* emit_epilogue(llvm::Module& module, const std::string& name,
                              const ContractKernel& kernel, const ContractPlan& plan,
                              const Target& target) {
  llvm::LLVMContext& context = module.getContext();
  llvm::Type* const pointer = llvm::PointerType::get(context, 0);
  llvm::Type* const i64 = llvm::Type::getInt64Ty(context);
  llvm::Function* const function =
      declare_part(module, name, {pointer, i64, i64, i64, i64, i64, pointer}, {6});
  llvm::IRBuilder<> b(llvm::BasicBlock::Create(context, "entry", function));
  llvm::Value *const args = function->getArg(0), *const p = function->getArg(1),
                     *const m0 = function->getArg(2), *const m1 = function->getArg(3),
                     *const n0 = function->getArg(4), *const n1 = function->getArg(5),
                     *const result = function->getArg(6);
  // Run by run where packed lanes lie between the runs, and where places are no multiples of the
  // lane's: a division for each lane is dear.
  FlatEpilogue epilogue = flatten_epilogue(kernel, plan, false);
  const bool runs = plan.num_lanes != plan.n.extent ||
                    (plan.n.labels.size() > 1 && !is_affine(epilogue) &&
                     plan.extents[static_cast<size_t>(plan.n.labels.back())] >= plan.width);
  if (runs) epilogue = flatten_epilogue(kernel, plan, true);
  const LoopKernel& flat = epilogue.kernel;
  const ValueId bound = static_cast<ValueId>(
      std::find_if(flat.values.begin(), flat.values.end(),
                   [](const KernelValue& v) { return v.kind == ValueKind::Bound; }) -
      flat.values.begin());

  llvm::Value* const status = load_argument(b, args, offsetof(StepArgs, status));
  ValueEmitter values(b, flat, target, load_epilogue_buffers(b, args, flat), status);
  values.set_axis(epilogue.p, p);

  llvm::Type* const element = contract_element_type(context, plan.dtype);
  const int width = static_cast<int>(plan.width);
  const bool scalar_lanes = plan.n.extent == 1 || width == 1;
  const llvm::Align align(static_cast<uint64_t>(size_of(plan.dtype)));
  values.push_scope();
  emit_loop(b, m0, m1, 1, [&](llvm::Value* m) {
    values.set_axis(epilogue.m, m);
    llvm::Value* const row = b.CreateGEP(
        element, result, emit_mul_add(b, b.CreateSub(m, m0), plan.result_stride, emit_i64(b, 0)));
    // Lanes n .. end, from column `column` of the result on.
    const auto finish = [&](llvm::Value* n, llvm::Value* column, llvm::Value* mask) {
      values.set_axis(epilogue.lane, n);
      llvm::Type* type = element;
      if (!scalar_lanes) {
        values.set_lane({epilogue.lane, width, mask});
        type = llvm::FixedVectorType::get(element, static_cast<unsigned>(width));
      }
      values.bind(bound, b.CreateAlignedLoad(type, b.CreateGEP(element, row, column), align));
      for (const KernelStore& store : flat.stores) values.emit_store(store);
    };
    const auto finish_lanes = [&](llvm::Value* begin, llvm::Value* end, llvm::Value* column,
                                  bool may_be_whole, bool may_be_cut) {
      const auto at = [&](llvm::Value* n) { return b.CreateAdd(column, b.CreateSub(n, begin)); };
      if (scalar_lanes) {
        values.push_scope();
        emit_loop(b, begin, end, 1, [&](llvm::Value* n) { finish(n, at(n), nullptr); });
        values.pop_scope();
        return;
      }
      llvm::Value* const whole = b.CreateAdd(
          begin, b.CreateAnd(b.CreateSub(end, begin), emit_i64(b, -static_cast<int64_t>(width))));
      if (may_be_whole) {
        values.push_scope();
        emit_loop(b, begin, whole, width, [&](llvm::Value* n) { finish(n, at(n), nullptr); });
        values.pop_scope();
      }
      if (!may_be_cut) return;
      values.push_scope();
      emit_if(b, b.CreateICmpSLT(whole, end), [&] {
        finish(whole, at(whole),
               emit_lane_mask(b, emit_i64(b, 0), b.CreateSub(end, whole), width,
                              size_of(plan.dtype), target));
      });
      values.pop_scope();
    };
    if (!runs) {
      values.set_axis(epilogue.run, emit_i64(b, 0));
      finish_lanes(
          n0, n1, emit_i64(b, 0), plan.n.extent >= width,
          plan.n.extent % width != 0 || (plan.num_lane_blocks > 1 && plan.tile_lanes % width != 0));
      return;
    }
    // Between the runs there may be lanes that are none.
    const WindowPacking& packing = plan.lane_windows;
    const int64_t run = epilogue.run_extent,
                  pitch = packing.extents[static_cast<size_t>(plan.n.labels.back())];
    llvm::Value* const last = b.CreateUDiv(b.CreateSub(n1, emit_i64(b, 1)), emit_i64(b, pitch));
    emit_loop(
        b, b.CreateUDiv(n0, emit_i64(b, pitch)), b.CreateAdd(last, emit_i64(b, 1)), 1,
        [&](llvm::Value* number) {
          llvm::Value *rest = number, *outer = emit_i64(b, 0), *exists = b.getTrue();
          int64_t stride = 1;
          for (size_t i = plan.n.labels.size() - 1; i-- > 0;) {
            const auto label = static_cast<size_t>(plan.n.labels[i]);
            llvm::Value* const packed = emit_i64(b, packing.extents[label]);
            llvm::Value* const index = i == 0 ? rest : b.CreateURem(rest, packed);
            exists = b.CreateAnd(exists, b.CreateICmpSLT(index, emit_i64(b, plan.extents[label])));
            outer = emit_mul_add(b, index, stride, outer);
            stride *= plan.extents[label];
            if (i > 0) rest = b.CreateUDiv(rest, packed);
          }
          llvm::Value* const start = b.CreateMul(number, emit_i64(b, pitch));
          llvm::Value* const begin = emit_max(b, b.CreateSub(n0, start), emit_i64(b, 0));
          llvm::Value* const run_end = emit_min(b, b.CreateSub(n1, start), emit_i64(b, run));
          // Where the block begins behind the run's lanes, there is nothing to finish; what
          // is read ahead of the loop must be there all the same.
          llvm::Value* const end = b.CreateSelect(exists, emit_max(b, run_end, begin), begin);
          values.push_scope();
          values.set_axis(epilogue.run, b.CreateSelect(exists, outer, emit_i64(b, 0)));
          finish_lanes(begin, end, b.CreateSub(b.CreateAdd(start, begin), n0), run >= width, true);
          values.pop_scope();
        });
  });
  values.pop_scope();
  b.CreateRetVoid();
  return function;
}

/// Everything a unit needs, as functions of the module.
struct Parts {
  llvm::Function *tall = nullptr, *low = nullptr;            ///< micro-kernels of full width
  llvm::Function *tall_tail = nullptr, *low_tail = nullptr;  ///< of the last lane panel
  llvm::Function *pack_rows = nullptr, *pack_lanes = nullptr;
  llvm::Function *copy_rows = nullptr, *copy_lanes = nullptr;  ///< in front of packing for tiles
  llvm::Function* epilogue = nullptr;
};

class StepEmitter {
 public:
  StepEmitter(llvm::Module& module, const std::string& symbol, const ContractKernel& kernel,
              const ContractPlan& plan, const FlatEpilogue* direct, const Target& target,
              StepParams& params)
      : module_(module),
        symbol_(symbol),
        plan_(plan),
        direct_(direct),
        target_(target),
        params_(params),
        b_(module.getContext()),
        element_(contract_element_type(module.getContext(), plan.dtype)) {
    emit_parts(kernel);
  }

  void emit(llvm::Function* function) {
    b_.SetInsertPoint(llvm::BasicBlock::Create(module_.getContext(), "entry", function));
    args_ = function->getArg(0);
    read_sizes();
    llvm::Value* const buffers = load_argument(b_, args_, offsetof(StepArgs, buffers));
    row_source_ = load_buffer(b_, buffers, plan_.swapped ? 1 : 0);
    lane_source_ = load_buffer(b_, buffers, plan_.swapped ? 0 : 1);
    llvm::Value* const scratch = load_argument(b_, args_, offsetof(StepArgs, scratch));
    lane_pack_ = at(scratch, emit_i64(b_, plan_.lane_pack_offset));
    row_pack_ = at(scratch, param(plan_.lane_pack_elements));
    result_ = at(row_pack_, param(plan_.row_pack_elements));
    if (plan_.copy_elements > 0) copy_ = at(result_, param(plan_.result_elements));
    std::optional<ValueEmitter> values;
    if (direct_) {
      values.emplace(b_, direct_->kernel, target_,
                     load_epilogue_buffers(b_, args_, direct_->kernel), nullptr);
      direct_values_ = &*values;
    }
    const bool tiles = plan_.kind == TileKind::Matrix;
    if (tiles) emit_tiles_begin(b_);
    emit_loop(b_, function->getArg(1), function->getArg(2), 1,
              [&](llvm::Value* unit) { emit_unit(unit); });
    if (tiles) emit_tiles_end(b_);
    b_.CreateRetVoid();
  }

 private:
  bool packs_rows() const { return plan_.row_packing != RowPacking::InPlace; }
  bool packs_lanes() const { return plan_.lane_packing != LanePacking::InPlace; }
  int64_t last_lanes() const {
    return plan_.num_lanes - (plan_.num_lane_panels - 1) * plan_.tile_lanes;
  }

  /// Whether the last lane panel needs a micro-kernel of its own: fewer vectors, or memory that
  /// must not be read behind its lanes.
  bool has_tail() const {
    if (last_lanes() == plan_.tile_lanes) return false;
    if (plan_.kind == TileKind::Dot) return true;
    return (plan_.kind == TileKind::Outer && (!packs_lanes() || plan_.writes_result)) ||
           ceil_div(last_lanes(), plan_.width) < ceil_div(plan_.tile_lanes, plan_.width);
  }

  void emit_parts(const ContractKernel& kernel) {
    if (!direct_)
      parts_.epilogue = emit_epilogue(module_, symbol_ + ".finish", kernel, plan_, target_);
    if (plan_.kind == TileKind::Matrix) return emit_tile_parts();
    const bool has_low = plan_.has_low_panels();
    const bool has_full = !has_tail() || plan_.num_lane_panels > 1;
    const auto micro = [&](int64_t rows, int64_t lanes) {
      return emit_micro_kernel(module_, fmt::format("{}.tile{}x{}", symbol_, rows, lanes), plan_,
                               rows, lanes, target_);
    };
    if (has_full) {
      parts_.tall = micro(plan_.tile_rows, plan_.tile_lanes);
      if (has_low) parts_.low = micro(plan_.tile_rows - 1, plan_.tile_lanes);
    }
    if (has_tail()) {
      parts_.tall_tail = micro(plan_.tile_rows, last_lanes());
      if (has_low) parts_.low_tail = micro(plan_.tile_rows - 1, last_lanes());
    }
    switch (plan_.row_packing) {
      case RowPacking::InPlace:
        break;
      case RowPacking::RunsAlongK:
        parts_.pack_rows =
            emit_pack_runs(module_, symbol_ + ".pack_rows", plan_,
                           plain_packing(plan_.row_side, plan_.m, plan_.k, plan_.extents),
                           plan_.row_stride, target_);
        break;
      case RowPacking::RunsAlongM:
        parts_.pack_rows =
            emit_pack_runs(module_, symbol_ + ".pack_rows", plan_,
                           plain_packing(plan_.row_side, plan_.k, plan_.m, plan_.extents),
                           plan_.row_stride, target_);
        break;
      case RowPacking::Panels:
        parts_.pack_rows = emit_pack_row_panels(module_, symbol_ + ".pack_rows", plan_);
        break;
      case RowPacking::Windows:
        parts_.pack_rows = emit_pack_runs(module_, symbol_ + ".pack_rows", plan_, plan_.row_windows,
                                          plan_.row_stride, target_);
        break;
    }
    switch (plan_.lane_packing) {
      case LanePacking::InPlace:
        break;
      case LanePacking::Runs:
        parts_.pack_lanes = emit_pack_runs(module_, symbol_ + ".pack_lanes", plan_,
                                           plan_.lane_windows, plan_.lane_stride, target_);
        break;
      case LanePacking::Transpose:
        parts_.pack_lanes = emit_pack_transposed(module_, symbol_ + ".pack_lanes", plan_, target_);
        break;
    }
  }

  void emit_tile_parts() {
    const auto micro = [&](int64_t rows, int64_t lanes) {
      return emit_tile_micro_kernel(module_, fmt::format("{}.tile{}x{}", symbol_, rows, lanes),
                                    plan_, rows, lanes);
    };
    const auto both = [&](int64_t lanes, llvm::Function*& tall, llvm::Function*& low) {
      tall = micro(plan_.tile_rows, lanes);
      if (plan_.has_low_panels()) low = micro(kTileSide, lanes);
    };
    if (!has_tail() || plan_.num_lane_panels > 1) both(plan_.tile_lanes, parts_.tall, parts_.low);
    if (has_tail()) both(round_up(last_lanes(), kTileSide), parts_.tall_tail, parts_.low_tail);
    // What is copied first is copied as it is.
    ContractPlan as_memory = plan_;
    as_memory.dtype = DType::BFloat16;
    const auto copy = [&](const AffineOperand& operand, const FlatSpace& across,
                          const TileOperand& how, const char* name) -> llvm::Function* {
      if (!how.is_copied) return nullptr;
      const WindowPacking packing = how.along_k
                                        ? plain_packing(operand, across, plan_.k, plan_.extents)
                                        : plain_packing(operand, plan_.k, across, plan_.extents);
      return emit_pack_runs(module_, symbol_ + name, as_memory, packing, how.stride, target_);
    };
    parts_.copy_rows = copy(plan_.row_side, plan_.m, plan_.tile_row_side, ".copy_rows");
    parts_.copy_lanes = copy(plan_.lane_side, plan_.n, plan_.tile_lane_side, ".copy_lanes");
    parts_.pack_rows = emit_pack_tile_rows(module_, symbol_ + ".pack_rows", plan_, target_);
    parts_.pack_lanes = emit_pack_tile_lanes(module_, symbol_ + ".pack_lanes", plan_, target_);
  }

  llvm::Value* at(llvm::Value* base, llvm::Value* elements) {
    return b_.CreateGEP(element_, base, elements);
  }
  llvm::Value* constant(int64_t value) { return emit_i64(b_, value); }
  llvm::Value* param(int64_t value) { return params_.add(b_, args_, value); }
  /// A number of blocks: most often one, which needs no division.
  llvm::Value* count(int64_t blocks) { return blocks == 1 ? constant(1) : param(blocks); }

  /// What depends on the extents and on nothing else of the structure.
  void read_sizes() {
    num_row_panels_ = param(plan_.num_row_panels);
    num_tall_panels_ = param(plan_.num_tall_panels);
    num_lane_panels_ = param(plan_.num_lane_panels);
    num_row_blocks_ = count(plan_.num_row_blocks);
    num_lane_blocks_ = count(plan_.num_lane_blocks);
    num_k_blocks_ = count(plan_.num_k_blocks);
    p_per_unit_ = count(plan_.p_per_unit);
    p_extent_ = param(plan_.p.extent);
    num_lanes_ = param(plan_.num_lanes);
    k_turn_ = param(plan_.k_turn);
    k_block_ = param(plan_.k_block);
    if (plan_.kind == TileKind::Matrix) num_rows_ = param(plan_.m.extent);
    if (plan_.row_packing == RowPacking::Panels)
      row_panel_elements_ = param(plan_.row_panel_elements);
    if (plan_.has_lane_panels()) lane_panel_elements_ = param(plan_.lane_panel_elements);
    if (has_tail()) full_lanes_ = param(plan_.num_lanes - last_lanes());
  }

  llvm::Value* panel_row(llvm::Value* panel) {
    llvm::Value* const tall = b_.CreateMul(panel, constant(plan_.tile_rows));
    if (plan_.kind == TileKind::Matrix) return emit_min(b_, tall, num_rows_);
    llvm::Value* const behind = b_.CreateSub(panel, num_tall_panels_);
    return b_.CreateSub(tall, emit_max(b_, behind, constant(0)));
  }

  /// The panels [first, end) of one of `blocks` blocks, which differ by one panel at most: a short
  /// last block would leave one thread with less to do.
  std::pair<llvm::Value*, llvm::Value*> share(llvm::Value* block, llvm::Value* panels,
                                              llvm::Value* blocks) {
    const auto start = [&](llvm::Value* b) {
      return b_.CreateUDiv(b_.CreateMul(b, panels), blocks);
    };
    return {start(block), start(b_.CreateAdd(block, constant(1)))};
  }

  void emit_unit(llvm::Value* unit) {
    llvm::Value* const lane_block = b_.CreateURem(unit, num_lane_blocks_);
    llvm::Value* const rest = b_.CreateUDiv(unit, num_lane_blocks_);
    llvm::Value* const row_block = b_.CreateURem(rest, num_row_blocks_);
    llvm::Value* const p_group = b_.CreateUDiv(rest, num_row_blocks_);
    std::tie(first_panel_, end_panel_) = share(row_block, num_row_panels_, num_row_blocks_);
    m0_ = panel_row(first_panel_);
    m1_ = panel_row(end_panel_);
    const auto [first_lanes, end_lanes] = share(lane_block, num_lane_panels_, num_lane_blocks_);
    n0_ = b_.CreateMul(first_lanes, constant(plan_.tile_lanes));
    n1_ = emit_min(b_, b_.CreateMul(end_lanes, constant(plan_.tile_lanes)), num_lanes_);
    llvm::Value* const p0 = b_.CreateMul(p_group, p_per_unit_);
    llvm::Value* const p1 = emit_min(b_, b_.CreateAdd(p0, p_per_unit_), p_extent_);
    emit_loop(b_, p0, p1, 1, [&](llvm::Value* p) {
      if (plan_.kind == TileKind::Matrix) return emit_tile_blocks(p0, p);
      emit_loop(b_, constant(0), num_k_blocks_, 1,
                [&](llvm::Value* k_block) { emit_block(p0, p, k_block); });
    });
  }

  void emit_block(llvm::Value* p0, llvm::Value* p, llvm::Value* k_block) {
    const auto [k0, k1] = steps_of(k_block);
    if (packs_rows()) {
      const auto pack = [&] {
        switch (plan_.row_packing) {
          case RowPacking::InPlace:
            break;
          case RowPacking::RunsAlongK:
            b_.CreateCall(parts_.pack_rows, {row_source_, p, m0_, m1_, k0, k1, row_pack_});
            break;
          case RowPacking::RunsAlongM:
            b_.CreateCall(parts_.pack_rows, {row_source_, p, k0, k1, m0_, m1_, row_pack_});
            break;
          case RowPacking::Panels:
            b_.CreateCall(parts_.pack_rows, {row_source_, p, k0, k1, first_panel_, end_panel_,
                                             row_pack_, num_tall_panels_, row_panel_elements_});
            break;
          case RowPacking::Windows: {
            llvm::Value* const steps = constant(plan_.row_windows.steps());
            llvm::Value* const last = b_.CreateUDiv(b_.CreateSub(m1_, constant(1)), steps);
            llvm::Value* const column = packed_column(k0);
            llvm::Value* const columns =
                emit_mul_add(b_, b_.CreateUDiv(b_.CreateSub(k1, k0), constant(plan_.row_span_k)),
                             plan_.row_span, constant(plan_.row_span_rest));
            b_.CreateCall(parts_.pack_rows, {row_source_, p, b_.CreateUDiv(m0_, steps),
                                             b_.CreateAdd(last, constant(1)), column,
                                             b_.CreateAdd(column, columns), row_pack_});
            break;
          }
        }
      };
      emit_rows_once(p0, p, pack);
    }
    const auto lane_panel = [&](llvm::Value* n) {
      llvm::Value* const panel = b_.CreateUDiv(b_.CreateSub(n, n0_), constant(plan_.tile_lanes));
      return at(lane_pack_, b_.CreateMul(panel, lane_panel_elements_));
    };
    if (plan_.has_lane_panels()) {
      emit_loop(b_, n0_, n1_, plan_.tile_lanes, [&](llvm::Value* n) {
        llvm::Value* const end = emit_min(b_, b_.CreateAdd(n, constant(plan_.tile_lanes)), n1_);
        b_.CreateCall(parts_.pack_lanes, {lane_source_, p, k0, k1, n, end, lane_panel(n)});
      });
    } else if (packs_lanes()) {
      llvm::Value* const steps = constant(plan_.lane_windows.steps());
      b_.CreateCall(parts_.pack_lanes,
                    {lane_source_, p, b_.CreateUDiv(k0, steps), b_.CreateUDiv(k1, steps), n0_,
                     b_.CreateAdd(n1_, constant(plan_.lane_windows.reach())), lane_pack_});
    }
    llvm::Value* const row_base =
        packs_rows() ? row_pack_ : in_place(plan_.row_side, row_source_, p, k0);
    llvm::Value* const lane_base =
        packs_lanes() ? lane_pack_ : in_place(plan_.lane_side, lane_source_, p, k0);
    llvm::Value* const k_count = b_.CreateSub(k1, k0);
    llvm::Value* const accumulate = b_.CreateICmpSGT(k_block, constant(0));
    const bool one_k_block = plan_.num_k_blocks == 1;
    emit_loop(b_, first_panel_, end_panel_, 1, [&](llvm::Value* panel) {
      llvm::Value* const m = panel_row(panel);
      llvm::Value* const next_m = panel_row(b_.CreateAdd(panel, constant(1)));
      llvm::Value* const local_m = b_.CreateSub(m, m0_);
      llvm::Value* rows = nullptr;
      switch (plan_.row_packing) {
        case RowPacking::InPlace:
          rows =
              ElementMemory(b_, plan_.row_side.memory, plan_.dtype)
                  .pointer(row_base,
                           emit_mul_add(b_, m,
                                        segments_of(plan_.row_side, plan_.m, plan_.extents)[0].coef,
                                        constant(0)));
          break;
        case RowPacking::RunsAlongK:
          rows = at(row_base, b_.CreateMul(local_m, constant(plan_.row_stride)));
          break;
        case RowPacking::RunsAlongM:
          rows = at(row_base, local_m);
          break;
        case RowPacking::Panels:
          rows = at(row_base, b_.CreateMul(b_.CreateSub(panel, first_panel_), row_panel_elements_));
          break;
        case RowPacking::Windows:
          rows =
              at(row_base, b_.CreateAdd(b_.CreateSub(window_row(m), window_row(whole_windows(m0_))),
                                        constant(plan_.row_offset(0))));
          break;
      }
      llvm::Value* const result =
          direct_       ? at(direct_row(p, m), n0_)
          : one_k_block ? result_
                        : at(result_, b_.CreateMul(local_m, constant(plan_.result_stride)));
      llvm::Value* const is_tall = b_.CreateICmpSLT(panel, num_tall_panels_);
      emit_lane_panels(n0_, n1_, is_tall, [&](llvm::Value* n) {
        llvm::Value* const local_n = b_.CreateSub(n, n0_);
        llvm::Value* const lanes =
            plan_.has_lane_panels() ? lane_panel(n)
            : packs_lanes()
                ? at(lane_base, local_n)
                : ElementMemory(b_, plan_.lane_side.memory, plan_.dtype)
                      .pointer(
                          lane_base,
                          emit_mul_add(b_, n,
                                       segments_of(plan_.lane_side, plan_.n, plan_.extents)[0].coef,
                                       constant(0)));
        return std::vector{rows, lanes, at(result, local_n), k_count, accumulate};
      });
      if (!direct_) emit_finish(k_block, p, m, next_m, n0_, n1_, result);
    });
  }

  /// Where the step's result has row m.
  llvm::Value* direct_row(llvm::Value* p, llvm::Value* m) {
    ValueEmitter& values = *direct_values_;
    const KernelStore& store = direct_->kernel.stores[0];
    values.push_scope();
    values.set_axis(direct_->p, p);
    values.set_axis(direct_->m, m);
    values.set_axis(direct_->run, constant(0));
    values.set_axis(direct_->lane, constant(0));
    llvm::Value* const row = values.element_pointer(store.buffer, store.index);
    values.pop_scope();
    return row;
  }

  /// Calls micro-kernels for the panels of lanes [first, end); operands(n) are those of one call.
  template <class Operands>
  void emit_lane_panels(llvm::Value* first, llvm::Value* end, llvm::Value* is_tall,
                        Operands operands) {
    const auto multiply = [&](llvm::Function* tall, llvm::Function* low, llvm::Value* n) {
      const std::vector<llvm::Value*> arguments = operands(n);
      llvm::Value* const callee =
          low ? b_.CreateSelect(is_tall, tall, low) : static_cast<llvm::Value*>(tall);
      b_.CreateCall(tall->getFunctionType(), callee, arguments);
    };
    llvm::Value* const full_end = has_tail() ? emit_min(b_, end, full_lanes_) : end;
    if (parts_.tall)
      emit_loop(b_, first, full_end, plan_.tile_lanes,
                [&](llvm::Value* n) { multiply(parts_.tall, parts_.low, n); });
    if (has_tail())
      emit_if(b_, b_.CreateICmpSLT(full_end, end),
              [&] { multiply(parts_.tall_tail, parts_.low_tail, full_end); });
  }

  /// The epilogue, after the last block of k.
  void emit_finish(llvm::Value* k_block, llvm::Value* p, llvm::Value* m, llvm::Value* next_m,
                   llvm::Value* n0, llvm::Value* n1, llvm::Value* result) {
    const auto finish = [&] {
      b_.CreateCall(parts_.epilogue, {args_, p, m, next_m, n0, n1, result});
    };
    if (plan_.num_k_blocks == 1) {
      finish();
    } else {
      emit_if(b_, b_.CreateICmpEQ(k_block, b_.CreateSub(num_k_blocks_, constant(1))), finish);
    }
  }

  /// Packs rows where they are not there from the p before.
  void emit_rows_once(llvm::Value* p0, llvm::Value* p, const std::function<void()>& pack) {
    const bool each_p =
        plan_.num_k_blocks > 1 ||
        std::any_of(plan_.p.labels.begin(), plan_.p.labels.end(),
                    [&](int64_t label) { return plan_.row_side.depends_on(label); });
    if (each_p) {
      pack();
    } else {
      emit_if(b_, b_.CreateICmpEQ(p, p0), pack);
    }
  }

  /// The blocks of a unit at p for tile registers.
  void emit_tile_blocks(llvm::Value* p0, llvm::Value* p) {
    const auto pack_rows = [&](llvm::Value* k0, llvm::Value* k1) {
      emit_tile_pack(plan_.row_side, plan_.m, row_source_, plan_.tile_row_side, parts_.copy_rows,
                     parts_.pack_rows, p, m0_, m1_, k0, k1, row_pack_);
    };
    const bool one_k_block = plan_.num_k_blocks == 1;
    if (one_k_block) {
      const auto [k0, k1] = steps_of(constant(0));
      emit_rows_once(p0, p, [&, first = k0, end = k1] { pack_rows(first, end); });
    }
    emit_loop(b_, n0_, n1_, plan_.lanes_at_once, [&](llvm::Value* n) {
      llvm::Value* const end_n = emit_min(b_, b_.CreateAdd(n, constant(plan_.lanes_at_once)), n1_);
      emit_loop(b_, constant(0), num_k_blocks_, 1, [&](llvm::Value* k_block) {
        const auto [k0, k1] = steps_of(k_block);
        if (!one_k_block) pack_rows(k0, k1);
        emit_tile_pack(plan_.lane_side, plan_.n, lane_source_, plan_.tile_lane_side,
                       parts_.copy_lanes, parts_.pack_lanes, p, n, end_n, k0, k1, lane_pack_);
        emit_tile_block(p, n, end_n, b_.CreateSub(k1, k0), k_block);
      });
    });
  }

  /// Packs rows or lanes [first, end) of one side.
  void emit_tile_pack(const AffineOperand& operand, const FlatSpace& space, llvm::Value* memory,
                      const TileOperand& how, llvm::Function* copy, llvm::Function* pack,
                      llvm::Value* p, llvm::Value* first, llvm::Value* end, llvm::Value* k0,
                      llvm::Value* k1, llvm::Value* target) {
    llvm::Value* source = copy_;
    if (!how.is_copied) {
      PartialAddress address = emit_base(b_, operand);
      emit_advance(b_, operand, segments_of(operand, plan_.p, plan_.extents), p, address);
      emit_advance(b_, operand, segments_of(operand, plan_.k, plan_.extents), k0, address);
      emit_advance(b_, operand, segments_of(operand, space, plan_.extents), first, address);
      source = ElementMemory(b_, operand.memory, plan_.dtype).pointer(memory, address.offset);
    } else if (how.along_k) {
      b_.CreateCall(copy, {memory, p, first, end, k0, k1, copy_});
    } else {
      b_.CreateCall(copy, {memory, p, k0, k1, first, end, copy_});
    }
    b_.CreateCall(pack, {source, b_.CreateSub(k1, k0), b_.CreateSub(end, first), target});
  }

  /// The packed rows of the unit times packed lanes [n0, n1).
  void emit_tile_block(llvm::Value* p, llvm::Value* n0, llvm::Value* n1, llvm::Value* k_count,
                       llvm::Value* k_block) {
    const auto packed = [&](llvm::Value* base, llvm::Value* number, int64_t panel, llvm::Value* k) {
      llvm::Value* const place = b_.CreateMul(number, constant(panel / kTileSide));
      return b_.CreateGEP(b_.getInt16Ty(), base, emit_mul_add(b_, k, kTileSide, place));
    };
    const bool one_k_block = plan_.num_k_blocks == 1;
    emit_loop(b_, first_panel_, end_panel_, 1, [&](llvm::Value* panel) {
      llvm::Value *const m = panel_row(panel), *const next_m =
                                                   panel_row(b_.CreateAdd(panel, constant(1)));
      llvm::Value* const local_m = b_.CreateSub(m, m0_);
      llvm::Value* const is_tall =
          b_.CreateICmpSGT(b_.CreateSub(next_m, m), constant(plan_.tile_rows - kTileSide));
      // A few panels of lanes, and then their epilogue, while the sums are in the first cache.
      emit_loop(b_, n0, n1, plan_.finished_lanes, [&](llvm::Value* first) {
        llvm::Value* const end =
            emit_min(b_, b_.CreateAdd(first, constant(plan_.finished_lanes)), n1);
        llvm::Value* const result =
            one_k_block ? result_
                        : at(result_, b_.CreateMul(local_m, constant(plan_.result_stride)));
        emit_loop(b_, constant(0), k_count, plan_.k_at_once, [&](llvm::Value* k) {
          llvm::Value* const count =
              emit_min(b_, b_.CreateSub(k_count, k), constant(plan_.k_at_once));
          llvm::Value* const accumulate = b_.CreateICmpSGT(b_.CreateAdd(k, k_block), constant(0));
          emit_lane_panels(first, end, is_tall, [&](llvm::Value* n) {
            return std::vector{packed(row_pack_, local_m, plan_.row_stride, k),
                               packed(lane_pack_, b_.CreateSub(n, n0), plan_.lane_stride, k),
                               at(result, b_.CreateSub(n, first)), count, accumulate};
          });
        });
        emit_finish(k_block, p, m, next_m, first, end, result);
      });
    });
  }

  /// First and end of a block's steps of k.
  std::pair<llvm::Value*, llvm::Value*> steps_of(llvm::Value* k_block) {
    // At least one: an empty sum has a block without steps.
    const int64_t blocks =
        std::max<int64_t>(ceil_div(plan_.k_turn, std::max<int64_t>(plan_.k_block, 1)), 1);
    llvm::Value *turn = constant(0), *block = k_block;
    if (plan_.num_k_blocks > blocks) {
      turn = b_.CreateMul(b_.CreateUDiv(k_block, constant(blocks)), k_turn_);
      block = b_.CreateURem(k_block, constant(blocks));
    }
    llvm::Value* const k0 = b_.CreateAdd(turn, b_.CreateMul(block, k_block_));
    return {k0, emit_min(b_, b_.CreateAdd(k0, k_block_), b_.CreateAdd(turn, k_turn_))};
  }

  /// WindowPacking::position for the rows' step k.
  llvm::Value* packed_column(llvm::Value* k) {
    const WindowPacking& packing = plan_.row_windows;
    AffineOperand columns;
    columns.coef.assign(plan_.extents.size(), 0);
    for (const int64_t label : packing.columns.labels)
      columns.coef[static_cast<size_t>(label)] = packing.position_step(label);
    return affine(columns, plan_.k, k);
  }

  llvm::Value* whole_windows(llvm::Value* m) {
    const int64_t steps = plan_.row_windows.steps();
    return b_.CreateMul(b_.CreateUDiv(m, constant(steps)), constant(steps));
  }

  /// ContractPlan::row_offset, but for a constant.
  llvm::Value* window_row(llvm::Value* m) {
    const WindowPacking& packing = plan_.row_windows;
    AffineOperand rows;
    rows.coef.assign(plan_.extents.size(), 0);
    int64_t stride = plan_.row_stride;
    for (size_t i = packing.rows.labels.size(); i-- > 0;) {
      const auto label = static_cast<size_t>(packing.rows.labels[i]);
      rows.coef[label] = stride;
      stride = checked_mul(stride, plan_.extents[label], "contract");
    }
    for (const SlidingWindow& window : packing.windows)
      rows.coef[static_cast<size_t>(window.window)] =
          window.window_step * packing.column_stride(window.sliding);
    return affine(rows, plan_.m, m);
  }

  /// The sum of coef[label] * label at a flat position.
  llvm::Value* affine(const AffineOperand& form, const FlatSpace& space, llvm::Value* flat) {
    PartialAddress address = emit_base(b_, form);
    emit_advance(b_, form, segments_of(form, space, plan_.extents), flat, address);
    return address.offset;
  }

  /// Where row or lane 0 at step k0 lies in an operand that is not packed.
  llvm::Value* in_place(const AffineOperand& operand, llvm::Value* source, llvm::Value* p,
                        llvm::Value* k0) {
    PartialAddress address = emit_base(b_, operand);
    emit_advance(b_, operand, segments_of(operand, plan_.p, plan_.extents), p, address);
    emit_advance(b_, operand, segments_of(operand, plan_.k, plan_.extents), k0, address);
    return ElementMemory(b_, operand.memory, plan_.dtype).pointer(source, address.offset);
  }

  llvm::Module& module_;
  const std::string& symbol_;
  const ContractPlan& plan_;
  const FlatEpilogue* direct_;  ///< with plan_.writes_result
  ValueEmitter* direct_values_ = nullptr;
  const Target& target_;
  StepParams& params_;
  llvm::IRBuilder<> b_;
  llvm::Type* element_;
  Parts parts_;
  llvm::Value *args_ = nullptr, *row_source_ = nullptr, *lane_source_ = nullptr;
  llvm::Value *lane_pack_ = nullptr, *row_pack_ = nullptr, *result_ = nullptr;
  llvm::Value *first_panel_ = nullptr, *end_panel_ = nullptr;
  llvm::Value *num_row_panels_ = nullptr, *num_tall_panels_ = nullptr, *num_lane_panels_ = nullptr;
  llvm::Value *num_row_blocks_ = nullptr, *num_lane_blocks_ = nullptr, *num_k_blocks_ = nullptr;
  llvm::Value *p_per_unit_ = nullptr, *p_extent_ = nullptr, *num_lanes_ = nullptr;
  llvm::Value *k_turn_ = nullptr, *k_block_ = nullptr, *full_lanes_ = nullptr;
  llvm::Value *row_panel_elements_ = nullptr, *lane_panel_elements_ = nullptr;
  llvm::Value *copy_ = nullptr, *num_rows_ = nullptr;
  llvm::Value *m0_ = nullptr, *m1_ = nullptr, *n0_ = nullptr, *n1_ = nullptr;
};

llvm::Function* declare_step(llvm::Module& module, const std::string& name,
                             llvm::Function::LinkageTypes linkage) {
  llvm::LLVMContext& context = module.getContext();
  llvm::Type* const i64 = llvm::Type::getInt64Ty(context);
  llvm::Type* const types[] = {llvm::PointerType::get(context, 0), i64, i64,
                               llvm::Type::getInt32Ty(context)};
  return llvm::Function::Create(
      llvm::FunctionType::get(llvm::Type::getVoidTy(context), types, false), linkage, name, module);
}

bool is_empty(const ContractKernel& kernel) {
  return std::any_of(kernel.spec.out.begin(), kernel.spec.out.end(), [&](int64_t label) {
    return kernel.spec.extents[static_cast<size_t>(label)] == 0;
  });
}

}  // namespace

ContractStep emit_contract_kernel(llvm::Module& module, const std::string& symbol,
                                  const ContractKernel& kernel, const Target& target) {
  check_kernel(kernel);
  llvm::Function* const function = declare_step(module, symbol, llvm::Function::ExternalLinkage);
  llvm::IRBuilder<> b(llvm::BasicBlock::Create(module.getContext(), "entry", function));
  ContractStep step;
  StepParams params;
  step.range = 0;
  if (is_empty(kernel)) {
    b.CreateRetVoid();
    return step;
  }
  // The units of all phases, one phase after the other.
  const std::vector<ContractKernel> phases = split_phases(kernel, target);
  for (size_t i = 0; i < phases.size(); ++i) {
    ContractPlan plan = plan_contract(phases[i], target);
    const std::optional<FlatEpilogue> direct = write_result_directly(phases[i], plan);
    if (flags().debug >= 3) log().debug("{}: {}", symbol, plan.to_text());
    const std::string name =
        phases.size() == 1 ? symbol + ".units" : fmt::format("{}.phase{}", symbol, i);
    llvm::Function* const units = declare_step(module, name, llvm::Function::InternalLinkage);
    StepEmitter(module, name, phases[i], plan, direct ? &*direct : nullptr, target, params)
        .emit(units);
    const auto param = [&](int64_t value) { return params.add(b, function->getArg(0), value); };
    llvm::Value* const first = i == 0 ? emit_i64(b, 0) : param(step.range);
    llvm::Value* const begin = emit_max(b, b.CreateSub(function->getArg(1), first), emit_i64(b, 0));
    llvm::Value* const end =
        emit_min(b, b.CreateSub(function->getArg(2), first), param(plan.units()));
    emit_if(b, b.CreateICmpSLT(begin, end),
            [&] { b.CreateCall(units, {function->getArg(0), begin, end, function->getArg(3)}); });
    step.range = checked_add(step.range, plan.units(), "contract");
    step.scratch_bytes =
        std::max(step.scratch_bytes,
                 checked_mul(plan.scratch_elements(), size_of(plan.dtype), "contract scratch"));
    step.flops += 2.0 * static_cast<double>(plan.p.extent) * static_cast<double>(plan.m.extent) *
                  static_cast<double>(plan.n.extent) * static_cast<double>(plan.k.extent);
  }
  b.CreateRetVoid();
  step.params = params.values();
  return step;
}

}  // namespace coregrad
