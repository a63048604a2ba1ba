// Structures that differ in sizes and literals: what their sizes are found to be, and that one plan
// serves them, with the interpreter's results.

#include "tensor/structure_family.h"

#include "coregrad/coregrad.h"
#include "interp/interpreter.h"
#include "tensor/state.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <map>
#include <ostream>
#include <set>
#include <string>
#include <vector>

namespace coregrad {
namespace {

/// The pending computation of some tensors, apart from them.
struct Recorded {
  explicit Recorded(const std::vector<Tensor>& tensors) {
    Session& session = Session::global();
    const Session::Lock lock(session);
    std::vector<NodeId> roots;
    for (const Tensor& t : tensors) roots.push_back(node_of(t, "test"));
    const auto known = [](NodeId) { return std::optional<int64_t>(); };
    const auto identity = [&](int64_t id) -> const void* { return session.buffer(id).get(); };
    structure = extract_structure(session.graph(), roots, known, identity);
    for (const int64_t id : structure.inputs) inputs.push_back(session.buffer(id));
  }

  std::vector<Array> interpreted() const {
    const StandaloneGraph alone = rebuild_structure(structure.key);
    std::vector<InputView> views;
    for (const auto& buffer : inputs) views.push_back({buffer->data()});
    return interpret(alone.graph, alone.roots, views);
  }

  Structure structure;
  std::vector<std::shared_ptr<Buffer>> inputs;
};

double element(const Array& a, int64_t i) {
  const void* at = a.data.data() + i * size_of(a.dtype);
  switch (a.dtype) {
    case DType::Float32:
      return *static_cast<const float*>(at);
    case DType::Int64:
      return static_cast<double>(*static_cast<const int64_t*>(at));
    case DType::Bool:
      return *static_cast<const uint8_t*>(at);
    default:
      ADD_FAILURE() << "dtype";
      return 0;
  }
}

using Program = std::function<std::vector<Tensor>(const Dims&)>;

/// Runs the program for these sizes; its results must be the interpreter's.
void check(const Program& program, const Dims& sizes) {
  const std::vector<Tensor> results = program(sizes);
  const std::vector<Array> expected = Recorded(results).interpreted();
  realize(results);
  for (size_t r = 0; r < results.size(); ++r) {
    const std::vector<double> values = results[r].to_vector<double>();
    ASSERT_EQ(static_cast<int64_t>(values.size()), expected[r].numel());
    for (size_t i = 0; i < values.size(); ++i) {
      const double want = element(expected[r], static_cast<int64_t>(i));
      ASSERT_NEAR(values[i], want, 1e-4 * std::max(1.0, std::abs(want)))
          << "result " << r << ", element " << i << ", first size " << sizes[0];
    }
  }
}

/// How many plans were compiled for the program at all of these sizes.
int64_t plans_for(const Program& program, const std::vector<Dims>& all) {
  for (const Dims& sizes : all) program(sizes);  // makes what is read
  const int64_t before = session_stats().plans_compiled;
  for (const Dims& sizes : all) check(program, sizes);
  return session_stats().plans_compiled - before;
}

Tensor data(const Dims& shape) { return randn(shape).realize(); }

struct Case {
  std::string name;
  Program program;
  std::vector<Dims> sizes;
  int64_t plans = 2;
};

class FamilyOf : public testing::TestWithParam<Case> {};

TEST_P(FamilyOf, IsServedByOnePlanAfterTheSecond) {
  const Case& c = GetParam();
  EXPECT_LE(plans_for(c.program, c.sizes), c.plans);
}

const std::vector<Dims> kBatches = {{7}, {16}, {33}, {5}, {64}, {100}, {2}, {17}};
const std::vector<Dims> kPairs = {{3, 7}, {4, 10}, {8, 5}, {2, 33}, {16, 16}, {31, 3}};

/// Tensors of which each is the same for each test, so that no plan makes them meanwhile.
Tensor kept(const Dims& shape) {
  static std::map<Dims, Tensor> all;
  Tensor& t = all[shape];
  if (!t.is_defined()) t = data(shape);
  return t;
}

std::vector<Tensor> gradients(const ScalarFunction& f, const std::vector<Tensor>& arguments) {
  ValueAndGrad result = value_and_grad(f, arguments);
  result.gradients.push_back(result.value);
  return result.gradients;
}

const Case kCases[] = {
    {"elementwise",
     [](const Dims& n) -> std::vector<Tensor> { return {exp(kept({n[0]})) * 2.0 + kept({n[0]})}; },
     kBatches},
    {"normalised",
     [](const Dims& n) -> std::vector<Tensor> {
       const Tensor x = kept({n[0], 24});
       return {softmax(x, -1), layer_norm(x, {24}), mean(x, {0})};
     },
     kBatches},
    {"perceptron_gradient",
     [](const Dims& n) {
       const Tensor x = kept({n[0], 12});
       return gradients(
           [&](std::span<const Tensor> w) {
             return mean(square(linear(relu(linear(x, w[0])), w[1])));
           },
           {kept({20, 12}), kept({4, 20})});
     },
     kBatches},
    {"merged_dimensions",
     [](const Dims& n) -> std::vector<Tensor> {
       const Tensor x = kept({n[0], n[1], 6});
       const Tensor flat = reshape(x, {n[0] * n[1], 6});
       return {reshape(matmul(flat, kept({6, 8})), {n[0], n[1], 2, 4}) * 3.0};
     },
     kPairs},
    {"attention",
     [](const Dims& n) -> std::vector<Tensor> {
       const Tensor x = kept({n[0], n[1], 16});
       const auto heads = [&](const Tensor& w) {
         return permute(reshape(linear(x, w), {n[0], n[1], 2, 8}), {0, 2, 1, 3});
       };
       const Tensor y = scaled_dot_product_attention(heads(kept({16, 16})), heads(kept({16, 16})),
                                                     heads(kept({16, 16})));
       return {reshape(permute(y, {0, 2, 1, 3}), {n[0], n[1], 16})};
     },
     kPairs},
    {"grown_cache",
     [](const Dims& n) -> std::vector<Tensor> {
       const Tensor parts[] = {kept({2, n[0], 8}), kept({2, 3, 8})};
       const Tensor all = concat(parts, 1);
       return {all, sum(slice(all, 1, 1, n[0] + 2), {1})};
     },
     kBatches},
    {"padded",
     [](const Dims& n) -> std::vector<Tensor> {
       return {pad(kept({n[0], n[1]}), {1, 0}, {2, n[0]}, 0.5), flip(kept({n[0], n[1]}), {0})};
     },
     kPairs},
    {"images",
     [](const Dims& n) {
       const Tensor x = kept({2, 3, n[0], n[1]});
       return gradients(
           [&](std::span<const Tensor> w) {
             const Tensor y = conv(x, w[0], {}, {.stride = {2}, .padding = {1}});
             return sum(square(avg_pool(relu(y), {.kernel = {2, 2}})));
           },
           {kept({5, 3, 3, 3})});
     },
     {{9, 12},
      {14, 17},
      {8, 8},
      {31, 20},
      {12, 9},
      {13, 16},
      {17, 21},
      {32, 32},
      {15, 40},
      {33, 13},
      {20, 20},
      {41, 37},
      {64, 31},
      {16, 12}},
     8},  // odd rests are cut off
    {"gathered",
     [](const Dims& n) -> std::vector<Tensor> {
       static std::map<int64_t, Tensor> rows;
       Tensor& at = rows[n[0]];
       if (!at.is_defined()) at = randint(0, 50, {n[0]}).realize();
       return {embedding(at, kept({50, 6})), cumsum(kept({n[0], 3}), 0)};
     },
     kBatches, 6},  // a cumulative sum has as many steps as doubling needs
};

void PrintTo(const Case& c, std::ostream* out) { *out << c.name; }

INSTANTIATE_TEST_SUITE_P(Programs, FamilyOf, testing::ValuesIn(kCases),
                         [](const auto& info) { return info.param.name; });

TEST(StructureFamily, LiteralsThatDifferAreReadFromMemory) {
  const auto program = [](const Dims& n) -> std::vector<Tensor> {
    const auto t = static_cast<double>(n[0]);
    return {kept({9}) * (t + 0.5) - t, cast(kept({9}), DType::Int64) * n[0]};
  };
  EXPECT_LE(plans_for(program, {{11}, {-4}, {5}, {3}, {1 << 20}}), 2);
}

TEST(StructureFamily, SizesOfZeroAndOneHavePlansOfTheirOwn) {
  const auto program = [](const Dims& n) -> std::vector<Tensor> {
    return {sum(kept({n[0], 3}) + kept({3}), {0}), kept({n[0], 3}) * kept({n[0], 1})};
  };
  EXPECT_LE(plans_for(program, {{4}, {6}, {1}, {0}, {9}, {1}, {0}, {21}}), 4);
}

TEST(StructureFamily, SizesThatWereEqualByChanceAreToldApart) {
  const auto program = [](const Dims& n) -> std::vector<Tensor> {
    return {matmul(kept({n[0], 4}), kept({4, n[1]})) + 1.0};
  };
  EXPECT_LE(plans_for(program, {{8, 8}, {12, 12}, {8, 12}, {5, 40}, {33, 2}, {6, 6}}), 3);
}

TEST(StructureFamily, AWrongGuessServesNobody) {
  // Half of it, as far as two members tell; then something else.
  const auto program = [](const Dims& n) -> std::vector<Tensor> {
    return {sum(slice(kept({n[0]}), 0, 0, n[1])) * 2.0};
  };
  plans_for(program, {{8, 4}, {12, 6}, {20, 7}, {30, 29}, {21, 3}, {9, 5}, {40, 20}});
}

TEST(StructureFamily, BackwardKeepsWhatItReadsForEachSetOfSizes) {
  const nn::Linear first(6, 10), second(10, 3);
  int64_t compiled = 0;
  for (const int64_t n : {8, 12, 5, 31, 64}) {
    const Tensor x = data({n, 6}), target = data({n, 3});
    const auto loss_of = [&] { return mse_loss(second(tanh(first(x))), target); };
    if (n == 5) compiled = session_stats().plans_compiled;
    for (const Tensor& p : {first.weight, first.bias, second.weight}) p.zero_grad();
    loss_of().realize().backward();
    realize({first.weight.grad(), first.bias.grad(), second.weight.grad()});
    const ValueAndGrad again = value_and_grad(
        [&](std::span<const Tensor> w) {
          return mse_loss(linear(tanh(linear(x, w[0], first.bias)), second.weight, second.bias),
                          target);
        },
        std::vector<Tensor>{first.weight});
    const std::vector<float> one = first.weight.grad().to_vector<float>(),
                             other = again.gradients[0].to_vector<float>();
    for (size_t i = 0; i < one.size(); ++i) EXPECT_NEAR(one[i], other[i], 1e-5);
  }
  EXPECT_EQ(session_stats().plans_compiled, compiled);
}

/// What is found for the sizes of a recorded program, by the sizes of several.
std::set<std::string> sizes_of(const Program& program, const std::vector<Dims>& members) {
  std::vector<OwnValues> values;
  std::vector<int64_t> key;
  for (const Dims& sizes : members) {
    key = Recorded(program(sizes)).structure.key;
    values.push_back(SplitKey(key).values);
  }
  std::set<std::string> texts;
  for (const SymInt size : generalize(key, SplitKey(key), values).sizes)
    texts.insert(size.to_text());
  return texts;
}

TEST(GeneralSizes, AreExpressionsOfTheInputsSizes) {
  const Program merged = [](const Dims& n) -> std::vector<Tensor> {
    return {reshape(kept({n[0], n[1]}), {n[0] * n[1]}) * 1.5};
  };
  EXPECT_TRUE(sizes_of(merged, {{3, 7}, {4, 9}}).contains("n0*n1"));
  const Program halves = [](const Dims& n) -> std::vector<Tensor> {
    return {slice(kept({n[0]}), 0, 1, n[0], 2)};
  };
  EXPECT_EQ(sizes_of(halves, {{9}, {14}}), (std::set<std::string>{"2", "n0", "((n0) // (2))"}));
}

TEST(GeneralSizes, AreSymbolsWhereNothingTellsThem) {
  const Program start = [](const Dims& n) -> std::vector<Tensor> {
    return {slice(kept({n[0]}), 0, 0, n[1])};
  };
  EXPECT_EQ(sizes_of(start, {{14, 2}, {15, 4}, {16, 2}}), (std::set<std::string>{"n0", "n1"}));
}

}  // namespace
}  // namespace coregrad
