// Every elementwise operation in every dtype against its definition, on vectors and on single
// elements, at the edges of the types.

#include "ir/philox.h"

#include "loop_test_util.h"
#include <functional>
#include <limits>

namespace coregrad {
namespace {

using test::CompiledKernel;
using test::GuardedArray;
using test::KernelWriter;
using test::runnable_isas;

template <class T>
constexpr DType kDTypeOf = std::is_same_v<T, float>     ? DType::Float32
                           : std::is_same_v<T, double>  ? DType::Float64
                           : std::is_same_v<T, int32_t> ? DType::Int32
                           : std::is_same_v<T, int64_t> ? DType::Int64
                                                        : DType::Bool;

/// Memory holds bool as a byte.
template <class T>
using Memory = std::conditional_t<std::is_same_v<T, bool>, uint8_t, T>;

template <class T>
std::vector<T> edge_values() {
  using L = std::numeric_limits<T>;
  if constexpr (std::is_same_v<T, bool>) {
    return {false, true};
  } else if constexpr (std::is_integral_v<T>) {
    return {0,  1,  -1, 2,   -2,   3,        7,        -7,           31,          32,
            33, 63, 64, 100, -100, L::max(), L::min(), L::max() - 1, L::min() + 1};
  } else {
    return {0,
            -0.0f,
            1,
            -1,
            0.5f,
            -0.5f,
            1.5f,
            -1.5f,
            2.5f,
            -2.5f,
            2,
            3,
            -3,
            0.1f,
            -0.1f,
            100.25f,
            -100.25f,
            1e10f,
            -1e10f,
            3e9f,
            -3e9f,
            1e19f,
            -1e19f,
            L::max(),
            L::lowest(),
            L::min(),
            L::denorm_min(),
            L::infinity(),
            -L::infinity(),
            L::quiet_NaN(),
            2147483520.0f,
            -2147483648.0f};
  }
}

template <class T>
::testing::AssertionResult same(T got, T expected, double relative = 0) {
  if constexpr (std::is_floating_point_v<T>) {
    if (std::isnan(expected) && std::isnan(got)) return ::testing::AssertionSuccess();
    if (got == expected) return ::testing::AssertionSuccess();
    const double error = std::fabs(static_cast<double>(got) - static_cast<double>(expected));
    if (error <= relative * std::fabs(static_cast<double>(expected)))
      return ::testing::AssertionSuccess();
  } else if (got == expected) {
    return ::testing::AssertionSuccess();
  }
  return ::testing::AssertionFailure() << "got " << +got << ", expected " << +expected;
}

/// Applies `op` to all pairs of edge values: as vectors with a rest, and as a uniform scalar.
template <class T, class R>
void check_binary(Op op, const std::function<R(T, T)>& expected, double relative = 0) {
  const std::vector<T> edges = edge_values<T>();
  std::vector<Memory<T>> a, b;
  for (const T x : edges)
    for (const T y : edges) a.push_back(x), b.push_back(y);
  const auto n = static_cast<int64_t>(a.size());
  for (const Isa isa : runnable_isas()) {
    SCOPED_TRACE(fmt::format("{} {} {}", name_of(op), name_of(kDTypeOf<T>), name_of(isa)));
    for (const bool vectors : {true, false}) {
      KernelWriter w(vectors);
      const IndexExpr i = w.axis(n);
      const int x = w.input(kDTypeOf<T>), y = w.input(kDTypeOf<T>), out = w.output(kDTypeOf<R>);
      w.store(w.op(op, kDTypeOf<R>, w.load(x, i), w.load(y, i)), out, i);
      w.kernel.block = vectors ? n : 1;
      w.kernel.chunk = n;
      GuardedArray<Memory<T>> ga(a), gb(b);
      GuardedArray<Memory<R>> go(std::vector<Memory<R>>(a.size(), Memory<R>{}));
      CompiledKernel(w.kernel, isa).run({ga.data(), gb.data(), go.data()});
      for (size_t k = 0; k < a.size(); ++k)
        EXPECT_TRUE(same<R>(static_cast<R>(go[k]),
                            expected(static_cast<T>(a[k]), static_cast<T>(b[k])), relative))
            << +a[k] << ", " << +b[k];
    }
  }
}

template <class T, class R>
void check_unary(Op op, const std::function<R(T)>& expected, double relative = 0) {
  const std::vector<T> edges = edge_values<T>();
  const std::vector<Memory<T>> a(edges.begin(), edges.end());
  const auto n = static_cast<int64_t>(a.size());
  for (const Isa isa : runnable_isas()) {
    SCOPED_TRACE(fmt::format("{} {} to {} {}", name_of(op), name_of(kDTypeOf<T>),
                             name_of(kDTypeOf<R>), name_of(isa)));
    for (const bool vectors : {true, false}) {
      KernelWriter w(vectors);
      const IndexExpr i = w.axis(n);
      const int x = w.input(kDTypeOf<T>), out = w.output(kDTypeOf<R>);
      w.store(w.op(op, kDTypeOf<R>, w.load(x, i)), out, i);
      w.kernel.block = vectors ? n : 1;
      w.kernel.chunk = n;
      GuardedArray<Memory<T>> ga(a);
      GuardedArray<Memory<R>> go(std::vector<Memory<R>>(a.size(), Memory<R>{}));
      CompiledKernel(w.kernel, isa).run({ga.data(), go.data()});
      for (size_t k = 0; k < a.size(); ++k)
        EXPECT_TRUE(same<R>(static_cast<R>(go[k]), expected(static_cast<T>(a[k])), relative))
            << +a[k];
    }
  }
}

template <class T>
void check_comparisons() {
  check_binary<T, bool>(Op::Eq, [](T a, T b) { return a == b; });
  check_binary<T, bool>(Op::Ne, [](T a, T b) { return a != b; });
  check_binary<T, bool>(Op::Lt, [](T a, T b) { return a < b; });
  check_binary<T, bool>(Op::Le, [](T a, T b) { return a <= b; });
}

template <class T>
T nan_extremum(T a, T b, bool greatest) {
  if (std::isnan(a) || std::isnan(b)) return std::numeric_limits<T>::quiet_NaN();
  return greatest ? std::max(a, b) : std::min(a, b);
}

template <class T>
void check_floats() {
  check_binary<T, T>(Op::Add, [](T a, T b) { return a + b; });
  check_binary<T, T>(Op::Sub, [](T a, T b) { return a - b; });
  check_binary<T, T>(Op::Mul, [](T a, T b) { return a * b; });
  check_binary<T, T>(Op::Div, [](T a, T b) { return a / b; });
  check_binary<T, T>(Op::Rem, [](T a, T b) { return std::fmod(a, b); });
  check_binary<T, T>(Op::Max, [](T a, T b) { return nan_extremum(a, b, true); });
  check_binary<T, T>(Op::Min, [](T a, T b) { return nan_extremum(a, b, false); });
  check_unary<T, T>(Op::Neg, [](T x) { return -x; });
  check_unary<T, T>(Op::Abs, [](T x) { return std::fabs(x); });
  check_unary<T, T>(Op::Sign, [](T x) { return static_cast<T>((x > 0) - (x < 0)); });
  check_unary<T, T>(Op::Floor, [](T x) { return std::floor(x); });
  check_unary<T, T>(Op::Ceil, [](T x) { return std::ceil(x); });
  check_unary<T, T>(Op::Round, [](T x) { return std::nearbyint(x); });
  check_unary<T, T>(Op::Trunc, [](T x) { return std::trunc(x); });
  check_unary<T, T>(Op::Sqrt, [](T x) { return std::sqrt(x); }, 1e-15);
  check_unary<T, T>(Op::Reciprocal, [](T x) { return 1 / x; });
  check_comparisons<T>();
}

TEST(ValueEmitter, ComputesFloat32) { check_floats<float>(); }
TEST(ValueEmitter, ComputesFloat64) { check_floats<double>(); }

template <class T>
void check_integers() {
  using U = std::make_unsigned_t<T>;
  const auto u = [](T x) { return static_cast<U>(x); };
  check_binary<T, T>(Op::Add, [=](T a, T b) { return static_cast<T>(u(a) + u(b)); });
  check_binary<T, T>(Op::Sub, [=](T a, T b) { return static_cast<T>(u(a) - u(b)); });
  check_binary<T, T>(Op::Mul, [=](T a, T b) { return static_cast<T>(u(a) * u(b)); });
  check_binary<T, T>(Op::Div, [=](T a, T b) {
    return b == 0 ? T{0} : b == -1 ? static_cast<T>(U{0} - u(a)) : static_cast<T>(a / b);
  });
  check_binary<T, T>(Op::Rem, [](T a, T b) { return b == 0 || b == -1 ? T{0} : a % b; });
  check_binary<T, T>(Op::Pow, [=](T a, T b) {
    if (b < 0) return a == 1 ? T{1} : a == -1 ? (b % 2 != 0 ? T{-1} : T{1}) : T{0};
    U result = 1, square = u(a);
    for (U e = u(b); e != 0; e >>= 1, square *= square)
      if (e & 1) result *= square;
    return static_cast<T>(result);
  });
  check_binary<T, T>(Op::Max, [](T a, T b) { return std::max(a, b); });
  check_binary<T, T>(Op::Min, [](T a, T b) { return std::min(a, b); });
  check_binary<T, T>(Op::And, [](T a, T b) { return a & b; });
  check_binary<T, T>(Op::Or, [](T a, T b) { return a | b; });
  check_binary<T, T>(Op::Xor, [](T a, T b) { return a ^ b; });
  constexpr U kBits = 8 * sizeof(T);
  check_binary<T, T>(Op::Shl,
                     [=](T a, T b) { return u(b) >= kBits ? T{0} : static_cast<T>(u(a) << u(b)); });
  check_binary<T, T>(Op::Shr, [=](T a, T b) {
    return u(b) >= kBits ? (a < 0 ? T{-1} : T{0}) : static_cast<T>(a >> u(b));
  });
  check_unary<T, T>(Op::Neg, [=](T x) { return static_cast<T>(U{0} - u(x)); });
  check_unary<T, T>(Op::Abs, [=](T x) { return x < 0 ? static_cast<T>(U{0} - u(x)) : x; });
  check_unary<T, T>(Op::Sign, [](T x) { return static_cast<T>((x > 0) - (x < 0)); });
  check_unary<T, T>(Op::Not, [](T x) { return static_cast<T>(~x); });
  check_comparisons<T>();
}

TEST(ValueEmitter, ComputesInt32) { check_integers<int32_t>(); }
TEST(ValueEmitter, ComputesInt64) { check_integers<int64_t>(); }

TEST(ValueEmitter, ComputesBool) {
  for (const Op op : {Op::Add, Op::Or, Op::Max})
    check_binary<bool, bool>(op, [](bool a, bool b) { return a || b; });
  for (const Op op : {Op::Mul, Op::And, Op::Min})
    check_binary<bool, bool>(op, [](bool a, bool b) { return a && b; });
  check_binary<bool, bool>(Op::Xor, [](bool a, bool b) { return a != b; });
  check_unary<bool, bool>(Op::Not, [](bool a) { return !a; });
  check_comparisons<bool>();
}

template <class To, class From>
To convert(From x) {
  if constexpr (std::is_same_v<To, bool>) {
    return x != From{0};
  } else if constexpr (std::is_floating_point_v<From> && std::is_integral_v<To>) {
    return static_cast<To>(Scalar::of(kDTypeOf<To>, static_cast<double>(x)).i);
  } else {
    return static_cast<To>(x);
  }
}

template <class From>
void check_casts() {
  check_unary<From, bool>(Op::Cast, convert<bool, From>);
  check_unary<From, int32_t>(Op::Cast, convert<int32_t, From>);
  check_unary<From, int64_t>(Op::Cast, convert<int64_t, From>);
  check_unary<From, float>(Op::Cast, convert<float, From>);
  check_unary<From, double>(Op::Cast, convert<double, From>);
}

TEST(ValueEmitter, CastsBetweenAllDTypes) {
  check_casts<bool>();
  check_casts<int32_t>();
  check_casts<int64_t>();
  check_casts<float>();
  check_casts<double>();
}

TEST(ValueEmitter, DividesByLiterals) {
  for (const Isa isa : runnable_isas())
    for (const int64_t divisor : {int64_t{0}, int64_t{1}, int64_t{-1}, int64_t{7}, int64_t{-8}}) {
      const auto a = edge_values<int64_t>();
      KernelWriter w;
      const IndexExpr i = w.axis(static_cast<int64_t>(a.size()));
      const int x = w.input(DType::Int64), q = w.output(DType::Int64), r = w.output(DType::Int64);
      KernelValue literal{.kind = ValueKind::Literal, .dtype = DType::Int64};
      literal.literal = Scalar::of_int(DType::Int64, divisor);
      const ValueId d = w.add(literal), v = w.load(x, i);
      w.store(w.op(Op::Div, DType::Int64, v, d), q, i);
      w.store(w.op(Op::Rem, DType::Int64, v, d), r, i);
      w.kernel.block = static_cast<int64_t>(a.size());
      GuardedArray<int64_t> ga(a), gq(a), gr(a);
      CompiledKernel(w.kernel, isa).run({ga.data(), gq.data(), gr.data()});
      for (size_t k = 0; k < a.size(); ++k) {
        const int64_t quotient = divisor == 0 ? 0
                                 : divisor == -1
                                     ? static_cast<int64_t>(0 - static_cast<uint64_t>(a[k]))
                                     : a[k] / divisor;
        EXPECT_EQ(gq[k], quotient) << a[k] << " / " << divisor;
        EXPECT_EQ(gr[k], divisor == 0 || divisor == -1 ? 0 : a[k] % divisor);
      }
    }
}

TEST(ValueEmitter, ClampsAtLiteralsWithoutLosingNan) {
  for (const Isa isa : runnable_isas()) {
    const auto a = edge_values<float>();
    KernelWriter w;
    const IndexExpr i = w.axis(static_cast<int64_t>(a.size()));
    const int x = w.input(DType::Float32), out = w.output(DType::Float32);
    const ValueId zero = w.literal(DType::Float32, 0), six = w.literal(DType::Float32, 6);
    w.store(w.op(Op::Min, DType::Float32, six, w.op(Op::Max, DType::Float32, w.load(x, i), zero)),
            out, i);
    w.kernel.block = static_cast<int64_t>(a.size());
    GuardedArray<float> ga(a), go(a);
    CompiledKernel(w.kernel, isa).run({ga.data(), go.data()});
    for (size_t k = 0; k < a.size(); ++k)
      EXPECT_TRUE(same(go[k], nan_extremum(nan_extremum(a[k], 0.0f, true), 6.0f, false)));
  }
}

TEST(ValueEmitter, DrawsTheRandomNumbersOfPhilox) {
  constexpr uint64_t kSeed = 0x123456789abcdef0;
  for (const Isa isa : runnable_isas()) {
    constexpr int64_t kN = 45, kStream = 3;
    KernelWriter w;
    const IndexExpr i = w.axis(kN);
    const int seed = w.input(DType::Int64), f32 = w.output(DType::Float32),
              f64 = w.output(DType::Float64), i32 = w.output(DType::Int32),
              i64 = w.output(DType::Int64), b8 = w.output(DType::Bool);
    const ValueId key = w.load(seed, {});
    const auto draw = [&](DType dtype, int to) {
      KernelValue v{.kind = ValueKind::Random, .dtype = dtype};
      v.operands[0] = key;
      v.literal = Scalar::of_int(DType::Int64, kStream);
      v.index = w.plus(i, 5);
      w.store(w.add(v), to, i);
    };
    draw(DType::Float32, f32), draw(DType::Float64, f64), draw(DType::Int32, i32);
    draw(DType::Int64, i64), draw(DType::Bool, b8);
    w.kernel.block = kN;
    GuardedArray<int64_t> gs({static_cast<int64_t>(kSeed)}), g64(std::vector<int64_t>(kN, 0));
    GuardedArray<float> gf(std::vector<float>(kN, 0));
    GuardedArray<double> gd(std::vector<double>(kN, 0));
    GuardedArray<int32_t> g32(std::vector<int32_t>(kN, 0));
    GuardedArray<uint8_t> gb(std::vector<uint8_t>(kN, 0));
    CompiledKernel(w.kernel, isa)
        .run({gs.data(), gf.data(), gd.data(), g32.data(), g64.data(), gb.data()});
    for (size_t k = 0; k < kN; ++k) {
      const uint32_t narrow = philox::bits32(kSeed, kStream, k + 5);
      const uint64_t wide = philox::bits64(kSeed, kStream, k + 5);
      EXPECT_EQ(gf[k], philox::to_float(narrow));
      EXPECT_EQ(gd[k], philox::to_double(wide));
      EXPECT_EQ(static_cast<uint32_t>(g32[k]), narrow);
      EXPECT_EQ(static_cast<uint64_t>(g64[k]), wide);
      EXPECT_EQ(gb[k], narrow >> 31);
    }
  }
}

}  // namespace
}  // namespace coregrad
