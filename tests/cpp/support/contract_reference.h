#pragma once
// A contraction by plain loops over its labels, and storage whose neighbours fault when touched.

#include "contract_cases.h"
#include <cstring>
#include <random>
#include <sys/mman.h>
#include <unistd.h>
#include <vector>

namespace coregrad {

/// `bytes` of memory directly in front of (or behind) an inaccessible page.
class GuardedBuffer {
 public:
  GuardedBuffer(int64_t bytes, bool guard_behind) {
    const int64_t page = sysconf(_SC_PAGESIZE);
    const int64_t body = round_up(std::max<int64_t>(bytes, 1), page);
    mapped_ = static_cast<size_t>(body + 2 * page);
    base_ = static_cast<char*>(
        mmap(nullptr, mapped_, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
    mprotect(base_, static_cast<size_t>(page), PROT_NONE);
    mprotect(base_ + page + body, static_cast<size_t>(page), PROT_NONE);
    data_ = base_ + page + (guard_behind ? body - bytes : 0);
  }
  GuardedBuffer(GuardedBuffer&& other) noexcept
      : base_(std::exchange(other.base_, nullptr)), data_(other.data_), mapped_(other.mapped_) {}
  GuardedBuffer& operator=(GuardedBuffer&&) = delete;
  ~GuardedBuffer() {
    if (base_) munmap(base_, mapped_);
  }
  template <class T>
  T* as() const {
    return reinterpret_cast<T*>(data_);
  }

 private:
  char* base_;
  char* data_;
  size_t mapped_;
};

/// Elements from the first to the last that an operand can touch.
inline int64_t span_of(const ContractOperand& operand) {
  int64_t last = operand.offset;
  for (size_t d = 0; d < operand.shape.size(); ++d) {
    if (operand.shape[d] == 0) return operand.offset;
    last += (operand.shape[d] - 1) * operand.strides[d];
  }
  return last + 1;
}

/// The contraction in row-major order of the output labels, accumulated as Sum.
template <class T, class Sum>
std::vector<Sum> reference_contract(const ContractKernel& kernel, const T* lhs, const T* rhs) {
  const ContractSpec& spec = kernel.spec;
  std::vector<int64_t> order = spec.out;
  int64_t outputs = 1, summed = 1;
  for (const int64_t label : spec.out) outputs *= spec.extents[static_cast<size_t>(label)];
  for (int64_t label = 0; label < static_cast<int64_t>(spec.extents.size()); ++label) {
    if (!spec.is_summed(label)) continue;
    order.push_back(label);
    summed *= spec.extents[static_cast<size_t>(label)];
  }
  std::vector<int64_t> at(spec.extents.size(), 0);
  const auto read = [&](const std::vector<DimMap>& maps, const ContractOperand& operand,
                        const T* data) -> Sum {
    int64_t offset = operand.offset;
    for (size_t d = 0; d < maps.size(); ++d) {
      const DimMap& map = maps[d];
      const int64_t a = map.a, b = map.b, c = map.c, s = map.s;
      const int64_t x = a * at[static_cast<size_t>(map.u)] +
                        (map.v >= 0 ? b * at[static_cast<size_t>(map.v)] : 0) + c;
      if (floor_mod(x, s) != 0) return 0;
      const int64_t index = floor_div(x, s);
      if (index < 0 || index >= operand.shape[d]) return 0;
      offset += index * operand.strides[d];
    }
    return static_cast<Sum>(data[offset]);
  };
  std::vector<Sum> result(static_cast<size_t>(outputs), 0);
  for (int64_t step = 0; step < outputs * summed; ++step) {
    result[static_cast<size_t>(step / summed)] +=
        read(spec.lhs, kernel.lhs, lhs) * read(spec.rhs, kernel.rhs, rhs);
    for (size_t i = order.size(); i-- > 0;) {
      const auto label = static_cast<size_t>(order[i]);
      if (++at[label] < spec.extents[label]) break;
      at[label] = 0;
    }
  }
  return result;
}

/// Small whole numbers: sums of their products are exact in every dtype.
template <class T>
void fill_small(T* data, int64_t count, std::mt19937& random) {
  std::uniform_int_distribution<int> digit(-3, 3);
  for (int64_t i = 0; i < count; ++i) data[i] = static_cast<T>(digit(random));
}

}  // namespace coregrad
