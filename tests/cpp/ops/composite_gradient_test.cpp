// Gradients of composites against central differences, and where naive formulas give NaN.

#include "base/checked.h"
#include "base/sym_int.h"
#include "grad/gradient.h"
#include "interp/interpreter.h"
#include "ops/conv.h"
#include "ops/indexing.h"
#include "ops/linalg.h"
#include "ops/losses.h"
#include "ops/math.h"
#include "ops/nn.h"
#include "ops/reduce.h"

#include <gtest/gtest.h>

#include <cmath>
#include <functional>
#include <limits>
#include <numbers>
#include <random>

namespace coregrad::ops {
namespace {

using Dims = std::vector<int64_t>;
using Values = std::vector<double>;
using Function = std::function<NodeId(Graph&, NodeId)>;

Values evaluate(const Graph& g, NodeId node, const Values& x) {
  const InputView view[] = {{x.data()}};
  const Array a = interpret(g, {{node}}, view)[0];
  return {a.as<double>().begin(), a.as<double>().end()};
}

// d sum(w * f(x)) / dx, with weights that differ from element to element.
struct Derivative {
  Graph g;
  NodeId loss, gradient;

  Derivative(const Function& f, const Dims& shape) {
    const NodeId x = input(g, 0, DType::Float64, shape);
    const NodeId y = f(g, x);
    const NodeId flat = reshape(g, y, {{g.numel(y)}});
    const NodeId weights = cos(g.numel(y));
    loss = sum(g, mul(g, flat, weights));
    gradient = gradients(g, {{loss}}, {}, {{x}})[0];
  }
  NodeId cos(int64_t n) {
    return unary(g, Op::Cos, cast(g, iota(g, DType::Int64, n), DType::Float64));
  }
};

void check(const Function& f, const Dims& shape, const Values& x, double tolerance = 1e-6) {
  const Derivative d(f, shape);
  const Values got = evaluate(d.g, d.gradient, x);
  const double h = 1e-5;
  for (size_t i = 0; i < x.size(); ++i) {
    Values up = x, down = x;
    up[i] += h;
    down[i] -= h;
    const double slope = (evaluate(d.g, d.loss, up)[0] - evaluate(d.g, d.loss, down)[0]) / (2 * h);
    EXPECT_NEAR(got[i], slope, tolerance * (1 + std::fabs(slope))) << "element " << i;
  }
}

Values noise(int64_t n) {
  std::mt19937 engine(99);
  std::uniform_real_distribution<double> u(-2, 2);
  Values x;
  for (int64_t i = 0; i < n; ++i) x.push_back(u(engine));
  return x;
}

Function gelu_by(std::string_view approximate) {
  return [approximate](Graph& g, NodeId x) { return gelu(g, x, approximate); };
}

TEST(CompositeGradient, ActivationsHavePyTorchsSlopesAtTheirKinks) {
  struct Row {
    Function f;
    Values points, slopes;
  };
  const Row rows[] = {
      {relu, {-1, -0.0, 0, 1}, {0, 0, 0, 1}},
      {relu6, {-1, -0.0, 0, 3, 6, 7}, {0, 0, 0, 1, 0, 0}},
      {[](Graph& g, NodeId x) { return leaky_relu(g, x, 0.25); }, {-1, 0, 1}, {0.25, 0.25, 1}},
      {[](Graph& g, NodeId x) { return hardtanh(g, x, -1, 2); }, {-1, 0, 2}, {0, 1, 0}},
      {[](Graph& g, NodeId x) { return elu(g, x, 3, 2, 0.5); }, {0, 1}, {3, 2}},
      {hardsigmoid, {-3, 0, 3}, {0, 1.0 / 6, 0}},
      {hardswish, {-3, 0, 3}, {0, 0.5, 1}},
      {[](Graph& g, NodeId x) { return softplus(g, x, 2, 1); },
       {0.5, 0.6},
       {1 / (1 + std::exp(-1)), 1}},
  };
  for (const Row& row : rows) {
    const Derivative d(row.f, {static_cast<int64_t>(row.points.size())});
    const Values got = evaluate(d.g, d.gradient, row.points);
    for (size_t i = 0; i < got.size(); ++i)
      EXPECT_NEAR(got[i], std::cos(i) * row.slopes[i], 1e-15) << "at " << row.points[i];
  }
}

TEST(CompositeGradient, SpecialFunctionsHavePyTorchsSlopesAtTheirEnds) {
  constexpr double kInf = std::numeric_limits<double>::infinity();
  struct Row {
    Function f;
    double point, slope;
  };
  const Row rows[] = {
      {asinh, 0, 1},
      {acosh, 1, kInf},
      {atanh, -1, kInf},
      {atanh, 2, -1.0 / 3},
      {erfc, kInf, 0},
      {erfcx, -kInf, -kInf},
      {erfinv, 0, std::sqrt(std::numbers::pi) / 2},
      {erfinv, -1, kInf},
      {erfinv, 1, kInf},
      {ndtri, 0, kInf},
      {ndtri, 1, kInf},
      {log_ndtr, -kInf, kInf},
      {log_ndtr, 1e200, 0},
      {lgamma, 0, -kInf},
      {lgamma, kInf, kInf},
      {digamma, 0, kInf},
      {digamma, 5, 0.22132295573711533},
      {i0, 0, 0},
      {i0e, 0, 0},
      {i1, 0, 0.5},
      {i1e, 0, 0.5},
      {spherical_bessel_j0, 0, 0},
      {bessel_j1, 0, 0.5},
      {[](Graph& g, NodeId x) { return zeta(g, number_like(g, x, 2), x); }, 0, -kInf},
      {[](Graph& g, NodeId x) { return chebyshev_polynomial_t(g, x, number_like(g, x, 5)); }, 1,
       25},
      {[](Graph& g, NodeId x) { return chebyshev_polynomial_u(g, x, number_like(g, x, 5)); }, 1,
       70},
      {[](Graph& g, NodeId x) { return chebyshev_polynomial_v(g, x, number_like(g, x, 5)); }, 1,
       30},
      {[](Graph& g, NodeId x) { return chebyshev_polynomial_w(g, x, number_like(g, x, 5)); }, 1,
       110},
      {[](Graph& g, NodeId x) { return chebyshev_polynomial_t(g, x, number_like(g, x, 3)); }, 0,
       -3},
      {[](Graph& g, NodeId x) { return fmax(g, x, number_like(g, x, 2)); }, 2, 1},
      {[](Graph& g, NodeId x) { return fmin(g, number_like(g, x, 2), x); }, 2, 0},
      {[](Graph& g, NodeId x) { return copysign(g, x, number_like(g, x, -1)); }, 3, -1},
  };
  for (const Row& row : rows) {
    const Derivative d(row.f, {1});
    const double got = evaluate(d.g, d.gradient, {row.point})[0];
    if (std::isinf(row.slope)) {
      EXPECT_EQ(got, row.slope) << "row " << &row - rows << " at " << row.point;
    } else {
      EXPECT_NEAR(got, row.slope, 1e-11) << "row " << &row - rows << " at " << row.point;
    }
  }
}

TEST(CompositeGradient, SpecialFunctionsAwayFromTheirEnds) {
  for (const Function& f : std::initializer_list<Function>{
           erfcx, log_ndtr, lgamma, digamma, i0, i0e, i1, i1e, modified_bessel_k0,
           scaled_modified_bessel_k1, bessel_j0, bessel_j1, bessel_y0, bessel_y1,
           spherical_bessel_j0, [](Graph& g, NodeId x) { return polygamma(g, x, 2); },
           [](Graph& g, NodeId x) { return logcumsumexp(g, x, 0); },
           [](Graph& g, NodeId x) { return laguerre_polynomial_l(g, x, number_like(g, x, 4)); }})
    check(f, {5}, {0.3, 1.5, 3.2, 5.5, 9.5}, 1e-5);
}

TEST(CompositeGradient, FactorsOfMatrices) {
  const Values regular = {0.5, 1, 2, 3, -1, 0.25, 1, 1, -2};
  for (const Function& f : std::initializer_list<Function>{
           inv, det, [](Graph& g, NodeId x) { return lu(g, x)[2]; },
           [](Graph& g, NodeId x) { return qr(g, x).first; },
           [](Graph& g, NodeId x) { return slogdet(g, x).second; },
           [](Graph& g, NodeId x) { return solve(g, x, transpose(g, x, 0, 1), false); },
           [](Graph& g, NodeId x) { return solve_triangular(g, x, x, true); }})
    check(f, {3, 3}, regular);
  // Determinants are polynomials, at singular matrices too.
  for (const Values& singular : std::initializer_list<Values>{
           {0, 1, 2, 0, 3, 4, 0, 5, 7}, {1, 2, 0, 3, 4, 0, 5, 6, 0}, {1, 1, 1, 1, 1, 1, 1, 1, 1}})
    check(det, {3, 3}, singular);
  const Derivative none(det, {3, 3});
  for (const double slope : evaluate(none.g, none.gradient, Values(9, 0)))
    EXPECT_NEAR(slope, 0, 1e-30);
}

TEST(CompositeGradient, SmoothActivationsAtAndAroundZero) {
  const Values points = {-3, -0.5, 0, 0.7, 4};
  for (const Function& f : std::initializer_list<Function>{
           sigmoid, logsigmoid, silu, gelu_by("none"), gelu_by("tanh"), mish, asinh, erfc, softsign,
           [](Graph& g, NodeId x) { return softplus(g, x, 1.5, 1000); },
           [](Graph& g, NodeId x) { return softplus(g, x); },
           [](Graph& g, NodeId x) { return celu(g, x, 1); }})
    // Some have a second derivative that jumps at 0, where a central difference is off by h / 4.
    check(f, {5}, points, 1e-5);
}

TEST(CompositeGradient, LargeArgumentsGiveNoNan) {
  const Values points = {-1e5, -800, 800, 1e5, 1e200};
  for (const Function& f : std::initializer_list<Function>{
           sigmoid, logsigmoid, silu, gelu_by("none"), mish, asinh, relu, hardswish,
           [](Graph& g, NodeId x) { return softplus(g, x); },
           [](Graph& g, NodeId x) { return elu(g, x, 1); }}) {
    const Derivative d(f, {5});
    for (double v : evaluate(d.g, d.gradient, points)) EXPECT_FALSE(std::isnan(v));
  }
}

TEST(CompositeGradient, ReductionsAndNormalisations) {
  const Values x = noise(24);
  for (const Function& f : std::initializer_list<Function>{
           [](Graph& g, NodeId y) { return softmax(g, y, 1); },
           [](Graph& g, NodeId y) { return log_softmax(g, y, 1); },
           [](Graph& g, NodeId y) { return logsumexp(g, y, {{1}}); },
           [](Graph& g, NodeId y) { return var(g, y, {{0}}); },
           [](Graph& g, NodeId y) { return norm(g, y, 3, {{1}}); },
           [](Graph& g, NodeId y) { return layer_norm(g, y, 1, {}, {}); },
           [](Graph& g, NodeId y) { return rms_norm(g, y, 1, {}, 1e-6); },
           [](Graph& g, NodeId y) { return batch_norm_train(g, y, {}, {}).y; }})
    check(f, {4, 6}, x);
}

TEST(CompositeGradient, ConvolutionsAndPools) {
  const Values x = noise(2 * 4 * 6 * 5);
  const auto weight = [](Graph& g, Dims shape) {
    const NodeId w = arange(g, DType::Float64, literal(g, DType::Float64, 0.1),
                            literal(g, DType::Float64, 0.37), checked_numel(shape, "test"));
    return reshape(g, unary(g, Op::Sin, w), shape);
  };
  for (const Function& f : std::initializer_list<Function>{
           [&](Graph& g, NodeId y) {
             return conv(g, y, weight(g, {6, 2, 3, 2}), {}, {{2}, {1}, {1}, 2});
           },
           [&](Graph& g, NodeId y) {
             return conv_transpose(g, y, weight(g, {4, 3, 3, 2}), {}, {{2}, {1}, {1}, 1, {1}});
           },
           [](Graph& g, NodeId y) { return max_pool(g, y, {{3}, {2}, {1}}); },
           [](Graph& g, NodeId y) { return max_pool(g, y, {{2}}); },
           [](Graph& g, NodeId y) {
             return avg_pool(g, y, {{3}, {1}, {1}, {1}, false, false, {}});
           },
           [](Graph& g, NodeId y) { return adaptive_avg_pool(g, y, {{4, 5}}); }})
    check(f, {2, 4, 6, 5}, x);
}

TEST(CompositeGradient, LossesAndAttention) {
  const Values x = noise(24);
  for (const Function& f : std::initializer_list<Function>{
           [](Graph& g, NodeId y) {
             ClassOptions options;
             options.label_smoothing = 0.1;
             options.ignore_index = 3;
             return cross_entropy(g, y, iota(g, DType::Int64, 4), options);
           },
           [](Graph& g, NodeId y) {
             return binary_cross_entropy_with_logits(
                 g, y, broadcast_to(g, number_like(g, y, 0.3), {{4, 6}}));
           },
           [](Graph& g, NodeId y) { return einsum(g, "ij,kj->k", {{y, exp(g, y)}}); },
           [](Graph& g, NodeId y) {
             AttentionOptions options;
             options.is_causal = true;
             return scaled_dot_product_attention(g, y, y, y, options);
           }})
    check(f, {4, 6}, x);
}

}  // namespace
}  // namespace coregrad::ops
