#include "codegen/ir/access_check.h"

#include <llvm/Analysis/ValueTracking.h>
#include <llvm/IR/IRBuilder.h>
#include <llvm/IR/InstIterator.h>
#include <llvm/IR/Instructions.h>
#include <llvm/IR/IntrinsicInst.h>
#include <llvm/IR/Module.h>
#include <llvm/Transforms/Utils/BasicBlockUtils.h>

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <optional>
#include <vector>

namespace coregrad {
namespace {

struct Access {
  llvm::Instruction* instruction;
  llvm::Value* pointer;
  llvm::Align align;
};

[[noreturn]] void report(const void* address, int64_t align, const char* function) {
  std::fprintf(stderr, "coregrad: %s: access at %p is not a multiple of %lld bytes\n", function,
               address, static_cast<long long>(align));
  std::abort();
}

/// The access of an instruction that claims more than the alignment of its elements.
std::optional<Access> claim_of(llvm::Instruction& instruction) {
  llvm::Type* type = nullptr;
  Access access{&instruction, nullptr, llvm::Align(1)};
  if (auto* load = llvm::dyn_cast<llvm::LoadInst>(&instruction)) {
    type = load->getType();
    access.pointer = load->getPointerOperand(), access.align = load->getAlign();
  } else if (auto* store = llvm::dyn_cast<llvm::StoreInst>(&instruction)) {
    type = store->getValueOperand()->getType();
    access.pointer = store->getPointerOperand(), access.align = store->getAlign();
  } else if (auto* call = llvm::dyn_cast<llvm::IntrinsicInst>(&instruction)) {
    const bool loads = call->getIntrinsicID() == llvm::Intrinsic::masked_load;
    if (!loads && call->getIntrinsicID() != llvm::Intrinsic::masked_store) return std::nullopt;
    type = loads ? call->getType() : call->getArgOperand(0)->getType();
    access.pointer = call->getArgOperand(loads ? 0 : 1);
    access.align = llvm::cast<llvm::ConstantInt>(call->getArgOperand(loads ? 1 : 2))
                       ->getMaybeAlignValue()
                       .valueOrOne();
  } else {
    return std::nullopt;
  }
  // Memory of the function's or the module's own is laid out by LLVM.
  if (llvm::isa<llvm::AllocaInst, llvm::GlobalVariable>(llvm::getUnderlyingObject(access.pointer)))
    return std::nullopt;
  const llvm::DataLayout& layout = instruction.getModule()->getDataLayout();
  const uint64_t element = layout.getTypeStoreSize(type->getScalarType()).getFixedValue();
  if (access.align.value() <= element) return std::nullopt;
  return access;
}

}  // namespace

void check_alignments(llvm::Module& module) {
  llvm::LLVMContext& context = module.getContext();
  llvm::Type *const pointer = llvm::PointerType::get(context, 0), *const i64 =
                                                                      llvm::Type::getInt64Ty(
                                                                          context);
  auto* const type =
      llvm::FunctionType::get(llvm::Type::getVoidTy(context), {pointer, i64, pointer}, false);
  for (llvm::Function& function : module) {
    std::vector<Access> claims;
    for (llvm::Instruction& instruction : llvm::instructions(function))
      if (const std::optional<Access> claim = claim_of(instruction)) claims.push_back(*claim);
    for (const Access& claim : claims) {
      llvm::IRBuilder<> b(claim.instruction);
      const auto align = static_cast<uint64_t>(claim.align.value());
      llvm::Value* const rest =
          b.CreateAnd(b.CreatePtrToInt(claim.pointer, i64), b.getInt64(align - 1));
      llvm::Value* const is_wrong = b.CreateICmpNE(rest, b.getInt64(0));
      b.SetInsertPoint(
          llvm::SplitBlockAndInsertIfThen(is_wrong, claim.instruction->getIterator(), true));
      llvm::Value* const callee = b.CreateIntToPtr(
          b.getInt64(static_cast<uint64_t>(reinterpret_cast<uintptr_t>(&report))), pointer);
      b.CreateCall(type, callee,
                   {claim.pointer, b.getInt64(align), b.CreateGlobalString(function.getName())});
    }
  }
}

}  // namespace coregrad
