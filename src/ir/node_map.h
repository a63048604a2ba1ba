#pragma once
// A value for each node or, in general, for each number of one kind of id.

#include "ir/graph.h"

#include <vector>

namespace coregrad {

template <class Id, class T>
class IdMap {
 public:
  IdMap() = default;
  explicit IdMap(size_t size, const T& value = T()) : values_(size, value) {}

  decltype(auto) operator[](Id id) { return values_[id.value]; }
  decltype(auto) operator[](Id id) const { return values_[id.value]; }
  size_t size() const { return values_.size(); }
  Id push_back(T value) {
    values_.push_back(std::move(value));
    return last();
  }
  void resize(size_t size) { values_.resize(size); }
  Id last() const { return Id{static_cast<uint32_t>(values_.size() - 1)}; }

 private:
  std::vector<T> values_;
};

template <class T>
using NodeMap = IdMap<NodeId, T>;

}  // namespace coregrad
