#include "coregrad/compiled_function.h"

#include "base/checked.h"
#include "ir/print.h"
#include "tensor/evaluate.h"
#include "tensor/session.h"
#include "tensor/trace.h"

#include <algorithm>
#include <atomic>
#include <mutex>
#include <optional>
#include <utility>

namespace coregrad {
namespace {

/// Recordings of one function; the oldest goes. Each set of shapes has one.
constexpr size_t kMaxRecordings = 64;

struct ArgumentType {
  DType dtype;
  Dims shape, strides;
  bool operator==(const ArgumentType&) const = default;
};

struct Signature {
  std::vector<ArgumentType> arguments;
  bool records_gradients;
  bool operator==(const Signature&) const = default;
};

Signature signature_of(std::span<const Tensor> arguments) {
  Signature signature{{}, grad_enabled()};
  for (const Tensor& t : arguments)
    signature.arguments.push_back({t.dtype(), t.shape(), t.strides()});
  return signature;
}

/// One recording, ready to run.
class RecordedPlan {
 public:
  RecordedPlan(Signature signature, Recording recording, bool dynamic)
      : signature(std::move(signature)), recording_(std::move(recording)) {
    if (!recording_.structure.key.empty() && !needs_history())
      executable_ = executable_for(recording_.structure, dynamic);
    for (const RecordedValue& v : recording_.results) add_output(v);
    for (const Recording::Update& u : recording_.updates)
      if (u.value) add_output(*u.value);
  }

  const Signature signature;
  const int64_t number = next_number();
  mutable std::atomic<int64_t> calls{0};

  /// Nothing where what is outside is not what it was.
  std::optional<std::vector<Tensor>> run(std::span<const Tensor> arguments) const;
  CompiledFunction::Recorded describe() const;
  bool needs_history() const { return recording_.needs_history; }

 private:
  static int64_t next_number() {
    static std::atomic<int64_t> last{-1};
    return ++last;
  }

  void add_output(const RecordedValue& value) {
    if (value.is_input) return;
    if (value.number >= output_bytes_.size()) output_bytes_.resize(value.number + 1);
    output_bytes_[value.number] =
        checked_mul(checked_numel(value.shape, "compile"), size_of(value.dtype), "compile");
  }

  /// The tensor whose value a source is now; undefined for what is no tensor.
  static Tensor tensor_of(const Source& source, std::span<const Tensor> arguments) {
    if (const auto* a = std::get_if<Source::Argument>(&source.of)) return arguments[a->number];
    if (const auto* o = std::get_if<Source::Outside>(&source.of)) return Tensor(o->tensor);
    if (const auto* g = std::get_if<Source::GradientOf>(&source.of)) return g->tensor->grad;
    return {};
  }

  bool is_updated(const Source& source, std::span<const Tensor> arguments) const {
    const std::shared_ptr<TensorState> state = tensor_of(source, arguments).state();
    return std::ranges::any_of(recording_.updates, [&](const Recording::Update& u) {
      return tensor_of(u.target, arguments).state() == state;
    });
  }

  bool is_as_expected() const {
    return std::ranges::all_of(recording_.expected, [](const Recording::Expected& e) {
      return e.tensor->requires_grad == e.requires_grad &&
             (!e.has_gradient || e.tensor->grad.is_defined() == *e.has_gradient);
    });
  }

  std::shared_ptr<Buffer> buffer_of(const Source& source, const Dims& strides,
                                    std::span<const Tensor> arguments) const;

  Recording recording_;
  std::shared_ptr<const Executable> executable_;
  std::vector<int64_t> output_bytes_;
};

/// Null where its strides are others than recorded.
std::shared_ptr<Buffer> RecordedPlan::buffer_of(const Source& source, const Dims& strides,
                                                std::span<const Tensor> arguments) const {
  if (const auto* constant = std::get_if<Source::Constant>(&source.of)) return constant->buffer;
  if (const auto* seed = std::get_if<Source::Seed>(&source.of)) {
    std::shared_ptr<Buffer> drawn = Buffer::allocate(sizeof(int64_t));
    *static_cast<int64_t*>(drawn->data()) = seed->generator->next();
    return drawn;
  }
  Session& session = Session::global();
  const Tensor tensor = tensor_of(source, arguments);
  const NodeId node = *realized_node(*tensor.state());
  const std::span<const int64_t> attrs = session.graph().attrs(node).numbers();
  if (!std::ranges::equal(attrs.subspan(1), strides)) return nullptr;
  return session.buffer(attrs[0]);
}

std::optional<std::vector<Tensor>> RecordedPlan::run(std::span<const Tensor> arguments) const {
  Session& session = Session::global();
  std::vector<std::shared_ptr<Buffer>> inputs;
  std::vector<Tensor> pending;
  {
    const Session::Lock lock(session);
    if (!is_as_expected()) return std::nullopt;
    for (const Source& source : recording_.inputs)
      if (const Tensor t = tensor_of(source, arguments);
          t.is_defined() && !realized_node(*t.state()))
        pending.push_back(t);
  }
  if (!pending.empty()) realize(pending);
  {
    const Session::Lock lock(session);
    for (size_t i = 0; i < recording_.inputs.size(); ++i) {
      inputs.push_back(buffer_of(recording_.inputs[i], recording_.strides[i], arguments));
      if (!inputs.back()) return std::nullopt;
    }
  }
  std::vector<std::shared_ptr<Buffer>> outputs;
  std::vector<const void*> from;
  std::vector<void*> to;
  for (size_t i = 0; i < recording_.structure.inputs.size(); ++i) from.push_back(inputs[i]->data());
  for (const int64_t bytes : output_bytes_) {
    outputs.push_back(Buffer::allocate(bytes));
    to.push_back(outputs.back()->data());
  }
  if (executable_) {
    executable_->run(from, to);
    count_run(*executable_);
  }

  const Session::Lock lock(session);
  // Results and updates that are the same value share a node.
  std::vector<NodeId> nodes(outputs.size());
  const auto node_of = [&](const RecordedValue& v) {
    if (v.is_input)
      return session.add_data(inputs[v.number], v.dtype, v.shape, recording_.strides[v.number]);
    NodeId& node = nodes[v.number];
    if (!node.is_valid()) node = session.add_data(outputs[v.number], v.dtype, v.shape);
    return node;
  };
  std::vector<Tensor> results;
  for (const RecordedValue& v : recording_.results) {
    const Tensor given = v.is_input && !is_updated(recording_.inputs[v.number], arguments)
                             ? tensor_of(recording_.inputs[v.number], arguments)
                             : Tensor();
    results.push_back(given.is_defined() ? given : wrap(node_of(v), false));
  }
  for (const Recording::Update& update : recording_.updates) {
    if (const auto* g = std::get_if<Source::GradientOf>(&update.target.of)) {
      g->tensor->grad = update.value ? wrap(node_of(*update.value), false) : Tensor();
      continue;
    }
    const Tensor target = tensor_of(update.target, arguments);
    TensorState& state = *target.state();
    session.note_released(state.numel * size_of(state.dtype));
    const NodeId value = node_of(*update.value);
    state.rebind(state.is_leaf ? session.alias_data(value) : value);
    if (state.is_leaf) session.set_leaf(session.graph().resolve(state.handle), target.state());
  }
  session.collect_if_due();
  ++calls;
  return results;
}

CompiledFunction::Recorded RecordedPlan::describe() const {
  CompiledFunction::Recorded row;
  for (const ArgumentType& a : signature.arguments)
    row.signature += (row.signature.empty() ? "" : ", ") + type_text(a.dtype, a.shape);
  row.inputs = static_cast<int64_t>(recording_.inputs.size());
  row.updates = static_cast<int64_t>(recording_.updates.size());
  row.steps = executable_ ? executable_->num_steps() : 0;
  row.calls = calls;
  if (recording_.needs_history)
    row.reason =
        "gradients flow between it and what is outside: take them in the function, or detach()";
  return row;
}

}  // namespace

struct CompiledFunction::Impl {
  Impl(Function f, Options o) : function(std::move(f)), options(o) {}

  const Function function;
  const Options options;
  mutable std::mutex mutex;
  std::vector<std::shared_ptr<const RecordedPlan>> plans;  // the youngest last

  std::vector<std::shared_ptr<const RecordedPlan>> plans_for(const Signature& signature) const {
    const std::lock_guard lock(mutex);
    std::vector<std::shared_ptr<const RecordedPlan>> found;
    for (size_t i = plans.size(); i-- > 0;)
      if (plans[i]->signature == signature) found.push_back(plans[i]);
    return found;
  }
  void add(std::shared_ptr<const RecordedPlan> plan) {
    const std::lock_guard lock(mutex);
    if (plans.size() >= kMaxRecordings) plans.erase(plans.begin());
    plans.push_back(std::move(plan));
  }
};

CompiledFunction::CompiledFunction(Function function, Options options)
    : impl_(std::make_shared<Impl>(std::move(function), options)) {}

CompiledFunction::Call CompiledFunction::call(std::span<const Tensor> arguments) const {
  const auto needs_gradient = [](const Tensor& t) { return t.requires_grad(); };
  // In another function that is recorded, this one is a part of it.
  if (Trace::current() != nullptr ||
      (grad_enabled() && std::ranges::any_of(arguments, needs_gradient)))
    return {impl_->function(arguments), -1};
  realize(arguments);
  const Signature signature = signature_of(arguments);
  for (const std::shared_ptr<const RecordedPlan>& plan : impl_->plans_for(signature)) {
    if (plan->needs_history()) return {impl_->function(arguments), -1};
    if (std::optional<std::vector<Tensor>> results = plan->run(arguments))
      return {std::move(*results), plan->number};
  }
  std::optional<Recording> recording;
  {
    Trace trace(arguments);
    try {
      recording = trace.finish(impl_->function(trace.arguments()));
    } catch (...) {
      if (!trace.needs_history()) throw;
    }
  }
  if (!recording) return {impl_->function(arguments), -1};
  const auto plan = std::make_shared<const RecordedPlan>(signature, std::move(*recording),
                                                         impl_->options.dynamic);
  impl_->add(plan);
  if (plan->needs_history()) return {impl_->function(arguments), -1};
  std::optional<std::vector<Tensor>> results = plan->run(arguments);
  if (!results) return {impl_->function(arguments), -1};
  return {std::move(*results), plan->number};
}

std::vector<CompiledFunction::Recorded> CompiledFunction::report() const {
  const std::lock_guard lock(impl_->mutex);
  std::vector<Recorded> rows;
  for (const auto& plan : impl_->plans) rows.push_back(plan->describe());
  return rows;
}

}  // namespace coregrad
