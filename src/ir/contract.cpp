#include "ir/contract.h"

#include "base/checked.h"

#include <algorithm>

namespace coregrad {

std::vector<SymInt> ContractSpec::encode() const {
  std::vector<SymInt> code = {static_cast<int64_t>(extents.size()),
                              static_cast<int64_t>(lhs.size()), static_cast<int64_t>(rhs.size())};
  code.insert(code.end(), extents.begin(), extents.end());
  for (const std::vector<DimMap>* maps : {&lhs, &rhs})
    for (const DimMap& m : *maps) code.insert(code.end(), {m.u, m.v, m.a, m.b, m.c, m.s});
  code.insert(code.end(), out.begin(), out.end());
  return code;
}

ContractSpec ContractSpec::decode(SymInts attrs) {
  COREGRAD_CHECK(attrs.size() >= kFirstExtent);
  const auto labels = static_cast<size_t>(attrs[0]), left = static_cast<size_t>(attrs[1]),
             right = static_cast<size_t>(attrs[2]);
  COREGRAD_CHECK(attrs.size() >= kFirstExtent + labels + 6 * (left + right));
  ContractSpec spec;
  auto at = attrs.begin() + kFirstExtent;
  spec.extents.assign(at, at + static_cast<std::ptrdiff_t>(labels));
  at += static_cast<std::ptrdiff_t>(labels);
  for (auto [maps, count] : {std::pair{&spec.lhs, left}, std::pair{&spec.rhs, right}})
    for (size_t i = 0; i < count; ++i, at += 6)
      maps->push_back({at[0], at[1], at[2], at[3], at[4], at[5]});
  spec.out.assign(at, attrs.end());
  return spec;
}

bool ContractSpec::has_windows() const {
  return !std::ranges::all_of(lhs, &DimMap::is_plain) ||
         !std::ranges::all_of(rhs, &DimMap::is_plain);
}

bool ContractSpec::is_summed(int64_t label) const {
  return std::find(out.begin(), out.end(), label) == out.end();
}

bool ContractSpec::uses(const std::vector<DimMap>& maps, int64_t label) const {
  return std::any_of(maps.begin(), maps.end(),
                     [&](const DimMap& m) { return m.u == label || m.v == label; });
}

int64_t ContractSpec::work() const {
  int64_t total = 1;
  for (const SymInt e : extents)
    if (__builtin_mul_overflow(total, e.hint(), &total)) return INT64_MAX;
  return total;
}

LabelRole role_of(const ContractSpec& spec, int64_t label) {
  if (spec.is_summed(label)) return LabelRole::Summed;
  const bool left = spec.uses(spec.lhs, label), right = spec.uses(spec.rhs, label);
  return left && right ? LabelRole::Batch : left ? LabelRole::LhsFree : LabelRole::RhsFree;
}

std::pair<SymInt, SymInt> index_range(const DimMap& map, SymInts extents) {
  SymInt low = map.c, high = map.c;
  const auto widen = [&](SymInt factor, int64_t label) {
    if (label < 0) return;
    const SymInt reach = checked_mul(factor, max(extents[label] - 1, 0), "contract");
    (reach < 0 ? low : high) = checked_add(reach < 0 ? low : high, reach, "contract");
  };
  widen(map.a, map.u);
  widen(map.b, map.v);
  return {low, checked_add(high, 1, "contract")};
}

}  // namespace coregrad
