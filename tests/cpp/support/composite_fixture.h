#pragma once
// A graph with inputs, and what the interpreter makes of it in float64 beside plain formulas.

#include "interp/interpreter.h"
#include "ir/verify.h"
#include "ops/math.h"
#include "ops/primitives.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <random>
#include <utility>
#include <vector>

namespace coregrad::ops::testing {

using Dims = std::vector<int64_t>;
using Values = std::vector<double>;
inline constexpr double kInf = std::numeric_limits<double>::infinity();

// Row-major doubles with a shape: what the plain formulas work on.
struct Tensor {
  Dims shape;
  Values data;

  double& at(const Dims& i) { return data[offset(i)]; }
  double at(const Dims& i) const { return data[offset(i)]; }
  size_t offset(const Dims& i) const {
    int64_t k = 0;
    for (size_t d = 0; d < shape.size(); ++d) k = k * shape[d] + i[d];
    return static_cast<size_t>(k);
  }
};

struct Composite : ::testing::Test {
  Graph g;
  std::vector<std::vector<double>> floats;
  std::vector<std::vector<int64_t>> integers;
  std::vector<std::pair<bool, size_t>> inputs;
  std::mt19937 engine{1234};

  NodeId in(const Tensor& t) {
    floats.push_back(t.data);
    inputs.push_back({true, floats.size() - 1});
    return input(g, static_cast<int64_t>(inputs.size()) - 1, DType::Float64, t.shape);
  }
  NodeId in(const Values& v) { return in(Tensor{{static_cast<int64_t>(v.size())}, v}); }
  NodeId ints(const Dims& shape, const std::vector<int64_t>& v) {
    integers.push_back(v);
    inputs.push_back({false, integers.size() - 1});
    return input(g, static_cast<int64_t>(inputs.size()) - 1, DType::Int64, shape);
  }
  Tensor noise(const Dims& shape, double low = -2, double high = 2) {
    Tensor t{shape, {}};
    int64_t n = 1;
    for (int64_t e : shape) n *= e;
    std::uniform_real_distribution<double> u(low, high);
    for (int64_t i = 0; i < n; ++i) t.data.push_back(u(engine));
    return t;
  }
  Tensor run(NodeId node) {
    verify(g, {{node}}, "composition");
    std::vector<InputView> views;
    for (auto [is_float_input, k] : inputs)
      views.push_back({is_float_input ? static_cast<const void*>(floats[k].data())
                                      : static_cast<const void*>(integers[k].data())});
    const Array a = interpret(g, {{cast(g, node, DType::Float64)}}, views)[0];
    const auto values = a.as<double>();
    return {{a.shape.begin(), a.shape.end()}, {values.begin(), values.end()}};
  }
  void expect(NodeId node, const Values& expected, double tolerance = 1e-13) {
    const Tensor got = run(node);
    ASSERT_EQ(got.data.size(), expected.size());
    for (size_t i = 0; i < expected.size(); ++i) {
      if (std::isnan(expected[i])) {
        EXPECT_TRUE(std::isnan(got.data[i])) << "element " << i;
      } else if (std::isinf(expected[i])) {
        EXPECT_EQ(got.data[i], expected[i]) << "element " << i;
      } else {
        EXPECT_NEAR(got.data[i], expected[i], tolerance * (1 + std::fabs(expected[i])))
            << "element " << i;
      }
    }
  }
  void expect_map(NodeId (*f)(Graph&, NodeId), const Values& x, double (*plain)(double),
                  double tolerance = 1e-13) {
    Values expected;
    for (double v : x) expected.push_back(plain(v));
    expect(f(g, in(x)), expected, tolerance);
  }
};

}  // namespace coregrad::ops::testing
