#include "codegen/ir/shared_functions.h"

#include "codegen/ir/llvm_util.h"

#include <fmt/format.h>
#include <llvm/IR/Module.h>
#include <llvm/Support/xxhash.h>

#include <algorithm>

namespace coregrad {

SharedFunctions::SharedFunctions(Target target) : target_(std::move(target)) {}

SharedFunctions::~SharedFunctions() = default;

llvm::Function* SharedFunctions::add(llvm::Module& caller,
                                     const std::function<llvm::Function*(llvm::Module&)>& write) {
  auto module = std::make_unique<llvm::Module>("shared", caller.getContext());
  module->setDataLayout(caller.getDataLayout());
  module->setTargetTriple(caller.getTargetTriple());
  describe_target(*module, target_);
  llvm::Function* const function = write(*module);
  function->setLinkage(llvm::Function::ExternalLinkage);
  function->setName("function");
  const std::string name = "coregrad_" + name_of_text(*module);
  if (llvm::Function* const known = caller.getFunction(name)) return known;
  function->setName(name);
  auto* const declared = llvm::Function::Create(function->getFunctionType(),
                                                llvm::Function::ExternalLinkage, name, caller);
  declared->copyAttributesFrom(function);
  if (!contains(name)) entries_.push_back({name, std::move(module)});
  return declared;
}

bool SharedFunctions::contains(std::string_view name) const {
  return std::ranges::find(entries_, name, &Entry::name) != entries_.end();
}

std::string name_of_text(const llvm::Module& module) {
  const std::string text = text_of(module);
  const llvm::XXH128_hash_t hash =
      llvm::xxh3_128bits({reinterpret_cast<const uint8_t*>(text.data()), text.size()});
  return fmt::format("{}_{:x}{:016x}", text.size(), hash.high64, hash.low64);
}

}  // namespace coregrad
