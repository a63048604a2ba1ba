#include "codegen/contract/lane_packing.h"

#include "base/error.h"
#include "codegen/contract/pack.h"
#include "codegen/ir/control_flow.h"

#include <llvm/IR/Module.h>

namespace coregrad {
namespace {

class InPlace : public LanePacker {
 public:
  using LanePacker::LanePacker;

  void locate(const Block& block) override {
    const PartialAddress address = emit_address(b_, step_.params, plan_, plan_.lane_side,
                                                {{plan_.p, block.p}, {plan_.k, block.k0}});
    base_ = memory_.pointer(step_.lane_source, address.offset);
  }
  llvm::Value* tile(const Block&, llvm::Value* n, llvm::Value*) override {
    return memory_.pointer(base_,
                           emit_mul_add(b_, step_.params, n, LanesInPlace().distances(plan_).across,
                                        step_.constant(0)));
  }

 private:
  ElementMemory memory_{b_, plan_.lane_side.memory, plan_.dtype};
  llvm::Value* base_ = nullptr;
};

/// Run by run, or transposed.
class Panels : public LanePacker {
 public:
  Panels(StepContext& step, bool is_transposed)
      : LanePacker(step),
        pack_(is_transposed ? pack_transposed(step)
                            : pack_runs(step, plan_, plan_.lane_windows,
                                        [](const ContractPlan& p) { return p.tile_lanes; })) {}

  void read_sizes() override {
    panel_elements_ = step_.number([](const ContractPlan& p) {
      const auto* transposed = std::get_if<LanesTransposed>(&p.lanes);
      return (transposed ? *transposed : std::get<LanePanels>(p.lanes)).panel_elements;
    });
  }
  void pack(const Block& block) override {
    llvm::Value* const lanes = step_.constant(plan_.tile_lanes);
    emit_loop(b_, block.n0, block.n1, plan_.tile_lanes, [&](llvm::Value* n) {
      llvm::Value* const end = emit_min(b_, b_.CreateAdd(n, lanes), block.n1);
      pack_.call(step_.lane_source, block.p, {block.k0, block.k1, n, end}, tile(block, n, nullptr));
    });
  }
  llvm::Value* tile(const Block& block, llvm::Value* n, llvm::Value*) override {
    llvm::Value* const panel =
        b_.CreateUDiv(b_.CreateSub(n, block.n0), step_.constant(plan_.tile_lanes));
    return step_.at(step_.lane_pack, b_.CreateMul(panel, panel_elements_));
  }

 private:
  Pack pack_;
  llvm::Value* panel_elements_ = nullptr;
};

class Windows : public LanePacker {
 public:
  explicit Windows(StepContext& step)
      : LanePacker(step),
        pack_(pack_runs(step, plan_, plan_.lane_windows, [](const ContractPlan& p) {
          return std::get<LaneWindows>(p.lanes).stride;
        })) {}

  void read_sizes() override {
    reach_ =
        step_.params.constant(plan_, [](const ContractPlan& p) { return p.lane_windows.reach(); });
  }
  void pack(const Block& block) override {
    llvm::Value* const steps = step_.constant(plan_.lane_windows.steps());
    pack_.call(step_.lane_source, block.p,
               {b_.CreateUDiv(block.k0, steps), b_.CreateUDiv(block.k1, steps), block.n0,
                b_.CreateAdd(block.n1, reach_)},
               step_.lane_pack);
  }
  llvm::Value* tile(const Block&, llvm::Value*, llvm::Value* local) override {
    return step_.at(step_.lane_pack, local);
  }

 private:
  Pack pack_;
  llvm::Value* reach_ = nullptr;  ///< how far windows reach behind the last lane
};

/// The class of each packing.
struct Maker {
  StepContext& step;
  using Made = std::unique_ptr<LanePacker>;

  Made operator()(const LanesInPlace&) { return std::make_unique<InPlace>(step); }
  Made operator()(const LanePanels&) { return std::make_unique<Panels>(step, false); }
  Made operator()(const LanesTransposed&) { return std::make_unique<Panels>(step, true); }
  Made operator()(const LaneWindows&) { return std::make_unique<Windows>(step); }
  Made operator()(const MatrixPanels&) { COREGRAD_UNREACHABLE("matrix_packing.h packs these"); }
};

}  // namespace

std::unique_ptr<LanePacker> make_lane_packer(StepContext& step) {
  return std::visit(Maker{step}, step.plan.lanes);
}

}  // namespace coregrad
