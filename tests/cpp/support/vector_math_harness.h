#pragma once
// Elementary functions as callable maps, and errors in units of the last place.

#include "codegen/jit/jit.h"
#include "codegen/math/vector_math.h"
#include "ir/scalar_functions.h"

#include <llvm/IR/IRBuilder.h>
#include <llvm/IR/Module.h>

#include <bit>
#include <cmath>
#include <cstdint>
#include <limits>
#include <string>
#include <type_traits>
#include <vector>

namespace coregrad {

/// out[i] = f(x[i], y[i]) for n elements, n a multiple of the width; y is not read by unary
/// functions.
template <class T>
class CompiledMap {
 public:
  using Function = void(const T* x, const T* y, T* out, int64_t n);

  CompiledMap(const Target& target, Op op, int width) : width_(width) {
    code_ = compile_module(target, name_of(op),
                           [&](llvm::Module& module) { build(module, op, width); });
    function_ = reinterpret_cast<Function*>(code_->address("map"));
  }

  int width() const { return width_; }
  void operator()(const T* x, const T* y, T* out, int64_t n) const { function_(x, y, out, n); }
  T operator()(T x, T y = 0) const {
    std::vector<T> xs(width_, x), ys(width_, y), out(width_);
    function_(xs.data(), ys.data(), out.data(), width_);
    return out[0];
  }

  static void build(llvm::Module& module, Op op, int width) {
    llvm::LLVMContext& context = module.getContext();
    llvm::IRBuilder<> b(context);
    auto* const signature = llvm::FunctionType::get(
        b.getVoidTy(), {b.getPtrTy(), b.getPtrTy(), b.getPtrTy(), b.getInt64Ty()}, false);
    auto* const function =
        llvm::Function::Create(signature, llvm::Function::ExternalLinkage, "map", module);
    auto* const entry = llvm::BasicBlock::Create(context, "entry", function);
    auto* const loop = llvm::BasicBlock::Create(context, "loop", function);
    auto* const exit = llvm::BasicBlock::Create(context, "exit", function);
    b.SetInsertPoint(entry);
    b.CreateBr(loop);
    b.SetInsertPoint(loop);
    auto* const i = b.CreatePHI(b.getInt64Ty(), 2);
    i->addIncoming(b.getInt64(0), entry);
    llvm::Type* const element = std::is_same_v<T, float> ? b.getFloatTy() : b.getDoubleTy();
    llvm::Type* const type =
        width == 1 ? element : llvm::FixedVectorType::get(element, static_cast<unsigned>(width));
    const auto place = [&](unsigned argument) {
      return b.CreateGEP(element, function->getArg(argument), i);
    };
    const auto load = [&](unsigned argument) {
      return b.CreateAlignedLoad(type, place(argument), llvm::Align(sizeof(T)));
    };
    llvm::Value* const result = op == Op::Pow     ? emit_pow(b, load(0), load(1))
                                : op == Op::Atan2 ? emit_atan2(b, load(0), load(1))
                                : op == Op::Rem   ? emit_fmod(b, load(0), load(1))
                                                  : emit_math_unary(b, op, load(0));
    b.CreateAlignedStore(result, place(2), llvm::Align(sizeof(T)));
    llvm::Value* const next = b.CreateAdd(i, b.getInt64(static_cast<uint64_t>(width)));
    i->addIncoming(next, b.GetInsertBlock());
    b.CreateCondBr(b.CreateICmpSLT(next, function->getArg(3)), loop, exit);
    b.SetInsertPoint(exit);
    b.CreateRetVoid();
  }

 private:
  int width_;
  CodeHandle code_;
  Function* function_;
};

/// libm's function at the precision of `Wide`, for all that emit_math_unary, pow, atan2, fmod
/// cover.
template <class Wide>
Wide reference(Op op, Wide x, Wide y = 0) {
  using Narrower = std::conditional_t<std::is_same_v<Wide, double>, float, double>;
  if (op == Op::Sigmoid && std::isinf(static_cast<Narrower>(std::exp(-x))) && !std::isinf(x))
    return 0;  // as ops.def says
  if (const auto binary = scalar::binary<Wide>(op)) return binary(x, y);
  return scalar::unary<Wide>(op)(x);
}

inline const std::vector<Op> kMathUnary = [] {
  std::vector<Op> all;
  for (int i = 0; i < kNumOps; ++i)
    if (is_math_unary(static_cast<Op>(i))) all.push_back(static_cast<Op>(i));
  return all;
}();

/// What is allowed where functions stay within `most` units of the last place: sigmoid adds the
/// rounding of 1 + e^-x to those of its exponential and its quotient.
inline double bound_of(Op op, double most) { return op == Op::Sigmoid ? most + 0.5 : most; }

/// Distance of `got` from the exact `wanted` in units of T's last place at `wanted`. Infinite when
/// one is NaN and the other not, for a wrong infinity, and for a zero of the wrong sign.
template <class T, class Wide>
double ulp_error(T got, Wide wanted) {
  constexpr double kWrong = std::numeric_limits<double>::infinity();
  if (std::isnan(wanted) || std::isnan(got))
    return std::isnan(wanted) && std::isnan(got) ? 0.0 : kWrong;
  const T rounded = static_cast<T>(wanted);
  if (std::isinf(rounded) || std::isinf(got)) {
    if (rounded == got) return 0.0;
    // Half an ulp decides between the largest number and infinity.
    const T largest = std::numeric_limits<T>::max();
    return !std::isinf(wanted) && std::min(std::fabs(rounded), std::fabs(got)) == largest &&
                   std::signbit(rounded) == std::signbit(got)
               ? 1.0
               : kWrong;
  }
  if (std::signbit(got) != std::signbit(wanted) && (got != 0 || rounded == 0)) return kWrong;
  const int exponent =
      rounded == 0 ? std::numeric_limits<T>::min_exponent : std::ilogb(rounded) + 1;
  const int last =
      std::max(exponent, std::numeric_limits<T>::min_exponent) - std::numeric_limits<T>::digits;
  return static_cast<double>(std::ldexp(std::fabs(static_cast<Wide>(got) - wanted), -last));
}

}  // namespace coregrad
