#pragma once
// A thread for work that nobody waits for.

#include <functional>
#include <memory>

namespace coregrad {

/// Runs jobs one after the other, with a low priority. Before a process forks, and before it ends,
/// the job that is running is waited for: a child would find locks as it left them.
class BackgroundThread {
 public:
  static BackgroundThread& global();

  /// A job must not throw, nor wait for a lock of whoever forks (Python's, for one).
  void submit(std::function<void()> job);
  /// Waits until there is no job.
  void wait();
  /// Forgets the jobs that have not begun, now and later, and waits for the one that has.
  void stop();

 private:
  BackgroundThread();
  void work();

  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace coregrad
