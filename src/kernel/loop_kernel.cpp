#include "kernel/loop_kernel.h"

#include "base/checked.h"

#include <fmt/format.h>

#include <algorithm>

namespace coregrad {

SymInt LoopKernel::range() const {
  SymInt units = 1;
  for (int a = 0; a < num_parallel; ++a) {
    const SymInt extent = axes[a].extent;
    units = checked_mul(units,
                        lane_parallel && a == num_parallel - 1 ? ceil_div(extent, block) : extent,
                        "kernel range");
  }
  return units;
}

bool LoopKernel::has_symbols() const {
  const auto index_is = [&](const IndexExpr& e) { return context.has_symbols(e); };
  return std::ranges::any_of(axes, [](const LoopAxis& a) { return !a.extent.is_number(); }) ||
         std::ranges::any_of(values,
                             [&](const KernelValue& v) {
                               return index_is(v.index) || !v.bounds.low.is_number() ||
                                      !v.bounds.high.is_number();
                             }) ||
         std::ranges::any_of(stores, [&](const KernelStore& s) {
           return index_is(s.index) || !s.row_elements.is_number();
         });
}

bool LoopKernel::can_stream() const {
  return num_loop_sets == 0 &&
         std::ranges::any_of(stores, [](const KernelStore& s) { return s.combine == Op::Literal; });
}

void LoopKernel::stream() {
  for (KernelBuffer& b : buffers) b.non_temporal = b.is_written;
  // Rows of results that every row of the input is added to are read again.
  for (const KernelStore& s : stores)
    if (s.combine != Op::Literal) buffers[s.buffer].non_temporal = false;
}

LoopKernel LoopKernel::with_sizes(const SizeFunction& value_of) const {
  LoopKernel kernel = *this;
  kernel.context = {};
  std::vector<IndexExpr> new_axes;
  for (LoopAxis& a : kernel.axes) {
    a.extent = value_of(a.extent);
    new_axes.push_back(kernel.context.axis(static_cast<int>(new_axes.size()), a.extent));
  }
  const auto replace = [&](IndexExpr& e) {
    e = translate(context, e, new_axes, kernel.context, value_of);
  };
  for (KernelValue& v : kernel.values) {
    replace(v.index);
    v.bounds = {value_of(v.bounds.low), value_of(v.bounds.high)};
  }
  for (KernelStore& s : kernel.stores) {
    replace(s.index);
    s.row_elements = value_of(s.row_elements);
  }
  kernel.chunk = value_of(chunk);
  return kernel;
}

std::string LoopKernel::to_text() const {
  std::string text = fmt::format("kernel {} block={} chunk={}\n",
                                 lane_parallel ? "lane-parallel" : "row", block, chunk);
  for (size_t a = 0; a < axes.size(); ++a)
    text += fmt::format(
        "  axis i{} extent {} {}\n", a, axes[a].extent,
        axes[a].loop_set < 0 ? "parallel" : fmt::format("loop set {}", axes[a].loop_set));
  for (size_t b = 0; b < buffers.size(); ++b)
    text +=
        fmt::format("  buffer b{} {}{}{}{}\n", b, info(buffers[b].dtype).short_name,
                    buffers[b].is_written ? " out" : "", buffers[b].non_temporal ? " stream" : "",
                    buffers[b].may_alias ? " in place" : "");
  for (size_t i = 0; i < values.size(); ++i) {
    const KernelValue& v = values[i];
    text += fmt::format("  %{}: {} = ", i, info(v.dtype).short_name);
    const auto operand = [&](int k) { return fmt::format("%{}", v.operands[k]); };
    switch (v.kind) {
      case ValueKind::Literal:
        text += fmt::format("{}", v.literal.as_double());
        break;
      case ValueKind::Index:
        text += context.to_text(v.index);
        break;
      case ValueKind::InRange:
        text += fmt::format("{} <= {} < {}", v.bounds.low, context.to_text(v.index), v.bounds.high);
        break;
      case ValueKind::Load:
        text += fmt::format("b{}[{}]", v.buffer, context.to_text(v.index));
        if (v.operands[0] >= 0) text += " where " + operand(0);
        break;
      case ValueKind::Elementwise:
        text += name_of(v.op);
        for (int k = 0; k < 3 && v.operands[k] >= 0; ++k) text += " " + operand(k);
        break;
      case ValueKind::Random:
        text += fmt::format("random {} stream {} at {}", operand(0), v.literal.i,
                            context.to_text(v.index));
        break;
      case ValueKind::CheckIndex:
        text += fmt::format("check {} in {}..{}", operand(0), v.bounds.low, v.bounds.high);
        if (v.operands[1] >= 0) text += " where " + operand(1);
        break;
      case ValueKind::Reduce:
        text += fmt::format("{} {} over set {}", name_of(v.op), operand(0), v.loop_set);
        break;
      case ValueKind::Bound:
        text += "bound";
        break;
    }
    text += v.keep ? " keep\n" : "\n";
  }
  for (const KernelStore& s : stores) {
    text += fmt::format("  b{}[{}] ", s.buffer, context.to_text(s.index));
    text += s.combine == Op::Literal
                ? "= "
                : fmt::format("{}(row {})= ", name_of(s.combine), s.row_elements);
    text += fmt::format("%{}", s.value);
    text += "\n";
  }
  return text;
}

std::string LoopKernel::structure_key() const {
  // The text is complete but for the exact bits of literals.
  std::string key = to_text();
  if (any_size) key += "any size\n";
  for (const KernelValue& v : values)
    if (v.kind == ValueKind::Literal) key += fmt::format("{:x},", v.literal.bits());
  return key;
}

}  // namespace coregrad
