#include "ir/graph.h"

#include "base/checked.h"
#include "base/hash.h"

#include <algorithm>
#include <bit>

namespace coregrad {
namespace {

constexpr uint32_t kEmpty = UINT32_MAX;
constexpr size_t kListBlock = 4096;

uint64_t hash_sizes(SymInts sizes) { return hash_bytes(sizes.data(), sizes.size_bytes()); }

}  // namespace

Graph::Graph() : index_(1024, kEmpty), list_index_(256, kEmpty) {
  origins_.emplace_back();
  intern_list({});  // ListId 0 is the empty list
}

std::span<const NodeId> Graph::operands(NodeId id) const {
  const Node& n = nodes_[id.value];
  if (n.num_operands > 3) return {pool_.data() + n.operands[0], n.num_operands};
  static_assert(sizeof(NodeId) == sizeof(uint32_t));
  return {reinterpret_cast<const NodeId*>(n.operands), n.num_operands};
}

SymInts Graph::list(ListId id) const { return lists_[id.value]; }

Scalar Graph::literal(NodeId id) const {
  const Node& n = nodes_[id.value];
  Scalar s;
  s.dtype = n.dtype;
  s.i = static_cast<int64_t>(n.literal);
  return s;
}

ListId Graph::intern_list(SymInts values) {
  const auto mask = static_cast<uint32_t>(list_index_.size() - 1);
  auto at = static_cast<uint32_t>(hash_sizes(values)) & mask;
  for (; list_index_[at] != kEmpty; at = (at + 1) & mask)
    if (are_identical(lists_[list_index_[at]], values)) return {list_index_[at]};
  if (list_blocks_.empty() ||
      list_blocks_.back().capacity() - list_blocks_.back().size() < values.size()) {
    list_blocks_.emplace_back();
    list_blocks_.back().reserve(std::max(kListBlock, values.size()));
  }
  std::vector<SymInt>& block = list_blocks_.back();
  const size_t start = block.size();
  // One by one: the values may be part of this very block.
  for (const SymInt v : values) block.push_back(v);
  const auto id = static_cast<uint32_t>(lists_.size());
  lists_.emplace_back(block.data() + start, values.size());
  list_index_[at] = id;
  if (lists_.size() * 2 > list_index_.size()) {
    list_index_.assign(list_index_.size() * 2, kEmpty);
    const auto wider = static_cast<uint32_t>(list_index_.size() - 1);
    for (uint32_t i = 0; i < lists_.size(); ++i) {
      auto slot = static_cast<uint32_t>(hash_sizes(lists_[i])) & wider;
      while (list_index_[slot] != kEmpty) slot = (slot + 1) & wider;
      list_index_[slot] = i;
    }
  }
  return {id};
}

bool Graph::equal(const Node& node, const Node& candidate, std::span<const NodeId> operands) const {
  if (node.hash != candidate.hash || node.op != candidate.op || node.dtype != candidate.dtype ||
      node.shape != candidate.shape || node.attrs != candidate.attrs ||
      node.literal != candidate.literal || node.num_operands != candidate.num_operands)
    return false;
  const NodeId* have = node.num_operands > 3 ? pool_.data() + node.operands[0]
                                             : reinterpret_cast<const NodeId*>(node.operands);
  return std::equal(operands.begin(), operands.end(), have);
}

void Graph::rebuild_index() {
  std::fill(index_.begin(), index_.end(), kEmpty);
  const auto mask = static_cast<uint32_t>(index_.size() - 1);
  for (uint32_t i = 0; i < nodes_.size(); ++i) {
    uint32_t at = nodes_[i].hash & mask;
    while (index_[at] != kEmpty) at = (at + 1) & mask;
    index_[at] = i;
  }
}

void Graph::grow_index() {
  index_.resize(index_.size() * 2);
  rebuild_index();
}

NodeId Graph::intern(Op op, DType dtype, Shape shape, std::span<const NodeId> operands,
                     SymInts attrs, uint64_t literal) {
  COREGRAD_CHECK(operands.size() <= UINT16_MAX);
  Node node{};
  node.op = op;
  node.dtype = dtype;
  node.num_operands = static_cast<uint16_t>(operands.size());
  node.shape = intern_list(shape);
  node.attrs = intern_list(attrs);
  node.literal = literal;
  node.origin = current_origin_;

  uint64_t key[4] = {static_cast<uint64_t>(op) | static_cast<uint64_t>(dtype) << 8 |
                         static_cast<uint64_t>(operands.size()) << 16 |
                         static_cast<uint64_t>(node.shape.value) << 32,
                     node.attrs.value, literal, 0};
  key[3] = hash_bytes(operands.data(), operands.size_bytes());
  node.hash = static_cast<uint32_t>(hash_bytes(key, sizeof key));

  const auto mask = static_cast<uint32_t>(index_.size() - 1);
  uint32_t at = node.hash & mask;
  for (; index_[at] != kEmpty; at = (at + 1) & mask)
    if (equal(nodes_[index_[at]], node, operands)) {
      ++stats_.intern_hits;
      return {index_[at]};
    }

  if (nodes_.size() >= kEmpty - 1) raise<UnsupportedError>("graph: more than 2^32 - 2 nodes");
  const auto id = static_cast<uint32_t>(nodes_.size());
  uint32_t depth = 0;
  for (NodeId o : operands) {
    COREGRAD_CHECK(o.value < id);
    depth = std::max(depth, nodes_[o.value].depth);
  }
  node.depth = operands.empty() || depth == UINT32_MAX ? depth : depth + 1;
  node.numel = checked_numel(shape, name_of(op));
  checked_mul(node.numel, 8, name_of(op));
  if (operands.size() > 3) {
    node.operands[0] = static_cast<uint32_t>(pool_.size());
    // The span may point into pool_ itself.
    const std::vector<NodeId> copy(operands.begin(), operands.end());
    pool_.insert(pool_.end(), copy.begin(), copy.end());
  } else {
    for (size_t i = 0; i < operands.size(); ++i) node.operands[i] = operands[i].value;
  }
  nodes_.push_back(node);
  index_[at] = id;
  ++stats_.nodes_made;
  if (nodes_.size() * 2 > index_.size()) grow_index();
  return {id};
}

void Graph::set_origin(std::string_view text) {
  if (text == origins_[current_origin_]) return;
  if (text.empty()) {
    current_origin_ = 0;
    return;
  }
  // A training loop sets the same few origins for ever: each is kept once.
  const auto [known, is_new] =
      origin_index_.try_emplace(std::string(text), static_cast<uint32_t>(origins_.size()));
  if (is_new) origins_.emplace_back(text);
  current_origin_ = known->second;
}

int64_t Graph::add_iteration(std::shared_ptr<const Iteration> body) {
  const auto at = std::ranges::find(iterations_, body);
  const auto number = at - iterations_.begin();
  if (at == iterations_.end()) iterations_.push_back(std::move(body));
  return number;
}

Handle Graph::retain(NodeId id) {
  COREGRAD_CHECK(id.value < nodes_.size());
  uint32_t slot;
  if (free_roots_.empty()) {
    slot = static_cast<uint32_t>(roots_.size());
    roots_.emplace_back();
  } else {
    slot = free_roots_.back();
    free_roots_.pop_back();
  }
  roots_[slot].node = id;
  roots_[slot].count = 1;
  return {slot, roots_[slot].generation};
}

bool Graph::is_live(Handle h) const {
  return h.slot < roots_.size() && roots_[h.slot].generation == h.generation &&
         roots_[h.slot].count > 0;
}

void Graph::release(Handle h) {
  COREGRAD_CHECK(is_live(h));
  Root& root = roots_[h.slot];
  if (--root.count > 0) return;
  ++root.generation;
  root.node = {};
  free_roots_.push_back(h.slot);
}

NodeId Graph::resolve(Handle h) const {
  if (!is_live(h)) [[unlikely]]
    raise<InternalError>("graph: stale handle (slot {}, generation {})", h.slot, h.generation);
  return roots_[h.slot].node;
}

std::vector<NodeId> Graph::retained() const {
  std::vector<NodeId> nodes;
  for (const Root& r : roots_)
    if (r.count > 0) nodes.push_back(r.node);
  return nodes;
}

std::vector<NodeId> Graph::compact(std::span<const NodeId> roots) {
  std::vector<NodeId> all = retained();
  all.insert(all.end(), roots.begin(), roots.end());
  const std::vector<bool> live = mark_live(*this, all);

  std::vector<NodeId> moved(nodes_.size());
  std::vector<NodeId> old_pool = std::move(pool_);
  pool_.clear();
  uint32_t next = 0;
  for (uint32_t i = 0; i < nodes_.size(); ++i) {
    if (!live[i]) continue;
    Node n = nodes_[i];
    if (n.num_operands > 3) {
      const auto first = static_cast<uint32_t>(pool_.size());
      for (uint16_t k = 0; k < n.num_operands; ++k)
        pool_.push_back(moved[old_pool[n.operands[0] + k].value]);
      n.operands[0] = first;
    } else {
      for (uint16_t k = 0; k < n.num_operands; ++k) n.operands[k] = moved[n.operands[k]].value;
    }
    const NodeId id{next++};
    moved[i] = id;
    uint64_t key[4] = {static_cast<uint64_t>(n.op) | static_cast<uint64_t>(n.dtype) << 8 |
                           static_cast<uint64_t>(n.num_operands) << 16 |
                           static_cast<uint64_t>(n.shape.value) << 32,
                       n.attrs.value, n.literal, 0};
    nodes_[id.value] = n;
    const std::span<const NodeId> operand_ids = operands(id);
    key[3] = hash_bytes(operand_ids.data(), operand_ids.size_bytes());
    nodes_[id.value].hash = static_cast<uint32_t>(hash_bytes(key, sizeof key));
  }
  nodes_.resize(next);
  if (nodes_.capacity() > 4 * nodes_.size() + 1024) nodes_.shrink_to_fit();
  size_t wanted = 1024;
  while (wanted < 4 * nodes_.size()) wanted *= 2;
  index_.assign(wanted, kEmpty);
  rebuild_index();
  for (Root& r : roots_)
    if (r.count > 0) r.node = moved[r.node.value];
  ++stats_.compactions;
  return moved;
}

std::vector<bool> mark_live(const Graph& graph, std::span<const NodeId> roots) {
  std::vector<bool> live(graph.size(), false);
  uint32_t last = 0;
  for (NodeId r : roots) {
    COREGRAD_CHECK(r.value < graph.size());
    live[r.value] = true;
    last = std::max(last, r.value + 1);
  }
  for (uint32_t i = last; i-- > 0;)
    if (live[i])
      for (NodeId o : graph.operands({i})) live[o.value] = true;
  return live;
}

std::vector<uint32_t> count_uses(const Graph& graph, std::span<const NodeId> roots) {
  const std::vector<bool> live = mark_live(graph, roots);
  std::vector<uint32_t> uses(graph.size(), 0);
  for (uint32_t i = 0; i < graph.size(); ++i)
    if (live[i])
      for (NodeId o : graph.operands({i})) ++uses[o.value];
  for (NodeId r : roots) ++uses[r.value];
  return uses;
}

}  // namespace coregrad
