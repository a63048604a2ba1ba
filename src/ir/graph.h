#pragma once
// The graph: an append-only arena of small interned nodes.
//
// Data structures: nodes_ (64 bytes each, index order is a topological order), pool_ (operand lists
// longer than three), shape and attribute tables (interned lists of sizes, so equal ids are equal
// lists), index_ (open-addressing hash set of nodes, so that common subexpressions never exist),
// and the root table (what handles point at; compaction moves nodes behind it). Start reading at
// Graph::intern. Checked construction lives in ops/primitives.h.

#include "base/sym_int.h"
#include "coregrad/dtype.h"
#include "ir/op.h"

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

namespace coregrad {

/// Index of a node in its graph.
struct NodeId {
  uint32_t value = UINT32_MAX;
  constexpr bool is_valid() const { return value != UINT32_MAX; }
  constexpr auto operator<=>(const NodeId&) const = default;
};

/// Index of an interned list of sizes (a shape or an attribute list).
struct ListId {
  uint32_t value = 0;
  constexpr auto operator<=>(const ListId&) const = default;
};

using Shape = SymInts;
inline constexpr int kMaxRank = 64;

/// A node is immutable once interned.
struct Node {
  Op op;
  DType dtype;
  uint16_t num_operands;
  ListId shape;
  ListId attrs;
  uint32_t operands[3];  ///< the operands, or with more than three: operands[0] is an offset into
                         ///< the pool
  uint64_t literal;      ///< Literal's value, Pad's fill: an int64 or the bits of a double
  SymInt numel;
  uint32_t hash;
  uint32_t origin;  ///< where the user made it: an index for Graph::origin(); not part of identity
  uint32_t depth;   ///< longest path to a leaf; saturates
  uint32_t reserved[3];
};
static_assert(sizeof(Node) == 64 && std::is_trivially_copyable_v<Node>);

/// A user's hold on a node: survives compaction; a stale one is caught by its generation.
struct Handle {
  uint32_t slot = UINT32_MAX;
  uint32_t generation = 0;
  constexpr auto operator<=>(const Handle&) const = default;
};

struct GraphStats {
  int64_t nodes_made = 0;
  int64_t intern_hits = 0;
  int64_t compactions = 0;
};

struct Iteration;  // ir/iteration.h

class Graph {
 public:
  Graph();
  // Lists are spans into this graph's own blocks.
  Graph(const Graph&) = delete;
  Graph& operator=(const Graph&) = delete;
  Graph(Graph&&) = default;
  Graph& operator=(Graph&&) = default;

  /// The node with this content, made if it is not there. No checks: see ops/primitives.h.
  NodeId intern(Op op, DType dtype, Shape shape, std::span<const NodeId> operands,
                SymInts attrs = {}, uint64_t literal = 0);

  const Node& operator[](NodeId id) const { return nodes_[id.value]; }
  /// Pointer-stable until the next intern().
  std::span<const NodeId> operands(NodeId id) const;
  NodeId operand(NodeId id, size_t i) const { return operands(id)[i]; }
  Shape shape(NodeId id) const { return list(nodes_[id.value].shape); }
  SymInts attrs(NodeId id) const { return list(nodes_[id.value].attrs); }
  SymInt attr(NodeId id, size_t i) const { return attrs(id)[i]; }
  DType dtype(NodeId id) const { return nodes_[id.value].dtype; }
  SymInt numel(NodeId id) const { return nodes_[id.value].numel; }
  int rank(NodeId id) const { return static_cast<int>(shape(id).size()); }
  /// Value of a Literal or fill of a Pad.
  Scalar literal(NodeId id) const;
  bool is_literal(NodeId id) const { return nodes_[id.value].op == Op::Literal; }
  uint32_t size() const { return static_cast<uint32_t>(nodes_.size()); }

  /// The interned list's contents; stable for the life of the graph.
  SymInts list(ListId id) const;

  /// Bodies of Op::Iterate, by the number that is a node's first attribute.
  int64_t add_iteration(std::shared_ptr<const Iteration> body);
  const std::shared_ptr<const Iteration>& iteration(int64_t number) const {
    return iterations_.at(static_cast<size_t>(number));
  }
  /// For nodes that are copied with their attributes.
  void take_iterations(const Graph& from) { iterations_ = from.iterations_; }

  /// Text that new nodes carry as their origin until it is set again ("" for none).
  void set_origin(std::string_view text);
  std::string_view origin(NodeId id) const { return origins_[nodes_[id.value].origin]; }

  Handle retain(NodeId id);
  void release(Handle h);
  /// Throws InternalError for a stale handle.
  NodeId resolve(Handle h) const;
  bool is_live(Handle h) const;
  /// The nodes that live handles point at; a node may be there more than once.
  std::vector<NodeId> retained() const;

  /// Drops every node that no handle and none of `roots` reaches. Returns old index -> new id
  /// (invalid where dropped). Node ids of before are void; handles stay good.
  std::vector<NodeId> compact(std::span<const NodeId> roots = {});

  const GraphStats& stats() const { return stats_; }

 private:
  struct List {
    uint32_t offset, size;
  };
  struct Root {
    NodeId node;
    uint32_t generation = 0;
    uint32_t count = 0;
  };

  ListId intern_list(SymInts values);
  void grow_index();
  void rebuild_index();
  bool equal(const Node& node, const Node& candidate, std::span<const NodeId> operands) const;

  std::vector<Node> nodes_;
  std::vector<NodeId> pool_;
  std::vector<uint32_t> index_;
  std::vector<std::vector<SymInt>> list_blocks_;  // stable storage for list contents
  std::vector<SymInts> lists_;
  std::vector<uint32_t> list_index_;
  std::vector<std::shared_ptr<const Iteration>> iterations_;
  std::vector<std::string> origins_;
  std::unordered_map<std::string, uint32_t> origin_index_;
  uint32_t current_origin_ = 0;
  std::vector<Root> roots_;
  std::vector<uint32_t> free_roots_;
  GraphStats stats_;
};

/// Marks everything the roots reach: result[i] is true for live nodes. A scan, no recursion.
std::vector<bool> mark_live(const Graph& graph, std::span<const NodeId> roots);

/// Number of live users of each node (a node that uses an operand twice counts twice); roots count
/// one.
std::vector<uint32_t> count_uses(const Graph& graph, std::span<const NodeId> roots);

}  // namespace coregrad
