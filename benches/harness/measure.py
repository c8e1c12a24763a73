"""What a process has used: CPU from the scheduler's own books, memory from /proc."""

import os
import threading
from dataclasses import dataclass, field

MIB = 1 << 20


def _threads(pid):
    """Nanoseconds on a core by thread."""
    times = {}
    for tid in os.listdir(f"/proc/{pid}/task"):
        try:
            with open(f"/proc/{pid}/task/{tid}/schedstat") as file:
                times[tid] = int(file.read().split()[0])
        except (FileNotFoundError, ProcessLookupError):
            pass  # a thread that has just ended
    return times


def _whole(pid):
    """Nanoseconds of the whole process, threads that have ended included, in steps of a tick."""
    with open(f"/proc/{pid}/stat") as file:
        after_name = file.read().rpartition(")")[2].split()
    ticks = int(after_name[11]) + int(after_name[12])
    return ticks * 1_000_000_000 // os.sysconf("SC_CLK_TCK")


class Cpu:
    """CPU of a process since this was made, in seconds."""

    def __init__(self, pid):
        self.pid, self.threads, self.whole = pid, _threads(pid), _whole(pid)

    def seconds(self):
        now = _threads(self.pid)
        if self.threads.keys() - now.keys():
            # A thread took its books with it; the process has the sum, in coarser steps.
            return (_whole(self.pid) - self.whole) / 1e9
        return sum(time - self.threads.get(tid, 0) for tid, time in now.items()) / 1e9


def rss(pid):
    """Resident memory in bytes."""
    with open(f"/proc/{pid}/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


class PeakRss(threading.Thread):
    """The largest resident memory while the block runs."""

    def __init__(self, pid, every=0.05):
        super().__init__(daemon=True)
        self.pid, self.every, self.peak, self.over = pid, every, rss(pid), threading.Event()

    def run(self):
        while not self.over.wait(self.every):
            self.peak = max(self.peak, rss(self.pid))

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *_):
        self.over.set()
        self.join()
        self.peak = max(self.peak, rss(self.pid))


def percentile(values, share):
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def median(values):
    ordered = sorted(values)
    middle = len(ordered) // 2
    return ordered[middle] if len(ordered) % 2 else (ordered[middle - 1] + ordered[middle]) / 2


@dataclass
class Row:
    """One line of the table."""

    id: str
    what: str
    values: list = field(default_factory=list)
    gate: float | None = None
    goal: float | None = None
    unit: str = ""
    note: str = ""
    # The larger the better.
    at_least: bool = False

    @property
    def figure(self):
        return median(self.values) if self.values else None

    def beyond(self, factor=1):
        """Whether the figure is beyond its gate, or beyond twice of it."""
        return self.gate is not None and self.values and not self.reaches(self.gate, factor)

    def reaches(self, bar, factor=1):
        return self.figure * factor >= bar if self.at_least else self.figure <= bar * factor
