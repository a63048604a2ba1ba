// L-BFGS, as torch.optim.LBFGS does it. What a step does next depends on values, which are read;
// the vectors that it computes with have the same operations for every length of the history.

#include "base/error.h"
#include "coregrad/ops.h"
#include "coregrad/optim.h"
#include "optim/snapshot.h"
#include "optim/strong_wolfe.h"
#include "tensor/trace.h"

#include <algorithm>
#include <cmath>

namespace coregrad::optim {
namespace {

using enum Setting::Rule;

/// A curvature below this says nothing: the step is not remembered.
constexpr double kLeastCurvature = 1e-10;

SettingValue word_or_none(const std::string& word) {
  return word.empty() ? SettingValue() : SettingValue(word);
}

Tensor dot(const Tensor& a, const Tensor& b) { return sum(a * b); }
double largest(const Tensor& x) { return amax(abs(x)).item(); }
Tensor data(double value, DType dtype) { return scalar_data(Scalar::of_float(dtype, value)); }

}  // namespace

LBFGS::LBFGS(std::vector<Tensor> parameters, double learning_rate, LBFGSOptions o)
    : Optimizer("LBFGS", {{"lr", learning_rate, AtLeastZero},
                          {"max_iter", o.max_iter, AtLeastOne},
                          {"max_eval", o.max_eval.value_or(o.max_iter * 5 / 4), AtLeastOne},
                          {"tolerance_grad", o.tolerance_grad, AtLeastZero},
                          {"tolerance_change", o.tolerance_change, AtLeastZero},
                          {"history_size", o.history_size, AtLeastOne},
                          {"line_search_fn", word_or_none(o.line_search_fn)}}) {
  start_with(std::move(parameters));
}

void LBFGS::check(const Settings& settings) const {
  const auto* search = std::get_if<std::string>(&settings.find("line_search_fn")->value);
  if (search != nullptr && *search != "strong_wolfe")
    raise<ValueError>("LBFGS: line_search_fn must be 'strong_wolfe' or None, got '{}'", *search);
}

void LBFGS::add_param_group(std::vector<Tensor> parameters, const Overrides& overrides) {
  if (!groups_.empty()) raise<ValueError>("LBFGS: there can be one group of parameters only");
  Optimizer::add_param_group(std::move(parameters), overrides);
}

void LBFGS::step(std::span<const Tensor>) {
  raise<ValueError>("LBFGS: a step needs a closure, which it calls more than once");
}

DType LBFGS::work_dtype() const {
  const auto& parameters = groups_.front().parameters;
  return std::ranges::any_of(parameters,
                             [](const Tensor& p) { return p.dtype() == DType::Float64; })
             ? DType::Float64
             : DType::Float32;
}

Tensor LBFGS::flat_gradient() const {
  const DType work = work_dtype();
  std::vector<Tensor> parts;
  for (const Tensor& p : groups_.front().parameters) {
    const Tensor gradient = p.grad();
    parts.push_back(gradient.is_defined() ? cast(reshape(gradient, {-1}), work)
                                          : zeros({p.numel()}, work));
  }
  return concat(parts).realize();
}

void LBFGS::move_to(std::span<const Tensor> start, const Tensor& direction, double length) const {
  const Tensor step = direction * data(length, direction.dtype());
  std::vector<Tensor> next;
  int64_t offset = 0;
  for (const Tensor& x : start) {
    const Tensor part = reshape(slice(step, 0, offset, offset + x.numel()), x.shape());
    next.push_back(cast(cast(x, step.dtype()) + part, x.dtype()));
    offset += x.numel();
  }
  realize(next);
  for (size_t i = 0; i < next.size(); ++i) groups_.front().parameters[i].assign(next[i]);
}

void LBFGS::remember(const Tensor& gradient) {
  Memory& m = memory_;
  const Tensor change = gradient - m.gradient;
  const Tensor step = m.direction * data(m.length, m.direction.dtype());
  const Tensor product = dot(change, step), inverse = 1.0 / product;
  const Tensor scale = product / dot(change, change);
  realize({change, step, product, inverse, scale});
  if (!(product.item() > kLeastCurvature)) return;
  if (static_cast<int64_t>(m.steps.size()) ==
      groups_.front().settings.get<int64_t>("history_size")) {
    for (auto* list : {&m.gradient_changes, &m.steps, &m.inverse_products})
      list->erase(list->begin());
  }
  m.gradient_changes.push_back(change);
  m.steps.push_back(step);
  m.inverse_products.push_back(inverse);
  m.scale = scale;
}

/// The two loops of Nocedal, 1980.
Tensor LBFGS::next_direction(const Tensor& gradient) const {
  const Memory& m = memory_;
  const size_t size = m.steps.size();
  std::vector<Tensor> parts(size);
  Tensor direction = (-gradient).realize();
  for (size_t i = size; i-- > 0;) {
    parts[i] = dot(m.steps[i], direction) * m.inverse_products[i];
    direction = direction - parts[i] * m.gradient_changes[i];
    realize({direction, parts[i]});
  }
  direction = (direction * m.scale).realize();
  for (size_t i = 0; i < size; ++i) {
    const Tensor part = dot(m.gradient_changes[i], direction) * m.inverse_products[i];
    direction = (direction + m.steps[i] * (parts[i] - part)).realize();
  }
  return direction;
}

Tensor LBFGS::step(const Closure& closure) {
  if (Trace::current() != nullptr)
    raise<ValueError>(
        "LBFGS: values decide what a step does, so it can not be a part of a compiled function; "
        "compile its closure");
  if (groups_.empty()) raise<ValueError>("LBFGS: there are no parameters");
  const Settings& settings = groups_.front().settings;
  const double rate = settings.get("lr"), tolerance_change = settings.get("tolerance_change");
  const auto max_iter = settings.get<int64_t>("max_iter");
  const auto max_eval = settings.get<int64_t>("max_eval");
  const bool searches = settings.find("line_search_fn")->value.index() != 0;
  Memory& m = memory_;

  const Tensor first_loss = closure();
  double loss = first_loss.item();
  Tensor gradient = flat_gradient();
  int64_t evaluations = 1;
  ++m.func_evals;
  const auto is_optimal = [&] { return largest(gradient) <= settings.get("tolerance_grad"); };
  if (is_optimal()) return first_loss;

  for (int64_t iteration = 1; iteration <= max_iter; ++iteration) {
    if (++m.n_iter == 1) {
      m.direction = (-gradient).realize();
      m.scale = data(1, gradient.dtype());
      m.length = std::min(1.0, 1 / sum(abs(gradient)).item()) * rate;
    } else {
      remember(gradient);
      m.direction = next_direction(gradient);
      m.length = rate;
    }
    m.gradient = gradient;
    m.loss = loss;
    const Tensor& direction = m.direction;
    const double slope = dot(gradient, direction).item();
    if (slope > -tolerance_change) break;

    int64_t now = 0;
    const std::vector<Tensor> start = snapshots(groups_.front().parameters);
    const auto evaluate = [&](double length) {
      move_to(start, direction, length);
      const double value = closure().item();
      const Tensor at = flat_gradient();
      return LinePoint{length, value, at, dot(at, direction).item()};
    };
    if (searches) {
      const LineResult found =
          strong_wolfe({evaluate, largest(direction), tolerance_change, max_eval - evaluations},
                       {0, loss, gradient, slope}, m.length);
      move_to(start, direction, found.point.at);
      m.length = found.point.at;
      loss = found.point.loss;
      gradient = found.point.gradient;
      now = found.evaluations;
    } else if (iteration < max_iter) {
      const LinePoint point = evaluate(m.length);
      loss = point.loss;
      gradient = point.gradient;
      now = 1;
    } else {
      move_to(start, direction, m.length);
    }
    evaluations += now;
    m.func_evals += now;
    if (evaluations >= max_eval || is_optimal() ||
        largest(direction) * std::abs(m.length) <= tolerance_change ||
        std::abs(loss - m.loss) < tolerance_change)
      break;
  }
  return first_loss;
}

}  // namespace coregrad::optim
