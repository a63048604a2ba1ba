#include "runtime/library_steps.h"

#include "base/error.h"
#include "runtime/executor.h"

#include <gtest/gtest.h>

#include "team_size.h"
#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <limits>
#include <numeric>
#include <random>
#include <vector>

namespace coregrad {
namespace {

using Shape = std::vector<int64_t>;

int64_t numel(const Shape& shape) {
  return std::accumulate(shape.begin(), shape.end(), int64_t{1}, std::multiplies<>());
}

std::vector<int64_t> strides_of(const Shape& shape) {
  std::vector<int64_t> strides(shape.size(), 1);
  for (size_t d = shape.size(); d-- > 1;) strides[d - 1] = strides[d] * shape[d];
  return strides;
}

/// Coordinates of a row-major position.
Shape coordinates(int64_t at, const Shape& shape) {
  Shape c(shape.size());
  for (size_t d = shape.size(); d-- > 0;) {
    c[d] = at % shape[d];
    at /= shape[d];
  }
  return c;
}

int64_t offset(const Shape& at, const std::vector<int64_t>& strides) {
  return std::inner_product(at.begin(), at.end(), strides.begin(), int64_t{0});
}

/// The lines of a shape along a dimension, as offsets of their first elements.
struct AlongDimView {
  int64_t extent = 1, stride = 1;
  std::vector<int64_t> bases;

  AlongDimView(const Shape& shape, int64_t dim) {
    const auto strides = strides_of(shape);
    if (!shape.empty()) {
      extent = shape[static_cast<size_t>(dim)];
      stride = strides[static_cast<size_t>(dim)];
    }
    for (int64_t i = 0; i < numel(shape); ++i) {
      const Shape at = coordinates(i, shape);
      if (shape.empty() || at[static_cast<size_t>(dim)] == 0) bases.push_back(offset(at, strides));
    }
  }
};

/// Runs the step with buffers as inputs and outputs, alone and in as many pieces as possible by
/// four threads, and checks that both agree. `outputs` hold what the step finds in them.
template <class T>
void run_step(const LibraryStep& step, std::vector<const void*> inputs, std::vector<T>& output,
              bool output_first = false) {
  auto copy = std::make_unique<T[]>(output.size() + 1);
  std::copy(output.begin(), output.end(), copy.get());
  auto result = std::make_unique<T[]>(output.size() + 1);
  for (bool pieces : {false, true}) {
    const TeamSize size(pieces ? 4 : 1);
    Plan plan;
    plan.num_inputs = static_cast<int64_t>(inputs.size());
    plan.num_outputs = 1;
    std::vector<SlotId> args;
    for (size_t i = 0; i < inputs.size(); ++i) {
      plan.slots.push_back({SlotKind::Input, static_cast<int64_t>(i), 0});
      args.push_back({static_cast<uint32_t>(i)});
    }
    plan.slots.push_back({SlotKind::Output, 0, 0});
    args.insert(output_first ? args.begin() : args.end(),
                SlotId{static_cast<uint32_t>(inputs.size())});
    LibraryStep cut = step;
    cut.cost_ns = pieces ? 1e9 : 0;
    cut.chunk = pieces ? 1 : std::max<int64_t>(cut.range, 1);
    append(plan, cut, args, "test");
    T* target = pieces ? result.get() : copy.get();
    std::copy(output.begin(), output.end(), target);
    void* outputs[] = {target};
    run(plan, inputs, outputs);
  }
  EXPECT_EQ(std::memcmp(copy.get(), result.get(), output.size() * sizeof(T)), 0)
      << "depends on how the work is cut";
  std::copy(result.get(), result.get() + output.size(), output.begin());
}

template <class T>
constexpr Element element_of() {
  if constexpr (std::is_same_v<T, bool>)
    return Element::Bool;
  else if constexpr (std::is_same_v<T, int32_t>)
    return Element::Int32;
  else if constexpr (std::is_same_v<T, int64_t>)
    return Element::Int64;
  else if constexpr (std::is_same_v<T, float>)
    return Element::Float32;
  else
    return Element::Float64;
}

/// std::vector<bool> has no elements to point at.
template <class T>
std::vector<std::conditional_t<std::is_same_v<T, bool>, uint8_t, T>> random_values(int64_t n,
                                                                                   unsigned seed) {
  std::mt19937_64 random(seed);
  std::vector<std::conditional_t<std::is_same_v<T, bool>, uint8_t, T>> values(
      static_cast<size_t>(n));
  for (auto& v : values) {
    const auto r = static_cast<int64_t>(random() % 41) - 20;
    if constexpr (std::is_same_v<T, bool>) {
      v = r > 0;
    } else if constexpr (std::is_floating_point_v<T>) {
      v = r == 20    ? std::numeric_limits<T>::quiet_NaN()
          : r == -20 ? -std::numeric_limits<T>::infinity()
          : r == 0   ? static_cast<T>(random() % 2 ? 0.0 : -0.0)
                     : static_cast<T>(r) / 4;
    } else {
      v = static_cast<T>(random() % 5 == 0 ? random() : static_cast<uint64_t>(r));
    }
  }
  return values;
}

template <class T>
class LibrarySteps : public testing::Test {};
using ElementTypes = testing::Types<bool, int32_t, int64_t, float, double>;
TYPED_TEST_SUITE(LibrarySteps, ElementTypes);

struct LineCase {
  Shape shape;
  int64_t dim;
};
const LineCase kLines[] = {{{}, 0},        {{1}, 0},         {{7}, 0},         {{200}, 0},
                           {{5000}, 0},    {{3, 17}, 1},     {{3, 17}, 0},     {{4, 0, 3}, 1},
                           {{4, 0, 3}, 0}, {{2, 300, 5}, 1}, {{6, 33, 70}, 1}, {{2, 3, 40, 3}, 2},
                           {{130, 130}, 0}};

TYPED_TEST(LibrarySteps, ArgsortIsStableAndPutsNanLast) {
  using T = TypeParam;
  for (const LineCase& line : kLines)
    for (bool descending : {false, true}) {
      const int64_t n = numel(line.shape);
      const auto x = random_values<T>(n, 3);
      std::vector<int64_t> result(static_cast<size_t>(n), -1);
      run_step(make_argsort(element_of<T>(), line.shape, line.dim, descending), {x.data()}, result);
      const AlongDimView view(line.shape, line.dim);
      for (int64_t base : view.bases) {
        std::vector<int64_t> order(static_cast<size_t>(view.extent));
        std::iota(order.begin(), order.end(), 0);
        const auto less = [&](int64_t i, int64_t k) {
          const auto a = x[static_cast<size_t>(base + i * view.stride)];
          const auto b = x[static_cast<size_t>(base + k * view.stride)];
          const bool a_nan = a != a, b_nan = b != b;
          if (a_nan || b_nan) return !a_nan && b_nan;
          return a < b;
        };
        std::sort(order.begin(), order.end(), [&](int64_t i, int64_t k) {
          if (less(i, k) || less(k, i)) return descending ? less(k, i) : less(i, k);
          return i < k;
        });
        for (int64_t k = 0; k < view.extent; ++k)
          ASSERT_EQ(result[static_cast<size_t>(base + k * view.stride)],
                    order[static_cast<size_t>(k)]);
      }
    }
}

TYPED_TEST(LibrarySteps, ScansAccumulateAlongTheDimension) {
  using T = TypeParam;
  for (const LineCase& line : kLines)
    for (ScanKind kind : {ScanKind::Sum, ScanKind::Product}) {
      const int64_t n = numel(line.shape);
      auto x = random_values<T>(n, 4);
      if constexpr (std::is_floating_point_v<T>)
        for (auto& v : x)
          if (!std::isfinite(v) || kind == ScanKind::Product) v = v > 0 ? T(1.25) : T(-0.8);
      auto result = x;
      run_step(make_scan(kind, element_of<T>(), line.shape, line.dim), {x.data()}, result);
      const AlongDimView view(line.shape, line.dim);
      for (int64_t base : view.bases) {
        using Acc = std::conditional_t<std::is_floating_point_v<T>, double, T>;
        auto sum = static_cast<Acc>(kind == ScanKind::Product);
        for (int64_t k = 0; k < view.extent; ++k) {
          const auto at = static_cast<size_t>(base + k * view.stride);
          const auto value = static_cast<Acc>(x[at]);
          sum = kind == ScanKind::Sum ? element_add(sum, value) : element_mul(sum, value);
          ASSERT_EQ(static_cast<T>(result[at]), static_cast<T>(sum));
        }
      }
    }
}

struct ScatterCase {
  Shape shape, index_shape;
  int64_t dim;
  bool rows = false;  ///< the index is the same along all dimensions behind dim
};
const ScatterCase kScatters[] = {{{10}, {25}, 0},
                                 {{10}, {0}, 0},
                                 {{5, 6, 7}, {3, 20, 6}, 1},
                                 {{5, 6, 7}, {5, 6, 30}, 2},
                                 {{8, 6}, {50, 6}, 0},
                                 {{30000}, {20000}, 0},
                                 {{1000, 24}, {900, 24}, 0, true},
                                 {{3, 50, 4, 5}, {3, 70, 4, 5}, 1, true},
                                 {{2, 9, 1100}, {2, 20, 1100}, 1, true},
                                 {{100, 3}, {8000, 3}, 0},
                                 {{64, 5}, {64, 40}, 1}};

TYPED_TEST(LibrarySteps, ScatterCombinesInIndexOrder) {
  using T = TypeParam;
  for (const ScatterCase& s : kScatters)
    for (auto mode : {ScatterCombine::Set, ScatterCombine::Add, ScatterCombine::Mul,
                      ScatterCombine::Max, ScatterCombine::Min}) {
      const int64_t n = numel(s.index_shape);
      std::mt19937_64 random(5);
      auto index_strides = strides_of(s.index_shape);
      if (s.rows)
        for (size_t d = static_cast<size_t>(s.dim) + 1; d < s.shape.size(); ++d)
          index_strides[d] = 0;
      std::vector<int64_t> index(static_cast<size_t>(n));
      for (auto& i : index)
        i = static_cast<int64_t>(random() %
                                 static_cast<uint64_t>(s.shape[static_cast<size_t>(s.dim)]));
      const auto values = random_values<T>(n, 6);
      auto result = random_values<T>(numel(s.shape), 7);
      auto expected = result;
      const auto strides = strides_of(s.shape);
      for (int64_t i = 0; i < n; ++i) {
        const Shape at = coordinates(i, s.index_shape);
        Shape to = at;
        to[static_cast<size_t>(s.dim)] = index[static_cast<size_t>(offset(at, index_strides))];
        auto& element = expected[static_cast<size_t>(offset(to, strides))];
        const auto a = static_cast<T>(element), b = static_cast<T>(values[static_cast<size_t>(i)]);
        switch (mode) {
          case ScatterCombine::Set:
            element = b;
            break;
          case ScatterCombine::Add:
            element = element_add(a, b);
            break;
          case ScatterCombine::Mul:
            element = element_mul(a, b);
            break;
          case ScatterCombine::Max:
            element = a != a ? a : b != b ? b : std::max(a, b);
            break;
          case ScatterCombine::Min:
            element = a != a ? a : b != b ? b : std::min(a, b);
            break;
        }
      }
      ScatterSpec spec{element_of<T>(), mode, s.dim, s.shape, s.index_shape};
      if (s.rows) spec.index_strides = index_strides;
      run_step(make_scatter(spec), {index.data(), values.data()}, result, true);
      for (size_t i = 0; i < expected.size(); ++i) {
        const bool both_nan = expected[i] != expected[i] && result[i] != result[i];
        ASSERT_TRUE(both_nan || result[i] == expected[i])
            << "element " << i << " of case " << (&s - kScatters) << ", mode "
            << static_cast<int>(mode);
      }
    }
}

TEST(LibraryStep, ScatterReportsAnIndexOutOfRangeAndSkipsIt) {
  for (int64_t bad : {int64_t{-1}, int64_t{4}, INT64_MAX, INT64_MIN}) {
    const std::vector<int64_t> index{1, bad, 3};
    const std::vector<float> values{1, 2, 3};
    std::vector<float> result(4, 0);
    const Shape shape{4}, index_shape{3};
    const LibraryStep step =
        make_scatter({Element::Float32, ScatterCombine::Add, 0, shape, index_shape});
    EXPECT_THROW(run_step(step, {index.data(), values.data()}, result, true), IndexError);
  }
}

struct CopyCase {
  Shape shape;
  std::vector<int64_t> source, destination;
  int64_t source_offset = 0, destination_offset = 0;
};

template <class T>
void check_copy(const CopyCase& c) {
  std::vector<T> source(60000);
  for (size_t i = 0; i < source.size(); ++i) source[i] = static_cast<T>(i * 7 + 1);
  std::vector<T> result(60000, T{0}), expected(60000, T{0});
  for (int64_t i = 0; i < numel(c.shape); ++i) {
    const Shape at = coordinates(i, c.shape);
    expected[static_cast<size_t>(c.destination_offset + offset(at, c.destination))] =
        source[static_cast<size_t>(c.source_offset + offset(at, c.source))];
  }
  run_step(make_strided_copy({sizeof(T), c.shape, c.source, c.destination, c.source_offset,
                              c.destination_offset}),
           {source.data()}, result);
  EXPECT_EQ(result, expected);
}

TEST(LibraryStep, StridedCopyMovesEveryElement) {
  const CopyCase cases[] = {
      {{}, {}, {}},
      {{20000}, {1}, {1}},
      {{100}, {3}, {2}},
      {{100}, {0}, {1}},
      {{5, 0, 3}, {3, 3, 1}, {3, 3, 1}},
      {{150, 130}, {130, 1}, {130, 1}},
      {{150, 130}, {1, 150}, {130, 1}},                      // transposed source
      {{150, 130}, {130, 1}, {1, 150}},                      // transposed destination
      {{20, 30, 40}, {1, 20, 600}, {1200, 40, 1}},           // reversed dimensions
      {{4, 8, 10, 12}, {960, 1, 96, 8}, {960, 120, 12, 1}},  // channels last to first
      {{50, 60}, {-60, 1}, {60, 1}, 49 * 60},                // flipped
      {{50, 60}, {60, -1}, {1, 50}, 59},
      {{7, 50, 60}, {0, 60, 1}, {3000, 60, 1}},  // repeated
      {{30, 40}, {80, 2}, {41, 1}, 1, 7},
  };
  for (const CopyCase& c : cases) {
    check_copy<uint8_t>(c);
    check_copy<uint16_t>(c);
    check_copy<float>(c);
    check_copy<double>(c);
  }
}

TEST(LibraryStep, CopyAndFillWriteExactlyTheirBytes) {
  for (int64_t n : {0, 1, 100, 16384, 50001}) {
    std::vector<uint8_t> source(static_cast<size_t>(n));
    std::iota(source.begin(), source.end(), uint8_t{1});
    std::vector<uint8_t> result(static_cast<size_t>(n) + 3, 9);
    run_step(make_copy(n), {source.data()}, result);
    source.insert(source.end(), 3, 9);
    EXPECT_EQ(result, source);
    std::vector<float> filled(static_cast<size_t>(n) + 3, 9);
    run_step(make_fill(4, n, std::bit_cast<uint32_t>(2.5f)), {}, filled);
    std::vector<float> expected(static_cast<size_t>(n), 2.5f);
    expected.insert(expected.end(), 3, 9);
    EXPECT_EQ(filled, expected);
  }
}

TEST(LibraryStep, FloatSumsAreAsAccurateAsTheirResultType) {
  const int64_t n = 100000;
  const std::vector<float> x(static_cast<size_t>(n), 0.1f);
  std::vector<float> result(x.size());
  const Shape shape{n};
  run_step(make_scan(ScanKind::Sum, Element::Float32, shape, 0), {x.data()}, result);
  EXPECT_FLOAT_EQ(result.back(), static_cast<float>(0.1f * static_cast<double>(n)));
}

}  // namespace
}  // namespace coregrad
