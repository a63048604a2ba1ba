#pragma once
// The floating-point control word: kernels run with round-to-nearest, denormals kept, no traps.

#include <cstdint>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace coregrad {

#if defined(__x86_64__)
using FpWord = uint32_t;
inline constexpr FpWord kKernelFpWord = 0x1F80;
inline constexpr FpWord kFpStatusBits = 0x3F;  ///< sticky exception flags, no effect on results
inline FpWord read_fp_word() { return _mm_getcsr(); }
inline void write_fp_word(FpWord word) { _mm_setcsr(word); }
#elif defined(__aarch64__)
using FpWord = uint64_t;
inline constexpr FpWord kKernelFpWord = 0;
inline constexpr FpWord kFpStatusBits = 0;
inline FpWord read_fp_word() {
  FpWord word;
  asm volatile("mrs %0, fpcr" : "=r"(word));
  return word;
}
inline void write_fp_word(FpWord word) { asm volatile("msr fpcr, %0" : : "r"(word)); }
#else
#error "no floating-point control word known for this processor"
#endif

/// Sets the kernels' control word for its lifetime, then restores the caller's, status flags
/// included.
class KernelFpScope {
 public:
  KernelFpScope() : saved_(read_fp_word()) { enter(); }
  ~KernelFpScope() { leave(); }
  KernelFpScope(const KernelFpScope&) = delete;
  KernelFpScope& operator=(const KernelFpScope&) = delete;

  /// Around foreign code (an external step), which expects the caller's settings.
  void leave() const {
    if (read_fp_word() != saved_) write_fp_word(saved_);
  }
  void enter() const {
    if ((read_fp_word() & ~kFpStatusBits) != kKernelFpWord) write_fp_word(kKernelFpWord);
  }

 private:
  FpWord saved_;
};

}  // namespace coregrad
