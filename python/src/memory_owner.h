#pragma once
// What keeps a result's memory alive while Python reads it.

#include "runtime/allocator.h"

#include <nanobind/nanobind.h>

#include <memory>
#include <utility>
#include <variant>

namespace coregrad::python {

/// Owns a block, or a share of a tensor's buffer, or nothing (somebody else's memory). A program's
/// outputs and a tensor's values leave through this one type.
class MemoryOwner {
 public:
  MemoryOwner() = default;
  explicit MemoryOwner(Block block) : memory_(std::move(block)) {}
  explicit MemoryOwner(std::shared_ptr<const void> share) : memory_(std::move(share)) {}

  /// For arrays that name the Python object which keeps them alive.
  nanobind::capsule to_capsule() && {
    auto owner = std::make_unique<MemoryOwner>(std::move(*this));
    const nanobind::capsule capsule(owner.get(),
                                    [](void* p) noexcept { delete static_cast<MemoryOwner*>(p); });
    owner.release();
    return capsule;
  }

 private:
  std::variant<std::monostate, Block, std::shared_ptr<const void>> memory_;
};

}  // namespace coregrad::python
