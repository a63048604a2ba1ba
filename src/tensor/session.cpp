#include "tensor/session.h"

#include "base/error.h"
#include "ops/primitives.h"

#include <algorithm>

namespace coregrad {
namespace {

// Collecting costs a scan of the graph; these keep it rare next to the work recorded in between.
constexpr uint32_t kCollectNodes = 512;
constexpr uint32_t kMaxGrowth = 1 << 14;
constexpr int64_t kCollectBytes = int64_t{1} << 20;

}  // namespace

Session& Session::global() {
  static Session* session = new Session;
  return *session;
}

Session::Lock::Lock(Session& session) : session_(session) {
  session_.mutex_.lock();
  ++session_.lock_depth_;
}

Session::Lock::~Lock() {
  std::vector<std::shared_ptr<Buffer>> dropped;
  if (--session_.lock_depth_ == 0) dropped.swap(session_.dropped_);
  session_.mutex_.unlock();
}

int64_t Session::take_id() {
  if (free_ids_.empty()) return next_id_++;
  const int64_t id = free_ids_.back();
  free_ids_.pop_back();
  return id;
}

NodeId Session::add_data(std::shared_ptr<Buffer> buffer, DType dtype, Shape shape,
                         std::span<const int64_t> strides) {
  const int64_t id = take_id();
  const NodeId input = ops::input(graph_, id, dtype, shape, strides);
  data_[id] = {std::move(buffer), input, {}, false, {}};
  return input;
}

NodeId Session::alias_data(NodeId input) {
  COREGRAD_CHECK(graph_[input].op == Op::Input);
  const std::vector<int64_t> strides(graph_.attrs(input).begin() + 1, graph_.attrs(input).end());
  return add_data(buffer(graph_.attr(input, 0)), graph_.dtype(input), graph_.shape(input), strides);
}

void Session::set_source(NodeId input, NodeId source, bool differentiable) {
  const int64_t id = graph_.attr(input, 0);
  COREGRAD_CHECK(source.value < input.value);
  Data& data = data_.at(id);
  data.source = source;
  data.differentiable = differentiable;
  if (graph_[source].op != Op::Input && !data.buffer->is_promise())
    known_.try_emplace(source.value, id);
}

std::optional<NodeId> Session::differentiable_source(NodeId input) const {
  const Data& data = data_.at(graph_.attr(input, 0));
  if (!data.differentiable) return std::nullopt;
  return data.source;
}

void Session::drop_source(NodeId input) {
  data_.at(graph_.attr(input, 0)).differentiable = false;
  note_history_released();
}

void Session::set_leaf(NodeId input, std::weak_ptr<TensorState> leaf) {
  data_.at(graph_.attr(input, 0)).leaf = std::move(leaf);
}

std::shared_ptr<TensorState> Session::leaf_of(NodeId input) const {
  return data_.at(graph_.attr(input, 0)).leaf.lock();
}

std::optional<NodeId> Session::value_of(NodeId node) const {
  if (graph_[node].op == Op::Input) return node;
  const auto found = known_.find(node.value);
  if (found == known_.end()) return std::nullopt;
  return data_.at(found->second).input;
}

std::shared_ptr<Buffer> Session::buffer(int64_t data_id) const { return data_.at(data_id).buffer; }

void Session::collect_if_due() {
  const uint32_t growth = std::min(size_after_collect_, kMaxGrowth) + kCollectNodes;
  if (graph_.size() > size_after_collect_ + growth || released_bytes_ > kCollectBytes) collect();
}

void Session::collect() {
  // An input that is live keeps the source that its gradient flows to; sources precede their
  // inputs, so one downward scan sees every such edge.
  std::vector<bool> live(graph_.size(), false);
  // Nodes that a pending computation would compute: it reads a value that is known and stops there.
  std::vector<bool> pending = live;
  // Nodes through which gradients flow, below known values too.
  std::vector<bool> history = live;
  for (NodeId n : graph_.retained()) live[n.value] = pending[n.value] = true;
  std::vector<NodeId> kept;
  for (uint32_t i = graph_.size(); i-- > 0;) {
    if (!live[i]) continue;
    const auto found = known_.find(i);
    const bool is_known = found != known_.end();
    if (is_known && (pending[i] || history[i])) kept.push_back(data_.at(found->second).input);
    for (NodeId o : graph_.operands({i})) {
      live[o.value] = true;
      pending[o.value] = pending[o.value] || (pending[i] && !is_known);
      history[o.value] = history[o.value] || history[i];
    }
    if (graph_[{i}].op != Op::Input) continue;
    const Data& data = data_.at(graph_.attr({i}, 0));
    if (!data.differentiable) continue;
    live[data.source.value] = history[data.source.value] = true;
    kept.push_back(data.source);
  }
  const std::vector<NodeId> moved = graph_.compact(kept);
  known_.clear();
  for (auto at = data_.begin(); at != data_.end();) {
    Data& data = at->second;
    data.input = moved[data.input.value];
    if (!data.input.is_valid()) {
      free_ids_.push_back(at->first);
      dropped_.push_back(std::move(data.buffer));
      at = data_.erase(at);
      continue;
    }
    if (data.source.is_valid()) data.source = moved[data.source.value];
    if (data.source.is_valid() && graph_[data.source].op != Op::Input && !data.buffer->is_promise())
      known_.try_emplace(data.source.value, at->first);
    ++at;
  }
  released_bytes_ = 0;
  size_after_collect_ = graph_.size();
}

}  // namespace coregrad
