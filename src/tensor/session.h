#pragma once
// The recording session behind every Tensor: the graph, and the data of realised nodes apart from
// it.
//
// A realised node is an Op::Input whose index is a *data id*. Three things hang on a data id: the
// buffer; the node it was computed from (its source), so that other pending computations which
// contain that node read the buffer in place of computing it again; and, for values that gradients
// must flow through, the promise to keep the source alive (`differentiable`).
//
// Lifetimes: handles (one per tensor) are the roots of the graph. collect() compacts the graph and
// drops the data of inputs that nothing reaches; ids of dropped data are used again. The value of a
// node that a pending computation or a gradient's history contains counts as reached: it would have
// to be computed again.
//
// One recursive mutex guards everything here. Plans are compiled and run outside of it, and dropped
// buffers are freed outside of it: their owners may be somebody else's and take locks of their own.

#include "ir/graph.h"
#include "tensor/buffer.h"

#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <unordered_map>
#include <utility>
#include <vector>

namespace coregrad {

struct TensorState;

class Session {
 public:
  /// The process's session. It is never destroyed: tensors may outlive main().
  static Session& global();

  /// Held while using the graph or node ids; ids are void once it was let go.
  class Lock {
   public:
    explicit Lock(Session& session);
    ~Lock();
    Lock(const Lock&) = delete;
    Lock& operator=(const Lock&) = delete;

   private:
    Session& session_;
  };

  Graph& graph() { return graph_; }

  /// A new Input node over a buffer; strides in elements (empty: row-major).
  NodeId add_data(std::shared_ptr<Buffer> buffer, DType dtype, Shape shape,
                  std::span<const int64_t> strides = {});
  /// Another Input node over the same buffer as that of an Input node.
  NodeId alias_data(NodeId input);
  /// Says what an input was computed from; `differentiable` keeps that alive for gradients.
  void set_source(NodeId input, NodeId source, bool differentiable);
  /// The source of a differentiable input.
  std::optional<NodeId> differentiable_source(NodeId input) const;
  /// Forgets that the input's source is kept for gradients.
  void drop_source(NodeId input);

  /// Says which leaf tensor collects this input's gradient (empty: none).
  void set_leaf(NodeId input, std::weak_ptr<TensorState> leaf);
  std::shared_ptr<TensorState> leaf_of(NodeId input) const;

  /// The Input node that holds this node's value: itself, or the one computed from it.
  std::optional<NodeId> value_of(NodeId node) const;
  std::shared_ptr<Buffer> buffer(int64_t data_id) const;

  /// Tensors that the next plan computes too.
  void add_due(std::weak_ptr<TensorState> state) { due_.push_back(std::move(state)); }
  std::vector<std::weak_ptr<TensorState>> take_due() { return std::exchange(due_, {}); }

  /// Reports data that is held for gradients only, and that the gradients' history went away.
  void note_kept(int64_t bytes) { kept_bytes_ += bytes; }
  void note_history_released() { released_bytes_ += std::exchange(kept_bytes_, 0); }
  /// Reports that a tensor with data went away.
  void note_released(int64_t bytes) { released_bytes_ += bytes; }
  /// Compacts when enough was released since the last time.
  void collect_if_due();
  void collect();

  int64_t live_data() const { return static_cast<int64_t>(data_.size()); }

 private:
  struct Data {
    std::shared_ptr<Buffer> buffer;
    NodeId input;
    NodeId source;  // invalid: none
    bool differentiable = false;
    std::weak_ptr<TensorState> leaf;
  };

  int64_t take_id();

  std::recursive_mutex mutex_;
  int lock_depth_ = 0;
  std::vector<std::shared_ptr<Buffer>> dropped_;
  Graph graph_;
  std::unordered_map<int64_t, Data> data_;
  std::unordered_map<uint32_t, int64_t> known_;  // source node -> data id
  std::vector<std::weak_ptr<TensorState>> due_;
  std::vector<int64_t> free_ids_;
  int64_t next_id_ = 0;
  int64_t released_bytes_ = 0;
  int64_t kept_bytes_ = 0;
  uint32_t size_after_collect_ = 0;
};

}  // namespace coregrad
