#include "codegen/contract/pack.h"

#include "codegen/ir/control_flow.h"

#include <llvm/IR/Module.h>

namespace coregrad {

llvm::Function* declare_pack(llvm::Module& module, const std::string& name, size_t more) {
  llvm::LLVMContext& context = module.getContext();
  llvm::Type* const pointer = llvm::PointerType::get(context, 0);
  llvm::Type* const i64 = llvm::Type::getInt64Ty(context);
  std::vector<llvm::Type*> types = {pointer, i64, i64, i64, i64, i64, pointer, pointer};
  types.insert(types.end(), more, i64);
  return declare_part(module, name, types, {0, 6});
}

RunStart emit_run_start(llvm::IRBuilder<>& b, llvm::Value* position, llvm::Value* run_length) {
  llvm::Value* const number = b.CreateUDiv(position, run_length);
  return {number, b.CreateURem(position, run_length)};
}

void emit_runs(llvm::IRBuilder<>& b, RunStart start, llvm::Value* begin, llvm::Value* end,
               llvm::Value* condition,
               const std::function<llvm::Value*(llvm::Value*, llvm::Value*, llvm::Value*)>& body) {
  llvm::BasicBlock* const before = b.GetInsertBlock();
  llvm::Function* const function = before->getParent();
  llvm::BasicBlock* const loop = llvm::BasicBlock::Create(b.getContext(), "run", function);
  llvm::BasicBlock* const done = llvm::BasicBlock::Create(b.getContext(), "runs_done", function);
  if (condition)
    b.CreateCondBr(condition, loop, done);
  else
    b.CreateBr(loop);
  b.SetInsertPoint(loop);
  llvm::PHINode *const position = b.CreatePHI(b.getInt64Ty(), 2),
                       *const number = b.CreatePHI(b.getInt64Ty(), 2),
                       *const place = b.CreatePHI(b.getInt64Ty(), 2);
  position->addIncoming(begin, before);
  number->addIncoming(start.number, before);
  place->addIncoming(start.place, before);
  llvm::Value* const next = b.CreateAdd(position, body(position, number, place));
  position->addIncoming(next, b.GetInsertBlock());
  number->addIncoming(b.CreateAdd(number, emit_i64(b, 1)), b.GetInsertBlock());
  place->addIncoming(emit_i64(b, 0), b.GetInsertBlock());
  b.CreateCondBr(b.CreateICmpSLT(next, end), loop, done);
  b.SetInsertPoint(done);
}

}  // namespace coregrad
