#pragma once
// Checks every rule of the table for live nodes; an InternalError names the node and the rule.

#include "ir/graph.h"

#include <span>
#include <string_view>

namespace coregrad {

/// `after` names what made the graph (a pass) for the message.
void verify(const Graph& graph, std::span<const NodeId> roots, std::string_view after);

}  // namespace coregrad
