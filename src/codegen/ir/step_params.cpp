#include "codegen/ir/step_params.h"

#include "runtime/plan.h"

#include <cstddef>

namespace coregrad {

llvm::Value* StepParams::size(SymInt x) {
  if (x.is_number())
    return llvm::ConstantInt::get(llvm::Type::getInt64Ty(args_->getContext()),
                                  static_cast<uint64_t>(x.number()), /*IsSigned=*/true);
  for (const auto& [known, value] : known_)
    if (known.is_identical(x)) return value;
  llvm::Value* const value = add(x);
  known_.emplace_back(x, value);
  return value;
}

llvm::Value* StepParams::add(SymInt x) {
  llvm::BasicBlock& entry = args_->getParent()->getEntryBlock();
  llvm::IRBuilder<> builder(&entry, entry.begin());
  if (last_) builder.SetInsertPoint(&entry, std::next(last_->getIterator()));
  const auto load = [&](llvm::Type* type, llvm::Value* from) {
    auto* const loaded = builder.CreateAlignedLoad(type, from, llvm::Align(8));
    loaded->setMetadata(llvm::LLVMContext::MD_invariant_load,
                        llvm::MDNode::get(builder.getContext(), {}));
    last_ = loaded;
    return loaded;
  };
  if (!last_)
    table_ = load(builder.getPtrTy(), builder.CreateConstGEP1_64(builder.getInt8Ty(), args_,
                                                                 offsetof(StepArgs, params)));
  llvm::Value* const place =
      builder.CreateConstGEP1_64(builder.getInt64Ty(), table_, values_.size());
  values_.push_back(x);
  return load(builder.getInt64Ty(), place);
}

}  // namespace coregrad
