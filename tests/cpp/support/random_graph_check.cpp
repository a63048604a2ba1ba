// The twin in float64, with and without noise, and the comparison of results against it.

#include "base/error.h"
#include "ops/primitives.h"

#include "random_graph.h"
#include <algorithm>
#include <cmath>
#include <limits>

namespace coregrad {
namespace {

/// The one table of tolerances: noise of a rounded result, relative; and how many times what noise
/// does a result may deviate. The noise leaves room for functions that are right to a few ulp.
struct Tolerance {
  double noise;
  double factor;
};
Tolerance tolerance_of(DType dtype) {
  switch (dtype) {
    case DType::Float16:
      return {0x1p-11, 8};
    case DType::BFloat16:
      return {0x1p-8, 8};
    case DType::Float32:
      return {4 * 0x1p-24, 16};
    case DType::Float64:
      return {8 * 0x1p-53, 16};
    case DType::Bool:
    case DType::Int32:
    case DType::Int64:
    case DType::Int8:
    case DType::UInt8:
    case DType::Int16:
    case DType::UInt16:
    case DType::UInt32:
      return {0, 0};
  }
  COREGRAD_UNREACHABLE("dtype");
}
constexpr int kNoisyRuns = 4;

/// True where a correct program's result carries a rounding error of its own.
bool rounds(const Graph& graph, NodeId id) {
  const Op op = graph[id].op;
  if (!is_float(graph.dtype(id))) return false;
  switch (family_of(op)) {
    case Family::Unary:
      return op != Op::Detach && op != Op::Neg && op != Op::Abs && op != Op::Sign &&
             op != Op::Floor && op != Op::Ceil && op != Op::Round && op != Op::Trunc;
    case Family::Binary:
      return op != Op::Max && op != Op::Min;
    case Family::Reduce:
      return op == Op::Sum || op == Op::Prod;
    case Family::Contract:
    case Family::Scan:
      return true;
    case Family::Cast:
      return graph.dtype(id) != DType::Float64;
    case Family::Scatter:
      return static_cast<ScatterMode>(graph.attr(id, 1).number()) == ScatterMode::Add ||
             static_cast<ScatterMode>(graph.attr(id, 1).number()) == ScatterMode::Mul;
    case Family::Leaf:
    case Family::Random:
    case Family::Compare:
    case Family::Select:
    case Family::View:
    case Family::Gather:
    case Family::Library:
    case Family::External:
      return false;
  }
  COREGRAD_UNREACHABLE("family");
}

/// Sums err by their terms' magnitudes, not by their result's.
bool adds_terms(const Graph& graph, NodeId id) {
  const Op op = graph[id].op;
  return op == Op::Sum || op == Op::Contract || op == Op::CumSum ||
         (op == Op::Scatter &&
          static_cast<ScatterMode>(graph.attr(id, 1).number()) == ScatterMode::Add);
}

DType widened(DType dtype) { return is_float(dtype) ? DType::Float64 : dtype; }

/// The outputs' twins in a new graph; with noise (and its seed) added, or none.
std::vector<NodeId> make_twin(const RandomGraph& random, Graph& twin, bool noisy, int64_t seed) {
  const Graph& from = random.graph;
  const std::vector<bool> live = mark_live(from, random.outputs);
  const NodeId seed_node = ops::literal(twin, Scalar::of_int(DType::Int64, seed));
  std::vector<NodeId> moved(from.size());
  for (uint32_t i = 0; i < from.size(); ++i) {
    if (!live[i]) continue;
    const NodeId id{i};
    const Node& node = from[id];
    const DType dtype = widened(node.dtype);
    std::vector<NodeId> operands, magnitudes;
    for (const NodeId o : from.operands(id)) operands.push_back(moved[o.value]);
    const bool keeps_bits = node.op == Op::Input || node.op == Op::Random;
    NodeId made = twin.intern(node.op, keeps_bits ? node.dtype : dtype, from.shape(id), operands,
                              from.attrs(id), node.literal);
    if (keeps_bits && is_narrow(node.dtype))
      made = twin.intern(Op::Cast, DType::Float32, from.shape(id), {{made}});
    if (keeps_bits && dtype != node.dtype)
      made = twin.intern(Op::Cast, dtype, from.shape(id), {{made}});
    if (noisy && rounds(from, id)) {
      NodeId scale = made;
      if (adds_terms(from, id)) {
        for (const NodeId o : operands)
          magnitudes.push_back(is_float(twin.dtype(o)) ? ops::unary(twin, Op::Abs, o) : o);
        scale = twin.intern(node.op, dtype, from.shape(id), magnitudes, from.attrs(id));
      }
      // Subnormals of float16 are rounded to multiples of 2^-24.
      if (node.dtype == DType::Float16)
        scale = ops::add(twin, ops::unary(twin, Op::Abs, scale),
                         ops::literal(twin, DType::Float64, 0x1p-14));
      const double noise = tolerance_of(node.dtype).noise;
      const NodeId uniform =
          ops::random(twin, seed_node, DType::Float64, from.shape(id), static_cast<int64_t>(i));
      const NodeId factor =
          ops::add(twin, ops::mul(twin, uniform, ops::literal(twin, DType::Float64, 2 * noise)),
                   ops::literal(twin, DType::Float64, -noise));
      made = ops::add(twin, made, ops::mul(twin, scale, factor));
    }
    moved[i] = made;
  }
  std::vector<NodeId> outputs;
  for (const NodeId o : random.outputs) outputs.push_back(moved[o.value]);
  return outputs;
}

std::vector<Array> run_twin(const RandomGraph& random, bool noisy, int64_t seed) {
  Graph twin;
  const std::vector<NodeId> outputs = make_twin(random, twin, noisy, seed);
  return interpret(twin, outputs, random.inputs());
}

double element(const Array& array, size_t i) {
  if (array.dtype == DType::Float16) return static_cast<float>(array.as<Float16>()[i]);
  if (array.dtype == DType::BFloat16) return static_cast<float>(array.as<BFloat16>()[i]);
  return array.dtype == DType::Float32 ? static_cast<double>(array.as<float>()[i])
                                       : array.as<double>()[i];
}

}  // namespace

Expected expected_results(const RandomGraph& random) {
  Expected expected;
  expected.values = run_twin(random, false, 0);
  expected.tolerance.assign(random.outputs.size(), 0);
  for (int run = 0; run < kNoisyRuns; ++run) {
    const std::vector<Array> noisy = run_twin(random, true, 1000 + run);
    for (size_t k = 0; k < noisy.size(); ++k) {
      const Array& value = expected.values[k];
      if (!is_float(value.dtype)) continue;
      const Tolerance t = tolerance_of(random.graph.dtype(random.outputs[k]));
      double& allowed = expected.tolerance[k];
      for (size_t i = 0; i < value.as<double>().size(); ++i) {
        const double want = value.as<double>()[i];
        if (!std::isfinite(want)) continue;
        const double moved = std::fabs(noisy[k].as<double>()[i] - want);
        // A value at the edge of finite: noise took it over, so nothing can be said.
        if (!std::isfinite(moved)) allowed = std::numeric_limits<double>::infinity();
        allowed = std::max({allowed, t.factor * moved, t.factor * t.noise / 4 * std::fabs(want)});
      }
    }
  }
  // The last rounding of a tiny result is absolute.
  for (size_t k = 0; k < expected.tolerance.size(); ++k)
    if (is_float(expected.values[k].dtype)) expected.tolerance[k] += 1e-37;
  return expected;
}

std::string first_mismatch(const RandomGraph& random, const Expected& expected,
                           std::span<const Array> results) {
  if (results.size() != random.outputs.size())
    return fmt::format("seed {}: {} results for {} outputs", random.seed, results.size(),
                       random.outputs.size());
  for (size_t k = 0; k < results.size(); ++k) {
    const Array &got = results[k], &want = expected.values[k];
    const NodeId output = random.outputs[k];
    const std::string where =
        fmt::format("seed {}, output {} (%{} {} {})", random.seed, k, output.value,
                    name_of(random.graph[output].op), ops::describe(random.graph, output));
    if (got.dtype != random.graph.dtype(output) || got.shape != want.shape)
      return where + ": another dtype or shape";
    if (!is_float(got.dtype)) {
      if (got.data == want.data) continue;
      const auto [a, b] = std::mismatch(got.data.begin(), got.data.end(), want.data.begin());
      return fmt::format("{}: element {} differs", where,
                         (a - got.data.begin()) / size_of(got.dtype));
    }
    for (size_t i = 0; i < static_cast<size_t>(got.numel()); ++i) {
      const double a = element(got, i), b = want.as<double>()[i];
      if (std::isnan(b) ? std::isnan(a) : a == b || std::fabs(a - b) <= expected.tolerance[k])
        continue;
      // Infinities of float64 may be overflows of float32 and the other way round at the edge only.
      return fmt::format("{}: element {} is {}, expected {} within {}", where, i, a, b,
                         expected.tolerance[k]);
    }
  }
  return {};
}

}  // namespace coregrad
