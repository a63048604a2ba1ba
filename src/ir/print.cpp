#include "ir/print.h"

#include "base/error.h"
#include "ir/contract.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <iterator>
#include <map>
#include <vector>

namespace coregrad {
namespace {

// Text that stays within one line and within a quoted DOT string.
std::string escaped(std::string_view text) {
  std::string result;
  for (char c : text) {
    if (c == '"' || c == '\\') {
      result += '\\';
      result += c;
    } else if (c == '\n') {
      result += "\\n";
    } else if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f) {
      result += fmt::format("\\\\x{:02x}", static_cast<unsigned char>(c));
    } else {
      result += c;
    }
  }
  return result;
}

std::string scalar_text(Scalar value) {
  if (value.dtype == DType::Bool) return value.i ? "true" : "false";
  if (is_integer(value.dtype)) return fmt::format("{}", value.i);
  if (is_float(value.dtype) && value.dtype != DType::Float64)
    return fmt::format("{}", static_cast<float>(value.f));
  return fmt::format("{}", value.f);
}

std::string label_text(int64_t label) {
  if (label < 26) return std::string(1, static_cast<char>('a' + label));
  return fmt::format("<{}>", label);
}

std::string map_text(const DimMap& m) {
  if (m.is_plain()) return label_text(m.u);
  const auto product = [](SymInt factor, int64_t label) {
    if (factor == 1) return label_text(label);
    if (factor == -1) return "-" + label_text(label);
    return fmt::format("{}{}", factor, label_text(label));
  };
  std::string sum = product(m.a, m.u);
  if (m.v >= 0) sum += (m.b > 0 ? "+" : "") + product(m.b, m.v);
  if (m.c != 0) sum += fmt::format("{}{}", m.c > 0 ? "+" : "", m.c);
  return m.s == 1 ? fmt::format("({})", sum) : fmt::format("(({})/{})", sum, m.s);
}

// "ac,cb->ab a=2 b=4 c=3", in the manner of einsum.
std::string contract_text(const ContractSpec& spec) {
  std::string text;
  for (const DimMap& m : spec.lhs) text += map_text(m);
  text += ',';
  for (const DimMap& m : spec.rhs) text += map_text(m);
  text += "->";
  for (int64_t label : spec.out) text += label_text(label);
  for (size_t i = 0; i < spec.extents.size(); ++i)
    text += fmt::format(" {}={}", label_text(static_cast<int64_t>(i)), spec.extents[i]);
  return text;
}

// What stands in braces; empty for none.
std::string attributes_text(const Graph& graph, NodeId node) {
  const Op op = graph[node].op;
  const SymInts attrs = graph.attrs(node);
  if (op == Op::Literal) return scalar_text(graph.literal(node));
  if (op == Op::Contract) return contract_text(ContractSpec::decode(attrs));
  const std::string list = fmt::format("{}", fmt::join(attrs, ","));
  if (op == Op::Pad) return fmt::format("{} fill={}", list, scalar_text(graph.literal(node)));
  return list;
}

std::string node_body(const Graph& graph, NodeId node, std::string_view separator) {
  std::string text = fmt::format("{}{}{}", name_of(graph[node].op), separator,
                                 type_text(graph.dtype(node), graph.shape(node)));
  const std::string attributes = attributes_text(graph, node);
  if (separator == " ")
    for (NodeId o : graph.operands(node)) text += fmt::format(" %{}", o.value);
  if (!attributes.empty()) text += fmt::format("{}{{{}}}", separator, attributes);
  return text;
}

std::string_view color_of(Op op) {
  switch (family_of(op)) {
    case Family::Leaf:
    case Family::Random:
      return "lightgrey";
    case Family::Unary:
    case Family::Binary:
    case Family::Compare:
    case Family::Select:
    case Family::Cast:
      return "white";
    case Family::View:
      return "lightyellow";
    case Family::Reduce:
    case Family::Scan:
      return "lightblue";
    case Family::Contract:
      return "lightsalmon";
    case Family::Gather:
    case Family::Scatter:
      return "lightgreen";
    case Family::Library:
    case Family::External:
      return "plum";
  }
  COREGRAD_UNREACHABLE("a family outside the table");
}

}  // namespace

std::string type_text(DType dtype, Shape shape) {
  return fmt::format("{}[{}]", info(dtype).short_name, fmt::join(shape, ","));
}

std::string node_text(const Graph& graph, NodeId node) {
  std::string text = fmt::format("%{} = {}", node.value, node_body(graph, node, " "));
  if (!graph.origin(node).empty()) text += fmt::format("  # {}", escaped(graph.origin(node)));
  return text;
}

std::string to_text(const Graph& graph, std::span<const NodeId> roots) {
  const std::vector<bool> live = mark_live(graph, roots);
  std::string text;
  for (uint32_t i = 0; i < graph.size(); ++i)
    if (live[i]) text += node_text(graph, {i}) + "\n";
  text += "return";
  for (NodeId r : roots) text += fmt::format(" %{}", r.value);
  return text + "\n";
}

std::string to_dot(const Graph& graph, std::span<const NodeId> roots,
                   std::span<const int32_t> cluster_of) {
  const std::vector<bool> live = mark_live(graph, roots);
  std::map<int32_t, std::vector<uint32_t>> clusters;  // -1: in no box
  std::string edges;
  for (uint32_t i = 0; i < graph.size(); ++i) {
    if (!live[i]) continue;
    clusters[i < cluster_of.size() && cluster_of[i] >= 0 ? cluster_of[i] : -1].push_back(i);
    for (NodeId o : graph.operands({i})) edges += fmt::format("  n{} -> n{};\n", o.value, i);
  }
  std::string text =
      "digraph coregrad {\n  node [shape=box, style=filled, fontname=\"monospace\"];\n";
  for (const auto& [cluster, members] : clusters) {
    const std::string_view indent = cluster >= 0 ? "    " : "  ";
    if (cluster >= 0)
      text += fmt::format("  subgraph cluster_{} {{\n    label=\"kernel {}\";\n", cluster, cluster);
    for (uint32_t i : members) {
      const std::string_view origin = graph.origin({i});
      text += fmt::format("{}n{} [label=\"%{} {}{}{}\", fillcolor={}];\n", indent, i, i,
                          node_body(graph, {i}, "\\n"), origin.empty() ? "" : "\\n# ",
                          escaped(origin), color_of(graph[{i}].op));
    }
    if (cluster >= 0) text += "  }\n";
  }
  text += edges;
  for (size_t k = 0; k < roots.size(); ++k)
    text += fmt::format("  out{} [label=\"output {}\", shape=ellipse];\n  n{} -> out{};\n", k, k,
                        roots[k].value, k);
  return text + "}\n";
}

}  // namespace coregrad
