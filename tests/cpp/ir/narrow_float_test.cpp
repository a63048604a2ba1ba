// float16 and bfloat16: conversions over every value on every instruction set, and graphs of every
// family of primitives against the interpreter.

#include "coregrad/narrow_float.h"

#include "base/error.h"
#include "ir/verify.h"
#include "ops/primitives.h"

#include "compile_check.h"
#include "loop_test_util.h"
#include <bit>
#include <cmath>

namespace coregrad {
namespace {

using Dims = std::vector<int64_t>;
using test::CompiledKernel;
using test::GuardedArray;
using test::KernelWriter;
using test::runnable_isas;

constexpr DType kNarrow[] = {DType::Float16, DType::BFloat16};

float widened(DType dtype, uint16_t bits) {
  return dtype == DType::Float16 ? float_from_float16(bits) : float_from_bfloat16(bits);
}
uint16_t narrowed(DType dtype, float value) {
  return dtype == DType::Float16 ? float16_from_float(value) : bfloat16_from_float(value);
}

/// The value of the bits by the formats' definition.
double defined_value(DType dtype, uint16_t bits) {
  const int fraction_bits = dtype == DType::Float16 ? 10 : 7;
  const int exponent_bits = 15 - fraction_bits, bias = (1 << (exponent_bits - 1)) - 1;
  const int fraction = bits & ((1 << fraction_bits) - 1);
  const int exponent = (bits >> fraction_bits) & ((1 << exponent_bits) - 1);
  const double sign = bits >> 15 ? -1 : 1;
  if (exponent == (1 << exponent_bits) - 1) return fraction ? NAN : sign * INFINITY;
  if (exponent == 0) return sign * std::ldexp(fraction, 1 - bias - fraction_bits);
  return sign * std::ldexp(fraction + (1 << fraction_bits), exponent - bias - fraction_bits);
}

bool is_nan(DType dtype, uint16_t bits) { return std::isnan(defined_value(dtype, bits)); }

TEST(NarrowFloat, EveryValueIsItsDefinitionAndComesBack) {
  for (const DType dtype : kNarrow)
    for (uint32_t i = 0; i < 65536; ++i) {
      const auto bits = static_cast<uint16_t>(i);
      const float wide = widened(dtype, bits);
      const double value = defined_value(dtype, bits);
      if (std::isnan(value)) {
        EXPECT_TRUE(std::isnan(wide)) << name_of(dtype) << " " << bits;
        EXPECT_TRUE(is_nan(dtype, narrowed(dtype, wide))) << name_of(dtype) << " " << bits;
        continue;
      }
      EXPECT_EQ(std::bit_cast<uint32_t>(wide), std::bit_cast<uint32_t>(static_cast<float>(value)))
          << name_of(dtype) << " " << bits;
      EXPECT_EQ(narrowed(dtype, wide), bits) << name_of(dtype);
    }
}

/// float32 values around every narrow value and every middle between two.
std::vector<float> values_around(DType dtype) {
  std::vector<float> values = {NAN,      -NAN,     INFINITY, -INFINITY,    65519.99f,
                               65520.0f, 65536.0f, 1e38f,    3.4028235e38f};
  const uint16_t infinity = dtype == DType::Float16 ? 0x7c00 : 0x7f80;
  for (uint16_t bits = 0; bits < infinity; ++bits) {
    const float low = widened(dtype, bits), high = widened(dtype, static_cast<uint16_t>(bits + 1));
    const auto middle =
        static_cast<float>((static_cast<double>(low) + static_cast<double>(high)) / 2);
    for (const float v : {low, std::nextafterf(low, INFINITY), middle,
                          std::nextafterf(middle, 0.0f), std::nextafterf(middle, INFINITY)}) {
      values.push_back(v);
      values.push_back(-v);
    }
  }
  return values;
}

TEST(NarrowFloat, RoundsToTheNearestWithTiesToEven) {
  for (const DType dtype : kNarrow) {
    // The value that would follow the largest finite one stands for infinity.
    const double limit = dtype == DType::Float16 ? 65536 : 0x1p128;
    const auto size_of_bits = [&](uint16_t bits) {
      const double v = std::fabs(defined_value(dtype, bits));
      return std::isinf(v) ? limit : v;
    };
    for (const float value : values_around(dtype)) {
      const uint16_t bits = narrowed(dtype, value);
      if (std::isnan(value)) {
        EXPECT_TRUE(is_nan(dtype, bits));
        continue;
      }
      ASSERT_FALSE(is_nan(dtype, bits)) << value;
      EXPECT_EQ(bits >> 15 != 0, std::signbit(value)) << value;
      const double size = std::min(std::fabs(static_cast<double>(value)), limit);
      const auto own = static_cast<uint16_t>(bits & 0x7fff);
      const double distance = std::fabs(size_of_bits(own) - size);
      for (const int step : {-1, 1}) {
        const int next = own + step;
        if (next < 0 || is_nan(dtype, static_cast<uint16_t>(next))) continue;
        const double other = std::fabs(size_of_bits(static_cast<uint16_t>(next)) - size);
        EXPECT_TRUE(distance < other || (distance == other && own % 2 == 0))
            << name_of(dtype) << " of " << value;
      }
    }
  }
}

TEST(NarrowFloat, MachineCodeWidensEveryValueOnEveryInstructionSet) {
  for (const Isa isa : runnable_isas())
    for (const DType dtype : kNarrow) {
      KernelWriter w;
      const IndexExpr i = w.axis(65536);
      const int x = w.input(dtype), out = w.output(DType::Float32);
      w.store(w.op(Op::Cast, DType::Float32, w.load(x, i)), out, i);
      w.kernel.block = 4096;
      std::vector<uint16_t> bits(65536);
      for (size_t k = 0; k < bits.size(); ++k) bits[k] = static_cast<uint16_t>(k);
      GuardedArray<uint16_t> in(bits);
      GuardedArray<float> result(std::vector<float>(bits.size(), -9));
      CompiledKernel(w.kernel, isa).run({in.data(), result.data()});
      for (size_t k = 0; k < bits.size(); ++k) {
        const float want = widened(dtype, bits[k]);
        if (std::isnan(want))
          EXPECT_TRUE(std::isnan(result[k]));
        else
          ASSERT_EQ(std::bit_cast<uint32_t>(result[k]), std::bit_cast<uint32_t>(want))
              << name_of(isa) << " " << name_of(dtype) << " " << bits[k];
      }
    }
}

TEST(NarrowFloat, MachineCodeRoundsAsTheReferenceOnEveryInstructionSet) {
  for (const Isa isa : runnable_isas())
    for (const DType dtype : kNarrow) {
      const std::vector<float> values = values_around(dtype);
      const auto n = static_cast<int64_t>(values.size());
      KernelWriter w;
      const IndexExpr i = w.axis(n);
      const int x = w.input(DType::Float32), out = w.output(dtype),
                again = w.output(DType::Float32);
      const ValueId narrow = w.op(Op::Cast, dtype, w.load(x, i));
      w.store(narrow, out, i);
      w.store(w.op(Op::Cast, DType::Float32, narrow), again, i);
      w.kernel.block = 4096;
      GuardedArray<float> in(values), wide(std::vector<float>(values.size(), -9));
      GuardedArray<uint16_t> result(std::vector<uint16_t>(values.size(), 9));
      CompiledKernel(w.kernel, isa).run({in.data(), result.data(), wide.data()});
      for (size_t k = 0; k < values.size(); ++k) {
        const uint16_t want = narrowed(dtype, values[k]);
        if (is_nan(dtype, want)) {
          EXPECT_TRUE(is_nan(dtype, result[k]));
          EXPECT_TRUE(std::isnan(wide[k]));
          continue;
        }
        ASSERT_EQ(result[k], want) << name_of(isa) << " " << name_of(dtype) << " of " << values[k];
        ASSERT_EQ(wide[k], widened(dtype, want)) << name_of(isa) << " " << name_of(dtype);
      }
    }
}

TEST(NarrowFloat, SignallingNansBecomeQuiet) {
  for (const DType dtype : kNarrow) {
    const uint16_t quiet = dtype == DType::Float16 ? 0x0200 : 0x0040;
    for (const uint32_t bits : {0x7f800001u, 0xff800001u, 0x7fbfffffu, 0x7f800000u | 1u << 15})
      EXPECT_TRUE(narrowed(dtype, std::bit_cast<float>(bits)) & quiet);
  }
}

TEST(NarrowFloat, PromotesAsPyTorchDoes) {
  EXPECT_EQ(promote(DType::Float16, DType::BFloat16), DType::Float32);
  EXPECT_EQ(promote(DType::BFloat16, DType::BFloat16), DType::BFloat16);
  EXPECT_EQ(promote(DType::BFloat16, DType::Int64), DType::BFloat16);
  EXPECT_EQ(promote(DType::Float16, DType::Float32), DType::Float32);
  EXPECT_EQ(promote(DType::Float64, DType::Float16), DType::Float64);
}

// PyTorch has no rule for signed beside uint16 and uint32; there it is the array API standard's.
TEST(SmallIntegers, PromoteToWhatHoldsBoth) {
  EXPECT_EQ(promote(DType::Int8, DType::UInt8), DType::Int16);
  EXPECT_EQ(promote(DType::UInt8, DType::Int16), DType::Int16);
  EXPECT_EQ(promote(DType::UInt8, DType::UInt16), DType::UInt16);
  EXPECT_EQ(promote(DType::UInt16, DType::Int16), DType::Int32);
  EXPECT_EQ(promote(DType::Int32, DType::UInt32), DType::Int64);
  EXPECT_EQ(promote(DType::Int64, DType::UInt32), DType::Int64);
  EXPECT_EQ(promote(DType::Bool, DType::UInt16), DType::UInt16);
  EXPECT_EQ(promote(DType::UInt32, DType::Float16), DType::Float16);
  for (int a = 0; a < kNumDTypes; ++a)
    for (int b = 0; b < kNumDTypes; ++b) {
      const auto x = static_cast<DType>(a), y = static_cast<DType>(b);
      EXPECT_EQ(promote(x, y), promote(y, x)) << name_of(x) << " " << name_of(y);
    }
}

TEST(NarrowFloat, IsJoinedToOtherDtypesThroughFloat32) {
  for (const DType narrow : kNarrow)
    for (int t = 0; t < kNumDTypes; ++t) {
      const auto dtype = static_cast<DType>(t);
      Graph g;
      const NodeId x = ops::input(g, 0, dtype, Dims{67});
      const NodeId there = ops::cast(g, x, narrow);
      EXPECT_EQ(g.dtype(there), narrow);
      if (dtype == narrow) {
        EXPECT_EQ(there, x);
        // A widening that is undone leaves nothing.
        EXPECT_EQ(ops::cast(g, ops::cast(g, x, DType::Float32), narrow), x);
        continue;
      }
      const NodeId back = ops::cast(g, there, dtype);
      verify(g, {{there, back}}, "test");
      test::expect_compiled_matches(g, {{there, back}});
    }
}

TEST(NarrowFloat, TheVerifierRefusesArithmetic) {
  Graph g;
  const NodeId x = ops::input(g, 0, DType::BFloat16, Dims{4});
  const NodeId wrong = g.intern(Op::Exp, DType::BFloat16, Dims{4}, {{x}}, {});
  EXPECT_THROW(verify(g, {{wrong}}, "test"), InternalError);
  const NodeId direct = g.intern(Op::Cast, DType::Float64, Dims{4}, {{x}}, {});
  EXPECT_THROW(verify(g, {{direct}}, "test"), InternalError);
}

TEST(NarrowFloat, EveryUnaryAndBinaryOperationRoundsOnce) {
  for (const DType dtype : kNarrow)
    for (int o = 0; o < kNumOps; ++o) {
      const auto op = static_cast<Op>(o);
      const Family family = family_of(op);
      if (op == Op::Not || op == Op::And || op == Op::Or || op == Op::Xor || op == Op::Shl ||
          op == Op::Shr)
        continue;
      Graph g;
      const NodeId x = ops::input(g, 0, dtype, Dims{5, 33}), y = ops::input(g, 1, dtype, Dims{33});
      NodeId result;
      if (family == Family::Unary)
        result = ops::unary(g, op, x);
      else if (family == Family::Binary)
        result = ops::binary(g, op, op == Op::Pow ? ops::unary(g, Op::Abs, x) : x, y);
      else if (family == Family::Compare)
        result = ops::compare(g, op, x, y);
      else
        continue;
      EXPECT_EQ(g.dtype(result), family == Family::Compare ? DType::Bool : dtype) << name_of(op);
      verify(g, {{result}}, "test");
      test::expect_compiled_matches(g, {{result}});
    }
}

TEST(NarrowFloat, ReductionsScansAndProductsCarryFloat32) {
  for (const DType dtype : kNarrow) {
    Graph g;
    const NodeId x = ops::input(g, 0, dtype, Dims{9, 130}),
                 y = ops::input(g, 1, dtype, Dims{130, 17});
    std::vector<NodeId> results;
    for (const Op op : {Op::Sum, Op::Prod, Op::ReduceMax, Op::ReduceMin})
      for (const Dims& dims : {Dims{0}, Dims{1}, Dims{0, 1}})
        results.push_back(ops::reduce(g, op, x, dims));
    results.push_back(ops::reduce(g, Op::ArgMax, x, Dims{1}));
    results.push_back(ops::reduce(g, Op::ArgMin, x, Dims{0}));
    results.push_back(ops::scan(g, Op::CumSum, x, 1));
    results.push_back(ops::argsort(g, x, 1, true));
    ContractSpec spec;
    spec.extents = {9, 17, 130};
    spec.lhs = {DimMap::label(0), DimMap::label(2)};
    spec.rhs = {DimMap::label(2), DimMap::label(1)};
    spec.out = {0, 1};
    results.push_back(ops::contract(g, x, y, spec));
    verify(g, results, "test");
    test::expect_compiled_matches(g, results);
  }
}

TEST(NarrowFloat, ASumOfManySmallNumbersDoesNotStop) {
  // Summed in bfloat16, 10000 ones would stay at 256.
  for (const DType dtype : kNarrow) {
    Graph g;
    const NodeId x = ops::input(g, 0, dtype, Dims{10000});
    const NodeId sum = ops::reduce(g, Op::Sum, x, Dims{0});
    std::vector<std::byte> ones(20000);
    for (size_t i = 0; i < 10000; ++i) {
      const uint16_t one = narrowed(dtype, 1);
      std::memcpy(ones.data() + 2 * i, &one, 2);
    }
    const auto results = test::run_compiled(g, {{sum}}, {ones});
    uint16_t bits;
    std::memcpy(&bits, results[0].data(), 2);
    EXPECT_EQ(bits, narrowed(dtype, 10000));
  }
}

TEST(NarrowFloat, ProductsReadNarrowMemoryThroughViewsWithoutAStepOfTheirOwn) {
  for (const DType dtype : kNarrow) {
    Graph g;
    const NodeId x = ops::input(g, 0, dtype, Dims{40, 70}),
                 w = ops::input(g, 1, dtype, Dims{50, 70});
    ContractSpec spec;
    spec.extents = {40, 50, 70};
    spec.lhs = {DimMap::label(0), DimMap::label(2)};
    spec.rhs = {DimMap::label(2), DimMap::label(1)};
    spec.out = {0, 1};
    const NodeId product = ops::contract(g, x, ops::permute(g, w, Dims{1, 0}), spec);
    CompileReport report;
    test::expect_compiled_matches(g, {{product}}, 1, &report);
    EXPECT_EQ(report.steps, 1);
    EXPECT_EQ(report.temporary_bytes, 0);
  }
}

TEST(NarrowFloat, ProductsReadPartsThatBeginInsideOfNarrowMemory) {
  // The part's start is counted in the bytes of the memory, not of the float32 it becomes.
  for (const DType dtype : kNarrow) {
    Graph g;
    const NodeId x = ops::input(g, 0, dtype, Dims{6, 9, 16}),
                 w = ops::input(g, 1, dtype, Dims{16, 8});
    ContractSpec spec;
    spec.extents = {9, 8, 16};
    spec.lhs = {DimMap::label(0), DimMap::label(2)};
    spec.rhs = {DimMap::label(2), DimMap::label(1)};
    spec.out = {0, 1};
    std::vector<NodeId> products;
    for (int64_t t = 0; t < 6; ++t)
      products.push_back(
          ops::contract(g, ops::reshape(g, ops::narrow(g, x, 0, t, t + 1), Dims{9, 16}), w, spec));
    test::expect_compiled_matches(g, products);
  }
}

TEST(NarrowFloat, MovesWithoutAConversion) {
  for (const DType dtype : kNarrow) {
    Graph g;
    const NodeId x = ops::input(g, 0, dtype, Dims{6, 10}), y = ops::input(g, 1, dtype, Dims{6, 10});
    const NodeId mask = ops::input(g, 2, DType::Bool, Dims{6, 10});
    const NodeId index = ops::input(g, 3, DType::Int64, Dims{4, 10});
    const NodeId at =
        ops::binary(g, Op::Rem, index, ops::literal(g, Scalar::of_int(DType::Int64, 6)));
    std::vector<NodeId> results = {
        ops::permute(g, x, Dims{1, 0}),
        ops::slice(g, x, Dims{1, 0}, Dims{6, 9}, Dims{2, 3}),
        ops::flip(g, x, Dims{1}),
        ops::pad(g, x, Dims{1, 2}, Dims{0, 1}, Dims{0, 1}, Scalar::of(dtype, 1.5)),
        ops::concat(g, std::vector<NodeId>{x, y}, 1),
        ops::select(g, mask, x, y),
        ops::gather(g, x, 0, at),
        ops::scatter(g, x, 0, ops::reshape(g, ops::iota(g, DType::Int64, 6), Dims{6, 1}),
                     ops::slice(g, y, Dims{0, 0}, Dims{6, 1}, Dims{1, 1}), ScatterMode::Set),
        ops::full(g, Dims{7}, Scalar::of(dtype, 0.3)),
        ops::detach(g, x),
    };
    verify(g, results, "test");
    for (const NodeId r : results) {
      EXPECT_EQ(g.dtype(r), dtype);
      EXPECT_NE(g[r].op, Op::Cast);
    }
    results.push_back(ops::scatter(
        g, x, 0, at, ops::slice(g, y, Dims{0, 0}, Dims{4, 10}, Dims{1, 1}), ScatterMode::Add));
    test::expect_compiled_matches(g, results);
  }
}

TEST(NarrowFloat, RandomNumbersAreBelowOne) {
  for (const DType dtype : kNarrow) {
    Graph g;
    const NodeId seed = ops::literal(g, Scalar::of_int(DType::Int64, 5));
    const NodeId r = ops::random(g, seed, dtype, Dims{100000}, 0);
    verify(g, {{r}}, "test");
    const std::vector<Array> values = interpret(g, {{r}}, {});
    double sum = 0;
    for (const uint16_t bits : values[0].as<uint16_t>()) {
      const float v = widened(dtype, bits);
      ASSERT_TRUE(v >= 0 && v < 1);
      sum += static_cast<double>(v);
    }
    EXPECT_NEAR(sum / 100000, 0.5, 0.01);
    test::expect_compiled_matches(g, {{r}});
  }
}

}  // namespace
}  // namespace coregrad
