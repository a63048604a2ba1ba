#include "codegen/ir/llvm_util.h"

#include <llvm/IR/Module.h>
#include <llvm/Support/raw_ostream.h>

namespace coregrad {
namespace {
constexpr const char* kFmaFlag = "coregrad.fma";
constexpr const char* kAvx512Flag = "coregrad.avx512";
constexpr const char* kFloat16Flag = "coregrad.float16";
}  // namespace

bool has_fma(const llvm::Module& module) { return module.getModuleFlag(kFmaFlag) != nullptr; }

bool has_avx512(const llvm::Module& module) { return module.getModuleFlag(kAvx512Flag) != nullptr; }

bool has_float16(const llvm::Module& module) {
  return module.getModuleFlag(kFloat16Flag) != nullptr;
}

void describe_target(llvm::Module& module, const Target& target) {
  if (target.has_fma) module.addModuleFlag(llvm::Module::Max, kFmaFlag, 1);
  if (target.has_avx512) module.addModuleFlag(llvm::Module::Max, kAvx512Flag, 1);
  if (target.has_float16) module.addModuleFlag(llvm::Module::Max, kFloat16Flag, 1);
}

std::string text_of(const llvm::Module& module) {
  std::string text;
  llvm::raw_string_ostream stream(text);
  module.print(stream, nullptr);
  return text;
}

llvm::Value* emit_fma(llvm::IRBuilder<>& builder, llvm::Value* a, llvm::Value* b, llvm::Value* c) {
  if (has_fma(*builder.GetInsertBlock()->getModule()))
    return builder.CreateIntrinsic(llvm::Intrinsic::fma, {a->getType()}, {a, b, c});
  return builder.CreateFAdd(builder.CreateFMul(a, b), c);
}

}  // namespace coregrad
