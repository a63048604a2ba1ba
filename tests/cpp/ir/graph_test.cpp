// The arena: interning, compaction, handles, and a chain of a million nodes on a small stack.

#include "ir/graph.h"

#include "base/error.h"
#include "ir/verify.h"
#include "ops/operators.h"
#include "ops/primitives.h"

#include <gtest/gtest.h>

#include <functional>
#include <pthread.h>
#include <vector>

namespace coregrad {
namespace {

using Dims = std::vector<int64_t>;

NodeId in(Graph& g, int64_t index, Dims shape = {2, 3}) {
  return ops::input(g, index, DType::Float32, shape);
}

TEST(Graph, EqualNodesAreOneNode) {
  Graph g;
  const NodeId x = in(g, 0);
  const NodeId y = ops::exp(g, x);
  const int64_t hits = g.stats().intern_hits;
  EXPECT_EQ(ops::exp(g, x), y);
  EXPECT_EQ(g.stats().intern_hits, hits + 1);
  EXPECT_NE(ops::exp(g, in(g, 1)), y);
  EXPECT_NE(in(g, 0, {3, 2}), x);
}

TEST(Graph, InterningSurvivesGrowth) {
  Graph g;
  std::vector<NodeId> nodes;
  for (int64_t i = 0; i < 20000; ++i) nodes.push_back(in(g, i, {i % 700 + 1, 2}));
  for (int64_t i = 0; i < 20000; ++i)
    ASSERT_EQ(in(g, i, {i % 700 + 1, 2}), nodes[static_cast<size_t>(i)]);
  EXPECT_EQ(g.size(), 20000u);
  EXPECT_EQ(g.shape(nodes[699])[0], 700);
}

TEST(Graph, LongOperandListsAreInternedToo) {
  Graph g;
  std::vector<NodeId> parts;
  for (int64_t i = 0; i < 10; ++i) parts.push_back(in(g, i));
  const NodeId a = ops::concat(g, parts, 0);
  EXPECT_EQ(ops::concat(g, parts, 0), a);
  ASSERT_EQ(g.operands(a).size(), 10u);
  EXPECT_EQ(g.operand(a, 7), parts[7]);
  std::swap(parts[0], parts[9]);
  EXPECT_NE(ops::concat(g, parts, 0), a);
}

TEST(Graph, HandlesFollowTheirNodesThroughCompaction) {
  Graph g;
  const NodeId x = in(g, 0);
  for (int64_t i = 1; i < 100; ++i) ops::exp(g, in(g, i));
  std::vector<NodeId> parts = {ops::neg(g, x), x, x, ops::exp(g, x), x};
  const NodeId y = ops::concat(g, parts, 0);
  const Handle h = g.retain(y);
  const std::vector<NodeId> moved = g.compact();
  EXPECT_EQ(g.size(), 4u);
  const NodeId now = g.resolve(h);
  EXPECT_EQ(moved[y.value], now);
  EXPECT_EQ(g[now].op, Op::Concat);
  EXPECT_FALSE(moved[50].is_valid());
  EXPECT_NO_THROW(verify(g, {{now}}, "compaction"));
  // Interning still finds what moved.
  EXPECT_EQ(ops::exp(g, in(g, 0)), g.operand(now, 3));
  std::vector<NodeId> again(g.operands(now).begin(), g.operands(now).end());
  EXPECT_EQ(ops::concat(g, again, 0), now);
}

TEST(Graph, CompactionKeepsTheGivenRoots) {
  Graph g;
  const NodeId x = in(g, 0), y = ops::exp(g, x);
  ops::neg(g, y);
  const std::vector<NodeId> moved = g.compact({{y}});
  EXPECT_EQ(g.size(), 2u);
  EXPECT_EQ(g[moved[y.value]].op, Op::Exp);
}

TEST(Graph, StaleHandlesAreCaughtByTheirGeneration) {
  Graph g;
  const Handle first = g.retain(in(g, 0));
  g.release(first);
  EXPECT_FALSE(g.is_live(first));
  EXPECT_THROW(g.resolve(first), InternalError);
  const Handle second = g.retain(in(g, 1));
  EXPECT_EQ(second.slot, first.slot);
  EXPECT_THROW(g.resolve(first), InternalError);
  EXPECT_THROW(g.release(first), InternalError);
  EXPECT_EQ(g.resolve(second), in(g, 1));
  EXPECT_THROW(g.resolve(Handle{}), InternalError);
}

TEST(Graph, OneNodeCanHaveManyHandles) {
  Graph g;
  const Handle a = g.retain(in(g, 0)), b = g.retain(in(g, 0));
  g.release(a);
  g.compact();
  EXPECT_EQ(g[g.resolve(b)].op, Op::Input);
  g.release(b);
  g.compact();
  EXPECT_EQ(g.size(), 0u);
}

TEST(Graph, OriginsAreKeptOnceAndAreNotIdentity) {
  Graph g;
  g.set_origin("layer1");
  const NodeId x = in(g, 0);
  g.set_origin("layer2");
  EXPECT_EQ(in(g, 0), x);
  const NodeId y = ops::exp(g, x);
  g.set_origin("");
  const NodeId z = ops::neg(g, y);
  g.set_origin("layer1");
  EXPECT_EQ(g[ops::exp(g, z)].origin, g[x].origin);
  EXPECT_EQ(g.origin(x), "layer1");
  EXPECT_EQ(g.origin(y), "layer2");
  EXPECT_EQ(g.origin(z), "");
}

TEST(Graph, UsesAreCountedForLiveNodesOnly) {
  Graph g;
  const NodeId x = in(g, 0), y = ops::mul(g, x, x), dead = ops::exp(g, x);
  const std::vector<uint32_t> uses = count_uses(g, {{y}});
  EXPECT_EQ(uses[x.value], 2u);
  EXPECT_EQ(uses[y.value], 1u);
  EXPECT_EQ(uses[dead.value], 0u);
  EXPECT_THROW(mark_live(g, {{NodeId{99}}}), InternalError);
}

TEST(Graph, ATrainingLoopRunsInConstantMemory) {
  Graph g;
  Handle weight = g.retain(in(g, 0));
  uint32_t most = 0;
  for (int step = 0; step < 1000; ++step) {
    g.set_origin(step % 2 ? "forward" : "update");
    const NodeId w = g.resolve(weight);
    const NodeId next =
        ops::sub(g, w, ops::mul(g, ops::exp(g, w), ops::literal(g, DType::Float32, 0.1)));
    g.release(weight);
    weight = g.retain(next);
    // Realised: the value becomes an input of the next step.
    g.release(weight);
    weight = g.retain(in(g, 0));
    g.compact();
    most = std::max(most, g.size());
  }
  EXPECT_EQ(most, 1u);
}

void run_on_stack(size_t bytes, std::function<void()> body) {
  pthread_attr_t attributes;
  pthread_attr_init(&attributes);
  ASSERT_EQ(pthread_attr_setstacksize(&attributes, bytes), 0);
  pthread_t thread;
  const auto start = [](void* f) -> void* {
    (*static_cast<std::function<void()>*>(f))();
    return nullptr;
  };
  ASSERT_EQ(pthread_create(&thread, &attributes, start, &body), 0);
  pthread_join(thread, nullptr);
  pthread_attr_destroy(&attributes);
}

TEST(Graph, AMillionNodesBuildAndCompactOnASmallStack) {
  run_on_stack(256 << 10, [] {
    Graph g;
    NodeId x = in(g, 0, {4});
    for (int i = 0; i < 500000; ++i) x = ops::neg(g, ops::exp(g, x));
    EXPECT_EQ(g.size(), 1000001u);
    EXPECT_EQ(g[x].depth, 1000000u);
    const Handle h = g.retain(x);
    EXPECT_NO_THROW(verify(g, {{x}}, "building"));
    EXPECT_EQ(count_uses(g, {{x}})[0], 1u);
    g.compact();
    EXPECT_EQ(g.size(), 1000001u);
    g.release(h);
    g.compact();
    EXPECT_EQ(g.size(), 0u);
  });
}

}  // namespace
}  // namespace coregrad
