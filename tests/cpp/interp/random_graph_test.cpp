// The generator itself, and the interpreter in float32 against the float64 twin.

#include "random_graph.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cmath>

namespace coregrad {
namespace {

constexpr uint64_t kSeeds = 300;

TEST(RandomGraphs, AreTheSameForTheSameSeed) {
  for (uint64_t seed = 0; seed < 20; ++seed) {
    const RandomGraph a = make_random_graph(seed), b = make_random_graph(seed);
    EXPECT_EQ(a.graph.size(), b.graph.size());
    EXPECT_EQ(a.outputs, b.outputs);
    EXPECT_EQ(a.storage, b.storage);
  }
}

TEST(RandomGraphs, AreLargeAndCoverEveryPrimitive) {
  std::vector<int64_t> sizes;
  std::array<int64_t, kNumOps> counts{};
  std::array<int64_t, kNumDTypes> dtypes{};
  int64_t empty = 0, scalars = 0;
  for (uint64_t seed = 0; seed < kSeeds; ++seed) {
    const RandomGraph r = make_random_graph(seed);
    sizes.push_back(r.size());
    const std::vector<bool> live = mark_live(r.graph, r.outputs);
    for (uint32_t i = 0; i < r.graph.size(); ++i) {
      if (!live[i]) continue;
      ++counts[static_cast<size_t>(r.graph[NodeId{i}].op)];
      ++dtypes[static_cast<size_t>(r.graph.dtype({i}))];
      empty += r.graph.numel({i}) == 0;
      scalars += r.graph.rank({i}) == 0;
    }
  }
  std::nth_element(sizes.begin(), sizes.begin() + kSeeds / 2, sizes.end());
  EXPECT_GE(sizes[kSeeds / 2], 20);
  // External steps need a supplier, sizes are of symbols, iterations have graphs of their own,
  // which are compared with their steps one by one (iterate_test.cpp).
  for (int i = 0; i < kNumOps; ++i) {
    const auto op = static_cast<Op>(i);
    if (op != Op::External && op != Op::Size && op != Op::Iterate)
      EXPECT_GT(counts[static_cast<size_t>(i)], 0) << name_of(op);
  }
  for (int t = 0; t < kNumDTypes; ++t) EXPECT_GT(dtypes[static_cast<size_t>(t)], 0);
  EXPECT_GT(empty, 0);
  EXPECT_GT(scalars, 0);
}

/// Nodes whose values were rounded to a narrow float, or come from values that were.
std::vector<bool> mark_narrow(const Graph& graph) {
  std::vector<bool> narrow(graph.size());
  for (uint32_t i = 0; i < graph.size(); ++i) {
    narrow[i] = is_narrow(graph.dtype({i}));
    for (const NodeId o : graph.operands({i})) narrow[i] = narrow[i] || narrow[o.value];
  }
  return narrow;
}

TEST(RandomGraphs, HaveFiniteResultsOfSaneTolerance) {
  // By whether a narrow float went into the output.
  std::array<int64_t, 2> outputs{}, loose{};
  constexpr std::array<double, 2> limits = {1e-3, 0.5};
  constexpr std::array<int64_t, 2> one_in = {50, 10};
  int64_t infinite = 0;
  for (uint64_t seed = 0; seed < kSeeds; ++seed) {
    const RandomGraph r = make_random_graph(seed);
    const Expected e = expected_results(r);
    const std::vector<bool> narrow = mark_narrow(r.graph);
    for (size_t k = 0; k < e.values.size(); ++k) {
      if (e.values[k].dtype != DType::Float64) continue;
      double largest = 0;
      for (const double v : e.values[k].as<double>()) {
        infinite += !std::isfinite(v);
        largest = std::max(largest, std::fabs(v));
      }
      const size_t kind = narrow[r.outputs[k].value];
      ++outputs[kind];
      loose[kind] += e.tolerance[k] > limits[kind] * std::max(largest, 1e-3);
    }
  }
  EXPECT_EQ(infinite, 0);
  for (const size_t kind : {0, 1}) {
    EXPECT_GT(outputs[kind], 100);
    EXPECT_LT(loose[kind] * one_in[kind], outputs[kind]) << "badly conditioned, " << kind;
  }
}

TEST(RandomGraphs, GiveTheSameInTheInterpreterAsInFloat64) {
  for (uint64_t seed = 0; seed < kSeeds; ++seed) {
    const RandomGraph r = make_random_graph(seed);
    const std::vector<Array> results = interpret(r.graph, r.outputs, r.inputs());
    EXPECT_EQ(first_mismatch(r, expected_results(r), results), "");
  }
}

TEST(RandomGraphs, ShowAWrongResult) {
  const RandomGraph r = make_random_graph(3);
  std::vector<Array> results = interpret(r.graph, r.outputs, r.inputs());
  const Expected e = expected_results(r);
  ASSERT_EQ(first_mismatch(r, e, results), "");
  for (Array& a : results)
    if (!a.data.empty()) a.data.back() ^= std::byte{0x3f};
  EXPECT_NE(first_mismatch(r, e, results), "");
}

}  // namespace
}  // namespace coregrad
