"""P16: the job queue beside pgbench, which runs the very statements of the product for claiming and acknowledging."""

import re
import subprocess
import tempfile
import time

from measure import Row, median
from sql import line, sql, statement

BATCH = 128
KIND = "bench_nothing"


def jobs(fleet, size, say):
    """Jobs per second of one worker against pgbench, then how soon a job is picked up by an idle worker."""
    fleet.migrate()
    many = 10 if size.quick else 200
    ratios, ours, theirs = [], [], []
    slots = {"APP__JOBS__QUEUES": f"default={2 * BATCH}"}
    with fleet.program("jobs", "work", **slots):
        for number in range(size.rounds):
            ours.append(_drained(fleet, many * BATCH))
            sql(fleet, "insert into job_queues (name) values ('default')")
            theirs.append(_pgbench(fleet, many))
            sql(fleet, "truncate jobs; delete from job_queues")
            ratios.append(ours[-1] / theirs[-1])
            say(f"jobs {number + 1}: {ours[-1]:.0f} jobs/s, pgbench {theirs[-1]:.0f}")
    p50, p99 = _pickup(fleet, size)
    return [
        Row("P16", "jobs/s / pgbench of the same claim and ack", ratios, 0.4, 0.7, at_least=True),
        Row("P16", "pickup by an idle worker, p99", p99, 20, 5, unit="ms"),
        Row("jobs/s", "one worker", ours, unit="jobs/s"),
        Row("jobs/s", f"pgbench, batches of {BATCH}", theirs, unit="jobs/s"),
        Row("ms", "pickup by an idle worker, p50", p50, unit="ms"),
    ]


def _fill(fleet, count):
    sql(
        fleet,
        f"""truncate jobs;
        insert into jobs (id, queue, kind, payload, priority, run_at, max_attempts, request_id)
        select gen_random_uuid(), 'default', '{KIND}', '{{}}', 2, clock_timestamp(), 3, 'bench'
        from generate_series(1, {count});
        analyze jobs; checkpoint;""",
    )


def _per_second(fleet, count):
    """By the database's clock: from the first claim to the last acknowledgement."""
    done, seconds = sql(
        fleet,
        "select count(*), extract(epoch from max(finished_at) - min(started_at)) from jobs where state = 'succeeded'",
    ).split("|")
    if int(done) != count:
        raise RuntimeError(f"{done} of {count} jobs were done")
    return count / float(seconds)


def _drained(fleet, count):
    sql(fleet, "insert into job_queues (name) values ('default')")
    _fill(fleet, count)
    sql(fleet, "delete from job_queues; select pg_notify('mainstay_jobs', 'default')")
    until = time.monotonic() + 120
    while sql(fleet, "select exists(select from jobs where state in ('pending', 'running'))") == "t":
        if time.monotonic() > until:
            raise RuntimeError("the worker did not finish its jobs")
        time.sleep(0.1)
    return _per_second(fleet, count)


def _bound(query, *values):
    return re.sub(r"\$(\d)", lambda place: values[int(place[1]) - 1], query)


def _pgbench(fleet, transactions):
    _fill(fleet, transactions * BATCH)
    claim = _bound(
        statement(["as line(kind, priority)", "state = 'running'"]),
        "'00000000-0000-0000-0000-000000000001'::uuid", "'bench'", f"'{{{KIND},{KIND},{KIND}}}'", "'{1,2,3}'", str(BATCH),
    )
    ids = ":ids::uuid[]"
    nulls = f"array_fill('null'::jsonb, array[cardinality({ids})])"
    ack = _bound(statement(["as done(id, fence, result)", "state = 'succeeded'"]), ids, ":fences::bigint[]", nulls)
    # An array of its own for each column, so that the next statement can name them.
    claim = f'with claimed as ({claim}) select array_agg("id: JobId") as ids, array_agg(fence) as fences from claimed'
    with tempfile.NamedTemporaryFile("w", suffix=".sql") as script:
        script.write(f"{line(claim)} \\gset\n{line(ack)};\n")
        script.flush()
        command = ["pgbench", "-n", "-M", "prepared", "-c", "1", "-t", str(transactions), "-f", script.name, fleet.database]
        run = subprocess.run(command, capture_output=True, text=True)
    if run.returncode:
        raise RuntimeError(f"pgbench: {run.stderr}")
    return _per_second(fleet, transactions * BATCH)


def _pickup(fleet, size):
    """From when a job is due, which its transaction says before it commits, to its claim. Milliseconds."""
    p50, p99 = [], []
    with fleet.program("jobs", "work"):
        for _ in range(size.rounds):
            sql(fleet, "truncate jobs")
            fleet.run("jobs", "feed", "300", "7")
            times = sql(fleet, "select extract(epoch from started_at - run_at) * 1000 from jobs where started_at is not null")
            times = sorted(float(line) for line in times.splitlines())
            if len(times) != 300:
                raise RuntimeError(f"{len(times)} of 300 jobs were picked up")
            p50.append(median(times))
            p99.append(times[int(0.99 * len(times))])
    return p50, p99
