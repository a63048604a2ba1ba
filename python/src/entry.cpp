#include "entry.h"

#include "base/error.h"

#include <nanobind/stl/string.h>

#include "program.h"
#include "small_array.h"
#include <memory>
#include <string>
#include <vector>

namespace coregrad::python {
namespace {

/// One element of the tuple that a call gives.
struct Result {
  enum class Kind : uint8_t { Program, Input, Fixed, Derived };
  Kind kind = Kind::Fixed;
  size_t index = 0;       ///< of the program's result or of the input
  nb::object value;       ///< Fixed: itself; Derived: the function of the source
  bool of_input = false;  ///< Derived: the source is an input
};

struct Entry {
  nb::object held_program, owner;
  const Program* program = nullptr;
  size_t num_inputs = 0;
  std::vector<nb::object> constants;
  nb::object draw_seed;  ///< None: the program reads no random numbers
  nb::object no_seed;
  std::vector<Result> results;
  std::vector<size_t> written;
  nb::object increment_version;

  nb::object call(PyObject* const* args, size_t count) const;

 private:
  void announce_writes(PyObject* const* args) const;
  nb::object result(const Result& r, PyObject* const* args, std::span<nb::object> made) const;
};

nb::object Entry::call(PyObject* const* args, size_t count) const {
  if (count != num_inputs)
    raise<ValueError>("{}: takes {} inputs, got {}",
                      program != nullptr ? program->name() : std::string("graph"), num_inputs,
                      count);
  if (!written.empty()) announce_writes(args);
  SmallArray<nb::object, 32> made(program != nullptr ? program->num_results() : 0);
  if (program != nullptr) {
    SmallArray<PyObject*, 64> inputs(count + constants.size() + 1);
    std::copy_n(args, count, inputs.data());
    for (size_t i = 0; i < constants.size(); ++i) inputs[count + i] = constants[i].ptr();
    const nb::object seed = draw_seed.is_none() ? no_seed : draw_seed();
    inputs[count + constants.size()] = seed.ptr();
    program->run(inputs.span(), made.span());
  }
  nb::object tuple = nb::steal(PyTuple_New(static_cast<Py_ssize_t>(results.size())));
  if (!tuple.is_valid()) nb::raise_python_error();
  for (size_t i = 0; i < results.size(); ++i)
    PyTuple_SET_ITEM(tuple.ptr(), static_cast<Py_ssize_t>(i),
                     result(results[i], args, made.span()).release().ptr());
  return tuple;
}

/// Before the run, as PyTorch's own operators do: what is saved afterwards has the new version.
void Entry::announce_writes(PyObject* const* args) const {
  nb::list tensors;
  for (size_t i : written) tensors.append(nb::handle(args[i]));
  increment_version(tensors);
}

nb::object Entry::result(const Result& r, PyObject* const* args, std::span<nb::object> made) const {
  switch (r.kind) {
    case Result::Kind::Program:
      return made[r.index];
    case Result::Kind::Input:
      return nb::borrow(args[r.index]);
    case Result::Kind::Fixed:
      return r.value;
    case Result::Kind::Derived:
      break;
  }
  return r.value(r.of_input ? nb::handle(args[r.index]) : nb::handle(made[r.index]));
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
  } else {
    raise<ValueError>("entry: unknown result '{}'", kind);
  }
  return r;
}

}  // namespace

nb::object make_entry(nb::handle program, size_t num_inputs, const nb::list& constants,
                      nb::handle draw_seed, const nb::list& results, const nb::list& written,
                      nb::handle increment_version, nb::handle owner) {
  auto entry = std::make_unique<Entry>();
  entry->held_program = nb::borrow(program);
  entry->owner = nb::borrow(owner);
  if (!program.is_none()) entry->program = nb::cast<const Program*>(program);
  entry->num_inputs = num_inputs;
  for (nb::handle constant : constants) entry->constants.push_back(nb::borrow(constant));
  entry->draw_seed = nb::borrow(draw_seed);
  entry->no_seed = nb::int_(0);
  entry->increment_version = nb::borrow(increment_version);
  const size_t num_made = entry->program != nullptr ? entry->program->num_results() : 0;
  for (nb::handle r : results)
    entry->results.push_back(make_result(nb::cast<nb::tuple>(r), num_made, num_inputs));
  for (nb::handle i : written) entry->written.push_back(checked_index(i, num_inputs));
  if (!entry->written.empty() && increment_version.is_none())
    raise<ValueError>("entry: inputs are written, but nothing increments their versions");
  const nb::object self = nb::steal(PyCapsule_New(entry.get(), nullptr, [](PyObject* capsule) {
    delete static_cast<Entry*>(PyCapsule_GetPointer(capsule, nullptr));
  }));
  if (!self.is_valid()) nb::raise_python_error();
  entry.release();
  nb::object function = nb::steal(PyCFunction_New(&definition, self.ptr()));
  if (!function.is_valid()) nb::raise_python_error();
  return function;
}

}  // namespace coregrad::python
