// Random graphs, forward and backward, through the compiler against their float64 twins: on this
// machine, and with each instruction set on one with tiny caches, where small graphs take the ways
// that large ones take, in memory that nothing may leave.

#include "base/error.h"
#include "codegen/jit/host_target.h"
#include "compile/compiler.h"
#include "runtime/executor.h"
#include "runtime/thread_team.h"

#include <gtest/gtest.h>

#include "machine_scope.h"
#include "random_graph.h"
#include <algorithm>
#include <cstdlib>
#include <cstring>

namespace coregrad {
namespace {

constexpr uint64_t kSeeds = 2000, kSeedsOfOtherMachines = 150;

std::vector<Array> run_compiled(const RandomGraph& random, bool optimize) {
  std::vector<OutputSpec> specs;
  for (NodeId o : random.outputs) specs.push_back({o, {}, -1});
  CompileOptions options;
  options.optimize = optimize;
  options.name = "random graph";
  const std::vector<InputView> views = random.inputs();
  const CompiledPlan compiled =
      compile(random.graph, specs, static_cast<int64_t>(views.size()), options);
  std::vector<std::span<const std::byte>> in(random.storage.begin(), random.storage.end());
  std::vector<Array> results;
  for (NodeId o : random.outputs) {
    Array a;
    a.dtype = random.graph.dtype(o);
    a.shape.assign(random.graph.shape(o).begin(), random.graph.shape(o).end());
    a.data.assign(static_cast<size_t>(random.graph.numel(o) * size_of(a.dtype)), std::byte{0x5A});
    results.push_back(std::move(a));
  }
  std::vector<std::span<std::byte>> out;
  for (Array& a : results) out.push_back(a.data);
  test::run_in_blocks(*compiled.plan, in, out);
  return results;
}

bool same_bytes(const std::vector<Array>& a, const std::vector<Array>& b) {
  return std::equal(a.begin(), a.end(), b.begin(),
                    [](const Array& x, const Array& y) { return x.data == y.data; });
}

// Four shards, so that a parallel test runner can share the work.
class RandomGraphs : public testing::TestWithParam<uint64_t> {};

void expect_right(uint64_t first, uint64_t end, uint64_t step,
                  const RandomGraphOptions& options = {}) {
  int64_t mismatches = 0;
  for (uint64_t seed = first; seed < end && mismatches < 5; seed += step) {
    const RandomGraph random = make_random_graph(seed, options);
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

TEST_P(RandomGraphs, CompileToWhatTheTwinSays) { expect_right(GetParam(), kSeeds, 4); }

INSTANTIATE_TEST_SUITE_P(Seeds, RandomGraphs, testing::Values(0, 1, 2, 3));

class RandomGraphsOn : public testing::TestWithParam<test::Machine> {};

TEST_P(RandomGraphsOn, CompileToWhatTheTwinSays) {
  if (!host_supports(GetParam().isa)) GTEST_SKIP() << "this machine has no " << GetParam().name();
  const test::MachineScope scope(GetParam());
  expect_right(10000, 10000 + kSeedsOfOtherMachines, 1);
}

// Of two registers of lanes that a mask selects from, the one without a selected lane was read.
TEST_P(RandomGraphsOn, LeaveLanesThatAMaskLeavesOutUnread) {
  if (!host_supports(GetParam().isa)) GTEST_SKIP() << "this machine has no " << GetParam().name();
  const test::MachineScope scope(GetParam());
  RandomGraphOptions options;
  options.small_integers = false;
  expect_right(10202, 10203, 1, options);
}

INSTANTIATE_TEST_SUITE_P(
    Machines, RandomGraphsOn,
    testing::Values(test::Machine{Isa::Generic, ""}, test::Machine{Isa::Generic, "tiny"},
                    test::Machine{Isa::Neon, "tiny"}, test::Machine{Isa::Avx2, "tiny,threads=3"},
                    test::Machine{Isa::Avx512, "tiny,threads=9"}, test::Machine{Isa::Amx, "tiny"}),
    [](const auto& info) { return info.param.name(); });

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
