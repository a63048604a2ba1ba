#include "codegen/contract/tiles.h"

#include "codegen/ir/control_flow.h"

#include <llvm/IR/Module.h>

namespace coregrad {

SharedPart emit_micro_kernel(llvm::Module& module, SharedFunctions& shared,
                             const ContractPlan& plan, const TileSize& size, const Target& target,
                             ContractParams& params) {
  return add_shared_part(shared, module, params, [&](llvm::Module& own) {
    llvm::LLVMContext& context = own.getContext();
    llvm::Type* const pointer = llvm::PointerType::get(context, 0);
    llvm::Function* const function =
        declare_part(own, "tile",
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
  });
}

}  // namespace coregrad
