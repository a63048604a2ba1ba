#pragma once
// What the parts of the contraction generator share: counted loops, and operand addresses over the
// flat index spaces of a plan.

#include "codegen/contract_plan.h"

#include <llvm/IR/IRBuilder.h>

#include <functional>
#include <initializer_list>
#include <string>
#include <vector>

namespace coregrad {

/// for (i = begin; i < end; i += step) body(i); leaves the builder after the loop.
void emit_loop(llvm::IRBuilder<>& builder, llvm::Value* begin, llvm::Value* end, int64_t step,
               const std::function<void(llvm::Value*)>& body);

/// if (condition) body(); leaves the builder after it.
void emit_if(llvm::IRBuilder<>& builder, llvm::Value* condition, const std::function<void()>& body);

/// A function of the module's own without a result and without a body yet, never inlined; the given
/// arguments are pointers to memory that nothing else in it points to.
llvm::Function* declare_part(llvm::Module& module, const std::string& name,
                             const std::vector<llvm::Type*>& arguments,
                             std::initializer_list<unsigned> no_alias);

/// A constant i64.
llvm::Value* emit_i64(llvm::IRBuilder<>& builder, int64_t value);
/// value * factor + sum, without the multiplication where it is trivial.
llvm::Value* emit_mul_add(llvm::IRBuilder<>& builder, llvm::Value* value, int64_t factor,
                          llvm::Value* sum);
llvm::Value* emit_min(llvm::IRBuilder<>& builder, llvm::Value* a, llvm::Value* b);
llvm::Value* emit_max(llvm::IRBuilder<>& builder, llvm::Value* a, llvm::Value* b);

/// The value of each segment at a flat position, outermost first.
std::vector<llvm::Value*> emit_decode(llvm::IRBuilder<>& builder, llvm::Value* flat,
                                      const std::vector<Segment>& segments);

/// An element address under construction: what some of the labels contribute.
struct PartialAddress {
  llvm::Value* offset = nullptr;        ///< elements
  std::vector<llvm::Value*> positions;  ///< x of each CheckedDim
};

PartialAddress emit_base(llvm::IRBuilder<>& builder, const AffineOperand& operand);
void emit_advance(llvm::IRBuilder<>& builder, const AffineOperand& operand, const Segment& segment,
                  llvm::Value* value, PartialAddress& address);
/// Adds a flat position of a whole space.
void emit_advance(llvm::IRBuilder<>& builder, const AffineOperand& operand,
                  const std::vector<Segment>& segments, llvm::Value* flat, PartialAddress& address);

/// a * b + c for floats (fused where the target can) and integers.
llvm::Value* emit_multiply_add(llvm::IRBuilder<>& builder, llvm::Value* a, llvm::Value* b,
                               llvm::Value* c);

/// <width x i1>, or i1 lanes [low, high) active; low and high are i64 of any value.
llvm::Value* emit_lane_mask(llvm::IRBuilder<>& builder, llvm::Value* low, llvm::Value* high,
                            int64_t width, int element_bytes, const Target& target);

/// <0, 1, 2, ..> as i64.
llvm::Value* emit_lane_numbers(llvm::IRBuilder<>& builder, int64_t width);

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
