#include "schedule/contract/operand.h"

#include "base/checked.h"

#include <algorithm>

namespace coregrad {

bool AffineOperand::depends_on(int64_t label) const {
  return !is_always(coef[label], 0) || is_checked(label);
}

bool AffineOperand::is_checked(int64_t label) const {
  return std::any_of(checks.begin(), checks.end(),
                     [&](const CheckedDim& d) { return d.factor(label) != 0; });
}

AffineOperand affine_operand(const ContractOperand& operand, DType dtype,
                             const std::vector<DimMap>& maps, const std::vector<SymInt>& sizes) {
  AffineOperand form;
  form.memory = operand.memory.value_or(dtype);
  form.base = operand.offset;
  form.coef.assign(sizes.size(), 0);
  for (size_t d = 0; d < maps.size(); ++d) {
    const DimMap& map = maps[d];
    const SymInt extent = operand.shape[d], stride = operand.strides[d];
    CheckedDim dim;
    dim.c = map.c, dim.s = map.s, dim.extent = extent, dim.stride = stride;
    const auto put = [&](int64_t label, int64_t factor) {
      if (label < 0 || factor == 0 || is_always(sizes[label], 1) || is_always(sizes[label], 0))
        return;
      if (dim.u < 0 || dim.u == label) {
        dim.u = label, dim.a = checked_add(dim.a, factor, "contract");
      } else {
        dim.v = label, dim.b = factor;
      }
    };
    put(map.u, map.a);
    put(map.v, map.b);
    if (dim.s > 1 && dim.a % dim.s == 0 && dim.b % dim.s == 0 && dim.c % dim.s == 0)
      dim.a /= dim.s, dim.b /= dim.s, dim.c /= dim.s, dim.s = 1;
    const auto [low, high] = index_range(
        {std::max<int64_t>(dim.u, 0), dim.v, dim.u < 0 ? 0 : dim.a, dim.b, dim.c, 1}, sizes);
    const bool can_leave = !SymInt::is_at_most(0, low) ||
                           !SymInt::is_at_most(high, checked_mul(extent, dim.s, "contract"));
    if (dim.s == 1) {
      form.base = checked_add(form.base, checked_mul(stride, dim.c, "contract"), "contract");
      for (const auto& [label, factor] : {std::pair{dim.u, dim.a}, std::pair{dim.v, dim.b}}) {
        if (label < 0) continue;
        SymInt& coef = form.coef[label];
        coef = checked_add(coef, checked_mul(stride, factor, "contract"), "contract");
      }
    }
    if (dim.s > 1 || can_leave) form.checks.push_back(dim);
  }
  return form;
}

std::vector<Segment> segments_of(const AffineOperand& operand, const FlatSpace& space,
                                 const std::vector<SymInt>& sizes) {
  std::vector<Segment> segments;
  bool last_is_checked = false;
  for (const int64_t label : space.labels) {
    const SymInt extent = sizes[label], coef = operand.coef[label];
    const bool checked = operand.is_checked(label);
    if (!segments.empty() && !checked && !last_is_checked &&
        SymInt::are_equal(segments.back().coef, checked_mul(coef, extent, "contract"))) {
      segments.back() = {segments.back().extent * extent, coef, -1};
    } else {
      segments.push_back({extent, coef, label});
    }
    last_is_checked = checked;
  }
  if (segments.empty()) segments.push_back({});
  return segments;
}

}  // namespace coregrad
