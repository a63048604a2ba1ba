#include "compile/validate.h"

#include "base/checked.h"
#include "interp/interpreter.h"
#include "ir/print.h"
#include "kernel/index_expr.h"

#include <cmath>
#include <cstring>
#include <map>

namespace coregrad {
namespace {

template <class T>
double number(T x) {
  if constexpr (std::is_arithmetic_v<T>)
    return static_cast<double>(x);
  else
    return static_cast<double>(static_cast<float>(x));
}

template <class T>
std::string compare(std::span<const T> got, std::span<const T> expected, double relative,
                    double absolute) {
  double largest = 0;
  for (T v : expected)
    if (std::isfinite(number(v))) largest = std::max(largest, std::abs(number(v)));
  for (size_t i = 0; i < got.size(); ++i) {
    const double a = number(got[i]), b = number(expected[i]);
    if (a == b || (std::isnan(a) && std::isnan(b)) ||
        std::abs(a - b) <= relative * largest + absolute)
      continue;
    return fmt::format("element {}: got {}, expected {}", i, a, b);
  }
  return {};
}

template <class T>
std::span<const T> as(std::span<const std::byte> bytes) {
  return {reinterpret_cast<const T*>(bytes.data()), bytes.size() / sizeof(T)};
}

/// Dense copy of strided memory.
std::vector<std::byte> gather_dense(const void* memory, Shape shape, SymInts strides, int element) {
  const int64_t n = checked_numel(shape, "validate");
  std::vector<std::byte> dense(static_cast<size_t>(n * element));
  std::vector<SymInt> index(shape.size(), 0);
  for (int64_t i = 0; i < n; ++i) {
    int64_t place = 0;
    for (size_t d = 0; d < shape.size(); ++d) place += index[d] * strides[d];
    std::memcpy(dense.data() + i * element, static_cast<const std::byte*>(memory) + place * element,
                static_cast<size_t>(element));
    for (size_t d = shape.size(); d-- > 0;) {
      if (++index[d] < shape[d]) break;
      index[d] = 0;
    }
  }
  return dense;
}

/// Largest finite magnitude of a floating input; 0 for other dtypes.
double largest_magnitude(const Graph& graph, NodeId input, std::span<const InputView> inputs) {
  const DType dtype = graph.dtype(input);
  if (!is_float(dtype)) return 0;
  const SymInts attrs = graph.attrs(input);
  const std::vector<std::byte> dense =
      gather_dense(inputs[attrs[0]].data, graph.shape(input), attrs.subspan(1), size_of(dtype));
  double largest = 0;
  const auto scan = [&](auto values) {
    for (const auto v : values) {
      const double size = std::abs(number(v));
      if (std::isfinite(size)) largest = std::max(largest, size);
    }
  };
  if (dtype == DType::Float16)
    scan(as<Float16>(dense));
  else if (dtype == DType::BFloat16)
    scan(as<BFloat16>(dense));
  else if (dtype == DType::Float32)
    scan(as<float>(dense));
  else
    scan(as<double>(dense));
  return largest;
}

}  // namespace

std::string first_difference(DType dtype, std::span<const std::byte> got,
                             std::span<const std::byte> expected, double relative,
                             double absolute) {
  switch (dtype) {
    // One more rounding, which may fall to the other side.
    case DType::Float16:
      return compare(as<Float16>(got), as<Float16>(expected), relative + 0x1p-10, absolute);
    case DType::BFloat16:
      return compare(as<BFloat16>(got), as<BFloat16>(expected), relative + 0x1p-7, absolute);
    case DType::Float32:
      return compare(as<float>(got), as<float>(expected), relative, absolute);
    case DType::Float64:
      return compare(as<double>(got), as<double>(expected), relative, absolute);
    case DType::Int32:
      return compare(as<int32_t>(got), as<int32_t>(expected), 0, 0);
    case DType::Int64:
      return compare(as<int64_t>(got), as<int64_t>(expected), 0, 0);
    case DType::Int16:
      return compare(as<int16_t>(got), as<int16_t>(expected), 0, 0);
    case DType::Int8:
      return compare(as<int8_t>(got), as<int8_t>(expected), 0, 0);
    case DType::UInt16:
      return compare(as<uint16_t>(got), as<uint16_t>(expected), 0, 0);
    case DType::UInt32:
      return compare(as<uint32_t>(got), as<uint32_t>(expected), 0, 0);
    case DType::UInt8:
    case DType::Bool:
      return compare(as<uint8_t>(got), as<uint8_t>(expected), 0, 0);
  }
  COREGRAD_UNREACHABLE("dtype");
}

StepExpectation expectation(const Graph& graph, const std::vector<ArgumentMemory>& memory,
                            const std::vector<ArgumentMemory>& results) {
  StepExpectation step;
  std::map<uint32_t, NodeId> copied;
  for (const ArgumentMemory& m : memory) {
    if (copied.contains(m.node.value)) continue;
    std::vector<SymInt> attrs = {static_cast<int64_t>(step.inputs.size())};
    attrs.insert(attrs.end(), m.strides.begin(), m.strides.end());
    copied[m.node.value] =
        step.graph.intern(Op::Input, graph.dtype(m.node), graph.shape(m.node), {}, attrs);
    step.inputs.push_back({m.argument, m.start});
  }
  // What lies between, in index order.
  std::map<uint32_t, bool> needed;
  std::vector<NodeId> stack;
  for (const ArgumentMemory& r : results) stack.push_back(r.node);
  while (!stack.empty()) {
    const NodeId at = stack.back();
    stack.pop_back();
    if (copied.contains(at.value) || needed.contains(at.value)) continue;
    needed[at.value] = true;
    for (NodeId o : graph.operands(at)) stack.push_back(o);
  }
  for (const auto& [index, unused] : needed) {
    std::vector<NodeId> operands;
    for (NodeId o : graph.operands({index})) operands.push_back(copied.at(o.value));
    copied[index] = step.graph.intern(graph[{index}].op, graph.dtype({index}), graph.shape({index}),
                                      operands, graph.attrs({index}), graph[{index}].literal);
  }
  for (const ArgumentMemory& r : results)
    step.results.push_back({copied.at(r.node.value), r.argument, r.strides, r.start,
                            fmt::format("%{} = {} {}", r.node.value, name_of(graph[r.node].op),
                                        type_text(graph.dtype(r.node), graph.shape(r.node)))});
  return step;
}

void PlanValidator::after_step(const Plan& plan, size_t step, std::span<void* const> buffers) {
  const StepExpectation& expected = steps_[step];
  if (expected.results.empty()) return;
  std::vector<InputView> inputs;
  const auto memory = [&](size_t argument, int64_t start) {
    return static_cast<const std::byte*>(buffers[argument]) + start;
  };
  for (const auto& [argument, start] : expected.inputs) inputs.push_back({memory(argument, start)});
  bool any_single = false;
  double read = 1;
  for (uint32_t i = 0; i < expected.graph.size(); ++i) {
    any_single |= expected.graph.dtype({i}) == DType::Float32;
    if (expected.graph[{i}].op == Op::Input)
      read = std::max(read, largest_magnitude(expected.graph, {i}, inputs));
  }
  const double relative = any_single ? 1e-4 : 1e-9, absolute = (any_single ? 1e-6 : 1e-12) * read;
  std::vector<NodeId> roots;
  for (const StepExpectation::Result& r : expected.results) roots.push_back(r.node);
  const std::vector<Array> arrays = interpret(expected.graph, roots, inputs);
  for (size_t i = 0; i < arrays.size(); ++i) {
    const StepExpectation::Result& r = expected.results[i];
    const std::vector<std::byte> got =
        gather_dense(memory(r.argument, r.start), expected.graph.shape(r.node), r.strides,
                     size_of(arrays[i].dtype));
    const std::string difference =
        first_difference(arrays[i].dtype, got, arrays[i].data, relative, absolute);
    if (!difference.empty())
      raise<InternalError>("validate: step {} ({}) wrote a wrong result for {}: {}", step,
                           plan.steps[step].name, r.name, difference);
  }
}

}  // namespace coregrad
