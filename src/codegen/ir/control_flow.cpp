#include "codegen/ir/control_flow.h"

#include "codegen/ir/llvm_util.h"

#include <llvm/IR/Function.h>
#include <llvm/IR/Module.h>

namespace coregrad {
namespace {

llvm::BasicBlock* new_block(llvm::IRBuilder<>& builder, const char* name) {
  return llvm::BasicBlock::Create(builder.getContext(), name,
                                  builder.GetInsertBlock()->getParent());
}

}  // namespace

void emit_loop(llvm::IRBuilder<>& builder, llvm::Value* begin, llvm::Value* end, int64_t step,
               const std::function<void(llvm::Value*)>& body) {
  llvm::BasicBlock* const entry = builder.GetInsertBlock();
  llvm::BasicBlock* const loop = new_block(builder, "loop");
  llvm::BasicBlock* const done = new_block(builder, "done");
  builder.CreateCondBr(builder.CreateICmpSLT(begin, end), loop, done);
  builder.SetInsertPoint(loop);
  llvm::PHINode* const i = builder.CreatePHI(builder.getInt64Ty(), 2);
  i->addIncoming(begin, entry);
  body(i);
  llvm::Value* const next = builder.CreateNSWAdd(i, emit_i64(builder, step));
  i->addIncoming(next, builder.GetInsertBlock());
  builder.CreateCondBr(builder.CreateICmpSLT(next, end), loop, done);
  builder.SetInsertPoint(done);
}

void emit_if(llvm::IRBuilder<>& builder, llvm::Value* condition, const std::function<void()>& then,
             const std::function<void()>& otherwise) {
  llvm::BasicBlock* const yes = new_block(builder, "then");
  llvm::BasicBlock* const no = otherwise ? new_block(builder, "else") : nullptr;
  llvm::BasicBlock* const after = new_block(builder, "after");
  builder.CreateCondBr(condition, yes, no ? no : after);
  builder.SetInsertPoint(yes);
  then();
  builder.CreateBr(after);
  if (no) {
    builder.SetInsertPoint(no);
    otherwise();
    builder.CreateBr(after);
  }
  builder.SetInsertPoint(after);
}

llvm::Function* declare_part(llvm::Module& module, const std::string& name,
                             const std::vector<llvm::Type*>& arguments,
                             std::initializer_list<unsigned> no_alias) {
  auto* const type =
      llvm::FunctionType::get(llvm::Type::getVoidTy(module.getContext()), arguments, false);
  auto* const function =
      llvm::Function::Create(type, llvm::Function::InternalLinkage, name, module);
  function->addFnAttr(llvm::Attribute::NoInline);
  for (const unsigned argument : no_alias)
    function->addParamAttr(argument, llvm::Attribute::NoAlias);
  return function;
}

llvm::Value* emit_i64(llvm::IRBuilder<>& builder, int64_t value) {
  return builder.getInt64(static_cast<uint64_t>(value));
}

llvm::Value* emit_mul_add(llvm::IRBuilder<>& builder, llvm::Value* value, int64_t factor,
                          llvm::Value* sum) {
  if (factor == 0) return sum;
  llvm::Value* const product =
      factor == 1 ? value : builder.CreateMul(value, emit_i64(builder, factor));
  return builder.CreateAdd(sum, product);
}

llvm::Value* emit_min(llvm::IRBuilder<>& builder, llvm::Value* a, llvm::Value* b) {
  return builder.CreateBinaryIntrinsic(llvm::Intrinsic::smin, a, b);
}

llvm::Value* emit_max(llvm::IRBuilder<>& builder, llvm::Value* a, llvm::Value* b) {
  return builder.CreateBinaryIntrinsic(llvm::Intrinsic::smax, a, b);
}

llvm::Value* emit_multiply_add(llvm::IRBuilder<>& builder, llvm::Value* a, llvm::Value* b,
                               llvm::Value* c) {
  if (a->getType()->isFPOrFPVectorTy()) return emit_fma(builder, a, b, c);
  return builder.CreateAdd(builder.CreateMul(a, b), c);
}

llvm::Value* emit_lane_numbers(llvm::IRBuilder<>& builder, int64_t width) {
  std::vector<llvm::Constant*> lanes;
  for (int64_t l = 0; l < width; ++l) lanes.push_back(builder.getInt64(static_cast<uint64_t>(l)));
  return llvm::ConstantVector::get(lanes);
}

llvm::Value* emit_lane_mask(llvm::IRBuilder<>& builder, llvm::Value* low, llvm::Value* high,
                            int64_t width, int element_bytes, const Target& target) {
  llvm::Value* const zero = emit_i64(builder, 0);
  llvm::Value* const most = emit_i64(builder, width);
  low = emit_min(builder, emit_max(builder, low, zero), most);
  high = emit_min(builder, emit_max(builder, high, zero), most);
  if (target.has_masks && width <= 32) {
    // Bits [low, high) of a word: cheaper than two broadcasts and two vector compares.
    llvm::Value* const ones = emit_i64(builder, -1);
    llvm::Value* const bits = builder.CreateAnd(builder.CreateShl(ones, low),
                                                builder.CreateNot(builder.CreateShl(ones, high)));
    llvm::Value* const word =
        builder.CreateTrunc(bits, builder.getIntNTy(static_cast<unsigned>(width)));
    return builder.CreateBitCast(
        word, llvm::FixedVectorType::get(builder.getInt1Ty(), static_cast<unsigned>(width)));
  }
  llvm::IntegerType* const type = builder.getIntNTy(static_cast<unsigned>(8 * element_bytes));
  std::vector<llvm::Constant*> numbers;
  for (int64_t l = 0; l < width; ++l)
    numbers.push_back(llvm::ConstantInt::get(type, static_cast<uint64_t>(l)));
  llvm::Value* const lanes = llvm::ConstantVector::get(numbers);
  const auto splat = [&](llvm::Value* v) {
    return builder.CreateVectorSplat(static_cast<unsigned>(width), builder.CreateTrunc(v, type));
  };
  return builder.CreateAnd(builder.CreateICmpSGE(lanes, splat(low)),
                           builder.CreateICmpSLT(lanes, splat(high)));
}

}  // namespace coregrad
