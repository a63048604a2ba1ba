#include "codegen/contract/pack.h"

#include "codegen/ir/control_flow.h"

#include <llvm/IR/Module.h>

namespace coregrad {

Pack::Pack(StepContext& step, const AffineOperand& operand,
           const std::function<void(llvm::Function*)>& write, size_t more)
    : step_(step), operand_(operand) {
  part_ = add_shared_part(step.shared, step.module, step.params, [&](llvm::Module& own) {
    llvm::LLVMContext& context = own.getContext();
    llvm::Type* const pointer = llvm::PointerType::get(context, 0);
    llvm::Type* const i64 = llvm::Type::getInt64Ty(context);
    std::vector<llvm::Type*> types = {pointer, i64, i64, i64, i64, i64, pointer, pointer};
    types.insert(types.end(), more, i64);
    llvm::Function* const function = declare_part(own, "pack", types, {0, 6});
    step.params.start_shared(function->getArg(7), step.plan.has_symbols);
    write(function);
    return function;
  });
}

void Pack::call(llvm::Value* source, llvm::Value* p, std::initializer_list<llvm::Value*> corners,
                llvm::Value* target, std::initializer_list<llvm::Value*> more) {
  if (operand_.checks.empty()) {
    llvm::Value* const offset =
        emit_address(step_.b, step_.params, step_.plan, operand_, {{step_.plan.p, p}}).offset;
    source = ElementMemory(step_.b, operand_.memory, step_.plan.dtype).pointer(source, offset);
    p = step_.constant(0);
  }
  std::vector<llvm::Value*> arguments = {source, p};
  arguments.insert(arguments.end(), corners);
  arguments.insert(arguments.end(), {target, step_.params.address(part_.first_param)});
  arguments.insert(arguments.end(), more);
  step_.b.CreateCall(part_.function, arguments);
}

PartialAddress emit_pack_base(llvm::IRBuilder<>& b, ContractParams& params,
                              const ContractPlan& plan, const AffineOperand& operand,
                              llvm::Function* function) {
  if (operand.checks.empty()) return {emit_i64(b, 0), {}};
  return emit_address(b, params, plan, operand, {{plan.p, function->getArg(1)}});
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
