#include "schedule/contract/operand.h"

#include "base/checked.h"

#include <algorithm>

namespace coregrad {

bool AffineOperand::depends_on(int64_t label) const {
  return coef[static_cast<size_t>(label)] != 0 || is_checked(label);
}

bool AffineOperand::is_checked(int64_t label) const {
  return std::any_of(checks.begin(), checks.end(),
                     [&](const CheckedDim& d) { return d.factor(label) != 0; });
}

std::vector<Segment> segments_of(const AffineOperand& operand, const FlatSpace& space,
                                 const std::vector<int64_t>& extents) {
  std::vector<Segment> segments;
  bool last_is_checked = false;
  for (const int64_t label : space.labels) {
    const int64_t extent = extents[static_cast<size_t>(label)];
    const int64_t coef = operand.coef[static_cast<size_t>(label)];
    const bool checked = operand.is_checked(label);
    if (!segments.empty() && !checked && !last_is_checked &&
        segments.back().coef == checked_mul(coef, extent, "contract")) {
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
