// coregrad.nn's modules.

#include "coregrad/coregrad.h"

#include <nanobind/nanobind.h>
#include <nanobind/stl/pair.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include "bindings.h"
#include <string>
#include <utility>
#include <vector>

namespace coregrad::python {

void bind_networks(nb::module_& m) {
  nb::class_<nn::Module>(m, "Module", "Something with parameters that maps a tensor to a tensor.")
      .def("__call__", &nn::Module::forward, nb::arg("x"))
      .def("parameters", &nn::Module::parameters, "All parameters.")
      .def("named_parameters", &nn::Module::named_parameters, nb::arg("prefix") = "",
           "All parameters with PyTorch's names.");
  nb::class_<nn::Linear, nn::Module>(m, "Linear", "y = x W^T + b; weight [out, in], bias [out].")
      .def(
          "__init__",
          [](nn::Linear* self, int64_t in, int64_t out, bool bias) {
            new (self) nn::Linear(in, out, bias);
          },
          nb::arg("in_features"), nb::arg("out_features"), nb::arg("bias") = true)
      .def_ro("weight", &nn::Linear::weight)
      .def_prop_ro("bias", [](const nn::Linear& l) -> nb::object {
        return l.bias.is_defined() ? nb::cast(l.bias) : nb::none();
      });
  nb::class_<nn::ReLU, nn::Module>(m, "ReLU", "max(x, 0).").def(nb::init<>());
}

}  // namespace coregrad::python
