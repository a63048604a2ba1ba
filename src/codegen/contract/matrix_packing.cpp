#include "codegen/contract/matrix_packing.h"

#include "codegen/contract/pack.h"
#include "codegen/ir/control_flow.h"

#include <llvm/IR/Module.h>

#include <array>
#include <vector>

namespace coregrad {
namespace {

constexpr int64_t kElement = 2;                                  // bytes
constexpr int64_t kBlockElements = kMatrixSide * kMatrixDepth;   // of packed rows or lanes
constexpr int64_t kPiece = 16 / kElement;                        // elements of a 16-byte block
constexpr unsigned kUnits = static_cast<unsigned>(kMatrixSide);  // 4-byte units of a vector

/// Packs blocks of 16 rows or lanes x 32 steps of k, whole or cut.
class BlockPacker {
 public:
  BlockPacker(llvm::Function* function, const Target& target)
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
        prefetch(at(from, kMatrixDepth * k_stride));
        return b_.CreateAlignedLoad(narrow, from, llvm::Align(kElement));
      }
      llvm::Value* lanes = x_left ? x_left : emit_i64(b_, kMatrixSide);
      if (k_left) lanes = b_.CreateSelect(b_.CreateICmpSLT(k, k_left), lanes, emit_i64(b_, 0));
      return b_.CreateMaskedLoad(
          narrow, from, llvm::Align(kElement),
          emit_lane_mask(b_, emit_i64(b_, 0), lanes, kMatrixSide, kElement, target_),
          llvm::Constant::getNullValue(narrow));
    };
    const auto pair = [&](llvm::Value* k) {
      llvm::Value* const low = b_.CreateZExt(load(k), wide);
      llvm::Value* const high = b_.CreateZExt(load(b_.CreateAdd(k, emit_i64(b_, 1))), wide);
      b_.CreateAlignedStore(b_.CreateOr(low, b_.CreateShl(high, llvm::ConstantInt::get(wide, 16))),
                            at(target, b_.CreateMul(k, emit_i64(b_, kMatrixSide))),
                            llvm::Align(kElement));
    };
    if (k_left || x_left) {
      emit_loop(b_, emit_i64(b_, 0), emit_i64(b_, kMatrixDepth), 2, pair);
      return;
    }
    for (int64_t k = 0; k < kMatrixDepth; k += 2) pair(emit_i64(b_, k));
  }

  /// target[unit][row] for 16 rows of 16 neighbouring units of two elements. Units behind the last
  /// are zero, rows behind the last repeat it.
  void transpose(llvm::Value* source, int64_t row_stride, llvm::Value* elements_left,
                 llvm::Value* rows_left, llvm::Value* target) {
    llvm::Type* const piece = llvm::FixedVectorType::get(b_.getInt32Ty(), kPiece / 2);
    llvm::Type* const masked = llvm::FixedVectorType::get(b_.getInt16Ty(), kPiece);
    llvm::Type* const vector = llvm::FixedVectorType::get(b_.getInt32Ty(), kUnits);
    std::array<llvm::Value*, kMatrixSide> rows{};
    for (int64_t l = 0; l < kMatrixSide; ++l) {
      llvm::Value* row = emit_i64(b_, l);
      if (rows_left) row = emit_min(b_, row, b_.CreateSub(rows_left, emit_i64(b_, 1)));
      rows[l] = at(source, b_.CreateMul(row, emit_i64(b_, row_stride)));
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
      transpose_blocks(b_, collected, kMatrixSide);
      for (size_t i = 0; i < collected.size(); ++i) {
        llvm::Value* const unit =
            b_.CreateAdd(b_.CreateLShr(first, 1), emit_i64(b_, static_cast<int64_t>(i)));
        b_.CreateAlignedStore(collected[i],
                              at(target, b_.CreateMul(unit, emit_i64(b_, kMatrixDepth))),
                              llvm::Align(kElement));
      }
    };
    if (elements_left || rows_left) {
      emit_loop(b_, emit_i64(b_, 0), emit_i64(b_, kMatrixDepth), kPiece, column);
      return;
    }
    if (row_stride != kMatrixDepth)
      for (llvm::Value* row : rows) prefetch(at(row, kMatrixSide * row_stride));
    for (int64_t first = 0; first < kMatrixDepth; first += kPiece) column(emit_i64(b_, first));
  }

  /// target[row][k] for 16 rows.
  void copy(llvm::Value* source, int64_t row_stride, llvm::Value* k_left, llvm::Value* rows_left,
            llvm::Value* target) {
    llvm::Type* const vector = llvm::FixedVectorType::get(b_.getInt16Ty(), kMatrixDepth);
    const auto line = [&](llvm::Value* m) {
      llvm::Value* const from = at(source, b_.CreateMul(m, emit_i64(b_, row_stride)));
      if (!k_left && !rows_left) prefetch(at(from, kMatrixSide * row_stride));
      llvm::Value* const loaded =
          k_left ? static_cast<llvm::Value*>(b_.CreateMaskedLoad(
                       vector, from, llvm::Align(kElement),
                       emit_lane_mask(b_, emit_i64(b_, 0), k_left, kMatrixDepth, kElement, target_),
                       llvm::Constant::getNullValue(vector)))
                 : b_.CreateAlignedLoad(vector, from, llvm::Align(kElement));
      b_.CreateAlignedStore(loaded, at(target, b_.CreateMul(m, emit_i64(b_, kMatrixDepth))),
                            llvm::Align(kElement));
    };
    if (k_left || rows_left) {
      emit_loop(b_, emit_i64(b_, 0), rows_left ? rows_left : emit_i64(b_, kMatrixSide), 1, line);
      return;
    }
    for (int64_t m = 0; m < kMatrixSide; ++m) line(emit_i64(b_, m));
  }

  /// A block in memory of this function.
  llvm::Value* local_block() {
    auto* const block =
        b_.CreateAlloca(llvm::ArrayType::get(b_.getInt16Ty(), kBlockElements), nullptr);
    block->setAlignment(llvm::Align(64));
    return block;
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

/// void (ptr source, i64 k count, i64 rows or lanes, ptr target): packs an operand block by block,
/// with one of the two depending on how its memory runs. `across` gets a block of its own to
/// work in.
template <class AlongK, class Across>
llvm::Function* emit_pack_blocks(llvm::Module& module, const std::string& name,
                                 const MatrixPanels& how, const Target& target, AlongK along_k,
                                 Across across) {
  llvm::LLVMContext& context = module.getContext();
  llvm::Type* const pointer = llvm::PointerType::get(context, 0);
  llvm::Type* const i64 = llvm::Type::getInt64Ty(context);
  llvm::Function* const function = declare_part(module, name, {pointer, i64, i64, pointer}, {0, 3});
  BlockPacker pack(function, target);
  llvm::IRBuilder<>& b = pack.builder();
  llvm::Value *const source = function->getArg(0), *const k_count = function->getArg(1),
                     *const count = function->getArg(2);
  const auto target_of = [&](llvm::Value* x, llvm::Value* k) {
    // Panel x / 16 lies panel_elements behind the one before.
    llvm::Value* const place = b.CreateMul(x, emit_i64(b, how.panel_elements / kMatrixSide));
    return pack.at(function->getArg(3), emit_mul_add(b, k, kMatrixSide, place));
  };
  if (how.along_k) {
    pack.blocks(count, kMatrixSide, [&](llvm::Value* x, llvm::Value* x_left) {
      llvm::Value* const from = pack.at(source, emit_mul_add(b, x, how.stride, emit_i64(b, 0)));
      pack.blocks(k_count, kMatrixDepth, [&](llvm::Value* k, llvm::Value* k_left) {
        along_k(pack, pack.at(from, k), k_left, x_left, target_of(x, k));
      });
    });
  } else {
    llvm::Value* const block = pack.local_block();
    pack.blocks(k_count, kMatrixDepth, [&](llvm::Value* k, llvm::Value* k_left) {
      llvm::Value* const from = pack.at(source, emit_mul_add(b, k, how.stride, emit_i64(b, 0)));
      pack.blocks(count, kMatrixSide, [&](llvm::Value* x, llvm::Value* x_left) {
        across(pack, block, pack.at(from, x), k_left, x_left, target_of(x, k));
      });
    });
  }
  b.CreateRetVoid();
  return function;
}

/// (source, steps of k, lanes, target): packs what begins at `source` and lies as `how` says.
llvm::Function* emit_pack_matrix_lanes(llvm::Module& module, const std::string& name,
                                       const MatrixPanels& how, const Target& target) {
  return emit_pack_blocks(
      module, name, how, target,
      [&](BlockPacker& pack, llvm::Value* from, llvm::Value* k_left, llvm::Value* n_left,
          llvm::Value* to) { pack.transpose(from, how.stride, k_left, n_left, to); },
      [&](BlockPacker& pack, llvm::Value*, llvm::Value* from, llvm::Value* k_left,
          llvm::Value* n_left,
          llvm::Value* to) { pack.interleave(from, how.stride, k_left, n_left, to); });
}

/// The same for rows.
llvm::Function* emit_pack_matrix_rows(llvm::Module& module, const std::string& name,
                                      const MatrixPanels& how, const Target& target) {
  return emit_pack_blocks(
      module, name, how, target,
      [&](BlockPacker& pack, llvm::Value* from, llvm::Value* k_left, llvm::Value* m_left,
          llvm::Value* to) { pack.copy(from, how.stride, k_left, m_left, to); },
      [&](BlockPacker& pack, llvm::Value* block, llvm::Value* from, llvm::Value* k_left,
          llvm::Value* m_left, llvm::Value* to) {
        pack.interleave(from, how.stride, k_left, m_left, block);
        pack.transpose(block, kMatrixDepth, nullptr, nullptr, to);
      });
}

}  // namespace

template <bool is_row_side>
static int64_t copied_stride(const ContractPlan& plan) {
  if constexpr (is_row_side) return std::get<MatrixPanels>(plan.rows).stride;
  return std::get<MatrixPanels>(plan.lanes).stride;
}

MatrixPacker::MatrixPacker(StepContext& step, bool is_row_side)
    : step_(step),
      is_row_side_(is_row_side),
      how_(is_row_side ? std::get<MatrixPanels>(step.plan.rows)
                       : std::get<MatrixPanels>(step.plan.lanes)),
      operand_(is_row_side ? step.plan.row_side : step.plan.lane_side),
      space_(is_row_side ? step.plan.m : step.plan.n) {
  const ContractPlan& plan = step.plan;
  if (how_.is_copied) {
    // As it is.
    ContractPlan as_memory = plan;
    as_memory.dtype = DType::BFloat16;
    copy_.emplace(pack_runs(step, as_memory,
                            how_.along_k ? plain_packing(operand_, space_, plan.k, plan.sizes)
                                         : plain_packing(operand_, plan.k, space_, plan.sizes),
                            is_row_side ? copied_stride<true> : copied_stride<false>));
  }
  pack_ = is_row_side
              ? emit_pack_matrix_rows(step.module, step.symbol + ".pack_rows", how_, step.target)
              : emit_pack_matrix_lanes(step.module, step.symbol + ".pack_lanes", how_, step.target);
}

void MatrixPacker::pack(const Block& block, llvm::Value* first, llvm::Value* end) {
  llvm::IRBuilder<>& b = step_.b;
  const ContractPlan& plan = step_.plan;
  llvm::Value* const memory = is_row_side_ ? step_.row_source : step_.lane_source;
  llvm::Value* source = step_.copy;
  if (!how_.is_copied) {
    const PartialAddress address = emit_address(
        b, step_.params, plan, operand_, {{plan.p, block.p}, {plan.k, block.k0}, {space_, first}});
    source = ElementMemory(b, operand_.memory, plan.dtype).pointer(memory, address.offset);
  } else if (how_.along_k) {
    copy_->call(memory, block.p, {first, end, block.k0, block.k1}, source);
  } else {
    copy_->call(memory, block.p, {block.k0, block.k1, first, end}, source);
  }
  b.CreateCall(pack_, {source, b.CreateSub(block.k1, block.k0), b.CreateSub(end, first),
                       is_row_side_ ? step_.row_pack : step_.lane_pack});
}

llvm::Value* MatrixPacker::tile(llvm::Value* local, llvm::Value* k) {
  llvm::IRBuilder<>& b = step_.b;
  llvm::Value* const panel = b.CreateMul(local, step_.constant(how_.panel_elements / kMatrixSide));
  return b.CreateGEP(b.getInt16Ty(), is_row_side_ ? step_.row_pack : step_.lane_pack,
                     emit_mul_add(b, k, kMatrixSide, panel));
}

}  // namespace coregrad
