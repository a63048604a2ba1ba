#include "tensor/trace.h"

#include "base/error.h"
#include "coregrad/ops.h"
#include "ir/print.h"
#include "ops/primitives.h"
#include "tensor/session.h"

#include <algorithm>
#include <atomic>
#include <utility>

namespace coregrad {
namespace {

thread_local Trace* active = nullptr;

/// While one lives, this thread is outside of the trace.
class Suspended {
 public:
  Suspended() : trace_(std::exchange(active, nullptr)) {}
  ~Suspended() { active = trace_; }
  Suspended(const Suspended&) = delete;
  Suspended& operator=(const Suspended&) = delete;

 private:
  Trace* trace_;
};

Session& session() { return Session::global(); }
Graph& graph() { return session().graph(); }

std::shared_ptr<Buffer> buffer_of(NodeId input) { return session().buffer(graph().attr(input, 0)); }

}  // namespace

Trace* Trace::current() { return active; }

int64_t Trace::number_for(NodeId node) {
  if (active == nullptr) return 0;
  const bool has_data = graph()[node].op == Op::Input && !buffer_of(node)->is_promise();
  return has_data ? 0 : active->number_;
}

Trace::Trace(std::span<const Tensor> arguments) {
  static std::atomic<int64_t> traces{0};
  COREGRAD_CHECK(active == nullptr);
  number_ = ++traces;
  const Session::Lock lock(session());
  for (size_t i = 0; i < arguments.size(); ++i) {
    const TensorState& given = state_of(arguments[i], "compile");
    const Dims strides = arguments[i].strides();
    const NodeId input = add_input(given.dtype, given.shape, strides, {Source::Argument{i}});
    argument_inputs_.push_back(graph().retain(input));
    arguments_.emplace_back(own_state(input, given));
  }
  active = this;
}

Trace::~Trace() {
  active = nullptr;
  const Session::Lock lock(session());
  for (const Handle h : argument_inputs_) graph().release(h);
  for (const Seen& s : seen_) graph().release(s.input);
  for (const StandIn& s : stand_ins_) {
    graph().release(s.input);
    graph().release(s.node);
  }
}

NodeId Trace::add_input(DType dtype, const Dims& shape, std::span<const int64_t> strides,
                        Source source) {
  buffers_.push_back(Buffer::promise());
  sources_.emplace(buffers_.back().get(), std::move(source));
  return session().add_data(buffers_.back(), dtype, shape, strides);
}

std::shared_ptr<TensorState> Trace::own_state(NodeId node, const TensorState& like) {
  auto state = std::make_shared<TensorState>(node, like.requires_grad);
  state->trace = number_;
  state->is_leaf = like.is_leaf;
  if (state->is_leaf) session().set_leaf(node, state);
  return state;
}

std::shared_ptr<TensorState> Trace::seen(const std::shared_ptr<TensorState>& state) {
  if (state->trace == number_) return state;
  if (state->trace != 0)
    raise<ValueError>("compile: {} was made while another function was recorded; return it there",
                      type_text(state->dtype, state->shape));
  if (const auto at = seen_at_.find(state.get()); at != seen_at_.end())
    return seen_[at->second].inside;
  needs_history_ = needs_history_ || (state->requires_grad && !state->is_leaf && grad_enabled());
  const Tensor outside(state);
  if (!realized_node(*state)) {
    // What is pending outside is computed there, before any call.
    const Suspended without_trace;
    outside.realize();
  }
  const std::span<const int64_t> attrs = graph().attrs(*realized_node(*state)).numbers();
  const NodeId input =
      add_input(state->dtype, state->shape, attrs.subspan(1), {Source::Outside{state}});
  const std::shared_ptr<TensorState> inside = own_state(input, *state);
  if (state->grad.is_defined()) {
    const TensorState& gradient = *state->grad.state();
    inside->grad = Tensor(own_state(
        add_input(gradient.dtype, gradient.shape, {}, {Source::GradientOf{state}}), gradient));
  }
  seen_at_.emplace(state.get(), seen_.size());
  seen_.push_back({.outside = state,
                   .inside = inside,
                   .input = graph().retain(input),
                   .gradient = inside->grad});
  return inside;
}

NodeId Trace::input_for(NodeId node) {
  if (graph()[node].op == Op::Input) return node;
  const Dims shape(graph().shape(node).begin(), graph().shape(node).end());
  const DType dtype = graph().dtype(node);
  const Handle held = graph().retain(node);
  buffers_.push_back(Buffer::promise());
  const NodeId input = session().add_data(buffers_.back(), dtype, shape);
  stand_ins_.push_back({graph().retain(input), held});
  return input;
}

Tensor Trace::seed(Generator& generator) {
  const Session::Lock lock(session());
  return wrap(add_input(DType::Int64, {}, {}, {Source::Seed{&generator}}), false);
}

void Trace::realize_constants(std::span<const Tensor> tensors) {
  std::vector<Tensor> constants;
  {
    const Session::Lock lock(session());
    for (const Tensor& t : tensors) {
      TensorState& state = state_of(t, "realize");
      if (state.trace != number_ || depends_on_call(graph().resolve(state.handle))) continue;
      state.trace = 0;
      constants.push_back(t);
    }
  }
  const Suspended outside;
  coregrad::realize(constants);
}

Trace::Seen* Trace::seen_as(const TensorState& inside) {
  const auto at = std::ranges::find(seen_, &inside, [](const Seen& s) { return s.inside.get(); });
  return at == seen_.end() ? nullptr : &*at;
}

void Trace::note_gradient_read(const TensorState& inside) {
  if (Seen* const s = seen_as(inside); s && !s->gradient_was_set) s->gradient_was_read = true;
}

void Trace::note_gradient_set(const TensorState& inside) {
  if (Seen* const s = seen_as(inside)) s->gradient_was_set = true;
}

bool Trace::depends_on_call(NodeId node) const {
  const std::vector<bool> live = mark_live(graph(), std::span(&node, 1));
  for (uint32_t i = 0; i <= node.value; ++i)
    if (live[i] && graph()[{i}].op == Op::Input && buffer_of({i})->is_promise()) return true;
  return false;
}

std::vector<NodeId> Trace::without_stand_ins(std::vector<NodeId> roots) {
  if (stand_ins_.empty()) return roots;
  std::unordered_map<const Buffer*, NodeId> node_of;
  for (const StandIn& s : stand_ins_)
    node_of[buffer_of(graph().resolve(s.input)).get()] = graph().resolve(s.node);
  std::unordered_map<uint32_t, NodeId> stands_for;  // aliases of them too
  for (uint32_t i = 0; i < graph().size(); ++i)
    if (graph()[{i}].op == Op::Input)
      if (const auto at = node_of.find(buffer_of({i}).get()); at != node_of.end())
        stands_for[i] = at->second;
  std::vector<NodeId> wanted = roots;
  for (const auto& [input, node] : stands_for) wanted.push_back(node);
  const std::vector<bool> live = mark_live(graph(), wanted);
  const uint32_t size = graph().size();
  std::vector<NodeId> moved(size);
  std::vector<NodeId> operands;
  for (uint32_t i = 0; i < size; ++i) {
    if (!live[i]) continue;
    if (const auto at = stands_for.find(i); at != stands_for.end()) {
      moved[i] = moved[at->second.value];  // a stand-in is younger than what it stands for
      continue;
    }
    operands.clear();
    bool is_same = true;
    for (const NodeId o : graph().operands({i})) {
      operands.push_back(moved[o.value]);
      is_same = is_same && moved[o.value] == o;
    }
    const Node n = graph()[{i}];
    moved[i] = is_same ? NodeId{i}
                       : graph().intern(n.op, n.dtype, graph().shape({i}), operands,
                                        graph().attrs({i}), n.literal);
  }
  for (NodeId& root : roots) root = moved[root.value];
  return roots;
}

Recording Trace::finish(std::span<const Tensor> results) {
  const Session::Lock lock(session());
  Recording made;
  made.needs_history = needs_history_;
  std::vector<NodeId> values;
  const auto value_of = [&](const TensorState& state) {
    values.push_back(graph().resolve(state.handle));
    return RecordedValue{false, 0, state.dtype, state.shape};
  };
  for (const Tensor& t : results) {
    const TensorState& state = state_of(t, "compile");
    made.needs_history =
        made.needs_history || (state.requires_grad && !state.is_leaf && !state.is_consumed);
    made.results.push_back(value_of(state));
  }
  const auto add_update = [&](const TensorState& state, Handle before, Source target) {
    if (graph().resolve(state.handle) == graph().resolve(before)) return;
    made.needs_history = made.needs_history || (state.requires_grad && !state.is_leaf);
    made.updates.push_back({std::move(target), value_of(state)});
  };
  for (size_t i = 0; i < arguments_.size(); ++i)
    add_update(*arguments_[i].state(), argument_inputs_[i], {Source::Argument{i}});
  for (const Seen& s : seen_) {
    Recording::Expected expected{s.outside, s.outside->requires_grad, std::nullopt};
    if (s.gradient_was_read) expected.has_gradient = s.gradient.is_defined();
    made.expected.push_back(std::move(expected));
    add_update(*s.inside, s.input, {Source::Outside{s.outside}});
    if (!s.gradient_was_set) continue;
    Recording::Update update{{Source::GradientOf{s.outside}}, std::nullopt};
    if (s.inside->grad.is_defined()) update.value = value_of(*s.inside->grad.state());
    made.updates.push_back(std::move(update));
  }
  values = without_stand_ins(std::move(values));

  std::vector<NodeId> roots;
  std::unordered_map<uint32_t, size_t> root_number;
  for (const NodeId node : values)
    if (graph()[node].op != Op::Input && root_number.try_emplace(node.value, roots.size()).second)
      roots.push_back(node);
  const auto known = [](NodeId) { return std::optional<int64_t>(); };
  const auto identity = [](int64_t id) -> const void* { return session().buffer(id).get(); };
  if (!roots.empty()) made.structure = extract_structure(graph(), roots, known, identity);

  std::unordered_map<const Buffer*, size_t> input_number;
  const auto add_source = [&](const std::shared_ptr<Buffer>& buffer, Dims strides) {
    const auto [at, is_new] = input_number.try_emplace(buffer.get(), made.inputs.size());
    if (is_new) {
      const auto source = sources_.find(buffer.get());
      if (source == sources_.end() && buffer->is_promise())
        raise<ValueError>("compile: a tensor was made while another function was recorded");
      made.inputs.push_back(source == sources_.end() ? Source{Source::Constant{buffer}}
                                                     : source->second);
      made.strides.push_back(std::move(strides));
    }
    return at->second;
  };
  const auto strides_of = [&](NodeId input) {
    const std::span<const int64_t> attrs = graph().attrs(input).numbers();
    return Dims(attrs.begin() + 1, attrs.end());
  };
  std::unordered_map<const Buffer*, NodeId> node_of_buffer;
  for (const NodeId n : made.structure.nodes)
    if (graph()[n].op == Op::Input) node_of_buffer.try_emplace(buffer_of(n).get(), n);
  for (const int64_t id : made.structure.inputs) {
    const std::shared_ptr<Buffer> buffer = session().buffer(id);
    add_source(buffer, strides_of(node_of_buffer.at(buffer.get())));
  }
  auto node = values.begin();
  const auto place = [&](RecordedValue& value) {
    value.is_input = graph()[*node].op == Op::Input;
    value.number = value.is_input ? add_source(buffer_of(*node), strides_of(*node))
                                  : root_number.at(node->value);
    ++node;
  };
  for (RecordedValue& value : made.results) place(value);
  for (Recording::Update& update : made.updates)
    if (update.value) place(*update.value);
  made.structure.nodes.clear();
  return made;
}

}  // namespace coregrad
