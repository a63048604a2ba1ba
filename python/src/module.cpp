// The extension module coregrad._core.

#include "bindings.h"

namespace {

namespace nb = nanobind;

nb::set public_names(const nb::module_& m) {
  nb::set names;
  for (nb::handle name : nb::list(m.attr("__dict__").attr("keys")()))
    if (!nb::cast<bool>(name.attr("startswith")("_"))) names.add(name);
  return names;
}

}  // namespace

NB_MODULE(_core, m) {
  using namespace coregrad::python;
  // Dynamo keeps compiled programs alive past the interpreter's end; that is no leak of ours.
  nb::set_leak_warnings(false);
  bind_errors(m);
  nb::object users = public_names(m);
  bind_sizes(m);
  bind_graph(m);
  bind_program(m);
  const nb::object inner = public_names(m);
  bind_tensor(m);
  // What the package's users see of this module.
  nb::list names(users | (public_names(m) - inner));
  names.append("DType");
  names.attr("sort")();
  m.attr("__all__") = names;
  bind_checkpoint(m);
  bind_optim(m);
  bind_functional(m);
}
