#include "codegen/contract/matrix.h"

#include "base/checked.h"
#include "codegen/contract/micro.h"
#include "codegen/contract/operand_address.h"
#include "codegen/contract/pack.h"

#include <llvm/IR/IntrinsicsX86.h>
#include <llvm/IR/Module.h>

#include <array>
#include <vector>

namespace coregrad {
namespace {

constexpr int64_t kElement = 2;                                // bytes
constexpr int64_t kTileElements = kTileSide * kTileDepth;      // of packed rows or lanes
constexpr int64_t kPiece = 16 / kElement;                      // elements of a 16-byte block
constexpr unsigned kUnits = static_cast<unsigned>(kTileSide);  // 4-byte units of a vector

/// Packs blocks of 16 rows or lanes x 32 steps of k, whole or cut.
class TilePacker {
 public:
  TilePacker(llvm::Function* function, const Target& target)
      : b_(llvm::BasicBlock::Create(function->getContext(), "entry", function)), target_(target) {}

  llvm::IRBuilder<>& builder() { return b_; }

  llvm::Value* at(llvm::Value* base, llvm::Value* elements) {
    return b_.CreateGEP(b_.getInt16Ty(), base, elements);
  }
  llvm::Value* at(llvm::Value* base, int64_t elements) { return at(base, emit_i64(b_, elements)); }

  /// body(place, left): left is null for a whole block.
  template <class Body>
  void blocks(llvm::Value* count, int64_t size, Body body) {
    llvm::Value* const whole = b_.CreateAnd(count, emit_i64(b_, -size));
    emit_loop(b_, emit_i64(b_, 0), whole, size, [&](llvm::Value* i) { body(i, nullptr); });
    emit_if(b_, b_.CreateICmpSLT(whole, count), [&] { body(whole, b_.CreateSub(count, whole)); });
  }

  /// target[pair of k][x][2] for 16 neighbours x, whose steps of k lie k_stride apart.
  void interleave(llvm::Value* source, int64_t k_stride, llvm::Value* k_left, llvm::Value* x_left,
                  llvm::Value* target) {
    llvm::Type* const narrow = llvm::FixedVectorType::get(b_.getInt16Ty(), kUnits);
    llvm::Type* const wide = llvm::FixedVectorType::get(b_.getInt32Ty(), kUnits);
    const auto load = [&](llvm::Value* k) -> llvm::Value* {
      llvm::Value* const from = at(source, b_.CreateMul(k, emit_i64(b_, k_stride)));
      if (!k_left && !x_left) {
        prefetch(at(from, kTileDepth * k_stride));
        return b_.CreateAlignedLoad(narrow, from, llvm::Align(kElement));
      }
      llvm::Value* lanes = x_left ? x_left : emit_i64(b_, kTileSide);
      if (k_left) lanes = b_.CreateSelect(b_.CreateICmpSLT(k, k_left), lanes, emit_i64(b_, 0));
      return b_.CreateMaskedLoad(
          narrow, from, llvm::Align(kElement),
          emit_lane_mask(b_, emit_i64(b_, 0), lanes, kTileSide, kElement, target_),
          llvm::Constant::getNullValue(narrow));
    };
    const auto pair = [&](llvm::Value* k) {
      llvm::Value* const low = b_.CreateZExt(load(k), wide);
      llvm::Value* const high = b_.CreateZExt(load(b_.CreateAdd(k, emit_i64(b_, 1))), wide);
      b_.CreateAlignedStore(b_.CreateOr(low, b_.CreateShl(high, llvm::ConstantInt::get(wide, 16))),
                            at(target, b_.CreateMul(k, emit_i64(b_, kTileSide))),
                            llvm::Align(kElement));
    };
    if (k_left || x_left) {
      emit_loop(b_, emit_i64(b_, 0), emit_i64(b_, kTileDepth), 2, pair);
      return;
    }
    for (int64_t k = 0; k < kTileDepth; k += 2) pair(emit_i64(b_, k));
  }

  /// target[unit][row] for 16 rows of 16 neighbouring units of two elements. Units behind the last
  /// are zero, rows behind the last repeat it.
  void transpose(llvm::Value* source, int64_t row_stride, llvm::Value* elements_left,
                 llvm::Value* rows_left, llvm::Value* target) {
    llvm::Type* const piece = llvm::FixedVectorType::get(b_.getInt32Ty(), kPiece / 2);
    llvm::Type* const masked = llvm::FixedVectorType::get(b_.getInt16Ty(), kPiece);
    llvm::Type* const vector = llvm::FixedVectorType::get(b_.getInt32Ty(), kUnits);
    std::array<llvm::Value*, kTileSide> rows{};
    for (int64_t l = 0; l < kTileSide; ++l) {
      llvm::Value* row = emit_i64(b_, l);
      if (rows_left) row = emit_min(b_, row, b_.CreateSub(rows_left, emit_i64(b_, 1)));
      rows[static_cast<size_t>(l)] = at(source, b_.CreateMul(row, emit_i64(b_, row_stride)));
    }
    const auto column = [&](llvm::Value* first) {  // four units
      llvm::Value* mask = nullptr;
      if (elements_left)
        mask = emit_lane_mask(b_, emit_i64(b_, 0), b_.CreateSub(elements_left, first), kPiece,
                              kElement, target_);
      std::vector<llvm::Value*> collected(kPiece / 2, llvm::PoisonValue::get(vector));
      for (size_t part = 0; part < 4; ++part) {
        for (size_t j = 0; j < collected.size(); ++j) {
          llvm::Value* const from = at(rows[part * 4 + j], first);
          llvm::Value* const loaded =
              mask ? b_.CreateBitCast(b_.CreateMaskedLoad(masked, from, llvm::Align(kElement), mask,
                                                          llvm::Constant::getNullValue(masked)),
                                      piece)
                   : static_cast<llvm::Value*>(
                         b_.CreateAlignedLoad(piece, from, llvm::Align(kElement)));
          collected[j] = b_.CreateInsertVector(vector, collected[j], loaded,
                                               emit_i64(b_, static_cast<int64_t>(part) * 4));
        }
      }
      transpose_blocks(b_, collected, kTileSide);
      for (size_t i = 0; i < collected.size(); ++i) {
        llvm::Value* const unit =
            b_.CreateAdd(b_.CreateLShr(first, 1), emit_i64(b_, static_cast<int64_t>(i)));
        b_.CreateAlignedStore(collected[i],
                              at(target, b_.CreateMul(unit, emit_i64(b_, kTileDepth))),
                              llvm::Align(kElement));
      }
    };
    if (elements_left || rows_left) {
      emit_loop(b_, emit_i64(b_, 0), emit_i64(b_, kTileDepth), kPiece, column);
      return;
    }
    if (row_stride != kTileDepth)
      for (llvm::Value* row : rows) prefetch(at(row, kTileSide * row_stride));
    for (int64_t first = 0; first < kTileDepth; first += kPiece) column(emit_i64(b_, first));
  }

  /// target[row][k] for 16 rows.
  void copy(llvm::Value* source, int64_t row_stride, llvm::Value* k_left, llvm::Value* rows_left,
            llvm::Value* target) {
    llvm::Type* const vector = llvm::FixedVectorType::get(b_.getInt16Ty(), kTileDepth);
    const auto line = [&](llvm::Value* m) {
      llvm::Value* const from = at(source, b_.CreateMul(m, emit_i64(b_, row_stride)));
      if (!k_left && !rows_left) prefetch(at(from, kTileSide * row_stride));
      llvm::Value* const loaded =
          k_left ? static_cast<llvm::Value*>(b_.CreateMaskedLoad(
                       vector, from, llvm::Align(kElement),
                       emit_lane_mask(b_, emit_i64(b_, 0), k_left, kTileDepth, kElement, target_),
                       llvm::Constant::getNullValue(vector)))
                 : b_.CreateAlignedLoad(vector, from, llvm::Align(kElement));
      b_.CreateAlignedStore(loaded, at(target, b_.CreateMul(m, emit_i64(b_, kTileDepth))),
                            llvm::Align(kElement));
    };
    if (k_left || rows_left) {
      emit_loop(b_, emit_i64(b_, 0), rows_left ? rows_left : emit_i64(b_, kTileSide), 1, line);
      return;
    }
    for (int64_t m = 0; m < kTileSide; ++m) line(emit_i64(b_, m));
  }

  /// A tile of memory of this function.
  llvm::Value* local_tile() {
    auto* const tile =
        b_.CreateAlloca(llvm::ArrayType::get(b_.getInt16Ty(), kTileElements), nullptr);
    tile->setAlignment(llvm::Align(64));
    return tile;
  }

 private:
  /// Asks for an element of the next block across the order in which memory lies: the machine's own
  /// prefetching does not follow so many rows.
  void prefetch(llvm::Value* address) {
    b_.CreateIntrinsic(llvm::Intrinsic::prefetch, {b_.getPtrTy()},
                       {address, b_.getInt32(0), b_.getInt32(2), b_.getInt32(1)});
  }

  llvm::IRBuilder<> b_;
  const Target& target_;
};

llvm::Value* tile_number(llvm::IRBuilder<>& b, int64_t tile) {
  return b.getInt8(static_cast<uint8_t>(tile));
}

/// void (ptr source, i64 k count, i64 rows or lanes, ptr target): packs an operand block by block,
/// with one of the two depending on how its memory runs. `across` gets a tile of its own to work
/// in.
template <class AlongK, class Across>
llvm::Function* emit_pack_tiles(llvm::Module& module, const std::string& name,
                                const TileOperand& how, int64_t panel_stride, const Target& target,
                                AlongK along_k, Across across) {
  llvm::LLVMContext& context = module.getContext();
  llvm::Type* const pointer = llvm::PointerType::get(context, 0);
  llvm::Type* const i64 = llvm::Type::getInt64Ty(context);
  llvm::Function* const function = declare_part(module, name, {pointer, i64, i64, pointer}, {0, 3});
  TilePacker pack(function, target);
  llvm::IRBuilder<>& b = pack.builder();
  llvm::Value *const source = function->getArg(0), *const k_count = function->getArg(1),
                     *const count = function->getArg(2);
  const auto target_of = [&](llvm::Value* x, llvm::Value* k) {
    // Panel x / 16 lies panel_stride elements behind the one before.
    llvm::Value* const place = b.CreateMul(x, emit_i64(b, panel_stride / kTileSide));
    return pack.at(function->getArg(3), emit_mul_add(b, k, kTileSide, place));
  };
  if (how.along_k) {
    pack.blocks(count, kTileSide, [&](llvm::Value* x, llvm::Value* x_left) {
      llvm::Value* const from = pack.at(source, emit_mul_add(b, x, how.stride, emit_i64(b, 0)));
      pack.blocks(k_count, kTileDepth, [&](llvm::Value* k, llvm::Value* k_left) {
        along_k(pack, pack.at(from, k), k_left, x_left, target_of(x, k));
      });
    });
  } else {
    llvm::Value* const tile = pack.local_tile();
    pack.blocks(k_count, kTileDepth, [&](llvm::Value* k, llvm::Value* k_left) {
      llvm::Value* const from = pack.at(source, emit_mul_add(b, k, how.stride, emit_i64(b, 0)));
      pack.blocks(count, kTileSide, [&](llvm::Value* x, llvm::Value* x_left) {
        across(pack, tile, pack.at(from, x), k_left, x_left, target_of(x, k));
      });
    });
  }
  b.CreateRetVoid();
  return function;
}

}  // namespace

void emit_tiles_begin(llvm::IRBuilder<>& b) {
  // Palette 1; 16 rows of 64 bytes for each of the eight registers.
  std::vector<uint8_t> bytes(64, 0);
  bytes[0] = 1;
  for (size_t tile = 0; tile < 8; ++tile) bytes[16 + 2 * tile] = 64, bytes[48 + tile] = 16;
  llvm::Constant* const data = llvm::ConstantDataArray::get(b.getContext(), bytes);
  auto* const config =
      new llvm::GlobalVariable(*b.GetInsertBlock()->getModule(), data->getType(), true,
                               llvm::GlobalValue::PrivateLinkage, data, "tiles");
  config->setAlignment(llvm::Align(64));
  b.CreateIntrinsic(llvm::Intrinsic::x86_ldtilecfg, {}, {config});
}

void emit_tiles_end(llvm::IRBuilder<>& b) {
  b.CreateIntrinsic(llvm::Intrinsic::x86_tilerelease, {}, {});
}

llvm::Function* emit_tile_micro_kernel(llvm::Module& module, const std::string& name,
                                       const ContractPlan& plan, int64_t rows, int64_t lanes) {
  llvm::LLVMContext& context = module.getContext();
  llvm::Function* const function = declare_micro_kernel(module, name);
  llvm::IRBuilder<> b(llvm::BasicBlock::Create(context, "entry", function));

  // Registers: sums, then rows, then as many lanes as are left, in turn.
  const int64_t row_tiles = rows / kTileSide, lane_tiles = lanes / kTileSide;
  const int64_t sums = row_tiles * lane_tiles, first_lane = sums + row_tiles;
  const int64_t lane_registers = 8 - first_lane;
  COREGRAD_CHECK(rows % kTileSide == 0 && lanes % kTileSide == 0 && lane_registers > 0);
  const auto each_sum = [&](auto&& visit) {
    for (int64_t r = 0; r < row_tiles; ++r)
      for (int64_t l = 0; l < lane_tiles; ++l) {
        const int64_t place = kTileSide * (r * plan.result_stride + l);
        visit(tile_number(b, r * lane_tiles + l),
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
  each_sum([&](llvm::Value* tile, llvm::Value* at) {
    b.CreateIntrinsic(llvm::Intrinsic::x86_tileloadd64, {}, {tile, at, result_stride});
  });
  b.CreateBr(ready);
  b.SetInsertPoint(clear);
  each_sum([&](llvm::Value* tile, llvm::Value*) {
    b.CreateIntrinsic(llvm::Intrinsic::x86_tilezero, {}, {tile});
  });
  b.CreateBr(ready);
  b.SetInsertPoint(ready);
  emit_loop(b, emit_i64(b, 0), function->getArg(3), kTileDepth, [&](llvm::Value* k) {
    // Tiles of 16 x 32 elements one after the other along k.
    llvm::Value* const place = b.CreateMul(k, emit_i64(b, kTileSide));
    const auto load_tile = [&](int64_t tile, unsigned argument, int64_t elements) {
      llvm::Value* const panel = b.CreateConstGEP1_64(b.getInt16Ty(), function->getArg(argument),
                                                      static_cast<uint64_t>(elements));
      b.CreateIntrinsic(llvm::Intrinsic::x86_tileloadd64, {},
                        {tile_number(b, tile), b.CreateGEP(b.getInt16Ty(), panel, place),
                         emit_i64(b, kTileDepth * kElement)});
    };
    for (int64_t l = 0; l < lane_tiles; ++l) {
      const int64_t lane = first_lane + l % lane_registers;
      load_tile(lane, 1, l * plan.lane_stride);
      for (int64_t r = 0; r < row_tiles; ++r) {
        if (l == 0) load_tile(sums + r, 0, r * plan.row_stride);
        b.CreateIntrinsic(
            llvm::Intrinsic::x86_tdpbf16ps, {},
            {tile_number(b, r * lane_tiles + l), tile_number(b, sums + r), tile_number(b, lane)});
      }
    }
  });
  each_sum([&](llvm::Value* tile, llvm::Value* at) {
    b.CreateIntrinsic(llvm::Intrinsic::x86_tilestored64, {}, {tile, at, result_stride});
  });
  b.CreateRetVoid();
  return function;
}

llvm::Function* emit_pack_tile_lanes(llvm::Module& module, const std::string& name,
                                     const ContractPlan& plan, const Target& target) {
  const int64_t stride = plan.tile_lane_side.stride;
  return emit_pack_tiles(
      module, name, plan.tile_lane_side, plan.lane_stride, target,
      [&](TilePacker& pack, llvm::Value* from, llvm::Value* k_left, llvm::Value* n_left,
          llvm::Value* to) { pack.transpose(from, stride, k_left, n_left, to); },
      [&](TilePacker& pack, llvm::Value*, llvm::Value* from, llvm::Value* k_left,
          llvm::Value* n_left,
          llvm::Value* to) { pack.interleave(from, stride, k_left, n_left, to); });
}

llvm::Function* emit_pack_tile_rows(llvm::Module& module, const std::string& name,
                                    const ContractPlan& plan, const Target& target) {
  const int64_t stride = plan.tile_row_side.stride;
  return emit_pack_tiles(
      module, name, plan.tile_row_side, plan.row_stride, target,
      [&](TilePacker& pack, llvm::Value* from, llvm::Value* k_left, llvm::Value* m_left,
          llvm::Value* to) { pack.copy(from, stride, k_left, m_left, to); },
      [&](TilePacker& pack, llvm::Value* tile, llvm::Value* from, llvm::Value* k_left,
          llvm::Value* m_left, llvm::Value* to) {
        pack.interleave(from, stride, k_left, m_left, tile);
        pack.transpose(tile, kTileDepth, nullptr, nullptr, to);
      });
}

}  // namespace coregrad
