#include "tensor/structure.h"

#include "base/hash.h"
#include "ir/contract.h"
#include "ops/primitives.h"

#include <algorithm>
#include <unordered_map>

namespace coregrad {
namespace {

constexpr uint32_t kUnnumbered = UINT32_MAX;

/// Appends nodes to a key. The layout is mirrored by rebuild_structure.
class KeyWriter {
 public:
  KeyWriter(Structure& structure, const Identity& identity)
      : structure_(structure), identity_(identity) {}

  void input(DType dtype, Shape shape, SymInts strides, int64_t data_id) {
    const auto [at, is_new] =
        numbers_.try_emplace(identity_(data_id), static_cast<int64_t>(structure_.inputs.size()));
    if (is_new) structure_.inputs.push_back(data_id);
    head(Op::Input, dtype, 0, 0);
    list(shape.numbers());
    structure_.key.push_back(static_cast<int64_t>(strides.size()) + 1);
    structure_.key.push_back(at->second);
    append(strides.numbers());
  }

  void node(const Graph& graph, NodeId id, std::span<const NodeId> operands,
            std::span<const uint32_t> numbers) {
    const Node& n = graph[id];
    head(n.op, n.dtype, n.num_operands, n.literal);
    list(graph.shape(id).numbers());
    list(graph.attrs(id).numbers());
    for (NodeId o : operands) structure_.key.push_back(numbers[o.value]);
  }

 private:
  void head(Op op, DType dtype, uint16_t num_operands, uint64_t literal) {
    structure_.key.push_back(static_cast<int64_t>(op) | static_cast<int64_t>(dtype) << 8 |
                             static_cast<int64_t>(num_operands) << 16);
    structure_.key.push_back(static_cast<int64_t>(literal));
  }
  void list(std::span<const int64_t> values) {
    structure_.key.push_back(static_cast<int64_t>(values.size()));
    append(values);
  }
  void append(std::span<const int64_t> values) {
    structure_.key.insert(structure_.key.end(), values.begin(), values.end());
  }

  Structure& structure_;
  const Identity& identity_;
  std::unordered_map<const void*, int64_t> numbers_;  // identity -> input number
};

/// A hash of what each node computes that depends neither on node numbers nor on sizes: it orders
/// the operands of commutative operations, which the graph keeps in the order of their numbers.
std::vector<uint64_t> order_hashes(const Graph& graph, std::span<const NodeId> roots,
                                   const KnownValue& known) {
  const std::vector<bool> live = mark_live(graph, roots);
  std::vector<uint64_t> hashes(graph.size(), 0);
  std::vector<uint64_t> parts;
  for (uint32_t i = 0; i < graph.size(); ++i) {
    if (!live[i]) continue;
    const Node& n = graph[{i}];
    const bool is_leaf = n.op == Op::Input || known({i});
    parts = {static_cast<uint64_t>(is_leaf ? Op::Input : n.op), static_cast<uint64_t>(n.dtype),
             graph.shape({i}).size()};
    if (!is_leaf)
      for (NodeId o : graph.operands({i})) parts.push_back(hashes[o.value]);
    if (is_commutative(n.op) && !is_leaf) std::sort(parts.end() - 2, parts.end());
    hashes[i] = hash_bytes(parts.data(), parts.size() * sizeof(uint64_t));
  }
  return hashes;
}

/// The node's operands, those of a commutative operation ordered by hash.
void ordered_operands(const Graph& graph, NodeId id, const std::vector<uint64_t>& hashes,
                      std::vector<NodeId>& out) {
  const std::span<const NodeId> operands = graph.operands(id);
  out.assign(operands.begin(), operands.end());
  if (is_commutative(graph[id].op) && hashes[out[0].value] > hashes[out[1].value])
    std::swap(out[0], out[1]);
}

/// Row-major strides.
std::vector<int64_t> dense_strides(Shape shape) {
  std::vector<int64_t> strides(shape.size(), 1);
  for (size_t i = shape.size(); i-- > 1;) strides[i - 1] = strides[i] * shape[i];
  return strides;
}

}  // namespace

uint64_t Structure::hash() const { return hash_ints(key); }

Structure extract_structure(const Graph& graph, std::span<const NodeId> roots,
                            const KnownValue& known, const Identity& identity,
                            const GradientNeeds& needs) {
  Structure structure;
  KeyWriter writer(structure, identity);
  structure.key.push_back(0);  // becomes the number of nodes
  std::vector<uint32_t> numbers(graph.size(), kUnnumbered);
  uint32_t next = 0;
  struct Visit {
    NodeId node;
    uint32_t operand;
  };
  std::vector<Visit> stack;
  std::vector<NodeId> operands;
  std::vector<int64_t> targets;
  const auto note_target = [&](NodeId id) {
    if (!needs.roots.empty() && is_float(graph.dtype(id)) && needs.is_reachable(id))
      targets.push_back(next);
  };
  const std::vector<uint64_t> hashes = order_hashes(graph, roots, known);
  for (NodeId root : roots) {
    if (numbers[root.value] == kUnnumbered) stack.push_back({root, 0});
    while (!stack.empty()) {
      Visit& top = stack.back();
      const NodeId id = top.node;
      if (numbers[id.value] != kUnnumbered) {
        stack.pop_back();
        continue;
      }
      if (graph[id].op == Op::Input) {
        writer.input(graph.dtype(id), graph.shape(id), graph.attrs(id).subspan(1),
                     graph.attr(id, 0));
        note_target(id);
      } else if (const std::optional<int64_t> data = known(id)) {
        writer.input(graph.dtype(id), graph.shape(id), dense_strides(graph.shape(id)), *data);
        note_target(id);
      } else {
        ordered_operands(graph, id, hashes, operands);
        while (top.operand < operands.size() && numbers[operands[top.operand].value] != kUnnumbered)
          ++top.operand;
        if (top.operand < operands.size()) {
          stack.push_back({operands[top.operand], 0});
          continue;
        }
        writer.node(graph, id, operands, numbers);
      }
      numbers[id.value] = next++;
      structure.nodes.push_back(id);
      stack.pop_back();
    }
  }
  structure.key[0] = next;
  for (const std::span<const NodeId> list : {roots, std::span<const NodeId>(needs.roots)}) {
    structure.key.push_back(static_cast<int64_t>(list.size()));
    for (NodeId root : list) structure.key.push_back(numbers[root.value]);
  }
  structure.key.push_back(static_cast<int64_t>(targets.size()));
  structure.key.insert(structure.key.end(), targets.begin(), targets.end());
  return structure;
}

KeyNode KeyReader::next_node() {
  KeyNode node{};
  const int64_t head = key_[at_++];
  node.op = static_cast<Op>(head & 0xff);
  node.dtype = static_cast<DType>(head >> 8 & 0xff);
  node.literal = at_++;
  node.shape = skip_list(node.rank);
  node.attrs = skip_list(node.num_attrs);
  node.num_operands = static_cast<size_t>(head >> 16 & 0xffff);
  node.operands = at_;
  at_ += node.num_operands;
  return node;
}

std::span<const int64_t> KeyReader::next_list() {
  size_t size = 0;
  const size_t first = skip_list(size);
  return key_.subspan(first, size);
}

size_t KeyReader::skip_list(size_t& size) {
  size = static_cast<size_t>(key_[at_++]);
  const size_t first = at_;
  at_ += size;
  return first;
}

void for_each_size(std::span<const int64_t> key, const KeyNode& node,
                   const std::function<void(size_t)>& visit) {
  for (size_t d = 0; d < node.rank; ++d) visit(node.shape + d);
  size_t first = node.num_attrs, end = node.num_attrs;
  if (node.op == Op::Input) first = 1;  // strides
  if (node.op == Op::Slice || node.op == Op::Pad) first = 0;
  if (node.op == Op::Contract) {
    first = ContractSpec::kFirstExtent;
    end = first + static_cast<size_t>(key[node.attrs]);
  }
  for (size_t i = first; i < end; ++i) visit(node.attrs + i);
  if (node.op == Op::Window)
    for (size_t i = 0; i < node.num_attrs; ++i)
      if (i % 4 != 0) visit(node.attrs + i);
}

StandaloneGraph rebuild_structure(std::span<const int64_t> key, const KeyMeaning& meaning) {
  StandaloneGraph result;
  KeyReader reader(key);
  std::vector<NodeId>& nodes = result.nodes;
  std::vector<SymInt> sizes(key.size());  // what stands at each place, of shapes and attributes
  std::vector<NodeId> operands;
  for (int64_t i = 0; i < reader.num_nodes(); ++i) {
    const KeyNode n = reader.next_node();
    for (size_t d = 0; d < n.rank; ++d) sizes[n.shape + d] = key[n.shape + d];
    for (size_t d = 0; d < n.num_attrs; ++d) sizes[n.attrs + d] = key[n.attrs + d];
    if (meaning.size) for_each_size(key, n, [&](size_t at) { sizes[at] = meaning.size(at); });
    const Shape shape(std::span(sizes).subspan(n.shape, n.rank));
    if (n.op == Op::Literal && meaning.literal_input)
      if (const std::optional<int64_t> input = meaning.literal_input(n.literal)) {
        nodes.push_back(ops::input(result.graph, *input, n.dtype, shape));
        continue;
      }
    operands.clear();
    for (size_t k = 0; k < n.num_operands; ++k)
      operands.push_back(nodes[static_cast<size_t>(key[n.operands + k])]);
    nodes.push_back(result.graph.intern(n.op, n.dtype, shape, operands,
                                        SymInts(std::span(sizes).subspan(n.attrs, n.num_attrs)),
                                        static_cast<uint64_t>(key[n.literal])));
  }
  for (std::vector<NodeId>* tail : {&result.roots, &result.differentiated, &result.targets})
    for (int64_t number : reader.next_list()) tail->push_back(nodes[static_cast<size_t>(number)]);
  return result;
}

}  // namespace coregrad
