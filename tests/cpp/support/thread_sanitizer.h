#pragma once
// What tests can not do under ThreadSanitizer.

namespace coregrad::test {

#if defined(__SANITIZE_THREAD__)
inline constexpr bool kThreadSanitizer = true;
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
inline constexpr bool kThreadSanitizer = true;
#else
inline constexpr bool kThreadSanitizer = false;
#endif
#else
inline constexpr bool kThreadSanitizer = false;
#endif

inline constexpr const char* kNoThreadsAfterFork =
    "ThreadSanitizer does not allow threads in a forked child of a threaded process";

}  // namespace coregrad::test
