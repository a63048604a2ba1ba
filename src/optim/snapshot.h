#pragma once
// Values of tensors that are assigned to, as they are now.

#include "tensor/state.h"

#include <span>
#include <vector>

namespace coregrad::optim {

/// The value, realised, as a tensor of its own that needs no gradient; no copy is made.
inline Tensor snapshot(const Tensor& t) {
  t.realize();
  const Session::Lock lock(Session::global());
  return wrap(node_of(t, "snapshot"), false);
}

inline std::vector<Tensor> snapshots(std::span<const Tensor> tensors) {
  realize(tensors);
  std::vector<Tensor> values;
  for (const Tensor& t : tensors) values.push_back(snapshot(t));
  return values;
}

}  // namespace coregrad::optim
