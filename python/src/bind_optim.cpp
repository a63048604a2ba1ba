// coregrad.optim's optimisers, by name; their signatures stand in coregrad/optim. And what goes
// with them: averages of parameters, and clipping of gradients.

#include "coregrad/clip_grad.h"
#include "coregrad/optim.h"

#include <nanobind/nanobind.h>
#include <nanobind/stl/map.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/pair.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/unique_ptr.h>
#include <nanobind/stl/variant.h>
#include <nanobind/stl/vector.h>

#include "bindings.h"
#include <map>
#include <memory>
#include <optional>
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

void bind_averages(nb::module_& m) {
  using optim::ParameterAverages;
  nb::class_<ParameterAverages>(m, "_ParameterAverages")
      .def(nb::init<std::vector<Tensor>, std::optional<double>>(), nb::arg("parameters"),
           nb::arg("decay").none())
      .def("update", &ParameterAverages::update, WithoutLock())
      .def("averages", &ParameterAverages::averages)
      .def("saved", &ParameterAverages::saved, WithoutLock())
      .def("count", &ParameterAverages::count, WithoutLock())
      .def(
          "load",
          [](ParameterAverages& a, const std::vector<Tensor>& averages, int64_t count) {
            a.load(averages, count);
          },
          nb::arg("averages"), nb::arg("count"), WithoutLock())
      .def("apply", &ParameterAverages::apply, WithoutLock())
      .def(
          "restore",
          [](const ParameterAverages& a, const std::vector<Tensor>& values) { a.restore(values); },
          nb::arg("values"), WithoutLock());
}

void bind_clipping(nb::module_& m) {
  using Tensors = std::vector<Tensor>;
  m.def(
      "_total_norm", [](const Tensors& t, double p) { return nn::total_norm(t, p); },
      nb::arg("tensors"), nb::arg("norm_type"));
  m.def(
      "_clip_grads_with_norm",
      [](const Tensors& p, double max_norm, const Tensor& total) {
        nn::clip_grads_with_norm_(p, max_norm, total);
      },
      nb::arg("parameters"), nb::arg("max_norm"), nb::arg("total_norm"));
  m.def(
      "_clip_grad_value", [](const Tensors& p, double value) { nn::clip_grad_value_(p, value); },
      nb::arg("parameters"), nb::arg("clip_value"));
}

}  // namespace

void bind_optim(nb::module_& m) {
  bind_averages(m);
  bind_clipping(m);
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
