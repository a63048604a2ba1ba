#include "ops/recurrent.h"

#include "base/error.h"
#include "ops/detail.h"
#include "ops/expression.h"
#include "ops/linalg.h"

namespace coregrad::ops {
namespace {

Expr rectified(Expr x) { return {*x.graph, relu(*x.graph, x.node)}; }
Expr product(Expr x, NodeId weight) { return {*x.graph, matmul(*x.graph, x.node, weight)}; }
/// x @ weight^T.
Expr transposed_product(Expr x, NodeId weight) {
  return {*x.graph, linear(*x.graph, x.node, weight, {})};
}

Expr step(Graph& g, NodeId x, int64_t t) {
  return {g, squeeze(g, narrow(g, x, 0, t, t + 1), {{0}})};
}

std::vector<Expr> chunks(Expr x, int64_t n) {
  Graph& g = *x.graph;
  const int64_t last = g.rank(x.node) - 1, size = g.shape(x.node)[last] / n;
  std::vector<Expr> parts;
  for (int64_t i = 0; i < n; ++i)
    parts.emplace_back(g, narrow(g, x.node, last, i * size, (i + 1) * size));
  return parts;
}

Expr joined(std::span<const Expr> parts) {
  std::vector<NodeId> nodes;
  for (const Expr& part : parts) nodes.push_back(part.node);
  Graph& g = *parts[0].graph;
  return {g, concat(g, nodes, g.rank(nodes[0]) - 1)};
}
Expr joined(std::initializer_list<Expr> parts) {
  return joined(std::span(parts.begin(), parts.size()));
}

NodeId stacked(Graph& g, std::span<const Expr> steps) {
  std::vector<NodeId> nodes;
  for (const Expr& s : steps) nodes.push_back(s.node);
  return stack(g, nodes, 0);
}

NodeId nothing(Graph& g, DType dtype) {
  const SymInt shape[] = {0};
  return full(g, shape, Scalar::of(dtype, 0));
}

void require_kind(const Recurrence& layer, int64_t steps) {
  const std::string_view kind = layer.kind;
  if (kind != "lstm" && kind != "gru" && kind != "tanh" && kind != "relu")
    raise<ValueError>("recurrence: the kind must be 'lstm', 'gru', 'tanh' or 'relu': got '{}'",
                      kind);
  if ((kind == "lstm") != layer.c0.has_value() || (kind != "lstm" && layer.w_hr))
    raise<ValueError>(
        "recurrence: 'lstm' has cells and may have a projection, nothing else: got "
        "'{}'",
        kind);
  if (steps < 1) raise<ShapeError>("recurrence: there must be at least one step: got none");
}

/// The number of the step that is taken at a place in the order.
int64_t step_at(const Recurrence& layer, int64_t place, int64_t steps) {
  return layer.reverse ? steps - 1 - place : place;
}

/// A step from state to state.
struct State {
  Expr h, c;
  Expr saved;  ///< what the gradient reads of this step
};

State next_lstm(const Recurrence& layer, const State& before, Expr sums) {
  const std::vector<Expr> parts = chunks(sums, 4);
  const Expr i = sigmoid(parts[0]), f = sigmoid(parts[1]);
  const Expr candidate = tanh(parts[2]), o = sigmoid(parts[3]);
  const Expr c = f * before.c + i * candidate;
  Expr h = o * tanh(c);
  if (layer.w_hr) h = transposed_product(h, *layer.w_hr);
  return {h, c, joined({i, f, candidate, o})};
}

State next_gru(const State& before, Expr from_input, Expr from_hidden) {
  const std::vector<Expr> x = chunks(from_input, 3), y = chunks(from_hidden, 3);
  const Expr r = sigmoid(x[0] + y[0]), z = sigmoid(x[1] + y[1]);
  const Expr n = tanh(x[2] + r * y[2]);
  return {(before.h - n) * z + n, 0, joined({r, z, n, y[2]})};
}

/// Gradients of one step: of the state before it, and of the gates.
struct StepGradient {
  Expr h, c;  ///< c: a number where there is none
  Expr gates;
  Expr hidden = 0;  ///< of the gates as the hidden state enters them, where that differs
};

StepGradient lstm_gradient(const Recurrence& layer, Expr dh, std::optional<Expr> dc, Expr saved,
                           Expr c, Expr c_before) {
  const std::vector<Expr> parts = chunks(saved, 4);
  const Expr i = parts[0], f = parts[1], candidate = parts[2], o = parts[3];
  if (layer.w_hr) dh = product(dh, *layer.w_hr);
  const Expr tanh_c = tanh(c), through = dh * o * (1 - tanh_c * tanh_c);
  const Expr d = dc ? *dc + through : through;
  const Expr gates = joined({d * candidate * i * (1 - i), d * c_before * f * (1 - f),
                             d * i * (1 - candidate * candidate), dh * tanh_c * o * (1 - o)});
  return {product(gates, layer.w_hh), d * f, gates};
}

StepGradient gru_gradient(const Recurrence& layer, Expr dh, Expr saved, Expr h_before) {
  const std::vector<Expr> parts = chunks(saved, 4);
  const Expr r = parts[0], z = parts[1], n = parts[2], hn = parts[3];
  const Expr dn = dh * (1 - z) * (1 - n * n);
  const Expr dz = dh * (h_before - n) * z * (1 - z);
  const Expr dr = dn * hn * r * (1 - r);
  const Expr hidden = joined({dr, dz, dn * r});
  return {dh * z + product(hidden, layer.w_hh), 0, joined({dr, dz, dn}), hidden};
}

StepGradient simple_gradient(const Recurrence& layer, Expr dh, Expr h) {
  const Expr gates = layer.kind == "tanh" ? dh * (1 - h * h) : where(h > 0, dh, 0);
  return {product(gates, layer.w_hh), 0, gates};
}

}  // namespace

std::vector<NodeId> recurrence(Graph& g, const Recurrence& layer, NodeId gates,
                               std::optional<NodeId> b_hh) {
  const int64_t steps = g.shape(gates)[0];
  require_kind(layer, steps);
  const bool is_lstm = layer.kind == "lstm", is_gru = layer.kind == "gru";
  State state{{g, layer.h0}, is_lstm ? Expr(g, *layer.c0) : Expr(0), 0};
  std::vector<Expr> out(static_cast<size_t>(steps), 0), cells = out, saved = out;
  for (int64_t place = 0; place < steps; ++place) {
    const int64_t t = step_at(layer, place, steps);
    const Expr x = step(g, gates, t);
    Expr y = transposed_product(state.h, layer.w_hh);
    if (b_hh) y = y + Expr(g, *b_hh);
    if (is_lstm)
      state = next_lstm(layer, state, x + y);
    else if (is_gru)
      state = next_gru(state, x, y);
    else
      state.h = layer.kind == "tanh" ? tanh(x + y) : rectified(x + y);
    out[t] = state.h;
    cells[t] = state.c;
    saved[t] = state.saved;
  }
  const NodeId none = nothing(g, g.dtype(gates));
  return {stacked(g, out), state.h.node, is_lstm ? state.c.node : none,
          is_lstm ? stacked(g, cells) : none, is_lstm || is_gru ? stacked(g, saved) : none};
}

std::vector<NodeId> recurrence_backward(Graph& g, const Recurrence& layer,
                                        const RecurrenceGradients& gradients, NodeId out,
                                        NodeId cells, NodeId saved) {
  const int64_t steps = g.shape(out)[0];
  require_kind(layer, steps);
  const bool is_lstm = layer.kind == "lstm", is_gru = layer.kind == "gru";
  std::vector<Expr> d_gates(static_cast<size_t>(steps), 0), d_hidden = d_gates, d_outs = d_gates;
  std::optional<Expr> dh, dc;
  if (gradients.h) dh.emplace(g, *gradients.h);
  if (gradients.c) dc.emplace(g, *gradients.c);
  for (int64_t place = steps - 1; place >= 0; --place) {
    const int64_t t = step_at(layer, place, steps);
    const auto before = [&](NodeId all, NodeId first) {
      return place > 0 ? step(g, all, step_at(layer, place - 1, steps)) : Expr(g, first);
    };
    if (gradients.out) dh = dh ? step(g, *gradients.out, t) + *dh : step(g, *gradients.out, t);
    const Expr none(g, full(g, shape_of(g, layer.h0), Scalar::of(g.dtype(layer.h0), 0)));
    const Expr d_out = dh.value_or(none);
    d_outs[t] = d_out;
    StepGradient own = is_lstm ? lstm_gradient(layer, d_out, dc, step(g, saved, t),
                                               step(g, cells, t), before(cells, *layer.c0))
                       : is_gru
                           ? gru_gradient(layer, d_out, step(g, saved, t), before(out, layer.h0))
                           : simple_gradient(layer, d_out, step(g, out, t));
    d_gates[t] = own.gates;
    d_hidden[t] = own.hidden;
    dh = own.h;
    dc = own.c;
  }
  const NodeId none = nothing(g, g.dtype(out));
  return {stacked(g, d_gates), is_gru ? stacked(g, d_hidden) : none,
          layer.w_hr ? stacked(g, d_outs) : none, dh->node, is_lstm ? dc->node : none};
}

}  // namespace coregrad::ops
