// What all optimisers share: groups of parameters, and hyperparameters as data.

#include "base/error.h"
#include "coregrad/ops.h"
#include "coregrad/optim.h"
#include "ir/print.h"
#include "tensor/state.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <set>

namespace coregrad::optim {
namespace {

std::string describe(const SettingValue& value) {
  struct Describer {
    std::string operator()(std::monostate) const { return "None"; }
    std::string operator()(bool v) const { return v ? "True" : "False"; }
    std::string operator()(int64_t v) const { return fmt::format("{}", v); }
    std::string operator()(double v) const { return fmt::format("{}", v); }
    std::string operator()(const std::pair<double, double>& v) const {
      return fmt::format("({}, {})", v.first, v.second);
    }
    std::string operator()(const std::string& v) const { return fmt::format("'{}'", v); }
  };
  return std::visit(Describer(), value);
}

/// The float64 numbers of a value.
std::vector<double> numbers_of(const SettingValue& value) {
  if (const auto* one = std::get_if<double>(&value)) return {*one};
  if (const auto* two = std::get_if<std::pair<double, double>>(&value))
    return {two->first, two->second};
  return {};
}

/// The value as the type that the setting has, if it can be.
std::optional<SettingValue> converted(const SettingValue& value, const SettingValue& like) {
  if (value.index() == like.index()) return value;
  const auto* whole = std::get_if<int64_t>(&value);
  if (std::holds_alternative<double>(like) && whole != nullptr) return static_cast<double>(*whole);
  const auto may_be_missing = [](const SettingValue& v) {
    return std::holds_alternative<std::monostate>(v) || std::holds_alternative<std::string>(v);
  };
  if (may_be_missing(value) && may_be_missing(like)) return value;
  return std::nullopt;
}

std::string_view kind_of(const SettingValue& value) {
  constexpr std::array<std::string_view, 6> kinds = {"a word or None",        "True or False",
                                                     "a whole number",        "a number",
                                                     "a pair of two numbers", "a word or None"};
  return kinds[value.index()];
}

void require(const std::string& optimizer, const Setting& setting) {
  const auto require_each = [&](auto holds, const char* rule) {
    std::vector<double> values = numbers_of(setting.value);
    if (const auto* whole = std::get_if<int64_t>(&setting.value))
      values = {static_cast<double>(*whole)};
    if (!std::ranges::all_of(values, [&](double v) { return std::isfinite(v) && holds(v); }))
      raise<ValueError>("{}: {} must be {}, got {}", optimizer, setting.name, rule,
                        describe(setting.value));
  };
  using enum Setting::Rule;
  switch (setting.rule) {
    case Any:
      return require_each([](double) { return true; }, "finite");
    case AtLeastZero:
      return require_each([](double v) { return v >= 0; }, "a finite number of at least 0");
    case AtLeastOne:
      return require_each([](double v) { return v >= 1; }, "at least 1");
    case Fraction:
      return require_each([](double v) { return v >= 0 && v < 1; }, "in [0, 1)");
    case FractionOrOne:
      return require_each([](double v) { return v >= 0 && v <= 1; }, "in [0, 1]");
  }
}

/// All float64 numbers of the settings, in order.
Tensor as_data(const Settings& settings) {
  std::vector<double> values;
  for (const Setting& s : settings.rows)
    for (const double v : numbers_of(s.value)) values.push_back(v);
  return from_vector(values, {static_cast<int64_t>(values.size())});
}

}  // namespace

const Setting* Settings::find(std::string_view name) const {
  const auto at = std::ranges::find(rows, name, &Setting::name);
  return at == rows.end() ? nullptr : &*at;
}

bool Settings::is_on(std::string_view name) const {
  const Setting* setting = find(name);
  if (setting == nullptr) return false;
  if (const auto* flag = std::get_if<bool>(&setting->value)) return *flag;
  return std::get<double>(setting->value) != 0;
}

Tensor Group::number(std::string_view name, int64_t index) const {
  for (const Setting& s : settings.rows) {
    if (s.name == name) return select(numbers, 0, index);
    index += static_cast<int64_t>(numbers_of(s.value).size());
  }
  COREGRAD_UNREACHABLE("a setting that the algorithm does not have");
}

Optimizer::Optimizer(std::string name, std::vector<Setting> defaults)
    : name_(std::move(name)), defaults_{std::move(defaults)} {
  for (const Setting& s : defaults_.rows) require(name_, s);
}

void Optimizer::start_with(std::vector<Tensor> parameters) {
  check(defaults_);
  if (!parameters.empty()) add_param_group(std::move(parameters));
}

Settings Optimizer::with(Settings settings, const Overrides& overrides) const {
  for (const auto& [name, value] : overrides) {
    const auto at = std::ranges::find(settings.rows, name, &Setting::name);
    if (at == settings.rows.end())
      raise<ValueError>("{}: there is no hyperparameter '{}'", name_, name);
    const std::optional<SettingValue> typed = converted(value, at->value);
    if (!typed)
      raise<ValueError>("{}: {} must be {}, got {}", name_, name, kind_of(at->value),
                        describe(value));
    at->value = *typed;
    require(name_, *at);
  }
  check(settings);
  return settings;
}

void Optimizer::set_defaults(const Overrides& overrides) { defaults_ = with(defaults_, overrides); }

void Optimizer::set(size_t group, const Overrides& overrides) {
  Group& g = groups_.at(group);
  replace(g, with(g.settings, overrides));
}

void Optimizer::replace(Group& group, Settings settings) {
  group.settings = std::move(settings);
  group.numbers.assign(as_data(group.settings));
}

void Optimizer::add_param_group(std::vector<Tensor> parameters, const Overrides& overrides) {
  if (parameters.empty()) raise<ValueError>("{}: a group needs at least one parameter", name_);
  std::set<const TensorState*> known;
  for (const Group& g : groups_)
    for (const Tensor& p : g.parameters) known.insert(p.state().get());
  for (const Tensor& p : parameters) {
    const TensorState& state = state_of(p, name_);
    if (!state.requires_grad)
      raise<ValueError>("{}: a parameter must require a gradient, got {} that does not", name_,
                        type_text(state.dtype, state.shape));
    if (!state.is_leaf)
      raise<ValueError>("{}: a parameter must be a leaf, got {} that was computed from others",
                        name_, type_text(state.dtype, state.shape));
    if (!known.insert(p.state().get()).second)
      raise<ValueError>("{}: a parameter was given twice: {}", name_,
                        type_text(state.dtype, state.shape));
  }
  Group group;
  group.settings = with(defaults_, overrides);
  group.numbers = as_data(group.settings);
  group.states.resize(parameters.size());
  group.parameters = std::move(parameters);
  groups_.push_back(std::move(group));
}

void Optimizer::zero_grad(bool set_to_none) const {
  for (const Group& g : groups_)
    for (const Tensor& p : g.parameters) {
      if (set_to_none)
        p.zero_grad();
      else if (p.grad().is_defined())
        p.set_grad(zeros(p.shape(), p.dtype()));
    }
}

double Optimizer::learning_rate() const {
  if (groups_.empty()) raise<ValueError>("{}: there are no parameters", name_);
  return groups_.front().settings.get("lr");
}

void Optimizer::set_learning_rate(double value) {
  for (size_t i = 0; i < groups_.size(); ++i) set(i, {{"lr", value}});
}

std::vector<Tensor> Optimizer::parameters() const {
  std::vector<Tensor> all;
  for (const Group& g : groups_) all.insert(all.end(), g.parameters.begin(), g.parameters.end());
  return all;
}

Tensor Optimizer::step(const Closure& closure) {
  const Tensor loss = closure();
  step();
  return loss;
}

}  // namespace coregrad::optim
