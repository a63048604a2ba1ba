// The extension module coregrad._core.

#include "bindings.h"

NB_MODULE(_core, m) {
  coregrad::python::bind_errors(m);
  coregrad::python::bind_graph(m);
  coregrad::python::bind_program(m);
}
