#pragma once
// Loops, branches and small pieces of IR that several generators write.

#include "kernel/target.h"

#include <llvm/IR/IRBuilder.h>

#include <functional>
#include <initializer_list>
#include <string>
#include <vector>

namespace coregrad {

/// for (i = begin; i < end; i += step) body(i); leaves the builder after the loop.
void emit_loop(llvm::IRBuilder<>& builder, llvm::Value* begin, llvm::Value* end, int64_t step,
               const std::function<void(llvm::Value*)>& body);

/// if (condition) then(); else otherwise(), which may be null; leaves the builder after both.
void emit_if(llvm::IRBuilder<>& builder, llvm::Value* condition, const std::function<void()>& then,
             const std::function<void()>& otherwise = nullptr);

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

/// a * b + c for floats (fused where the target can) and integers.
llvm::Value* emit_multiply_add(llvm::IRBuilder<>& builder, llvm::Value* a, llvm::Value* b,
                               llvm::Value* c);

/// <width x i1>, or i1 lanes [low, high) active; low and high are i64 of any value.
llvm::Value* emit_lane_mask(llvm::IRBuilder<>& builder, llvm::Value* low, llvm::Value* high,
                            int64_t width, int element_bytes, const Target& target);

/// <0, 1, 2, ..> as i64.
llvm::Value* emit_lane_numbers(llvm::IRBuilder<>& builder, int64_t width);

}  // namespace coregrad
