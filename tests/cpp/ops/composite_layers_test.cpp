// Layers and losses through the reference interpreter, against plain formulas.

#include "base/error.h"
#include "ops/indexing.h"
#include "ops/losses.h"
#include "ops/nn.h"
#include "ops/reduce.h"

#include <gtest/gtest.h>

#include "composite_fixture.h"
#include <algorithm>
#include <cmath>
#include <functional>
#include <utility>

namespace coregrad::ops {
namespace {

using namespace testing;

TEST_F(Composite, NormalisationsGiveUnitStatistics) {
  const Tensor t = noise({4, 6, 5});
  const NodeId x = in(t), w = in(noise({6})), b = in(noise({6}));
  const Tensor y = run(layer_norm(g, x, 2, {}, {}, 0));
  for (int64_t n = 0; n < 4; ++n) {
    double m = 0, v = 0;
    for (int64_t k = 0; k < 30; ++k) m += y.data[static_cast<size_t>(n * 30 + k)];
    for (int64_t k = 0; k < 30; ++k) v += std::pow(y.data[static_cast<size_t>(n * 30 + k)], 2);
    EXPECT_NEAR(m, 0, 1e-12);
    EXPECT_NEAR(v / 30, 1, 1e-12);
  }
  expect(group_norm(g, x, 1, {}, {}, 0), y.data, 1e-12);
  const BatchNorm batch = batch_norm_train(g, x, w, b);
  expect(batch_norm_eval(g, x, batch.mean, batch.variance, w, b), run(batch.y).data, 1e-12);
  double first = 0;
  for (int64_t n = 0; n < 4; ++n)
    for (int64_t k = 0; k < 5; ++k) first += t.at({n, 0, k}) / 20;
  EXPECT_NEAR(run(batch.mean).data[0], first, 1e-13);
  const double square = 3 * 3 + 4 * 4;
  expect(rms_norm(g, in({3, 4}), 1, {}, 0), {3 / std::sqrt(square / 2), 4 / std::sqrt(square / 2)});
  EXPECT_THROW(layer_norm(g, x, 2, w, {}), ShapeError);
}

TEST_F(Composite, DropoutKeepsTheExpectedShareAndScalesIt) {
  const Tensor ones{{20000}, Values(20000, 1.0)};
  const Tensor y = run(dropout(g, in(ones), 0.25, ints({}, {42}), 3));
  double kept = 0;
  for (double v : y.data) {
    EXPECT_TRUE(v == 0 || std::fabs(v - 1 / 0.75) < 1e-15);
    kept += v != 0;
  }
  EXPECT_NEAR(kept / 20000, 0.75, 0.02);
}

TEST_F(Composite, AttentionWeighsValues) {
  const Tensor q = noise({2, 3, 4}), k = noise({2, 5, 4}), v = noise({2, 5, 6});
  const auto plain = [&](const std::function<bool(int64_t, int64_t)>& takes_part) {
    Values out;
    for (int64_t b = 0; b < 2; ++b)
      for (int64_t i = 0; i < 3; ++i) {
        Values e(5);
        double total = 0;
        for (int64_t j = 0; j < 5; ++j) {
          double s = 0;
          for (int64_t d = 0; d < 4; ++d) s += q.at({b, i, d}) * k.at({b, j, d}) / 2;
          total += e[static_cast<size_t>(j)] = takes_part(i, j) ? std::exp(s) : 0;
        }
        for (int64_t d = 0; d < 6; ++d) {
          double s = 0;
          for (int64_t j = 0; j < 5; ++j)
            s += total > 0 ? e[static_cast<size_t>(j)] / total * v.at({b, j, d}) : 0;
          out.push_back(s);
        }
      }
    return out;
  };
  const NodeId nq = in(q), nk = in(k), nv = in(v);
  expect(scaled_dot_product_attention(g, nq, nk, nv), plain([](int64_t, int64_t) { return true; }));
  AttentionOptions causal;
  causal.is_causal = true;
  expect(scaled_dot_product_attention(g, nq, nk, nv, causal),
         plain([](int64_t i, int64_t j) { return j <= i; }));
  AttentionOptions masked;
  // The second query sees nothing.
  masked.mask = cast(g, ints({3, 5}, {1, 0, 1, 0, 1, 0, 0, 0, 0, 0, 1, 1, 0, 0, 0}), DType::Bool);
  const std::vector<int> allowed = {1, 0, 1, 0, 1, 0, 0, 0, 0, 0, 1, 1, 0, 0, 0};
  expect(scaled_dot_product_attention(g, nq, nk, nv, masked),
         plain([&](int64_t i, int64_t j) { return allowed[static_cast<size_t>(i * 5 + j)] == 1; }));
}

TEST_F(Composite, RegressionLosses) {
  const NodeId x = in({1, 2, 5}), t = in({1.5, 2, 2});
  expect(mse_loss(g, x, t), {(0.25 + 9) / 3});
  expect(l1_loss(g, x, t, Reduction::Sum), {3.5});
  expect(huber_loss(g, x, t, Reduction::None, 1), {0.125, 0, 2.5});
  expect(smooth_l1_loss(g, x, t, Reduction::None, 2), {0.0625, 0, 2});
}

TEST_F(Composite, CrossEntropyWithWeightsSmoothingAndIgnoredTargets) {
  const Tensor s = noise({4, 3});
  const Values weight = {0.5, 1, 2};
  const std::vector<int64_t> target = {2, 0, -100, 1};
  Tensor logp = s;
  for (int64_t n = 0; n < 4; ++n) {
    double z = 0;
    for (int64_t c = 0; c < 3; ++c) z += std::exp(s.at({n, c}));
    for (int64_t c = 0; c < 3; ++c) logp.at({n, c}) -= std::log(z);
  }
  const double smoothing = 0.1;
  double loss = 0, sharp = 0, weights = 0, plain = 0;
  for (int64_t n = 0; n < 4; ++n) {
    const int64_t t = target[static_cast<size_t>(n)];
    if (t < 0) continue;
    const double w = weight[static_cast<size_t>(t)];
    weights += w;
    sharp -= w * logp.at({n, t});
    plain -= logp.at({n, t});
    double all_classes = 0;
    for (int64_t c = 0; c < 3; ++c) all_classes -= weight[static_cast<size_t>(c)] * logp.at({n, c});
    loss += (1 - smoothing) * -w * logp.at({n, t}) + smoothing / 3 * all_classes;
  }
  const NodeId scores = in(s), classes = ints({4}, target), w = in(weight);
  ClassOptions options;
  expect(cross_entropy(g, scores, classes, options), {plain / 3});
  options.weight = w;
  expect(cross_entropy(g, scores, classes, options), {sharp / weights});
  expect(nll_loss(g, log_softmax(g, scores, 1), classes, options), {sharp / weights});
  options.label_smoothing = smoothing;
  expect(cross_entropy(g, scores, classes, options), {loss / weights});
  // Probabilities that are all on one class.
  ClassOptions whole;
  expect(cross_entropy(g, scores, one_hot(g, ints({4}, {2, 0, 1, 1}), 3, DType::Float64), whole),
         run(cross_entropy(g, scores, ints({4}, {2, 0, 1, 1}), whole)).data);
  EXPECT_THROW(cross_entropy(g, scores, ints({3}, {1, 1, 1}), whole), ShapeError);
}

TEST_F(Composite, BinaryAndDivergenceLosses) {
  const Values x = {-2, 0.5, 30}, t = {0, 1, 0.25};
  Values logits, positive;
  for (size_t i = 0; i < 3; ++i) {
    const double soft = std::log1p(std::exp(-std::fabs(x[i]))) + std::max(-x[i], 0.0);
    logits.push_back((1 - t[i]) * x[i] + soft);
    positive.push_back((1 - t[i]) * x[i] + (1 + 2 * t[i]) * soft);
  }
  expect(binary_cross_entropy_with_logits(g, in(x), in(t), {}, {}, Reduction::None), logits);
  expect(binary_cross_entropy_with_logits(g, in(x), in(t), {}, in({3, 3, 3}), Reduction::None),
         positive);
  expect(binary_cross_entropy(g, in({0.2, 0}), in({1, 1}), {}, Reduction::None),
         {-std::log(0.2), 100});
  expect(kl_div(g, in({-1, -2}), in({0.5, 0}), false, Reduction::Sum), {0.5 * (std::log(0.5) + 1)});
  expect(kl_div(g, in({-1.0}), in({-0.5}), true), {std::exp(-0.5) * 0.5});
}

}  // namespace
}  // namespace coregrad::ops
