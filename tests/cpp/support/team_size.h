#pragma once

#include "runtime/thread_team.h"

namespace coregrad {

/// A size of the thread team for the rest of the scope.
class TeamSize {
 public:
  explicit TeamSize(int n) : before_(ThreadTeam::global().num_threads()) {
    ThreadTeam::global().set_num_threads(n);
  }
  TeamSize(const TeamSize&) = delete;
  TeamSize& operator=(const TeamSize&) = delete;
  ~TeamSize() { ThreadTeam::global().set_num_threads(before_); }

 private:
  int before_;
};

}  // namespace coregrad
