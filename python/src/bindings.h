#pragma once
// What the parts of the extension module share.

#include "ir/graph.h"

#include <nanobind/nanobind.h>

#include <memory>

namespace coregrad::python {

namespace nb = nanobind;

/// A node together with the graph it lives in.
struct NodeRef {
  std::shared_ptr<Graph> graph;
  NodeId id;
};

/// A Python int, float or bool as a literal of `dtype`; integers keep all 64 bits.
Scalar to_scalar(nb::handle value, DType dtype);

void bind_errors(nb::module_& m);
void bind_graph(nb::module_& m);
void bind_program(nb::module_& m);
void bind_tensor(nb::module_& m);
void bind_functional(nb::module_& m);

}  // namespace coregrad::python
