#include "runtime/background_thread.h"

#include <gtest/gtest.h>

#include "thread_sanitizer.h"
#include <atomic>
#include <chrono>
#include <sys/wait.h>
#include <thread>
#include <unistd.h>
#include <vector>

namespace coregrad {
namespace {

using std::chrono::milliseconds;

TEST(BackgroundThread, RunsJobsInOrderOnAnotherThread) {
  BackgroundThread& background = BackgroundThread::global();
  std::vector<int> order;
  std::atomic<bool> is_elsewhere{true};
  const std::thread::id here = std::this_thread::get_id();
  for (int round = 0; round < 3; ++round) {  // its thread ends when there is nothing to do
    for (int i = 0; i < 20; ++i)
      background.submit([&order, &is_elsewhere, here, i] {
        order.push_back(i);
        if (std::this_thread::get_id() == here) is_elsewhere = false;
      });
    background.wait();
  }
  ASSERT_EQ(order.size(), 60U);
  for (size_t i = 0; i < order.size(); ++i) EXPECT_EQ(order[i], static_cast<int>(i % 20));
  EXPECT_TRUE(is_elsewhere);
}

// A lock that a job held would be held for ever in the child.
TEST(BackgroundThread, AForkWaitsForWhatRunsAndForgetsTheRest) {
  if (test::kThreadSanitizer) GTEST_SKIP() << test::kNoThreadsAfterFork;
  BackgroundThread& background = BackgroundThread::global();
  std::atomic<bool> has_begun{false}, is_inside{false};
  std::atomic<int> others{0};
  background.submit([&] {
    is_inside = has_begun = true;
    std::this_thread::sleep_for(milliseconds(100));
    is_inside = false;
  });
  while (!has_begun) std::this_thread::yield();
  for (int i = 0; i < 3; ++i) background.submit([&] { ++others; });
  const pid_t child = fork();
  if (child == 0) {
    if (is_inside || others != 0) _exit(1);
    background.wait();
    background.submit([&] { others += 10; });
    background.wait();
    _exit(others == 10 ? 0 : 2);
  }
  int status = 0;
  ASSERT_EQ(waitpid(child, &status, 0), child);
  EXPECT_EQ(status, 0);
  background.wait();
  EXPECT_EQ(others, 3);
}

TEST(BackgroundThread, WhatHasNotBegunWhenItStopsNeverRuns) {
  if (test::kThreadSanitizer) GTEST_SKIP() << test::kNoThreadsAfterFork;
  const pid_t child = fork();
  if (child == 0) {
    BackgroundThread& background = BackgroundThread::global();
    std::atomic<bool> has_begun{false}, has_ended{false}, is_wrong{false};
    background.submit([&] {
      has_begun = true;
      std::this_thread::sleep_for(milliseconds(50));
      has_ended = true;
    });
    while (!has_begun) std::this_thread::yield();
    background.submit([&] { is_wrong = true; });
    background.stop();
    background.submit([&] { is_wrong = true; });
    background.wait();
    _exit(has_ended && !is_wrong ? 0 : 1);
  }
  int status = 0;
  ASSERT_EQ(waitpid(child, &status, 0), child);
  EXPECT_EQ(status, 0);
}

}  // namespace
}  // namespace coregrad
