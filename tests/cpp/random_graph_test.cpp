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
  for (int op = 0; op < kNumOps; ++op)
    if (static_cast<Op>(op) != Op::External)
      EXPECT_GT(counts[static_cast<size_t>(op)], 0) << name_of(static_cast<Op>(op));
  for (int t = 0; t < kNumDTypes; ++t) EXPECT_GT(dtypes[static_cast<size_t>(t)], 0);
  EXPECT_GT(empty, 0);
  EXPECT_GT(scalars, 0);
}

TEST(RandomGraphs, HaveFiniteResultsOfSaneTolerance) {
  int64_t outputs = 0, loose = 0, infinite = 0;
  for (uint64_t seed = 0; seed < kSeeds; ++seed) {
    const RandomGraph r = make_random_graph(seed);
    const Expected e = expected_results(r);
    for (size_t k = 0; k < e.values.size(); ++k) {
      if (e.values[k].dtype != DType::Float64) continue;
      double largest = 0;
      for (const double v : e.values[k].as<double>()) {
        infinite += !std::isfinite(v);
        largest = std::max(largest, std::fabs(v));
      }
      ++outputs;
      loose += e.tolerance[k] > 1e-3 * std::max(largest, 1e-3);
    }
  }
  EXPECT_EQ(infinite, 0);
  EXPECT_LT(loose * 50, outputs) << "more than 2% of the outputs are badly conditioned";
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
