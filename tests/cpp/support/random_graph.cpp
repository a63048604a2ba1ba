// Draws operations (random_graph_moves.cpp), chooses outputs and adds gradients. The values and the
// dice are in random_graph_maker.h; the twin and the comparison in random_graph_check.cpp.

#include "random_graph.h"

#include "grad/gradient.h"
#include "ir/print.h"

#include "random_graph_maker.h"
#include <algorithm>

namespace coregrad {
namespace random_graphs {

void Maker::run() {
  for (int64_t i = dice_.between(2, 4); i > 0; --i) fresh(any_dtype(), any_shape());
  fresh(dice_.chance(75) ? DType::Float32 : DType::Float64, any_shape());
  const int64_t steps = dice_.between(options_.min_steps, options_.max_steps);
  for (int64_t i = 0; i < steps; ++i) move();
  choose_outputs();
  if (differentiates_) add_gradients();
}

void Maker::move() {
  static constexpr Weighted kMoves[] = {
      {22, &Maker::float_unary}, {18, &Maker::float_binary}, {10, &Maker::integer_math},
      {6, &Maker::compare},      {6, &Maker::select},        {6, &Maker::cast},
      {18, &Maker::view},        {3, &Maker::window},        {5, &Maker::concat},
      {10, &Maker::reduce},      {4, &Maker::positions},     {7, &Maker::matmul},
      {5, &Maker::convolution},  {4, &Maker::gather},        {4, &Maker::scatter},
      {4, &Maker::scan},         {3, &Maker::random},        {2, &Maker::softmax},
  };
  int total = 0;
  for (const Weighted& w : kMoves) total += w.weight;
  auto roll = static_cast<int>(dice_.below(static_cast<size_t>(total)));
  for (const Weighted& w : kMoves)
    if ((roll -= w.weight) < 0) return (this->*w.move)();
}

void Maker::choose_outputs() {
  const std::vector<uint32_t> uses = all_uses();
  // What nobody used is an output, newest first, and some of the others too.
  for (size_t i = values_.size(); i-- > 0 && out_.outputs.size() < 5;)
    if ((uses[values_[i].id.value] == 0 && g_[values_[i].id].op != Op::Input) || dice_.chance(4))
      if (std::find(out_.outputs.begin(), out_.outputs.end(), values_[i].id) == out_.outputs.end())
        out_.outputs.push_back(values_[i].id);
  if (out_.outputs.empty()) out_.outputs.push_back(values_.back().id);
}

std::vector<uint32_t> Maker::all_uses() const {
  std::vector<uint32_t> uses(g_.size(), 0);
  for (uint32_t i = 0; i < g_.size(); ++i)
    for (const NodeId o : g_.operands({i})) ++uses[o.value];
  return uses;
}

void Maker::add_gradients() {
  std::vector<NodeId> floating, targets;
  for (const NodeId o : out_.outputs)
    if (is_float(g_.dtype(o))) floating.push_back(o);
  if (floating.empty()) return;
  const NodeId output = floating[dice_.below(floating.size())];
  for (const Value& v : values_)
    if (g_[v.id].op == Op::Input && is_float(g_.dtype(v.id)) && targets.size() < 4)
      targets.push_back(v.id);
  const NodeId seed =
      ops::full(g_, g_.shape(output), Scalar::of_float(g_.dtype(output), dice_.real(0.1, 1)));
  for (const NodeId d : gradients(g_, {&output, 1}, {&seed, 1}, targets, Unreachable::Invalid))
    if (d.is_valid()) out_.outputs.push_back(d);
}

}  // namespace random_graphs

RandomGraph make_random_graph(uint64_t seed, const RandomGraphOptions& options) {
  RandomGraph random;
  random.seed = seed;
  random_graphs::Maker(random, options).run();
  return random;
}

std::vector<InputView> RandomGraph::inputs() const {
  std::vector<InputView> views;
  for (const std::vector<std::byte>& bytes : storage) views.push_back({bytes.data()});
  return views;
}

int64_t RandomGraph::size() const {
  const std::vector<bool> live = mark_live(graph, outputs);
  return std::count(live.begin(), live.end(), true);
}

std::string RandomGraph::to_text() const {
  return fmt::format("random graph, seed {}\n{}", seed, coregrad::to_text(graph, outputs));
}

}  // namespace coregrad
