// Composites through the reference interpreter, in float64, against plain formulas.

#include "base/error.h"
#include "ops/indexing.h"
#include "ops/linalg.h"
#include "ops/math.h"
#include "ops/reduce.h"

#include <gtest/gtest.h>

#include "composite_fixture.h"
#include <algorithm>
#include <cmath>
#include <functional>

namespace coregrad::ops {
namespace {

using namespace testing;

const Values kPoints = {-800, -30, -3.5, -1, -0.25, -1e-9, 0, 1e-9, 0.3, 1, 2.75, 6, 40, 800};

double plain_sigmoid(double x) { return 1 / (1 + std::exp(-x)); }
double plain_softplus(double x) { return x > 20 ? x : std::log1p(std::exp(x)); }

TEST_F(Composite, ActivationsFollowTheirFormulas) {
  expect_map(sigmoid, kPoints, plain_sigmoid);
  expect_map(silu, kPoints, [](double x) { return x * plain_sigmoid(x); });
  expect_map(relu, kPoints, [](double x) { return x > 0 ? x : 0; });
  expect_map(relu6, kPoints, [](double x) { return std::min(std::max(x, 0.0), 6.0); });
  expect_map([](Graph& g, NodeId x) { return gelu(g, x); }, kPoints,
             [](double x) { return x / 2 * (1 + std::erf(x / std::sqrt(2.0))); });
  expect_map([](Graph& g, NodeId x) { return gelu(g, x, "tanh"); }, kPoints,
             [](double x) {
               return x / 2 * (1 + std::tanh(std::sqrt(2 / M_PI) * (x + 0.044715 * x * x * x)));
             });
  expect_map(mish, kPoints, [](double x) { return x * std::tanh(plain_softplus(x)); }, 1e-9);
  expect_map(hardswish, kPoints,
             [](double x) { return x * std::min(std::max(x + 3, 0.0), 6.0) / 6; });
  expect_map(hardsigmoid, kPoints,
             [](double x) { return std::min(std::max(x + 3, 0.0), 6.0) / 6; });
  expect_map(softsign, kPoints, [](double x) { return x / (1 + std::fabs(x)); });
  expect_map(logsigmoid, kPoints, [](double x) {
    return x > 0 ? -std::log1p(std::exp(-x)) : x - std::log1p(std::exp(x));
  });
  expect_map([](Graph& g, NodeId x) { return softplus(g, x); }, kPoints, plain_softplus);
  expect_map([](Graph& g, NodeId x) { return softplus(g, x, 2, 10); }, kPoints,
             [](double x) { return 2 * x > 10 ? x : std::log1p(std::exp(2 * x)) / 2; });
  expect_map([](Graph& g, NodeId x) { return elu(g, x, 1.5); }, kPoints,
             [](double x) { return x > 0 ? x : 1.5 * std::expm1(x); });
  expect_map([](Graph& g, NodeId x) { return celu(g, x, 2); }, kPoints,
             [](double x) { return x > 0 ? x : 2 * std::expm1(x / 2); });
  expect_map([](Graph& g, NodeId x) { return leaky_relu(g, x, 0.1); }, kPoints,
             [](double x) { return x > 0 ? x : 0.1 * x; });
  expect_map([](Graph& g, NodeId x) { return hardtanh(g, x, -1, 2); }, kPoints,
             [](double x) { return std::clamp(x, -1.0, 2.0); });
}

TEST_F(Composite, ActivationsKeepNan) {
  const double nan = std::nan("");
  const NodeId x = in(Values{nan});
  for (NodeId y :
       {relu(g, x), sigmoid(g, x), gelu(g, x), silu(g, x), clamp(g, x, -1, 1), elu(g, x, 1),
        softplus(g, x), leaky_relu(g, x, 0.1), hardswish(g, x), logaddexp(g, x, in({1.0}))})
    expect(y, {nan});
}

TEST_F(Composite, FunctionsFollowTheirFormulas) {
  expect_map(asinh, kPoints, [](double x) { return std::asinh(x); });
  expect_map(asinh, {1e200, -1e200, 1e30}, [](double x) { return std::asinh(x); });
  expect_map(acosh, {1, 1 + 1e-10, 1.5, 10, 1e30, 1e200}, [](double x) { return std::acosh(x); });
  expect_map(atanh, {-0.999, -0.5, 1e-12, 0.2, 0.99}, [](double x) { return std::atanh(x); });
  expect_map(logit, {0.01, 0.5, 0.9}, [](double x) { return std::log(x / (1 - x)); });
  const Values points = {-3, -1, -0.1, 0, 0.1, 0.5, 1, 2, 5, 10, 20, 26};
  const Tensor got = run(erfc(g, in(points)));
  for (size_t i = 0; i < points.size(); ++i)
    EXPECT_NEAR(got.data[i] / std::erfc(points[i]), 1, 2e-13) << points[i];
}

TEST_F(Composite, SpecialFunctionsAreThoseOfTheStandardLibrary) {
  const Values positive = {1e-9, 0.1, 0.5, 1, 1.5, 2, 2.75, 4.9, 5, 5.1, 8, 8.1, 20, 60};
  expect_map(lgamma, {-7.25, -0.5, 1e-300, 1e-9, 0.5, 1, 2, 9.9, 10, 1e9, 1e300, kInf},
             [](double x) { return std::lgamma(x); });
  expect_map(erfinv, {-1, 0, 1}, [](double x) { return x == 0 ? 0 : x * kInf; });
  expect_map([](Graph& g, NodeId x) { return erf(g, erfinv(g, x)); },
             {-0.999999, -0.5, 1e-12, 0.7, 0.9}, [](double x) { return x; });
  expect_map([](Graph& g, NodeId x) { return exp(g, log_ndtr(g, ndtri(g, x))); },
             {1e-300, 1e-9, 0.1, 0.5, 0.9, 0.999}, [](double x) { return x; }, 1e-14);
  expect_map(erfcx, {-3, 0, 0.5, 1, 8, 20},
             [](double x) { return std::exp(x * x) * std::erfc(x); });
  expect_map(i0, positive, [](double x) { return std::cyl_bessel_i(0, x); }, 1e-12);
  expect_map(i1, positive, [](double x) { return std::cyl_bessel_i(1, x); }, 1e-12);
  expect_map(i0e, {0.5, 8, 30}, [](double x) { return std::exp(-x) * std::cyl_bessel_i(0, x); });
  expect_map(i1e, {0.5, 8, 30}, [](double x) { return std::exp(-x) * std::cyl_bessel_i(1, x); });
  expect_map(modified_bessel_k0, positive, [](double x) { return std::cyl_bessel_k(0, x); });
  expect_map(modified_bessel_k1, positive, [](double x) { return std::cyl_bessel_k(1, x); });
  expect_map(scaled_modified_bessel_k0, {0.5, 2, 9},
             [](double x) { return std::exp(x) * std::cyl_bessel_k(0, x); });
  expect_map(scaled_modified_bessel_k1, {0.5, 2, 9},
             [](double x) { return std::exp(x) * std::cyl_bessel_k(1, x); });
  // PyTorch's coefficients are no better.
  expect_map(bessel_j0, positive, [](double x) { return std::cyl_bessel_j(0, x); }, 1e-6);
  expect_map(bessel_j1, positive, [](double x) { return std::cyl_bessel_j(1, x); }, 1e-6);
  expect_map(bessel_y0, positive, [](double x) { return std::cyl_neumann(0, x); }, 1e-6);
  expect_map(bessel_y1, positive, [](double x) { return std::cyl_neumann(1, x); }, 1e-6);
  expect_map(spherical_bessel_j0, positive, [](double x) { return std::sph_bessel(0, x); });
  expect_map([](Graph& g, NodeId x) { return zeta(g, x, number_like(g, x, 1)); }, {1.5, 2, 3, 40},
             [](double x) { return std::riemann_zeta(x); });
}

TEST_F(Composite, DerivativesOfTheGammaFunctionAtOne) {
  constexpr double kEuler = 0.57721566490153286;
  expect(digamma(g, in({1, 2, 0.5})), {-kEuler, 1 - kEuler, -kEuler - 2 * std::log(2)});
  expect(polygamma(g, in({1}), 1), {M_PI * M_PI / 6}, 1e-9);
  expect(polygamma(g, in({1}), 3), {std::pow(M_PI, 4) / 15});
  EXPECT_THROW(polygamma(g, in({1}), 21), ValueError);
}

TEST_F(Composite, OrthogonalPolynomialsFollowTheirDefinitions) {
  const Values x = {-1.5, -1, -0.3, 0, 0.4, 1, 2.5};
  const NodeId in_x = in(x);
  for (const unsigned n : {0U, 1U, 2U, 5U, 8U}) {
    const auto degree = literal(g, DType::Float64, n), as_data = in({static_cast<double>(n)});
    const auto expect_both = [&](NodeId (*f)(Graph&, NodeId, NodeId), auto plain) {
      Values expected;
      for (const double v : x) expected.push_back(plain(v));
      expect(f(g, in_x, degree), expected, 1e-11);
      expect(f(g, in_x, as_data), expected, 1e-11);
    };
    const auto chebyshev = [n](double v, double first) {
      double before = 1, value = n == 0 ? 1 : first;
      for (unsigned k = 2; k <= n; ++k) before = std::exchange(value, 2 * v * value - before);
      return value;
    };
    expect_both(chebyshev_polynomial_t, [&](double v) { return chebyshev(v, v); });
    expect_both(chebyshev_polynomial_u, [&](double v) { return chebyshev(v, 2 * v); });
    expect_both(chebyshev_polynomial_v, [&](double v) { return chebyshev(v, 2 * v - 1); });
    expect_both(chebyshev_polynomial_w, [&](double v) { return chebyshev(v, 2 * v + 1); });
    expect_both(shifted_chebyshev_polynomial_t,
                [&](double v) { return chebyshev(2 * v - 1, 2 * v - 1); });
    expect_both(shifted_chebyshev_polynomial_w,
                [&](double v) { return chebyshev(2 * v - 1, 4 * v - 1); });
    expect_both(hermite_polynomial_h, [n](double v) { return std::hermite(n, v); });
  }
  expect(legendre_polynomial_p(g, in({-0.7, 0.2, 1}), literal(g, DType::Float64, 7)),
         {std::legendre(7, -0.7), std::legendre(7, 0.2), 1});
  expect(laguerre_polynomial_l(g, in({0.4, 2.5}), literal(g, DType::Float64, 5)),
         {std::laguerre(5, 0.4), std::laguerre(5, 2.5)});
  expect(hermite_polynomial_he(g, in({-1, 2}), in({3})), {2, 2});  // x^3 - 3x
  expect(legendre_polynomial_p(g, in({0.5}), in({-1})), {0});
  EXPECT_THROW(hermite_polynomial_h(g, in_x, literal(g, DType::Float64, 129)), ValueError);
}

TEST_F(Composite, SignsAndWholeNumbers) {
  const double nan = std::nan("");
  expect(copysign(g, in({1, -2, 3, 0}), in({-0.0, 0, -kInf, -1})), {-1, 2, -3, 0});
  expect(round(g, in({2.5, 1.25, -0.35, 17}), 1), {2.5, 1.2, -0.4, 17});
  expect(round(g, in({250, 349.9, -17}), -2), {200, 300, 0});
  expect(angle(g, in({-2, 0, 3, nan})), {M_PI, 0, 0, nan});
  expect(signbit(g, in({-0.0, 0, -3, kInf})), {1, 0, 1, 0});
  expect(fmax(g, in({nan, 1, nan, 2}), in({1, nan, nan, 3})), {1, 1, nan, 3});
  expect(fmin(g, in({nan, 1, nan, 2}), in({1, nan, nan, 3})), {1, 1, nan, 2});
  expect(ldexp(g, in({0.75, -1}), in({3, -1074})), {6, -0x1p-1074}, 0);
  expect(hypot(g, in({3, 0, 1e200, -kInf}), in({-4, 0, 1e200, nan})),
         {5, 0, std::sqrt(2) * 1e200, kInf});
  constexpr int64_t kFibonacci = 7540113804746346429;  // the 92nd: needs the most steps
  const NodeId a = ints({5}, {12, -18, 0, 7, kFibonacci}),
               b = ints({5}, {-18, 4, 0, 0, 4660046610375530309});
  expect(gcd(g, a, b), {6, 2, 0, 7, 1});
  expect(lcm(g, narrow(g, a, 0, 0, 2), narrow(g, b, 0, 0, 2)), {36, 36});
  EXPECT_THROW(gcd(g, in({1}), in({2})), DTypeError);
}

TEST_F(Composite, SearchesAndHistograms) {
  const NodeId row = in({-1, 0, 0, 2}), wanted = in({-5, 0, 1, 2, 9, std::nan("")});
  expect(searchsorted(g, row, wanted, false), {0, 1, 3, 3, 4, 4});
  expect(bucketize(g, wanted, row, true), {0, 3, 3, 4, 4, 4});
  const NodeId rows = in(Tensor{{2, 3}, {1, 2, 3, 4, 5, 6}});
  expect(searchsorted(g, rows, in(Tensor{{2, 1}, {2.5, 2.5}}), false), {2, 0});
  EXPECT_THROW(searchsorted(g, rows, wanted, false), ShapeError);
  EXPECT_THROW(bucketize(g, wanted, rows, false), ShapeError);
  const NodeId x = in({0, 0.1, 0.5, 0.9, 1, 7});
  expect(histc(g, x, 2, 0, 1), {2, 3});
  expect(histc(g, x, 7, 0, 0), {4, 1, 0, 0, 0, 0, 1});
  expect(histc(g, in({2, 2}), 3, 0, 0), {0, 2, 0});
  EXPECT_THROW(histc(g, x, 0, 0, 1), ValueError);
  EXPECT_THROW(histc(g, x, 2, 1, 0), ValueError);
  expect(logcumsumexp(g, in({0, 1000, 1000, -kInf, 0}), 0),
         {0, 1000, 1000 + std::log(2), 1000 + std::log(2), 1000 + std::log(2)});
}

TEST_F(Composite, DistancesAreNormsOfDifferences) {
  const NodeId a = in(Tensor{{2, 2}, {0, 0, 3, 4}}), b = in(Tensor{{3, 2}, {0, 0, 3, 0, -1, 1}});
  expect(cdist(g, a, b, 2), {0, 3, std::sqrt(2), 5, 4, 5});
  expect(cdist(g, a, b, kInf), {0, 3, 1, 4, 4, 4});
  expect(cdist(g, in(Tensor{{2, 0}, {}}), in(Tensor{{1, 0}, {}}), kInf), {0, 0});
  expect(dist(g, in({1, 2}), in({4, -2}), 2), {5});
  EXPECT_THROW(cdist(g, a, b, -1), ValueError);
  EXPECT_THROW(cdist(g, a, in({1, 2}), 2), ShapeError);
}

TEST_F(Composite, MatricesAreFactoredAsLapackDoes) {
  const NodeId a = in(Tensor{{2, 2}, {0, 2, 4, 8}});
  const std::vector<NodeId> factors = lu_factor_ex(g, a);
  expect(factors[0], {4, 8, 0, 2});
  expect(factors[1], {2, 2});
  expect(factors[2], {0});
  expect(lu_solve(g, factors[0], factors[1], in(Tensor{{2, 1}, {2, 12}})), {1, 1});
  expect(lu(g, a)[0], {0, 1, 1, 0});
  expect(solve(g, a, in({2, 12})), {1, 1});
  expect(solve(g, a, in(Tensor{{1, 2}, {4, 10}}), false), {1, 1});
  expect(inv(g, a), {-1, 0.25, 0.5, 0});
  expect(det(g, a), {-8});
  expect(slogdet(g, a).first, {-1});
  expect(slogdet(g, a).second, {std::log(8)});
  const NodeId singular = in(Tensor{{2, 2}, {1, 2, 2, 4}});
  expect(det(g, singular), {0});
  expect(lu_factor_ex(g, singular)[2], {2});
  const NodeId definite = in(Tensor{{2, 2}, {4, 99, 2, 5}});  // of which a triangle is read
  expect(cholesky(g, definite), {2, 0, 1, 2});
  expect(cholesky_inverse(g, cholesky(g, definite)), {5 / 16.0, -1 / 8.0, -1 / 8.0, 1 / 4.0});
  expect(cholesky_ex(g, in(Tensor{{2, 2}, {1, 0, 0, -1}})).second, {2});
  const auto [q, r] = qr(g, in(Tensor{{2, 2}, {3, 1, 4, 2}}));
  expect(r, {-5, -2.2, 0, 0.4});
  expect(q, {-0.6, -0.8, -0.8, 0.6});
  EXPECT_THROW(inv(g, in(noise({17, 17}))), UnsupportedError);
  EXPECT_THROW(det(g, in(noise({2, 3}))), ShapeError);
  EXPECT_THROW(inv(g, ints({1, 1}, {1})), DTypeError);
}

TEST_F(Composite, FourierTransformsAreSumsOfWaves) {
  const auto [re, im] = fft_r2c(g, in({1, 2, 3, 4}), {{0}});
  expect(re, {10, -2, -2});
  expect(im, {0, 2, 0});
  expect(fft_c2r(g, re, im, {{0}}, 2, 4), {1, 2, 3, 4});
  const auto [back, none] = fft_c2c(g, in({10, -2, -2, -2}), in({0, 2, 0, -2}), {{0}}, 2, false);
  expect(back, {1, 2, 3, 4});
  expect(none, {0, 0, 0, 0});
  EXPECT_THROW(fft_r2c(g, in(noise({131})), {{0}}), UnsupportedError);
}

TEST_F(Composite, LogaddexpOfInfinities) {
  expect(logaddexp(g, in({-kInf, kInf, -kInf, 1000, 0}), in({-kInf, kInf, 3, 1000, 0})),
         {-kInf, kInf, 3, 1000 + std::log(2.0), std::log(2.0)});
  expect(xlogy(g, in({0, 2, 0}), in({0, 3, std::nan("")})), {0, 2 * std::log(3.0), std::nan("")});
}

TEST_F(Composite, DivisionAndRemainderHavePythonsSigns) {
  const Values a = {7, -7, 7, -7, 6, -6, 0.3, 5}, b = {2, 2, -2, -2, 3, 3, 0.1, kInf};
  Values quotient, rest;
  for (size_t i = 0; i < a.size(); ++i) {
    double m = std::fmod(a[i], b[i]);
    if (m != 0 && (m < 0) != (b[i] < 0)) m += b[i];
    rest.push_back(m);
    quotient.push_back(std::isinf(b[i]) ? 0 : std::round((a[i] - m) / b[i]));
  }
  expect(floor_divide(g, in(a), in(b)), quotient);
  expect(remainder(g, in(a), in(b)), rest);
  expect(floor_divide(g, in({1.0, -1.0}), in({0.0, 0.0})), {kInf, -kInf});
  const NodeId p = ints({4}, {7, -7, 7, -7}), q = ints({4}, {2, 2, -2, -2});
  expect(floor_divide(g, p, q), {3, -4, -4, 3});
  expect(remainder(g, p, q), {1, 1, -1, -1});
  expect(div(g, p, q), {3.5, -3.5, -3.5, 3.5});
}

TEST_F(Composite, StatisticsAndNorms) {
  const Tensor t = noise({3, 4});
  const NodeId x = in(t);
  Values averages, variances;
  for (int64_t r = 0; r < 3; ++r) {
    double m = 0, v = 0;
    for (int64_t c = 0; c < 4; ++c) m += t.at({r, c}) / 4;
    for (int64_t c = 0; c < 4; ++c) v += (t.at({r, c}) - m) * (t.at({r, c}) - m);
    averages.push_back(m);
    variances.push_back(v);
  }
  expect(mean(g, x, {{1}}), averages);
  expect(var(g, x, {{1}}), {variances[0] / 3, variances[1] / 3, variances[2] / 3});
  expect(ops::std(g, x, {{1}}, 0),
         {std::sqrt(variances[0] / 4), std::sqrt(variances[1] / 4), std::sqrt(variances[2] / 4)});
  double squares = 0, absolute = 0, cubes = 0, most = 0;
  for (double v : t.data) {
    squares += v * v;
    absolute += std::fabs(v);
    cubes += std::pow(std::fabs(v), 3);
    most = std::max(most, std::fabs(v));
  }
  expect(norm(g, x), {std::sqrt(squares)});
  expect(norm(g, x, 1), {absolute});
  expect(norm(g, x, 3), {std::cbrt(cubes)});
  expect(norm(g, x, kInf), {most});
  expect(norm(g, x, 0), {12});
  expect(argmax(g, x), {static_cast<double>(std::ranges::max_element(t.data) - t.data.begin())});
  expect(any(g, ints({2, 2}, {0, 0, 0, 5}), {{1}}), {0, 1});
  expect(all(g, ints({2, 2}, {1, 0, 2, 5}), {{1}}), {0, 1});
  EXPECT_THROW(mean(g, ints({1}, {1})), DTypeError);
}

TEST_F(Composite, SoftmaxAndItsKinAreStable) {
  const NodeId x = in(Tensor{{2, 3}, {1000, 1001, 1002, -1, 0, 1}});
  const double e = 1 + std::exp(-1.0) + std::exp(-2.0);
  const Values row = {std::exp(-2.0) / e, std::exp(-1.0) / e, 1 / e};
  expect(softmax(g, x, 1), {row[0], row[1], row[2], row[0], row[1], row[2]});
  expect(log_softmax(g, x, -1), {std::log(row[0]), std::log(row[1]), std::log(row[2]),
                                 std::log(row[0]), std::log(row[1]), std::log(row[2])});
  expect(logsumexp(g, x, {{1}}), {1002 + std::log(e), 1 + std::log(e)});
  expect(logsumexp(g, in({-kInf, -kInf}), {{0}}), {-kInf});
  expect(logsumexp(g, in({kInf, 1}), {{0}}), {kInf});
}

TEST_F(Composite, MatmulTakesEveryCombinationOfRanks) {
  const auto check = [&](Dims sa, Dims sb, Dims expected_shape) {
    const Tensor a = noise(sa), b = noise(sb);
    const Tensor got = run(matmul(g, in(a), in(b)));
    ASSERT_EQ(got.shape, expected_shape);
    Tensor la = a, lb = b;
    if (sa.size() == 1) la.shape.insert(la.shape.begin(), 1);
    if (sb.size() == 1) lb.shape.push_back(1);
    const int64_t m = la.shape[la.shape.size() - 2], k = la.shape.back(), n = lb.shape.back();
    const auto count = static_cast<int64_t>(got.data.size()) / (m * n);
    const auto batches = [](const Tensor& t) {
      int64_t c = 1;
      for (size_t d = 0; d + 2 < t.shape.size(); ++d) c *= t.shape[d];
      return c;
    };
    // The cases broadcast whole batches only.
    for (int64_t p = 0; p < count; ++p)
      for (int64_t i = 0; i < m; ++i)
        for (int64_t j = 0; j < n; ++j) {
          const int64_t pa = p % batches(la), pb = p % batches(lb);
          double s = 0;
          for (int64_t q = 0; q < k; ++q)
            s += la.data[static_cast<size_t>((pa * m + i) * k + q)] *
                 lb.data[static_cast<size_t>((pb * k + q) * n + j)];
          EXPECT_NEAR(got.data[static_cast<size_t>((p * m + i) * n + j)], s, 1e-12);
        }
  };
  check({3}, {3}, {});
  check({2, 3}, {3}, {2});
  check({3}, {3, 4}, {4});
  check({2, 3}, {3, 4}, {2, 4});
  check({5, 2, 3}, {3, 4}, {5, 2, 4});
  check({2, 3}, {5, 3, 4}, {5, 2, 4});
  check({5, 2, 3}, {5, 3, 4}, {5, 2, 4});
  check({1, 2, 3}, {5, 3, 4}, {5, 2, 4});
  check({7, 5, 2, 3}, {5, 3, 4}, {7, 5, 2, 4});
  check({3}, {5, 3, 4}, {5, 4});
  check({5, 2, 3}, {3}, {5, 2});
}

TEST_F(Composite, MatmulNamesItsOperandsInErrors) {
  const NodeId a = in(noise({2, 3})), b = in(noise({4, 5}));
  try {
    matmul(g, a, b);
    FAIL();
  } catch (const ShapeError& e) {
    EXPECT_STREQ(e.what(), "matmul: inner sizes differ: lhs f64[2,3] @ rhs f64[4,5]");
  }
}

TEST_F(Composite, EinsumCoversTheUsualEquations) {
  const Tensor a = noise({2, 3}), b = noise({3, 4}), s = noise({3, 3}), c = noise({4, 2});
  const NodeId x = in(a), y = in(b), sq = in(s), z = in(c);
  const auto product = [&](int64_t i, int64_t j) {
    double total = 0;
    for (int64_t k = 0; k < 3; ++k) total += a.at({i, k}) * b.at({k, j});
    return total;
  };
  Values transposed, sums(2, 0.0);
  for (int64_t j = 0; j < 4; ++j)
    for (int64_t i = 0; i < 2; ++i) transposed.push_back(product(i, j));
  expect(einsum(g, "ik,kj->ji", {{x, y}}), transposed);
  for (int64_t i = 0; i < 2; ++i)
    for (int64_t j = 0; j < 4; ++j) sums[static_cast<size_t>(i)] += product(i, j);
  expect(einsum(g, "ik,kj->i", {{x, y}}), sums);
  expect(einsum(g, "ii->i", {{sq}}), {s.at({0, 0}), s.at({1, 1}), s.at({2, 2})});
  expect(einsum(g, "ii", {{sq}}), {s.at({0, 0}) + s.at({1, 1}) + s.at({2, 2})});
  double chain = 0;
  for (int64_t i = 0; i < 2; ++i)
    for (int64_t j = 0; j < 4; ++j) chain += product(i, j) * c.at({j, i});
  expect(einsum(g, "ik, kj, ji ->", {{x, y, z}}), {chain});
  EXPECT_EQ(einsum(g, "ij->ji", {{x}}), transpose(g, x, 0, 1));
  const NodeId p = in(noise({5, 2, 3})), q = in(noise({5, 3, 4}));
  EXPECT_EQ(run(einsum(g, "...ij,...jk->...ik", {{p, q}})).data, run(bmm(g, p, q)).data);
  EXPECT_EQ(run(einsum(g, "...ij,jk", {{p, y}})).data, run(matmul(g, p, y)).data);
  expect(einsum(g, "i,j->ji", {{in({1, 2}), in({3, 5})}}), {3, 6, 5, 10});
  EXPECT_THROW(einsum(g, "ij,jk->iz", {{x, y}}), ValueError);
  EXPECT_THROW(einsum(g, "ij,ij->ij", {{x, y}}), ShapeError);
  EXPECT_THROW(einsum(g, "ijk->i", {{x}}), ShapeError);
  EXPECT_THROW(einsum(g, "i?->i", {{x}}), ValueError);
}

// Every multiply-add of a convolution, also backwards for the transposed one.
TEST_F(Composite, IndexingHelpers) {
  const NodeId x = in(Tensor{{3, 4}, {0, 1, 2, 3, 10, 11, 12, 13, 20, 21, 22, 23}});
  expect(index_select(g, x, 0, ints({2}, {2, 0})), {20, 21, 22, 23, 0, 1, 2, 3});
  expect(index_select(g, x, 1, ints({2}, {3, 3})), {3, 3, 13, 13, 23, 23});
  expect(index(g, x, {{ints({2}, {2, 0}), ints({2}, {1, 3})}}), {21, 3});
  expect(take_along_dim(g, x, ints({3, 1}, {1, 0, 3}), 1), {1, 10, 23});
  expect(index_put(g, x, {{ints({2}, {1, 1})}}, in({1, 2, 3, 4}), true),
         {0, 1, 2, 3, 12, 15, 18, 21, 20, 21, 22, 23});
  expect(index_add(g, x, 1, ints({1}, {2}), in(Tensor{{3, 1}, {5, 6, 7}})),
         {0, 1, 7, 3, 10, 11, 18, 13, 20, 21, 29, 23});
  expect(tril(g, x), {0, 0, 0, 0, 10, 11, 0, 0, 20, 21, 22, 0});
  expect(triu(g, x, 1), {0, 1, 2, 3, 0, 0, 12, 13, 0, 0, 0, 23});
  expect(roll(g, in({0, 1, 2, 3}), {{1}}, {{0}}), {3, 0, 1, 2});
  expect(roll(g, in({0, 1, 2, 3}), {{-5}}, {{0}}), {1, 2, 3, 0});
  expect(one_hot(g, ints({2}, {1, 0}), 3, DType::Int64), {0, 1, 0, 1, 0, 0});
  expect(eye(g, DType::Float64, 2, 3), {1, 0, 0, 0, 1, 0});
  const auto number = [&](DType dtype, double x) { return literal(g, dtype, x); };
  expect(arange(g, DType::Float64, number(DType::Float64, 1), number(DType::Float64, 0.5), 3),
         {1, 1.5, 2});
  expect(arange(g, DType::Float32, number(DType::Int64, 7), number(DType::Int64, -2), 3),
         {7, 5, 3});
  expect(tile(g, in({1, 2}), {{2, 2}}), {1, 2, 1, 2, 1, 2, 1, 2});
  expect(repeat_interleave(g, in({1, 2}), 2, 0), {1, 1, 2, 2});
  expect(diagonal(g, x, 1, 0, 1), {1, 12, 23});
  expect(diagonal(g, x, -1, 0, 1), {10, 21});
  const auto [best, places] = topk(g, in({3, 9, 1, 7}), 2, 0, true);
  expect(best, {9, 7});
  expect(places, {1, 3});
  const std::vector<NodeId> pieces = split_with_sizes(g, x, {{1, 3}}, 1);
  EXPECT_EQ(concat(g, pieces, 1).is_valid(), true);
  expect(pieces[0], {0, 10, 20});
  expect(stack(g, {{in({1, 2}), in({3, 4})}}, 1), {1, 3, 2, 4});
  expect(embedding(g, ints({2}, {2, 1}), x), {20, 21, 22, 23, 10, 11, 12, 13});
  EXPECT_THROW(split_with_sizes(g, x, {{1, 1}}, 1), ShapeError);
  EXPECT_THROW(run(index(g, x, {{ints({1}, {0}), ints({1}, {4})}})), IndexError);
}

}  // namespace
}  // namespace coregrad::ops
