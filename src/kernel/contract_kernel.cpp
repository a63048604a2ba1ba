#include "kernel/contract_kernel.h"

#include "base/error.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>

namespace coregrad {

bool ContractKernel::has_symbols() const {
  const auto map_is = [](const DimMap& m) {
    return coregrad::has_symbols(std::vector{m.a, m.b, m.c, m.s});
  };
  const auto operand_is = [](const ContractOperand& o) {
    return !o.offset.is_number() || coregrad::has_symbols(o.shape) ||
           coregrad::has_symbols(o.strides);
  };
  return coregrad::has_symbols(spec.extents) || std::ranges::any_of(spec.lhs, map_is) ||
         std::ranges::any_of(spec.rhs, map_is) || operand_is(lhs) || operand_is(rhs) ||
         epilogue.has_symbols();
}

ContractKernel ContractKernel::with_sizes(const SizeFunction& value_of) const {
  ContractKernel kernel = *this;
  const auto replace = [&](std::vector<SymInt>& sizes) {
    for (SymInt& x : sizes) x = value_of(x);
  };
  replace(kernel.spec.extents);
  for (std::vector<DimMap>* maps : {&kernel.spec.lhs, &kernel.spec.rhs})
    for (DimMap& m : *maps)
      for (SymInt* x : {&m.a, &m.b, &m.c, &m.s}) *x = value_of(*x);
  for (ContractOperand* o : {&kernel.lhs, &kernel.rhs}) {
    replace(o->shape);
    replace(o->strides);
    o->offset = value_of(o->offset);
  }
  kernel.epilogue = epilogue.with_sizes(value_of);
  return kernel;
}

std::string ContractKernel::structure_key() const {
  std::string key = fmt::format("contract {} [{}] out [{}]", name_of(dtype),
                                fmt::join(spec.extents, ","), fmt::join(spec.out, ","));
  for (const auto& [maps, operand] : {std::pair{&spec.lhs, &lhs}, std::pair{&spec.rhs, &rhs}}) {
    key += fmt::format(" ({}: {} @ {} + {};", "operand", fmt::join(operand->shape, ","),
                       fmt::join(operand->strides, ","), operand->offset);
    if (operand->memory) key += fmt::format(" {};", name_of(*operand->memory));
    for (const DimMap& map : *maps)
      key += fmt::format(" ({}*l{}+{}*l{}+{})/{}", map.a, map.u, map.b, map.v, map.c, map.s);
    key += ")";
  }
  if (any_size) key += " any size";
  for (const AssumedExtent& a : assumed)
    key += fmt::format(" assumed {}{}", a.least, a.is_exact ? "" : "+");
  return key + "\n" + epilogue.structure_key();
}

bool can_be_memory(DType memory, DType dtype) {
  if (is_only_stored(dtype) || dtype == DType::Bool) return false;
  if (is_narrow(memory)) return dtype == DType::Float32;
  return !is_float(memory) || is_float(dtype);
}

void check_kernel(const ContractKernel& kernel) {
  const auto labels = static_cast<int64_t>(kernel.spec.extents.size());
  for (const SymInt extent : kernel.spec.extents) COREGRAD_CHECK(extent >= 0);
  for (const auto& [maps, operand] :
       {std::pair{&kernel.spec.lhs, &kernel.lhs}, std::pair{&kernel.spec.rhs, &kernel.rhs}}) {
    COREGRAD_CHECK(maps->size() == operand->shape.size());
    COREGRAD_CHECK(maps->size() == operand->strides.size());
    COREGRAD_CHECK(!operand->memory || can_be_memory(*operand->memory, kernel.dtype));
    for (const DimMap& map : *maps) {
      COREGRAD_CHECK(map.u >= 0 && map.u < labels && map.v >= -1 && map.v < labels);
      COREGRAD_CHECK(map.s >= 1);
    }
  }
  std::vector<bool> seen(static_cast<size_t>(labels));
  for (const int64_t label : kernel.spec.out) {
    COREGRAD_CHECK(label >= 0 && label < labels && !seen[label]);
    seen[label] = true;
  }
  const LoopKernel& epilogue = kernel.epilogue;
  COREGRAD_CHECK(epilogue.num_loop_sets == 0);
  COREGRAD_CHECK(epilogue.axes.size() == kernel.spec.out.size());
  for (size_t axis = 0; axis < epilogue.axes.size(); ++axis)
    COREGRAD_CHECK(epilogue.axes[axis].extent == kernel.spec.extents[kernel.spec.out[axis]]);
  COREGRAD_CHECK(!epilogue.stores.empty());
  COREGRAD_CHECK(std::count_if(epilogue.values.begin(), epilogue.values.end(),
                               [](const KernelValue& v) { return v.kind == ValueKind::Bound; }) ==
                 1);
}

}  // namespace coregrad
