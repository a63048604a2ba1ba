// Strided transposed convolutions: their phases become one product.

#include "ops/operators.h"
#include "ops/primitives.h"

#include <gtest/gtest.h>

#include "compile_check.h"

namespace coregrad {
namespace {

using Dims = std::vector<int64_t>;
using test::check;
using test::in;

/// out[n, g, c, i] = sum over o, k of x[n, g, o, (i + padding - k * dilation) / stride] *
/// w[g, o, c, k], of any rank.
struct TransposedCase {
  Dims narrow;
  int64_t o, c, kernel, stride, padding = 0, dilation = 1, groups = 1, output_padding = 0;
};

NodeId transposed(Graph& g, const TransposedCase& t, NodeId x, NodeId w) {
  const auto rank = static_cast<int64_t>(t.narrow.size());
  ContractSpec spec;
  spec.extents = {2, t.groups, t.c};
  for (const int64_t size : t.narrow)
    spec.extents.push_back((size - 1) * t.stride - 2 * t.padding + t.dilation * (t.kernel - 1) + 1 +
                           t.output_padding);
  spec.extents.push_back(t.o);
  const int64_t o = 3 + rank;
  for (int64_t d = 0; d < rank; ++d) spec.extents.push_back(t.kernel);
  for (int64_t d = 0; d < o; ++d) spec.out.push_back(d);
  spec.lhs = {DimMap::label(0), DimMap::label(1), DimMap::label(o)};
  spec.rhs = {DimMap::label(1), DimMap::label(o), DimMap::label(2)};
  for (int64_t d = 0; d < rank; ++d) {
    spec.lhs.push_back({3 + d, o + 1 + d, 1, -t.dilation, t.padding, t.stride});
    spec.rhs.push_back(DimMap::label(o + 1 + d));
  }
  return ops::contract(g, x, w, spec);
}

/// Phases as rows of one product, and, from several channels to few, planes that are added up.
TEST(TransposedConvolution, PhasesAreComputedTogether) {
  for (const TransposedCase& small :
       {TransposedCase{{9, 8}, 2, 1, 3, 2, 1, 1, 1, 1}, TransposedCase{{9, 8}, 5, 3, 3, 2, 1},
        TransposedCase{{7, 20}, 4, 2, 4, 2, 1}, TransposedCase{{7, 9}, 6, 3, 2, 2},
        TransposedCase{{33}, 3, 2, 16, 8, 4}, TransposedCase{{31}, 3, 2, 5, 3, 0, 2},
        TransposedCase{{12}, 4, 1, 1, 2}, TransposedCase{{5, 4, 6}, 3, 2, 3, 2, 1, 1, 1, 1},
        TransposedCase{{6, 5}, 3, 2, 3, 3, 1, 2, 2, 2}, TransposedCase{{3, 3}, 2, 1, 12, 11, 3},
        TransposedCase{{9}, 4, 3, 4, 2, 3, 2}, TransposedCase{{10}, 4, 3, 3, 4}}) {
    for (const bool many : {false, true}) {
      TransposedCase t = small;
      if (many) t.o += 8;
      Graph g;
      Dims x = {2, t.groups, t.o}, w = {t.groups, t.o, t.c};
      x.insert(x.end(), t.narrow.begin(), t.narrow.end());
      w.insert(w.end(), t.narrow.size(), t.kernel);
      const NodeId product = transposed(g, t, in(g, 0, x), in(g, 1, w));
      check(g, {product, ops::exp(g, product)});
      // What is added is the same at all places of an image (a bias), or it is not.
      const Dims shape(g.shape(product).begin(), g.shape(product).end());
      Dims merged(shape.begin() + 1, shape.end());
      merged[0] = 2, merged[1] = t.groups * t.c;
      const NodeId images = ops::reshape(g, product, merged);
      Dims channels(merged.size(), 1), places(merged.size(), 1);
      channels[1] = merged[1], places.back() = merged.back();
      const auto plus = [&](int64_t index, const Dims& of) {
        return ops::add(g, images, ops::broadcast_to(g, in(g, index, of), merged));
      };
      check(g, {plus(2, channels)});
      check(g, {images, plus(2, channels), plus(3, places), plus(4, Dims(merged.size(), 1))});
    }
  }
  // The phases are the result's memory, with a bias too.
  {
    Graph g;
    CompileReport report;
    const NodeId product = transposed(g, {{9, 8}, 16, 1, 3, 2, 1, 1, 1, 1},
                                      in(g, 0, {2, 1, 16, 9, 8}), in(g, 1, {1, 16, 1, 3, 3}));
    const NodeId bias = in(g, 2, {1, 1, 1, 1, 1});
    check(g, {ops::add(g, ops::broadcast_to(g, bias, g.shape(product)), product)}, &report);
    EXPECT_EQ(report.steps, 3);
  }
  // Where the output is a multiple of the stride, nothing is copied.
  Graph g;
  CompileReport report;
  check(g,
        {transposed(g, {{9, 8}, 16, 6, 3, 2, 1, 1, 1, 1}, in(g, 0, {2, 1, 16, 9, 8}),
                    in(g, 1, {1, 16, 6, 3, 3}))},
        &report);
  EXPECT_EQ(report.steps, 1);
}

}  // namespace
}  // namespace coregrad
