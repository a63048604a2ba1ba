// Philox4x32-10 (Salmon, Moraes, Dror, Shaw: "Parallel random numbers: as easy as 1, 2, 3", 2011).
//
// Words are kept in 64-bit lanes whose upper halves are rubbish: a 32 x 32 -> 64 bit multiplication
// reads the lower halves only, and gives the low and the high word of a product at once.

#include "base/error.h"
#include "codegen/math/vector_math.h"

#include <array>
#include <bit>

namespace coregrad {
namespace {

using llvm::Value;

constexpr uint64_t kLowWord = 0xffffffff;

/// The four words of each block, in the low halves of 64-bit lanes.
std::array<Value*, 4> emit_blocks(llvm::IRBuilder<>& b, Value* seed, int64_t stream, Value* block) {
  llvm::Type* const type = block->getType();
  const auto* const vector = llvm::dyn_cast<llvm::FixedVectorType>(type);
  const auto constant = [&](uint64_t v) { return llvm::ConstantInt::get(type, v); };
  const auto widen = [&](Value* v) {
    return vector && !v->getType()->isVectorTy() ? b.CreateVectorSplat(vector->getElementCount(), v)
                                                 : v;
  };
  const auto word = [&](Value* v) { return b.CreateAnd(v, constant(kLowWord)); };
  std::array<Value*, 4> c = {block, b.CreateLShr(block, 32),
                             constant(static_cast<uint64_t>(stream) & kLowWord),
                             constant(static_cast<uint64_t>(stream) >> 32)};
  Value* key0 = seed;
  Value* key1 = b.CreateLShr(seed, 32);
  for (int round = 0; round < 10; ++round) {
    if (round > 0) {
      key0 = b.CreateAdd(key0, llvm::ConstantInt::get(seed->getType(), 0x9e3779b9));
      key1 = b.CreateAdd(key1, llvm::ConstantInt::get(seed->getType(), 0xbb67ae85));
    }
    Value* const product0 = b.CreateMul(word(c[0]), constant(0xd2511f53));
    Value* const product1 = b.CreateMul(word(c[2]), constant(0xcd9e8d57));
    c = {b.CreateXor(b.CreateXor(b.CreateLShr(product1, 32), c[1]), widen(key0)), product1,
         b.CreateXor(b.CreateXor(b.CreateLShr(product0, 32), c[3]), widen(key1)), product0};
  }
  return c;
}

llvm::Type* int32_like(llvm::IRBuilder<>& b, llvm::Type* type) {
  if (const auto* vector = llvm::dyn_cast<llvm::FixedVectorType>(type))
    return llvm::FixedVectorType::get(b.getInt32Ty(), vector->getNumElements());
  return b.getInt32Ty();
}

}  // namespace

llvm::Value* emit_philox_bits(llvm::IRBuilder<>& builder, llvm::Value* seed, int64_t stream,
                              llvm::Value* counter) {
  llvm::Type* const type = counter->getType();
  const auto c = emit_blocks(builder, seed, stream, builder.CreateLShr(counter, 2));
  const auto bit = [&](uint64_t mask) {
    return builder.CreateICmpNE(builder.CreateAnd(counter, llvm::ConstantInt::get(type, mask)),
                                llvm::ConstantInt::get(type, 0));
  };
  Value* const odd = bit(1);
  Value* const word = builder.CreateSelect(bit(2), builder.CreateSelect(odd, c[3], c[2]),
                                           builder.CreateSelect(odd, c[1], c[0]));
  return builder.CreateTrunc(word, int32_like(builder, type));
}

llvm::Value* emit_philox_bits64(llvm::IRBuilder<>& builder, llvm::Value* seed, int64_t stream,
                                llvm::Value* counter) {
  llvm::Type* const type = counter->getType();
  const auto constant = [&](uint64_t v) { return llvm::ConstantInt::get(type, v); };
  const auto c = emit_blocks(builder, seed, stream, builder.CreateLShr(counter, 1));
  Value* const odd = builder.CreateICmpNE(builder.CreateAnd(counter, constant(1)), constant(0));
  Value* const low = builder.CreateAnd(builder.CreateSelect(odd, c[2], c[0]), constant(kLowWord));
  Value* const high = builder.CreateShl(builder.CreateSelect(odd, c[3], c[1]), 32);
  return builder.CreateOr(low, high);
}

}  // namespace coregrad
