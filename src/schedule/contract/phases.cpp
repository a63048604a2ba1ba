#include "schedule/contract/phases.h"

#include "base/checked.h"

#include <algorithm>
#include <map>
#include <optional>

namespace coregrad {
namespace {

constexpr int64_t kMostPhases = 16;

/// label = step * label' + offset, everywhere; 0 <= offset < step.
void substitute_label(ContractKernel& kernel, int64_t label, int64_t step, int64_t offset) {
  SymInt& extent = kernel.spec.extents[label];
  extent = floor_div(extent + (step - 1 - offset), step);
  for (std::vector<DimMap>* maps : {&kernel.spec.lhs, &kernel.spec.rhs}) {
    for (DimMap& map : *maps) {
      for (auto [used, factor] : {std::pair{map.u, &map.a}, std::pair{map.v, &map.b}}) {
        if (used != label) continue;
        map.c = checked_add(map.c, checked_mul(*factor, offset, "contract"), "contract");
        *factor = checked_mul(*factor, step, "contract");
      }
    }
  }
  const auto place = std::find(kernel.spec.out.begin(), kernel.spec.out.end(), label);
  if (place == kernel.spec.out.end()) return;
  LoopKernel& epilogue = kernel.epilogue;
  const int axis = static_cast<int>(place - kernel.spec.out.begin());
  epilogue.axes[axis].extent = extent;
  IndexContext& context = epilogue.context;
  const std::map<int, IndexExpr> replacement = {
      {axis, context.add(context.mul(context.axis(axis, max(extent, 1)), step),
                         IndexContext::constant(offset))}};
  for (KernelValue& value : epilogue.values)
    value.index = context.substitute(value.index, replacement);
  for (KernelStore& store : epilogue.stores)
    store.index = context.substitute(store.index, replacement);
}

/// A dimension that divides by s, by an output label and at most one summed label.
struct Division {
  bool in_rhs = false;
  size_t dim = 0;
  int64_t out_label = 0, out_factor = 0;
  int64_t sum_label = -1, sum_factor = 0;
  std::vector<int64_t> sum_phase;  ///< for each remainder of the output label; -1: nothing is hit
};

/// The first division by at most `most`.
std::optional<Division> find_division(const ContractKernel& kernel, int64_t most) {
  const ContractSpec& spec = kernel.spec;
  for (const bool in_rhs : {false, true}) {
    const std::vector<DimMap>& maps = in_rhs ? spec.rhs : spec.lhs;
    for (size_t d = 0; d < maps.size(); ++d) {
      const DimMap& map = maps[d];
      if (map.s == 1 || map.s > most || map.u == map.v) continue;
      Division found;
      found.in_rhs = in_rhs, found.dim = d;
      bool fits = true;
      int outputs = 0;
      for (const auto& [label, factor] : {std::pair{map.u, map.a}, std::pair{map.v, map.b}}) {
        if (label < 0) continue;
        if (spec.is_summed(label)) {
          fits = fits && found.sum_label < 0;
          found.sum_label = label, found.sum_factor = factor;
        } else {
          ++outputs;
          found.out_label = label, found.out_factor = factor;
        }
      }
      if (!fits || outputs != 1) continue;
      const int64_t sum_extent =
          found.sum_label < 0 ? 1 : spec.extents[found.sum_label].specialized();
      const int64_t s = map.s;
      for (int64_t r = 0; r < s && fits; ++r) {
        found.sum_phase.push_back(-1);
        for (int64_t q = 0; q < std::min(s, sum_extent); ++q) {
          if (floor_mod(found.out_factor * r + found.sum_factor * q + map.c, s) != 0) continue;
          // A second remainder would need two sums for one output.
          if (found.sum_phase.back() >= 0) fits = false;
          found.sum_phase.back() = q;
        }
      }
      if (fits) return found;
    }
  }
  return std::nullopt;
}

}  // namespace

std::vector<ContractKernel> split_phases(const ContractKernel& kernel, const Target& target) {
  // For less, one more kernel costs more than it saves.
  if (kernel.spec.work() < target.thresholds.contract_phase) return {kernel};
  std::vector<ContractKernel> whole = {kernel};
  for (;;) {
    const int64_t most = kMostPhases / static_cast<int64_t>(whole.size());
    if (!find_division(whole.front(), most)) break;
    // All kernels of the list have the same maps but for constants, and so the same division.
    std::vector<ContractKernel> parts;
    for (const ContractKernel& each : whole) {
      const std::optional<Division> own = find_division(each, most);
      if (!own) return {kernel};
      const int64_t s = (own->in_rhs ? each.spec.rhs : each.spec.lhs)[own->dim].s;
      for (int64_t r = 0; r < s; ++r) {
        ContractKernel part = each;
        substitute_label(part, own->out_label, s, r);
        if (part.spec.extents[own->out_label].is_identical(0)) continue;
        const int64_t q = own->sum_phase[r];
        DimMap& map = (own->in_rhs ? part.spec.rhs : part.spec.lhs)[own->dim];
        if (q < 0) {
          // No product: an empty sum. The map must not divide any more, but is never used.
          if (own->sum_label < 0) return {kernel};
          part.spec.extents[own->sum_label] = 0;
          map = {map.u, map.v, 0, 0, 0, 1};
        } else {
          if (own->sum_label >= 0) substitute_label(part, own->sum_label, s, q);
          // substitute_label moved into `map`, which divides evenly now.
          DimMap& even = (own->in_rhs ? part.spec.rhs : part.spec.lhs)[own->dim];
          even = {even.u, even.v, even.a / s, even.b / s, even.c / s, 1};
        }
        parts.push_back(std::move(part));
      }
    }
    whole = std::move(parts);
  }
  return whole;
}

}  // namespace coregrad
