"""Jobs in worker processes, as lines of JSON.

What dies or hangs costs one job, which counts as a crash.
"""

from __future__ import annotations

import json
import os
import select
import subprocess
import sys
import threading
from collections.abc import Callable, Iterable, Iterator

from tqdm import tqdm

SECONDS_PER_JOB = 120


def serve(answer: Callable[[dict], dict]) -> None:
    """The worker's side: a line in, a line out, until the end of input."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # whatever a job prints must not come between the answers
    for line in sys.stdin:
        answers.write(json.dumps(answer(json.loads(line))) + "\n")
        answers.flush()


class Worker:
    """One worker process, `script --worker`, started again when it is gone."""

    def __init__(self, script: str) -> None:
        self.script = script
        self.process: subprocess.Popen | None = None

    def ask(self, job: dict) -> dict:
        if self.process is None:
            self.process = subprocess.Popen(
                [sys.executable, self.script, "--worker"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                text=True,
            )
        process = self.process
        process.stdin.write(json.dumps(job) + "\n")
        process.stdin.flush()
        ready, _, _ = select.select([process.stdout], [], [], SECONDS_PER_JOB)
        line = process.stdout.readline() if ready else ""
        if line:
            return json.loads(line)
        process.kill()
        code = process.wait()
        self.process = None
        detail = f"the process ended with {code}" if ready else f"hung for {SECONDS_PER_JOB} s"
        return {**job, "outcome": "crash", "detail": detail}

    def stop(self) -> None:
        if self.process is not None:
            self.process.stdin.close()
            self.process.wait()


def run(
    script: str,
    jobs: Iterable[dict],
    num_workers: int,
    tell: Callable[[dict], None] = lambda result: None,
) -> list[dict]:
    """The jobs' results, in the jobs' order; jobs are drawn one by one as workers become free. Each
    result is told at once.
    """
    results: dict[int, dict] = {}
    numbered: Iterator[tuple[int, dict]] = enumerate(jobs)
    lock = threading.Lock()

    def work() -> None:
        worker = Worker(script)
        while True:
            with lock:
                number, job = next(numbered, (-1, {}))
            if number < 0:
                break
            results[number] = worker.ask(job)
            with lock:
                tell(results[number])
        worker.stop()

    threads = [threading.Thread(target=work) for _ in range(num_workers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return [results[number] for number in sorted(results)]


def run_and_show(
    script: str,
    jobs: Iterable[dict],
    num_jobs: int,
    num_workers: int,
    unit: str,
    fault: Callable[[dict], str | None],
) -> list[dict]:
    """`run` with a bar on a terminal, and the fault of a result as soon as it is there."""
    with tqdm(total=num_jobs, unit=unit, disable=None) as progress:

        def tell(result: dict) -> None:
            progress.update()
            if (text := fault(result)) is not None:
                progress.write(text, file=sys.stderr)
                sys.stderr.flush()

        return run(script, jobs, num_workers, tell)
