#include "codegen/contract/tiles.h"

#include "codegen/ir/control_flow.h"

#include <llvm/IR/Module.h>

namespace coregrad {

llvm::Function* emit_micro_kernel(llvm::Module& module, const std::string& name,
                                  const ContractPlan& plan, const TileSize& size,
                                  const Target& target, ContractParams& params) {
  llvm::LLVMContext& context = module.getContext();
  llvm::Type* const pointer = llvm::PointerType::get(context, 0);
  llvm::Function* const function =
      declare_part(module, name,
                   {pointer, pointer, pointer, llvm::Type::getInt64Ty(context),
                    llvm::Type::getInt1Ty(context), pointer},
                   {0, 1, 2});
  if (plan.matrix())
    emit_matrix_tile(function, plan, size);
  else if (plan.is_dot())
    emit_dot_tile(function, plan, size, params);
  else
    emit_outer_tile(function, plan, size, target, params);
  return function;
}

}  // namespace coregrad
