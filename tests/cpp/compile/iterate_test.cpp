// Iterations against the same steps written one after the other.

#include "ops/iterate.h"

#include "base/error.h"
#include "base/shape_env.h"
#include "compile/plan_template.h"
#include "compile/specializer.h"
#include "ops/expression.h"
#include "ops/operators.h"
#include "ops/primitives.h"

#include <gtest/gtest.h>

#include "compile_check.h"
#include <algorithm>
#include <functional>
#include <memory>

namespace coregrad {
namespace {

using ops::Expr;
using ops::IterationBuilder;
using test::check;
using test::check_strided;
using test::in;
using Dims = std::vector<SymInt>;
using Nodes = std::vector<NodeId>;

/// A step of two carried values: h and c, from a slice, the slice before it and two constants.
struct Values {
  Expr h, c, x, before, w, b;
};
struct Next {
  Expr h, c, y;
};

Next next(const Values& v) {
  Graph& g = *v.h.graph;
  const Expr product(g, ops::matmul(g, v.h.node, v.w.node));
  // Little of the step before, so that roundings do not grow.
  const Expr h = tanh(product * 0.02 + v.x - v.before * 0.25);
  const Expr c = v.c * 0.5 + h * v.b;
  return {h, c, c * v.x};
}

struct Sizes {
  int64_t steps, batch, width;
  bool reverse;
};

struct Operands {
  NodeId h0, c0, xs, edge, w, b;
};

Operands operands(Graph& g, const Sizes& s) {
  return {in(g, 0, {s.batch, s.width}),          in(g, 1, {s.batch, s.width}),
          in(g, 2, {s.steps, s.batch, s.width}), in(g, 3, {s.batch, s.width}),
          in(g, 4, {s.width, s.width}),          in(g, 5, {s.width})};
}

Nodes iterated(Graph& g, const Operands& o, SymInt count, bool reverse) {
  IterationBuilder steps(g, "test");
  const auto expr = [&](NodeId node) { return Expr(steps.body(), node); };
  Values v{expr(steps.carried(o.h0)), expr(steps.carried(o.c0)),
           expr(steps.slices(o.xs)),  expr(steps.slices(o.xs, reverse ? 1 : -1, o.edge)),
           expr(steps.constant(o.w)), expr(steps.constant(o.b))};
  const Next n = next(v);
  steps.hand_on(n.h.node);
  steps.hand_on(n.c.node);
  steps.stack(n.h.node);
  steps.stack(n.y.node);
  const auto [last, stacked] = steps.finish(count, reverse);
  return {last[0], last[1], stacked[0], stacked[1]};
}

Nodes unrolled(Graph& g, const Operands& o, const Sizes& s) {
  const auto slice = [&](int64_t t) {
    if (t < 0 || t >= s.steps) return Expr(g, o.edge);
    return Expr(g, ops::squeeze(g, ops::narrow(g, o.xs, 0, t, t + 1), {{0}}));
  };
  Expr h(g, o.h0), c(g, o.c0);
  Nodes hs(static_cast<size_t>(s.steps)), ys(hs.size());
  for (int64_t place = 0; place < s.steps; ++place) {
    const int64_t t = s.reverse ? s.steps - 1 - place : place;
    const Next n =
        next({h, c, slice(t), slice(s.reverse ? t + 1 : t - 1), Expr(g, o.w), Expr(g, o.b)});
    h = n.h, c = n.c;
    hs[static_cast<size_t>(t)] = n.h.node;
    ys[static_cast<size_t>(t)] = n.y.node;
  }
  return {h.node, c.node, ops::stack(g, hs, 0), ops::stack(g, ys, 0)};
}

const Sizes kSizes[] = {{1, 2, 3, false}, {2, 1, 4, true},   {3, 5, 8, false}, {7, 3, 17, true},
                        {9, 4, 1, false}, {20, 8, 32, true}, {5, 0, 3, false}};

TEST(Iterate, IsWhatItsStepsAreOneByOne) {
  for (const Sizes& s : kSizes) {
    Graph g, flat;
    const Nodes got = iterated(g, operands(g, s), s.steps, s.reverse);
    const Nodes want = unrolled(flat, operands(flat, s), s);
    const auto inputs = test::random_inputs(g, 1);
    std::vector<InputView> views;
    for (const auto& b : inputs) views.push_back({b.data()});
    const std::vector<Array> a = interpret(g, got, views), b = interpret(flat, want, views);
    for (size_t k = 0; k < a.size(); ++k) {
      EXPECT_EQ(a[k].shape, b[k].shape);
      EXPECT_EQ(a[k].data, b[k].data) << s.steps << " steps, result " << k;
    }
    check(g, got);
  }
}

TEST(Iterate, ResultsThatNobodyReadsAreNotMade) {
  for (const Sizes& s : kSizes) {
    for (const std::vector<size_t>& wanted :
         {std::vector<size_t>{0}, {1}, {3}, {0, 1}, {2, 3}, {1, 2}}) {
      Graph g;
      const Nodes all = iterated(g, operands(g, s), s.steps, s.reverse);
      Nodes some;
      for (const size_t k : wanted) some.push_back(all[k]);
      check(g, some);
    }
  }
}

TEST(Iterate, ReadsAndGivesWhatOthersComputeAndRead) {
  const Sizes s{6, 4, 8, false};
  Graph g;
  Operands o = operands(g, s);
  o.xs = ops::exp(g, ops::neg(g, o.xs));
  o.w = ops::permute(g, o.w, {{1, 0}});
  o.h0 = ops::mul(g, o.h0, o.c0);
  const Nodes first = iterated(g, o, s.steps, false);
  o.xs = first[2];  // a second layer
  o.h0 = first[0];
  const Nodes second = iterated(g, o, s.steps, true);
  check(g, {ops::sum(g, second[2], {{0}}), ops::add(g, second[1], first[1]), first[3]});
  check_strided(g, ops::reshape(g, second[2], Dims{s.steps, s.batch * s.width}), {1, s.steps});
}

TEST(Iterate, CarriedValuesMayChangePlaces) {
  for (const int64_t count : {1, 2, 5}) {
    Graph g;
    const NodeId x = in(g, 0, {3, 4}), y = in(g, 1, {3, 4}), z = in(g, 2, {3, 4});
    IterationBuilder steps(g, "rotation");
    const NodeId a = steps.carried(x), b = steps.carried(y), c = steps.carried(z);
    steps.hand_on(b);
    steps.hand_on(c);
    steps.hand_on(a);
    steps.stack(a);
    const auto [last, stacked] = steps.finish(count);
    check(g, {last[0], last[1], last[2], stacked[0]});
  }
}

TEST(Iterate, OneValueMayBeHandedOnTwice) {
  Graph g;
  const NodeId x = in(g, 0, {3, 4}), y = in(g, 1, {3, 4});
  IterationBuilder steps(g, "twice");
  Graph& body = steps.body();
  const NodeId a = steps.carried(x), b = steps.carried(y);
  const NodeId sum = ops::add(body, a, ops::sin(body, b));
  steps.hand_on(sum);
  steps.hand_on(sum);
  steps.stack(sum);
  steps.stack(sum);
  const auto [last, stacked] = steps.finish(4);
  check(g, {last[0], last[1], stacked[0], stacked[1]});
  check(g, {last[1]});
}

TEST(Iterate, BodiesHaveAllKindsOfSteps) {
  Graph g;
  const NodeId first = in(g, 0, {5, 9}), xs = in(g, 1, {4, 5, 9}), w = in(g, 2, {9, 9});
  IterationBuilder steps(g, "kinds");
  Graph& body = steps.body();
  const NodeId h = steps.carried(first), x = steps.slices(xs), v = steps.constant(w);
  const NodeId order = ops::argsort(body, x, 1, false);
  const NodeId sorted = ops::gather(body, x, 1, order);
  const NodeId sums = ops::scan(body, Op::CumSum, ops::matmul(body, sorted, v), 1);
  const NodeId next = ops::softmax(body, ops::add(body, sums, h), 1);
  steps.hand_on(next);
  steps.stack(order);
  steps.stack(ops::sum(body, next, {{0}}));
  const auto [last, stacked] = steps.finish(4, true);
  check(g, {last[0], stacked[0], stacked[1]});
}

TEST(Iterate, OneCompilationServesAnyNumberOfSteps) {
  const auto env = std::make_shared<ShapeEnv>();
  const SymInt t = env->symbol("t", {2, kUnbounded}, 257),
               n = env->symbol("n", {2, kUnbounded}, 263);
  constexpr int64_t kWidth = 6;
  const auto graph = std::make_shared<Graph>();
  Graph& g = *graph;
  const Operands o{ops::input(g, 0, DType::Float32, Dims{n, kWidth}),
                   ops::input(g, 1, DType::Float32, Dims{n, kWidth}),
                   ops::input(g, 2, DType::Float32, Dims{t, n, kWidth}),
                   ops::input(g, 3, DType::Float32, Dims{n, kWidth}),
                   in(g, 4, {kWidth, kWidth}),
                   in(g, 5, {kWidth})};
  std::vector<OutputSpec> specs;
  for (const NodeId node : iterated(g, o, t, false)) specs.push_back({node, {}, -1});
  CompileOptions options;
  options.env = env;
  const CompiledPlan compiled = compile(g, specs, 6, options);
  EXPECT_EQ(env->guards(), std::vector<std::string>{});
  const Specializer specializer(graph, specs, 6, options);
  for (const auto& [steps, batch] :
       std::vector<std::pair<int64_t, int64_t>>{{2, 3}, {5, 16}, {33, 7}, {100, 2}, {3, 64}}) {
    const Sizes s{steps, batch, kWidth, false};
    Graph fixed;
    const Nodes nodes = iterated(fixed, operands(fixed, s), steps, false);
    const auto inputs = test::random_inputs(fixed, 2);
    std::vector<InputView> views;
    std::vector<const void*> from;
    for (const auto& b : inputs) views.push_back({b.data()}), from.push_back(b.data());
    const std::vector<Array> want = interpret(fixed, nodes, views);
    std::vector<std::vector<std::byte>> got;
    std::vector<void*> to;
    for (const Array& a : want) got.emplace_back(a.data.size());
    for (auto& b : got) to.push_back(b.data());
    for (const std::shared_ptr<const Plan> plan :
         {std::shared_ptr<const Plan>(compiled.sizes->bind({{steps, batch}})),
          specializer.compile_for({{steps, batch}}).plan}) {
      for (auto& b : got) std::ranges::fill(b, std::byte{0xff});
      run(*plan, from, to);
      for (size_t k = 0; k < want.size(); ++k)
        EXPECT_EQ(test::compare_results(DType::Float32, got[k], want[k].data), "")
            << steps << " steps of " << batch << ", result " << k;
    }
  }
}

TEST(Iterate, RefusesWhatDoesNotFit) {
  Graph g;
  const NodeId x = in(g, 0, {3, 4}), scalar = in(g, 1, {});
  IterationBuilder steps(g, "bad");
  EXPECT_THROW(steps.slices(scalar), ShapeError);
  EXPECT_THROW(steps.slices(x, 1), ShapeError);
  EXPECT_THROW(steps.slices(x, 1, x), ShapeError);
  steps.stack(steps.slices(x));
  EXPECT_THROW(steps.finish(0), ShapeError);
}

}  // namespace
}  // namespace coregrad
