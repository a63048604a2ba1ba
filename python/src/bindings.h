#pragma once
// What the parts of the extension module share.

#include "ir/graph.h"

#include <nanobind/nanobind.h>

#include <memory>
#include <string_view>

namespace coregrad::python {

namespace nb = nanobind;

/// A node together with the graph it lives in.
struct NodeRef {
  std::shared_ptr<Graph> graph;
  NodeId id;
};

/// The node's id; ValueError that names the operation if the node is not of this graph.
NodeId id_in(const std::shared_ptr<Graph>& graph, const NodeRef& node, std::string_view operation);

/// A Python int, float or bool as a literal of `dtype`; integers keep all 64 bits. What is no
/// number or does not fit is an error that names the operation.
Scalar to_scalar(nb::handle value, DType dtype, std::string_view operation);

/// Turns the C++ exception that is being handled into the matching Python error, for functions that
/// CPython calls directly.
void set_python_error();

void bind_errors(nb::module_& m);
void bind_graph(nb::module_& m);
void bind_program(nb::module_& m);
void bind_tensor(nb::module_& m);
void bind_functional(nb::module_& m);

}  // namespace coregrad::python
