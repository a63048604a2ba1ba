#pragma once
// A compiled graph that takes and gives tensors.

#include "base/size_program.h"
#include "compile/compiler.h"
#include "ir/graph.h"

#include <nanobind/nanobind.h>

#include "bindings.h"
#include "executable.h"
#include "external_call.h"
#include "specialization.h"
#include "tensor_exchange.h"
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

namespace coregrad::python {

using GraphPtr = std::shared_ptr<Graph>;
/// (node, strides or None for contiguous, number of the input whose memory it overwrites or -1).
using OutputTuple = std::tuple<NodeRef, std::optional<std::vector<SymInt>>, int64_t>;
using ResultTuple = std::pair<DType, std::vector<SymInt>>;
/// (name, function, results, sizes that the function is told).
using ExternalTuple =
    std::tuple<std::string, nb::object, std::vector<ResultTuple>, std::vector<SymInt>>;

/// A tensor at the border of a program, of sizes that may be symbols.
struct BorderTensor {
  DType dtype = DType::Float32;
  std::vector<SymInt> shape;
  std::vector<SymInt> strides;  ///< empty: row-major
  bool is_used = false;         ///< of an input: the graph reads it
  bool is_written = false;      ///< of an input
  int64_t aliased = -1;         ///< of an output: the input that it overwrites
};

class Program;

/// What compiling a graph gives: programs, one for each set of the symbols' values. Held by a
/// shared_ptr.
class ProgramTemplate : public std::enable_shared_from_this<ProgramTemplate> {
 public:
  ProgramTemplate(const GraphPtr& graph, const std::vector<OutputTuple>& outputs,
                  int64_t num_inputs, const std::vector<ExternalTuple>& externals,
                  const std::string& name, const std::string& executor_name, bool any_size,
                  int max_threads, std::shared_ptr<ShapeEnv> env, bool specialize = false);

  /// The program where the symbols have these values; ShapeError where it is not for them. The GIL
  /// is held on entry.
  std::shared_ptr<Program> bind(std::span<const int64_t> values) const;

  /// Whether programs for several sets of sizes come from this.
  bool is_for_symbols() const { return compiled_.sizes != nullptr; }
  /// Program::num_results() of each.
  size_t num_results() const;
  const std::string& name() const { return name_; }
  const CompileReport& report() const { return report_; }
  const std::string& to_dot() const { return dot_; }
  /// Null where programs stay as they are.
  std::shared_ptr<SpecializationStats> specialization() const {
    return source_ ? source_->stats : nullptr;
  }

 private:
  void find_inputs(const Graph& graph, std::span<const OutputSpec> specs, int64_t num_inputs);

  std::string name_;
  std::vector<BorderTensor> inputs_, outputs_;
  /// Those of numbers, which programs share.
  std::vector<std::shared_ptr<const TensorSpec>> fixed_inputs_, fixed_outputs_;
  SizeProgram sizes_;  ///< of the shapes and strides of the others
  int max_threads_;
  CompiledPlan compiled_;
  std::shared_ptr<const Executable> interpreter_;  ///< in place of a plan
  std::shared_ptr<const SpecializationSource> source_;
  CompileReport report_;
  std::string dot_;
};

class Program {
 public:
  struct Input {
    std::shared_ptr<const TensorSpec> spec;
    bool is_used = false;  ///< an input that the graph never reads is not even looked at
    bool is_written = false;
  };
  struct Output {
    std::shared_ptr<const TensorSpec> spec;
    int64_t aliased;
  };
  Program(std::shared_ptr<const ProgramTemplate> made_by, std::vector<Input> inputs,
          std::vector<Output> outputs, std::shared_ptr<const Executable> executable,
          std::unique_ptr<Specialization> specialization);

  size_t num_inputs() const { return inputs_.size(); }
  /// Outputs that own their memory; the others overwrite inputs.
  size_t num_results() const { return num_results_; }

  /// Runs on tensors (or Python ints for int64 scalars), one an input, and makes the results.
  /// Thread-safe; the GIL is held on entry, and let go only for plans that are long.
  void run(std::span<PyObject* const> inputs, std::span<nb::object> results) const;

  /// What it takes of memory: of a program that is for one set of sizes with its code, roughly.
  int64_t bytes() const;

  std::string to_text() const { return executable_->to_text(); }
  const std::string& to_dot() const { return made_by_->to_dot(); }
  const std::string& name() const { return made_by_->name(); }
  const CompileReport& report() const { return made_by_->report(); }

 private:
  void execute(std::span<const void* const> inputs, std::span<void* const> outputs) const;
  const void* bind_input(size_t i, PyObject* object, int64_t* scalar,
                         std::vector<Block>* copies) const;
  const void* bind_other_layout(size_t i, PyObject* object, std::vector<Block>* copies) const;

  std::shared_ptr<const ProgramTemplate> made_by_;
  std::vector<Input> inputs_;
  std::vector<Output> outputs_;
  size_t num_results_ = 0;
  std::shared_ptr<const Executable> executable_;
  std::unique_ptr<Specialization> specialization_;  ///< null: `executable_` is what runs
};

}  // namespace coregrad::python
