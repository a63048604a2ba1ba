// What optimisers save and load: PyTorch's keys, values as they are at that time.

#include "base/error.h"
#include "coregrad/ops.h"
#include "coregrad/optim.h"
#include "ir/print.h"
#include "optim/snapshot.h"

#include <algorithm>
#include <array>
#include <set>

namespace coregrad::optim {
namespace {

using Entry = StateDict::Entry;

double as_number(const StateDict::Value& value) {
  if (const auto* whole = std::get_if<int64_t>(&value)) return static_cast<double>(*whole);
  if (const auto* tensor = std::get_if<Tensor>(&value)) return tensor->item();
  return std::get<double>(value);
}

/// What an entry must have, and of which type.
const StateDict::Value& require(const std::string& optimizer, const Entry& entry, size_t parameter,
                                const std::string& key, bool is_tensor) {
  const auto at = entry.find(key);
  if (at == entry.end())
    raise<ValueError>("{}: load_state_dict: the state of parameter {} has no '{}'", optimizer,
                      parameter, key);
  const auto* tensor = std::get_if<Tensor>(&at->second);
  if (is_tensor ? tensor == nullptr
                : std::holds_alternative<std::vector<Tensor>>(at->second) ||
                      (tensor != nullptr && tensor->numel() != 1))
    raise<ValueError>("{}: load_state_dict: '{}' of parameter {} must be {}", optimizer, key,
                      parameter, is_tensor ? "a tensor" : "a number");
  return at->second;
}

void require_shape(const std::string& optimizer, const Tensor& got, const Dims& shape,
                   size_t parameter, const std::string& key) {
  if (got.shape() != shape)
    raise<ShapeError>("{}: load_state_dict: '{}' of parameter {} must be {}, got {}", optimizer,
                      key, parameter, type_text(got.dtype(), shape),
                      type_text(got.dtype(), got.shape()));
}

}  // namespace

StateDict Optimizer::state_dict() const {
  StateDict saved;
  const std::vector<Entry> entries = saved_entries();
  for (size_t i = 0; i < entries.size(); ++i)
    if (!entries[i].empty()) saved.state.emplace(i, entries[i]);
  int64_t next = 0;
  for (const Group& g : groups_) {
    StateDict::SavedGroup& group = saved.param_groups.emplace_back();
    for (const Setting& s : g.settings.rows) group.settings.emplace(s.name, s.value);
    for (size_t i = 0; i < g.parameters.size(); ++i) group.params.push_back(next++);
  }
  return saved;
}

void Optimizer::load_state_dict(const StateDict& saved) {
  if (saved.param_groups.size() != groups_.size())
    raise<ValueError>("{}: load_state_dict: there are {} groups of parameters, got {}", name_,
                      groups_.size(), saved.param_groups.size());
  std::vector<Settings> settings;
  std::vector<Entry> entries;
  std::set<int64_t> known;
  for (size_t g = 0; g < groups_.size(); ++g) {
    const StateDict::SavedGroup& group = saved.param_groups[g];
    if (group.params.size() != groups_[g].parameters.size())
      raise<ValueError>("{}: load_state_dict: group {} has {} parameters, got {}", name_, g,
                        groups_[g].parameters.size(), group.params.size());
    settings.push_back(with(groups_[g].settings, group.settings));
    for (const int64_t number : group.params) {
      const auto at = saved.state.find(number);
      entries.push_back(at == saved.state.end() ? Entry() : at->second);
      known.insert(number);
    }
  }
  for (const auto& [number, entry] : saved.state)
    if (!known.contains(number))
      raise<ValueError>(
          "{}: load_state_dict: there is a state of parameter {}, but no group has it", name_,
          number);
  check_entries(entries, settings);
  for (size_t g = 0; g < groups_.size(); ++g) replace(groups_[g], std::move(settings[g]));
  load_entries(entries);
}

std::vector<Entry> ElementwiseOptimizer::saved_entries() const {
  std::vector<Entry> entries;
  for (const Group& g : groups_) {
    std::vector<std::vector<double>> counts;
    for (const Tensor& c : g.counts) counts.push_back(c.to_vector<double>());
    for (size_t i = 0; i < g.parameters.size(); ++i) {
      Entry& entry = entries.emplace_back();
      if (g.states[i].empty()) continue;
      for (size_t k = 0; k < counts_.size(); ++k)
        if (counts_[k].is_saved)
          entry[counts_[k].name] = scalar_data(Scalar::of_float(DType::Float64, counts[k][i]));
      for (size_t k = 0; k < states_.size(); ++k)
        if (g.states[i][k].is_defined()) entry[states_[k].name] = snapshot(g.states[i][k]);
    }
  }
  return entries;
}

void ElementwiseOptimizer::check_entries(const std::vector<Entry>& entries,
                                         const std::vector<Settings>& settings) const {
  size_t number = 0;
  for (size_t g = 0; g < groups_.size(); ++g) {
    for (const Tensor& p : groups_[g].parameters) {
      const Entry& entry = entries[number];
      if (!entry.empty()) {
        for (const Count& c : counts_)
          if (c.is_saved) require(name(), entry, number, c.name, false);
        for (const State& s : states_)
          if (settings[g].keeps(s.condition) || entry.contains(s.name))
            require_shape(name(), std::get<Tensor>(require(name(), entry, number, s.name, true)),
                          p.shape(), number, s.name);
      }
      ++number;
    }
  }
}

void ElementwiseOptimizer::load_entries(const std::vector<Entry>& entries) {
  size_t number = 0;
  for (Group& g : groups_) {
    make_counts(g);
    std::vector<std::vector<double>> counts;
    for (const Count& c : counts_) counts.emplace_back(g.parameters.size(), c.initial);
    for (size_t i = 0; i < g.parameters.size(); ++i) {
      const Entry& entry = entries[number++];
      std::vector<Tensor>& state = g.states[i];
      if (!entry.empty()) state.resize(states_.size());
      for (size_t k = 0; k < counts_.size() && !entry.empty(); ++k)
        // What PyTorch does not save is whether there was a step.
        counts[k][i] = counts_[k].is_saved ? as_number(entry.at(counts_[k].name)) : 1;
      for (size_t k = 0; k < state.size(); ++k) {
        const auto at = entry.find(states_[k].name);
        if (at == entry.end() && !state[k].is_defined()) continue;
        const Tensor value = at == entry.end() ? first_state(g, i, states_[k])
                                               : cast(std::get<Tensor>(at->second),
                                                      compute_dtype(g.parameters[i].dtype()));
        // Tensors that are there stay: compiled functions read them.
        if (state[k].is_defined())
          state[k].assign(snapshot(value));
        else
          state[k] = snapshot(value);
      }
    }
    for (size_t k = 0; k < counts.size(); ++k)
      g.counts[k].assign(from_vector(counts[k], g.counts[k].shape()));
  }
}

namespace {

/// The lists of vectors of LBFGS's history.
constexpr std::array<const char*, 3> kHistory = {"old_dirs", "old_stps", "ro"};

}  // namespace

std::vector<Entry> LBFGS::saved_entries() const {
  std::vector<Entry> entries(parameters().size());
  const Memory& m = memory_;
  if (m.func_evals == 0) return entries;
  Entry& entry = entries.front();
  entry = {{"func_evals", m.func_evals}, {"n_iter", m.n_iter}};
  if (m.n_iter == 0) return entries;
  entry.insert({{"d", m.direction},
                {"t", m.length},
                {kHistory[0], m.gradient_changes},
                {kHistory[1], m.steps},
                {kHistory[2], m.inverse_products},
                {"H_diag", m.scale},
                {"prev_flat_grad", m.gradient},
                {"prev_loss", m.loss}});
  return entries;
}

void LBFGS::check_entries(const std::vector<Entry>& entries, const std::vector<Settings>&) const {
  const Entry& entry = entries.front();
  if (entry.empty()) return;
  for (const char* key : {"func_evals", "n_iter"}) require(name(), entry, 0, key, false);
  if (as_number(entry.at("n_iter")) == 0) return;
  for (const char* key : {"t", "H_diag", "prev_loss"}) require(name(), entry, 0, key, false);
  int64_t size = 0;
  for (const Tensor& p : parameters()) size += p.numel();
  for (const char* key : {"d", "prev_flat_grad"})
    require_shape(name(), std::get<Tensor>(require(name(), entry, 0, key, true)), {size}, 0, key);
  size_t length = 0;
  for (const char* key : kHistory) {
    const auto at = entry.find(key);
    const auto* list = at == entry.end() ? nullptr : std::get_if<std::vector<Tensor>>(&at->second);
    if (list == nullptr || (key != kHistory.front() && list->size() != length))
      raise<ValueError>("{}: load_state_dict: '{}' must be a list as long as the history", name(),
                        key);
    length = list->size();
    for (const Tensor& t : *list)
      require_shape(name(), t, key == kHistory.back() ? Dims() : Dims{size}, 0, key);
  }
}

void LBFGS::load_entries(const std::vector<Entry>& entries) {
  memory_ = {};
  const Entry& entry = entries.front();
  if (entry.empty()) return;
  Memory& m = memory_;
  m.func_evals = static_cast<int64_t>(as_number(entry.at("func_evals")));
  m.n_iter = static_cast<int64_t>(as_number(entry.at("n_iter")));
  if (m.n_iter == 0) return;
  const DType work = work_dtype();
  const auto as_work = [&](const Tensor& t) { return snapshot(cast(t, work)); };
  const auto tensor = [&](const char* key) { return as_work(std::get<Tensor>(entry.at(key))); };
  m.direction = tensor("d");
  m.gradient = tensor("prev_flat_grad");
  m.length = as_number(entry.at("t"));
  m.loss = as_number(entry.at("prev_loss"));
  m.scale = scalar_data(Scalar::of_float(work, as_number(entry.at("H_diag"))));
  const std::array lists = {&m.gradient_changes, &m.steps, &m.inverse_products};
  for (size_t k = 0; k < lists.size(); ++k)
    for (const Tensor& t : std::get<std::vector<Tensor>>(entry.at(kHistory[k])))
      lists[k]->push_back(as_work(t));
}

}  // namespace coregrad::optim
