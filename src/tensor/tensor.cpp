#include "coregrad/tensor.h"

#include "base/checked.h"
#include "ir/print.h"
#include "ops/primitives.h"
#include "tensor/state.h"
#include "tensor/trace.h"

#include <cstring>

namespace coregrad {

TensorState::TensorState(NodeId node, bool needs_grad)
    : dtype(Session::global().graph().dtype(node)),
      shape(Session::global().graph().shape(node).begin(),
            Session::global().graph().shape(node).end()),
      numel(Session::global().graph().numel(node)),
      handle(Session::global().graph().retain(node)),
      requires_grad(needs_grad),
      trace(Trace::number_for(node)) {}

TensorState::~TensorState() {
  Session& session = Session::global();
  const Session::Lock lock(session);
  if (realized_node(*this)) session.note_released(numel * size_of(dtype));
  if (requires_grad && !is_leaf) session.note_history_released();
  session.graph().release(handle);
}

void TensorState::rebind(NodeId node) {
  Graph& graph = Session::global().graph();
  const Handle before = handle;
  handle = graph.retain(node);
  graph.release(before);
}

TensorState& state_of(const Tensor& tensor, std::string_view operation) {
  const std::shared_ptr<TensorState>& state = tensor.state();
  if (state && state->trace == 0 && Trace::current() == nullptr) return *state;
  return *shared_state(tensor, operation);
}

std::shared_ptr<TensorState> shared_state(const Tensor& tensor, std::string_view operation) {
  if (!tensor.is_defined()) raise<ValueError>("{}: the tensor is undefined", operation);
  if (Trace* const trace = Trace::current()) {
    const Session::Lock lock(Session::global());
    return trace->seen(tensor.state());
  }
  if (tensor.state()->trace != 0)
    raise<ValueError>(
        "{}: {} was made while a function was recorded and has no value; return it from the "
        "function",
        operation, type_text(tensor.state()->dtype, tensor.state()->shape));
  return tensor.state();
}

NodeId node_of(const Tensor& tensor, std::string_view operation) {
  return Session::global().graph().resolve(state_of(tensor, operation).handle);
}

Tensor wrap(NodeId node, bool requires_grad) {
  return Tensor(std::make_shared<TensorState>(node, requires_grad));
}

OperandNodes::OperandNodes(std::string_view operation, std::span<const Tensor> operands) {
  nodes.reserve(operands.size());
  for (const Tensor& t : operands) {
    const TensorState& state = state_of(t, operation);
    nodes.push_back(Session::global().graph().resolve(state.handle));
    requires_grad = requires_grad || state.requires_grad;
  }
  requires_grad = requires_grad && grad_enabled();
}

std::optional<DType> narrow_result(const Graph& graph, std::span<const NodeId> operands) {
  std::vector<NodeId> floats;
  for (const NodeId node : operands)
    if (is_float(graph.dtype(node))) floats.push_back(node);
  if (floats.empty()) return std::nullopt;
  const DType dtype = ops::result_type(graph, floats);
  return is_narrow(dtype) ? std::optional(dtype) : std::nullopt;
}

std::vector<NodeId> widen_narrow(Graph& graph, std::span<const NodeId> operands) {
  std::vector<NodeId> wide;
  for (const NodeId node : operands)
    wide.push_back(ops::cast(graph, node, compute_dtype(graph.dtype(node))));
  return wide;
}

NodeId round_to(Graph& graph, NodeId result, DType narrow) {
  return graph.dtype(result) == DType::Float32 ? ops::cast(graph, result, narrow) : result;
}

std::optional<NodeId> realized_node(const TensorState& state) {
  Session& session = Session::global();
  const NodeId node = session.graph().resolve(state.handle);
  if (session.graph()[node].op != Op::Input) return std::nullopt;
  return node;
}

NodeId input_of(const TensorState& state) {
  if (const std::optional<NodeId> node = realized_node(state)) return *node;
  COREGRAD_CHECK(Trace::current() != nullptr);
  return Trace::current()->input_for(Session::global().graph().resolve(state.handle));
}

DType Tensor::dtype() const { return state_of(*this, "dtype").dtype; }
const Dims& Tensor::shape() const { return state_of(*this, "shape").shape; }
int64_t Tensor::numel() const { return state_of(*this, "numel").numel; }

int64_t Tensor::size(int64_t dim) const { return shape()[ops::normalize_dim(dim, ndim(), "size")]; }

Dims Tensor::strides() const {
  const TensorState& state = state_of(*this, "strides");
  Session& session = Session::global();
  const Session::Lock lock(session);
  if (const std::optional<NodeId> node = realized_node(state)) {
    const std::span<const int64_t> attrs = session.graph().attrs(*node).numbers();
    return Dims(attrs.begin() + 1, attrs.end());
  }
  Dims strides(state.shape.size(), 1);
  for (size_t i = strides.size(); i-- > 1;)
    strides[i - 1] = checked_mul(strides[i], state.shape[i], "strides");
  return strides;
}

bool Tensor::is_contiguous() const {
  const Dims have = strides();
  int64_t expected = 1;
  for (size_t i = have.size(); i-- > 0;) {
    const int64_t extent = shape()[i];
    if (extent == 0) return true;
    if (extent != 1 && have[i] != expected) return false;
    expected *= extent;
  }
  return true;
}

bool Tensor::is_realized() const {
  const TensorState& state = state_of(*this, "is_realized");
  const Session::Lock lock(Session::global());
  return realized_node(state).has_value();
}

const Tensor& Tensor::realize() const {
  coregrad::realize({*this});
  return *this;
}

std::shared_ptr<const void> Tensor::storage() const {
  if (Trace::current() != nullptr)
    raise<ValueError>(
        "compile: the values of {} are asked for while the function is recorded, and are not there "
        "before it runs; return the tensor, or choose with where()",
        type_text(dtype(), shape()));
  realize();
  Session& session = Session::global();
  const Session::Lock lock(session);
  const std::shared_ptr<Buffer> buffer =
      session.buffer(session.graph().attr(*realized_node(*state_), 0));
  return {buffer, buffer->data()};
}

const void* Tensor::data() const { return storage().get(); }

namespace {

template <class Stored, class T>
void copy_elements(const void* data, const Dims& shape, const Dims& strides, std::vector<T>& out) {
  const auto* values = static_cast<const Stored*>(data);
  Dims at(shape.size(), 0);
  int64_t offset = 0;
  for (T& element : out) {
    if constexpr (std::is_arithmetic_v<Stored>)
      element = static_cast<T>(values[offset]);
    else
      element = static_cast<T>(static_cast<float>(values[offset]));
    for (size_t d = shape.size(); d-- > 0;) {
      offset += strides[d];
      if (++at[d] < shape[d]) break;
      offset -= strides[d] * shape[d];
      at[d] = 0;
    }
  }
}

}  // namespace

template <class T>
std::vector<T> Tensor::to_vector() const {
  const void* values = data();
  const Dims steps = strides();
  std::vector<T> out(static_cast<size_t>(numel()));
  switch (dtype()) {
    case DType::Bool:
      copy_elements<uint8_t>(values, shape(), steps, out);
      break;
    case DType::Int32:
      copy_elements<int32_t>(values, shape(), steps, out);
      break;
    case DType::Int64:
      copy_elements<int64_t>(values, shape(), steps, out);
      break;
    case DType::Float16:
      copy_elements<Float16>(values, shape(), steps, out);
      break;
    case DType::BFloat16:
      copy_elements<BFloat16>(values, shape(), steps, out);
      break;
    case DType::Float32:
      copy_elements<float>(values, shape(), steps, out);
      break;
    case DType::Float64:
      copy_elements<double>(values, shape(), steps, out);
      break;
    case DType::Int8:
      copy_elements<int8_t>(values, shape(), steps, out);
      break;
    case DType::UInt8:
      copy_elements<uint8_t>(values, shape(), steps, out);
      break;
    case DType::Int16:
      copy_elements<int16_t>(values, shape(), steps, out);
      break;
    case DType::UInt16:
      copy_elements<uint16_t>(values, shape(), steps, out);
      break;
    case DType::UInt32:
      copy_elements<uint32_t>(values, shape(), steps, out);
      break;
  }
  return out;
}

template std::vector<float> Tensor::to_vector<float>() const;
template std::vector<double> Tensor::to_vector<double>() const;
template std::vector<int32_t> Tensor::to_vector<int32_t>() const;
template std::vector<int64_t> Tensor::to_vector<int64_t>() const;
template std::vector<uint8_t> Tensor::to_vector<uint8_t>() const;

double Tensor::item() const {
  if (numel() != 1)
    raise<ValueError>("item: needs exactly one element, got {}", type_text(dtype(), shape()));
  return to_vector<double>()[0];
}

void assign_with_next(const Tensor& tensor, const Tensor& value) {
  Session& session = Session::global();
  const Session::Lock lock(session);
  tensor.assign(value);
  if (Trace::current() == nullptr) session.add_due(tensor.state());
}

void Tensor::assign(const Tensor& value) const {
  const std::shared_ptr<TensorState> target = shared_state(*this, "assign");
  TensorState& mine = *target;
  const std::shared_ptr<TensorState> source = shared_state(value, "assign");
  const TensorState& theirs = *source;
  if (mine.dtype != theirs.dtype || mine.shape != theirs.shape)
    raise<ShapeError>("assign: expected {}, got {}", type_text(mine.dtype, mine.shape),
                      type_text(theirs.dtype, theirs.shape));
  if (mine.is_leaf) value.realize();
  Session& session = Session::global();
  const Session::Lock lock(session);
  if (realized_node(mine)) session.note_released(mine.numel * size_of(mine.dtype));
  if (mine.is_leaf) {
    const NodeId own = session.alias_data(input_of(theirs));
    mine.rebind(own);
    session.set_leaf(own, target);
  } else {
    mine.rebind(session.graph().resolve(theirs.handle));
    mine.requires_grad = theirs.requires_grad;
    mine.is_consumed = theirs.is_consumed;
  }
}

}  // namespace coregrad
