#pragma once
// Loop kernels as machine code, buffers that end at unreadable pages, and a runner that goes by
// chunks.

#include "base/checked.h"
#include "codegen/jit/host_target.h"
#include "codegen/jit/jit.h"
#include "codegen/loops/loop_emitter.h"
#include "kernel/loop_kernel.h"
#include "runtime/plan.h"

#include <gtest/gtest.h>

#include "kernel_writer.h"
#include <cmath>
#include <cstring>
#include <memory>
#include <random>
#include <sys/mman.h>
#include <vector>

namespace coregrad::test {

/// Elements that touch an unreadable page: behind the last one, or before the first one.
template <class T>
class GuardedArray {
 public:
  explicit GuardedArray(const std::vector<T>& content, bool guard_end = true)
      : size_(content.size()) {
    constexpr size_t kPage = 4096;
    const size_t bytes = size_ * sizeof(T);
    const size_t inner = (bytes + kPage - 1) / kPage * kPage + kPage;
    mapped_ = inner + 2 * kPage;
    base_ =
        static_cast<char*>(mmap(nullptr, mapped_, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
    EXPECT_NE(static_cast<void*>(base_), MAP_FAILED);
    EXPECT_EQ(mprotect(base_ + kPage, inner, PROT_READ | PROT_WRITE), 0);
    data_ = reinterpret_cast<T*>(guard_end ? base_ + kPage + inner - bytes : base_ + kPage);
    for (size_t i = 0; i < size_; ++i) data_[i] = content[i];
  }
  GuardedArray(const GuardedArray&) = delete;
  GuardedArray& operator=(const GuardedArray&) = delete;
  ~GuardedArray() { munmap(base_, mapped_); }

  T* data() { return data_; }
  T& operator[](size_t i) { return data_[i]; }
  size_t size() const { return size_; }

 private:
  size_t size_, mapped_;
  char* base_;
  T* data_;
};

/// The instruction sets that this machine can run.
inline std::vector<Isa> runnable_isas() {
  std::vector<Isa> result;
  for (const Isa isa : {Isa::Avx512, Isa::Avx2, Isa::Neon, Isa::Generic})
    if (host_supports(isa)) result.push_back(isa);
  return result;
}

/// A kernel as code, ready to run.
class CompiledKernel {
 public:
  CompiledKernel(const LoopKernel& kernel, Isa isa)
      : range_(kernel.range()),
        chunk_(kernel.chunk),
        scratch_(static_cast<size_t>(scratch_bytes(kernel, target_for(isa)))) {
    code_ = compile_module(
        target_for(isa), "test",
        [&](llvm::Module& module) { emit_loop_kernel(module, "kernel", kernel, target_for(isa)); },
        &times);
    function_ = reinterpret_cast<StepFunction>(code_->address("kernel"));
  }

  /// All chunks, the last one first: no chunk may rest on another.
  RunStatus run(std::vector<void*> buffers) {
    RunStatus status;
    GuardedArray<char> scratch(std::vector<char>(scratch_, 0));
    const StepArgs args{buffers.data(), nullptr, scratch.data(), &status, nullptr};
    for (int64_t c = ceil_div(range_, chunk_); c-- > 0;)
      function_(&args, c * chunk_, std::min(range_, (c + 1) * chunk_), 0);
    return status;
  }

  CompileTimes times;

 private:
  int64_t range_, chunk_;
  size_t scratch_;
  CodeHandle code_;
  StepFunction function_;
};

template <class T>
std::vector<T> random_values(size_t n, uint64_t seed, double low = -2, double high = 2) {
  std::mt19937_64 engine(seed);
  std::uniform_real_distribution<double> draw(low, high);
  std::vector<T> result(n);
  for (T& x : result) x = static_cast<T>(draw(engine));
  return result;
}

}  // namespace coregrad::test
