#pragma once
// Recurrent layers over all time steps, and their gradients.
//
// Shapes: T steps, batch B, H hidden, P projected (P = H without a projection), n gates. `gates`
// [T, B, n*H] is what the input gives to each gate; what does not go step by step (the products
// with the input, the gradients of the weights) is products over the whole sequence elsewhere.

#include "ops/primitives.h"

#include <optional>
#include <string_view>
#include <vector>

namespace coregrad::ops {

/// The part of a layer that its steps share.
struct Recurrence {
  std::string_view kind;       ///< "lstm", "gru", "tanh" or "relu"
  NodeId h0;                   ///< [B, P]
  std::optional<NodeId> c0;    ///< [B, H], lstm only
  NodeId w_hh;                 ///< [n*H, P]
  std::optional<NodeId> w_hr;  ///< [P, H], lstm only
  bool reverse = false;        ///< from the last step to the first
};

/// out [T, B, P], the last h and c, all c [T, B, H] and what the gradient reads; what a kind does
/// not have is empty.
std::vector<NodeId> recurrence(Graph& graph, const Recurrence& layer, NodeId gates,
                               std::optional<NodeId> b_hh);

/// Gradients of the gates as the input and as the hidden state enter them (the latter where they
/// differ), of each step's output (where a projection follows), of h0 and of c0. It reads what
/// recurrence() gave instead of computing it again, as a derived gradient would.
struct RecurrenceGradients {
  std::optional<NodeId> out, h, c;
};
std::vector<NodeId> recurrence_backward(Graph& graph, const Recurrence& layer,
                                        const RecurrenceGradients& gradients, NodeId out,
                                        NodeId cells, NodeId saved);

}  // namespace coregrad::ops
