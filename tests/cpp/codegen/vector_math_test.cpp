// Elementary functions against libm at the next wider precision: random and special arguments,
// every ISA of the host, vectors of several widths and scalars. All floats:
// vector_math_sweep_test.cpp.

#include "codegen/math/vector_math.h"

#include "codegen/jit/host_target.h"
#include "ir/philox.h"

#include <gtest/gtest.h>

#include "vector_math_harness.h"
#include <random>

namespace coregrad {
namespace {

// The promise of vector_math.h, in ulp.
template <class T>
constexpr double kBound = std::is_same_v<T, float> ? 2.0 : 4.0;
template <class T>
using Wider = std::conditional_t<std::is_same_v<T, float>, double, long double>;
template <class T>
using Bits = std::conditional_t<std::is_same_v<T, float>, uint32_t, uint64_t>;

template <class T>
std::vector<T> special_values() {
  using Limits = std::numeric_limits<T>;
  std::vector<T> values;
  for (const T v : {T(0),
                    Limits::denorm_min(),
                    T(3) * Limits::denorm_min(),
                    Limits::min(),
                    Limits::min() / 2,
                    Limits::epsilon(),
                    T(1e-5),
                    T(0.5),
                    T(0.5625),
                    T(0.625),
                    T(0.785398163397448),
                    T(1),
                    std::nextafter(T(1), T(2)),
                    std::nextafter(T(1), T(0)),
                    T(1.5),
                    T(2),
                    T(2.5),
                    T(3),
                    T(4),
                    T(10),
                    T(18),
                    T(88.72283),
                    T(88.7229),
                    T(89.4),
                    T(103.9),
                    T(104),
                    T(128),
                    T(149),
                    T(150),
                    T(151),
                    T(709.782712893384),
                    T(709.7828),
                    T(710.4758),
                    T(745.13),
                    T(745.2),
                    T(1024),
                    T(1075),
                    T(131072),
                    T(131073),
                    T(4194304),
                    T(1e9),
                    T(8388607),
                    T(16777217),
                    T(9007199254740993),
                    T(1e22),
                    T(1e30),
                    Limits::max(),
                    Limits::infinity(),
                    Limits::quiet_NaN()}) {
    values.push_back(v);
    values.push_back(-v);
  }
  return values;
}

template <class T>
T from_bits(uint64_t word) {
  return std::bit_cast<T>(static_cast<Bits<T>>(word));
}

/// Of both signs, mostly between 2^-12 and 2^12.
template <class T>
T moderate(std::mt19937_64& generator) {
  const double fraction = std::ldexp(static_cast<double>(generator() >> 11), -53) * 2 - 1;
  return static_cast<T>(std::ldexp(fraction, static_cast<int>(generator() % 24) - 12));
}

template <class T>
void check(const CompiledMap<T>& map, Op op, std::vector<T> x, std::vector<T> y) {
  while (x.size() % map.width() != 0) x.push_back(T(1)), y.push_back(T(1));
  std::vector<T> out(x.size());
  map(x.data(), y.data(), out.data(), static_cast<int64_t>(x.size()));
  double worst = 0;
  size_t place = 0;
  for (size_t i = 0; i < x.size(); ++i) {
    const double error = ulp_error(out[i], reference<Wider<T>>(op, x[i], y[i]));
    if (error > worst) worst = error, place = i;
  }
  EXPECT_LE(worst, bound_of(op, kBound<T>))
      << name_of(op) << "(" << std::hexfloat << x[place] << ", " << y[place] << ") gave "
      << out[place] << ", wanted " << static_cast<T>(reference<Wider<T>>(op, x[place], y[place]));
}

template <class T>
void check_unary(const Target& target, Op op, int width, int samples) {
  const CompiledMap<T> map(target, op, width);
  std::vector<T> x = special_values<T>();
  std::mt19937_64 generator(20);
  for (int i = 0; i < samples / 2; ++i) {
    x.push_back(from_bits<T>(generator()));
    x.push_back(moderate<T>(generator));
  }
  check(map, op, x, x);
}

template <class T>
void check_binary(const Target& target, Op op, int width, int samples) {
  const CompiledMap<T> map(target, op, width);
  std::vector<T> x, y;
  for (const T a : special_values<T>())
    for (const T b : special_values<T>()) x.push_back(a), y.push_back(b);
  std::mt19937_64 generator(21);
  for (int i = 0; i < samples / 3; ++i) {
    x.push_back(from_bits<T>(generator()));
    y.push_back(from_bits<T>(generator()));
    x.push_back(moderate<T>(generator));
    y.push_back(moderate<T>(generator));
    // A result anywhere in range for pow, a quotient of many bits for fmod.
    const T base = std::fabs(moderate<T>(generator));
    const double limit = std::is_same_v<T, float> ? 150 : 1075;
    x.push_back(base);
    y.push_back(
        static_cast<T>(limit * (2 * std::ldexp(static_cast<double>(generator() >> 11), -53) - 1) /
                       std::log2(static_cast<double>(base))));
  }
  check(map, op, x, y);
}

class VectorMath : public testing::TestWithParam<Isa> {
 protected:
  void SetUp() override {
    if (!host_supports(GetParam())) GTEST_SKIP() << "this machine has no " << name_of(GetParam());
  }
  Target target() const { return target_for(GetParam()); }
};

TEST_P(VectorMath, FloatFunctionsStayWithinTwoUlp) {
  for (const Op op : kMathUnary) check_unary<float>(target(), op, target().lanes(4), 1'000'000);
}

TEST_P(VectorMath, DoubleFunctionsStayWithinFourUlp) {
  for (const Op op : kMathUnary) check_unary<double>(target(), op, target().lanes(8), 200'000);
}

TEST_P(VectorMath, PowAtan2AndFmodHoldOnEveryPairOfSpecialValues) {
  for (const Op op : {Op::Pow, Op::Atan2, Op::Rem}) {
    check_binary<float>(target(), op, target().lanes(4), 300'000);
    check_binary<double>(target(), op, target().lanes(8), 200'000);
  }
}

TEST_P(VectorMath, ScalarsAndOddWidthsGiveTheSameBounds) {
  for (const Op op : kMathUnary) {
    for (const int width : {1, 2, 8, 32}) check_unary<float>(target(), op, width, 2'000);
    for (const int width : {1, 2, 16}) check_unary<double>(target(), op, width, 2'000);
  }
  for (const Op op : {Op::Pow, Op::Atan2, Op::Rem}) {
    check_binary<float>(target(), op, 1, 300);
    check_binary<double>(target(), op, 1, 300);
  }
}

TEST_P(VectorMath, RemainderIsExact) {
  const CompiledMap<double> fmod_map(target(), Op::Rem, target().lanes(8));
  EXPECT_EQ(fmod_map(1e300, 3.0), std::fmod(1e300, 3.0));
  EXPECT_EQ(fmod_map(std::numeric_limits<double>::max(), 4.9e-324), 0.0);
  EXPECT_EQ(fmod_map(5.0, -3.0), 2.0);
  EXPECT_TRUE(std::signbit(fmod_map(-6.0, 3.0)));
  EXPECT_EQ(fmod_map(1.0, std::numeric_limits<double>::infinity()), 1.0);
}

TEST_P(VectorMath, ErfIsOneWhereItsTailIsLessThanHalfALastPlace) {
  // One place less would be multiplied: gelu(-1e15) is 0.
  const CompiledMap<float> narrow(target(), Op::Erf, target().lanes(4));
  const CompiledMap<double> wide(target(), Op::Erf, target().lanes(8));
  for (const float x : {3.93F, 4.0F, 10.0F, 1e15F, std::numeric_limits<float>::infinity()}) {
    EXPECT_EQ(narrow(x), 1.0F);
    EXPECT_EQ(narrow(-x), -1.0F);
    EXPECT_EQ(wide(2.0 * x), 1.0);
    EXPECT_EQ(wide(-2.0 * x), -1.0);
  }
}

/// void(int64 seed, int64 base, uint32* out): several ways to the same bits, 16 lanes each.
void build_philox(llvm::Module& module, int64_t stream) {
  llvm::LLVMContext& context = module.getContext();
  llvm::IRBuilder<> b(context);
  auto* const signature =
      llvm::FunctionType::get(b.getVoidTy(), {b.getInt64Ty(), b.getInt64Ty(), b.getPtrTy()}, false);
  auto* const function =
      llvm::Function::Create(signature, llvm::Function::ExternalLinkage, "bits", module);
  b.SetInsertPoint(llvm::BasicBlock::Create(context, "entry", function));
  llvm::SmallVector<llvm::Constant*, 16> steps;
  for (unsigned k = 0; k < 16; ++k) steps.push_back(b.getInt64(k));
  llvm::Value* const seed = function->getArg(0);
  llvm::Value* const base = function->getArg(1);
  llvm::Value* const counter =
      b.CreateAdd(b.CreateVectorSplat(16, base), llvm::ConstantVector::get(steps));
  const auto store = [&](llvm::Value* value, unsigned word) {
    b.CreateAlignedStore(value, b.CreateGEP(b.getInt32Ty(), function->getArg(2), b.getInt32(word)),
                         llvm::Align(4));
  };
  store(emit_philox_bits(b, seed, stream, counter), 0);
  store(emit_philox_bits64(b, seed, stream, counter), 16);
  store(emit_philox_bits(b, seed, stream, base), 48);
  b.CreateRetVoid();
}

TEST_P(VectorMath, PhiloxAgreesWithTheDefinitionBitForBit) {
  const int64_t stream = 0x123456789abcdef;
  const CodeHandle code = compile_module(
      target(), "philox", [&](llvm::Module& module) { build_philox(module, stream); });
  auto* const bits = reinterpret_cast<void (*)(int64_t, int64_t, uint32_t*)>(code->address("bits"));
  for (const int64_t seed : {int64_t{0}, int64_t{42}, int64_t{-1}, int64_t{0x7fffffff12345678}}) {
    for (const int64_t base :
         {int64_t{0}, int64_t{3}, int64_t{4}, int64_t{0x3fffffffe}, int64_t{1} << 40}) {
      uint32_t out[49];
      bits(seed, base, out);
      for (int64_t k = 0; k < 16; ++k) {
        const uint32_t wanted = philox::bits32(seed, stream, base + k);
        EXPECT_EQ(out[k], wanted);
        const uint64_t wanted64 = philox::bits64(seed, stream, base + k);
        EXPECT_EQ(out[16 + 2 * k] | uint64_t{out[17 + 2 * k]} << 32, wanted64);
      }
      EXPECT_EQ(out[48], philox::bits32(seed, stream, base));
    }
  }
}

INSTANTIATE_TEST_SUITE_P(EveryIsa, VectorMath,
                         testing::Values(Isa::Generic, Isa::Neon, Isa::Avx2, Isa::Avx512),
                         [](const auto& instance) { return std::string(name_of(instance.param)); });

TEST(VectorMathIr, OnlyTheRowsFromExpToErfAreMathUnary) {
  for (const Op op : {Op::Exp, Op::Log1p, Op::Sqrt, Op::Reciprocal, Op::Sigmoid, Op::Erf})
    EXPECT_TRUE(is_math_unary(op)) << name_of(op);
  for (const Op op : {Op::Neg, Op::Abs, Op::Sign, Op::Floor, Op::Round, Op::Add, Op::Pow})
    EXPECT_FALSE(is_math_unary(op)) << name_of(op);
}

TEST(VectorMathIr, EmitsInTheMiddleOfABlock) {
  // The insertion point stands before a return that already exists.
  const CodeHandle code = compile_module(host_target(), "middle", [](llvm::Module& module) {
    llvm::IRBuilder<> b(module.getContext());
    auto* const type = llvm::FunctionType::get(b.getDoubleTy(), {b.getDoubleTy()}, false);
    auto* const function =
        llvm::Function::Create(type, llvm::Function::ExternalLinkage, "f", module);
    b.SetInsertPoint(llvm::BasicBlock::Create(module.getContext(), "entry", function));
    llvm::ReturnInst* const end = b.CreateRet(function->getArg(0));
    b.SetInsertPoint(end);
    end->setOperand(0, emit_math_unary(b, Op::Sin, function->getArg(0)));
  });
  auto* const f = reinterpret_cast<double (*)(double)>(code->address("f"));
  EXPECT_NEAR(f(2.0), std::sin(2.0), 1e-15);
  EXPECT_NEAR(f(1e300), std::sin(1e300), 1e-15);
}

}  // namespace
}  // namespace coregrad
