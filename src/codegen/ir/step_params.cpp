#include "codegen/ir/step_params.h"

#include "runtime/plan.h"

#include <cstddef>

namespace coregrad {

llvm::Value* StepParams::add(llvm::IRBuilder<>& builder, llvm::Value* args, int64_t value) {
  const auto load = [&](llvm::Type* type, llvm::Value* from) {
    auto* const loaded = builder.CreateAlignedLoad(type, from, llvm::Align(8));
    loaded->setMetadata(llvm::LLVMContext::MD_invariant_load,
                        llvm::MDNode::get(builder.getContext(), {}));
    return loaded;
  };
  llvm::Value* const table =
      load(builder.getPtrTy(),
           builder.CreateConstGEP1_64(builder.getInt8Ty(), args, offsetof(StepArgs, params)));
  llvm::Value* const place =
      builder.CreateConstGEP1_64(builder.getInt64Ty(), table, values_.size());
  values_.push_back(value);
  return load(builder.getInt64Ty(), place);
}

}  // namespace coregrad
