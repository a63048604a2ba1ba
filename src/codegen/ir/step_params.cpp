#include "codegen/ir/step_params.h"

#include "runtime/plan.h"

#include <cstddef>

namespace coregrad {

llvm::Value* StepParams::size(SymInt x) {
  if (is_constant(x))
    return llvm::ConstantInt::get(llvm::Type::getInt64Ty(args_->getContext()),
                                  static_cast<uint64_t>(x.number()), /*IsSigned=*/true);
  // Numbers may be equal by chance, which the next caller's are not.
  if (x.is_number()) return add(x);
  for (const auto& [known, value] : known_)
    if (known.is_identical(x)) return value;
  llvm::Value* const value = add(x);
  known_.emplace_back(x, value);
  return value;
}

llvm::Value* StepParams::add(SymInt x) {
  llvm::IRBuilder<> builder = entry();
  llvm::Value* const at = place(builder, values_.size());
  values_.push_back(x);
  return load(builder, builder.getInt64Ty(), at);
}

llvm::Value* StepParams::address(size_t number) {
  llvm::IRBuilder<> builder = entry();
  llvm::Value* const at = place(builder, number);
  if (auto* const made = llvm::dyn_cast<llvm::Instruction>(at)) last_ = made;
  return at;
}

llvm::IRBuilder<> StepParams::entry() {
  llvm::BasicBlock& block = args_->getParent()->getEntryBlock();
  return llvm::IRBuilder<>(&block, last_ ? std::next(last_->getIterator()) : block.begin());
}

llvm::Value* StepParams::load(llvm::IRBuilder<>& builder, llvm::Type* type, llvm::Value* from) {
  auto* const loaded = builder.CreateAlignedLoad(type, from, llvm::Align(8));
  loaded->setMetadata(llvm::LLVMContext::MD_invariant_load,
                      llvm::MDNode::get(builder.getContext(), {}));
  last_ = loaded;
  return loaded;
}

llvm::Value* StepParams::place(llvm::IRBuilder<>& builder, size_t number) {
  if (!table_)
    table_ =
        load(builder, builder.getPtrTy(),
             builder.CreateConstGEP1_64(builder.getInt8Ty(), args_, offsetof(StepArgs, params)));
  return builder.CreateConstGEP1_64(builder.getInt64Ty(), table_, number - first_);
}

}  // namespace coregrad
