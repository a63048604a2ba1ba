#pragma once
// Jobs on the threads of the program that calls us, PyTorch's OpenMP team.
//
// Two pools on the same CPUs cost more than either: OpenMP's threads spin for some 10 ms after each
// parallel region of an eager operation, ours would have to share their CPUs, and the other way
// round. So a job that PyTorch started runs on the threads that PyTorch has. What is lost is that
// the caller never waits for a thread that is not there: the host's parallel region ends when all
// its threads have been through it. Where a region ended late, because another process held a
// thread's CPU, jobs go to our own team for a while.

#include "runtime/thread_team.h"

namespace coregrad {

/// Runs all phases in order on threads of `job.host`, as ThreadTeam::run does. False, with nothing
/// done, where our own team serves the job better.
bool run_on_host_threads(const TeamJob& job);

/// For a forked child, whose host threads stayed behind: no job is run on them any more.
void forget_host_threads();

}  // namespace coregrad
