"""P14 and P15: a CSV through `POST /imports` and a worker, beside `\\copy` into the same table with the same indexes."""

import http.client
import json
import os
import subprocess
import tempfile
import threading
import time
from contextlib import contextmanager

import csv_files
import load
from measure import MIB, PeakRss, Row, median, percentile, rss
from programs import sign_in
from sql import sql

STAFF = "staff@example.com"


def imports(fleet, size, say):
    rows, rounds = (10_000, 2) if size.quick else (30_000, 3)
    fleet.migrate()
    fleet.staff(STAFF)
    with tempfile.TemporaryDirectory() as folder:
        small, large = csv_files.write(folder, rows), csv_files.write(folder, 10 * rows)
        ours, theirs, peaks = [], [], {"serve": [], "worker": []}
        for number in range(rounds):
            empty(fleet)
            theirs.append(rows / copy(fleet, small[1]))
            empty(fleet)
            with programs(fleet) as watched:
                seconds, small_peaks = watched.run(small[0], rows)
            ours.append(rows / seconds)
            say(f"imports {number + 1}: {ours[-1]:.0f} rows/s, \\copy {theirs[-1]:.0f}")
            for name in peaks:
                peaks[name].append(small_peaks[name])
        # Once is enough, and long enough: its figure is a peak.
        empty(fleet)
        with programs(fleet) as watched:
            _, large_peaks = watched.run(large[0], 10 * rows)
        empty(fleet)
    mib = {name: median(values) / MIB for name, values in peaks.items()}
    say("imports: peak RSS " + ", ".join(f"of {name} {mib[name]:.1f} -> {large_peaks[name] / MIB:.1f} MiB" for name in peaks))
    return [
        Row("P14", "import with validation / \\copy into the same table and indexes", [a / b for a, b in zip(ours, theirs)],
            0.5, 0.8, at_least=True,
            note=f"{rows} rows of 100 bytes into an empty table, from the first byte of the upload to the end of the import"),
        *[Row("P15", f"peak RSS of {name}, a CSV of {10 * rows} rows / of {rows}",
              [large_peaks[name] / peak for peak in values], 1.10, 1.02) for name, values in peaks.items()],
        Row("rows/s", "import", ours, unit="rows/s"),
        Row("rows/s", "\\copy", theirs, unit="rows/s"),
    ]


def full_import(fleet, size, say):
    """A file of a million rows and 100 MB: speed, memory, what the others notice, and the same file again."""
    rows = 100_000 if size.quick else 1_000_000
    fleet.migrate()
    fleet.staff(STAFF)
    with tempfile.TemporaryDirectory() as folder:
        ours, theirs = csv_files.write(folder, rows)
        empty(fleet)
        copied = copy(fleet, theirs)
        say(f"\\copy: {copied:.1f} s")
        empty(fleet)
        with programs(fleet) as watched:
            # Not cold any more: as both are between two imports.
            quiet = load.Prober(watched.serve, 20).latencies()
            idle = {"serve": rss(watched.serve.pid), "worker": rss(watched.worker.pid)}
            with Beside(watched.serve) as beside:
                seconds, peaks = watched.run(ours, rows)
            before = contents(fleet)
            say(f"import: {seconds:.1f} s; idle {idle}, peaks {peaks}")
            again, _ = watched.run(ours, rows)
            if contents(fleet) != before:
                raise RuntimeError(f"the same file again made {contents(fleet)} of {before}")
        empty(fleet)
        apart = beside_on_cores_of_their_own(fleet, folder, rows // 4, say)
    p99, before = percentile(beside.latencies, 0.99), percentile(quiet, 0.99)
    say(f"hello p99 {before:.2f} -> {p99:.2f} ms; the same file again: {again:.1f} s")
    return [
        Row("P14", f"import of {rows} rows / \\copy", [copied / seconds], 0.5, 0.8, at_least=True),
        Row("J58", "hello p99 beside it / quiet", [p99 / before], 1.5, 1.5,
            note=f"{os.cpu_count()} cores for API, worker, Postgres and generator together"),
        *apart,
        *[Row("J58", f"RSS of {name} above idle", [(peaks[name] - idle[name]) / MIB], 64, 64, "MiB") for name in idle],
        Row("s", "import", [seconds], unit="s"),
        Row("s", "\\copy", [copied], unit="s"),
        Row("s", "the same file again, which changes nothing", [again], unit="s"),
    ]


def beside_on_cores_of_their_own(fleet, folder, rows, say):
    """As where the database is another machine: the API is left what the import costs the API, and no more."""
    postgres = os.environ.get("MAINSTAY_PG_PID")
    if not postgres or os.cpu_count() < 2:
        return []
    ours, _ = csv_files.write(folder, rows)
    ratios = []
    try:
        for _ in range(3):
            empty(fleet)
            with programs(fleet) as watched:
                for pid in (postgres, os.environ["MAINSTAY_REDIS_PID"], watched.worker.pid):
                    pin(pid, "0")
                pin(watched.serve.pid, "1")
                os.sched_setaffinity(0, {1})
                quiet = load.Prober(watched.serve, 10).latencies()
                with Beside(watched.serve) as beside:
                    watched.run(ours, rows)
                quiet += load.Prober(watched.serve, 10).latencies()
            ratios.append(percentile(beside.latencies, 0.99) / percentile(quiet, 0.99))
            say(f"on cores of their own: {ratios[-1]:.2f}")
    finally:
        for pid in (postgres, os.environ["MAINSTAY_REDIS_PID"], os.getpid()):
            pin(pid, f"0-{os.cpu_count() - 1}")
        empty(fleet)
    return [Row("J58", "the same, Postgres and the worker on one core, the API and the generator on another", ratios, 1.5, 1.5,
                note=f"{rows} rows; quiet is before and after it")]


def pin(pid, cores):
    """A process, its threads, and those that it has started."""
    children = subprocess.run(["pgrep", "-P", str(pid)], capture_output=True, text=True).stdout.split()
    for one in [str(pid), *children]:
        subprocess.run(["taskset", "-acp", cores, one], capture_output=True)


class Beside(threading.Thread):
    """Hello at an even pace for as long as the block runs."""

    def __init__(self, program):
        super().__init__()
        self.program, self.latencies, self.over = program, [], threading.Event()

    def run(self):
        while not self.over.is_set():
            self.latencies += load.Prober(self.program, 5).latencies()

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *_):
        self.over.set()
        self.join()


def contents(fleet):
    """Of the catalogue and its books."""
    told = "concat_ws('|', id, sku, name, description, category_id, price, stock, version, stock_version, updated_at)"
    products = f"select count(*) || ' ' || sum(hashtextextended({told} collate \"C\", 0)) from products"
    return sql(fleet, f"{products}; select count(*), sum(delta) from stock_movements; select count(*) from search_words;")


def empty(fleet):
    """No products, and nothing left to write of those that were there."""
    sql(fleet, f"truncate categories, products, stock_movements, search_words, imports cascade; {csv_files.categories()}; checkpoint;")


def copy(fleet, path):
    """Seconds of psql."""
    command = f"\\copy products ({', '.join(csv_files.COPIED)}) from '{path}' with (format csv)"
    began = time.monotonic()
    run = subprocess.run(["psql", "-Xq", "-v", "ON_ERROR_STOP=1", fleet.database, "-c", command], capture_output=True, text=True)
    if run.returncode:
        raise RuntimeError(f"\\copy: {run.stderr}")
    return time.monotonic() - began


@contextmanager
def programs(fleet):
    shared = {"APP__REDIS__PREFIX": fleet.prefix()}
    with fleet.mainstay(**shared) as serve, fleet.worker(**shared) as worker:
        yield Importer(serve, worker)


class Importer:
    def __init__(self, serve, worker):
        self.serve, self.worker = serve, worker
        self.sign_in()

    def sign_in(self):
        self.token, _ = sign_in(self.serve, STAFF)

    def run(self, path, rows):
        """Seconds until the import has succeeded, and the peak RSS of both programs meanwhile."""
        # A token lives for a quarter of an hour.
        self.sign_in()
        with PeakRss(self.serve.pid) as serve, PeakRss(self.worker.pid) as worker:
            began = time.monotonic()
            at = self.upload(path)
            ended = self.wait(at)
            seconds = time.monotonic() - began
        found = [ended[name] for name in ("state", "rows_read", "rows_rejected")]
        if found != ["succeeded", rows, 0]:
            raise RuntimeError(f"the import of {path} ended so: {ended}")
        return seconds, {"serve": serve.peak, "worker": worker.peak}

    def upload(self, path):
        connection = http.client.HTTPConnection("127.0.0.1", self.serve.port, timeout=60)
        headers = {"content-type": "text/csv", "content-length": str(os.path.getsize(path))}
        headers["authorization"] = f"Bearer {self.token}"
        with open(path, "rb") as file:
            connection.request("POST", "/api/v1/imports", file, headers)
            answer = connection.getresponse()
            text = answer.read()
        connection.close()
        if answer.status != 202:
            raise RuntimeError(f"the upload was answered {answer.status} {text}")
        return answer.getheader("location")

    def wait(self, at, seconds=1200):
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            found = json.loads(self.serve.request("GET", at, token=self.token)[1])
            if found["state"] not in ("queued", "running"):
                return found
            time.sleep(0.1)
        raise RuntimeError(f"the import at {at} takes too long")
