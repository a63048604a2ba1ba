// coregrad._core.Program: a compiled graph that takes and gives tensors.

#include "base/error.h"
#include "ir/print.h"
#include "runtime/allocator.h"

#include <nanobind/stl/optional.h>
#include <nanobind/stl/pair.h>
#include <nanobind/stl/shared_ptr.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/tuple.h>
#include <nanobind/stl/vector.h>

#include "bindings.h"
#include "executable.h"
#include "external_call.h"
#include "tensor_exchange.h"
#include <map>
#include <optional>
#include <tuple>
#include <vector>

namespace coregrad::python {
namespace {

using GraphPtr = std::shared_ptr<Graph>;
/// (node, strides or None for contiguous, number of the input whose memory it overwrites or -1).
using OutputTuple = std::tuple<NodeRef, std::optional<std::vector<int64_t>>, int64_t>;
using ResultTuple = std::pair<DType, std::vector<int64_t>>;
/// (name, function, results).
using ExternalTuple = std::tuple<std::string, nb::object, std::vector<ResultTuple>>;

class Program {
 public:
  Program(const GraphPtr& graph, const std::vector<OutputTuple>& outputs, int64_t num_inputs,
          const std::vector<ExternalTuple>& externals, const std::string& name, bool interpret)
      : name_(name) {
    std::vector<OutputSpec> specs;
    for (const auto& [node, strides, aliased] : outputs) {
      const Shape shape = graph->shape(id_in(graph, node, "program"));
      if (aliased >= num_inputs)
        raise<ValueError>("program: output overwrites input {} of {}", aliased, num_inputs);
      outputs_.push_back({TensorSpec::make(graph->dtype(node.id), {shape.begin(), shape.end()},
                                           strides.value_or(std::vector<int64_t>{})),
                          aliased});
      specs.push_back({node.id, strides.value_or(std::vector<int64_t>{}), aliased});
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
    if (interpret) {
      executable_ = make_oracle_executable(*graph, specs, num_inputs, steps, std::move(results));
      return;
    }
    CompileOptions options;
    options.externals = steps;
    options.name = name;
    CompiledPlan compiled = compile(*graph, specs, num_inputs, options);
    report_ = compiled.report;
    dot_ = std::move(compiled.graph_dot);
    executable_ = make_plan_executable(std::move(compiled.plan));
  }

  /// Takes tensors (or Python ints for int64 scalars), gives the outputs that own their memory; the
  /// ones that overwrite inputs are not among them. Empties the list, so that the caller's tensors
  /// can be freed as soon as the program is done with them.
  nb::list run(const nb::list& inputs) const {
    if (nb::len(inputs) != inputs_.size())
      raise<ValueError>("{}: takes {} inputs, got {}", name_, inputs_.size(), nb::len(inputs));
    std::vector<const void*> from(inputs_.size(), nullptr);
    std::vector<int64_t> scalars(inputs_.size());
    std::vector<Block> copies;
    for (size_t i = 0; i < inputs_.size(); ++i) {
      if (!inputs_[i].is_used && !inputs_[i].is_written) continue;
      PyObject* object = PyList_GET_ITEM(inputs.ptr(), static_cast<Py_ssize_t>(i));
      from[i] = bind_input(i, object, &scalars[i], &copies);
    }
    std::vector<void*> to(outputs_.size());
    std::vector<Block> blocks(outputs_.size());
    for (size_t i = 0; i < outputs_.size(); ++i) {
      if (outputs_[i].aliased >= 0) {
        to[i] = const_cast<void*>(from[static_cast<size_t>(outputs_[i].aliased)]);
        continue;
      }
      blocks[i] = allocate_block(outputs_[i].spec.bytes());
      to[i] = blocks[i].get();
    }
    {
      const nb::gil_scoped_release release;
      executable_->run(from, to);
    }
    if (PyList_SetSlice(inputs.ptr(), 0, PyList_GET_SIZE(inputs.ptr()), nullptr) != 0)
      nb::raise_python_error();
    nb::list results;
    for (size_t i = 0; i < outputs_.size(); ++i)
      if (outputs_[i].aliased < 0)
        results.append(adopt_block(std::move(blocks[i]), outputs_[i].spec));
    return results;
  }

  std::string to_text() const { return executable_->to_text(); }
  const std::string& to_dot() const { return dot_; }
  const std::string& name() const { return name_; }

  nb::dict report() const {
    nb::dict d;
    d["nodes_in"] = report_.nodes_in;
    d["nodes_optimized"] = report_.nodes_optimized;
    d["kernels"] = report_.kernels;
    d["kernels_compiled"] = report_.kernels_compiled;
    d["kernel_cache_hits"] = report_.kernel_cache_hits;
    d["steps"] = report_.steps;
    d["temporary_bytes"] = report_.temporary_bytes;
    d["total_ms"] = report_.total_ms;
    d["passes_ms"] = report_.passes_ms;
    d["lowering_ms"] = report_.lowering_ms;
    d["llvm_ms"] = report_.llvm_ms;
    return d;
  }

 private:
  struct Input : TensorSpec {
    bool is_written = false;
  };
  struct Output {
    TensorSpec spec;
    int64_t aliased;
  };

  void find_inputs(const Graph& graph, std::span<const OutputSpec> specs, int64_t num_inputs) {
    if (num_inputs < 0) raise<ValueError>("program: {} inputs", num_inputs);
    inputs_.resize(static_cast<size_t>(num_inputs));
    std::vector<NodeId> roots;
    for (const OutputSpec& s : specs) roots.push_back(s.node);
    const std::vector<bool> live = mark_live(graph, roots);
    for (uint32_t i = 0; i < graph.size(); ++i) {
      if (!live[i] || graph[{i}].op != Op::Input) continue;
      const std::span<const int64_t> attrs = graph.attrs({i});
      const int64_t index = attrs[0];
      if (index >= num_inputs)
        raise<ValueError>("program: the graph reads input {}, there are {}", index, num_inputs);
      const Shape shape = graph.shape({i});
      static_cast<TensorSpec&>(inputs_[static_cast<size_t>(index)]) = TensorSpec::make(
          graph.dtype({i}), {shape.begin(), shape.end()}, {attrs.begin() + 1, attrs.end()});
      inputs_[static_cast<size_t>(index)].is_used = true;
    }
    for (const Output& o : outputs_) {
      if (o.aliased < 0) continue;
      Input& input = inputs_[static_cast<size_t>(o.aliased)];
      input.is_written = true;
      if (!input.is_used) static_cast<TensorSpec&>(input) = o.spec;
    }
  }

  std::vector<ExternalStep> make_steps(const Graph& graph,
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

  const void* bind_input(size_t i, PyObject* object, int64_t* scalar,
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
    if (has_strides(tensor, spec)) [[likely]]
      return static_cast<const std::byte*>(tensor.data) + tensor.byte_offset;
    if (spec.is_written)
      raise<LayoutError>(
          "{}: input {}, which is overwritten, is {}; it was compiled for other strides", name_, i,
          describe_tensor(tensor));
    copies->push_back(allocate_block(spec.bytes()));
    copy_to_layout(tensor, spec, copies->back().get());
    return copies->back().get();
  }

  std::string name_;
  std::vector<Input> inputs_;
  std::vector<Output> outputs_;
  std::unique_ptr<Executable> executable_;
  CompileReport report_;
  std::string dot_;
};

}  // namespace

void bind_program(nb::module_& m) {
  m.def(
      "attach_exchange_api", [](nb::handle capsule) { attach_exchange_api(capsule); },
      nb::arg("capsule"), "Uses an array library's DLPack exchange table for tensors in and out.");
  nb::class_<Program>(m, "Program", "A compiled graph. Calling it from several threads is safe.")
      .def(nb::init<const GraphPtr&, const std::vector<OutputTuple>&, int64_t,
                    const std::vector<ExternalTuple>&, const std::string&, bool>(),
           nb::arg("graph"), nb::arg("outputs"), nb::arg("num_inputs"),
           nb::arg("externals") = std::vector<ExternalTuple>{}, nb::arg("name") = "graph",
           nb::arg("interpret") = false,
           "Compiles outputs given as (node, strides or None, overwritten input or -1).")
      .def("__call__", &Program::run, nb::arg("inputs"),
           "Runs on a list of tensors, which is emptied, and returns a list of tensors.")
      .def("to_text", &Program::to_text)
      .def("to_dot", &Program::to_dot)
      .def_prop_ro("report", &Program::report)
      .def_prop_ro("name", &Program::name);
}

}  // namespace coregrad::python
