// coregrad._core.Program and the entry that torch.compile calls.

#include "codegen/jit/host_target.h"
#include "runtime/thread_team.h"

#include <nanobind/stl/optional.h>
#include <nanobind/stl/pair.h>
#include <nanobind/stl/shared_ptr.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/tuple.h>
#include <nanobind/stl/vector.h>

#include "bindings.h"
#include "entry.h"
#include "program.h"
#include "sized_entry.h"
#include "small_array.h"
#include "tensor_exchange.h"

namespace coregrad::python {
namespace {

nb::list run_list(const Program& program, const nb::list& inputs) {
  SmallArray<nb::object, 32> results(program.num_results());
  program.run({reinterpret_cast<PyListObject*>(inputs.ptr())->ob_item, nb::len(inputs)},
              results.span());
  nb::list list;
  for (const nb::object& made : results.span()) list.append(made);
  return list;
}

template <class Compiled>
nb::dict report(const Compiled& program) {
  const CompileReport& r = program.report();
  nb::dict d;
  d["nodes_in"] = r.nodes_in;
  d["nodes_optimized"] = r.nodes_optimized;
  d["kernels"] = r.kernels;
  d["kernels_compiled"] = r.kernels_compiled;
  d["kernel_cache_hits"] = r.kernel_cache_hits;
  d["steps"] = r.steps;
  d["temporary_bytes"] = r.temporary_bytes;
  d["total_ms"] = r.total_ms;
  d["passes_ms"] = r.passes_ms;
  d["lowering_ms"] = r.lowering_ms;
  d["llvm_ms"] = r.llvm_ms;
  return d;
}

}  // namespace

void bind_program(nb::module_& m) {
  m.attr("MAX_THREADS") = kMaxThreads;
  m.def(
      "supported_isas",
      [] {
        std::vector<std::string> names;
        for (const Isa isa : {Isa::Generic, Isa::Neon, Isa::Avx2, Isa::Avx512, Isa::Amx})
          if (host_supports(isa)) names.emplace_back(name_of(isa));
        return names;
      },
      "The instruction sets of this machine that COREGRAD_ISA may name, the narrowest first.");
  m.def(
      "attach_exchange_api", [](nb::handle capsule) { attach_exchange_api(capsule); },
      nb::arg("capsule"), "Uses an array library's DLPack exchange table for tensors in and out.");
  m.def(
      "attach_host_threads",
      [](uintptr_t address) { attach_host_threads(reinterpret_cast<HostParallelFor>(address)); },
      nb::arg("address"),
      "Runs plans on the threads behind a function like PyTorch's torch_parallel_for; 0: on our "
      "own.");
  nb::class_<Program>(m, "Program", "A compiled graph. Calling it from several threads is safe.")
      .def(nb::new_([](const GraphPtr& graph, const std::vector<OutputTuple>& outputs,
                       int64_t num_inputs, const std::vector<ExternalTuple>& externals,
                       const std::string& name, const std::string& executor, bool any_size,
                       int max_threads) {
             return std::make_shared<ProgramTemplate>(graph, outputs, num_inputs, externals, name,
                                                      executor, any_size, max_threads, nullptr)
                 ->bind({});
           }),
           nb::arg("graph"), nb::arg("outputs"), nb::arg("num_inputs"),
           nb::arg("externals") = std::vector<ExternalTuple>{}, nb::arg("name") = "graph",
           nb::arg("executor") = "plan", nb::arg("any_size") = false,
           nb::arg("max_threads") = kMaxThreads,
           "Compiles outputs given as (node, strides or None, overwritten input or -1).\n"
           "`executor`: the compiled \"plan\", one \"unfused\" with a kernel for each node and no\n"
           "optimisation, or the slow reference \"interpreter\".\n"
           "`any_size`: the same graph with other sizes will follow. `max_threads`: no more take\n"
           "part in a run, however large the team is.")
      .def("__call__", run_list, nb::arg("inputs"),
           "Runs on a list of tensors and returns a list of tensors.")
      .def("to_text", &Program::to_text)
      .def("to_dot", &Program::to_dot)
      .def_prop_ro("report", report<Program>)
      .def_prop_ro("name", &Program::name);
  nb::class_<SpecializationStats>(m, "SpecializationStats",
                                  "What became of the programs of one ProgramTemplate.")
      .def_ro("asked", &SpecializationStats::asked, "Programs that ran often.")
      .def_ro("made", &SpecializationStats::made, "Those made again for their sizes alone.")
      .def_ro("measured", &SpecializationStats::measured, "Those whose time was compared.")
      .def_ro("kept", &SpecializationStats::kept, "Those that were no slower, and stay.")
      .def_ro("bytes", &SpecializationStats::bytes, "What they take of memory, roughly.")
      .def_prop_ro("speedup", &SpecializationStats::speedup,
                   "How much faster those that stay are, in geometric mean.");
  m.def("finish_specializing", &Specialization::finish,
        "Waits for what is compiled in the background.");
  nb::module_::import_("atexit").attr("register")(nb::cpp_function(&Specialization::stop));
  nb::class_<ProgramTemplate>(m, "ProgramTemplate",
                              "A graph compiled for sizes that are symbols: it gives programs.")
      .def(nb::new_([](const GraphPtr& graph, const std::vector<OutputTuple>& outputs,
                       int64_t num_inputs, const std::vector<ExternalTuple>& externals,
                       const std::string& name, const std::string& executor, bool any_size,
                       int max_threads, const std::shared_ptr<ShapeEnv>& env, bool specialize) {
             return std::make_shared<ProgramTemplate>(graph, outputs, num_inputs, externals, name,
                                                      executor, any_size, max_threads, env,
                                                      specialize);
           }),
           nb::arg("graph"), nb::arg("outputs"), nb::arg("num_inputs"), nb::arg("externals"),
           nb::arg("name"), nb::arg("executor"), nb::arg("any_size"), nb::arg("max_threads"),
           nb::arg("env"), nb::arg("specialize") = false,
           "As for Program; `env` owns the symbols in the graph's sizes. `specialize`: a program\n"
           "that runs often is made again for its sizes alone, in the background.")
      .def(
          "bind",
          [](const ProgramTemplate& program, const std::vector<int64_t>& values) {
            return program.bind(values);
          },
          nb::arg("values"),
          "The program where the symbols have these values; ShapeError where it is not for them.")
      .def("to_dot", &ProgramTemplate::to_dot)
      .def_prop_ro("report", report<ProgramTemplate>)
      .def_prop_ro("specialization", &ProgramTemplate::specialization,
                   "What became of its programs; None without `specialize`.")
      .def_prop_ro("name", &ProgramTemplate::name);
  nb::class_<EntryTemplate>(m, "EntryTemplate", "Makes functions that run a graph.")
      .def(nb::init<nb::handle, size_t, const nb::list&, nb::handle, const nb::list&,
                    const nb::list&, nb::handle, nb::handle>(),
           nb::arg("program").none(), nb::arg("num_inputs"), nb::arg("constants"),
           nb::arg("draw_seed").none(), nb::arg("results"), nb::arg("written") = nb::list(),
           nb::arg("increment_version") = nb::none(), nb::arg("owner") = nb::none(),
           "Of `num_inputs` tensors, which give a tuple of results, each described as\n"
           "(\"program\", number), (\"input\", number), (\"fixed\", value), (\"size\", size) or\n"
           "(\"derived\", function, source, sizes): function(source, *sizes), of tuples of sizes "
           "or\n"
           "None. `program` is a Program, a ProgramTemplate or None. `constants` and an int from\n"
           "`draw_seed` follow the inputs; the inputs `written` are first given to\n"
           "`increment_version`. `owner` lives as long as a function.")
      .def(
          "bind",
          [](const EntryTemplate& entry, const std::vector<int64_t>& values) {
            return entry.bind(values);
          },
          nb::arg("values") = std::vector<int64_t>{},
          "The function where the symbols of the sizes have these values.");
  m.def("make_sized_entry", make_sized_entry, nb::arg("places"), nb::arg("make"),
        nb::arg("max_bytes"),
        "A function of tensors that calls what make(sizes, *arguments) gave for sizes like those "
        "of the\n"
        "call. `places` tells where they stand: (kind, argument, dimension), of kind \"int\" or\n"
        "\"float\" (the argument itself), \"size\" or \"stride\" (of a tensor that is strided\n"
        "memory), \"shape\" (of any other) or \"storage_offset\". What was used last is kept, up "
        "to `max_bytes`.");
}

}  // namespace coregrad::python
