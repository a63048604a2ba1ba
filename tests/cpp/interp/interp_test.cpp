// The reference interpreter against values worked out by hand, family by family. Nodes are interned
// directly, so that these tests rest on the table of primitives alone.

#include "base/error.h"
#include "interp/interpreter.h"
#include "ir/contract.h"
#include "ir/philox.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <limits>
#include <numeric>
#include <pthread.h>

namespace coregrad {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

constexpr double kInf = std::numeric_limits<double>::infinity();
const double kNan = std::numeric_limits<double>::quiet_NaN();

template <class T>
constexpr DType dtype_of = std::is_same_v<T, bool>      ? DType::Bool
                           : std::is_same_v<T, int32_t> ? DType::Int32
                           : std::is_same_v<T, int64_t> ? DType::Int64
                           : std::is_same_v<T, float>   ? DType::Float32
                                                        : DType::Float64;

/// A graph with bound inputs.
struct Bench {
  Graph graph;
  std::vector<std::vector<std::byte>> storage;
  std::vector<InputView> views;

  template <class T>
  NodeId input(std::vector<int64_t> shape, std::initializer_list<T> values,
               std::vector<int64_t> strides = {}) {
    if (strides.empty()) {
      strides.assign(shape.size(), 1);
      for (size_t d = shape.size(); d-- > 1;) strides[d - 1] = strides[d] * shape[d];
    }
    std::vector<int64_t> attrs = {static_cast<int64_t>(views.size())};
    attrs.insert(attrs.end(), strides.begin(), strides.end());
    std::vector<std::byte>& bytes = storage.emplace_back(values.size() * sizeof(T));
    if (values.size() > 0) std::memcpy(bytes.data(), values.begin(), bytes.size());
    views.push_back({bytes.data()});
    return graph.intern(Op::Input, dtype_of<T>, shape, {}, attrs);
  }
  NodeId node(Op op, DType dtype, std::vector<int64_t> shape, std::vector<NodeId> operands,
              std::vector<int64_t> attrs = {}, uint64_t literal = 0) {
    return graph.intern(op, dtype, shape, operands, attrs, literal);
  }
  NodeId like(Op op, std::vector<NodeId> operands) {
    const std::vector<int64_t> shape(graph.shape(operands[0]).begin(),
                                     graph.shape(operands[0]).end());
    const bool compares = family_of(op) == Family::Compare;
    return graph.intern(op, compares ? DType::Bool : graph.dtype(operands.back()), shape, operands);
  }
  template <class T>
  std::vector<T> run(NodeId root) {
    const Array result = interpret(graph, {&root, 1}, views)[0];
    EXPECT_EQ(result.dtype, dtype_of<T>);
    const std::span<const T> values = result.as<T>();
    return {values.begin(), values.end()};
  }
};

TEST(Interpreter, ReadsInputsAlongTheirStrides) {
  Bench b;
  const NodeId transposed = b.input<int32_t>({2, 3}, {1, 2, 3, 4, 5, 6}, {1, 2});
  const NodeId repeated = b.input<int32_t>({2, 3}, {7, 8}, {1, 0});
  EXPECT_THAT(b.run<int32_t>(transposed), ElementsAre(1, 3, 5, 2, 4, 6));
  EXPECT_THAT(b.run<int32_t>(repeated), ElementsAre(7, 7, 7, 8, 8, 8));
  EXPECT_THAT(b.run<double>(b.input<double>({0, 3}, {})), ElementsAre());
}

TEST(Interpreter, NamesAnInputThatIsNotBound) {
  Bench b;
  const NodeId x = b.node(Op::Input, DType::Float32, {1}, {}, {3, 1});
  try {
    b.run<float>(x);
    FAIL();
  } catch (const ValueError& e) {
    EXPECT_THAT(e.what(), HasSubstr("input 3 is not bound"));
  }
}

TEST(Interpreter, GivesLiteralsAndIota) {
  Bench b;
  EXPECT_THAT(b.run<float>(b.node(Op::Literal, DType::Float32, {}, {}, {},
                                  Scalar::of_float(DType::Float32, 1.5).bits())),
              ElementsAre(1.5f));
  EXPECT_THAT(b.run<int32_t>(b.node(Op::Iota, DType::Int32, {4}, {})), ElementsAre(0, 1, 2, 3));
}

TEST(Interpreter, RoundsFloat32FunctionsOnceFromDouble) {
  Bench b;
  const NodeId x = b.input<float>({3}, {0.1f, 1.0f, -2.5f});
  const std::vector<float> exp = b.run<float>(b.like(Op::Exp, {x}));
  for (size_t i = 0; i < 3; ++i)
    EXPECT_EQ(exp[i], static_cast<float>(std::exp(static_cast<double>(b.run<float>(x)[i]))));
}

TEST(Interpreter, ComputesEveryUnaryFunctionOfFloats) {
  Bench b;
  const NodeId x = b.input<double>({2}, {0.5, 0.25});
  for (int op = 0; op < kNumOps; ++op) {
    if (family_of(static_cast<Op>(op)) != Family::Unary || static_cast<Op>(op) == Op::Not) continue;
    EXPECT_NO_THROW(b.run<double>(b.like(static_cast<Op>(op), {x})))
        << name_of(static_cast<Op>(op));
  }
  EXPECT_THAT(b.run<double>(b.like(Op::Round, {b.input<double>({4}, {0.5, 1.5, -2.5, 2.6})})),
              ElementsAre(0, 2, -2, 3));
  EXPECT_THAT(b.run<double>(b.like(Op::Sign, {b.input<double>({4}, {-3, 0, 9, kNan})})),
              ElementsAre(-1, 0, 1, 0));
}

TEST(Interpreter, LetsNanWinInMaximumAndMinimum) {
  Bench b;
  const NodeId x = b.input<double>({3}, {kNan, 1, 2}), y = b.input<double>({3}, {0, kNan, 1});
  for (const Op op : {Op::Max, Op::Min}) {
    const std::vector<double> r = b.run<double>(b.like(op, {x, y}));
    EXPECT_TRUE(std::isnan(r[0]) && std::isnan(r[1]));
    EXPECT_EQ(r[2], op == Op::Max ? 2 : 1);
  }
  const NodeId table = b.input<float>({2, 3}, {1, NAN, 3, 4, 6, 5});
  EXPECT_TRUE(
      std::isnan(b.run<float>(b.node(Op::ReduceMax, DType::Float32, {2}, {table}, {1}))[0]));
  EXPECT_THAT(b.run<int64_t>(b.node(Op::ArgMin, DType::Int64, {2}, {table}, {1})),
              ElementsAre(1, 0));
  EXPECT_THAT(b.run<int64_t>(b.node(Op::ArgMax, DType::Int64, {2}, {table}, {1})),
              ElementsAre(1, 1));
}

TEST(Interpreter, WrapsIntegerArithmeticAround) {
  Bench b;
  constexpr int32_t low = INT32_MIN, high = INT32_MAX;
  const NodeId x = b.input<int32_t>({4}, {high, low, low, 7}),
               y = b.input<int32_t>({4}, {1, -1, 2, 0});
  EXPECT_THAT(b.run<int32_t>(b.like(Op::Add, {x, y})), ElementsAre(low, high, low + 2, 7));
  EXPECT_THAT(b.run<int32_t>(b.like(Op::Mul, {x, y})), ElementsAre(high, low, 0, 0));
  EXPECT_THAT(b.run<int32_t>(b.like(Op::Div, {x, y})), ElementsAre(high, low, low / 2, 0));
  EXPECT_THAT(b.run<int32_t>(b.like(Op::Rem, {x, y})), ElementsAre(0, 0, 0, 0));
  EXPECT_THAT(b.run<int32_t>(b.like(Op::Neg, {x})), ElementsAre(-high, low, low, -7));
  EXPECT_THAT(b.run<int32_t>(b.like(Op::Abs, {x})), ElementsAre(high, low, low, 7));
}

TEST(Interpreter, DividesAndShiftsIntegersByTheTable) {
  Bench b;
  const NodeId x = b.input<int64_t>({4}, {-7, 7, -8, 5}),
               y = b.input<int64_t>({4}, {2, -2, 64, -1});
  EXPECT_THAT(b.run<int64_t>(b.like(Op::Div, {x, y})), ElementsAre(-3, -3, 0, -5));
  EXPECT_THAT(b.run<int64_t>(b.like(Op::Rem, {x, y})), ElementsAre(-1, 1, -8, 0));
  EXPECT_THAT(b.run<int64_t>(b.like(Op::Shl, {x, y})), ElementsAre(-28, 0, 0, 0));
  EXPECT_THAT(b.run<int64_t>(b.like(Op::Shr, {x, y})), ElementsAre(-2, 0, -1, 0));
  EXPECT_THAT(b.run<int64_t>(b.like(Op::Pow, {x, y})), ElementsAre(49, 0, 0, 0));
  EXPECT_THAT(b.run<int64_t>(b.like(Op::Pow, {b.input<int64_t>({3}, {-1, 3, 1}),
                                              b.input<int64_t>({3}, {-3, 4, -9})})),
              ElementsAre(-1, 81, 1));
}

TEST(Interpreter, TreatsBoolAsLogic) {
  Bench b;
  const NodeId x = b.input<bool>({4}, {false, false, true, true}),
               y = b.input<bool>({4}, {false, true, false, true});
  EXPECT_THAT(b.run<bool>(b.like(Op::Add, {x, y})), ElementsAre(false, true, true, true));
  EXPECT_THAT(b.run<bool>(b.like(Op::Mul, {x, y})), ElementsAre(false, false, false, true));
  EXPECT_THAT(b.run<bool>(b.like(Op::Xor, {x, y})), ElementsAre(false, true, true, false));
  EXPECT_THAT(b.run<bool>(b.like(Op::Lt, {x, y})), ElementsAre(false, true, false, false));
  EXPECT_THAT(b.run<bool>(b.node(Op::ReduceMax, DType::Bool, {}, {x}, {0})), ElementsAre(true));
  EXPECT_THAT(b.run<bool>(b.node(Op::ReduceMin, DType::Bool, {}, {x}, {0})), ElementsAre(false));
}

TEST(Interpreter, CastsWithTruncationSaturationAndWrapping) {
  Bench b;
  const NodeId x = b.input<double>({7}, {1.9, -1.9, 1e20, -1e20, kInf, kNan, 0});
  EXPECT_THAT(b.run<int32_t>(b.node(Op::Cast, DType::Int32, {7}, {x})),
              ElementsAre(1, -1, INT32_MAX, INT32_MIN, INT32_MAX, 0, 0));
  EXPECT_THAT(b.run<int64_t>(b.node(Op::Cast, DType::Int64, {7}, {x})),
              ElementsAre(1, -1, INT64_MAX, INT64_MIN, INT64_MAX, 0, 0));
  EXPECT_THAT(b.run<bool>(b.node(Op::Cast, DType::Bool, {7}, {x})),
              ElementsAre(true, true, true, true, true, true, false));
  const NodeId wide = b.input<int64_t>({2}, {(int64_t{1} << 32) + 5, -1});
  EXPECT_THAT(b.run<int32_t>(b.node(Op::Cast, DType::Int32, {2}, {wide})), ElementsAre(5, -1));
}

TEST(Interpreter, SelectsByCondition) {
  Bench b;
  const NodeId c = b.input<bool>({2}, {true, false});
  const NodeId r =
      b.like(Op::Select, {c, b.input<float>({2}, {1, 2}), b.input<float>({2}, {3, 4})});
  EXPECT_THAT(b.run<float>(r), ElementsAre(1, 4));
}

TEST(Interpreter, MovesElementsThroughEveryView) {
  Bench b;
  const NodeId x = b.input<int32_t>({2, 3}, {1, 2, 3, 4, 5, 6});
  EXPECT_THAT(b.run<int32_t>(b.node(Op::Reshape, DType::Int32, {3, 2}, {x})),
              ElementsAre(1, 2, 3, 4, 5, 6));
  EXPECT_THAT(b.run<int32_t>(b.node(Op::Permute, DType::Int32, {3, 2}, {x}, {1, 0})),
              ElementsAre(1, 4, 2, 5, 3, 6));
  EXPECT_THAT(b.run<int32_t>(b.node(Op::Slice, DType::Int32, {1, 2}, {x}, {1, 1, 0, 2})),
              ElementsAre(4, 6));
  EXPECT_THAT(b.run<int32_t>(b.node(Op::Flip, DType::Int32, {2, 3}, {x}, {0, 1})),
              ElementsAre(3, 2, 1, 6, 5, 4));
  EXPECT_THAT(b.run<int32_t>(b.node(Op::Pad, DType::Int32, {3, 6}, {x}, {1, 0, 0, 0, 1, 1},
                                    Scalar::of_int(DType::Int32, 9).bits())),
              ElementsAre(9, 9, 9, 9, 9, 9, 1, 9, 2, 9, 3, 9, 4, 9, 5, 9, 6, 9));
  EXPECT_THAT(b.run<int32_t>(b.node(Op::Concat, DType::Int32, {2, 6}, {x, x}, {1})),
              ElementsAre(1, 2, 3, 1, 2, 3, 4, 5, 6, 4, 5, 6));
  const NodeId column = b.input<int32_t>({2, 1}, {8, 9});
  EXPECT_THAT(b.run<int32_t>(b.node(Op::Expand, DType::Int32, {2, 2}, {column})),
              ElementsAre(8, 8, 9, 9));
}

TEST(Interpreter, TakesOverlappingWindows) {
  Bench b;
  const NodeId x = b.input<int32_t>({2, 5}, {0, 1, 2, 3, 4, 5, 6, 7, 8, 9});
  EXPECT_THAT(b.run<int32_t>(b.node(Op::Window, DType::Int32, {2, 2, 2}, {x}, {1, 2, 1, 3})),
              ElementsAre(0, 3, 1, 4, 5, 8, 6, 9));
  EXPECT_THAT(
      b.run<int32_t>(b.node(Op::Window, DType::Int32, {1, 2, 2, 3}, {x}, {0, 2, 1, 1, 1, 3, 2, 1})),
      ElementsAre(0, 1, 2, 5, 6, 7, 2, 3, 4, 7, 8, 9));
}

TEST(Interpreter, ReducesOverOuterMiddleAndInnerDimensions) {
  Bench b;
  const NodeId x = b.input<int64_t>({2, 2, 2}, {1, 2, 3, 4, 5, 6, 7, 8});
  const auto sum = [&](std::vector<int64_t> shape, std::vector<int64_t> dims) {
    return b.run<int64_t>(b.node(Op::Sum, DType::Int64, shape, {x}, dims));
  };
  EXPECT_THAT(sum({2, 2}, {0}), ElementsAre(6, 8, 10, 12));
  EXPECT_THAT(sum({2, 2}, {1}), ElementsAre(4, 6, 12, 14));
  EXPECT_THAT(sum({2}, {0, 2}), ElementsAre(14, 22));
  EXPECT_THAT(sum({}, {0, 1, 2}), ElementsAre(36));
  EXPECT_THAT(b.run<int64_t>(b.node(Op::Prod, DType::Int64, {2, 2}, {x}, {2})),
              ElementsAre(2, 12, 30, 56));
}

TEST(Interpreter, ReducesNothingToTheIdentity) {
  Bench b;
  const NodeId x = b.input<double>({2, 0}, {});
  EXPECT_THAT(b.run<double>(b.node(Op::Sum, DType::Float64, {2}, {x}, {1})), ElementsAre(0, 0));
  EXPECT_THAT(b.run<double>(b.node(Op::Prod, DType::Float64, {2}, {x}, {1})), ElementsAre(1, 1));
  EXPECT_THROW(b.run<double>(b.node(Op::ReduceMax, DType::Float64, {2}, {x}, {1})), ShapeError);
  EXPECT_THAT(b.run<double>(b.node(Op::ReduceMax, DType::Float64, {0}, {x}, {0})), ElementsAre());
}

TEST(Interpreter, AccumulatesFloat32SumsInDouble) {
  Bench b;
  const NodeId one =
      b.node(Op::Literal, DType::Float32, {}, {}, {}, Scalar::of_float(DType::Float32, 0.1).bits());
  const NodeId row = b.node(Op::Reshape, DType::Float32, {1}, {one});
  const NodeId many = b.node(Op::Expand, DType::Float32, {1000000}, {row});
  EXPECT_EQ(b.run<float>(b.node(Op::Sum, DType::Float32, {}, {many}, {0}))[0],
            static_cast<float>(1000000 * static_cast<double>(0.1f)));
}

TEST(Interpreter, ContractsAMatrixProduct) {
  Bench b;
  const NodeId x = b.input<double>({2, 2}, {1, 2, 3, 4}), y = b.input<double>({2, 2}, {5, 6, 7, 8});
  ContractSpec spec;
  spec.extents = {2, 2, 2};
  spec.lhs = {DimMap::label(0), DimMap::label(2)};
  spec.rhs = {DimMap::label(2), DimMap::label(1)};
  spec.out = {0, 1};
  EXPECT_THAT(b.run<double>(
                  b.node(Op::Contract, DType::Float64, {2, 2}, {x, y}, specialized(spec.encode()))),
              ElementsAre(19, 22, 43, 50));
}

TEST(Interpreter, ContractsAPaddedStridedConvolution) {
  Bench b;
  const NodeId x = b.input<float>({4}, {1, 2, 3, 4}), w = b.input<float>({3}, {1, 10, 100});
  ContractSpec spec;  // out[o] = sum_k x[2 o + k - 1] w[k]
  spec.extents = {2, 3};
  spec.lhs = {{0, 1, 2, 1, -1, 1}};
  spec.rhs = {DimMap::label(1)};
  spec.out = {0};
  EXPECT_THAT(
      b.run<float>(b.node(Op::Contract, DType::Float32, {2}, {x, w}, specialized(spec.encode()))),
      ElementsAre(210, 432));
  ContractSpec transposed;  // out[i] = sum_k x[(i + 1 - k) / 2] w[k]: only even numerators count
  transposed.extents = {4, 3};
  transposed.lhs = {{0, 1, 1, -1, 1, 2}};
  transposed.rhs = {DimMap::label(1)};
  transposed.out = {0};
  EXPECT_THAT(b.run<float>(b.node(Op::Contract, DType::Float32, {4}, {x, w},
                                  specialized(transposed.encode()))),
              ElementsAre(10, 102, 20, 203));
}

TEST(Interpreter, GathersAndScattersAlongADimension) {
  Bench b;
  const NodeId x = b.input<double>({2, 3}, {1, 2, 3, 4, 5, 6});
  const NodeId index = b.input<int64_t>({2, 2}, {2, 0, 1, 1});
  const NodeId values = b.input<double>({2, 2}, {10, 20, 30, 40});
  EXPECT_THAT(b.run<double>(b.node(Op::Gather, DType::Float64, {2, 2}, {x, index}, {1})),
              ElementsAre(3, 1, 5, 5));
  const auto scatter = [&](ScatterMode mode) {
    return b.run<double>(b.node(Op::Scatter, DType::Float64, {2, 3}, {x, index, values},
                                {1, static_cast<int64_t>(mode)}));
  };
  EXPECT_THAT(scatter(ScatterMode::Set), ElementsAre(20, 2, 10, 4, 40, 6));
  EXPECT_THAT(scatter(ScatterMode::Add), ElementsAre(21, 2, 13, 4, 75, 6));
  EXPECT_THAT(scatter(ScatterMode::Mul), ElementsAre(20, 2, 30, 4, 6000, 6));
  EXPECT_THAT(scatter(ScatterMode::Max), ElementsAre(20, 2, 10, 4, 40, 6));
  EXPECT_THAT(scatter(ScatterMode::Min), ElementsAre(1, 2, 3, 4, 5, 6));
}

TEST(Interpreter, NamesTheOperationIndexAndExtentOfABadIndex) {
  Bench b;
  const NodeId x = b.input<float>({3}, {1, 2, 3});
  for (const int64_t bad : {int64_t{3}, int64_t{-1}}) {
    const NodeId index = b.input<int64_t>({1}, {bad});
    for (const NodeId node :
         {b.node(Op::Gather, DType::Float32, {1}, {x, index}, {0}),
          b.node(Op::Scatter, DType::Float32, {3}, {x, index, b.input<float>({1}, {1})}, {0, 1})}) {
      try {
        b.run<float>(node);
        FAIL();
      } catch (const IndexError& e) {
        EXPECT_THAT(e.what(), HasSubstr(name_of(b.graph[node].op)));
        EXPECT_THAT(e.what(), HasSubstr(fmt::format("index {} is out of range", bad)));
        EXPECT_THAT(e.what(), HasSubstr("extent 3"));
      }
    }
  }
}

TEST(Interpreter, ScansAlongADimension) {
  Bench b;
  const NodeId x = b.input<int32_t>({2, 3}, {1, 2, 3, 4, 5, 6});
  EXPECT_THAT(b.run<int32_t>(b.node(Op::CumSum, DType::Int32, {2, 3}, {x}, {0})),
              ElementsAre(1, 2, 3, 5, 7, 9));
  EXPECT_THAT(b.run<int32_t>(b.node(Op::CumProd, DType::Int32, {2, 3}, {x}, {1})),
              ElementsAre(1, 2, 6, 4, 20, 120));
}

TEST(Interpreter, SortsStablyWithNanLargest) {
  Bench b;
  const NodeId x = b.input<double>({6}, {2, kNan, 1, 2, kInf, 1});
  EXPECT_THAT(b.run<int64_t>(b.node(Op::ArgSort, DType::Int64, {6}, {x}, {0, 0})),
              ElementsAre(2, 5, 0, 3, 4, 1));
  EXPECT_THAT(b.run<int64_t>(b.node(Op::ArgSort, DType::Int64, {6}, {x}, {0, 1})),
              ElementsAre(1, 4, 0, 3, 2, 5));
}

TEST(Interpreter, DrawsRandomNumbersByTheirDefinition) {
  Bench b;
  const NodeId seed = b.input<int64_t>({}, {0x123456789ABCDEF});
  const auto block = [](uint64_t n) { return philox::block(0x123456789ABCDEF, 7, n); };
  const std::vector<float> f = b.run<float>(b.node(Op::Random, DType::Float32, {6}, {seed}, {7}));
  for (size_t i = 0; i < 6; ++i) {
    EXPECT_EQ(f[i], static_cast<float>(block(i / 4)[i % 4] >> 8) / 16777216.0f);
    EXPECT_TRUE(f[i] >= 0 && f[i] < 1);
  }
  const std::vector<int32_t> words =
      b.run<int32_t>(b.node(Op::Random, DType::Int32, {6}, {seed}, {7}));
  EXPECT_EQ(static_cast<uint32_t>(words[5]), block(1)[1]);
  const std::vector<int64_t> pairs =
      b.run<int64_t>(b.node(Op::Random, DType::Int64, {3}, {seed}, {7}));
  EXPECT_EQ(static_cast<uint64_t>(pairs[1]), block(0)[2] | static_cast<uint64_t>(block(0)[3])
                                                               << 32);
  const std::vector<double> d = b.run<double>(b.node(Op::Random, DType::Float64, {3}, {seed}, {7}));
  EXPECT_EQ(d[1], static_cast<double>(static_cast<uint64_t>(pairs[1]) >> 11) / 9007199254740992.0);
}

TEST(Interpreter, RefusesExternalOperations) {
  Bench b;
  EXPECT_THROW(b.run<float>(b.node(Op::External, DType::Float32, {}, {}, {4, 0})),
               UnsupportedError);
}

TEST(Interpreter, GivesARootThatIsAskedForTwice) {
  Bench b;
  const NodeId x = b.input<float>({2}, {1, 2}), y = b.like(Op::Neg, {x});
  const NodeId roots[] = {y, x, y};
  const std::vector<Array> r = interpret(b.graph, roots, b.views);
  EXPECT_THAT(r[0].as<float>(), ElementsAre(-1, -2));
  EXPECT_THAT(r[1].as<float>(), ElementsAre(1, 2));
  EXPECT_THAT(r[2].as<float>(), ElementsAre(-1, -2));
}

void* run_long_chain(void*) {
  Bench b;
  NodeId x = b.input<double>({1}, {1});
  for (int i = 0; i < 500000; ++i) {
    x = b.node(Op::Sin, DType::Float64, {1}, {x});
    x = b.node(Op::Neg, DType::Float64, {1}, {x});
  }
  const std::vector<double> result = b.run<double>(x);
  return reinterpret_cast<void*>(static_cast<intptr_t>(std::isfinite(result[0])));
}

TEST(Interpreter, RunsAMillionNodesOnASmallStack) {
  pthread_attr_t attr;
  pthread_attr_init(&attr);
  pthread_attr_setstacksize(&attr, 256 * 1024);
  pthread_t thread;
  ASSERT_EQ(pthread_create(&thread, &attr, run_long_chain, nullptr), 0);
  void* finite = nullptr;
  pthread_join(thread, &finite);
  EXPECT_NE(finite, nullptr);
}

}  // namespace
}  // namespace coregrad
