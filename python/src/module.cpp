// The extension module coregrad._core.

#include "bindings.h"

NB_MODULE(_core, m) {
  // Dynamo keeps compiled programs alive past the interpreter's end; that is no leak of ours.
  nanobind::set_leak_warnings(false);
  coregrad::python::bind_errors(m);
  coregrad::python::bind_graph(m);
  coregrad::python::bind_program(m);
  coregrad::python::bind_tensor(m);
  coregrad::python::bind_functional(m);
}
