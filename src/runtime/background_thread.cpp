#include "runtime/background_thread.h"

#include "runtime/allocator.h"

#include <atomic>
#include <cstdlib>
#include <deque>
#include <mutex>
#include <pthread.h>
#include <sys/resource.h>
#include <thread>
#include <unistd.h>
#include <utility>

namespace coregrad {
namespace {

constexpr int kNiceness = 10;

}  // namespace

struct BackgroundThread::Impl {
  std::mutex mutex;  ///< of `jobs`, `is_working` and `is_stopped`
  std::deque<std::function<void()>> jobs;
  bool is_working = false;
  bool is_stopped = false;
  std::atomic<int64_t> pending{0};  ///< jobs that have not ended
  std::mutex running;               ///< held while a job runs
  std::atomic<int> forks{0};        ///< of those that wait for `running`: they come first

  void before_fork() {
    ++forks;
    running.lock();
    mutex.lock();
  }
  void after_fork() {
    --forks;
    forks.notify_all();
    mutex.unlock();
    running.unlock();
  }
  void after_fork_in_child() {
    jobs.clear();
    is_working = false;
    pending = 0;
    after_fork();
  }
};

BackgroundThread::BackgroundThread() : impl_(std::make_unique<Impl>()) {}

BackgroundThread& BackgroundThread::global() {
  // Never destroyed: it is stopped when the process ends.
  static BackgroundThread* const instance = [] {
    static BackgroundThread* made = nullptr;
    // Handlers run in the reverse of this order before a fork: the job must not need what they
    // lock.
    memory_stats();
    made = new BackgroundThread;
    pthread_atfork([] { made->impl_->before_fork(); }, [] { made->impl_->after_fork(); },
                   [] { made->impl_->after_fork_in_child(); });
    std::atexit([] { made->stop(); });
    return made;
  }();
  return *instance;
}

void BackgroundThread::submit(std::function<void()> job) {
  const std::scoped_lock lock(impl_->mutex);
  if (impl_->is_stopped) return;
  impl_->jobs.push_back(std::move(job));
  ++impl_->pending;
  if (std::exchange(impl_->is_working, true)) return;
  std::thread([this] { work(); }).detach();
}

void BackgroundThread::work() {
  setpriority(PRIO_PROCESS, static_cast<id_t>(gettid()), kNiceness);
  for (;;) {
    while (const int forks = impl_->forks) impl_->forks.wait(forks);
    const std::scoped_lock running(impl_->running);
    std::function<void()> job;
    {
      const std::scoped_lock lock(impl_->mutex);
      if (impl_->jobs.empty()) {
        impl_->is_working = false;
        return;
      }
      job = std::move(impl_->jobs.front());
      impl_->jobs.pop_front();
    }
    job();
    job = nullptr;
    --impl_->pending;
    impl_->pending.notify_all();
  }
}

void BackgroundThread::wait() {
  while (const int64_t pending = impl_->pending) impl_->pending.wait(pending);
}

void BackgroundThread::stop() {
  {
    const std::scoped_lock lock(impl_->mutex);
    impl_->is_stopped = true;
    impl_->pending -= static_cast<int64_t>(impl_->jobs.size());
    impl_->jobs.clear();
  }
  impl_->pending.notify_all();
  wait();
}

}  // namespace coregrad
