#pragma once
// Where elements of a contraction's operands lie, over the flat index spaces of a plan, and how
// they are read.

#include "codegen/ir/control_flow.h"
#include "codegen/ir/step_params.h"
#include "schedule/contract/plan.h"

#include <llvm/IR/IRBuilder.h>

#include <vector>

namespace coregrad {

/// value * factor + sum, without the multiplication where it is trivial.
llvm::Value* emit_mul_add(llvm::IRBuilder<>& builder, StepParams& params, llvm::Value* value,
                          SymInt factor, llvm::Value* sum);

/// The value of each segment at a flat position, outermost first.
std::vector<llvm::Value*> emit_decode(llvm::IRBuilder<>& builder, StepParams& params,
                                      llvm::Value* flat, const std::vector<Segment>& segments);

/// An element address under construction: what some of the labels contribute.
struct PartialAddress {
  llvm::Value* offset = nullptr;        ///< elements
  std::vector<llvm::Value*> positions;  ///< x of each CheckedDim
};

PartialAddress emit_base(llvm::IRBuilder<>& builder, StepParams& params,
                         const AffineOperand& operand);
void emit_advance(llvm::IRBuilder<>& builder, StepParams& params, const AffineOperand& operand,
                  const Segment& segment, llvm::Value* value, PartialAddress& address);
/// Adds a flat position of a whole space.
void emit_advance(llvm::IRBuilder<>& builder, StepParams& params, const AffineOperand& operand,
                  const std::vector<Segment>& segments, llvm::Value* flat, PartialAddress& address);

/// A position of a whole space.
struct FlatPosition {
  const FlatSpace& space;
  llvm::Value* at;
};
/// What the given positions contribute.
PartialAddress emit_address(llvm::IRBuilder<>& builder, StepParams& params,
                            const ContractRoles& roles, const AffineOperand& operand,
                            std::initializer_list<FlatPosition> positions);

/// LLVM type of an element of a contraction.
llvm::Type* contract_element_type(llvm::LLVMContext& context, DType dtype);

/// Elements of an operand as they lie in memory, and their cast to what a product takes. A width of
/// 0 is a scalar.
class ElementMemory {
 public:
  ElementMemory(llvm::IRBuilder<>& builder, DType memory, DType element);

  llvm::Type* type() const { return type_; }
  llvm::Type* type(unsigned width) const;
  llvm::Align align() const { return llvm::Align(static_cast<uint64_t>(size_of(memory_))); }
  llvm::Value* pointer(llvm::Value* base, llvm::Value* elements);
  llvm::Value* load(llvm::Value* at, unsigned width);
  /// Zero where the mask is false.
  llvm::Value* load(llvm::Value* at, unsigned width, llvm::Value* mask);
  llvm::Value* gather(llvm::Value* base, llvm::Value* offsets, llvm::Value* mask);
  /// What was loaded from memory, cast.
  llvm::Value* cast(llvm::Value* value);

 private:
  llvm::IRBuilder<>& builder_;
  DType memory_, element_;
  llvm::Type* type_;
};

}  // namespace coregrad
