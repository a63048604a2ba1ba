#pragma once
// Built-in functions with a state, which CPython calls without any layer in between.

#include <nanobind/nanobind.h>

#include <memory>

namespace coregrad::python {

/// A function whose `self` is a capsule of the state, which dies with it.
template <class State>
nanobind::object make_c_function(PyMethodDef& definition, std::unique_ptr<State> state) {
  namespace nb = nanobind;
  const nb::object self = nb::steal(PyCapsule_New(state.get(), nullptr, [](PyObject* capsule) {
    delete static_cast<State*>(PyCapsule_GetPointer(capsule, nullptr));
  }));
  if (!self.is_valid()) nb::raise_python_error();
  state.release();
  nb::object function = nb::steal(PyCFunction_New(&definition, self.ptr()));
  if (!function.is_valid()) nb::raise_python_error();
  return function;
}

}  // namespace coregrad::python
