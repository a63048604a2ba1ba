#include "codegen/contract/epilogue.h"

#include "codegen/ir/control_flow.h"
#include "runtime/plan.h"

#include <llvm/IR/Module.h>

#include <algorithm>
#include <cstddef>
#include <map>
#include <span>

namespace coregrad {

llvm::Value* load_argument(llvm::IRBuilder<>& b, llvm::Value* args, size_t offset) {
  return b.CreateAlignedLoad(b.getPtrTy(), b.CreateConstGEP1_64(b.getInt8Ty(), args, offset),
                             llvm::Align(8));
}

llvm::Value* load_buffer(llvm::IRBuilder<>& b, llvm::Value* buffers, size_t number) {
  return b.CreateAlignedLoad(b.getPtrTy(), b.CreateConstGEP1_64(b.getPtrTy(), buffers, number),
                             llvm::Align(8));
}

namespace {

std::vector<llvm::Value*> load_epilogue_buffers(llvm::IRBuilder<>& b, llvm::Value* args,
                                                const LoopKernel& epilogue) {
  llvm::Value* const list = load_argument(b, args, offsetof(StepArgs, buffers));
  std::vector<llvm::Value*> buffers;
  for (size_t i = 0; i < epilogue.buffers.size(); ++i)
    buffers.push_back(load_buffer(b, list, i + 2));
  return buffers;
}

/// With runs, the last label of the lanes is a run of its own; otherwise all lanes are one run.
FlatEpilogue flatten_epilogue(const ContractKernel& kernel, const ContractPlan& plan, bool runs) {
  FlatEpilogue result{.kernel = kernel.epilogue};
  LoopKernel& flat = result.kernel;
  std::vector<IndexExpr> of_label(plan.sizes.size());
  const auto add_axis = [&](std::span<const int64_t> labels) {
    const int axis = static_cast<int>(flat.axes.size());
    SymInt extent = 1;
    for (const int64_t label : labels) extent *= plan.sizes[label];
    IndexExpr rest = flat.context.axis(axis, extent);
    flat.axes.push_back({extent, -1});
    for (size_t i = labels.size(); i-- > 0;) {
      const auto label = static_cast<size_t>(labels[i]);
      const SymInt size = max(plan.sizes[label], 1);  // without elements nothing is asked for
      of_label[label] = i == 0 ? rest : flat.context.mod(rest, size);
      rest = flat.context.div(rest, size);
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
  for (const int64_t label : kernel.spec.out)
    replacement.emplace(static_cast<int>(replacement.size()), of_label[label]);
  for (KernelValue& value : flat.values)
    value.index = flat.context.substitute(value.index, replacement);
  for (KernelStore& store : flat.stores)
    store.index = flat.context.substitute(store.index, replacement);
  flat.num_parallel = static_cast<int>(flat.axes.size());
  return result;
}

/// Whether every access of the epilogue is affine in its lanes.
bool is_affine(const FlatEpilogue& flat) {
  SymInt factor = 0;
  const auto fits = [&](const auto& access) {
    return flat.kernel.context.affine_in(access.index, flat.lane, &factor);
  };
  return std::ranges::all_of(flat.kernel.values, fits) &&
         std::ranges::all_of(flat.kernel.stores, fits);
}

class EpilogueEmitter {
 public:
  EpilogueEmitter(llvm::Function* function, const ContractPlan& plan, const FlatEpilogue& epilogue,
                  bool by_runs, const Target& target, ContractParams& params)
      : b_(llvm::BasicBlock::Create(function->getContext(), "entry", function)),
        function_(function),
        plan_(plan),
        epilogue_(epilogue),
        by_runs_(by_runs),
        target_(target),
        params_(params),
        values_(make_values()),
        bound_(std::ranges::find(epilogue.kernel.values, ValueKind::Bound, &KernelValue::kind) -
               epilogue.kernel.values.begin()),
        element_(contract_element_type(function->getContext(), plan.dtype)),
        width_(static_cast<int>(plan.width)),
        scalar_lanes_(is_always(plan.n.size, 1) || width_ == 1) {}

  void emit() {
    llvm::Value *const m0 = function_->getArg(2), *const m1 = function_->getArg(3),
                       *const n0 = function_->getArg(4), *const n1 = function_->getArg(5);
    llvm::Value* const stride =
        params_.constant(plan_, [](const ContractPlan& p) { return p.result_stride; });
    values_.set_axis(epilogue_.p, function_->getArg(1));
    values_.push_scope();
    emit_loop(b_, m0, m1, 1, [&](llvm::Value* m) {
      values_.set_axis(epilogue_.m, m);
      row_ =
          b_.CreateGEP(element_, function_->getArg(6), b_.CreateMul(b_.CreateSub(m, m0), stride));
      if (by_runs_) return emit_runs(n0, n1);
      values_.set_axis(epilogue_.run, emit_i64(b_, 0));
      const bool may_be_cut = !plan_.n.is_fixed || plan_.n.extent % width_ != 0 ||
                              (plan_.num_lane_blocks > 1 && plan_.tile_lanes % width_ != 0);
      emit_lanes(n0, n1, emit_i64(b_, 0), !plan_.n.is_fixed || plan_.n.extent >= width_,
                 may_be_cut);
    });
    values_.pop_scope();
    b_.CreateRetVoid();
  }

 private:
  /// Whether so many lanes may fill a vector.
  bool may_reach(SymInt lanes) const { return !lanes.is_number() || lanes.number() >= width_; }

  ValueEmitter make_values() {
    llvm::Argument* const args = function_->getArg(0);
    params_.start(args);
    llvm::Value* const status = load_argument(b_, args, offsetof(StepArgs, status));
    return ValueEmitter(b_, epilogue_.kernel, target_,
                        load_epilogue_buffers(b_, args, epilogue_.kernel), status, params_);
  }

  /// The lane n, or a vector of lanes from n on, whose sums lie in column `column` of the row.
  void emit_values(llvm::Value* n, llvm::Value* column, llvm::Value* mask) {
    values_.set_axis(epilogue_.lane, n);
    llvm::Type* type = element_;
    if (!scalar_lanes_) {
      values_.set_lane({epilogue_.lane, width_, mask});
      type = llvm::FixedVectorType::get(element_, static_cast<unsigned>(width_));
    }
    const llvm::Align align(static_cast<uint64_t>(size_of(plan_.dtype)));
    values_.bind(static_cast<ValueId>(bound_),
                 b_.CreateAlignedLoad(type, b_.CreateGEP(element_, row_, column), align));
    for (const KernelStore& store : epilogue_.kernel.stores) values_.emit_store(store);
  }

  /// Lanes begin .. end, from column `column` on.
  void emit_lanes(llvm::Value* begin, llvm::Value* end, llvm::Value* column, bool may_be_whole,
                  bool may_be_cut) {
    const auto at = [&](llvm::Value* n) { return b_.CreateAdd(column, b_.CreateSub(n, begin)); };
    const auto each = [&](llvm::Value* last, int64_t step) {
      values_.push_scope();
      emit_loop(b_, begin, last, step, [&](llvm::Value* n) { emit_values(n, at(n), nullptr); });
      values_.pop_scope();
    };
    if (scalar_lanes_) return each(end, 1);
    llvm::Value* const whole = b_.CreateAdd(
        begin, b_.CreateAnd(b_.CreateSub(end, begin), emit_i64(b_, -static_cast<int64_t>(width_))));
    if (may_be_whole) each(whole, width_);
    if (!may_be_cut) return;
    values_.push_scope();
    emit_if(b_, b_.CreateICmpSLT(whole, end), [&] {
      llvm::Value* const column_of_rest = at(whole);
      emit_values(whole, column_of_rest,
                  emit_lane_mask(b_, emit_i64(b_, 0), b_.CreateSub(end, whole), width_,
                                 size_of(plan_.dtype), target_));
    });
    values_.pop_scope();
  }

  /// Packed lanes n0 .. n1 run by run. Between the runs there may be lanes that are none.
  void emit_runs(llvm::Value* n0, llvm::Value* n1) {
    const SymInt run = epilogue_.run_extent;
    llvm::Value* const pitch = params_.size(packed_extent(plan_.n.labels.back()));
    llvm::Value* const last = b_.CreateUDiv(b_.CreateSub(n1, emit_i64(b_, 1)), pitch);
    llvm::Value* const first = b_.CreateUDiv(n0, pitch);
    emit_loop(b_, first, b_.CreateAdd(last, emit_i64(b_, 1)), 1, [&](llvm::Value* number) {
      const auto [outer, exists] = find_run(number);
      llvm::Value* const start = b_.CreateMul(number, pitch);
      llvm::Value* const begin = emit_max(b_, b_.CreateSub(n0, start), emit_i64(b_, 0));
      llvm::Value* const run_end = emit_min(b_, b_.CreateSub(n1, start), params_.size(run));
      // Where the block begins behind the run's lanes, there is nothing to finish; what is read
      // ahead of the loop must be there all the same.
      llvm::Value* const end = b_.CreateSelect(exists, emit_max(b_, run_end, begin), begin);
      values_.push_scope();
      values_.set_axis(epilogue_.run, b_.CreateSelect(exists, outer, emit_i64(b_, 0)));
      emit_lanes(begin, end, b_.CreateSub(b_.CreateAdd(start, begin), n0), may_reach(run), true);
      values_.pop_scope();
    });
  }

  /// Which run of lanes a run of packed lanes is, and whether it is one.
  std::pair<llvm::Value*, llvm::Value*> find_run(llvm::Value* number) {
    llvm::Value *rest = number, *outer = emit_i64(b_, 0), *exists = b_.getTrue();
    SymInt stride = 1;
    for (size_t i = plan_.n.labels.size() - 1; i-- > 0;) {
      const int64_t label = plan_.n.labels[i];
      llvm::Value* const packed = params_.size(packed_extent(label));
      llvm::Value* const index = i == 0 ? rest : b_.CreateURem(rest, packed);
      exists = b_.CreateAnd(exists, b_.CreateICmpSLT(index, params_.size(plan_.sizes[label])));
      outer = emit_mul_add(b_, params_, index, stride, outer);
      stride *= plan_.sizes[label];
      if (i > 0) rest = b_.CreateUDiv(rest, packed);
    }
    return {outer, exists};
  }

  SymInt packed_extent(int64_t label) const { return plan_.lane_windows.extents[label]; }

  llvm::IRBuilder<> b_;
  llvm::Function* function_;
  const ContractPlan& plan_;
  const FlatEpilogue& epilogue_;
  bool by_runs_;
  const Target& target_;
  ContractParams& params_;
  ValueEmitter values_;
  std::ptrdiff_t bound_;  ///< the value that is the sum
  llvm::Type* element_;
  int width_;
  bool scalar_lanes_;
  llvm::Value* row_ = nullptr;  ///< of sums
};

}  // namespace

llvm::Function* emit_epilogue(llvm::Module& module, const std::string& name,
                              const ContractKernel& kernel, const ContractPlan& plan,
                              const Target& target, ContractParams& params) {
  llvm::LLVMContext& context = module.getContext();
  llvm::Type* const pointer = llvm::PointerType::get(context, 0);
  llvm::Type* const i64 = llvm::Type::getInt64Ty(context);
  llvm::Function* const function =
      declare_part(module, name, {pointer, i64, i64, i64, i64, i64, pointer}, {6});
  // Run by run where packed lanes lie between the runs, and where places are no multiples of the
  // lane's: a division for each lane is dear.
  FlatEpilogue epilogue = flatten_epilogue(kernel, plan, false);
  const bool by_runs =
      plan.has_lanes_between() || (plan.n.labels.size() > 1 && !is_affine(epilogue) &&
                                   plan.extent(plan.n.labels.back()) >= plan.width);
  if (by_runs) epilogue = flatten_epilogue(kernel, plan, true);
  EpilogueEmitter(function, plan, epilogue, by_runs, target, params).emit();
  return function;
}

std::optional<FlatEpilogue> write_result_directly(const ContractKernel& kernel,
                                                  ContractPlan& plan) {
  const bool fits = plan.is_outer() && plan.num_k_blocks == 1 && !plan.any_size &&
                    !plan.has_lanes_between() && plan.n.extent > 1 && size_of(plan.dtype) >= 4;
  const LoopKernel& epilogue = kernel.epilogue;
  if (!fits || epilogue.stores.size() != 1) return std::nullopt;
  const KernelBuffer& buffer = epilogue.buffers[epilogue.stores[0].buffer];
  const KernelValue& value = epilogue.values[epilogue.stores[0].value];
  if (value.kind != ValueKind::Bound || buffer.dtype != plan.dtype || buffer.non_temporal)
    return std::nullopt;
  FlatEpilogue flat = flatten_epilogue(kernel, plan, false);
  const IndexExpr& index = flat.kernel.stores[0].index;
  const IndexContext& context = flat.kernel.context;
  SymInt lane_stride = 0, row_stride = 0;
  if (!context.affine_in(index, flat.lane, &lane_stride) || lane_stride != 1 ||
      !context.affine_in(index, flat.m, &row_stride))
    return std::nullopt;
  plan.writes_result = true;
  plan.result_stride = row_stride.number();
  plan.result_elements = 0;
  return flat;
}

DirectResult::DirectResult(StepContext& step, const FlatEpilogue& epilogue)
    : epilogue_(epilogue),
      b_(step.b),
      values_(b_, epilogue.kernel, step.target,
              load_epilogue_buffers(b_, step.args, epilogue.kernel), nullptr, step.params) {}

llvm::Value* DirectResult::row(llvm::Value* p, llvm::Value* m) {
  llvm::Value* const zero = emit_i64(b_, 0);
  values_.push_scope();
  values_.set_axis(epilogue_.p, p);
  values_.set_axis(epilogue_.m, m);
  values_.set_axis(epilogue_.run, zero);
  values_.set_axis(epilogue_.lane, zero);
  const KernelStore& store = epilogue_.kernel.stores[0];
  llvm::Value* const row = values_.element_pointer(store.buffer, store.index);
  values_.pop_scope();
  return row;
}

}  // namespace coregrad
