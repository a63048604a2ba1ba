#include "program.h"

#include "base/error.h"
#include "base/flags.h"
#include "compile/plan_template.h"
#include "ir/print.h"
#include "runtime/allocator.h"

#include "small_array.h"
#include <algorithm>
#include <chrono>

namespace coregrad::python {

namespace {

std::vector<std::shared_ptr<const ExternalCall>> make_calls(
    const Graph& graph, const std::vector<ExternalTuple>& externals) {
  std::vector<std::shared_ptr<ExternalCall>> calls;
  for (const auto& [label, function, types, sizes] : externals) {
    auto call = std::make_shared<ExternalCall>();
    call->function = function;
    for (const auto& [dtype, shape] : types) call->results.push_back({dtype, shape});
    call->sizes = sizes;
    calls.push_back(std::move(call));
  }
  for (uint32_t i = 0; i < graph.size(); ++i) {
    if (graph[{i}].op != Op::External) continue;
    const auto id = static_cast<size_t>(graph.attr({i}, 0));
    if (id >= calls.size()) raise<ValueError>("program: external {} was not given", id);
    if (!calls[id]->operands.empty()) continue;
    for (NodeId operand : graph.operands({i})) {
      const Shape shape = graph.shape(operand);
      calls[id]->operands.push_back({graph.dtype(operand), {shape.begin(), shape.end()}});
    }
  }
  return {calls.begin(), calls.end()};
}

}  // namespace

ProgramTemplate::ProgramTemplate(const GraphPtr& graph, const std::vector<OutputTuple>& outputs,
                                 int64_t num_inputs, const std::vector<ExternalTuple>& externals,
                                 const std::string& name, const std::string& executor_name,
                                 bool any_size, int max_threads, std::shared_ptr<ShapeEnv> env,
                                 bool specialize)
    : name_(name), max_threads_(max_threads) {
  const Executor executor = parse_executor(executor_name, "program: executor");
  std::vector<OutputSpec> specs;
  for (const auto& [node, strides, aliased] : outputs) {
    const Shape shape = graph->shape(id_in(graph, node, "program"));
    if (aliased >= num_inputs)
      raise<ValueError>("program: output overwrites input {} of {}", aliased, num_inputs);
    BorderTensor& output = outputs_.emplace_back();
    output.dtype = graph->dtype(node.id);
    output.shape.assign(shape.begin(), shape.end());
    output.strides = strides.value_or(std::vector<SymInt>{});
    output.aliased = aliased;
    specs.push_back({node.id, output.strides, aliased});
  }
  find_inputs(*graph, specs, num_inputs);
  const auto calls = make_calls(*graph, externals);
  std::vector<ExternalStep> steps;
  for (size_t i = 0; i < calls.size(); ++i)
    steps.push_back(make_external_step(std::get<0>(externals[i]), calls[i]));
  std::vector<SymInt> sizes;
  const auto prepare = [&sizes](const std::vector<BorderTensor>& side, auto& fixed) {
    for (const BorderTensor& tensor : side) {
      fixed.push_back(nullptr);
      if (!has_symbols(tensor.shape) && !has_symbols(tensor.strides)) {
        fixed.back() = std::make_shared<const TensorSpec>(
            TensorSpec::make(tensor.dtype, specialized(tensor.shape), specialized(tensor.strides)));
        continue;
      }
      sizes.insert(sizes.end(), tensor.shape.begin(), tensor.shape.end());
      sizes.insert(sizes.end(), tensor.strides.begin(), tensor.strides.end());
    }
  };
  prepare(inputs_, fixed_inputs_);
  prepare(outputs_, fixed_outputs_);
  sizes_ = SizeProgram(sizes);
  dot_ = [&] {
    std::vector<NodeId> roots;
    for (const OutputSpec& s : specs) roots.push_back(s.node);
    return coregrad::to_dot(*graph, roots);
  }();
  const nb::gil_scoped_release release;
  if (executor == Executor::Interpreter) {
    if (env) raise<ValueError>("program: the interpreter knows no symbols");
    std::vector<std::vector<ExternalResult>> results;
    for (const auto& call : calls) {
      results.emplace_back();
      for (const auto& [dtype, shape] : call->results)
        results.back().push_back({dtype, specialized(shape)});
    }
    interpreter_ = make_oracle_executable(*graph, specs, num_inputs, steps, std::move(results));
    return;
  }
  CompileOptions options;
  options.externals = steps;
  options.name = name;
  options.any_size = any_size;
  options.optimize = executor == Executor::Plan;
  options.env = std::move(env);
  compiled_ = compile(*graph, specs, num_inputs, options);
  report_ = compiled_.report;
  if (specialize && options.env)
    source_ = std::make_shared<const SpecializationSource>(
        Specializer(graph, specs, num_inputs, options), max_threads, report_.total_ms * 1e6,
        std::make_shared<SpecializationStats>());
  dot_ = std::move(compiled_.graph_dot);
}

void ProgramTemplate::find_inputs(const Graph& graph, std::span<const OutputSpec> specs,
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
    BorderTensor& input = inputs_[static_cast<size_t>(index)];
    input.dtype = graph.dtype({i});
    input.shape.assign(shape.begin(), shape.end());
    input.strides.assign(attrs.begin() + 1, attrs.end());
    input.is_used = true;
  }
  for (const BorderTensor& output : outputs_) {
    if (output.aliased < 0) continue;
    BorderTensor& input = inputs_[static_cast<size_t>(output.aliased)];
    if (!input.is_used) {
      input.dtype = output.dtype;
      input.shape = output.shape;
      input.strides = output.strides;
    }
    input.is_written = true;
  }
}

size_t ProgramTemplate::num_results() const {
  return static_cast<size_t>(
      std::ranges::count_if(outputs_, [](const BorderTensor& t) { return t.aliased < 0; }));
}

std::shared_ptr<Program> ProgramTemplate::bind(std::span<const int64_t> values) const {
  std::shared_ptr<const Executable> executable = interpreter_;
  if (!executable) {
    const nb::gil_scoped_release release;  // products may be compiled
    executable = make_plan_executable(
        compiled_.plan ? compiled_.plan : compiled_.sizes->bind(values), max_threads_);
  }
  const std::vector<int64_t> numbers = sizes_.run(values);
  auto next = numbers.begin();
  const auto take = [&next](const std::vector<SymInt>& sizes) {
    const auto first = std::exchange(next, next + static_cast<std::ptrdiff_t>(sizes.size()));
    return std::vector<int64_t>(first, next);
  };
  const auto spec_of = [&take](const BorderTensor& tensor,
                               const std::shared_ptr<const TensorSpec>& fixed) {
    if (fixed) return fixed;
    std::vector<int64_t> shape = take(tensor.shape);
    return std::make_shared<const TensorSpec>(
        TensorSpec::make(tensor.dtype, std::move(shape), take(tensor.strides)));
  };
  std::vector<Program::Input> inputs;
  inputs.reserve(inputs_.size());
  for (size_t i = 0; i < inputs_.size(); ++i)
    inputs.push_back(
        {spec_of(inputs_[i], fixed_inputs_[i]), inputs_[i].is_used, inputs_[i].is_written});
  std::vector<Program::Output> outputs;
  outputs.reserve(outputs_.size());
  for (size_t i = 0; i < outputs_.size(); ++i)
    outputs.push_back({spec_of(outputs_[i], fixed_outputs_[i]), outputs_[i].aliased});
  return std::make_shared<Program>(
      shared_from_this(), std::move(inputs), std::move(outputs), std::move(executable),
      source_ ? std::make_unique<Specialization>(source_, values) : nullptr);
}

Program::Program(std::shared_ptr<const ProgramTemplate> made_by, std::vector<Input> inputs,
                 std::vector<Output> outputs, std::shared_ptr<const Executable> executable,
                 std::unique_ptr<Specialization> specialization)
    : made_by_(std::move(made_by)),
      inputs_(std::move(inputs)),
      outputs_(std::move(outputs)),
      executable_(std::move(executable)),
      specialization_(std::move(specialization)) {
  for (const Output& output : outputs_) num_results_ += output.aliased < 0;
}

void Program::run(std::span<PyObject* const> inputs, std::span<nb::object> results) const {
  if (inputs.size() != inputs_.size())
    raise<ValueError>("{}: takes {} inputs, got {}", name(), inputs_.size(), inputs.size());
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
    blocks[i] = allocate_block(outputs_[i].spec->bytes());
    to[i] = blocks[i].get();
  }
  execute(from.span(), to.span());
  size_t made = 0;
  for (size_t i = 0; i < outputs_.size(); ++i)
    if (outputs_[i].aliased < 0)
      results[made++] = adopt_block(std::move(blocks[i]), *outputs_[i].spec);
}

void Program::execute(std::span<const void* const> inputs, std::span<void* const> outputs) const {
  const auto run = [&](const Executable& executable) {
    if (executable.is_short()) return executable.run(inputs, outputs);
    const nb::gil_scoped_release release;
    executable.run(inputs, outputs);
  };
  if (!specialization_) return run(*executable_);
  const Executable& chosen = specialization_->choose(*executable_);
  const auto start = std::chrono::steady_clock::now();
  run(chosen);
  const std::chrono::duration<double, std::nano> took = std::chrono::steady_clock::now() - start;
  specialization_->count(chosen, took.count());
}

const void* Program::bind_input(size_t i, PyObject* object, int64_t* scalar,
                                std::vector<Block>* copies) const {
  const TensorSpec& spec = *inputs_[i].spec;
  if (PyLong_Check(object)) {
    if (spec.dtype != DType::Int64 || !spec.shape.empty())
      raise<DTypeError>("{}: input {} is an int, compiled for {}", name(), i,
                        type_text(spec.dtype, spec.shape));
    *scalar = PyLong_AsLongLong(object);
    if (*scalar == -1 && PyErr_Occurred() != nullptr) nb::raise_python_error();
    return scalar;
  }
  const dlpack::Tensor tensor = borrow_tensor(object);
  if (!has_type(tensor, spec)) [[unlikely]]
    raise<ShapeError>("{}: input {} is {}, compiled for {}", name(), i, describe_tensor(tensor),
                      type_text(spec.dtype, spec.shape));
  const bool can_be_negated = spec.shape.empty() && is_float(spec.dtype);
  if (has_same_strides(tensor, spec) && !can_be_negated) [[likely]]
    return static_cast<const std::byte*>(tensor.data) + tensor.byte_offset;
  return bind_other_layout(i, object, copies);
}

const void* Program::bind_other_layout(size_t i, PyObject* object,
                                       std::vector<Block>* copies) const {
  const TensorSpec& spec = *inputs_[i].spec;
  // PyTorch marks some views as "to be negated" instead of computing them, and DLPack does not say
  // so. They are parts of complex tensors: their strides give them away unless they are scalars.
  nb::object resolved = nb::borrow(object);
  if (nb::hasattr(resolved, "resolve_neg")) resolved = resolved.attr("resolve_neg")();
  const dlpack::Tensor tensor = borrow_tensor(resolved.ptr());
  if (resolved.is(object) && has_strides(tensor, spec))
    return static_cast<const std::byte*>(tensor.data) + tensor.byte_offset;
  if (inputs_[i].is_written)
    raise<LayoutError>(
        "{}: input {}, which is overwritten, is {}; it was compiled for other strides", name(), i,
        describe_tensor(tensor));
  copies->push_back(allocate_block(spec.bytes()));
  copy_to_layout(tensor, spec, copies->back().get());
  return copies->back().get();
}

int64_t Program::bytes() const {
  constexpr int64_t kTensor = 256;
  const auto tensors = static_cast<int64_t>(inputs_.size() + outputs_.size());
  return executable_->bytes() + tensors * kTensor + (made_by_->is_for_symbols() ? 0 : kCodeBytes);
}

}  // namespace coregrad::python
