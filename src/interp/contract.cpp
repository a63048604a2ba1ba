// The generalised sum of products, straight from its definition.

#include "ir/contract.h"

#include "base/checked.h"
#include "interp/kernels.h"

namespace coregrad::interp {
namespace {

/// Offset of the element that the maps address for these label values, or -1 when the element
/// counts as zero.
int64_t element_offset(std::span<const DimMap> maps, Shape shape, SymInts strides, SymInts labels) {
  int64_t offset = 0;
  for (size_t d = 0; d < maps.size(); ++d) {
    const DimMap& m = maps[d];
    int64_t index = m.a * labels[m.u] + m.c;
    if (m.v >= 0) index += m.b * labels[m.v];
    if (m.s != 1) {
      if (floor_mod(index, m.s) != 0) return -1;
      index = floor_div(index, m.s);
    }
    if (index < 0 || index >= shape[d]) return -1;
    offset += index * strides[d];
  }
  return offset;
}

/// Steps the labels in `order` as an odometer, the last fastest; false after the last combination.
bool advance(SymInts order, SymInts extents, std::span<int64_t> labels) {
  for (size_t k = order.size(); k-- > 0;) {
    const auto label = static_cast<size_t>(order[k]);
    if (++labels[label] < extents[label]) return true;
    labels[label] = 0;
  }
  return false;
}

}  // namespace

Array run_contract(const Graph& graph, NodeId id, Operands operands) {
  const ContractSpec spec = ContractSpec::decode(graph.attrs(id));
  const Array &lhs = *operands[0], &rhs = *operands[1];
  Array out = make_array(graph.dtype(id), graph.shape(id));
  COREGRAD_CHECK(spec.lhs.size() == lhs.shape.size() && spec.rhs.size() == rhs.shape.size());
  std::vector<int64_t> summed;
  for (size_t label = 0; label < spec.extents.size(); ++label) {
    if (spec.extents[label] == 0) return out;  // no result elements, or sums over nothing
    if (spec.is_summed(static_cast<int64_t>(label))) summed.push_back(static_cast<int64_t>(label));
  }
  const std::vector<int64_t> lhs_strides = row_major(lhs.shape), rhs_strides = row_major(rhs.shape);

  dispatch_computed(out.dtype, [&](auto zero) {
    using T = decltype(zero);
    using C = CarrierOf<T>;
    const std::span<const T> a = lhs.as<T>(), b = rhs.as<T>();
    const std::span<T> to = out.as<T>();
    std::vector<int64_t> labels(spec.extents.size(), 0);
    size_t number = 0;
    do {
      C total = 0;
      do {
        const int64_t i = element_offset(spec.lhs, lhs.shape, lhs_strides, labels);
        if (i < 0) continue;
        const int64_t j = element_offset(spec.rhs, rhs.shape, rhs_strides, labels);
        if (j < 0) continue;
        total = plus<C>(total, times<C>(static_cast<C>(a[i]), static_cast<C>(b[j])));
      } while (advance(summed, spec.extents, labels));
      to[number++] = static_cast<T>(total);
    } while (advance(spec.out, spec.extents, labels));
  });
  return out;
}

}  // namespace coregrad::interp
