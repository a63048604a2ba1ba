#include "interp/interpreter.h"

#include "base/checked.h"
#include "interp/kernels.h"
#include "ir/philox.h"

#include <algorithm>

namespace coregrad {
namespace interp {

Array make_array(DType dtype, Shape shape) {
  Array array;
  array.dtype = dtype;
  array.shape.assign(shape.begin(), shape.end());
  const int64_t numel = checked_numel(shape, "interpret");
  array.data.resize(static_cast<size_t>(checked_mul(numel, size_of(dtype), "interpret")));
  return array;
}

std::vector<int64_t> row_major(Shape sizes) {
  const std::span<const int64_t> shape = sizes.numbers();
  std::vector<int64_t> strides(shape.size());
  int64_t step = 1;
  for (size_t d = shape.size(); d-- > 0;) {
    strides[d] = step;
    // Huge extents beside a zero extent must not overflow: such strides are never used.
    step *= shape[d] > 0 ? shape[d] : 0;
  }
  return strides;
}

Fold fold_around(Shape shape, int64_t dim) {
  Fold fold;
  const auto at = static_cast<size_t>(dim);
  COREGRAD_CHECK(at < shape.size());
  for (const int64_t extent : shape)
    if (extent == 0) return {0, shape[at], 0};
  for (size_t d = 0; d < shape.size(); ++d)
    (d < at ? fold.outer : d == at ? fold.extent : fold.inner) *= shape[d];
  return fold;
}

namespace {

Array read_input(const Graph& graph, NodeId id, std::span<const InputView> inputs) {
  const SymInts attrs = graph.attrs(id);
  const int64_t number = attrs[0];
  if (number < 0 || static_cast<size_t>(number) >= inputs.size())
    raise<ValueError>("interpret: input {} is not bound: {} inputs were given", number,
                      inputs.size());
  Array out = make_array(graph.dtype(id), graph.shape(id));
  if (out.data.empty()) return out;
  const void* const from = inputs[number].data;
  if (from == nullptr) raise<ValueError>("interpret: input {} has no data", number);
  dispatch(out.dtype, [&](auto zero) {
    using T = decltype(zero);
    T* const to = out.as<T>().data();
    walk(out.shape, attrs.subspan(1), 0, [&](int64_t i, int64_t offset) {
      if constexpr (std::is_same_v<T, bool>)
        to[i] = static_cast<const uint8_t*>(from)[offset] != 0;  // any byte but 0 is true
      else
        to[i] = static_cast<const T*>(from)[offset];
    });
  });
  return out;
}

Array draw(const Graph& graph, NodeId id, const Array& seed_array) {
  Array out = make_array(graph.dtype(id), graph.shape(id));
  const auto seed = static_cast<uint64_t>(seed_array.as<int64_t>()[0]);
  const auto stream = static_cast<uint64_t>(graph.attr(id, 0));
  dispatch_computed(out.dtype, [&](auto zero) {
    using T = decltype(zero);
    const std::span<T> to = out.as<T>();
    for (size_t i = 0; i < to.size(); ++i) {
      if constexpr (std::is_same_v<T, float>)
        to[i] = philox::to_float(philox::bits32(seed, stream, i));
      else if constexpr (std::is_same_v<T, double>)
        to[i] = philox::to_double(philox::bits64(seed, stream, i));
      else if constexpr (std::is_same_v<T, int64_t>)
        to[i] = static_cast<int64_t>(philox::bits64(seed, stream, i));
      else if constexpr (std::is_same_v<T, int32_t>)
        to[i] = static_cast<int32_t>(philox::bits32(seed, stream, i));
      else
        to[i] = (philox::bits32(seed, stream, i) >> 31) != 0;
    }
  });
  return out;
}

}  // namespace

Array run_leaf(const Graph& graph, NodeId id, Operands operands,
               std::span<const InputView> inputs) {
  const Op op = graph[id].op;
  if (op == Op::Input) return read_input(graph, id, inputs);
  if (op == Op::Random) return draw(graph, id, *operands[0]);
  Array out = make_array(graph.dtype(id), graph.shape(id));
  dispatch(out.dtype, [&](auto zero) {
    using T = decltype(zero);
    const std::span<T> to = out.as<T>();
    if (op == Op::Iota) {
      if constexpr (!is_narrow_type<T>)
        for (size_t i = 0; i < to.size(); ++i) to[i] = static_cast<T>(i);
      return;
    }
    COREGRAD_CHECK(op == Op::Literal);  // a size is no number, so that nothing here knows it
    std::fill(to.begin(), to.end(), element_from<T>(graph.literal(id)));
  });
  return out;
}

}  // namespace interp

namespace {

Array run_node(const Graph& graph, NodeId id, interp::Operands operands,
               std::span<const InputView> inputs) {
  switch (family_of(graph[id].op)) {
    case Family::Leaf:
    case Family::Random:
      return interp::run_leaf(graph, id, operands, inputs);
    case Family::Unary:
    case Family::Binary:
    case Family::Compare:
    case Family::Select:
    case Family::Cast:
      return interp::run_elementwise(graph, id, operands);
    case Family::View:
      return interp::run_view(graph, id, operands);
    case Family::Reduce:
      return interp::run_reduce(graph, id, operands);
    case Family::Contract:
      return interp::run_contract(graph, id, operands);
    case Family::Gather:
      return interp::run_gather(graph, id, operands);
    case Family::Scatter:
      return interp::run_scatter(graph, id, operands);
    case Family::Scan:
      return interp::run_scan(graph, id, operands);
    case Family::Library:
      return interp::run_argsort(graph, id, operands);
    case Family::External:
      if (graph[id].op == Op::Iterate) return interp::run_iterate(graph, id, operands);
      raise<UnsupportedError>("interpret: external operation {} has no reference implementation",
                              graph.attr(id, 0));
  }
  COREGRAD_UNREACHABLE("family");
}

}  // namespace

std::vector<Array> interpret(const Graph& graph, std::span<const NodeId> roots,
                             std::span<const InputView> inputs) {
  std::vector<uint32_t> uses = count_uses(graph, roots);
  uint32_t end = 0;
  for (const NodeId root : roots) end = std::max(end, root.value + 1);

  std::vector<Array> values(end);
  std::vector<const Array*> operands;
  for (uint32_t i = 0; i < end; ++i) {
    if (uses[i] == 0) continue;
    const NodeId id{i};
    const std::span<const NodeId> ids = graph.operands(id);
    operands.clear();
    for (const NodeId operand : ids) operands.push_back(&values[operand.value]);
    values[i] = run_node(graph, id, operands, inputs);
    for (const NodeId operand : ids)
      if (--uses[operand.value] == 0) values[operand.value] = {};
  }

  std::vector<Array> results;
  results.reserve(roots.size());
  for (const NodeId root : roots) {
    if (--uses[root.value] == 0)
      results.push_back(std::move(values[root.value]));
    else
      results.push_back(values[root.value]);
  }
  return results;
}

}  // namespace coregrad
