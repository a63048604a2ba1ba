#include "runtime/profiler.h"

#include "base/error.h"
#include "base/flags.h"
#include "runtime/executor.h"
#include "runtime/thread_team.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include <filesystem>
#include <fstream>
#include <set>
#include <sys/wait.h>
#include <thread>
#include <unistd.h>

namespace coregrad {
namespace {

Plan two_steps() {
  Plan plan;
  plan.steps.resize(2);
  for (Step& step : plan.steps)
    step.function = [](const StepArgs*, int64_t begin, int64_t end, int) {
      std::this_thread::sleep_for(std::chrono::microseconds(200 * (end - begin)));
    };
  plan.steps[0].name = "first";
  plan.steps[1].name = "second \"quoted\"";
  plan.steps[1].range = 20;
  plan.steps[1].cost_ns = 1e7;
  plan.steps[1].flops = 1000;
  plan.steps[1].bytes = 500;
  return plan;
}

class TempFile {
 public:
  TempFile()
      : path_(std::filesystem::temp_directory_path() /
              ("coregrad_trace_" + std::to_string(getpid()) + ".json")) {}
  ~TempFile() { std::filesystem::remove(path_); }
  std::string path() const { return path_; }
  /// The events; fails the test if the file is not JSON.
  nlohmann::json events() const {
    std::ifstream file(path_);
    return nlohmann::json::parse(file).at("traceEvents");
  }

 private:
  std::filesystem::path path_;
};

TEST(Profiler, CountsPlansStepsAndChunks) {
  const Plan plan = two_steps();
  const Counters before = counters();
  run(plan, {}, {});
  const Counters after = counters();
  EXPECT_EQ(after.plans - before.plans, 1);
  EXPECT_EQ(after.steps - before.steps, 2);
  EXPECT_EQ(after.parallel_steps - before.parallel_steps, 1);
  EXPECT_EQ(after.chunks - before.chunks, 20);
  EXPECT_EQ(after.flops - before.flops, 1000);
  EXPECT_EQ(after.bytes - before.bytes, 500);
}

TEST(Profiler, KeepsTheCountsOfEndedThreads) {
  const Plan plan = two_steps();
  const Counters before = counters();
  std::thread([&] { run(plan, {}, {}); }).join();
  std::thread([&] { run(plan, {}, {}); }).join();
  EXPECT_EQ(counters().plans - before.plans, 2);
}

TEST(Profiler, GivesTimesPerStep) {
  const Plan plan = two_steps();
  std::vector<StepTime> rows;
  {
    const StepTimes times;
    EXPECT_FALSE(profiling_is_off());
    for (int i = 0; i < 3; ++i) run(plan, {}, {});
    rows = times.rows();
  }
  EXPECT_TRUE(profiling_is_off());
  ASSERT_EQ(rows.size(), 2u);
  EXPECT_EQ(rows[0].name, plan.steps[1].name.text());
  EXPECT_EQ(rows[0].flops, 1000);
  EXPECT_EQ(rows[1].name, "first");
  for (const StepTime& row : rows) {
    EXPECT_EQ(row.calls, 3);
    EXPECT_GE(row.min_ns, 200e3);
    EXPECT_GE(row.median_ns, row.min_ns);
    EXPECT_GE(row.total_ns, 3 * row.min_ns);
  }
  run(plan, {}, {});
  const StepTimes again;
  EXPECT_TRUE(again.rows().empty());
}

TEST(Profiler, WritesATraceOfStepsAndPhases) {
  const TempFile file;
  ThreadTeam& team = ThreadTeam::global();
  const int threads = team.num_threads();
  team.set_num_threads(2);
  set_trace_file(file.path());
  {
    const TraceScope scope("fusion");
    run(two_steps(), {}, {});
  }
  flush_trace();
  int units = 0, phases = 0, first = 0;
  std::set<int> tracks, named;
  for (const auto& event : file.events()) {
    if (event.at("ph") == "M") {
      named.insert(event.at("tid").get<int>());
      continue;
    }
    EXPECT_EQ(event.at("ph"), "X");
    EXPECT_GE(event.at("dur").get<double>(), 200);
    tracks.insert(event.at("tid").get<int>());
    if (event.at("name") == "second \"quoted\"") {
      units += event.at("args").at("units").get<int>();
      EXPECT_EQ(event.at("args").at("flops"), 1000);
    }
    phases += event.at("name") == "fusion" && event.at("cat") == "compile";
    first += event.at("name") == "first";
  }
  EXPECT_EQ(units, 20);
  EXPECT_EQ(phases, 1);
  EXPECT_EQ(first, 1);
  EXPECT_TRUE(std::includes(named.begin(), named.end(), tracks.begin(), tracks.end()));
  // More events join the same list.
  const size_t before = file.events().size();
  run(two_steps(), {}, {});
  set_trace_file("");
  EXPECT_GT(file.events().size(), before);
  EXPECT_TRUE(profiling_is_off());
  team.set_num_threads(threads);
}

TEST(Profiler, LeavesACompleteTraceWhenTheProcessExitsOrIsKilled) {
  const TempFile file;
  for (const bool killed : {false, true}) {
    const pid_t child = fork();
    ASSERT_GE(child, 0);
    if (child == 0) {
      ThreadTeam::global().set_num_threads(1);
      set_trace_file(file.path());
      run(two_steps(), {}, {});
      if (!killed) std::exit(0);
      flush_trace();
      run(two_steps(), {}, {});
      kill(getpid(), SIGKILL);
    }
    int status = 0;
    ASSERT_EQ(waitpid(child, &status, 0), child);
    EXPECT_EQ(WIFSIGNALED(status), killed);
    EXPECT_GE(file.events().size(), 3u);
  }
}

TEST(Profiler, NamesTheFileItCannotOpen) {
  try {
    set_trace_file("/no/such/folder/trace.json");
    FAIL() << "no error";
  } catch (const IoError& error) {
    EXPECT_THAT(error.what(), testing::HasSubstr("/no/such/folder/trace.json"));
  }
  EXPECT_TRUE(profiling_is_off());
}

TEST(Profiler, LogsALineAStepAtDebugLevelTwo) {
  Flags changed = flags();
  changed.debug = 2;
  const Flags before = set_flags_for_test(changed);
  refresh_profiling();
  EXPECT_FALSE(profiling_is_off());
  run(two_steps(), {}, {});
  set_flags_for_test(before);
  refresh_profiling();
  EXPECT_TRUE(profiling_is_off());
}

TEST(Profiler, ServesManyThreadsWhileItIsSwitched) {
  std::atomic<bool> stop{false};
  Plan plan = two_steps();
  for (Step& step : plan.steps) step.function = [](const StepArgs*, int64_t, int64_t, int) {};
  std::vector<std::thread> threads;
  for (int t = 0; t < 3; ++t)
    threads.emplace_back([&] {
      while (!stop) run(plan, {}, {});
    });
  const TempFile file;
  for (int i = 0; i < 10; ++i) {
    const StepTimes times;
    set_trace_file(file.path());
    std::this_thread::sleep_for(std::chrono::milliseconds(2));
    set_trace_file("");
    EXPECT_GE(file.events().size(), 1u);
  }
  stop = true;
  for (auto& t : threads) t.join();
}

}  // namespace
}  // namespace coregrad
