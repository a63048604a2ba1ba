// Graphs whose sizes are symbols: one compilation serves all sizes.

#include "base/shape_env.h"
#include "codegen/jit/host_target.h"
#include "compile/compiler.h"
#include "compile/plan_template.h"
#include "compile/specializer.h"
#include "grad/gradient.h"
#include "ops/conv.h"
#include "ops/nn.h"
#include "ops/operators.h"
#include "ops/primitives.h"

#include <fmt/ranges.h>
#include <gtest/gtest.h>

#include "compile_check.h"
#include "machine_scope.h"
#include <array>
#include <functional>
#include <memory>
#include <random>

namespace coregrad {
namespace {

using Dims = std::vector<SymInt>;
using Nodes = std::vector<NodeId>;
/// The results of a graph over sizes s and t.
using Build = std::function<Nodes(Graph&, SymInt s, SymInt t)>;

NodeId in(Graph& g, int64_t index, const Dims& shape, DType dtype = DType::Float32) {
  return ops::input(g, index, dtype, shape);
}

struct Case {
  const char* name;
  Build build;
  int64_t least = 2;  ///< of both sizes
  int64_t most = 2000;

  friend void PrintTo(const Case& c, std::ostream* out) { *out << c.name; }
};

/// Few and many, full vectors and one more or less, primes.
const std::vector<std::vector<int64_t>> kPoints = {
    {2, 2},   {2, 3},   {3, 7},    {7, 8},    {8, 9},     {9, 16},    {16, 5},
    {17, 31}, {33, 64}, {64, 100}, {100, 31}, {257, 263}, {512, 128}, {1000, 1001}};

std::vector<std::vector<std::byte>> run_plan(const Plan& plan, const Graph& graph,
                                             const Nodes& outputs,
                                             const std::vector<std::vector<std::byte>>& inputs) {
  std::vector<std::vector<std::byte>> results;
  for (const NodeId o : outputs)
    results.emplace_back(static_cast<size_t>(graph.numel(o) * size_of(graph.dtype(o))));
  const std::vector<std::span<const std::byte>> from(inputs.begin(), inputs.end());
  const std::vector<std::span<std::byte>> to(results.begin(), results.end());
  test::run_in_blocks(plan, from, to);
  return results;
}

class Symbolic : public testing::TestWithParam<Case> {};

struct SymbolicGraph {
  std::shared_ptr<ShapeEnv> env = std::make_shared<ShapeEnv>();
  std::vector<SymInt> symbols;

  explicit SymbolicGraph(const std::vector<int64_t>& least,
                         const std::vector<int64_t>& hints = {257, 263, 269, 271}) {
    for (size_t i = 0; i < least.size(); ++i)
      symbols.push_back(env->symbol(std::string(1, static_cast<char>('s' + i)),
                                    {least[i], kUnbounded}, hints[i]));
  }

  CompiledPlan compile(const std::function<Nodes(Graph&, const Dims&)>& build) const {
    Graph graph;
    const std::vector<OutputSpec> specs = record(graph, build);
    return coregrad::compile(graph, specs, 3, options());
  }

  Specializer specializer(const std::function<Nodes(Graph&, const Dims&)>& build) const {
    const auto graph = std::make_shared<Graph>();
    std::vector<OutputSpec> specs = record(*graph, build);
    return {graph, std::move(specs), 3, options()};
  }

  /// Compares a plan for a point with the interpreter; what differs, as text.
  static std::string check(const CompiledPlan& compiled,
                           const std::function<Nodes(Graph&, const Dims&)>& build,
                           const std::vector<int64_t>& point) {
    return check(*compiled.sizes->bind(point), build, point);
  }
  static std::string check(const Plan& plan, const std::function<Nodes(Graph&, const Dims&)>& build,
                           const std::vector<int64_t>& point) {
    Graph fixed;
    const Nodes outputs = build(fixed, {point.begin(), point.end()});
    auto inputs = test::random_inputs(fixed, 3);
    inputs.resize(3);
    std::vector<InputView> views;
    for (const auto& b : inputs) views.push_back({b.data()});
    const std::vector<Array> expected = interpret(fixed, outputs, views);
    const auto got = run_plan(plan, fixed, outputs, inputs);
    std::string wrong;
    for (size_t k = 0; k < outputs.size(); ++k) {
      const DType dtype = fixed.dtype(outputs[k]);
      if (const std::string text = test::compare_results(dtype, got[k], expected[k].data);
          !text.empty())
        wrong += fmt::format("at {}, output {}: {}\n", fmt::join(point, ", "), k, text);
    }
    return wrong;
  }

 private:
  std::vector<OutputSpec> record(Graph& graph,
                                 const std::function<Nodes(Graph&, const Dims&)>& build) const {
    std::vector<OutputSpec> specs;
    for (const NodeId o : build(graph, symbols)) specs.push_back({o, {}, -1});
    return specs;
  }
  CompileOptions options() const {
    CompileOptions made;
    made.env = env;
    return made;
  }
};

TEST_P(Symbolic, OneCompilationServesAllSizes) {
  const int64_t least = GetParam().least;
  const SymbolicGraph graph({least, least});
  const auto build = [](Graph& g, const Dims& s) { return GetParam().build(g, s[0], s[1]); };
  const CompiledPlan compiled = graph.compile(build);
  ASSERT_NE(compiled.sizes, nullptr);
  EXPECT_EQ(graph.env->guards(), std::vector<std::string>{});
  EXPECT_THROW(compiled.sizes->bind(std::vector<int64_t>{1, 5}), ShapeError);
  graph.env->close();
  for (const std::vector<int64_t>& point : kPoints) {
    if (std::ranges::min(point) < least || std::ranges::max(point) > GetParam().most) continue;
    ASSERT_TRUE(graph.env->admits(point)) << graph.env->refusal(point);
    EXPECT_EQ(SymbolicGraph::check(compiled, build, point), "");
  }
}

TEST_P(Symbolic, IsSpecializedForSomeSizes) {
  const int64_t least = GetParam().least;
  const SymbolicGraph graph({least, least});
  const auto build = [](Graph& g, const Dims& s) { return GetParam().build(g, s[0], s[1]); };
  const Specializer specializer = graph.specializer(build);
  graph.env->close();
  for (const std::vector<int64_t>& point : {std::vector<int64_t>{least, 7}, {17, 31}, {64, 100}}) {
    const CompiledPlan compiled = specializer.compile_for(point);
    ASSERT_NE(compiled.plan, nullptr);
    EXPECT_EQ(SymbolicGraph::check(*compiled.plan, build, point), "");
  }
}

/// The sum of all elements of all values, and its gradients.
Nodes sum_and_gradients(Graph& g, const Nodes& values, const Nodes& targets) {
  NodeId total = ops::full(g, Dims{}, Scalar::of(DType::Float32, 0));
  for (const NodeId v : values) total = ops::add(g, total, ops::reduce(g, Op::Sum, v, {}));
  Nodes results = gradients(g, Nodes{total}, {}, targets);
  results.push_back(total);
  return results;
}

NodeId softmax_of(Graph& g, NodeId x) { return ops::softmax(g, x, -1, std::nullopt); }

const Case kCases[] = {
    {"elementwise",
     [](Graph& g, SymInt s, SymInt t) {
       const NodeId x = in(g, 0, {s, t}), y = in(g, 1, {t});
       return Nodes{ops::exp(g, ops::tanh(g, ops::add(g, ops::mul(g, x, y), x)))};
     }},
    {"transposed",
     [](Graph& g, SymInt s, SymInt t) {
       const NodeId x = in(g, 0, {s, t}), y = in(g, 1, {t, s});
       return Nodes{ops::add(g, ops::transpose(g, x, 0, 1), y)};
     }},
    {"flattened",
     [](Graph& g, SymInt s, SymInt t) {
       const NodeId x = in(g, 0, {s, t, 4});
       return Nodes{ops::relu(g, ops::reshape(g, x, Dims{s * t, 4})),
                    ops::relu(g, ops::reshape(g, x, Dims{s, -1}))};
     }},
    {"halves",
     [](Graph& g, SymInt s, SymInt t) {
       const NodeId x = in(g, 0, {s, 2, t}), flat = ops::reshape(g, x, Dims{2 * s, t});
       return Nodes{ops::relu(g, ops::reshape(g, ops::neg(g, flat), Dims{s, 2, t}))};
     }},
    {"sums",
     [](Graph& g, SymInt s, SymInt t) {
       const NodeId x = in(g, 0, {s, t});
       return Nodes{ops::reduce(g, Op::Sum, x, Dims{1}), ops::reduce(g, Op::Sum, x, Dims{0}),
                    ops::reduce(g, Op::Sum, x, Dims{0, 1})};
     }},
    {"extremes",
     [](Graph& g, SymInt s, SymInt t) {
       const NodeId x = in(g, 0, {s, t});
       return Nodes{ops::reduce(g, Op::ReduceMax, x, Dims{1}),
                    ops::reduce(g, Op::ArgMax, x, Dims{1}), ops::reduce(g, Op::ArgMin, x, Dims{0})};
     }},
    {"softmax",
     [](Graph& g, SymInt s, SymInt t) { return Nodes{softmax_of(g, in(g, 0, {s, 3, t}))}; }},
    {"mean",
     [](Graph& g, SymInt s, SymInt t) {
       const NodeId x = in(g, 0, {s, t});
       return Nodes{ops::mean(g, x, Dims{1}, true, std::nullopt),
                    ops::var(g, x, Dims{1}, 1.0, false)};
     }},
    {"slices",
     [](Graph& g, SymInt s, SymInt t) {
       const NodeId x = in(g, 0, {s, t});
       return Nodes{ops::neg(g, ops::narrow(g, x, 1, 1, t)),
                    ops::neg(g, ops::narrow(g, x, 0, 0, s - 1))};
     },
     3},  // what is left of 2 has one element, which is another program
    {"joined",
     [](Graph& g, SymInt s, SymInt t) {
       const NodeId x = in(g, 0, {s, t}), y = in(g, 1, {s, 5});
       return Nodes{ops::concat(g, Nodes{ops::exp(g, x), ops::neg(g, y)}, 1),
                    ops::concat(g, Nodes{x, ops::relu(g, x)}, 0)};
     }},
    {"padded",
     [](Graph& g, SymInt s, SymInt t) {
       const NodeId x = in(g, 0, {s, t});
       return Nodes{
           ops::pad(g, x, Dims{1, 2}, Dims{0, 3}, Dims{0, 0}, Scalar::of(DType::Float32, 0.5))};
     }},
    {"scattered",
     [](Graph& g, SymInt s, SymInt t) {
       const NodeId values = in(g, 0, {s, t}), index = in(g, 1, {s}, DType::Int64);
       const NodeId zeros = ops::full(g, Dims{8, t}, Scalar::of(DType::Float32, 0));
       const NodeId rows = ops::broadcast_to(g, ops::reshape(g, index, Dims{s, 1}), Dims{s, t});
       return Nodes{ops::scatter(g, zeros, 0, rows, values, ScatterMode::Add),
                    ops::relu(g, ops::scatter(g, in(g, 2, {8, t}), 0, rows, ops::neg(g, values),
                                              ScatterMode::Max))};
     }},
    {"scanned",
     [](Graph& g, SymInt s, SymInt t) {
       const NodeId x = in(g, 0, {s, t});
       return Nodes{ops::scan(g, Op::CumSum, x, 1), ops::argsort(g, x, 0, true)};
     }},
    {"gradients of views and sums",
     [](Graph& g, SymInt s, SymInt t) {
       const NodeId x = in(g, 0, {s, t}), y = in(g, 1, {t});
       const NodeId turned = ops::flip(g, ops::transpose(g, x, 0, 1), Dims{0});
       const NodeId joined = ops::concat(g, Nodes{ops::mul(g, x, y), ops::exp(g, x)}, 0);
       const NodeId part = ops::narrow(g, joined, 0, 1, s + 1);
       return sum_and_gradients(
           g, Nodes{ops::mul(g, part, part), ops::tanh(g, turned), ops::cumsum(g, x, 1, {})},
           {x, y});
     }},
    {"gradients of a normalised layer",
     [](Graph& g, SymInt s, SymInt t) {
       const NodeId x = in(g, 0, {s, t}), w = in(g, 1, {t});
       const NodeId normal = ops::layer_norm(g, x, 1, w, std::nullopt, 1e-5);
       return sum_and_gradients(g, Nodes{ops::gelu(g, normal, "none"), softmax_of(g, x)}, {x, w});
     }},
    {"gradients of a perceptron",
     [](Graph& g, SymInt s, SymInt) {
       const NodeId x = in(g, 0, {s, 12}), w = in(g, 1, {12, 7}), b = in(g, 2, {7});
       const NodeId y = ops::relu(g, ops::add(g, ops::matmul(g, x, w), b));
       return sum_and_gradients(g, Nodes{ops::mean(g, ops::mul(g, y, y), {}, false, {})},
                                {x, w, b});
     }},
    {"flipped",
     [](Graph& g, SymInt s, SymInt t) {
       return Nodes{ops::relu(g, ops::flip(g, in(g, 0, {s, t}), Dims{1}))};
     }},
    {"gathered",
     [](Graph& g, SymInt s, SymInt t) {
       const NodeId table = in(g, 0, {8, t}), index = in(g, 1, {s}, DType::Int64);
       return Nodes{ops::relu(g, ops::index_select(g, table, 0, index))};
     }},
    {"product of rows",
     [](Graph& g, SymInt s, SymInt) {
       const NodeId x = in(g, 0, {s, 24}), w = in(g, 1, {24, 40}), b = in(g, 2, {40});
       return Nodes{ops::relu(g, ops::add(g, ops::matmul(g, x, w), b))};
     }},
    {"product of everything",
     [](Graph& g, SymInt s, SymInt t) {
       const NodeId x = in(g, 0, {s, t}), y = in(g, 1, {t, s});
       return Nodes{ops::tanh(g, ops::matmul(g, x, y))};
     }},
    {"attention",
     [](Graph& g, SymInt s, SymInt t) {
       const NodeId q = in(g, 0, {2, s, 8}), k = in(g, 1, {2, t, 8}), v = in(g, 2, {2, t, 8});
       const NodeId scores = ops::matmul(g, q, ops::transpose(g, k, 1, 2));
       return Nodes{ops::matmul(g, softmax_of(g, scores), v)};
     }},
    {"sums of everything",
     [](Graph& g, SymInt s, SymInt t) {
       const NodeId x = in(g, 0, {s, t}), y = ops::tanh(g, x);
       return Nodes{ops::reduce(g, Op::Sum, y, {}), ops::reduce(g, Op::ReduceMax, x, {}),
                    ops::reduce(g, Op::ReduceMin, ops::mul(g, x, y), {})};
     }},
    {"sums down columns",
     [](Graph& g, SymInt s, SymInt t) {
       const NodeId x = in(g, 0, {s, t, 40}), y = in(g, 1, {s, 300});
       return Nodes{ops::reduce(g, Op::Sum, x, Dims{0, 1}), ops::reduce(g, Op::Sum, x, Dims{0}),
                    ops::reduce(g, Op::Sum, ops::relu(g, y), Dims{0}),
                    ops::reduce(g, Op::ReduceMax, y, Dims{0})};
     }},
    {"sums of a few rows",
     [](Graph& g, SymInt s, SymInt t) {
       const NodeId x = in(g, 0, {3, s, t}), y = in(g, 1, {2, s, 5}, DType::Int64);
       return Nodes{ops::reduce(g, Op::Sum, x, Dims{1, 2}), ops::reduce(g, Op::Prod, y, Dims{1}),
                    ops::reduce(g, Op::Sum, y, Dims{1, 2}), ops::reduce(g, Op::Sum, y, Dims{0, 1})};
     }},
    {"convolution",
     [](Graph& g, SymInt s, SymInt t) {
       const NodeId x = in(g, 0, {2, 5, s, t}), w = in(g, 1, {20, 5, 3, 3}), b = in(g, 2, {20});
       return Nodes{ops::relu(g, ops::conv(g, x, w, b, {.padding = {1}}))};
     },
     2, 110},
    {"convolution of a batch",
     [](Graph& g, SymInt s, SymInt t) {
       const NodeId x = in(g, 0, {s, 3, 9, t}), w = in(g, 1, {7, 3, 1, 1});
       return Nodes{ops::conv(g, x, w, std::nullopt, {})};
     },
     2, 110},
    {"convolution of any channels",
     [](Graph& g, SymInt s, SymInt t) {
       const NodeId x = in(g, 0, {2, s, 7, t}), w = in(g, 1, {s, s, 3, 3});
       return Nodes{ops::conv(g, x, w, std::nullopt, {.padding = {1}})};
     },
     2, 70},
    {"strided convolution",
     [](Graph& g, SymInt s, SymInt t) {
       const NodeId x = in(g, 0, {1, 4, s, t}), w = in(g, 1, {24, 2, 5, 3});
       const ConvOptions options{
           .stride = {2, 1}, .padding = {3, 2}, .dilation = {1, 2}, .groups = 2};
       return Nodes{ops::conv(g, x, w, std::nullopt, options)};
     },
     2, 110},
    {"convolution of sequences",
     [](Graph& g, SymInt s, SymInt t) {
       const NodeId x = in(g, 0, {s, 6, t}), w = in(g, 1, {18, 6, 5});
       return Nodes{ops::conv(g, x, w, std::nullopt, {.padding = {2}})};
     },
     2, 110},
    {"gradients of a convolution",
     [](Graph& g, SymInt s, SymInt t) {
       const NodeId x = in(g, 0, {2, 3, s, t}), w = in(g, 1, {17, 3, 3, 3});
       return sum_and_gradients(
           g, {ops::tanh(g, ops::conv(g, x, w, std::nullopt, {.padding = {1}}))}, {x, w});
     },
     2, 110},
    {"gradients of a strided convolution",
     [](Graph& g, SymInt s, SymInt t) {
       const NodeId x = in(g, 0, {2, 9, s, t}), w = in(g, 1, {17, 9, 3, 3});
       const ConvOptions options{.stride = {2, 3}, .padding = {1}};
       return sum_and_gradients(g, {ops::tanh(g, ops::conv(g, x, w, std::nullopt, options))},
                                {x, w});
     },
     2, 110},
    {"transposed convolution",
     [](Graph& g, SymInt s, SymInt t) {
       const NodeId x = in(g, 0, {2, 12, s, t}), w = in(g, 1, {12, 9, 4, 3});
       const ConvOptions options{.stride = {2}, .padding = {1}, .output_padding = {1, 0}};
       return Nodes{ops::conv_transpose(g, x, w, std::nullopt, options)};
     },
     2, 110},
    {"transposed convolution to few channels",
     [](Graph& g, SymInt s, SymInt t) {
       const NodeId x = in(g, 0, {2, 12, s, t}), w = in(g, 1, {12, 2, 4, 4});
       return Nodes{ops::conv_transpose(g, x, w, std::nullopt, {.stride = {2}, .padding = {1}})};
     },
     2, 110},
    {"gradients of a strided depthwise convolution",
     [](Graph& g, SymInt s, SymInt t) {
       const NodeId x = in(g, 0, {2, 5, s, t}), w = in(g, 1, {5, 1, 3, 3});
       const ConvOptions options{.stride = {2}, .padding = {1}, .groups = 5};
       return sum_and_gradients(g, {ops::conv(g, x, w, std::nullopt, options)}, {x, w});
     },
     3,  // of two rows, one meets nothing in the first step of a window
     110},
    {"convolution of volumes",
     [](Graph& g, SymInt s, SymInt t) {
       const NodeId x = in(g, 0, {2, 3, s, 4, t}), w = in(g, 1, {20, 3, 3, 2, 3});
       return Nodes{ops::conv(g, x, w, std::nullopt, {.padding = {1, 1, 2}})};
     },
     2, 40},
    {"depthwise convolution",
     [](Graph& g, SymInt s, SymInt t) {
       const NodeId x = in(g, 0, {2, 5, s, t}), w = in(g, 1, {5, 1, 3, 3});
       return Nodes{ops::conv(g, x, w, std::nullopt, {.padding = {1}, .groups = 5})};
     },
     2, 110},
    {"gradients of a depthwise convolution",
     [](Graph& g, SymInt s, SymInt t) {
       const NodeId x = in(g, 0, {2, 5, s, t}), w = in(g, 1, {5, 1, 3, 3});
       return sum_and_gradients(
           g, {ops::conv(g, x, w, std::nullopt, {.padding = {1}, .groups = 5})}, {x, w});
     },
     2, 110},
    {"images in other sizes",
     [](Graph& g, SymInt s, SymInt t) {
       const NodeId x = in(g, 0, {2, 3, s, t});
       const double factors[] = {1.5, 1.25};
       const auto resized = [&](std::string_view mode, SymInts size, bool aligned, bool smooth) {
         return ops::interpolate(g, x, size, size.empty() ? factors : std::span<const double>{},
                                 mode, aligned, {}, smooth);
       };
       return Nodes{resized("bilinear", {}, false, false),
                    resized("bicubic", Dims{t, 9}, true, false),
                    resized("nearest", Dims{2 * s, t + 1}, false, false),
                    resized("bilinear", Dims{5, s}, false, true)};
     },
     2, 70},
    {"samples of images",
     [](Graph& g, SymInt s, SymInt t) {
       const NodeId x = in(g, 0, {2, 3, s, t}), grid = in(g, 1, {2, t, 5, 2});
       return Nodes{ops::grid_sample(g, x, grid, "bilinear", "zeros", false),
                    ops::grid_sample(g, x, grid, "bicubic", "reflection", true)};
     },
     2, 70},
    {"largest of adaptive windows",
     [](Graph& g, SymInt s, SymInt t) {
       const auto [values, places] =
           ops::adaptive_max_pool_with_indices(g, in(g, 0, {2, 3, s, t}), Dims{3, 2});
       return Nodes{values, places};
     },
     2, 110},
    {"largest half",
     [](Graph& g, SymInt s, SymInt t) {
       const auto [values, places] = ops::topk(g, in(g, 0, {s, t}), t / 2, -1, true);
       return Nodes{values, places, ops::kthvalue(g, in(g, 0, {s, t}), s, 0, false).first};
     },
     2, 110},
    {"attention of any width",
     [](Graph& g, SymInt s, SymInt t) {
       const NodeId q = in(g, 0, {2, s, t}), k = in(g, 1, {2, 9, t}), v = in(g, 2, {2, 9, t});
       return Nodes{ops::scaled_dot_product_attention(g, q, k, v, {})};
     },
     2, 110},
    {"causal",
     [](Graph& g, SymInt s, SymInt t) {
       const NodeId x = in(g, 0, {s, t});
       const NodeId row = ops::reshape(g, ops::iota(g, DType::Int64, s), Dims{s, 1});
       const NodeId column = ops::reshape(g, ops::iota(g, DType::Int64, t), Dims{1, t});
       const NodeId low = ops::full(g, Dims{}, Scalar::of(DType::Float32, -1e30));
       return Nodes{softmax_of(g, ops::select(g, ops::compare(g, Op::Le, column, row), x, low))};
     }},
};

INSTANTIATE_TEST_SUITE_P(Cases, Symbolic, testing::ValuesIn(kCases), [](const auto& info) {
  std::string name = info.param.name;
  std::ranges::replace(name, ' ', '_');
  return name;
});

// What doubles its steps is compiled once for all extents between two powers of two.
TEST(SymbolicSizes, RunningExtremesAreForAPowerOfTwo) {
  const SymbolicGraph graph({2, 2}, {20, 300});
  const auto build = [](Graph& g, const Dims& s) -> Nodes {
    const NodeId x = in(g, 0, {s[0], s[1]});
    const auto [values, places] = ops::cummax(g, x, 0);
    return {values, places, ops::logcumsumexp(g, x, 1)};
  };
  const CompiledPlan compiled = graph.compile(build);
  ASSERT_NE(compiled.sizes, nullptr);
  EXPECT_EQ(graph.env->guards(),
            (std::vector<std::string>{"s >= 17", "s <= 32", "t >= 257", "t <= 512"}));
  graph.env->close();
  for (const std::vector<int64_t>& point :
       {std::vector<int64_t>{17, 257}, {20, 300}, {31, 511}, {32, 512}})
    EXPECT_EQ(SymbolicGraph::check(compiled, build, point), "");
}

// A size that was met as 1 is repeated wherever a literal 1 would be.
TEST(SymbolicSizes, WhatIsDecidedToBeOneRepeats) {
  const SymbolicGraph graph({0, 2}, {1, 263});
  const auto build = [](Graph& g, const Dims& s) -> Nodes {
    const NodeId x = in(g, 0, {s[1], s[0]}), y = in(g, 1, {s[1], s[1]}), z = in(g, 2, {s[0]});
    const NodeId wide = ops::broadcast_to(g, ops::mul(g, x, x), {{s[1], s[1]}});
    return {ops::add(g, wide, y), ops::sum(g, wide, {{0}}),
            ops::exp(g, ops::add(g, ops::broadcast_to(g, z, {{s[1]}}), ops::sum(g, y, {{1}})))};
  };
  const CompiledPlan compiled = graph.compile(build);
  ASSERT_NE(compiled.sizes, nullptr);
  for (const int64_t t : {2, 7, 64, 101})
    EXPECT_EQ(SymbolicGraph::check(compiled, build, {1, t}), "");
  EXPECT_FALSE(graph.env->admits({{2, 2}}));
}

std::vector<test::Machine> narrow_and_tiny_machines() {
  std::vector<test::Machine> machines;
  for (const Isa isa : {Isa::Generic, Isa::Neon, Isa::Avx2, Isa::Avx512, Isa::Amx})
    for (const char* settings : {"", "tiny"})
      if (host_supports(isa)) machines.push_back({isa, settings});
  return machines;
}

/// A product of matrices, or of several, whose sizes are numbers or symbols.
class SymbolicProducts : public testing::TestWithParam<int> {};

TEST_P(SymbolicProducts, OneKernelServesAllSizes) {
  std::mt19937 random(static_cast<unsigned>(GetParam()));
  const auto choose = [&](auto... options) {
    const std::array all{options...};
    return all[random() % all.size()];
  };
  const std::vector<test::Machine> machines = narrow_and_tiny_machines();
  const test::MachineScope scope(machines[static_cast<size_t>(GetParam()) % machines.size()]);
  const std::vector<int64_t> least = {choose(0, 1, 2), choose(0, 2), choose(1, 2), 2};
  const SymbolicGraph graph(least);
  // A negative number stands for a symbol.
  const int64_t m = choose(-1, -1, 1, 3, 5, 40), n = choose(-2, -2, -1, 1, 2, 3, 33, 70),
                k = choose(-3, -3, -2, 1, 7, 64, 300), batch = choose(0, 0, -4, 3);
  const bool turn_lhs = choose(false, true), turn_rhs = choose(false, true),
             adds = choose(false, true), turn_result = choose(false, false, true);
  const DType dtype = choose(DType::Float32, DType::Float32, DType::Float64, DType::Int32);
  const DType memory =
      dtype == DType::Float32 ? choose(DType::Float32, DType::Float32, DType::BFloat16) : dtype;
  const auto build = [&](Graph& g, const Dims& symbols) {
    const auto size = [&](int64_t x) {
      return x < 0 ? symbols[static_cast<size_t>(-x - 1)] : SymInt(x);
    };
    const auto operand = [&](int64_t index, int64_t rows, int64_t columns, bool turned) {
      Dims shape = {size(turned ? columns : rows), size(turned ? rows : columns)};
      if (batch != 0) shape.insert(shape.begin(), size(batch));
      const NodeId x = ops::cast(g, in(g, index, shape, memory), dtype);
      return turned ? ops::transpose(g, x, -2, -1) : x;
    };
    NodeId y = ops::matmul(g, operand(0, m, k, turn_lhs), operand(1, k, n, turn_rhs));
    if (adds) y = ops::add(g, y, ops::cast(g, in(g, 2, {size(n)}, memory), dtype));
    if (turn_result) y = ops::transpose(g, ops::relu(g, y), -2, -1);
    return Nodes{turn_result ? ops::neg(g, y) : y};
  };
  const CompiledPlan compiled = graph.compile(build);
  graph.env->close();
  ASSERT_NE(compiled.sizes, nullptr);
  for (const PlanTemplate::PlannedAnew& planned : compiled.sizes->planned)
    EXPECT_FALSE(std::holds_alternative<ContractKernel>(planned.source) && !host_target().has_amx);
  int tried = 0;
  for (int i = 0; i < 14; ++i) {
    std::vector<int64_t> point;
    for (size_t s = 0; s < least.size(); ++s)
      point.push_back(choose(0, 1, 2, 3, 4, 5, 7, 8, 9, 12, 15, 16, 17, 23, 31, 33, 64, 65, 90));
    if (!graph.env->admits(point)) continue;
    ++tried;
    EXPECT_EQ(SymbolicGraph::check(compiled, build, point), "")
        << "m " << m << ", n " << n << ", k " << k << ", batch " << batch << ", turned " << turn_lhs
        << turn_rhs << turn_result << ", adds " << adds << ", " << name_of(dtype) << " of "
        << name_of(memory);
  }
  EXPECT_GT(tried, 0);
}

INSTANTIATE_TEST_SUITE_P(Seeds, SymbolicProducts, testing::Range(0, 80));

/// A convolution, or a transposed one, with its gradients, whose batch and image have sizes that
/// are numbers or symbols.
class SymbolicConvolutions : public testing::TestWithParam<int> {};

TEST_P(SymbolicConvolutions, OneKernelServesAllSizes) {
  std::mt19937 random(static_cast<unsigned>(1000 + GetParam()));
  const auto choose = [&](auto... options) {
    const std::array all{options...};
    return all[random() % all.size()];
  };
  const std::vector<test::Machine> machines = narrow_and_tiny_machines();
  const test::MachineScope scope(machines[static_cast<size_t>(GetParam()) % machines.size()]);
  const size_t rank = choose(1, 2, 2, 2, 3);
  const bool is_transposed = choose(false, false, true),
             has_gradients = rank < 3 && choose(false, true);
  const int64_t groups = choose(1, 1, 1, 2, 3), in = groups * choose(1, 2, 5),
                out = groups * choose(1, 2, rank < 3 ? 18 : 4);
  const bool is_depthwise = choose(false, false, false, true);
  ConvOptions options{.stride = {}, .padding = {}, .dilation = {}, .groups = groups};
  Dims kernel;
  std::vector<int64_t> sizes = {choose(-1, -1, 1, 3)};  // a negative number stands for a symbol
  for (size_t d = 0; d < rank; ++d) {
    kernel.push_back(choose(1, 2, 3, 3, 4, 5));
    options.stride.push_back(choose(1, 1, 1, 2, 3));
    options.dilation.push_back(choose(1, 1, 1, 2));
    options.padding.push_back(choose(0, 1, 1, 2));
    sizes.push_back(choose(-2, -3, -3, 9, 16));
  }
  if (is_depthwise) options.groups = in;
  const DType dtype = choose(DType::Float32, DType::Float32, DType::Float32, DType::Float64);
  const auto build = [&](Graph& g, const Dims& symbols) {
    Dims image, weight;
    for (const int64_t n : sizes)
      image.push_back(n < 0 ? symbols[static_cast<size_t>(-n - 1)] : SymInt(n));
    image.insert(image.begin() + 1, in);
    const int64_t per_group = is_depthwise ? 1 : in / groups;
    weight = is_transposed ? Dims{in, is_depthwise ? 1 : out / groups}
                           : Dims{is_depthwise ? in : out, per_group};
    weight.insert(weight.end(), kernel.begin(), kernel.end());
    const NodeId x = ops::input(g, 0, dtype, image), w = ops::input(g, 1, dtype, weight);
    const NodeId y = is_transposed ? ops::conv_transpose(g, x, w, std::nullopt, options)
                                   : ops::conv(g, x, w, std::nullopt, options);
    if (!has_gradients) return Nodes{ops::relu(g, y)};
    const NodeId total = ops::sum(g, ops::mul(g, y, y), {}, false, std::nullopt);
    Nodes results = gradients(g, Nodes{total}, {}, Nodes{x, w});
    results.push_back(y);
    return results;
  };
  // As many as every image needs, and hints that are no multiples of strides.
  const SymbolicGraph graph({1, 12, 12}, {3, 37, 41});
  const CompiledPlan compiled = graph.compile(build);
  graph.env->close();
  ASSERT_NE(compiled.sizes, nullptr);
  for (const PlanTemplate::PlannedAnew& planned : compiled.sizes->planned)
    EXPECT_FALSE(std::holds_alternative<ContractKernel>(planned.source));
  int tried = 0;
  for (int i = 0; i < 20 && tried < 4; ++i) {
    const std::vector<int64_t> point = {choose(1, 2, 3), choose(12, 13, 14, 16, 17, 25, 33),
                                        choose(12, 13, 15, 16, 23, 32, 40)};
    if (!graph.env->admits(point)) continue;
    ++tried;
    EXPECT_EQ(SymbolicGraph::check(compiled, build, point), "")
        << (is_transposed ? "transposed " : "") << in << " to " << out << " channels, "
        << options.groups << " groups, image " << fmt::format("{}", fmt::join(sizes, " "))
        << ", kernel " << fmt::format("{}", fmt::join(kernel, " ")) << ", stride "
        << fmt::format("{}", fmt::join(options.stride, " ")) << ", padding "
        << fmt::format("{}", fmt::join(options.padding, " ")) << ", dilation "
        << fmt::format("{}", fmt::join(options.dilation, " "));
  }
  EXPECT_GT(tried, 0) << fmt::format("{}", fmt::join(graph.env->guards(), ", "));
}

INSTANTIATE_TEST_SUITE_P(Seeds, SymbolicConvolutions, testing::Range(0, 60));

// Panels that share rows must not add to each other's sums.
TEST(SymbolicSizes, SumsOfManyBlocksInPanelsThatOverlap) {
  for (const Isa isa : {Isa::Generic, Isa::Neon, Isa::Avx2, Isa::Avx512}) {
    if (!host_supports(isa)) continue;
    const test::MachineScope scope({isa, "steps=64"});
    for (const bool turned : {false, true}) {
      const SymbolicGraph graph({1});
      const auto build = [turned](Graph& g, const Dims& s) -> Nodes {
        const NodeId w = in(g, 1, turned ? Dims{40, 700} : Dims{700, 40});
        return {ops::matmul(g, in(g, 0, {s[0], 700}), turned ? ops::transpose(g, w, 0, 1) : w)};
      };
      const CompiledPlan compiled = graph.compile(build);
      ASSERT_NE(compiled.sizes, nullptr);
      for (const int64_t rows : {1, 3, 5, 7, 9, 13, 16, 17, 19, 23, 29, 40})
        EXPECT_EQ(SymbolicGraph::check(compiled, build, {rows}), "");
    }
  }
}

// Code that results around the caches need is made when there is much of them, and only then.
TEST(SymbolicSizes, LargeResultsGoAroundTheCaches) {
  for (const Isa isa : {Isa::Generic, Isa::Avx2, Isa::Avx512}) {
    if (!host_supports(isa)) continue;
    const test::MachineScope scope({isa, "stream=40000"});
    const SymbolicGraph graph({1, 1});
    const auto build = [](Graph& g, const Dims& s) -> Nodes {
      const NodeId x = in(g, 0, {s[0], s[1]}), y = in(g, 1, {s[0], s[1]});
      const NodeId z = in(g, 2, {s[1]});
      return {ops::add(g, ops::mul(g, x, y), ops::broadcast_to(g, z, {{s[0], s[1]}})),
              ops::sum(g, ops::exp(g, y), {{0}})};
    };
    const CompiledPlan compiled = graph.compile(build);
    ASSERT_NE(compiled.sizes, nullptr);
    graph.env->close();
    const auto functions = [&](const std::vector<int64_t>& point) {
      const std::shared_ptr<const Plan> plan = compiled.sizes->bind(point);
      std::vector<StepFunction> of_steps;
      for (const Step& step : plan->steps) of_steps.push_back(step.function);
      return of_steps;
    };
    const auto small = functions({16, 16});
    EXPECT_EQ(functions({50, 64}), small);
    EXPECT_EQ(functions({128, 64}) == small, !host_target().can_stream());
    EXPECT_EQ(functions({7, 1001}), functions({128, 64}));
    EXPECT_EQ(functions({3, 5}), small);
    for (const std::vector<int64_t>& point :
         {std::vector<int64_t>{50, 64}, {128, 64}, {7, 1001}, {1, 20000}, {300, 33}})
      EXPECT_EQ(SymbolicGraph::check(compiled, build, point), "");
  }
}

}  // namespace
}  // namespace coregrad
