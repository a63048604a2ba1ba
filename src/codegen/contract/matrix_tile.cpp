// Matrix tiles: sums of 16 x 16 in tile registers (AMX).

#include "base/error.h"
#include "codegen/contract/tiles.h"
#include "codegen/ir/control_flow.h"

#include <llvm/IR/IntrinsicsX86.h>
#include <llvm/IR/Module.h>

#include <vector>

namespace coregrad {
namespace {

constexpr int64_t kElement = 2;  // bytes
constexpr int64_t kRegisters = 8;

llvm::Value* register_number(llvm::IRBuilder<>& b, int64_t number) {
  return b.getInt8(static_cast<uint8_t>(number));
}

}  // namespace

void emit_matrix_begin(llvm::IRBuilder<>& b) {
  // Palette 1; 16 rows of 64 bytes for each of the eight registers.
  std::vector<uint8_t> bytes(64, 0);
  bytes[0] = 1;
  for (size_t i = 0; i < kRegisters; ++i) bytes[16 + 2 * i] = 64, bytes[48 + i] = 16;
  llvm::Constant* const data = llvm::ConstantDataArray::get(b.getContext(), bytes);
  auto* const config =
      new llvm::GlobalVariable(*b.GetInsertBlock()->getModule(), data->getType(), true,
                               llvm::GlobalValue::PrivateLinkage, data, "tiles");
  config->setAlignment(llvm::Align(64));
  b.CreateIntrinsic(llvm::Intrinsic::x86_ldtilecfg, {}, {config});
}

void emit_matrix_end(llvm::IRBuilder<>& b) {
  b.CreateIntrinsic(llvm::Intrinsic::x86_tilerelease, {}, {});
}

void emit_matrix_tile(llvm::Function* function, const ContractPlan& plan, const TileSize& size) {
  const auto [rows, lanes, is_cut] = size;
  COREGRAD_CHECK(!is_cut);
  llvm::LLVMContext& context = function->getContext();
  llvm::IRBuilder<> b(llvm::BasicBlock::Create(context, "entry", function));

  // Registers: sums, then rows, then as many lanes as are left, in turn.
  const int64_t row_panels = rows / kMatrixSide, lane_panels = lanes / kMatrixSide;
  const int64_t sums = row_panels * lane_panels, first_lane = sums + row_panels;
  const int64_t lane_registers = kRegisters - first_lane;
  COREGRAD_CHECK(rows % kMatrixSide == 0 && lanes % kMatrixSide == 0 && lane_registers > 0);
  const int64_t row_panel = std::get<MatrixPanels>(plan.rows).panel_elements,
                lane_panel = std::get<MatrixPanels>(plan.lanes).panel_elements;
  const auto each_sum = [&](auto&& visit) {
    for (int64_t r = 0; r < row_panels; ++r)
      for (int64_t l = 0; l < lane_panels; ++l) {
        const int64_t place = kMatrixSide * (r * plan.result_stride + l);
        visit(register_number(b, r * lane_panels + l),
              b.CreateConstGEP1_64(b.getFloatTy(), function->getArg(2),
                                   static_cast<uint64_t>(place)));
      }
  };
  llvm::Value* const result_stride = emit_i64(b, plan.result_stride * 4);
  llvm::BasicBlock* const load = llvm::BasicBlock::Create(context, "load", function);
  llvm::BasicBlock* const clear = llvm::BasicBlock::Create(context, "clear", function);
  llvm::BasicBlock* const ready = llvm::BasicBlock::Create(context, "ready", function);
  b.CreateCondBr(function->getArg(4), load, clear);
  b.SetInsertPoint(load);
  each_sum([&](llvm::Value* number, llvm::Value* at) {
    b.CreateIntrinsic(llvm::Intrinsic::x86_tileloadd64, {}, {number, at, result_stride});
  });
  b.CreateBr(ready);
  b.SetInsertPoint(clear);
  each_sum([&](llvm::Value* number, llvm::Value*) {
    b.CreateIntrinsic(llvm::Intrinsic::x86_tilezero, {}, {number});
  });
  b.CreateBr(ready);
  b.SetInsertPoint(ready);
  emit_loop(b, emit_i64(b, 0), function->getArg(3), kMatrixDepth, [&](llvm::Value* k) {
    // Blocks of 16 x 32 elements one after the other along k.
    llvm::Value* const place = b.CreateMul(k, emit_i64(b, kMatrixSide));
    const auto load_block = [&](int64_t number, unsigned argument, int64_t elements) {
      llvm::Value* const panel = b.CreateConstGEP1_64(b.getInt16Ty(), function->getArg(argument),
                                                      static_cast<uint64_t>(elements));
      b.CreateIntrinsic(llvm::Intrinsic::x86_tileloadd64, {},
                        {register_number(b, number), b.CreateGEP(b.getInt16Ty(), panel, place),
                         emit_i64(b, kMatrixDepth * kElement)});
    };
    for (int64_t l = 0; l < lane_panels; ++l) {
      const int64_t lane = first_lane + l % lane_registers;
      load_block(lane, 1, l * lane_panel);
      for (int64_t r = 0; r < row_panels; ++r) {
        if (l == 0) load_block(sums + r, 0, r * row_panel);
        b.CreateIntrinsic(llvm::Intrinsic::x86_tdpbf16ps, {},
                          {register_number(b, r * lane_panels + l), register_number(b, sums + r),
                           register_number(b, lane)});
      }
    }
  });
  each_sum([&](llvm::Value* number, llvm::Value* at) {
    b.CreateIntrinsic(llvm::Intrinsic::x86_tilestored64, {}, {number, at, result_stride});
  });
  b.CreateRetVoid();
}

}  // namespace coregrad
