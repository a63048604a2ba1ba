#pragma once
// A trace in the Trace Event format of Chrome and Perfetto that is complete JSON after every flush.

#include <cstdint>
#include <cstdio>
#include <mutex>
#include <string>
#include <string_view>

namespace coregrad {

class TraceFile {
 public:
  /// IoError if the file cannot be opened.
  explicit TraceFile(const std::string& path);
  ~TraceFile();
  TraceFile(const TraceFile&) = delete;
  TraceFile& operator=(const TraceFile&) = delete;

  /// A bar on a track. `args` is a JSON object or empty.
  void add(std::string_view name, std::string_view category, int track, int64_t begin_ns,
           int64_t end_ns, std::string_view args = {});
  void flush();
  /// Flushes; later events of threads that still hold the trace are dropped.
  void close();

 private:
  void name_new_tracks();
  void write_pending();

  std::mutex mutex_;
  std::FILE* file_;      ///< null after close
  int process_;          ///< a forked child leaves its parent's file alone
  long events_end_ = 0;  ///< where the closing brackets stand
  bool any_event_ = false;
  size_t named_tracks_ = 0;
  std::string pending_;
  int64_t last_write_ns_ = 0;
};

/// The calling thread's number in traces.
int current_track();

}  // namespace coregrad
