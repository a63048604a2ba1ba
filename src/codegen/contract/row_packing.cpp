#include "codegen/contract/row_packing.h"

#include "base/checked.h"
#include "codegen/contract/pack.h"
#include "codegen/ir/control_flow.h"

#include <llvm/IR/Module.h>

namespace coregrad {
namespace {

template <class Packing>
int64_t stride_of(const ContractPlan& plan) {
  return std::get<Packing>(plan.rows).stride;
}

class InPlace : public RowPacker {
 public:
  using RowPacker::RowPacker;

  void locate(const Block& block) override {
    const PartialAddress address = emit_address(b_, step_.params, plan_, plan_.row_side,
                                                {{plan_.p, block.p}, {plan_.k, block.k0}});
    base_ = memory_.pointer(step_.row_source, address.offset);
  }
  llvm::Value* tile(const Block&, const RowPanel& panel) override {
    return memory_.pointer(
        base_, emit_mul_add(b_, step_.params, panel.m, RowsInPlace().distances(plan_).across,
                            step_.constant(0)));
  }

 private:
  ElementMemory memory_{b_, plan_.row_side.memory, plan_.dtype};
  llvm::Value* base_ = nullptr;
};

class RunsAlongK : public RowPacker {
 public:
  explicit RunsAlongK(StepContext& step)
      : RowPacker(step),
        pack_(pack_runs(step, plan_, plain_packing(plan_.row_side, plan_.m, plan_.k, plan_.sizes),
                        stride_of<RowRunsAlongK>)) {}

  void read_sizes() override { stride_ = step_.params.constant(plan_, stride_of<RowRunsAlongK>); }

  void pack(const Block& block) override {
    pack_.call(step_.row_source, block.p, {block.m0, block.m1, block.k0, block.k1}, step_.row_pack);
  }
  llvm::Value* tile(const Block&, const RowPanel& panel) override {
    return step_.at(step_.row_pack, b_.CreateMul(panel.local, stride_));
  }

 private:
  Pack pack_;
  llvm::Value* stride_ = nullptr;
};

class RunsAlongM : public RowPacker {
 public:
  explicit RunsAlongM(StepContext& step)
      : RowPacker(step),
        pack_(pack_runs(step, plan_, plain_packing(plan_.row_side, plan_.k, plan_.m, plan_.sizes),
                        stride_of<RowRunsAlongM>)) {}

  void pack(const Block& block) override {
    pack_.call(step_.row_source, block.p, {block.k0, block.k1, block.m0, block.m1}, step_.row_pack);
  }
  llvm::Value* tile(const Block&, const RowPanel& panel) override {
    return step_.at(step_.row_pack, panel.local);
  }

 private:
  Pack pack_;
};

/// With (k0, k1, first panel, end panel) and two more numbers, num_tall_panels and panel_elements:
/// rows that are neighbours in memory (one segment each way, no checks) to [panel][k][row of the
/// panel].
void emit_pack_panels(StepContext& step, llvm::Function* function) {
  const ContractPlan& plan = step.plan;
  ContractParams& params = step.params;
  llvm::IRBuilder<> b(llvm::BasicBlock::Create(function->getContext(), "entry", function));
  const AffineOperand& operand = plan.row_side;
  llvm::Type* const element = contract_element_type(function->getContext(), plan.dtype);
  const auto width = static_cast<unsigned>(plan.width);
  const llvm::Align align(static_cast<uint64_t>(size_of(plan.dtype)));
  ElementMemory memory(b, operand.memory, plan.dtype);
  const SymInt row_k = plan.segments(operand, plan.k).back().coef;
  llvm::Value *const k0 = function->getArg(2), *const k1 = function->getArg(3),
                     *const first = function->getArg(4), *const end = function->getArg(5);
  llvm::Value* const source = function->getArg(0);
  llvm::Value *const num_tall_panels = function->getArg(8), *const panel_elements =
                                                                function->getArg(9);
  llvm::Value* const last_row =
      plan.last_rows_overlap() ? b.CreateSub(params.size(plan.m.size), emit_i64(b, plan.tile_rows))
                               : nullptr;
  llvm::Value* const tall_end = emit_min(b, end, num_tall_panels);
  // Steps of k outside: memory is read in its own order. A panel's vectors are stored whole; what
  // is too much lies where the next step is stored afterwards.
  emit_loop(b, k0, k1, 1, [&](llvm::Value* k) {
    llvm::Value* const from =
        memory.pointer(source, emit_mul_add(b, params, k, row_k, emit_i64(b, 0)));
    llvm::Value* const to =
        b.CreateGEP(element, function->getArg(6),
                    emit_mul_add(b, b.CreateSub(k, k0), plan.tile_rows, emit_i64(b, 0)));
    const auto copy = [&](llvm::Value* panel, int64_t rows) {
      llvm::Value* const tall_rows = b.CreateMul(panel, emit_i64(b, plan.tile_rows));
      llvm::Value* m = rows == plan.tile_rows
                           ? tall_rows
                           : b.CreateSub(tall_rows, b.CreateSub(panel, num_tall_panels));
      if (last_row) m = emit_min(b, m, last_row);
      llvm::Value* const place =
          b.CreateGEP(element, to, b.CreateMul(b.CreateSub(panel, first), panel_elements));
      for (int64_t done = 0; done < rows; done += width) {
        std::vector<llvm::Constant*> bits;
        for (int64_t l = 0; l < width; ++l) bits.push_back(b.getInt1(done + l < rows));
        llvm::Value* const mask = llvm::ConstantVector::get(bits);
        llvm::Value* const at = memory.pointer(memory.pointer(from, m), emit_i64(b, done));
        b.CreateAlignedStore(memory.load(at, width, mask),
                             b.CreateConstGEP1_64(element, place, static_cast<uint64_t>(done)),
                             align);
      }
    };
    emit_loop(b, first, tall_end, 1, [&](llvm::Value* panel) { copy(panel, plan.tile_rows); });
    if (plan.has_low_panels())
      emit_loop(b, emit_max(b, first, tall_end), end, 1,
                [&](llvm::Value* panel) { copy(panel, plan.tile_rows - 1); });
  });
  b.CreateRetVoid();
}

class Panels : public RowPacker {
 public:
  explicit Panels(StepContext& step)
      : RowPacker(step),
        pack_(
            step, plan_.row_side,
            [&](llvm::Function* function) { emit_pack_panels(step, function); }, 2) {}

  void read_sizes() override {
    panel_elements_ = step_.number(
        [](const ContractPlan& p) { return std::get<RowPanels>(p.rows).panel_elements; });
  }
  void pack(const Block& block) override {
    pack_.call(step_.row_source, block.p, {block.k0, block.k1, block.first_panel, block.end_panel},
               step_.row_pack, {step_.num_tall_panels, panel_elements_});
  }
  llvm::Value* tile(const Block& block, const RowPanel& panel) override {
    return step_.at(step_.row_pack,
                    b_.CreateMul(b_.CreateSub(panel.number, block.first_panel), panel_elements_));
  }

 private:
  Pack pack_;
  llvm::Value* panel_elements_ = nullptr;
};

class Windows : public RowPacker {
 public:
  Windows(StepContext& step, const RowWindows& rows)
      : RowPacker(step),
        rows_(rows),
        packing_(rows.windows),
        pack_(pack_runs(step, plan_, packing_, stride_of<RowWindows>)) {}

  void pack(const Block& block) override {
    llvm::Value* const steps = step_.constant(packing_.steps());
    llvm::Value* const last = b_.CreateUDiv(b_.CreateSub(block.m1, step_.constant(1)), steps);
    llvm::Value* const column = packed_column(block.k0);
    llvm::Value* const columns = emit_mul_add(
        b_, b_.CreateUDiv(b_.CreateSub(block.k1, block.k0), step_.constant(rows_.span_k)),
        rows_.span, step_.constant(rows_.span_rest));
    pack_.call(step_.row_source, block.p,
               {b_.CreateUDiv(block.m0, steps), b_.CreateAdd(last, step_.constant(1)), column,
                b_.CreateAdd(column, columns)},
               step_.row_pack);
  }
  llvm::Value* tile(const Block& block, const RowPanel& panel) override {
    llvm::Value* const row = row_offset(panel.m);
    llvm::Value* const first = row_offset(whole_windows(block.m0));
    return step_.at(step_.row_pack,
                    b_.CreateAdd(b_.CreateSub(row, first), step_.constant(rows_.row_offset(0))));
  }

 private:
  /// WindowPacking::position of a step of k.
  llvm::Value* packed_column(llvm::Value* k) {
    AffineOperand columns;
    columns.coef.assign(plan_.extents.size(), 0);
    for (const int64_t label : packing_.columns.labels)
      columns.coef[label] = packing_.position_step(label);
    return emit_address(b_, step_.params, plan_, columns, {{plan_.k, k}}).offset;
  }

  /// RowWindows::row_offset, but for a constant.
  llvm::Value* row_offset(llvm::Value* m) {
    AffineOperand rows;
    rows.coef.assign(plan_.extents.size(), 0);
    int64_t stride = rows_.stride;
    for (size_t i = packing_.rows.labels.size(); i-- > 0;) {
      const int64_t label = packing_.rows.labels[i];
      rows.coef[label] = stride;
      stride = checked_mul(stride, plan_.extent(label), "contract");
    }
    for (const SlidingWindow& window : packing_.windows)
      rows.coef[window.window] = window.window_step * packing_.column_stride(window.sliding);
    return emit_address(b_, step_.params, plan_, rows, {{plan_.m, m}}).offset;
  }

  llvm::Value* whole_windows(llvm::Value* m) {
    llvm::Value* const steps = step_.constant(packing_.steps());
    return b_.CreateMul(b_.CreateUDiv(m, steps), steps);
  }

  const RowWindows& rows_;
  const WindowPacking& packing_;
  Pack pack_;
};

/// The class of each packing.
struct Maker {
  StepContext& step;
  using Made = std::unique_ptr<RowPacker>;

  Made operator()(const RowsInPlace&) { return std::make_unique<InPlace>(step); }
  Made operator()(const RowRunsAlongK&) { return std::make_unique<RunsAlongK>(step); }
  Made operator()(const RowRunsAlongM&) { return std::make_unique<RunsAlongM>(step); }
  Made operator()(const RowPanels&) { return std::make_unique<Panels>(step); }
  Made operator()(const RowWindows& rows) { return std::make_unique<Windows>(step, rows); }
  Made operator()(const MatrixPanels&) { COREGRAD_UNREACHABLE("matrix_packing.h packs these"); }
};

}  // namespace

std::unique_ptr<RowPacker> make_row_packer(StepContext& step) {
  return std::visit(Maker{step}, step.plan.rows);
}

}  // namespace coregrad
