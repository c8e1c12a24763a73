"""Load: wrk for the cost of a request, pgbench for the cost of a query, and paced requests for its latency."""

import re
import resource
import subprocess
import tempfile
import os

import measure
from programs import REPO

CONNECTIONS = 16


def wrk(url, seconds, token=None, connections=CONNECTIONS, paths=None):
    """How many requests were answered, and how many of those not with 2xx. `paths` is a file of them, asked for in turns."""
    command = ["wrk", "-t1", f"-c{connections}", f"-d{seconds}s", url]
    if token:
        command += ["-H", f"Authorization: Bearer {token}"]
    if paths:
        command += ["-s", f"{REPO}/benches/paths.lua", "--", paths]
    out = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    done = int(re.search(r"(\d+) requests in", out).group(1))
    others = re.search(r"Non-2xx or 3xx responses: (\d+)", out)
    if "Socket errors" in out or done == 0:
        raise RuntimeError(f"wrk at {url}:\n{out}")
    return done, int(others.group(1)) if others else 0


def cpu_per_request(program, path, seconds, token=None, paths=None):
    """Microseconds of the server's CPU, for the path or, in turns, those in the file `paths`."""
    cpu = measure.Cpu(program.pid)
    done, others = wrk(program.url(path), seconds, token, paths=paths)
    used = cpu.seconds()
    if others:
        raise RuntimeError(f"{others} of {done} answers of {program.url(path)} were refusals")
    return used / done * 1e6


def pgbench(fleet, script, product_id, seconds):
    """Microseconds of the client's CPU for the same row by key, prepared."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    command = [
        "pgbench", "-n", "-M", "prepared", "-c", str(CONNECTIONS), "-j", "1", "-T", str(seconds),
        "-D", f"id={product_id}", "-f", script, fleet.database,
    ]
    run = subprocess.run(command, capture_output=True, text=True)
    if run.returncode:
        raise RuntimeError(f"pgbench: {run.stderr}")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    used = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    done = int(re.search(r"number of transactions actually processed: (\d+)", run.stdout).group(1))
    return used / done * 1e6


class Prober:
    """Requests at an even pace over one connection, in a process of its own."""

    def __init__(self, program, seconds, rate=200):
        script = os.path.join(os.path.dirname(__file__), "prober.py")
        command = ["python3", script, str(program.port), str(rate), str(seconds)]
        self.out = tempfile.TemporaryFile("w+")
        self.process = subprocess.Popen(command, stdout=self.out)

    def latencies(self):
        """Milliseconds from when each request was due."""
        if self.process.wait():
            raise RuntimeError("the prober failed")
        self.out.seek(0)
        return [float(line) for line in self.out]
