#pragma once
// Optimisers. A step records all updates and computes them, with the gradients and whatever else is
// asked for, in one plan.
//
// Names, defaults and formulas are PyTorch's. Where to start: Optimizer::step, then an algorithm's
// coefficients() and update() in src/optim/algorithms.cpp.

#include "coregrad/tensor.h"

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#pragma GCC visibility push(default)
namespace coregrad::optim {

/// A hyperparameter's value. float64 numbers and pairs of them are data of a step, so that changing
/// one makes no new plan; of the others, and of whether a momentum is 0, a step's operations
/// depend.
using SettingValue =
    std::variant<std::monostate, bool, int64_t, double, std::pair<double, double>, std::string>;

/// One hyperparameter: a name, a value, and which values it may have. Its type never changes, but
/// for a word that may be missing.
struct Setting {
  enum class Rule { Any, AtLeastZero, AtLeastOne, Fraction, FractionOrOne };

  std::string name;
  SettingValue value;
  Rule rule = Rule::Any;
};

/// The hyperparameters of an algorithm, in PyTorch's order.
struct Settings {
  std::vector<Setting> rows;

  const Setting* find(std::string_view name) const;
  /// A switch's value, or whether a number is not 0; false where there is no such setting.
  bool is_on(std::string_view name) const;
  /// Whether what a condition (the name of a setting, or none) is for is kept.
  bool keeps(std::string_view condition) const { return condition.empty() || is_on(condition); }
  /// The value of a setting that is there and has the type.
  template <class T = double>
  const T& get(std::string_view name) const {
    return std::get<T>(find(name)->value);
  }
};

/// Parameters (leaves) that share hyperparameters, and what an algorithm remembers about each.
struct Group {
  std::vector<Tensor> parameters;
  Settings settings;

  bool is_on(std::string_view name) const { return settings.is_on(name); }
  /// A float64 setting, or one of a pair, as data; float64 [].
  Tensor number(std::string_view name, int64_t index = 0) const;
  /// Replaces a number that the algorithm keeps of each parameter, where there is a gradient.
  void advance(size_t row, const Tensor& next);

  Tensor numbers;              ///< all float64 settings in order, as data
  std::vector<Tensor> counts;  ///< numbers kept of each parameter; float64 [parameters]
  std::vector<std::vector<Tensor>> states;  ///< tensors kept of each; empty before its first step
  Tensor present;  ///< bool [parameters]: has a gradient in this step; undefined if all have one
};

/// What can be saved of an optimiser and loaded into another; PyTorch's keys.
struct StateDict {
  using Value = std::variant<int64_t, double, Tensor, std::vector<Tensor>>;
  struct SavedGroup {
    std::map<std::string, SettingValue> settings;
    std::vector<int64_t> params;  ///< keys of `state`
  };
  using Entry = std::map<std::string, Value>;
  std::map<int64_t, Entry> state;  ///< of parameters, by their numbers over all groups
  std::vector<SavedGroup> param_groups;
};

/// Holds groups of parameters and applies an algorithm to them.
class Optimizer {
 public:
  using Overrides = std::map<std::string, SettingValue>;
  /// Records the loss and its gradients anew and gives the loss.
  using Closure = std::function<Tensor()>;

  virtual ~Optimizer() = default;
  Optimizer(const Optimizer&) = delete;
  Optimizer& operator=(const Optimizer&) = delete;

  /// More parameters, with hyperparameters of their own where these are given. ValueError for
  /// parameters that need no gradient or that a group has.
  virtual void add_param_group(std::vector<Tensor> parameters, const Overrides& overrides = {});
  /// Updates every parameter that has a gradient; `together` is realised in the same plan.
  virtual void step(std::span<const Tensor> together = {}) = 0;
  /// Calls the closure first and gives its loss.
  virtual Tensor step(const Closure& closure);
  /// Forgets all gradients, or makes them zeros.
  void zero_grad(bool set_to_none = true) const;

  const std::string& name() const { return name_; }
  const Settings& defaults() const { return defaults_; }
  /// For groups that are added later.
  void set_defaults(const Overrides& overrides);
  const std::vector<Group>& groups() const { return groups_; }
  /// ValueError for a name or a value that the algorithm does not take.
  void set(size_t group, const Overrides& overrides);

  /// Of the first group; of all groups.
  double learning_rate() const;
  void set_learning_rate(double value);
  std::vector<Tensor> parameters() const;

  /// Values as they are now; later steps do not change them. States are float32 for narrow floats.
  StateDict state_dict() const;
  /// Goes on from there. ValueError or ShapeError if it is not of such groups; then nothing
  /// changes.
  void load_state_dict(const StateDict& saved);

 protected:
  Optimizer(std::string name, std::vector<Setting> defaults);
  /// What constructors do at last.
  void start_with(std::vector<Tensor> parameters);

  /// What settings must be together.
  virtual void check(const Settings&) const {}
  /// What is remembered of each parameter, in order; nothing of those that took no step.
  virtual std::vector<StateDict::Entry> saved_entries() const = 0;
  /// Whether such entries, one for each parameter, can be loaded under such settings of the groups.
  virtual void check_entries(const std::vector<StateDict::Entry>& entries,
                             const std::vector<Settings>& settings) const = 0;
  virtual void load_entries(const std::vector<StateDict::Entry>& entries) = 0;

  std::vector<Group> groups_;

 private:
  Settings with(Settings settings, const Overrides& overrides) const;
  static void replace(Group& group, Settings settings);

  std::string name_;
  Settings defaults_;
};

/// An algorithm that updates each element of a parameter by itself.
class ElementwiseOptimizer : public Optimizer {
 public:
  using Optimizer::step;
  void step(std::span<const Tensor> together = {}) override;

 protected:
  /// A number that is kept of each parameter; the first one, if any, counts its steps.
  struct Count {
    std::string name;
    double initial = 0;
    std::string condition = {};  ///< a setting that must be on for it to be kept, if there is one
    bool is_saved = true;        ///< PyTorch has it in its state_dict()
  };
  /// A tensor of the parameter's shape that is kept.
  struct State {
    std::string name;
    std::string condition = {};
    std::string initial = {};  ///< the setting that it starts from; zeros without one
  };
  /// What the formula of an update sees. Everything is of one dtype: float32 for narrow floats,
  /// which would lose small steps and averages.
  struct Update {
    const Group& group;
    Tensor value;                    ///< after decoupled weight decay
    Tensor gradient;                 ///< with the sign for `maximize`, and other weight decay
    std::span<Tensor> state;         ///< assigned to; undefined where it is not kept
    std::span<const Tensor> number;  ///< what coefficients() gave, for this parameter
  };

  ElementwiseOptimizer(std::string name, std::vector<Setting> defaults, std::vector<Count> counts,
                       std::vector<State> states)
      : Optimizer(std::move(name), std::move(defaults)),
        counts_(std::move(counts)),
        states_(std::move(states)) {}

  /// Numbers that the updates of a group need, float64 [] or [parameters]; advances counts but the
  /// first, which has counted this step.
  virtual std::vector<Tensor> coefficients(Group& group) const = 0;
  /// The parameter's next value; assigns to its state.
  virtual Tensor update(const Update& given) const = 0;

  std::vector<StateDict::Entry> saved_entries() const override;
  void check_entries(const std::vector<StateDict::Entry>& entries,
                     const std::vector<Settings>& settings) const override;
  void load_entries(const std::vector<StateDict::Entry>& entries) override;

 private:
  void step_group(Group& group, std::vector<Tensor>& pending,
                  std::vector<std::pair<Tensor, Tensor>>& updated) const;
  /// Makes what is not there yet.
  void make_counts(Group& group) const;
  void make_state(Group& group, size_t parameter) const;
  /// What a state is at first, in the dtype that it is kept in.
  static Tensor first_state(const Group& group, size_t parameter, const State& row);

  std::vector<Count> counts_;
  std::vector<State> states_;
};

/// An optimiser without parameters, by the name of its class. ValueError for other names.
std::unique_ptr<Optimizer> make_optimizer(std::string_view name);

struct SGDOptions {
  double momentum = 0, dampening = 0, weight_decay = 0;
  bool nesterov = false, maximize = false;
};
/// Gradient descent; PyTorch's formulas for momentum, Nesterov and weight decay.
class SGD : public ElementwiseOptimizer {
 public:
  explicit SGD(std::vector<Tensor> parameters = {}, double learning_rate = 1e-3,
               SGDOptions options = {});

 protected:
  void check(const Settings& settings) const override;
  std::vector<Tensor> coefficients(Group& group) const override;
  Tensor update(const Update& given) const override;
};

struct AdamOptions {
  double beta1 = 0.9, beta2 = 0.999, epsilon = 1e-8, weight_decay = 0;
  bool decoupled = false, amsgrad = false, maximize = false;
};
/// Kingma and Ba, 2015; AMSGrad: Reddi et al., 2018.
class Adam : public ElementwiseOptimizer {
 public:
  explicit Adam(std::vector<Tensor> parameters = {}, double learning_rate = 1e-3,
                AdamOptions options = {})
      : Adam("Adam", std::move(parameters), learning_rate, options) {}

 protected:
  Adam(std::string name, std::vector<Tensor> parameters, double learning_rate, AdamOptions options);
  std::vector<Tensor> coefficients(Group& group) const override;
  Tensor update(const Update& given) const override;
};

/// Adam with decoupled weight decay; Loshchilov and Hutter, 2019.
class AdamW : public Adam {
 public:
  explicit AdamW(std::vector<Tensor> parameters = {}, double learning_rate = 1e-3,
                 AdamOptions options = {.weight_decay = 1e-2, .decoupled = true})
      : Adam("AdamW", std::move(parameters), learning_rate, as_decoupled(options)) {}

 private:
  static AdamOptions as_decoupled(AdamOptions options) {
    options.decoupled = true;
    return options;
  }
};

struct RMSpropOptions {
  double alpha = 0.99, epsilon = 1e-8, weight_decay = 0, momentum = 0;
  bool centered = false, maximize = false;
};
/// Hinton, lecture 6e of 2012; centered: Graves, 2013.
class RMSprop : public ElementwiseOptimizer {
 public:
  explicit RMSprop(std::vector<Tensor> parameters = {}, double learning_rate = 1e-2,
                   RMSpropOptions options = {});

 protected:
  std::vector<Tensor> coefficients(Group& group) const override;
  Tensor update(const Update& given) const override;
};

struct AdagradOptions {
  double lr_decay = 0, weight_decay = 0, initial_accumulator_value = 0, epsilon = 1e-10;
  bool maximize = false;
};
/// Duchi, Hazan and Singer, 2011.
class Adagrad : public ElementwiseOptimizer {
 public:
  explicit Adagrad(std::vector<Tensor> parameters = {}, double learning_rate = 1e-2,
                   AdagradOptions options = {});

 protected:
  std::vector<Tensor> coefficients(Group& group) const override;
  Tensor update(const Update& given) const override;
};

struct AdadeltaOptions {
  double rho = 0.9, epsilon = 1e-6, weight_decay = 0;
  bool maximize = false;
};
/// Zeiler, 2012.
class Adadelta : public ElementwiseOptimizer {
 public:
  explicit Adadelta(std::vector<Tensor> parameters = {}, double learning_rate = 1,
                    AdadeltaOptions options = {});

 protected:
  std::vector<Tensor> coefficients(Group& group) const override;
  Tensor update(const Update& given) const override;
};

struct AdamaxOptions {
  double beta1 = 0.9, beta2 = 0.999, epsilon = 1e-8, weight_decay = 0;
  bool maximize = false;
};
/// Kingma and Ba, 2015, with the infinity norm.
class Adamax : public ElementwiseOptimizer {
 public:
  explicit Adamax(std::vector<Tensor> parameters = {}, double learning_rate = 2e-3,
                  AdamaxOptions options = {});

 protected:
  std::vector<Tensor> coefficients(Group& group) const override;
  Tensor update(const Update& given) const override;
};

struct NAdamOptions {
  double beta1 = 0.9, beta2 = 0.999, epsilon = 1e-8, weight_decay = 0, momentum_decay = 4e-3;
  bool decoupled = false, maximize = false;
};
/// Dozat, 2016: Adam with Nesterov's momentum.
class NAdam : public ElementwiseOptimizer {
 public:
  explicit NAdam(std::vector<Tensor> parameters = {}, double learning_rate = 2e-3,
                 NAdamOptions options = {});

 protected:
  std::vector<Tensor> coefficients(Group& group) const override;
  Tensor update(const Update& given) const override;
};

struct RAdamOptions {
  double beta1 = 0.9, beta2 = 0.999, epsilon = 1e-8, weight_decay = 0;
  bool decoupled = false, maximize = false;
};
/// Liu et al., 2020: Adam whose variance is rectified.
class RAdam : public ElementwiseOptimizer {
 public:
  explicit RAdam(std::vector<Tensor> parameters = {}, double learning_rate = 1e-3,
                 RAdamOptions options = {});

 protected:
  std::vector<Tensor> coefficients(Group& group) const override;
  Tensor update(const Update& given) const override;
};

struct LionOptions {
  double beta1 = 0.9, beta2 = 0.99, weight_decay = 0;
  bool maximize = false;
};
/// Chen et al., 2023 (arXiv:2302.06675), with decoupled weight decay.
class Lion : public ElementwiseOptimizer {
 public:
  explicit Lion(std::vector<Tensor> parameters = {}, double learning_rate = 1e-4,
                LionOptions options = {});

 protected:
  std::vector<Tensor> coefficients(Group& group) const override;
  Tensor update(const Update& given) const override;
};

struct LBFGSOptions {
  int64_t max_iter = 20;
  std::optional<int64_t> max_eval = {};  ///< max_iter * 5 / 4 unless it is given
  double tolerance_grad = 1e-7, tolerance_change = 1e-9;
  int64_t history_size = 100;
  std::string line_search_fn = {};  ///< "strong_wolfe" or none
};
/// Limited-memory BFGS with PyTorch's choices (after Schmidt's minFunc). All parameters are one
/// vector. Values decide what a step does, so it can not be a part of a compiled function; its
/// closure can be one.
class LBFGS : public Optimizer {
 public:
  explicit LBFGS(std::vector<Tensor> parameters = {}, double learning_rate = 1,
                 LBFGSOptions options = {});

  /// ValueError for a second group.
  void add_param_group(std::vector<Tensor> parameters, const Overrides& overrides = {}) override;
  /// ValueError: it needs a closure.
  void step(std::span<const Tensor> together = {}) override;
  /// Up to max_iter iterations; gives the loss at the start.
  Tensor step(const Closure& closure) override;

 protected:
  void check(const Settings& settings) const override;
  std::vector<StateDict::Entry> saved_entries() const override;
  void check_entries(const std::vector<StateDict::Entry>& entries,
                     const std::vector<Settings>& settings) const override;
  void load_entries(const std::vector<StateDict::Entry>& entries) override;

 private:
  struct Memory {
    int64_t func_evals = 0, n_iter = 0;
    Tensor direction;   ///< all parameters as one vector, as all tensors here
    double length = 0;  ///< of the last step, in directions
    std::vector<Tensor> gradient_changes, steps, inverse_products;
    Tensor scale;  ///< of the first approximation of the inverse Hessian
    Tensor gradient;
    double loss = 0;
  };

  DType work_dtype() const;
  Tensor flat_gradient() const;
  void move_to(std::span<const Tensor> start, const Tensor& direction, double length) const;
  void remember(const Tensor& gradient);
  Tensor next_direction(const Tensor& gradient) const;

  Memory memory_;
};

/// Averages of parameters, kept apart from them and in float32 for narrow floats. With a decay,
/// each update moves them by 1 - decay towards the parameters (exponential moving averages);
/// without one, all updates count alike (stochastic weight averaging, Izmailov et al., 2018). The
/// first update takes the parameters as they are. An update can be a part of a compiled function.
class ParameterAverages {
 public:
  explicit ParameterAverages(std::vector<Tensor> parameters, std::optional<double> decay = {});

  void update();
  const std::vector<Tensor>& averages() const { return averages_; }
  /// The same as they are now: updates do not change these.
  std::vector<Tensor> saved() const;
  /// How many updates there were.
  int64_t count() const;
  /// Goes on from there. ShapeError or ValueError if they are not of such parameters.
  void load(std::span<const Tensor> averages, int64_t count);
  /// Gives the parameters the averages; returns what they were.
  std::vector<Tensor> apply() const;
  /// Gives the parameters such values.
  void restore(std::span<const Tensor> values) const;

 private:
  std::vector<Tensor> parameters_, averages_;
  std::optional<double> decay_;
  Tensor count_;  ///< float64 [], data
};

}  // namespace coregrad::optim
#pragma GCC visibility pop
