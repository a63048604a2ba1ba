#include "runtime/trace_file.h"

#include "base/error.h"
#include "base/log.h"

#include <nlohmann/json.hpp>

#include <cerrno>
#include <chrono>
#include <cstring>
#include <pthread.h>
#include <unistd.h>
#include <vector>

namespace coregrad {
namespace {

constexpr size_t kPendingBytes = 1 << 16;
constexpr int64_t kPendingNs = 200'000'000;
constexpr std::string_view kTail = "\n]}\n";

struct TrackNames {
  std::mutex mutex;
  std::vector<std::string> names;
};

TrackNames& track_names() {
  static TrackNames* names = new TrackNames;  // threads may start after static objects ended
  return *names;
}

int new_track() {
  char name[64] = "";
  pthread_getname_np(pthread_self(), name, sizeof name);
  TrackNames& tracks = track_names();
  const std::lock_guard lock(tracks.mutex);
  const auto number = static_cast<int>(tracks.names.size());
  tracks.names.push_back(fmt::format("{} {}", name, number));
  return number;
}

int64_t now_ns() { return std::chrono::steady_clock::now().time_since_epoch().count(); }

}  // namespace

int current_track() {
  thread_local const int track = new_track();
  return track;
}

TraceFile::TraceFile(const std::string& path)
    : file_(std::fopen(path.c_str(), "wbe")), process_(getpid()) {
  if (file_ == nullptr)
    raise<IoError>("trace: cannot open '{}' for writing: {}", path, std::strerror(errno));
  // Without a buffer each fwrite is one system call.
  std::setvbuf(file_, nullptr, _IONBF, 0);
  std::fputs("{\"displayTimeUnit\":\"ns\",\"traceEvents\":[", file_);
  events_end_ = std::ftell(file_);
  flush();
}

TraceFile::~TraceFile() { close(); }

void TraceFile::close() {
  if (getpid() != process_) return;
  const std::lock_guard lock(mutex_);
  if (file_ == nullptr) return;
  write_pending();
  std::fclose(file_);
  file_ = nullptr;
}

void TraceFile::add(std::string_view name, std::string_view category, int track, int64_t begin_ns,
                    int64_t end_ns, std::string_view args) {
  if (getpid() != process_) return;
  // Names may hold anything; the library escapes them and replaces what is not UTF-8.
  const auto quoted = [](std::string_view text) {
    return nlohmann::json(text).dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
  };
  const std::string event = fmt::format(
      R"({{"ph":"X","name":{},"cat":{},"pid":{},"tid":{},"ts":{:.3f},"dur":{:.3f},"args":{}}})",
      quoted(name), quoted(category), process_, track, static_cast<double>(begin_ns) * 1e-3,
      static_cast<double>(end_ns - begin_ns) * 1e-3, args.empty() ? "{}" : args);
  const std::lock_guard lock(mutex_);
  if (file_ == nullptr) return;
  pending_ += any_event_ ? ",\n" : "\n";
  pending_ += event;
  any_event_ = true;
  if (pending_.size() > kPendingBytes || now_ns() - last_write_ns_ > kPendingNs) write_pending();
}

void TraceFile::flush() {
  if (getpid() != process_) return;
  const std::lock_guard lock(mutex_);
  if (file_ != nullptr) write_pending();
}

void TraceFile::name_new_tracks() {
  TrackNames& tracks = track_names();
  const std::lock_guard lock(tracks.mutex);
  for (; named_tracks_ < tracks.names.size(); ++named_tracks_) {
    pending_ += any_event_ ? ",\n" : "\n";
    any_event_ = true;
    pending_ += nlohmann::json{{"ph", "M"},
                               {"name", "thread_name"},
                               {"pid", process_},
                               {"tid", named_tracks_},
                               {"args", {{"name", tracks.names[named_tracks_]}}}}
                    .dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
  }
}

/// Puts the pending events where the closing brackets stand, and new brackets behind them. One
/// write for both, so that a process that ends in between leaves a complete file.
void TraceFile::write_pending() {
  name_new_tracks();
  const auto events = static_cast<long>(pending_.size());
  pending_ += kTail;
  std::fseek(file_, events_end_, SEEK_SET);
  const bool ok = std::fwrite(pending_.data(), 1, pending_.size(), file_) == pending_.size() &&
                  std::fflush(file_) == 0;
  if (!ok) log().warn("trace: cannot write: {}", std::strerror(errno));
  events_end_ += events;
  pending_.clear();
  last_write_ns_ = now_ns();
}

}  // namespace coregrad
