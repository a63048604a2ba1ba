#include "base/error.h"
#include "coregrad/nn.h"
#include "coregrad/ops.h"

#include <cmath>

namespace coregrad::nn {

std::vector<Tensor> Module::parameters() const {
  std::vector<Tensor> all;
  for (auto& [name, tensor] : named_parameters()) all.push_back(tensor);
  return all;
}

Linear::Linear(int64_t in_features, int64_t out_features, bool with_bias, Generator& generator) {
  if (in_features < 1 || out_features < 1)
    raise<ShapeError>("Linear: sizes must be positive, got {} and {}", in_features, out_features);
  const double bound = 1 / std::sqrt(static_cast<double>(in_features));
  const auto uniform = [&](const Dims& shape) {
    return (rand(shape, DType::Float32, generator) * (2 * bound) - bound).set_requires_grad(true);
  };
  weight = uniform({out_features, in_features});
  if (with_bias) bias = uniform({out_features});
}

Tensor Linear::forward(const Tensor& x) const { return linear(x, weight, bias); }

NamedTensors Linear::named_parameters(const std::string& prefix) const {
  NamedTensors all{{prefix + "weight", weight}};
  if (bias.is_defined()) all.emplace_back(prefix + "bias", bias);
  return all;
}

Tensor Sequential::forward(const Tensor& x) const {
  Tensor value = x;
  for (const auto& module : modules_) value = module->forward(value);
  return value;
}

NamedTensors Sequential::named_parameters(const std::string& prefix) const {
  NamedTensors all;
  for (size_t i = 0; i < modules_.size(); ++i)
    for (auto& named : modules_[i]->named_parameters(prefix + std::to_string(i) + "."))
      all.push_back(std::move(named));
  return all;
}

}  // namespace coregrad::nn
