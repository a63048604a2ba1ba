// Methods of coregrad._core.Graph for series of numbers: random ones, and recurrent layers.

#include "ops/nn.h"
#include "ops/random.h"
#include "ops/recurrent.h"

#include <nanobind/stl/optional.h>
#include <nanobind/stl/pair.h>
#include <nanobind/stl/shared_ptr.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include "bindings.h"
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace coregrad::python {
namespace {

using Sizes = std::vector<SymInt>;

/// A distribution of numbers: (seed, stream, shape, numbers..).
template <class... Numbers>
void define_distribution(nb::class_<Graph>& graph, const char* name,
                         NodeId (*make)(Graph&, const ops::Draw&, Shape, Numbers...),
                         const char* doc) {
  graph.def(
      name,
      [name, make](const GraphPtr& g, const NodeRef& seed, int64_t stream, const Sizes& shape,
                   Numbers... numbers) {
        return NodeRef{g, make(*g, {id_in(g, seed, name), stream}, shape, numbers...)};
      },
      doc);
}

void bind_random(nb::class_<Graph>& graph) {
  define_distribution(graph, "exponential", ops::exponential, "(seed, stream, shape, rate)");
  define_distribution(graph, "cauchy", ops::cauchy, "(seed, stream, shape, median, sigma)");
  define_distribution(graph, "geometric", ops::geometric, "(seed, stream, shape, p)");
  define_distribution(graph, "log_normal", ops::log_normal,
                      "(seed, stream, shape, mean, deviation)");
  define_distribution(graph, "whole_numbers", ops::whole_numbers,
                      "(seed, stream, shape, low, high)");
  graph
      .def(
          "uniform",
          [](const GraphPtr& g, const NodeRef& seed, int64_t stream, DType dtype,
             const Sizes& shape, double low, double high) {
            return NodeRef{
                g, ops::uniform(*g, {id_in(g, seed, "uniform"), stream}, dtype, shape, low, high)};
          },
          nb::arg("seed"), nb::arg("stream"), nb::arg("dtype"), nb::arg("shape"),
          nb::arg("low") = 0.0, nb::arg("high") = 1.0)
      .def(
          "standard_normal",
          [](const GraphPtr& g, const NodeRef& seed, int64_t stream, DType dtype,
             const Sizes& shape) {
            return NodeRef{
                g, ops::standard_normal(*g, {id_in(g, seed, "normal"), stream}, dtype, shape)};
          },
          nb::arg("seed"), nb::arg("stream"), nb::arg("dtype"), nb::arg("shape"),
          "Takes the next stream too, as the other normal numbers do.")
      .def(
          "normal",
          [](const GraphPtr& g, const NodeRef& seed, int64_t stream, const Sizes& shape,
             const NodeRef& mean, const NodeRef& deviation) {
            return NodeRef{g, ops::normal(*g, {id_in(g, seed, "normal"), stream}, shape,
                                          id_in(g, mean, "normal"), id_in(g, deviation, "normal"))};
          },
          nb::arg("seed"), nb::arg("stream"), nb::arg("shape"), nb::arg("mean"),
          nb::arg("deviation"))
      .def(
          "bernoulli",
          [](const GraphPtr& g, const NodeRef& seed, int64_t stream, const Sizes& shape,
             const NodeRef& p) {
            return NodeRef{g, ops::bernoulli(*g, {id_in(g, seed, "bernoulli"), stream}, shape,
                                             id_in(g, p, "bernoulli"))};
          },
          nb::arg("seed"), nb::arg("stream"), nb::arg("shape"), nb::arg("p"))
      .def(
          "permutation",
          [](const GraphPtr& g, const NodeRef& seed, int64_t stream, SymInt n) {
            return NodeRef{g, ops::permutation(*g, {id_in(g, seed, "permutation"), stream}, n)};
          },
          nb::arg("seed"), nb::arg("stream"), nb::arg("n"))
      .def(
          "multinomial",
          [](const GraphPtr& g, const NodeRef& seed, int64_t stream, const NodeRef& weights,
             SymInt count, bool replacement) {
            return NodeRef{g,
                           ops::multinomial(*g, {id_in(g, seed, "multinomial"), stream},
                                            id_in(g, weights, "multinomial"), count, replacement)};
          },
          nb::arg("seed"), nb::arg("stream"), nb::arg("weights"), nb::arg("count"),
          nb::arg("replacement"))
      .def(
          "dropout_with_mask",
          [](const GraphPtr& g, const NodeRef& seed, int64_t stream, const NodeRef& x, double p) {
            return refer(g, ops::dropout_with_mask(*g, id_in(g, x, "dropout"), p,
                                                   {id_in(g, seed, "dropout"), stream}));
          },
          nb::arg("seed"), nb::arg("stream"), nb::arg("x"), nb::arg("p"));
}

void bind_recurrence(nb::class_<Graph>& graph) {
  const auto id = [](const GraphPtr& g, const NodeRef& node) {
    return id_in(g, node, "recurrence");
  };
  const auto maybe = [](const GraphPtr& g, const MaybeNode& node) {
    return maybe_id(g, node, "recurrence");
  };
  graph
      .def(
          "recurrence",
          [id, maybe](const GraphPtr& g, const std::string& kind, const NodeRef& gates,
                      const NodeRef& h0, const MaybeNode& c0, const NodeRef& w_hh,
                      const MaybeNode& b_hh, const MaybeNode& w_hr, bool reverse) {
            const ops::Recurrence layer{kind,        id(g, h0),      maybe(g, c0),
                                        id(g, w_hh), maybe(g, w_hr), reverse};
            return refer(g, ops::recurrence(*g, layer, id(g, gates), maybe(g, b_hh)));
          },
          nb::arg("kind"), nb::arg("gates"), nb::arg("h0"), nb::arg("c0").none(), nb::arg("w_hh"),
          nb::arg("b_hh").none(), nb::arg("w_hr").none(), nb::arg("reverse"),
          "out, last h, last c, all c, and what the gradient reads.")
      .def(
          "recurrence_backward",
          [id, maybe](const GraphPtr& g, const std::string& kind, const MaybeNode& grad_out,
                      const MaybeNode& grad_h, const MaybeNode& grad_c, const NodeRef& out,
                      const NodeRef& cells, const NodeRef& saved, const NodeRef& h0,
                      const MaybeNode& c0, const NodeRef& w_hh, const MaybeNode& w_hr,
                      bool reverse) {
            const ops::Recurrence layer{kind,        id(g, h0),      maybe(g, c0),
                                        id(g, w_hh), maybe(g, w_hr), reverse};
            return refer(g, ops::recurrence_backward(
                                *g, layer, {maybe(g, grad_out), maybe(g, grad_h), maybe(g, grad_c)},
                                id(g, out), id(g, cells), id(g, saved)));
          },
          nb::arg("kind"), nb::arg("grad_out").none(), nb::arg("grad_h").none(),
          nb::arg("grad_c").none(), nb::arg("out"), nb::arg("cells"), nb::arg("saved"),
          nb::arg("h0"), nb::arg("c0").none(), nb::arg("w_hh"), nb::arg("w_hr").none(),
          nb::arg("reverse"),
          "Gradients of the gates, of the gates as h enters them, of each step's output, of h0 and "
          "c0.");
}

}  // namespace

void bind_graph_series(nb::class_<Graph>& graph) {
  bind_random(graph);
  bind_recurrence(graph);
}

}  // namespace coregrad::python
