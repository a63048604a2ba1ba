// coregrad.optim's optimisers, by name; their signatures stand in coregrad/optim. And what goes
// with them: averages of parameters, and clipping of gradients.

#include "coregrad/optim.h"

#include <nanobind/nanobind.h>
#include <nanobind/stl/map.h>
#include <nanobind/stl/pair.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/unique_ptr.h>
#include <nanobind/stl/variant.h>
#include <nanobind/stl/vector.h>

#include "bindings.h"
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

namespace coregrad::python {
namespace {

using optim::Optimizer;
using Values = Optimizer::Overrides;
using WithoutLock = nb::call_guard<nb::gil_scoped_release>;

Values values_of(const optim::Settings& settings) {
  Values values;
  for (const optim::Setting& s : settings.rows) values.emplace(s.name, s.value);
  return values;
}

}  // namespace

void bind_optim(nb::module_& m) {
  nb::class_<Optimizer>(m, "_Optimizer")
      .def("add_param_group", &Optimizer::add_param_group, nb::arg("parameters"),
           nb::arg("overrides"), WithoutLock())
      .def(
          "step", [](Optimizer& o, const std::vector<Tensor>& together) { o.step(together); },
          nb::arg("together"), WithoutLock())
      .def(
          "step_with",
          [](Optimizer& o, const nb::callable& closure) {
            const nb::gil_scoped_release release;
            return o.step([&] {
              const nb::gil_scoped_acquire hold;
              return nb::cast<Tensor>(closure());
            });
          },
          nb::arg("closure"))
      .def("state_dict",
           [](const Optimizer& o) {
             optim::StateDict saved;
             {
               const nb::gil_scoped_release release;
               saved = o.state_dict();
             }
             std::vector<std::pair<Values, std::vector<int64_t>>> groups;
             for (auto& g : saved.param_groups)
               groups.emplace_back(std::move(g.settings), std::move(g.params));
             return std::pair(std::move(saved.state), std::move(groups));
           })
      .def(
          "load_state_dict",
          [](Optimizer& o, std::map<int64_t, optim::StateDict::Entry> state,
             std::vector<std::pair<Values, std::vector<int64_t>>> groups) {
            optim::StateDict saved{std::move(state), {}};
            for (auto& [values, params] : groups)
              saved.param_groups.push_back({std::move(values), std::move(params)});
            o.load_state_dict(saved);
          },
          nb::arg("state"), nb::arg("groups"), WithoutLock())
      .def("zero_grad", &Optimizer::zero_grad, nb::arg("set_to_none"), WithoutLock())
      .def("parameters", [](const Optimizer& o, size_t g) { return o.groups().at(g).parameters; })
      .def("values",
           [](const Optimizer& o, size_t g) { return values_of(o.groups().at(g).settings); })
      .def("set", &Optimizer::set, nb::arg("group"), nb::arg("values"), WithoutLock())
      .def("defaults", [](const Optimizer& o) { return values_of(o.defaults()); });
  m.def(
      "_make_optimizer",
      [](const std::string& name, const Values& defaults) {
        std::unique_ptr<Optimizer> made = optim::make_optimizer(name);
        made->set_defaults(defaults);
        return made;
      },
      nb::arg("name"), nb::arg("defaults"));
}

}  // namespace coregrad::python
