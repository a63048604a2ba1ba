// The algorithms, one after the other: which hyperparameters they have, what they remember, and
// their formulas, which are PyTorch's (torch/optim, the functions named _single_tensor_..).
//
// Numbers that all elements of a parameter share are computed in float64, as in PyTorch, and for
// all parameters of a group at once.

#include "base/error.h"
#include "coregrad/ops.h"
#include "coregrad/optim.h"

#include <array>

namespace coregrad::optim {
namespace {

using enum Setting::Rule;

/// The hyperparameters that all have, and others.
template <class Options>
std::vector<Setting> rows(double learning_rate, const Options& o, std::vector<Setting> others) {
  others.insert(others.begin(), {{"lr", learning_rate, AtLeastZero},
                                 {"weight_decay", o.weight_decay, AtLeastZero},
                                 {"maximize", o.maximize}});
  return others;
}

template <class Options>
Setting betas(const Options& o) {
  return {"betas", std::pair(o.beta1, o.beta2), Fraction};
}

/// Moves an average towards a value; `keep` and `take` add up to 1.
void average(const Tensor& state, const Tensor& value, const Tensor& keep, const Tensor& take) {
  state.assign(state * keep + value * take);
}

/// 1 - beta^steps: what an average that started at 0 is divided by.
Tensor correction(const Tensor& beta, const Group& group) {
  return 1.0 - pow(beta, group.counts[0]);
}

}  // namespace

SGD::SGD(std::vector<Tensor> parameters, double learning_rate, SGDOptions o)
    : ElementwiseOptimizer("SGD",
                           rows(learning_rate, o,
                                {{"momentum", o.momentum, AtLeastZero},
                                 {"dampening", o.dampening},
                                 {"nesterov", o.nesterov}}),
                           {{.name = "step", .condition = "momentum", .is_saved = false}},
                           {{.name = "momentum_buffer", .condition = "momentum"}}) {
  start_with(std::move(parameters));
}

void SGD::check(const Settings& settings) const {
  if (settings.is_on("nesterov") && (!settings.is_on("momentum") || settings.is_on("dampening")))
    raise<ValueError>("SGD: Nesterov's form needs a momentum and no dampening");
}

std::vector<Tensor> SGD::coefficients(Group& g) const {
  if (!g.is_on("momentum")) return {g.number("lr")};
  // The buffer starts with the first gradient, undampened: from zeros that is the same sum.
  const Tensor taken = where(less_equal(g.counts[0], 1.0), 1.0, 1.0 - g.number("dampening"));
  return {g.number("lr"), g.number("momentum"), taken};
}

Tensor SGD::update(const Update& u) const {
  Tensor direction = u.gradient;
  if (u.group.is_on("momentum")) {
    const Tensor &momentum = u.number[1], &taken = u.number[2], &buffer = u.state[0];
    buffer.assign(buffer * momentum + direction * taken);
    direction = u.group.is_on("nesterov") ? direction + buffer * momentum : buffer;
  }
  return u.value - direction * u.number[0];
}

Adam::Adam(std::string name, std::vector<Tensor> parameters, double learning_rate, AdamOptions o)
    : ElementwiseOptimizer(std::move(name),
                           rows(learning_rate, o,
                                {betas(o),
                                 {"eps", o.epsilon, AtLeastZero},
                                 {"amsgrad", o.amsgrad},
                                 {"decoupled_weight_decay", o.decoupled}}),
                           {{.name = "step"}},
                           {{.name = "exp_avg"},
                            {.name = "exp_avg_sq"},
                            {.name = "max_exp_avg_sq", .condition = "amsgrad"}}) {
  start_with(std::move(parameters));
}

std::vector<Tensor> Adam::coefficients(Group& g) const {
  const Tensor beta1 = g.number("betas", 0), beta2 = g.number("betas", 1);
  return {beta1,
          1.0 - beta1,
          beta2,
          1.0 - beta2,
          g.number("eps"),
          g.number("lr") / correction(beta1, g),
          sqrt(correction(beta2, g))};
}

Tensor Adam::update(const Update& u) const {
  const Tensor &keep1 = u.number[0], &take1 = u.number[1], &keep2 = u.number[2],
               &take2 = u.number[3], &epsilon = u.number[4], &rate = u.number[5],
               &root_correction = u.number[6];
  const Tensor &mean = u.state[0], &square_mean = u.state[1], &largest = u.state[2];
  average(mean, u.gradient, keep1, take1);
  average(square_mean, square(u.gradient), keep2, take2);
  Tensor spread = square_mean;
  if (u.group.is_on("amsgrad")) {
    largest.assign(maximum(largest, square_mean));
    spread = largest;
  }
  return u.value - rate * mean / (sqrt(spread) / root_correction + epsilon);
}

RMSprop::RMSprop(std::vector<Tensor> parameters, double learning_rate, RMSpropOptions o)
    : ElementwiseOptimizer("RMSprop",
                           rows(learning_rate, o,
                                {{"momentum", o.momentum, AtLeastZero},
                                 {"alpha", o.alpha, AtLeastZero},
                                 {"eps", o.epsilon, AtLeastZero},
                                 {"centered", o.centered}}),
                           {{.name = "step"}},
                           {{.name = "square_avg"},
                            {.name = "momentum_buffer", .condition = "momentum"},
                            {.name = "grad_avg", .condition = "centered"}}) {
  start_with(std::move(parameters));
}

std::vector<Tensor> RMSprop::coefficients(Group& g) const {
  const Tensor alpha = g.number("alpha");
  return {g.number("lr"), alpha, 1.0 - alpha, g.number("eps"), g.number("momentum")};
}

Tensor RMSprop::update(const Update& u) const {
  const Tensor &rate = u.number[0], &keep = u.number[1], &take = u.number[2],
               &epsilon = u.number[3], &momentum = u.number[4];
  const Tensor &square_mean = u.state[0], &buffer = u.state[1], &mean = u.state[2];
  average(square_mean, square(u.gradient), keep, take);
  Tensor spread = square_mean;
  if (u.group.is_on("centered")) {
    average(mean, u.gradient, keep, take);
    spread = square_mean - square(mean);
  }
  const Tensor direction = u.gradient / (sqrt(spread) + epsilon);
  if (!u.group.is_on("momentum")) return u.value - direction * rate;
  buffer.assign(buffer * momentum + direction);
  return u.value - buffer * rate;
}

Adagrad::Adagrad(std::vector<Tensor> parameters, double learning_rate, AdagradOptions o)
    : ElementwiseOptimizer(
          "Adagrad",
          rows(learning_rate, o,
               {{"lr_decay", o.lr_decay, AtLeastZero},
                {"eps", o.epsilon, AtLeastZero},
                {"initial_accumulator_value", o.initial_accumulator_value, AtLeastZero}}),
          {{.name = "step"}}, {{.name = "sum", .initial = "initial_accumulator_value"}}) {
  start_with(std::move(parameters));
}

std::vector<Tensor> Adagrad::coefficients(Group& g) const {
  return {g.number("lr") / (1.0 + (g.counts[0] - 1.0) * g.number("lr_decay")), g.number("eps")};
}

Tensor Adagrad::update(const Update& u) const {
  const Tensor& sum = u.state[0];
  sum.assign(sum + square(u.gradient));
  return u.value - u.number[0] * u.gradient / (sqrt(sum) + u.number[1]);
}

Adadelta::Adadelta(std::vector<Tensor> parameters, double learning_rate, AdadeltaOptions o)
    : ElementwiseOptimizer(
          "Adadelta",
          rows(learning_rate, o, {{"rho", o.rho, FractionOrOne}, {"eps", o.epsilon, AtLeastZero}}),
          {{.name = "step"}}, {{.name = "square_avg"}, {.name = "acc_delta"}}) {
  start_with(std::move(parameters));
}

std::vector<Tensor> Adadelta::coefficients(Group& g) const {
  const Tensor rho = g.number("rho");
  return {g.number("lr"), rho, 1.0 - rho, g.number("eps")};
}

Tensor Adadelta::update(const Update& u) const {
  const Tensor &rate = u.number[0], &keep = u.number[1], &take = u.number[2],
               &epsilon = u.number[3];
  const Tensor &square_mean = u.state[0], &moved = u.state[1];
  average(square_mean, square(u.gradient), keep, take);
  const Tensor delta = sqrt(moved + epsilon) / sqrt(square_mean + epsilon) * u.gradient;
  average(moved, square(delta), keep, take);
  return u.value - delta * rate;
}

Adamax::Adamax(std::vector<Tensor> parameters, double learning_rate, AdamaxOptions o)
    : ElementwiseOptimizer("Adamax",
                           rows(learning_rate, o, {betas(o), {"eps", o.epsilon, AtLeastZero}}),
                           {{.name = "step"}}, {{.name = "exp_avg"}, {.name = "exp_inf"}}) {
  start_with(std::move(parameters));
}

std::vector<Tensor> Adamax::coefficients(Group& g) const {
  const Tensor beta1 = g.number("betas", 0);
  return {beta1, 1.0 - beta1, g.number("betas", 1), g.number("eps"),
          g.number("lr") / correction(beta1, g)};
}

Tensor Adamax::update(const Update& u) const {
  const Tensor &keep = u.number[0], &take = u.number[1], &decay = u.number[2],
               &epsilon = u.number[3], &rate = u.number[4];
  const Tensor &mean = u.state[0], &largest = u.state[1];
  average(mean, u.gradient, keep, take);
  largest.assign(maximum(largest * decay, abs(u.gradient) + epsilon));
  return u.value - rate * mean / largest;
}

NAdam::NAdam(std::vector<Tensor> parameters, double learning_rate, NAdamOptions o)
    : ElementwiseOptimizer("NAdam",
                           rows(learning_rate, o,
                                {betas(o),
                                 {"eps", o.epsilon, AtLeastZero},
                                 {"momentum_decay", o.momentum_decay, AtLeastZero},
                                 {"decoupled_weight_decay", o.decoupled}}),
                           {{.name = "step"}, {.name = "mu_product", .initial = 1}},
                           {{.name = "exp_avg"}, {.name = "exp_avg_sq"}}) {
  start_with(std::move(parameters));
}

std::vector<Tensor> NAdam::coefficients(Group& g) const {
  const Tensor beta1 = g.number("betas", 0), beta2 = g.number("betas", 1), lr = g.number("lr");
  const auto mu_at = [&](const Tensor& step) {
    return beta1 * (1.0 - 0.5 * pow(0.96, step * g.number("momentum_decay")));
  };
  const Tensor mu = mu_at(g.counts[0]), next_mu = mu_at(g.counts[0] + 1.0);
  g.advance(1, g.counts[1] * mu);
  return {beta1,
          1.0 - beta1,
          beta2,
          1.0 - beta2,
          correction(beta2, g),
          g.number("eps"),
          lr * (1.0 - mu) / (1.0 - g.counts[1]),
          lr * next_mu / (1.0 - g.counts[1] * next_mu)};
}

Tensor NAdam::update(const Update& u) const {
  const Tensor &keep1 = u.number[0], &take1 = u.number[1], &keep2 = u.number[2],
               &take2 = u.number[3], &correction2 = u.number[4], &epsilon = u.number[5],
               &gradient_rate = u.number[6], &mean_rate = u.number[7];
  const Tensor &mean = u.state[0], &square_mean = u.state[1];
  average(mean, u.gradient, keep1, take1);
  average(square_mean, square(u.gradient), keep2, take2);
  const Tensor spread = sqrt(square_mean / correction2) + epsilon;
  return u.value - gradient_rate * u.gradient / spread - mean_rate * mean / spread;
}

RAdam::RAdam(std::vector<Tensor> parameters, double learning_rate, RAdamOptions o)
    : ElementwiseOptimizer(
          "RAdam",
          rows(
              learning_rate, o,
              {betas(o), {"eps", o.epsilon, AtLeastZero}, {"decoupled_weight_decay", o.decoupled}}),
          {{.name = "step"}}, {{.name = "exp_avg"}, {.name = "exp_avg_sq"}}) {
  start_with(std::move(parameters));
}

std::vector<Tensor> RAdam::coefficients(Group& g) const {
  const Tensor beta1 = g.number("betas", 0), beta2 = g.number("betas", 1);
  const Tensor& steps = g.counts[0];
  const Tensor correction2 = correction(beta2, g), limit = 2.0 / (1.0 - beta2) - 1.0;
  const Tensor length = limit - 2.0 * steps * pow(beta2, steps) / correction2;
  const Tensor rectification =
      sqrt((length - 4.0) * (length - 2.0) * limit / ((limit - 4.0) * (limit - 2.0) * length));
  // While the variance is unknown, the spread is 1: numbers decide, so that the operations of all
  // steps are the same.
  const Tensor is_known = greater(length, 5.0);
  const Tensor rate = g.number("lr") / correction(beta1, g);
  return {beta1,
          1.0 - beta1,
          beta2,
          1.0 - beta2,
          where(is_known, rate * rectification * sqrt(correction2), rate),
          cast(is_known, DType::Float64),
          where(is_known, g.number("eps"), 1.0)};
}

Tensor RAdam::update(const Update& u) const {
  const Tensor &keep1 = u.number[0], &take1 = u.number[1], &keep2 = u.number[2],
               &take2 = u.number[3], &rate = u.number[4], &is_known = u.number[5],
               &epsilon = u.number[6];
  const Tensor &mean = u.state[0], &square_mean = u.state[1];
  average(mean, u.gradient, keep1, take1);
  average(square_mean, square(u.gradient), keep2, take2);
  return u.value - rate * mean / (sqrt(square_mean) * is_known + epsilon);
}

Lion::Lion(std::vector<Tensor> parameters, double learning_rate, LionOptions o)
    : ElementwiseOptimizer("Lion",
                           rows(learning_rate, o, {betas(o), {"decoupled_weight_decay", true}}), {},
                           {{.name = "exp_avg"}}) {
  start_with(std::move(parameters));
}

std::vector<Tensor> Lion::coefficients(Group& g) const {
  const Tensor beta1 = g.number("betas", 0), beta2 = g.number("betas", 1);
  return {beta1, 1.0 - beta1, beta2, 1.0 - beta2, g.number("lr")};
}

Tensor Lion::update(const Update& u) const {
  const Tensor &keep1 = u.number[0], &take1 = u.number[1], &keep2 = u.number[2],
               &take2 = u.number[3], &rate = u.number[4], &mean = u.state[0];
  const Tensor direction = sign(mean * keep1 + u.gradient * take1);
  average(mean, u.gradient, keep2, take2);
  return u.value - direction * rate;
}

namespace {

using Make = std::unique_ptr<Optimizer> (*)();
template <class T>
std::unique_ptr<Optimizer> make() {
  return std::make_unique<T>();
}

constexpr std::array<std::pair<std::string_view, Make>, 11> kAlgorithms = {{
    {"Adadelta", make<Adadelta>},
    {"Adagrad", make<Adagrad>},
    {"Adam", make<Adam>},
    {"AdamW", make<AdamW>},
    {"Adamax", make<Adamax>},
    {"LBFGS", make<LBFGS>},
    {"Lion", make<Lion>},
    {"NAdam", make<NAdam>},
    {"RAdam", make<RAdam>},
    {"RMSprop", make<RMSprop>},
    {"SGD", make<SGD>},
}};

}  // namespace

std::unique_ptr<Optimizer> make_optimizer(std::string_view name) {
  for (const auto& [known, create] : kAlgorithms)
    if (known == name) return create();
  raise<ValueError>("make_optimizer: there is no algorithm '{}'", name);
}

}  // namespace coregrad::optim
