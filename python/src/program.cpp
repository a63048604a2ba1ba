#include "program.h"

#include "base/error.h"
#include "base/flags.h"
#include "ir/print.h"
#include "runtime/allocator.h"

#include "small_array.h"

namespace coregrad::python {

Program::Program(const GraphPtr& graph, const std::vector<OutputTuple>& outputs, int64_t num_inputs,
                 const std::vector<ExternalTuple>& externals, const std::string& name,
                 const std::string& executor_name, bool any_size, int max_threads)
    : name_(name) {
  const Executor executor = parse_executor(executor_name, "program: executor");
  std::vector<OutputSpec> specs;
  for (const auto& [node, strides, aliased] : outputs) {
    const Shape shape = graph->shape(id_in(graph, node, "program"));
    if (aliased >= num_inputs)
      raise<ValueError>("program: output overwrites input {} of {}", aliased, num_inputs);
    outputs_.push_back({TensorSpec::make(graph->dtype(node.id), {shape.begin(), shape.end()},
                                         strides.value_or(std::vector<int64_t>{})),
                        aliased});
    num_results_ += aliased < 0;
    OutputSpec& spec = specs.emplace_back();
    spec.node = node.id;
    if (strides) spec.strides.assign(strides->begin(), strides->end());
    spec.aliases_input = aliased;
  }
  find_inputs(*graph, specs, num_inputs);
  std::vector<std::vector<ExternalResult>> results;
  const std::vector<ExternalStep> steps = make_steps(*graph, externals, &results);
  dot_ = [&] {
    std::vector<NodeId> roots;
    for (const OutputSpec& s : specs) roots.push_back(s.node);
    return coregrad::to_dot(*graph, roots);
  }();
  const nb::gil_scoped_release release;
  if (executor == Executor::Interpreter) {
    executable_ = make_oracle_executable(*graph, specs, num_inputs, steps, std::move(results));
    return;
  }
  CompileOptions options;
  options.externals = steps;
  options.name = name;
  options.any_size = any_size;
  options.optimize = executor == Executor::Plan;
  CompiledPlan compiled = compile(*graph, specs, num_inputs, options);
  report_ = compiled.report;
  dot_ = std::move(compiled.graph_dot);
  executable_ = make_plan_executable(std::move(compiled.plan), max_threads);
}

void Program::find_inputs(const Graph& graph, std::span<const OutputSpec> specs,
                          int64_t num_inputs) {
  if (num_inputs < 0) raise<ValueError>("program: {} inputs", num_inputs);
  inputs_.resize(static_cast<size_t>(num_inputs));
  std::vector<NodeId> roots;
  for (const OutputSpec& s : specs) roots.push_back(s.node);
  const std::vector<bool> live = mark_live(graph, roots);
  for (uint32_t i = 0; i < graph.size(); ++i) {
    if (!live[i] || graph[{i}].op != Op::Input) continue;
    const SymInts attrs = graph.attrs({i});
    const int64_t index = attrs[0];
    if (index >= num_inputs)
      raise<ValueError>("program: the graph reads input {}, there are {}", index, num_inputs);
    const Shape shape = graph.shape({i});
    static_cast<TensorSpec&>(inputs_[index]) = TensorSpec::make(
        graph.dtype({i}), {shape.begin(), shape.end()}, {attrs.begin() + 1, attrs.end()});
    inputs_[index].is_used = true;
  }
  for (const Output& o : outputs_) {
    if (o.aliased < 0) continue;
    Input& input = inputs_[o.aliased];
    input.is_written = true;
    if (!input.is_used) static_cast<TensorSpec&>(input) = o.spec;
  }
}

std::vector<ExternalStep> Program::make_steps(const Graph& graph,
                                              const std::vector<ExternalTuple>& externals,
                                              std::vector<std::vector<ExternalResult>>* results) {
  std::vector<std::shared_ptr<ExternalCall>> calls;
  for (const auto& [label, function, types] : externals) {
    auto call = std::make_shared<ExternalCall>();
    call->function = function;
    results->emplace_back();
    for (const auto& [dtype, shape] : types) {
      call->results.push_back(TensorSpec::make(dtype, shape, {}));
      results->back().push_back({dtype, shape});
    }
    calls.push_back(std::move(call));
  }
  for (uint32_t i = 0; i < graph.size(); ++i) {
    if (graph[{i}].op != Op::External) continue;
    const auto id = static_cast<size_t>(graph.attr({i}, 0));
    if (id >= calls.size()) raise<ValueError>("program: external {} was not given", id);
    if (!calls[id]->operands.empty()) continue;
    for (NodeId operand : graph.operands({i})) {
      const Shape shape = graph.shape(operand);
      calls[id]->operands.push_back(
          TensorSpec::make(graph.dtype(operand), {shape.begin(), shape.end()}, {}));
    }
  }
  std::vector<ExternalStep> steps;
  for (size_t i = 0; i < calls.size(); ++i)
    steps.push_back(make_external_step(std::get<0>(externals[i]), calls[i]));
  return steps;
}

void Program::run(std::span<PyObject* const> inputs, std::span<nb::object> results) const {
  if (inputs.size() != inputs_.size())
    raise<ValueError>("{}: takes {} inputs, got {}", name_, inputs_.size(), inputs.size());
  SmallArray<const void*, 64> from(inputs_.size());
  SmallArray<int64_t, 64> scalars(inputs_.size());
  std::vector<Block> copies;
  for (size_t i = 0; i < inputs_.size(); ++i)
    if (inputs_[i].is_used || inputs_[i].is_written)
      from[i] = bind_input(i, inputs[i], &scalars[i], &copies);
  SmallArray<void*, 32> to(outputs_.size());
  SmallArray<Block, 32> blocks(outputs_.size());
  for (size_t i = 0; i < outputs_.size(); ++i) {
    if (outputs_[i].aliased >= 0) {
      to[i] = const_cast<void*>(from[outputs_[i].aliased]);
      continue;
    }
    blocks[i] = allocate_block(outputs_[i].spec.bytes());
    to[i] = blocks[i].get();
  }
  if (executable_->is_short()) {
    executable_->run(from.span(), to.span());
  } else {
    const nb::gil_scoped_release release;
    executable_->run(from.span(), to.span());
  }
  size_t made = 0;
  for (size_t i = 0; i < outputs_.size(); ++i)
    if (outputs_[i].aliased < 0)
      results[made++] = adopt_block(std::move(blocks[i]), outputs_[i].spec);
}

const void* Program::bind_input(size_t i, PyObject* object, int64_t* scalar,
                                std::vector<Block>* copies) const {
  const Input& spec = inputs_[i];
  if (PyLong_Check(object)) {
    if (spec.dtype != DType::Int64 || !spec.shape.empty())
      raise<DTypeError>("{}: input {} is an int, compiled for {}", name_, i,
                        type_text(spec.dtype, spec.shape));
    *scalar = PyLong_AsLongLong(object);
    if (*scalar == -1 && PyErr_Occurred() != nullptr) nb::raise_python_error();
    return scalar;
  }
  const dlpack::Tensor tensor = borrow_tensor(object);
  if (!has_type(tensor, spec)) [[unlikely]]
    raise<ShapeError>("{}: input {} is {}, compiled for {}", name_, i, describe_tensor(tensor),
                      type_text(spec.dtype, spec.shape));
  const bool can_be_negated = spec.shape.empty() && is_float(spec.dtype);
  if (has_same_strides(tensor, spec) && !can_be_negated) [[likely]]
    return static_cast<const std::byte*>(tensor.data) + tensor.byte_offset;
  return bind_other_layout(i, object, copies);
}

const void* Program::bind_other_layout(size_t i, PyObject* object,
                                       std::vector<Block>* copies) const {
  const Input& spec = inputs_[i];
  // PyTorch marks some views as "to be negated" instead of computing them, and DLPack does not say
  // so. They are parts of complex tensors: their strides give them away unless they are scalars.
  nb::object resolved = nb::borrow(object);
  if (nb::hasattr(resolved, "resolve_neg")) resolved = resolved.attr("resolve_neg")();
  const dlpack::Tensor tensor = borrow_tensor(resolved.ptr());
  if (resolved.is(object) && has_strides(tensor, spec))
    return static_cast<const std::byte*>(tensor.data) + tensor.byte_offset;
  if (spec.is_written)
    raise<LayoutError>(
        "{}: input {}, which is overwritten, is {}; it was compiled for other strides", name_, i,
        describe_tensor(tensor));
  copies->push_back(allocate_block(spec.bytes()));
  copy_to_layout(tensor, spec, copies->back().get());
  return copies->back().get();
}

}  // namespace coregrad::python
