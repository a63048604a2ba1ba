"""Plants faults in the compiler, one at a time, and tells which tests notice: `make mutation`.

    python tests/mutation/mutation_check.py                        all of mutants.py
    python tests/mutation/mutation_check.py --only sort-not-stable
    python tests/mutation/mutation_check.py --json out/mutation.json --resume
    python tests/mutation/mutation_check.py --wrap quiet           `quiet` in front of every command
    python tests/mutation/mutation_check.py --quick --seconds 200  the first stage, for 200 seconds

Works on a copy of the tree with a build folder of its own. The stages are run in their order until one
fails; the first run is without a fault, and every stage must pass it. Exit code: 0 enough were caught,
1 more survived than may, 2 the table does not fit the sources or the tests fail by themselves.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import math
import os
import re
import shlex
import shutil
import subprocess
import sys
import time
from pathlib import Path

from mutants import MUTANTS, Mutant
from tqdm import tqdm

ROOT = Path(__file__).resolve().parents[2]
ENOUGH = 0.95  #: share of the mutants that must be caught
SECONDS_PER_STEP = 280  #: a build or a stage that takes longer hangs
HUNG = 124  #: what `timeout` exits with

BASELINE = Mutant("no fault", "", "", "", "")

#: Tests that take long, which run after the quick ones.
SLOW_CPP = "*VectorMath*:*StepsOfAWindow*:*AMillion*"
GRAPHS = "*RandomGraph*"

#: Some of the random programs that `make test` runs, and the Python tests that have other stages.
RANDOM_PROGRAMS = [
    f"tests/python/test_random_programs.py::test_a_random_program_is_right[{seed}]"
    for seed in range(200)
]
ELSEWHERE = "torch or primitives or tensor or a_random_program_is_right"


@dataclasses.dataclass(frozen=True)
class Stage:
    """Tests that run together."""

    name: str
    command: tuple[str, ...]
    is_cpp: bool = False  #: cannot notice faults in Python


def stages(jobs: int) -> list[Stage]:
    """The quickest first."""
    tests = ("build/coregrad_tests", "--gtest_fail_fast")
    pytest = (sys.executable, "-m", "pytest", "-x", "-q", "-n", str(jobs), "-p", "no:cacheprovider")

    def python(name: str, *arguments: str) -> Stage:
        return Stage(name, (*pytest, *arguments))

    return [
        Stage("C++ tests", (*tests, f"--gtest_filter=-{SLOW_CPP}:{GRAPHS}"), True),
        Stage("C++ slow tests", (*tests, f"--gtest_filter={SLOW_CPP}"), True),
        Stage("C++ random graphs", (*tests, f"--gtest_filter={GRAPHS}"), True),
        python("Python operators", "tests/python", "-k", "lowerings or primitives or tensor"),
        python("Python models", "tests/python", "-k", "torch and not lowerings"),
        python("Random programs", *RANDOM_PROGRAMS),
        python("Python the rest", "tests/python", "-k", f"not ({ELSEWHERE})"),
    ]


@dataclasses.dataclass
class Finding:
    """What became of a mutant."""

    name: str
    fault: str
    path: str
    outcome: str  #: caught, survived, invalid (does not build)
    stage: str = ""  #: that caught it
    tests: list[str] = dataclasses.field(default_factory=list)  #: that failed, a few
    seconds: float = 0.0

    def line(self) -> str:
        by = f" by {self.stage}: {', '.join(self.tests) or 'crash'}" if self.stage else ""
        return f"{self.outcome:8} {self.name:34} {self.seconds:5.0f} s{by}"


class Copy:
    """The tree's copy, its build folder, and the commands that run there."""

    def __init__(self, folder: Path, wrap: list[str], jobs: int) -> None:
        self.folder, self.wrap, self.jobs = folder, wrap, jobs

    def sync(self) -> None:
        """Makes the copy equal to the tree; what is equal keeps its time stamp."""
        listed = subprocess.run(
            ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
            cwd=ROOT, check=True, capture_output=True, text=True,
        ).stdout  # fmt: skip
        files = {name for name in listed.split("\0") if name and (ROOT / name).is_file()}
        for name in sorted(files):
            source, target = ROOT / name, self.folder / name
            if target.is_file() and target.read_bytes() == source.read_bytes():
                continue
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(source, target)  # a new time stamp
        for folder in ("src", "include", "python", "tests"):
            for target in (self.folder / folder).rglob("*"):
                name = target.relative_to(self.folder).as_posix()
                if target.suffix in {".cpp", ".h", ".py", ".def"} and name not in files:
                    target.unlink()

    def configure(self) -> bool:
        python = f"-DPython_EXECUTABLE={sys.executable}"
        command = ["cmake", "--preset", "release", "-DCOREGRAD_PYTHON=ON", python]
        return self.run(command).returncode == 0

    def build(self, target: str) -> bool:
        command = ["cmake", "--build", "build", "-j", str(self.jobs), "--target", target]
        return self.run(command).returncode == 0

    def run(self, command: list[str]) -> subprocess.CompletedProcess:
        """In the copy; the clock of the time limit starts behind the wrapper."""
        environment = {
            **os.environ,
            "CCACHE_BASEDIR": str(self.folder),
            "PYTHONPATH": str(self.folder / "build" / "python" / "package"),
            "PYTHONDONTWRITEBYTECODE": "1",
        }
        limited = [*self.wrap, "timeout", "--kill-after=5", str(SECONDS_PER_STEP), *command]
        return subprocess.run(
            limited, cwd=self.folder, env=environment, text=True, errors="replace",
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip


def failed_tests(output: str) -> list[str]:
    """The names of tests that failed, or of the one that ran when the process died; three at most."""
    failed = re.findall(r"^\[  FAILED  \] ([^\s,]+\.[^\s,]+)", output, re.MULTILINE)
    failed += re.findall(r"^(?:FAILED|ERROR) tests/python/(.*?)(?: - .*)?$", output, re.MULTILINE)
    if not failed:
        started = re.findall(r"^\[ RUN      \] (\S+)", output, re.MULTILINE)
        ended = set(re.findall(r"^\[       OK \] (\S+)", output, re.MULTILINE))
        failed = [name for name in started if name not in ended][-1:]
    return list(dict.fromkeys(failed))[:3]


def examine(mutant: Mutant, copy: Copy, quick: bool, progress: tqdm) -> Finding:
    """Plants one fault, runs the stages (or the first) until one fails, and mends it again."""
    started = time.monotonic()
    finding = Finding(mutant.name, mutant.fault, mutant.path, "survived")
    place = copy.folder / mutant.path
    if mutant.path:
        place.write_text((ROOT / mutant.path).read_text().replace(mutant.old, mutant.new))
    try:
        built: set[str] = set()
        chosen = [s for s in stages(copy.jobs) if not (s.is_cpp and mutant.is_python)]
        for stage in chosen[:1] if quick else chosen:
            progress.set_postfix_str(f"{mutant.name}: {stage.name}")
            target = "coregrad_tests" if stage.is_cpp else "all"
            if target not in built and not copy.build(target):
                finding.outcome = "invalid"
                break
            built.add(target)
            done = copy.run(list(stage.command))
            if done.returncode:
                finding.outcome, finding.stage = "caught", stage.name
                finding.tests = failed_tests(done.stdout)
                if done.returncode == HUNG:
                    finding.tests = [*finding.tests, "hung"]
                break
    finally:
        if mutant.path:
            place.write_text((ROOT / mutant.path).read_text())
    finding.seconds = time.monotonic() - started
    return finding


def misfits(chosen: list[Mutant]) -> list[str]:
    """Rows of the table whose old text does not stand exactly once in the sources."""
    problems = []
    for mutant in chosen:
        path = ROOT / mutant.path
        count = path.read_text().count(mutant.old) if path.is_file() else 0
        if count != 1:
            problems.append(f"{mutant.name}: its text stands {count} times in {mutant.path}")
    return problems


def report(findings: list[Finding], share: float) -> str:
    """Survivors and the counts."""
    lines = [
        f"{f.outcome.upper()} {f.name}: {f.fault} ({f.path})"
        for f in findings
        if f.outcome != "caught"
    ]
    caught = sum(f.outcome == "caught" for f in findings)
    lines.append(f"{caught} of {len(findings)} faults caught: {100 * share:.0f} %")
    return "\n".join(lines)


def read_findings(path: Path) -> list[Finding]:
    """What earlier runs found about mutants that are still in the table."""
    rows = json.loads(path.read_text())["mutants"] if path.is_file() else []
    return [Finding(**row) for row in rows if row["name"] in {m.name for m in MUTANTS}]


def write_findings(path: Path, findings: list[Finding]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    rows = [dataclasses.asdict(f) for f in findings]
    path.write_text(json.dumps({"mutants": rows}, indent=2) + "\n")


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", nargs="+", metavar="NAME", help="these mutants")
    parser.add_argument("--list", action="store_true", help="print the table and stop")
    parser.add_argument("--check", action="store_true", help="only see whether the table fits")
    parser.add_argument("--no-baseline", action="store_true", help="trust the tests as they are")
    parser.add_argument("--copy", type=Path, default=ROOT / "out" / "mutation", help="the copy")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the findings, one by one")
    parser.add_argument("--resume", action="store_true", help="skip what stands in --json already")
    parser.add_argument("--wrap", default="", metavar="COMMAND", help="in front of every command")
    parser.add_argument(
        "--quick", action="store_true", help="first stage only; keeps what it catches"
    )
    parser.add_argument("--seconds", type=float, default=math.inf, help="begin nothing after that")
    parser.add_argument("--jobs", type=int, default=os.cpu_count())
    return parser.parse_args()


def main() -> int:
    options = arguments()
    known = {m.name: m for m in MUTANTS}
    unknown = [name for name in options.only or () if name not in known]
    if unknown:
        print(f"no mutant {unknown[0]!r}; --list shows them", file=sys.stderr)
        return 2
    chosen = [known[name] for name in options.only] if options.only else MUTANTS
    if options.list:
        for m in chosen:
            print(f"{m.name:34} {m.path:44} {m.fault}")
        return 0
    problems = misfits(chosen)
    print("\n".join(problems), end="\n" if problems else "", file=sys.stderr)
    if problems or options.check:
        return 2 if problems else 0

    findings = read_findings(options.json) if options.resume and options.json else []
    done = {f.name for f in findings}
    waiting = [m for m in chosen if m.name not in done]
    copy = Copy(options.copy.resolve(), shlex.split(options.wrap), options.jobs)
    copy.sync()
    if waiting and not copy.configure():
        print(f"cmake failed in {copy.folder}", file=sys.stderr)
        return 2
    started = time.monotonic()
    with tqdm(waiting, unit="mutant", disable=not sys.stderr.isatty(), leave=False) as progress:
        if waiting and not options.no_baseline:
            base = examine(BASELINE, copy, options.quick, progress)
            if base.outcome != "survived":
                print(f"without a fault: {base.line()}", file=sys.stderr)
                return 2
        for mutant in progress:
            if time.monotonic() - started > options.seconds:
                break
            found = examine(mutant, copy, options.quick, progress)
            progress.write(found.line(), file=sys.stdout)
            sys.stdout.flush()
            if options.quick and found.outcome == "survived":
                continue
            findings.append(found)
            if options.json:
                write_findings(options.json, findings)
    share = sum(f.outcome == "caught" for f in findings) / max(len(findings), 1)
    print(report(findings, share))
    return int(share < ENOUGH)


if __name__ == "__main__":
    sys.exit(main())
