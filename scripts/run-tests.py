#!/usr/bin/env python3
"""Runs test programs and counts their cases.

    run-tests.py [--jobs N] [--timeout SECONDS] [--match TEXT] PROGRAM...

A program is a cmocka executable, or a script whose last line is "N passed, N failed[, N skipped]". A .py file is run
with this Python, a .sh file with bash, anything else directly. A program that crashes, is too slow, or ends with an
exit code that its totals do not explain counts as one more failed case. The last line has the totals of all.
"""
import argparse
import concurrent.futures
import os
import re
import signal
import subprocess
import sys
import time

CLOSING = re.compile(r"^(\d+) passed, (\d+) failed(?:, (\d+) skipped)?\s*$")
CMOCKA = {
    "passed": re.compile(r"^\[  PASSED  \] (\d+) test\(s\)", re.M),
    "failed": re.compile(r"^\[  FAILED  \] (\d+) test\(s\)", re.M),
    "skipped": re.compile(r"^\[  SKIPPED \] (\d+) test\(s\)", re.M),
    "run": re.compile(r"^\[=+\] (\d+) test\(s\) run", re.M),
    "errors": re.compile(r"^\[  ERROR   \] (?!---)", re.M),
}


class Outcome:
    def __init__(self, program, code, output, seconds, timed_out):
        self.program, self.code, self.output, self.seconds = program, code, output, seconds
        self.passed, self.failed, self.skipped = 0, 0, 0
        self.remark = ""
        found = self.count()
        if timed_out:
            self.fail("did not end in time")
        elif code < 0:
            self.fail("ended by " + signal.Signals(-code).name)
        elif not found:
            self.fail("printed no totals, exit code %d" % code)
        elif code != 0 and self.failed == 0:
            self.fail("exit code %d" % code)
        elif code == 0 and self.failed > 0:
            self.remark = "failed with exit code 0"

    def fail(self, remark):
        self.failed += 1
        self.remark = remark

    def count(self):
        """Reads the totals; False if there are none."""
        if CMOCKA["run"].search(self.output):
            totals = {name: sum(int(n) for n in CMOCKA[name].findall(self.output))
                      for name in ("passed", "failed", "skipped")}
            self.passed, self.failed, self.skipped = totals["passed"], totals["failed"], totals["skipped"]
            return True
        lines = self.output.rstrip("\n").rsplit("\n", 1)
        match = CLOSING.match(lines[-1])
        if match:
            self.passed, self.failed = int(match[1]), int(match[2])
            self.skipped = int(match[3] or 0)
        return bool(match)


def command_of(program):
    if program.endswith(".py"):
        return [sys.executable, program]
    if program.endswith(".sh"):
        return ["bash", program]
    return [program]


def run(program, timeout):
    started = time.monotonic()
    try:
        process = subprocess.Popen(command_of(program), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                   stderr=subprocess.STDOUT, start_new_session=True)
    except OSError as reason:
        return Outcome(program, 127, str(reason), 0, False)
    timed_out = False
    try:
        output, _ = process.communicate(timeout=timeout)
    except subprocess.TimeoutExpired:
        timed_out = True
        # The whole group: a script may have children of its own.
        os.killpg(process.pid, signal.SIGKILL)
        output, _ = process.communicate()
    return Outcome(program, process.returncode, output.decode("utf-8", "replace"), time.monotonic() - started,
                   timed_out)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--timeout", type=float, default=600)
    parser.add_argument("--match", default="")
    parser.add_argument("programs", nargs="*")
    options = parser.parse_args()
    programs = [program for program in options.programs if options.match in program]
    passed = failed = skipped = 0
    with concurrent.futures.ThreadPoolExecutor(options.jobs) as pool:
        futures = [pool.submit(run, program, options.timeout) for program in programs]
        for future in concurrent.futures.as_completed(futures):
            outcome = future.result()
            passed += outcome.passed
            failed += outcome.failed
            skipped += outcome.skipped
            good = outcome.failed == 0
            line = "%-4s %-44s %4d passed" % ("ok" if good else "FAIL", os.path.relpath(outcome.program), outcome.passed)
            if outcome.failed:
                line += ", %d failed" % outcome.failed
            if outcome.skipped:
                line += ", %d skipped" % outcome.skipped
            print("%s  %.1fs%s" % (line, outcome.seconds, "  (%s)" % outcome.remark if outcome.remark else ""))
            if not good:
                print("---- output of %s" % os.path.relpath(outcome.program))
                text = outcome.output.rstrip("\n")
                if len(text) > 24000:
                    text = text[:12000] + "\n...\n" + text[-12000:]
                print(text)
                print("----")
            sys.stdout.flush()
    print("%d passed, %d failed%s" % (passed, failed, ", %d skipped" % skipped if skipped else ""))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
