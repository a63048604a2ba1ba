// coregrad.optim's optimisers.

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
  using Parameters = std::vector<Tensor>;
  nb::class_<optim::Optimizer>(m, "Optimizer", "Updates parameters from their gradients.")
      .def(
          "step",
          [](optim::Optimizer& o, const std::vector<Tensor>& together) {
            const nb::gil_scoped_release release;
            o.step(together);
          },
          nb::arg("together") = std::vector<Tensor>(),
          "Updates every parameter that has a gradient; `together` is realised in the same plan.")
      .def("zero_grad", &optim::Optimizer::zero_grad, "Forgets all gradients.")
      .def_prop_rw("lr", &optim::Optimizer::learning_rate, &optim::Optimizer::set_learning_rate,
                   "The learning rate.");
  nb::class_<optim::SGD, optim::Optimizer>(m, "SGD", "Gradient descent with momentum.")
      .def(
          "__init__",
          [](optim::SGD* self, Parameters p, double lr, double momentum, double decay,
             bool nesterov) {
            new (self) optim::SGD(std::move(p), lr, {momentum, decay, nesterov});
          },
          nb::arg("parameters"), nb::arg("lr") = 1e-3, nb::arg("momentum") = 0.0,
          nb::arg("weight_decay") = 0.0, nb::arg("nesterov") = false);
  nb::class_<optim::Adam, optim::Optimizer>(m, "Adam", "Adam; AdamW with decoupled=True.")
      .def(
          "__init__",
          [](optim::Adam* self, Parameters p, double lr, std::pair<double, double> betas,
             double eps, double decay, bool decoupled) {
            new (self)
                optim::Adam(std::move(p), lr, {betas.first, betas.second, eps, decay, decoupled});
          },
          nb::arg("parameters"), nb::arg("lr") = 1e-3, nb::arg("betas") = std::pair(0.9, 0.999),
          nb::arg("eps") = 1e-8, nb::arg("weight_decay") = 0.0, nb::arg("decoupled") = false);
}

}  // namespace coregrad::python
