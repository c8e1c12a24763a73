"""P14 and P15: a CSV through `POST /imports` and a worker, beside `\\copy` into the same table with the same indexes."""

import http.client
import json
import os
import subprocess
import tempfile
import time
from contextlib import contextmanager

import csv_files
from measure import MIB, PeakRss, Row, median, rss
from programs import sign_in
from sql import sql

STAFF = "staff@example.com"


def imports(fleet, size, say):
    rows, rounds = (10_000, 2) if size.quick else (60_000, 3)
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


def empty(fleet):
    """No products, and nothing left to write of those that were there."""
    sql(fleet, f"truncate products, stock_movements, search_words, imports cascade; {csv_files.categories()}; checkpoint;")


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
        yield Importer(fleet, serve, worker)


class Importer:
    def __init__(self, fleet, serve, worker):
        self.fleet, self.serve, self.worker = fleet, serve, worker
        self.token, _ = sign_in(serve, STAFF)

    def run(self, path, rows, upserted=None):
        """Seconds until the import has succeeded, and the peak RSS of both programs meanwhile."""
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
            time.sleep(0.05)
        raise RuntimeError(f"the import at {at} takes too long")
