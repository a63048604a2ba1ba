// Algorithms that update each element by itself: the one plan of a step.

#include "base/error.h"
#include "coregrad/ops.h"
#include "coregrad/optim.h"

#include <algorithm>

namespace coregrad::optim {

void Group::advance(size_t row, const Tensor& next) {
  counts[row].assign(present.is_defined() ? where(present, next, counts[row]) : next);
}

void ElementwiseOptimizer::make_counts(Group& group) const {
  const size_t size = group.parameters.size();
  for (size_t k = group.counts.size(); k < counts_.size(); ++k)
    group.counts.push_back(
        from_vector(std::vector<double>(size, counts_[k].initial), {static_cast<int64_t>(size)}));
}

Tensor ElementwiseOptimizer::first_state(const Group& group, size_t parameter, const State& row) {
  const Tensor& p = group.parameters[parameter];
  const double value = row.initial.empty() ? 0 : group.settings.get(row.initial);
  return full(p.shape(), Scalar::of_float(compute_dtype(p.dtype()), value)).realize();
}

void ElementwiseOptimizer::make_state(Group& group, size_t parameter) const {
  std::vector<Tensor>& state = group.states[parameter];
  state.resize(states_.size());
  for (size_t k = 0; k < states_.size(); ++k)
    if (!state[k].is_defined() && group.settings.keeps(states_[k].condition))
      state[k] = first_state(group, parameter, states_[k]);
}

void ElementwiseOptimizer::step_group(Group& group, std::vector<Tensor>& pending,
                                      std::vector<std::pair<Tensor, Tensor>>& updated) const {
  const size_t size = group.parameters.size();
  std::vector<Tensor> gradients;
  std::vector<uint8_t> has_gradient;
  for (const Tensor& p : group.parameters) {
    gradients.push_back(p.grad());
    has_gradient.push_back(gradients.back().is_defined() ? 1 : 0);
  }
  const auto count = static_cast<size_t>(std::ranges::count(has_gradient, 1));
  if (count == 0) return;
  group.present = count == size
                      ? Tensor()
                      : from_bytes(has_gradient.data(), DType::Bool, {static_cast<int64_t>(size)});
  make_counts(group);
  const bool counts = !counts_.empty() && group.settings.keeps(counts_.front().condition);
  if (counts) group.advance(0, group.counts[0] + 1.0);
  std::vector<Tensor> shared = coefficients(group);
  const Tensor decay = group.number("weight_decay");
  const bool decouples = group.is_on("decoupled_weight_decay");
  shared.push_back(decouples ? 1.0 - group.number("lr") * decay : decay);
  if (counts) pending.insert(pending.end(), group.counts.begin(), group.counts.end());

  for (size_t i = 0; i < size; ++i) {
    if (!gradients[i].is_defined()) continue;
    make_state(group, i);
    const Tensor& p = group.parameters[i];
    const DType work = compute_dtype(p.dtype());
    std::vector<Tensor> numbers;
    for (const Tensor& c : shared)
      numbers.push_back(cast(c.ndim() == 0 ? c : select(c, 0, static_cast<int64_t>(i)), work));
    Tensor value = cast(p, work), gradient = cast(gradients[i], work);
    if (group.is_on("maximize")) gradient = -gradient;
    if (decouples)
      value = value * numbers.back();
    else
      gradient = gradient + value * numbers.back();
    const Tensor next = update({group, value, gradient, group.states[i], numbers});
    updated.emplace_back(p, cast(next, p.dtype()));
    pending.push_back(updated.back().second);
    for (const Tensor& s : group.states[i])
      if (s.is_defined()) pending.push_back(s);
  }
}

void ElementwiseOptimizer::step(std::span<const Tensor> together) {
  const NoGrad guard;
  std::vector<Tensor> pending(together.begin(), together.end());
  std::vector<std::pair<Tensor, Tensor>> updated;
  for (Group& g : groups_) step_group(g, pending, updated);
  realize(pending);
  for (const auto& [parameter, value] : updated) parameter.assign(value);
}

}  // namespace coregrad::optim
