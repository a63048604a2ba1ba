// Convolutions and pools through the reference interpreter, against plain formulas.

#include "base/error.h"
#include "ops/conv.h"

#include <gtest/gtest.h>

#include "composite_fixture.h"
#include <algorithm>
#include <cmath>
#include <functional>
#include <utility>

namespace coregrad::ops {
namespace {

using namespace testing;

TEST_F(Composite, ConvolutionsSumOverChannelsAndTaps) {
  for (int64_t groups : {1, 2})
    for (int64_t stride : {1, 2})
      for (int64_t padding : {0, 1})
        for (int64_t dilation : {1, 2}) {
          const Tensor x = noise({2, 4, 7, 6}), w = noise({6, 4 / groups, 3, 2});
          const Tensor bias = noise({6});
          const Tensor got =
              run(conv(g, in(x), in(w), in(bias), {{stride}, {padding}, {dilation}, groups}));
          const int64_t oh = (7 + 2 * padding - dilation * 2 - 1) / stride + 1,
                        ow = (6 + 2 * padding - dilation - 1) / stride + 1;
          ASSERT_EQ(got.shape, (Dims{2, 6, oh, ow}));
          for (int64_t n = 0; n < 2; ++n)
            for (int64_t o = 0; o < 6; ++o)
              for (int64_t i = 0; i < oh; ++i)
                for (int64_t j = 0; j < ow; ++j) {
                  double s = bias.data[static_cast<size_t>(o)];
                  const int64_t first = o / (6 / groups) * (4 / groups);
                  for (int64_t c = 0; c < 4 / groups; ++c)
                    for (int64_t p = 0; p < 3; ++p)
                      for (int64_t q = 0; q < 2; ++q) {
                        const int64_t h = i * stride - padding + p * dilation,
                                      v = j * stride - padding + q * dilation;
                        if (h >= 0 && h < 7 && v >= 0 && v < 6)
                          s += x.at({n, first + c, h, v}) * w.at({o, c, p, q});
                      }
                  ASSERT_NEAR(got.at({n, o, i, j}), s, 1e-12);
                }
        }
}

TEST_F(Composite, TransposedConvolutionSpreadsItsInput) {
  for (int64_t groups : {1, 2})
    for (int64_t stride : {1, 3})
      for (int64_t extra : {0, 1}) {
        if (extra >= stride && extra > 0 && stride == 1) continue;
        const Tensor x = noise({2, 4, 5}), w = noise({4, 3, 4});
        const int64_t padding = 1, dilation = 1;
        const Tensor got = run(conv_transpose(g, in(x), in(w), {},
                                              {{stride}, {padding}, {dilation}, groups, {extra}}));
        Tensor expected{{2, 3 * groups, 4 * stride - 2 * padding + 3 + extra + 1}, {}};
        ASSERT_EQ(got.shape, expected.shape);
        expected.data.assign(got.data.size(), 0.0);
        for (int64_t n = 0; n < 2; ++n)
          for (int64_t c = 0; c < 4; ++c)
            for (int64_t o = 0; o < 3; ++o)
              for (int64_t i = 0; i < 5; ++i)
                for (int64_t k = 0; k < 4; ++k) {
                  const int64_t at = i * stride + k - padding;
                  if (at < 0 || at >= expected.shape[2]) continue;
                  expected.at({n, c / (4 / groups) * 3 + o, at}) +=
                      x.at({n, c, i}) * w.at({c, o, k});
                }
        for (size_t i = 0; i < got.data.size(); ++i)
          ASSERT_NEAR(got.data[i], expected.data[i], 1e-12);
      }
}

TEST_F(Composite, AOneByOneConvolutionHasPlainDimensions) {
  const NodeId y = conv(g, in(noise({2, 4, 7, 6})), in(noise({6, 4, 1, 1})), {});
  const ContractSpec spec = ContractSpec::decode(g.attrs(y));
  EXPECT_TRUE(std::ranges::all_of(spec.lhs, &DimMap::is_plain));
}

TEST_F(Composite, PoolsReduceTheirWindows) {
  const Tensor x = noise({2, 3, 7, 8});
  for (bool ceil_mode : {false, true})
    for (bool count_pad : {false, true}) {
      PoolOptions options{{3, 2}, {2, 2}, {1, 0}, {1}, ceil_mode, count_pad, {}};
      const Tensor most = run(max_pool(g, in(x), options)),
                   average = run(avg_pool(g, in(x), options));
      const auto [values, places] = max_pool_with_indices(g, in(x), options);
      const Tensor where = run(places), again = run(values);
      const int64_t oh = 4, ow = 4;
      ASSERT_EQ(most.shape, (Dims{2, 3, oh, ow}));
      ASSERT_EQ(again.data, most.data);
      for (int64_t n = 0; n < 2; ++n)
        for (int64_t c = 0; c < 3; ++c)
          for (int64_t i = 0; i < oh; ++i)
            for (int64_t j = 0; j < ow; ++j) {
              double best = -kInf, total = 0, inside = 0, padded = 0;
              for (int64_t p = 0; p < 3; ++p)
                for (int64_t q = 0; q < 2; ++q) {
                  const int64_t h = i * 2 - 1 + p, v = j * 2 + q;
                  if (h < 8 && v < 8) ++padded;
                  if (h < 0 || h >= 7 || v >= 8) continue;
                  ++inside;
                  total += x.at({n, c, h, v});
                  best = std::max(best, x.at({n, c, h, v}));
                }
              ASSERT_EQ(most.at({n, c, i, j}), best);
              ASSERT_NEAR(average.at({n, c, i, j}), total / (count_pad ? padded : inside), 1e-13);
              const auto place = static_cast<int64_t>(where.at({n, c, i, j}));
              ASSERT_EQ(x.at({n, c, place / 8, place % 8}), best);
            }
    }
}

TEST_F(Composite, AdaptivePoolsHandleUnevenWindows) {
  const Tensor x = noise({2, 7, 6});
  const Tensor average = run(adaptive_avg_pool(g, in(x), {{3, 2}})),
               most = run(adaptive_max_pool(g, in(x), {{3, 2}}));
  for (int64_t c = 0; c < 2; ++c)
    for (int64_t i = 0; i < 3; ++i)
      for (int64_t j = 0; j < 2; ++j) {
        double total = 0, best = -kInf, n = 0;
        for (int64_t h = i * 7 / 3; h < ((i + 1) * 7 + 2) / 3; ++h)
          for (int64_t v = j * 3; v < j * 3 + 3; ++v, ++n) {
            total += x.at({c, h, v});
            best = std::max(best, x.at({c, h, v}));
          }
        EXPECT_NEAR(average.at({c, i, j}), total / n, 1e-13);
        EXPECT_EQ(most.at({c, i, j}), best);
      }
}

}  // namespace
}  // namespace coregrad::ops
