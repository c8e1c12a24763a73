"""The rows of the table. What is compared is measured in turns, round by round, and each round gives one ratio."""

import http.client
import json
import socket
import time
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import urlsplit

import load
import logins
import product
from measure import MIB, PeakRss, Row, median, percentile, rss
from programs import PING, register, sign_in

ARGON2_MIB = 19


def per_request(fleet, size, say):
    """P1 to P6, P10 and the peer's validity: CPU of the server per request; and RSS under all that load."""
    fleet.seed(100)
    counted = product.statements(fleet, say)
    # Another process makes the token: the twin, whose memory is compared, knows no passwords either.
    with fleet.mainstay() as program:
        register(program, "ada@example.com")
        token, user_id = sign_in(program, "ada@example.com")
    with fleet.mainstay(**product.UNCACHED) as ours, fleet.untold() as untold, fleet.bare() as bare:
        with product.pgbench_script() as script:
            row_id = product.listed(ours, 1)[0]["id"]
            row = product.path(row_id)
            cases = {
                "bare axum hello": lambda s: load.cpu_per_request(bare, PING, s),
                "hello": lambda s: load.cpu_per_request(ours, PING, s),
                "hello, untold": lambda s: load.cpu_per_request(untold, PING, s),
                "hello, token": lambda s: load.cpu_per_request(ours, PING, s, token),
                "row by key": lambda s: load.cpu_per_request(ours, row, s),
                "pgbench": lambda s: load.pgbench(fleet, script, row_id, s),
            }
            if fleet.node is None:
                samples, peaks = rounds(cases, size, say, [ours])
                return _ratios(samples) + counted, peaks
            with fleet.twin(product.query()) as twin, fleet.bare_fastify() as bare_fastify:
                product.check_alike(ours, twin, row)
                own = twin.request("GET", f"/token/{user_id}")[1]
                cases["bare Fastify hello"] = lambda s: load.cpu_per_request(bare_fastify, PING, s)
                cases["twin hello"] = lambda s: load.cpu_per_request(twin, PING, s)
                cases["twin hello, token"] = lambda s: load.cpu_per_request(twin, PING, s, own)
                cases["twin row by key"] = lambda s: load.cpu_per_request(twin, row, s)
                samples, peaks = rounds(cases, size, say, [ours, twin])
                return _ratios(samples) + counted, peaks


def rounds(cases, size, say, watched):
    """Microseconds by case and round, and the peak RSS of the watched programs."""
    peaks = [PeakRss(program.pid) for program in watched]
    for peak in peaks:
        peak.start()
    for measure in cases.values():
        measure(1)
    samples = {name: [] for name in cases}
    for number in range(size.rounds):
        for name, measure in cases.items():
            samples[name].append(measure(size.seconds))
        say(f"round {number + 1}: " + ", ".join(f"{name} {all[-1]:.1f}" for name, all in samples.items()))
    for peak in peaks:
        peak.__exit__()
    return samples, [peak.peak for peak in peaks]


def _ratios(samples):
    def each(ratio, *names):
        if any(name not in samples for name in names):
            return []
        return [ratio(*values) for values in zip(*(samples[name] for name in names))]

    def over(a, b):
        return a / b

    rows = [
        Row("P1", "full-stack hello / bare axum hello", each(over, "hello", "bare axum hello"), 2.5, 1.8),
        Row("P2", "full-stack hello / tuned Fastify, same duties", each(over, "hello", "twin hello"), 0.30, 0.15),
        Row("P3", "authenticated / anonymous hello", each(over, "hello, token", "hello"), 1.3, 1.1),
        Row(
            "P4", "(row by key - hello) / client of pgbench -M prepared",
            each(lambda row, hello, pg: (row - hello) / pg, "row by key", "hello", "pgbench"), 6.0, 3.0,
            note="the row is GET /api/v1/products/{id} with the cache switched off, so Postgres is asked each time; "
            "Fastify and pgbench run the statement of the product, from .sqlx",
        ),
        Row("P5", "row by key / Fastify + pg", each(over, "row by key", "twin row by key"), 0.30, 0.15),
        Row(
            "P10", "(hello - hello without telemetry) / bare axum hello",
            each(lambda a, b, bare: (a - b) / bare, "hello", "hello, untold", "bare axum hello"), 0.7, 0.25,
            note="the line goes to /dev/null; without: the same service with neither logs nor metrics installed",
        ),
        Row(
            "valid", "tuned Fastify / bare Fastify: beyond the gate P2, P5 and P20 are void",
            each(over, "twin hello", "bare Fastify hello"), 3.0,
        ),
    ]
    return rows + [Row("µs", name, values, unit="µs") for name, values in samples.items()]


def limits(fleet, size, say):
    """P9: two instances at full speed on one client's budget, from idle, until most is refused."""
    policy, seconds = 6000, 3
    commands, admitted = [], []
    for number in range(max(1, size.rounds // 2)):
        shared = {"APP__REDIS__PREFIX": fleet.prefix(), "APP__LIMITS__DEFAULT": f"{policy}/1m"}
        with fleet.mainstay(**shared) as one, fleet.mainstay(**shared) as other, ThreadPoolExecutor() as pool:
            # Until each has counted the other.
            time.sleep(3)
            before = _scripts(fleet)
            runs = [pool.submit(load.wrk, program.url(), seconds) for program in (one, other)]
            done = [run.result() for run in runs]
            passed = sum(all - refused for all, refused in done)
            commands.append((_scripts(fleet) - before) / passed)
            admitted.append(passed / policy)
            say(f"limits {number + 1}: {passed} of {policy} admitted, {commands[-1]:.3f} commands for each")
    return [
        Row("P9", "Redis commands per admitted request, two instances", commands, 1, 0.1),
        Row("P9", "admitted / limit, two instances from idle", admitted, 1.02, 1.02),
    ]


def _scripts(fleet):
    """How often the limiter has asked Redis: it is the only one that runs scripts."""
    stats = _redis(fleet, "INFO", "commandstats").splitlines()
    stats = [line for line in stats if line.startswith("cmdstat_eval")]
    return sum(int(line.split("calls=")[1].split(",")[0]) for line in stats)


def _redis(fleet, *words):
    url = urlsplit(fleet.redis)
    with socket.create_connection((url.hostname, url.port or 6379)) as connection:
        file = connection.makefile("rwb")
        for command in ([["AUTH", url.password]] if url.password else []) + [words]:
            file.write(b"*%d\r\n" % len(command) + b"".join(b"$%d\r\n%s\r\n" % (len(w), w.encode()) for w in command))
            file.flush()
            head = file.readline()
            body = file.read(int(head[1:]) + 2) if head.startswith(b"$") else head
        return body.decode()


def starts(fleet, size, say, peaks):
    """P20: from the start of the process to the first 200 of /health/ready; and what was resident under load."""
    if fleet.node is None:
        return []
    ratios, ours, theirs = [], [], []
    for _ in range(size.rounds + 2):
        with fleet.mainstay() as program:
            ours.append(program.ready_after)
        with fleet.twin() as program:
            theirs.append(program.ready_after)
        ratios.append(ours[-1] / theirs[-1])
    say(f"starts: {median(ours) * 1000:.0f} ms, Fastify {median(theirs) * 1000:.0f} ms")
    mib = [peak / MIB for peak in peaks]
    return [
        Row("P20", "start to the first 200 on ready / Fastify", ratios, 0.3, 0.12),
        Row("P20", "peak RSS under the load above / Fastify", [mib[0] / mib[1]], 0.3, 0.15,
            note="both have served hello and the row by key; the token comes from another process"),
        Row("ms", "start to ready", [value * 1000 for value in ours], unit="ms"),
        Row("ms", "Fastify: start to ready", [value * 1000 for value in theirs], unit="ms"),
        Row("MiB", "peak RSS", mib[:1], unit="MiB"),
        Row("MiB", "Fastify: peak RSS", mib[1:], unit="MiB"),
    ]


def floods(fleet, size, say, cores):
    """P19 and reliability A2: hello beside logins. The generators run on the same cores."""
    seconds = 3 if size.quick else 8
    slow, grown, offered, offered_grown, refusals = [], [], [], [], []
    for number in range(2 if size.quick else 3):
        with fleet.mainstay() as program:
            emails = [f"flood{n}@example.com" for n in range(8)]
            for email in emails:
                register(program, email)
            token = sign_in(program, emails[0])[0]
        # Another process, whose hashing threads have not worked yet. As many connections as the flood has, and those of
        # the pool, are part of what it is above.
        with fleet.mainstay() as program:
            permits = max(1, cores - 1)
            load.wrk(program.url("/api/v1/users/me"), 1, token, connections=64)
            idle = rss(program.pid)
            quiet = percentile(load.Prober(program, seconds).latencies(), 0.99)
            p99, peak, outcome = _beside(program, seconds, logins.in_flight, emails, 64, seconds + 1)
            slow.append(p99 / quiet)
            grown.append((peak - idle) / (permits * ARGON2_MIB * MIB))
            say(
                f"64 logins in flight: hello p99 {quiet:.2f} -> {p99:.2f} ms, RSS {idle / MIB:.1f} -> {peak / MIB:.1f}"
                f" MiB, {outcome.accepted} accepted, {len(outcome.refused_ms)} refused {outcome.others or ''}"
            )
            p99, peak, outcome = _beside(program, seconds, logins.offered, emails, 500, seconds + 1)
            offered.append(p99 / quiet)
            offered_grown.append((peak - idle) / ((cores * ARGON2_MIB + 64) * MIB))
            refusals.append(percentile(outcome.refused_ms or [0.0], 0.99))
            say(
                f"500 logins/s offered: hello p99 {p99:.2f} ms, RSS {peak / MIB:.1f} MiB, {outcome.accepted} accepted,"
                f" {len(outcome.refused_ms)} refused, p99 {refusals[-1]:.1f} ms {outcome.others or ''}"
            )
    return [
        Row("P19", "64 logins in flight: hello p99 / quiet p99", slow, 4, 1.5),
        Row("P19", "its RSS above idle / (permits x 19 MiB)", grown, 1.2, 1.05),
        Row("A2", "500 logins/s offered: hello p99 / quiet p99", offered, 4, 2),
        Row("A2", "its RSS above idle / (cores x 19 + 64 MiB)", offered_grown, 1, 1),
        Row("A2", "its refusals, p99", refusals, 150, 50, unit="ms"),
    ]


def _beside(program, seconds, flood, *how):
    """The hello's p99 while the flood runs, the peak RSS, and what became of the flood."""
    with PeakRss(program.pid) as peak, ThreadPoolExecutor(1) as pool:
        under_way = pool.submit(flood, program.port, *how)
        time.sleep(0.5)
        p99 = percentile(load.Prober(program, seconds).latencies(), 0.99)
        outcome = under_way.result()
    return p99, peak.peak, outcome


def alike(fleet, size, say):
    """Reliability A4: a wrong password for a known, an unknown and once more the known address, in turns."""
    samples = 60 if size.quick else 1000
    times = {"known": [], "unknown": [], "known again": []}
    with fleet.mainstay() as program:
        register(program, "known@example.com")
        connection = http.client.HTTPConnection("127.0.0.1", program.port)
        for number in range(samples):
            # In either order, so that nobody always comes after the same one.
            for who in list(times)[:: 1 if number % 2 else -1]:
                email = who.split()[0] + "@example.com"
                body = json.dumps({"email": email, "password": "wrong-velvet-lantern"})
                began = time.perf_counter()
                connection.request("POST", "/api/v1/auth/login", body, {"content-type": "application/json"})
                answer = connection.getresponse()
                answer.read()
                times[who].append((time.perf_counter() - began) * 1000)
                if answer.status != 401:
                    raise RuntimeError(f"a wrong password was answered {answer.status}")
        connection.close()
    middle = {who: median(all) for who, all in times.items()}
    # Of pairs, for whatever else the machine does meets both halves of one.
    apart = {who: abs(median([a - b for a, b in zip(times["known"], times[who])])) for who in times}
    say("logins: " + ", ".join(f"{who} {ms:.2f} ms" for who, ms in middle.items()))
    beyond_control = max(0.0, apart["unknown"] - apart["known again"])
    return [
        Row("A4", f"known - unknown address beyond the control, {samples} pairs", [beyond_control], 5, 5, "ms"),
        Row("ms", "A4: known - unknown", [apart["unknown"]], unit="ms"),
        Row("ms", "A4: its control, known - known", [apart["known again"]], unit="ms"),
    ]
