#pragma once
// Modules; the functions they are made of are in functional.h.

#include "coregrad/functional.h"
#include "coregrad/random.h"
#include "coregrad/tensor.h"

#include <memory>
#include <string>
#include <utility>
#include <vector>

#pragma GCC visibility push(default)
namespace coregrad {

namespace nn {

/// Something with parameters that maps a tensor to a tensor.
class Module {
 public:
  virtual ~Module() = default;
  virtual Tensor forward(const Tensor& x) const = 0;
  Tensor operator()(const Tensor& x) const { return forward(x); }
  /// Parameters with PyTorch's names; `prefix` ends in a dot or is empty.
  virtual NamedTensors named_parameters(const std::string& prefix = "") const = 0;
  std::vector<Tensor> parameters() const;
};

/// y = x W^T + b, initialised uniformly in +-1/sqrt(in).
class Linear : public Module {
 public:
  Linear(int64_t in_features, int64_t out_features, bool bias = true,
         Generator& generator = default_generator());
  Tensor forward(const Tensor& x) const override;
  NamedTensors named_parameters(const std::string& prefix = "") const override;

  Tensor weight;  ///< [out, in]
  Tensor bias;    ///< [out], undefined without bias
};

class ReLU : public Module {
 public:
  Tensor forward(const Tensor& x) const override { return relu(x); }
  NamedTensors named_parameters(const std::string&) const override { return {}; }
};

/// One after the other; parameter names start with the position.
class Sequential : public Module {
 public:
  explicit Sequential(std::vector<std::shared_ptr<Module>> modules)
      : modules_(std::move(modules)) {}
  Tensor forward(const Tensor& x) const override;
  NamedTensors named_parameters(const std::string& prefix = "") const override;

 private:
  std::vector<std::shared_ptr<Module>> modules_;
};

}  // namespace nn
}  // namespace coregrad
#pragma GCC visibility pop
