// Random graphs, forward and backward, through the compiler against their float64 twins.

#include "base/error.h"
#include "compile/compiler.h"
#include "runtime/executor.h"
#include "runtime/thread_team.h"

#include <gtest/gtest.h>

#include "random_graph.h"
#include <algorithm>
#include <cstdlib>
#include <cstring>

namespace coregrad {
namespace {

constexpr uint64_t kSeeds = 2000;

std::vector<Array> run_compiled(const RandomGraph& random, bool optimize) {
  std::vector<OutputSpec> specs;
  for (NodeId o : random.outputs) specs.push_back({o, {}, -1});
  CompileOptions options;
  options.optimize = optimize;
  options.name = "random graph";
  const std::vector<InputView> views = random.inputs();
  const CompiledPlan compiled =
      compile(random.graph, specs, static_cast<int64_t>(views.size()), options);
  std::vector<const void*> in;
  for (const InputView& v : views) in.push_back(v.data);
  std::vector<Array> results;
  for (NodeId o : random.outputs) {
    Array a;
    a.dtype = random.graph.dtype(o);
    a.shape.assign(random.graph.shape(o).begin(), random.graph.shape(o).end());
    a.data.assign(static_cast<size_t>(random.graph.numel(o) * size_of(a.dtype)), std::byte{0x5A});
    results.push_back(std::move(a));
  }
  std::vector<void*> out;
  for (Array& a : results) out.push_back(a.data.data());
  run(*compiled.plan, in, out);
  return results;
}

bool same_bytes(const std::vector<Array>& a, const std::vector<Array>& b) {
  return std::equal(a.begin(), a.end(), b.begin(),
                    [](const Array& x, const Array& y) { return x.data == y.data; });
}

// Four shards, so that a parallel test runner can share the work.
class RandomGraphs : public testing::TestWithParam<uint64_t> {};

TEST_P(RandomGraphs, CompileToWhatTheTwinSays) {
  int64_t mismatches = 0;
  for (uint64_t seed = GetParam(); seed < kSeeds && mismatches < 5; seed += 4) {
    const RandomGraph random = make_random_graph(seed);
    try {
      const Expected expected = expected_results(random);
      for (const bool optimize : {true, false}) {
        if (!optimize && seed % 8 >= 4) continue;  // the unfused form on half of the seeds
        const std::string difference =
            first_mismatch(random, expected, run_compiled(random, optimize));
        if (difference.empty()) continue;
        ++mismatches;
        ADD_FAILURE() << (optimize ? "optimised: " : "unfused: ") << difference;
      }
    } catch (const Error& e) {
      ++mismatches;
      ADD_FAILURE() << "seed " << seed << ": " << e.what() << "\n" << random.to_text();
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Seeds, RandomGraphs, testing::Values(0, 1, 2, 3));

TEST(RandomGraphThreads, GiveTheSameBitsForOneAndTwoThreads) {
  ThreadTeam& team = ThreadTeam::global();
  const int before = team.num_threads();
  RandomGraphOptions options;
  options.max_elements = 200000;
  options.max_steps = 20;
  for (uint64_t seed = 50000; seed < 50020; ++seed) {
    const RandomGraph random = make_random_graph(seed, options);
    team.set_num_threads(1);
    const std::vector<Array> one = run_compiled(random, true);
    team.set_num_threads(2);
    const std::vector<Array> two = run_compiled(random, true);
    EXPECT_TRUE(same_bytes(one, two)) << "seed " << seed;
  }
  team.set_num_threads(before);
}

}  // namespace
}  // namespace coregrad
