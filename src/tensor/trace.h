#pragma once
// What a function does with tensors, recorded without computing it.
//
// While a trace is active on a thread, tensors from outside are seen through states of the trace's
// own: inputs that have no data, each with a *source* that says where a later call finds its value.
// What the function does to a tensor (assign(), gradients, updates of an optimiser) happens to that
// state alone, so nothing outside changes while it records, and other threads see nothing of it. At
// the end, the states that changed are results too.
//
// Values can not be asked for. realize() does nothing for what depends on an input; what depends on
// none (the zeros that an optimiser starts with) is computed and belongs to the outside.

#include "coregrad/random.h"
#include "coregrad/tensor.h"
#include "tensor/buffer.h"
#include "tensor/state.h"
#include "tensor/structure.h"

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <unordered_map>
#include <variant>
#include <vector>

namespace coregrad {

/// Where a call finds the value of an input.
struct Source {
  struct Argument {
    size_t number;
  };
  struct Outside {
    std::shared_ptr<TensorState> tensor;
  };
  struct GradientOf {
    std::shared_ptr<TensorState> tensor;
  };
  struct Seed {
    Generator* generator;
  };
  struct Constant {
    std::shared_ptr<Buffer> buffer;
  };
  std::variant<Argument, Outside, GradientOf, Seed, Constant> of;
};

/// A value that a call gives: an input's as it is, or one that the plan computes.
struct RecordedValue {
  bool is_input;
  size_t number;  ///< of the input, or of the plan's result
  DType dtype;
  Dims shape;
};

/// What was recorded.
struct Recording {
  Structure structure;
  std::vector<Source> inputs;  ///< the structure's, and others that are given on
  std::vector<Dims> strides;   ///< of each input, in elements
  std::vector<RecordedValue> results;
  struct Update {
    Source target;                       ///< an argument, an outside tensor, or the gradient of one
    std::optional<RecordedValue> value;  ///< nothing: a gradient is forgotten
  };
  std::vector<Update> updates;
  /// Outside tensors, whether they collected gradients, and, if that was asked, had one.
  struct Expected {
    std::shared_ptr<TensorState> tensor;
    bool requires_grad;
    std::optional<bool> has_gradient;
  };
  std::vector<Expected> expected;
  /// Gradients flow between it and the outside; the recording is of no use then.
  bool needs_history = false;
};

class Trace {
 public:
  /// Active on this thread until it goes. There must be none.
  explicit Trace(std::span<const Tensor> arguments);
  ~Trace();
  Trace(const Trace&) = delete;
  Trace& operator=(const Trace&) = delete;

  /// This thread's, if one is active.
  static Trace* current();
  /// Of the active trace, for what it makes; 0 for what is outside.
  static int64_t number_for(NodeId node);

  /// What the function is called with.
  const std::vector<Tensor>& arguments() const { return arguments_; }
  Recording finish(std::span<const Tensor> results);
  /// Whether a tensor was read whose gradient would flow on outside.
  bool needs_history() const { return needs_history_; }

  /// Computes those that no call changes; they belong to the outside then.
  void realize_constants(std::span<const Tensor> tensors);
  /// What stands for a tensor. Under the session's lock, as all below.
  std::shared_ptr<TensorState> seen(const std::shared_ptr<TensorState>& state);
  /// An input that stands for a node, with a gradient of its own.
  NodeId input_for(NodeId node);
  /// A seed that each call draws anew.
  Tensor seed(Generator& generator);
  /// The gradient of a state of the trace was read, or replaced by something else.
  void note_gradient_read(const TensorState& inside);
  void note_gradient_set(const TensorState& inside);
  /// Whether the node's value is known to a call only.
  bool depends_on_call(NodeId node) const;

 private:
  /// An input without data.
  NodeId add_input(DType dtype, const Dims& shape, std::span<const int64_t> strides, Source source);
  std::shared_ptr<TensorState> own_state(NodeId node, const TensorState& like);
  /// The nodes with the inputs that stand for others replaced by those.
  std::vector<NodeId> without_stand_ins(std::vector<NodeId> roots);

  struct Seen {
    std::shared_ptr<TensorState> outside, inside;
    Handle input;
    Tensor gradient;  ///< of `inside`, when it was made
    bool gradient_was_read = false, gradient_was_set = false;
  };
  Seen* seen_as(const TensorState& inside);
  struct StandIn {
    Handle input, node;
  };

  int64_t number_;
  bool needs_history_ = false;
  std::vector<Tensor> arguments_;
  std::vector<Handle> argument_inputs_;
  std::vector<Seen> seen_;
  std::unordered_map<const TensorState*, size_t> seen_at_;
  std::vector<StandIn> stand_ins_;
  std::unordered_map<const Buffer*, Source> sources_;
  std::vector<std::shared_ptr<Buffer>> buffers_;  ///< keys of sources_
  std::vector<Tensor> seeds_;
};

}  // namespace coregrad
