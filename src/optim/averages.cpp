#include "base/error.h"
#include "coregrad/ops.h"
#include "coregrad/optim.h"
#include "ir/print.h"
#include "optim/snapshot.h"

namespace coregrad::optim {

ParameterAverages::ParameterAverages(std::vector<Tensor> parameters, std::optional<double> decay)
    : parameters_(std::move(parameters)),
      decay_(decay),
      count_(scalar_data(Scalar::of_float(DType::Float64, 0))) {
  if (parameters_.empty()) raise<ValueError>("ParameterAverages: there are no parameters");
  if (decay && !(*decay >= 0 && *decay <= 1))
    raise<ValueError>("ParameterAverages: decay must be in [0, 1], got {}", *decay);
  const NoGrad guard;
  for (const Tensor& p : parameters_) {
    if (!is_float(p.dtype()))
      raise<DTypeError>("ParameterAverages: parameters must be floating, got {}",
                        type_text(p.dtype(), p.shape()));
    averages_.push_back(snapshot(cast(p, compute_dtype(p.dtype()))));
  }
}

void ParameterAverages::update() {
  const NoGrad guard;
  const auto number = [](double v) { return full({}, Scalar::of_float(DType::Float64, v)); };
  const Tensor taken =
      decay_ ? where(equal(count_, 0.0), number(1), number(1 - *decay_)) : 1.0 / (count_ + 1.0);
  std::vector<Tensor> next = {count_ + 1.0};
  for (size_t i = 0; i < parameters_.size(); ++i) {
    const DType work = averages_[i].dtype();
    next.push_back(averages_[i] * cast(1.0 - taken, work) +
                   cast(parameters_[i], work) * cast(taken, work));
  }
  realize(next);
  count_.assign(next[0]);
  for (size_t i = 0; i < averages_.size(); ++i) averages_[i].assign(next[i + 1]);
}

std::vector<Tensor> ParameterAverages::saved() const { return snapshots(averages_); }

int64_t ParameterAverages::count() const { return static_cast<int64_t>(count_.item()); }

void ParameterAverages::load(std::span<const Tensor> averages, int64_t count) {
  if (averages.size() != averages_.size() || count < 0)
    raise<ValueError>("ParameterAverages: load: expected {} averages, got {}, of {} updates",
                      averages_.size(), averages.size(), count);
  for (size_t i = 0; i < averages.size(); ++i)
    if (averages[i].shape() != averages_[i].shape())
      raise<ShapeError>("ParameterAverages: load: expected {}, got {}",
                        type_text(averages_[i].dtype(), averages_[i].shape()),
                        type_text(averages[i].dtype(), averages[i].shape()));
  const NoGrad guard;
  for (size_t i = 0; i < averages.size(); ++i)
    averages_[i].assign(snapshot(cast(averages[i], averages_[i].dtype())));
  count_.assign(scalar_data(Scalar::of_float(DType::Float64, static_cast<double>(count))));
}

std::vector<Tensor> ParameterAverages::apply() const {
  std::vector<Tensor> before = snapshots(parameters_);
  restore(averages_);
  return before;
}

void ParameterAverages::restore(std::span<const Tensor> values) const {
  const NoGrad guard;
  for (size_t i = 0; i < parameters_.size(); ++i)
    parameters_[i].assign(cast(values[i], parameters_[i].dtype()));
}

}  // namespace coregrad::optim
