#include "entry.h"

#include "base/error.h"
#include "base/size_program.h"

#include <nanobind/stl/optional.h>
#include <nanobind/stl/shared_ptr.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include "bindings.h"
#include "c_function.h"
#include "program.h"
#include "small_array.h"
#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace coregrad::python {
namespace {

/// Sizes that become a tuple, or None.
using SizeTuple = std::optional<std::vector<SymInt>>;

/// One element of the tuple that a call gives.
struct Result {
  enum class Kind : uint8_t { Program, Input, Fixed, Size, Derived };
  Kind kind = Kind::Fixed;
  size_t index = 0;              ///< of the program's result or of the input
  nb::object value;              ///< Fixed: itself; Derived: the function of the source
  bool of_input = false;         ///< Derived: the source is an input
  std::vector<SizeTuple> sizes;  ///< Derived: what else the function gets; Size: a number
};

}  // namespace

struct EntryTemplate::Parts {
  nb::object program, owner;  ///< a Program, a ProgramTemplate or None
  size_t num_inputs = 0;
  std::vector<nb::object> constants;
  nb::object draw_seed;  ///< None: the program reads no random numbers
  nb::object no_seed;
  std::vector<Result> results;
  std::vector<size_t> written;
  nb::object increment_version;
  SizeProgram sizes;  ///< of all results
};

namespace {

struct Entry {
  std::shared_ptr<const EntryTemplate::Parts> parts;
  std::shared_ptr<const Program> program;
  std::vector<nb::object> numbers;  ///< of the results' sizes: tuples or numbers

  nb::object call(PyObject* const* args, size_t count) const;

 private:
  void announce_writes(PyObject* const* args) const;
  nb::object result(const Result& r, const nb::object* sizes, PyObject* const* args,
                    std::span<nb::object> made) const;
};

nb::object Entry::call(PyObject* const* args, size_t count) const {
  if (count != parts->num_inputs)
    raise<ValueError>("{}: takes {} inputs, got {}",
                      program ? program->name() : std::string("graph"), parts->num_inputs, count);
  if (!parts->written.empty()) announce_writes(args);
  SmallArray<nb::object, 32> made(program ? program->num_results() : 0);
  if (program) {
    const std::vector<nb::object>& constants = parts->constants;
    SmallArray<PyObject*, 64> inputs(count + constants.size() + 1);
    std::copy_n(args, count, inputs.data());
    for (size_t i = 0; i < constants.size(); ++i) inputs[count + i] = constants[i].ptr();
    const nb::object seed = parts->draw_seed.is_none() ? parts->no_seed : parts->draw_seed();
    inputs[count + constants.size()] = seed.ptr();
    program->run(inputs.span(), made.span());
  }
  const std::vector<Result>& results = parts->results;
  nb::object tuple = nb::steal(PyTuple_New(static_cast<Py_ssize_t>(results.size())));
  if (!tuple.is_valid()) nb::raise_python_error();
  const nb::object* sizes = numbers.data();
  for (size_t i = 0; i < results.size(); ++i) {
    PyTuple_SET_ITEM(tuple.ptr(), static_cast<Py_ssize_t>(i),
                     result(results[i], sizes, args, made.span()).release().ptr());
    sizes += results[i].sizes.size();
  }
  return tuple;
}

/// Before the run, as PyTorch's own operators do: what is saved afterwards has the new version.
void Entry::announce_writes(PyObject* const* args) const {
  nb::list tensors;
  for (size_t i : parts->written) tensors.append(nb::handle(args[i]));
  parts->increment_version(tensors);
}

nb::object Entry::result(const Result& r, const nb::object* sizes, PyObject* const* args,
                         std::span<nb::object> made) const {
  switch (r.kind) {
    case Result::Kind::Program:
      return made[r.index];
    case Result::Kind::Input:
      return nb::borrow(args[r.index]);
    case Result::Kind::Fixed:
      return r.value;
    case Result::Kind::Size:
      return sizes[0];
    case Result::Kind::Derived:
      break;
  }
  SmallArray<PyObject*, 8> arguments(r.sizes.size() + 1);
  arguments[0] = r.of_input ? args[r.index] : made[r.index].ptr();
  for (size_t i = 0; i < r.sizes.size(); ++i) arguments[i + 1] = sizes[i].ptr();
  PyObject* const result =
      PyObject_Vectorcall(r.value.ptr(), arguments.data(), arguments.size(), nullptr);
  if (result == nullptr) nb::raise_python_error();
  return nb::steal(result);
}

PyObject* call_entry(PyObject* self, PyObject* const* args, Py_ssize_t count) {
  const auto* entry = static_cast<const Entry*>(PyCapsule_GetPointer(self, nullptr));
  try {
    return entry->call(args, static_cast<size_t>(count)).release().ptr();
  } catch (...) {
    set_python_error();
    return nullptr;
  }
}

PyMethodDef definition = {
    "coregrad_graph",
    reinterpret_cast<PyCFunction>(reinterpret_cast<void (*)()>(call_entry)),  // NOLINT
    METH_FASTCALL, "Runs a compiled graph: tensors in, a tuple of tensors out."};

/// The number in a description, below `limit`.
size_t checked_index(nb::handle value, size_t limit) {
  const auto index = nb::cast<size_t>(value);
  if (index >= limit) raise<ValueError>("entry: result {} of {}", index, limit);
  return index;
}

Result make_result(const nb::tuple& given, size_t num_made, size_t num_inputs) {
  const auto kind = nb::cast<std::string>(given[0]);
  Result r;
  if (kind == "fixed") {
    r.value = nb::borrow(given[1]);
  } else if (kind == "size") {
    r.kind = Result::Kind::Size;
    r.sizes.emplace_back(std::vector{nb::cast<SymInt>(given[1])});
  } else if (kind == "program") {
    r.kind = Result::Kind::Program;
    r.index = checked_index(given[1], num_made);
  } else if (kind == "input") {
    r.kind = Result::Kind::Input;
    r.index = checked_index(given[1], num_inputs);
  } else if (kind == "derived") {
    const Result source = make_result(nb::cast<nb::tuple>(given[2]), num_made, num_inputs);
    r.kind = Result::Kind::Derived;
    r.value = nb::borrow(given[1]);
    r.index = source.index;
    r.of_input = source.kind == Result::Kind::Input;
    r.sizes = nb::cast<std::vector<SizeTuple>>(given[3]);
  } else {
    raise<ValueError>("entry: unknown result '{}'", kind);
  }
  return r;
}

size_t num_results_of(nb::handle program) {
  if (program.is_none()) return 0;
  if (nb::isinstance<ProgramTemplate>(program))
    return nb::cast<const ProgramTemplate&>(program).num_results();
  return nb::cast<const Program&>(program).num_results();
}

}  // namespace

EntryTemplate::EntryTemplate(nb::handle program, size_t num_inputs, const nb::list& constants,
                             nb::handle draw_seed, const nb::list& results, const nb::list& written,
                             nb::handle increment_version, nb::handle owner) {
  auto parts = std::make_shared<Parts>();
  parts->program = nb::borrow(program);
  parts->owner = nb::borrow(owner);
  parts->num_inputs = num_inputs;
  for (nb::handle constant : constants) parts->constants.push_back(nb::borrow(constant));
  parts->draw_seed = nb::borrow(draw_seed);
  parts->no_seed = nb::int_(0);
  parts->increment_version = nb::borrow(increment_version);
  const size_t num_made = num_results_of(program);
  std::vector<SymInt> sizes;
  for (nb::handle r : results) {
    parts->results.push_back(make_result(nb::cast<nb::tuple>(r), num_made, num_inputs));
    for (const SizeTuple& tuple : parts->results.back().sizes)
      if (tuple) sizes.insert(sizes.end(), tuple->begin(), tuple->end());
  }
  parts->sizes = SizeProgram(sizes);
  for (nb::handle i : written) parts->written.push_back(checked_index(i, num_inputs));
  if (!parts->written.empty() && increment_version.is_none())
    raise<ValueError>("entry: inputs are written, but nothing increments their versions");
  parts_ = std::move(parts);
}

nb::object EntryTemplate::bind(std::span<const int64_t> values) const {
  auto entry = std::make_unique<Entry>();
  entry->parts = parts_;
  if (nb::isinstance<ProgramTemplate>(parts_->program))
    entry->program = nb::cast<const ProgramTemplate&>(parts_->program).bind(values);
  else if (!parts_->program.is_none())
    entry->program = nb::cast<std::shared_ptr<Program>>(parts_->program);
  const std::vector<int64_t> numbers = parts_->sizes.run(values);
  auto next = numbers.begin();
  for (const Result& r : parts_->results)
    for (const SizeTuple& sizes : r.sizes) {
      if (!sizes) {
        entry->numbers.push_back(nb::none());
      } else if (r.kind == Result::Kind::Size) {
        entry->numbers.push_back(nb::int_(*next++));
      } else {
        PyObject* const tuple = PyTuple_New(static_cast<Py_ssize_t>(sizes->size()));
        if (tuple == nullptr) nb::raise_python_error();
        entry->numbers.push_back(nb::steal(tuple));
        for (size_t i = 0; i < sizes->size(); ++i)
          PyTuple_SET_ITEM(tuple, static_cast<Py_ssize_t>(i), PyLong_FromLongLong(*next++));
      }
    }
  return make_c_function(definition, std::move(entry));
}

int64_t bytes_of_entry(nb::handle function) {
  constexpr int64_t kUnknown = 256 << 10;
  if (!PyCFunction_Check(function.ptr()) ||
      PyCFunction_GET_FUNCTION(function.ptr()) != definition.ml_meth)
    return kUnknown;
  PyObject* const self = PyCFunction_GET_SELF(function.ptr());
  const auto* entry = static_cast<const Entry*>(PyCapsule_GetPointer(self, nullptr));
  return static_cast<int64_t>(sizeof *entry) + (entry->program ? entry->program->bytes() : 0);
}

}  // namespace coregrad::python
