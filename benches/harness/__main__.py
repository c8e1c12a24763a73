"""The harness behind `make bench`, started by .ci/bench. Prints one table, and writes it to benches/RESULTS.md."""

import argparse
import os
import platform
import re
import subprocess
import sys
import time
from dataclasses import dataclass

import queue_rows
import rows
from cached import cached
from imports import full_import, imports
from programs import REPO, Fleet

# "full-import" is not among them: it takes ten minutes by itself.
GROUPS = ["requests", "cache", "imports", "limits", "starts", "floods", "alike", "jobs"]


@dataclass
class Size:
    quick: bool
    rounds: int
    seconds: int


def say(text):
    print(text, file=sys.stderr, flush=True)


def number(value):
    return f"{value:.3f}" if value < 10 else f"{value:.1f}"


def render(table):
    lines = ["| | what | gate | goal | figure | min - median - max | |", "|---|---|---|---|---|---|---|"]
    for row in table:
        bar = [f"{value:g}" if value is not None else "" for value in (row.gate, row.goal)]
        figure, spread, verdict = "skipped: no npm", "", ""
        if row.values:
            unit = f" {row.unit}" if row.unit else ""
            figure = number(row.figure) + unit
            spread = " - ".join(number(v) for v in (min(row.values), row.figure, max(row.values)))
            if row.gate is not None:
                verdict = "beyond the gate" if row.beyond() else "goal" if row.goal and row.reaches(row.goal) else "gate"
        lines.append(f"| {row.id} | {row.what} | {bar[0]} | {bar[1]} | {figure} | {spread} | {verdict} |")
    return "\n".join(lines)


def machine(node):
    with open("/proc/cpuinfo") as file:
        models = [line.partition(":")[2].strip() for line in file if line.startswith("model name")]
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / (1 << 30)
    versions = [platform.release()]
    for command in (["rustc", "--version"], [node or "false", "--version"], ["pgbench", "--version"]):
        out = subprocess.run(command, capture_output=True, text=True)
        name = os.path.basename(command[0])
        versions += [f"{name} {re.search(r'[0-9]+[.][0-9.]+', out.stdout)[0]}"] if out.returncode == 0 else []
    return f"{len(models)} cores ({models[0] if models else platform.machine()}), {memory:.0f} GiB; " + ", ".join(versions)


def report(table, notes, quick):
    commit = subprocess.run(["git", "-C", REPO, "rev-parse", "--short", "HEAD"], capture_output=True, text=True)
    return "\n".join(
        [
            f"# The last {'quick' if quick else 'full'} run of `make bench`",
            "",
            f"- {time.strftime('%Y-%m-%d %H:%M', time.gmtime())} UTC, on commit {commit.stdout.strip() or 'unknown'}",
            *[f"- {note}" for note in notes],
            "- Figures are medians over rounds in which A and B took turns; CPU is the server's, user and system, per",
            "  request under wrk with 16 connections. Generators, Postgres and Redis ran on the same cores.",
            "",
            render(table),
            "",
        ]
    )


def main():
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--quick", action="store_true", help="reduced size; fails only beyond twice a gate")
    arguments.add_argument("--only", default="", help="some of " + ",".join([*GROUPS, "full-import"]))
    arguments.add_argument("--target", required=True)
    arguments.add_argument("--node", default="")
    options = arguments.parse_args()
    size = Size(True, 3, 1) if options.quick else Size(False, 7, 3)
    fleet = Fleet(options.target, options.node or None)
    groups = options.only.split(",") if options.only else GROUPS
    cores = len(os.sched_getaffinity(0))
    began, load_before = time.monotonic(), os.getloadavg()[0]
    table, peaks = [], None
    fleet.migrate()
    if "requests" in groups:
        found, peaks = rows.per_request(fleet, size, say)
        table += found
    if "cache" in groups:
        table += cached(fleet, size, say)
    if "imports" in groups:
        table += imports(fleet, size, say)
    if "full-import" in groups:
        table += full_import(fleet, size, say)
    if "limits" in groups:
        table += rows.limits(fleet, size, say)
    if "starts" in groups and peaks:
        table += rows.starts(fleet, size, say, peaks)
    if "floods" in groups:
        table += rows.floods(fleet, size, say, cores)
    if "alike" in groups:
        table += rows.alike(fleet, size, say)
    if "jobs" in groups:
        table += queue_rows.jobs(fleet, size, say)
    order = ["P1", "P2", "P3", "P4", "P5", "P6", "P7", "P8", "P9", "P10", "P14", "P15", "P16", "P19", "P20", "A2", "A4", "valid"]
    table.sort(key=lambda row: order.index(row.id) if row.id in order else len(order))
    notes = [
        machine(fleet.node),
        f"Command: `make bench{' ARGS=--quick' if size.quick else ''}`, {time.monotonic() - began:.0f} s; load of the "
        f"machine before it: {load_before:.1f}",
    ]
    if load_before > 1:
        notes.append("The machine was busy with other work: latencies (P19, A2, A4, J58, P20) are void, ratios of CPU are noisy.")
    notes += [f"{row.id}: {row.note}" for row in table if row.note]
    text = report(table, notes, size.quick)
    print(text)
    if not size.quick and not options.only:
        with open(f"{REPO}/benches/RESULTS.md", "w") as file:
            file.write(text)
    missed = [row for row in table if row.beyond(2 if size.quick else 1)]
    for row in missed:
        say(f"beyond {'twice ' if size.quick else ''}the gate: {row.id} {row.what}: {number(row.figure)}")
    return 1 if missed else 0


sys.exit(main())
