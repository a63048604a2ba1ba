#include "codegen/llvm_util.h"

#include <llvm/IR/Module.h>

namespace coregrad {
namespace {
constexpr const char* kFmaFlag = "coregrad.fma";
}

bool has_fma(const llvm::Module& module) { return module.getModuleFlag(kFmaFlag) != nullptr; }

void set_has_fma(llvm::Module& module, bool value) {
  if (value && !has_fma(module)) module.addModuleFlag(llvm::Module::Max, kFmaFlag, 1);
}

llvm::Value* emit_fma(llvm::IRBuilder<>& builder, llvm::Value* a, llvm::Value* b, llvm::Value* c) {
  if (has_fma(*builder.GetInsertBlock()->getModule()))
    return builder.CreateIntrinsic(llvm::Intrinsic::fma, {a->getType()}, {a, b, c});
  return builder.CreateFAdd(builder.CreateFMul(a, b), c);
}

}  // namespace coregrad
