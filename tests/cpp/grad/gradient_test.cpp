// Every gradient rule against central differences in float64, first and second order, through the
// reference interpreter.

#include "grad/gradient.h"

#include "base/error.h"
#include "grad/rules.h"
#include "interp/interpreter.h"
#include "ops/operators.h"
#include "ops/primitives.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <functional>
#include <pthread.h>
#include <random>

namespace coregrad {
namespace {

using testing::HasSubstr;
using Dims = std::vector<int64_t>;
using Ids = std::vector<NodeId>;

struct InputSpec {
  Dims shape;
  double low = -1, high = 1;
  Dims strides = {};
};

struct Case {
  std::string name;
  std::vector<InputSpec> inputs;
  std::function<NodeId(Graph&, const Ids&)> build;
};

std::ostream& operator<<(std::ostream& out, const Case& c) { return out << c.name; }

NodeId dot(Graph& g, NodeId a, NodeId b) {
  const NodeId product = ops::mul(g, a, b);
  return g.rank(product) == 0 ? product : ops::reduce(g, Op::Sum, product, {});
}

/// The case's graph with its data: inputs first, then random weights for every output that is
/// summed.
class Probe {
 public:
  explicit Probe(const Case& c) {
    for (const InputSpec& spec : c.inputs) inputs_.push_back(input(spec));
    const NodeId y = c.build(graph, inputs_);
    loss_ = dot(graph, y, input({{graph.shape(y).begin(), graph.shape(y).end()}}));
  }

  /// The sum of all gradient elements, each with a random weight: a loss of its own.
  NodeId loss_of_gradients(const Ids& gradients) {
    NodeId total = ops::literal(graph, DType::Float64, 0);
    for (const NodeId d : gradients) {
      const Shape shape = graph.shape(d);
      total = ops::add(graph, total, dot(graph, d, input({{shape.begin(), shape.end()}})));
    }
    return total;
  }

  void expect_gradients_match(NodeId loss, const Ids& gradients, const std::string& what) {
    const std::vector<Array> analytic = interpret(graph, gradients, views());
    for (size_t k = 0; k < inputs_.size(); ++k) {
      // With stride 0 one stored number is many elements: their gradients add up.
      std::vector<double> sums(data_[k].size(), 0);
      add_by_storage(k, analytic[k], sums);
      for (size_t i = 0; i < sums.size(); ++i) {
        constexpr double h = 1e-5;
        const double x = data_[k][i];
        data_[k][i] = x + h;
        const double above = value(loss);
        data_[k][i] = x - h;
        const double below = value(loss);
        data_[k][i] = x;
        const double numeric = (above - below) / (2 * h);
        EXPECT_NEAR(sums[i], numeric, 2e-6 * (1 + std::fabs(numeric)))
            << what << ", input " << k << ", stored element " << i;
      }
    }
  }

  double value(NodeId scalar) { return interpret(graph, {&scalar, 1}, views())[0].as<double>()[0]; }

  Graph graph;
  const Ids& inputs() const { return inputs_; }
  NodeId loss() const { return loss_; }

 private:
  NodeId input(const InputSpec& spec) {
    int64_t span = 1;
    Dims strides = spec.strides;
    if (strides.empty()) {
      strides.assign(spec.shape.size(), 1);
      for (size_t d = strides.size(); d-- > 1;) strides[d - 1] = strides[d] * spec.shape[d];
    }
    for (size_t d = 0; d < strides.size(); ++d)
      span = spec.shape[d] == 0 ? 0 : span == 0 ? 0 : span + strides[d] * (spec.shape[d] - 1);
    std::vector<double>& values = data_.emplace_back(static_cast<size_t>(span));
    for (double& v : values)
      v = spec.low + (spec.high - spec.low) * static_cast<double>(random_() >> 11) * 0x1p-53;
    return ops::input(graph, static_cast<int64_t>(data_.size()) - 1, DType::Float64, spec.shape,
                      strides);
  }

  std::vector<InputView> views() const {
    std::vector<InputView> result;
    for (const std::vector<double>& values : data_) result.push_back({values.data()});
    return result;
  }

  void add_by_storage(size_t k, const Array& gradient, std::vector<double>& sums) const {
    const Shape shape = graph.shape(inputs_[k]);
    const SymInts strides = graph.attrs(inputs_[k]).subspan(1);
    const std::span<const double> values = gradient.as<double>();
    for (size_t i = 0; i < values.size(); ++i) {
      int64_t rest = static_cast<int64_t>(i), offset = 0;
      for (size_t d = shape.size(); d-- > 0;) {
        offset += rest % shape[d] * strides[d];
        rest /= shape[d];
      }
      sums[static_cast<size_t>(offset)] += values[i];
    }
  }

  std::mt19937_64 random_{20240607};
  std::vector<std::vector<double>> data_;
  Ids inputs_;
  NodeId loss_;
};

class GradientRule : public testing::TestWithParam<Case> {};

TEST_P(GradientRule, MatchesCentralDifferencesTwice) {
  Probe probe(GetParam());
  const NodeId loss = probe.loss();
  const Ids first = gradients(probe.graph, {&loss, 1}, {}, probe.inputs(), Unreachable::Zeros);
  for (size_t k = 0; k < first.size(); ++k) {
    EXPECT_EQ(probe.graph[first[k]].shape, probe.graph[probe.inputs()[k]].shape);
    EXPECT_EQ(probe.graph.dtype(first[k]), DType::Float64);
  }
  probe.expect_gradients_match(loss, first, "first order");
  const NodeId second_loss = probe.loss_of_gradients(first);
  const Ids second =
      gradients(probe.graph, {&second_loss, 1}, {}, probe.inputs(), Unreachable::Zeros);
  probe.expect_gradients_match(second_loss, second, "second order");
}

std::string case_name(const testing::TestParamInfo<Case>& info) { return info.param.name; }

// ---- Elementwise

Case unary_case(Op op, double low, double high) {
  std::string name(name_of(op));
  return {name, {{{2, 3}, low, high}}, [op](Graph& g, const Ids& x) {
            return ops::unary(g, op, x[0]);
          }};
}

Case binary_case(std::string name, Op op, InputSpec a, InputSpec b) {
  return {std::move(name), {std::move(a), std::move(b)}, [op](Graph& g, const Ids& x) {
            return ops::binary(g, op, x[0], x[1]);
          }};
}

std::vector<Case> elementwise_cases() {
  std::vector<Case> cases;
  for (const Op op : {Op::Neg, Op::Exp, Op::Exp2, Op::Expm1, Op::Sin, Op::Cos, Op::Tan, Op::Atan,
                      Op::Sinh, Op::Cosh, Op::Tanh, Op::Sigmoid, Op::Log1pExp, Op::Erf})
    cases.push_back(unary_case(op, -1.2, 1.2));
  for (const Op op : {Op::Log, Op::Log2, Op::Log10, Op::Log1p, Op::Sqrt, Op::Rsqrt, Op::Reciprocal,
                      Op::Abs, Op::Sign})
    cases.push_back(unary_case(op, 0.5, 2));
  for (const Op op : {Op::Asin, Op::Acos}) cases.push_back(unary_case(op, -0.7, 0.7));
  for (const Op op : {Op::Floor, Op::Ceil, Op::Round, Op::Trunc})
    cases.push_back(unary_case(op, 0.1, 0.4));
  cases.push_back(binary_case("add", Op::Add, {{2, 3}}, {{2, 3}}));
  cases.push_back(binary_case("sub_broadcast", Op::Sub, {{2, 1, 3}}, {{4, 1}}));
  cases.push_back(binary_case("mul_broadcast", Op::Mul, {{3}}, {{2, 3}}));
  cases.push_back(binary_case("mul_scalar", Op::Mul, {{}}, {{2, 3}}));
  cases.push_back(
      binary_case("mul_strided", Op::Mul, {{2, 3}, -1, 1, {0, 1}}, {{2, 3}, -1, 1, {1, 2}}));
  cases.push_back(binary_case("mul_zero_size", Op::Mul, {{0, 3}}, {{3}}));
  cases.push_back(binary_case("div", Op::Div, {{2, 3}}, {{2, 3}, 0.5, 2}));
  cases.push_back(binary_case("rem", Op::Rem, {{2, 3}, 4.1, 4.4}, {{2, 3}, 1.6, 1.9}));
  cases.push_back(binary_case("pow", Op::Pow, {{2, 3}, 0.5, 2}, {{2, 3}, -2, 2}));
  cases.push_back(binary_case("max", Op::Max, {{4, 3}}, {{4, 3}}));
  cases.push_back(binary_case("min", Op::Min, {{4, 3}}, {{3}}));
  cases.push_back(binary_case("atan2", Op::Atan2, {{2, 3}, 0.2, 1}, {{2, 3}, -1, -0.2}));
  cases.push_back(binary_case("scalars", Op::Mul, {{}}, {{}}));
  for (const double e : {4.0, 2.5, -1.0, 1.0, 0.0})
    cases.push_back({fmt::format("pow_constant_{}", cases.size()),
                     {{{3}, 0.5, 2}},
                     [e](Graph& g, const Ids& x) {
                       return ops::binary(g, Op::Pow, x[0], ops::literal(g, DType::Float64, e));
                     }});
  cases.push_back({"square_of_one_node", {{{3}}}, [](Graph& g, const Ids& x) {
                     return ops::mul(g, x[0], x[0]);
                   }});
  cases.push_back({"select", {{{2, 3}}, {{3}}}, [](Graph& g, const Ids& x) {
                     const NodeId c = ops::compare(g, Op::Lt, x[0], ops::neg(g, x[1]));
                     return ops::select(g, c, ops::exp(g, x[0]), ops::mul(g, x[1], x[1]));
                   }});
  cases.push_back({"shared_subgraph", {{{2, 2}}}, [](Graph& g, const Ids& x) {
                     const NodeId a = ops::exp(g, x[0]), b = ops::mul(g, a, x[0]);
                     return ops::add(g, ops::mul(g, a, b), ops::mul(g, b, b));
                   }});
  return cases;
}
INSTANTIATE_TEST_SUITE_P(Elementwise, GradientRule, testing::ValuesIn(elementwise_cases()),
                         case_name);

// ---- Views. Each is squared so that the second order is not trivial.

Case view_case(std::string name, Dims shape, std::function<NodeId(Graph&, NodeId)> view) {
  return {std::move(name), {{std::move(shape)}}, [view](Graph& g, const Ids& x) {
            const NodeId y = view(g, x[0]);
            return ops::mul(g, y, y);
          }};
}

NodeId slice_of(Graph& g, NodeId x, Dims starts, Dims stops, Dims steps) {
  return ops::slice(g, x, starts, stops, steps);
}
NodeId pad_of(Graph& g, NodeId x, Dims low, Dims high, Dims interior) {
  return ops::pad(g, x, low, high, interior, Scalar::of_float(DType::Float64, 0.5));
}
NodeId windows_of(Graph& g, NodeId x, std::vector<ops::WindowDim> windows) {
  return ops::window(g, x, windows);
}

std::vector<Case> view_cases() {
  return {
      view_case("reshape", {2, 6},
                [](Graph& g, NodeId x) { return ops::reshape(g, x, Dims{3, 4}); }),
      view_case("permute", {2, 3, 2},
                [](Graph& g, NodeId x) { return ops::permute(g, x, Dims{2, 0, 1}); }),
      view_case("expand", {2, 1},
                [](Graph& g, NodeId x) { return ops::broadcast_to(g, x, Dims{3, 2, 4}); }),
      view_case("expand_to_nothing", {2, 1},
                [](Graph& g, NodeId x) { return ops::broadcast_to(g, x, Dims{2, 0}); }),
      view_case("slice", {5, 4},
                [](Graph& g, NodeId x) { return slice_of(g, x, {1, 0}, {5, 3}, {3, 1}); }),
      view_case("slice_one", {5}, [](Graph& g, NodeId x) { return slice_of(g, x, {3}, {4}, {7}); }),
      view_case("slice_nothing", {5},
                [](Graph& g, NodeId x) { return slice_of(g, x, {2}, {2}, {1}); }),
      view_case("flip", {3, 4}, [](Graph& g, NodeId x) { return ops::flip(g, x, Dims{1}); }),
      view_case("pad", {2, 3},
                [](Graph& g, NodeId x) { return pad_of(g, x, {1, 0}, {0, 2}, {0, 2}); }),
      view_case("pad_of_nothing", {0, 3},
                [](Graph& g, NodeId x) { return pad_of(g, x, {1, 0}, {1, 0}, {0, 0}); }),
      view_case("window_overlapping", {2, 7},
                [](Graph& g, NodeId x) { return windows_of(g, x, {{1, 3, 2, 1}}); }),
      view_case("window_dilated", {7},
                [](Graph& g, NodeId x) { return windows_of(g, x, {{0, 2, 1, 3}}); }),
      view_case("window_disjoint", {7, 2},
                [](Graph& g, NodeId x) { return windows_of(g, x, {{0, 2, 3, 1}}); }),
      view_case("window_disjoint_cut", {8},
                [](Graph& g, NodeId x) { return windows_of(g, x, {{0, 2, 3, 1}}); }),
      view_case("window_disjoint_dilated", {11},
                [](Graph& g, NodeId x) { return windows_of(g, x, {{0, 2, 5, 3}}); }),
      view_case("window_of_two_dimensions", {2, 5, 6},
                [](Graph& g, NodeId x) { return windows_of(g, x, {{1, 3, 1, 1}, {2, 2, 2, 1}}); }),
      view_case("window_large", {1, 24},
                [](Graph& g, NodeId x) { return windows_of(g, x, {{1, 18, 2, 1}}); }),
      {"concat",
       {{{2, 2}}, {{2, 1}}, {{2, 0}}},
       [](Graph& g, const Ids& x) {
         const NodeId parts[] = {x[0], x[1], x[2], x[0]};
         const NodeId y = ops::concat(g, parts, 1);
         return ops::mul(g, y, y);
       }},
      {"cast_between_floats",
       {{{3}, 1, 2}},
       [](Graph& g, const Ids& x) {
         // Only the float64 path is exact enough for differences; the float32 one adds a constant.
         const NodeId rough = ops::cast(g, ops::unary(g, Op::Sign, x[0]), DType::Float32);
         return ops::mul(g, ops::cast(g, rough, DType::Float64), ops::mul(g, x[0], x[0]));
       }},
  };
}
INSTANTIATE_TEST_SUITE_P(Views, GradientRule, testing::ValuesIn(view_cases()), case_name);

// ---- Reductions, scans, indexing

Case reduce_case(std::string name, Op op, Dims shape, Dims dims, bool keepdim = false) {
  return {std::move(name), {{std::move(shape)}}, [op, dims, keepdim](Graph& g, const Ids& x) {
            const NodeId y = ops::reduce(g, op, x[0], dims, keepdim);
            return ops::mul(g, y, y);
          }};
}

Case scan_case(std::string name, Op op, Dims shape, int64_t dim) {
  return {std::move(name), {{std::move(shape)}}, [op, dim](Graph& g, const Ids& x) {
            return ops::exp(g, ops::scan(g, op, x[0], dim));
          }};
}

std::vector<Case> reduce_cases() {
  const auto index_of = [](Graph& g, Dims shape, int64_t below) {
    int64_t n = 1;
    for (const int64_t e : shape) n *= e;
    const NodeId numbers = ops::mul(g, ops::iota(g, DType::Int64, n),
                                    ops::literal(g, Scalar::of_int(DType::Int64, 5)));
    return ops::reshape(
        g, ops::binary(g, Op::Rem, numbers, ops::literal(g, Scalar::of_int(DType::Int64, below))),
        shape);
  };
  std::vector<Case> cases = {
      reduce_case("sum_middle", Op::Sum, {2, 3, 2}, {1}),
      reduce_case("sum_all", Op::Sum, {2, 3}, {}),
      reduce_case("sum_keepdim", Op::Sum, {2, 3, 2}, {0, 2}, true),
      reduce_case("sum_of_nothing", Op::Sum, {2, 0}, {1}),
      reduce_case("prod_last", Op::Prod, {2, 4}, {1}),
      reduce_case("prod_outer", Op::Prod, {3, 2, 2}, {0, 2}),
      reduce_case("prod_of_one", Op::Prod, {2, 1}, {1}),
      reduce_case("prod_of_nothing", Op::Prod, {2, 0}, {1}),
      reduce_case("max_first", Op::ReduceMax, {4, 3}, {0}),
      reduce_case("min_two", Op::ReduceMin, {2, 3, 2}, {0, 2}),
      scan_case("cumsum", Op::CumSum, {3, 4}, 0),
      scan_case("cumprod", Op::CumProd, {2, 5}, 1),
      scan_case("cumprod_outer", Op::CumProd, {4, 2}, 0),
      scan_case("cumprod_of_one", Op::CumProd, {2, 1}, 1),
      scan_case("cumsum_of_nothing", Op::CumSum, {2, 0}, 1),
  };
  // Inputs in [0, 0] are exact zeros; some columns come from them.
  for (const Op op : {Op::Prod, Op::CumProd})
    for (const int zeros : {1, 2})
      cases.push_back({fmt::format("{}_with_{}_zeros", name_of(op), zeros),
                       {{{2, 2}}, {{2, zeros}, 0, 0}, {{2, 1}}},
                       [op](Graph& g, const Ids& x) {
                         const NodeId all = ops::concat(g, x, 1);
                         return ops::exp(g, op == Op::Prod ? ops::reduce(g, op, all, Dims{1})
                                                           : ops::scan(g, op, all, 1));
                       }});
  cases.push_back({"gather", {{{3, 4}}}, [=](Graph& g, const Ids& x) {
                     const NodeId y = ops::gather(g, x[0], 1, index_of(g, {2, 6}, 4));
                     return ops::mul(g, y, y);
                   }});
  for (const auto& [name, mode] : {std::pair{"add", ScatterMode::Add},
                                   {"mul", ScatterMode::Mul},
                                   {"max", ScatterMode::Max},
                                   {"min", ScatterMode::Min}})
    cases.push_back({fmt::format("scatter_{}", name),
                     {{{3, 4}}, {{5, 4}}},
                     [=, mode = mode](Graph& g, const Ids& x) {
                       const NodeId y =
                           ops::scatter(g, x[0], 0, index_of(g, {5, 4}, 3), x[1], mode);
                       return ops::mul(g, y, y);
                     }});
  cases.push_back({"scatter_set_where_several_meet", {{{4}}, {{6}}}, [=](Graph& g, const Ids& x) {
                     const NodeId y =
                         ops::scatter(g, x[0], 0, index_of(g, {6}, 3), x[1], ScatterMode::Set);
                     return ops::mul(g, y, y);
                   }});
  cases.push_back({"gather_by_argsort", {{{2, 5}}}, [](Graph& g, const Ids& x) {
                     const NodeId y = ops::gather(g, x[0], 1, ops::argsort(g, x[0], 1, true));
                     return ops::exp(g, ops::scan(g, Op::CumSum, y, 1));
                   }});
  return cases;
}
INSTANTIATE_TEST_SUITE_P(ReduceScanIndex, GradientRule, testing::ValuesIn(reduce_cases()),
                         case_name);

// ---- Contract

Case contract_case(std::string name, Dims lhs, Dims rhs, ContractSpec spec) {
  return {std::move(name), {{std::move(lhs)}, {std::move(rhs)}}, [spec](Graph& g, const Ids& x) {
            const NodeId y = ops::contract(g, x[0], x[1], spec);
            return ops::mul(g, y, y);
          }};
}

DimMap plain(int64_t label) { return DimMap::label(label); }

std::vector<Case> contract_cases() {
  return {
      contract_case("matmul", {3, 4}, {4, 2},
                    {{3, 2, 4}, {plain(0), plain(2)}, {plain(2), plain(1)}, {0, 1}}),
      contract_case("matmul_of_nothing", {3, 0}, {0, 2},
                    {{3, 2, 0}, {plain(0), plain(2)}, {plain(2), plain(1)}, {0, 1}}),
      contract_case("matmul_batched_transposed", {2, 3, 4}, {2, 2, 4},
                    {{2, 3, 2, 4},
                     {plain(0), plain(1), plain(3)},
                     {plain(0), plain(2), plain(3)},
                     {2, 0, 1}}),
      contract_case("dot", {4}, {4}, {{4}, {plain(0)}, {plain(0)}, {}}),
      contract_case("outer_with_scalar", {3}, {}, {{3}, {plain(0)}, {}, {0}}),
      contract_case("label_summed_in_one_operand", {3, 2}, {3},
                    {{3, 2}, {plain(0), plain(1)}, {plain(0)}, {0}}),
      contract_case("all_summed_apart", {3}, {2}, {{3, 2}, {plain(0)}, {plain(1)}, {}}),
      // out[o] = sum_k x[o + k - 1] w[k]
      contract_case("conv_padded", {5}, {3}, {{5, 3}, {{0, 1, 1, 1, -1, 1}}, {plain(1)}, {0}}),
      contract_case("conv_strided", {7}, {3}, {{4, 3}, {{0, 1, 2, 1, -1, 1}}, {plain(1)}, {0}}),
      contract_case("conv_strided_dilated", {9}, {3},
                    {{3, 3}, {{0, 1, 3, 2, -2, 1}}, {plain(1)}, {0}}),
      contract_case("conv_kernel_as_large_as_input", {6}, {6},
                    {{1, 6}, {{0, 1, 1, 1, 0, 1}}, {plain(1)}, {0}}),
      contract_case("conv_transposed", {4}, {3}, {{8, 3}, {{0, 1, 1, -1, 1, 2}}, {plain(1)}, {0}}),
      contract_case("conv_reversed", {5}, {3}, {{3, 3}, {{0, 1, 1, -1, 2, 1}}, {plain(1)}, {0}}),
      // Labels n g o h w | c r s
      contract_case("conv_grouped_2d", {1, 2, 1, 4, 3}, {2, 2, 1, 2, 3},
                    {{1, 2, 2, 2, 3, 1, 2, 3},
                     {plain(0), plain(1), plain(5), {3, 6, 2, 1, 0, 1}, {4, 7, 1, 1, -1, 1}},
                     {plain(1), plain(2), plain(5), plain(6), plain(7)},
                     {0, 1, 2, 3, 4}}),
      contract_case("sum_pool", {6}, {}, {{4, 3}, {{0, 1, 1, 1, 0, 1}}, {}, {0}}),
      contract_case("windows_summed_away", {6}, {}, {{4, 3}, {{0, 1, 1, 1, -1, 1}}, {}, {}}),
      contract_case("affine_label", {9}, {4}, {{4}, {{0, -1, 2, 0, 1, 1}}, {plain(0)}, {0}}),
      contract_case("divided_label", {3}, {6}, {{6}, {{0, -1, 1, 0, 0, 2}}, {plain(0)}, {0}}),
      contract_case("windows_in_both", {6}, {5},
                    {{3, 3}, {{0, 1, 1, 1, 0, 1}}, {{0, 1, 1, 1, 0, 1}}, {0}}),
      contract_case("windows_in_both_strided", {8}, {5},
                    {{3, 3}, {{0, 1, 2, 1, 0, 1}}, {{0, 1, 1, 1, 0, 1}}, {1}}),
      contract_case("windows_against_each_other", {7}, {5},
                    {{3, 3}, {{0, 1, 2, 1, 0, 1}}, {{0, 1, 2, -1, 0, 1}}, {0}}),
      contract_case("diagonal", {3, 3}, {3}, {{3}, {plain(0), plain(0)}, {plain(0)}, {0}}),
      contract_case("trace", {3, 3}, {}, {{3}, {plain(0), plain(0)}, {}, {}}),
      contract_case("one_label_in_two_windows", {5, 5}, {3},
                    {{3, 3}, {{0, 1, 1, 1, 0, 1}, {0, 1, 1, 1, 0, 1}}, {plain(1)}, {0}}),
      contract_case("window_beside_its_label", {5, 3}, {3},
                    {{3, 3}, {{0, 1, 1, 1, 0, 1}, plain(0)}, {plain(1)}, {0}}),
      contract_case("window_beside_its_summed_label", {5, 3}, {3},
                    {{3, 3}, {{0, 1, 1, 1, 0, 1}, plain(0)}, {plain(1)}, {1}}),
      contract_case("divided_window", {3}, {3}, {{3, 3}, {{0, 1, 1, 1, 0, 3}}, {plain(1)}, {0}}),
      {"one_node_twice",
       {{{3, 3}}},
       [](Graph& g, const Ids& x) {
         return ops::contract(g, x[0], x[0],
                              {{3, 3, 3}, {plain(0), plain(2)}, {plain(2), plain(1)}, {0, 1}});
       }},
  };
}
INSTANTIATE_TEST_SUITE_P(Contract, GradientRule, testing::ValuesIn(contract_cases()), case_name);

// ---- Values at the corners, as PyTorch defines them

/// Gradient of sum(y) at given inputs.
std::vector<double> slopes(const std::function<NodeId(Graph&, const Ids&)>& build,
                           std::vector<std::vector<double>> values, size_t of) {
  Graph g;
  Ids inputs;
  std::vector<InputView> views;
  for (const std::vector<double>& v : values) {
    inputs.push_back(ops::input(g, static_cast<int64_t>(views.size()), DType::Float64,
                                Dims{static_cast<int64_t>(v.size())}));
    views.push_back({v.data()});
  }
  const NodeId total = ops::reduce(g, Op::Sum, build(g, inputs), {});
  const Ids d = gradients(g, {&total, 1}, {}, {&inputs[of], 1});
  const Array result = interpret(g, d, views)[0];
  return {result.as<double>().begin(), result.as<double>().end()};
}

TEST(Gradient, EndsAtDetach) {
  const auto build = [](Graph& g, const Ids& x) { return ops::mul(g, x[0], ops::detach(g, x[0])); };
  EXPECT_THAT(slopes(build, {{3, 4}}, 0), testing::ElementsAre(3, 4));
}

TEST(Gradient, IsHalvedBetweenEqualOperandsOfMaximum) {
  const auto build = [](Graph& g, const Ids& x) { return ops::maximum(g, x[0], x[1]); };
  EXPECT_THAT(slopes(build, {{1, 2, 3}, {1, 3, 2}}, 0), testing::ElementsAre(0.5, 0, 1));
  EXPECT_THAT(slopes(build, {{1, 2, 3}, {1, 3, 2}}, 1), testing::ElementsAre(0.5, 1, 0));
}

TEST(Gradient, IsSharedEvenlyBetweenEqualMaxima) {
  const auto build = [](Graph& g, const Ids& x) { return ops::reduce(g, Op::ReduceMax, x[0], {}); };
  EXPECT_THAT(slopes(build, {{2, 5, 5, 1, 5, 5}}, 0),
              testing::ElementsAre(0, 0.25, 0.25, 0, 0.25, 0.25));
}

TEST(Gradient, OfPowIsZeroWhereTheExponentOrTheBaseIsZero) {
  const auto build = [](Graph& g, const Ids& x) { return ops::binary(g, Op::Pow, x[0], x[1]); };
  EXPECT_THAT(slopes(build, {{0, 0, 2}, {0, 2, 0}}, 0), testing::ElementsAre(0, 0, 0));
  EXPECT_THAT(slopes(build, {{0, 0, 1}, {0, 2, 3}}, 1), testing::ElementsAre(0, 0, 0));
  EXPECT_EQ(slopes(build, {{0}, {1}}, 0)[0], 1);
}

TEST(Gradient, OfAbsAndRoundingIsZeroAtZero) {
  EXPECT_EQ(
      slopes([](Graph& g, const Ids& x) { return ops::unary(g, Op::Abs, x[0]); }, {{0}}, 0)[0], 0);
  EXPECT_EQ(
      slopes([](Graph& g, const Ids& x) { return ops::unary(g, Op::Round, x[0]); }, {{0}}, 0)[0],
      0);
}

// ---- The scheduler

TEST(Gradient, VisitsASharedSubgraphOnce) {
  Graph g;
  const NodeId x = ops::input(g, 0, DType::Float32, Dims{});
  NodeId y = x;
  // Each doubling uses its operand twice: 2^40 paths, 40 nodes.
  for (int i = 0; i < 40; ++i) y = ops::mul(g, y, ops::unary(g, Op::Sin, y));
  GradientStats stats;
  gradients(g, {&y, 1}, {}, {&x, 1}, Unreachable::Error, &stats);
  EXPECT_EQ(stats.nodes_reachable, 81);
  EXPECT_EQ(stats.nodes_visited, 81);
  EXPECT_EQ(stats.edges_followed, 121);  // three an iteration and the seed
  EXPECT_EQ(stats.shared_nodes, 40);
  EXPECT_GE(stats.max_ready, 1);
  EXPECT_GT(stats.nodes_made, 80);
  EXPECT_THAT(stats.to_text(), HasSubstr("81 visited"));
}

TEST(Gradient, BuildsNothingForOperandsThatNoTargetLiesBehind) {
  Graph g;
  const NodeId x = ops::input(g, 0, DType::Float32, Dims{2, 2}),
               w = ops::input(g, 1, DType::Float32, Dims{2, 2});
  const ContractSpec spec{{2, 2, 2}, {plain(0), plain(2)}, {plain(2), plain(1)}, {0, 1}};
  const NodeId y = ops::reduce(g, Op::Sum, ops::contract(g, ops::exp(g, x), w, spec), {});
  GradientStats stats;
  const Ids d = gradients(g, {&y, 1}, {}, {&w, 1}, Unreachable::Error, &stats);
  EXPECT_EQ(stats.nodes_visited, 3);
  EXPECT_EQ(g[d[0]].op, Op::Contract);
}

TEST(Gradient, OfAConvolutionIsOneTransposedContract) {
  Graph g;
  const NodeId x = ops::input(g, 0, DType::Float32, Dims{16}),
               w = ops::input(g, 1, DType::Float32, Dims{3});
  const ContractSpec spec{{8, 3}, {{0, 1, 2, 1, -1, 1}}, {plain(1)}, {0}};
  const NodeId y = ops::contract(g, x, w, spec), seed = ops::input(g, 2, DType::Float32, Dims{8});
  const NodeId targets[] = {x, w};
  const Ids d = gradients(g, {&y, 1}, {&seed, 1}, targets);
  ASSERT_EQ(g[d[0]].op, Op::Contract);
  ASSERT_EQ(g[d[1]].op, Op::Contract);
  const ContractSpec dx = ContractSpec::decode(g.attrs(d[0]));
  EXPECT_EQ(dx.lhs, (std::vector<DimMap>{{0, 1, 1, -1, 1, 2}}));
  EXPECT_EQ(dx.rhs, (std::vector<DimMap>{plain(1)}));
  const ContractSpec dw = ContractSpec::decode(g.attrs(d[1]));
  EXPECT_EQ(specialized(dw.extents), (Dims{3, 8}));
}

TEST(Gradient, WithSeedsOfSeveralOutputsIsTheirSum) {
  Graph g;
  const NodeId x = ops::input(g, 0, DType::Float64, Dims{2});
  const NodeId outputs[] = {ops::mul(g, x, x), x, ops::exp(g, x)};
  const NodeId seeds[] = {ops::input(g, 1, DType::Float64, Dims{2}),
                          ops::input(g, 2, DType::Float64, Dims{2}),
                          ops::full(g, Dims{2}, Scalar::of_float(DType::Float64, 0))};
  const Ids d = gradients(g, outputs, seeds, {&x, 1});
  const double xs[] = {3, 4}, first[] = {1, 10}, second[] = {100, 1000};
  const InputView views[] = {{xs}, {first}, {second}};
  EXPECT_THAT(interpret(g, d, views)[0].as<double>(), testing::ElementsAre(106, 1080));
}

TEST(Gradient, OfATargetThatIsTheOutputIsTheSeed) {
  Graph g;
  const NodeId x = ops::input(g, 0, DType::Float32, Dims{});
  const NodeId d = gradients(g, {&x, 1}, {}, {&x, 1})[0];
  EXPECT_TRUE(g.is_literal(d));
  EXPECT_EQ(g.literal(d).as_double(), 1);
}

TEST(Gradient, OfUnreachableTargetsIsZerosOrInvalidOnRequest) {
  Graph g;
  const NodeId x = ops::input(g, 0, DType::Float32, Dims{}),
               other = ops::input(g, 1, DType::Float32, Dims{3});
  const NodeId y = ops::exp(g, x);
  const NodeId targets[] = {other, x};
  const Ids zeros = gradients(g, {&y, 1}, {}, targets, Unreachable::Zeros);
  EXPECT_EQ(g.shape(zeros[0]).size(), 1u);
  const Ids invalid = gradients(g, {&y, 1}, {}, targets, Unreachable::Invalid);
  EXPECT_FALSE(invalid[0].is_valid());
  EXPECT_TRUE(invalid[1].is_valid());
}

TEST(Gradient, HasARuleForEveryPrimitiveWithAFloatingResult) {
  for (int i = 0; i < kNumOps; ++i) {
    const Op op = static_cast<Op>(i);
    const Family family = family_of(op);
    const bool leads_nowhere = family == Family::Leaf || family == Family::Random ||
                               family == Family::Compare || family == Family::Library ||
                               family == Family::External || op == Op::ArgMax || op == Op::ArgMin ||
                               op == Op::Detach || op == Op::Not || op == Op::And || op == Op::Or ||
                               op == Op::Xor || op == Op::Shl || op == Op::Shr;
    EXPECT_EQ(grad::rule_for(op) != nullptr, !leads_nowhere) << name_of(op);
  }
}

// ---- Errors

class GradientError : public testing::Test {
 protected:
  void expect_error(std::initializer_list<NodeId> outputs, std::initializer_list<NodeId> seeds,
                    std::initializer_list<NodeId> targets, const std::string& text) {
    const uint32_t before = g.size();
    try {
      gradients(g, {outputs.begin(), outputs.size()}, {seeds.begin(), seeds.size()},
                {targets.begin(), targets.size()});
      FAIL() << "no error: " << text;
    } catch (const AutogradError& e) {
      EXPECT_THAT(e.what(), HasSubstr(text));
    }
    EXPECT_EQ(g.size(), before) << "nothing may be built before an error";
  }
  Graph g;
  NodeId x = ops::input(g, 0, DType::Float32, Dims{3});
  NodeId scalar = ops::reduce(g, Op::Sum, x, {});
};

TEST_F(GradientError, NamesAnOutputThatIsNoScalar) {
  expect_error({ops::exp(g, x)}, {}, {x}, "one element: output 0 (exp) is f32[3]");
}

TEST_F(GradientError, NamesAnOutputThatIsNotFloating) {
  expect_error({ops::cast(g, scalar, DType::Int64)}, {}, {x}, "output 0 (cast) is i64[]");
}

TEST_F(GradientError, NamesASeedOfAnotherShapeOrDtype) {
  const NodeId y = ops::exp(g, x);
  expect_error({y}, {scalar}, {x}, "seed 0 is f32[], output 0 is f32[3]");
  expect_error({y}, {ops::cast(g, x, DType::Float64)}, {x}, "seed 0 is f64[3]");
  expect_error({y, y}, {x}, {x}, "got 1 for 2 outputs");
}

TEST_F(GradientError, NamesATargetThatIsNotFloating) {
  expect_error({scalar}, {}, {ops::iota(g, DType::Int64, 3)}, "target 0 (iota) is i64[3]");
}

TEST_F(GradientError, NamesTheOperationThatStopsTheGradient) {
  const NodeId rounded = ops::cast(g, x, DType::Int32);
  const NodeId y = ops::reduce(g, Op::Sum, ops::cast(g, rounded, DType::Float32), {});
  expect_error({y}, {}, {x}, "cast gives i32[3], which has no gradient");
  const NodeId best = ops::reduce(g, Op::ArgMax, x, Dims{0}, true);
  const NodeId other = ops::input(g, 1, DType::Float32, Dims{3});
  expect_error({ops::gather(g, other, 0, best)}, {}, {x},
               "argmax gives i64[], which has no gradient");
}

TEST_F(GradientError, NamesADetachedTarget) {
  expect_error({ops::reduce(g, Op::Sum, ops::detach(g, ops::exp(g, x)), {})}, {}, {x},
               "detach gives f32[3], which has no gradient");
}

TEST_F(GradientError, NamesATargetThatTakesNoPart) {
  expect_error({scalar}, {}, {x, ops::input(g, 1, DType::Float32, Dims{2})},
               "target 1 (input f32[2]) takes no part");
}

TEST_F(GradientError, RefusesOperationsWithoutARule) {
  const NodeId outside = ops::external(g, 7, 0, {&x, 1}, DType::Float32, Dims{});
  expect_error({outside}, {}, {x}, "cannot differentiate external f32[]");
}

// ---- Size

void* differentiate_long_chain(void*) {
  Graph g;
  const NodeId x = ops::input(g, 0, DType::Float64, Dims{});
  NodeId y = x;
  for (int i = 0; i < 1000000; ++i) y = ops::unary(g, i % 2 == 0 ? Op::Sin : Op::Cos, y);
  GradientStats stats;
  const Ids d = gradients(g, {&y, 1}, {}, {&x, 1}, Unreachable::Error, &stats);
  const double at = 0.5;
  const InputView view{&at};
  const double slope = interpret(g, d, {&view, 1})[0].as<double>()[0];
  const bool good = stats.nodes_visited == 1000001 && std::isfinite(slope);
  return reinterpret_cast<void*>(static_cast<intptr_t>(good));
}

TEST(Gradient, OfAMillionNodesNeedsASmallStackOnly) {
  pthread_attr_t attr;
  pthread_attr_init(&attr);
  pthread_attr_setstacksize(&attr, 256 * 1024);
  pthread_t thread;
  ASSERT_EQ(pthread_create(&thread, &attr, differentiate_long_chain, nullptr), 0);
  void* good = nullptr;
  pthread_join(thread, &good);
  EXPECT_NE(good, nullptr);
}

}  // namespace
}  // namespace coregrad
