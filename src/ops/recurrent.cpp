#include "ops/recurrent.h"

#include "base/error.h"
#include "ops/detail.h"
#include "ops/expression.h"
#include "ops/iterate.h"
#include "ops/linalg.h"

namespace coregrad::ops {
namespace {

Expr rectified(Expr x) { return {*x.graph, relu(*x.graph, x.node)}; }
Expr product(Expr x, NodeId weight) { return {*x.graph, matmul(*x.graph, x.node, weight)}; }
/// x @ weight^T.
Expr transposed_product(Expr x, NodeId weight) {
  return {*x.graph, linear(*x.graph, x.node, weight, {})};
}

std::vector<Expr> chunks(Expr x, int64_t n) {
  Graph& g = *x.graph;
  const int64_t last = g.rank(x.node) - 1;
  const SymInt size = g.shape(x.node)[last] / n;
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

NodeId nothing(Graph& g, DType dtype) {
  const SymInt shape[] = {0};
  return full(g, shape, Scalar::of(dtype, 0));
}

void require_kind(const Recurrence& layer) {
  const std::string_view kind = layer.kind;
  if (kind != "lstm" && kind != "gru" && kind != "tanh" && kind != "relu")
    raise<ValueError>("recurrence: the kind must be 'lstm', 'gru', 'tanh' or 'relu': got '{}'",
                      kind);
  if ((kind == "lstm") != layer.c0.has_value() || (kind != "lstm" && layer.w_hr))
    raise<ValueError>(
        "recurrence: 'lstm' has cells and may have a projection, nothing else: got "
        "'{}'",
        kind);
}

/// What the steps share of a layer, in the iteration's body.
Recurrence constants(IterationBuilder& steps, const Recurrence& layer) {
  Recurrence inner{.kind = layer.kind, .h0 = {}, .c0 = {}, .w_hh = steps.constant(layer.w_hh)};
  if (layer.w_hr) inner.w_hr = steps.constant(*layer.w_hr);
  return inner;
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
  require_kind(layer);
  const bool is_lstm = layer.kind == "lstm", is_gru = layer.kind == "gru";
  IterationBuilder steps(g, std::string(layer.kind));
  Graph& body = steps.body();
  State state{
      {body, steps.carried(layer.h0)}, is_lstm ? Expr(body, steps.carried(*layer.c0)) : Expr(0), 0};
  const Recurrence inner = constants(steps, layer);
  const Expr x(body, steps.slices(gates));
  Expr y = transposed_product(state.h, inner.w_hh);
  if (b_hh) y = y + Expr(body, steps.constant(*b_hh));
  if (is_lstm)
    state = next_lstm(inner, state, x + y);
  else if (is_gru)
    state = next_gru(state, x, y);
  else
    state.h = layer.kind == "tanh" ? tanh(x + y) : rectified(x + y);
  steps.hand_on(state.h.node);
  steps.stack(state.h.node);
  if (is_lstm) {
    steps.hand_on(state.c.node);
    steps.stack(state.c.node);
  }
  if (is_lstm || is_gru) steps.stack(state.saved.node);
  const auto [last, stacked] = steps.finish(g.shape(gates)[0], layer.reverse);
  const NodeId none = nothing(g, g.dtype(gates));
  return {stacked[0], last[0], is_lstm ? last[1] : none, is_lstm ? stacked[1] : none,
          is_lstm || is_gru ? stacked.back() : none};
}

std::vector<NodeId> recurrence_backward(Graph& g, const Recurrence& layer,
                                        const RecurrenceGradients& gradients, NodeId out,
                                        NodeId cells, NodeId saved) {
  require_kind(layer);
  const bool is_lstm = layer.kind == "lstm", is_gru = layer.kind == "gru";
  const auto zeros = [&](NodeId like) {
    return full(g, shape_of(g, like), Scalar::of(g.dtype(like), 0));
  };
  IterationBuilder steps(g, fmt::format("{} backward", layer.kind));
  Graph& body = steps.body();
  const auto at_step = [&](NodeId sequence) { return Expr(body, steps.slices(sequence)); };
  // The step that was taken before.
  const auto before = [&](NodeId sequence, NodeId first) {
    return Expr(body, steps.slices(sequence, layer.reverse ? 1 : -1, first));
  };
  Expr dh(body, steps.carried(gradients.h ? *gradients.h : zeros(layer.h0)));
  std::optional<Expr> dc;
  if (is_lstm) dc.emplace(body, steps.carried(gradients.c ? *gradients.c : zeros(*layer.c0)));
  const Recurrence inner = constants(steps, layer);
  if (gradients.out) dh = at_step(*gradients.out) + dh;
  const StepGradient own = is_lstm  ? lstm_gradient(inner, dh, dc, at_step(saved), at_step(cells),
                                                    before(cells, *layer.c0))
                           : is_gru ? gru_gradient(inner, dh, at_step(saved), before(out, layer.h0))
                                    : simple_gradient(inner, dh, at_step(out));
  steps.hand_on(own.h.node);
  if (is_lstm) steps.hand_on(own.c.node);
  steps.stack(own.gates.node);
  if (is_gru) steps.stack(own.hidden.node);
  if (layer.w_hr) steps.stack(dh.node);
  const auto [last, stacked] = steps.finish(g.shape(out)[0], !layer.reverse);
  const NodeId none = nothing(g, g.dtype(out));
  return {stacked[0], is_gru ? stacked[1] : none, layer.w_hr ? stacked.back() : none, last[0],
          is_lstm ? last[1] : none};
}

}  // namespace coregrad::ops
