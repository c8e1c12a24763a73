"""P7 and P8: what a product costs that is in the cache, in the process or in Redis."""

import http.client
import json
import resource
import subprocess
import tempfile
from urllib.parse import urlsplit

import load
from measure import Row
from programs import PING
from rows import rounds

# Enough that readers of one product rarely meet, so that nobody gets the answer of another's load.
PRODUCTS = 64


def cached(fleet, size, say):
    fleet.seed(PRODUCTS)
    prefix = fleet.prefix()
    # Nothing expires in between.
    lasting = {"APP__CACHE__TTL": "20m"}
    redis_only = {**lasting, "APP__CACHE__MEMORY_BYTES": "0", "APP__REDIS__PREFIX": prefix}
    with fleet.mainstay(**lasting) as ours, fleet.mainstay(**redis_only) as shared:
        listed = json.loads(ours.request("GET", f"/api/v1/products?limit={PRODUCTS}")[1])["data"]
        paths = [f"/api/v1/products/{product['id']}" for product in listed]
        key = f"{prefix}cache:products:{listed[0]['id']}"
        for path in paths:
            _until_hit(ours, path)
            _until_hit(shared, path)
        with tempfile.NamedTemporaryFile("w", suffix=".paths") as file:
            file.write("".join(path + "\n" for path in paths))
            file.flush()
            cases = {
                "hello": lambda s: load.cpu_per_request(ours, PING, s),
                "hit in the process": lambda s: load.cpu_per_request(ours, PING, s, paths=file.name),
                "hit in Redis": lambda s: load.cpu_per_request(shared, PING, s, paths=file.name),
                "redis-benchmark": lambda s: redis_benchmark(fleet, key, s),
            }
            samples, _ = rounds(cases, size, say, [])
        for path in paths:
            if _found(ours, path) != "hit" or _found(shared, path) != "hit":
                raise RuntimeError(f"{path} was not in the cache all the time")
    hello, memory, redis, client = (samples[name] for name in cases)
    p7 = [(hit - base) / cost for hit, base, cost in zip(redis, hello, client)]
    p8 = [hit / base for hit, base in zip(memory, hello)]
    rows = [
        Row("P7", "(product out of Redis - hello) / client of redis-benchmark -P 1", p7, 1.5, 0.8,
            note=f"{PRODUCTS} products in turns, the tier in the process switched off"),
        Row("P8", "product out of the process / hello", p8, 1.2, 1.05),
    ]
    return rows + [Row("µs", name, samples[name], unit="µs") for name in list(cases)[1:]]


def _found(program, path):
    connection = http.client.HTTPConnection("127.0.0.1", program.port, timeout=30)
    connection.request("GET", path)
    answer = connection.getresponse()
    answer.read()
    connection.close()
    return answer.getheader("x-cache")


def _until_hit(program, path):
    for _ in range(200):
        if _found(program, path) == "hit":
            return
    raise RuntimeError(f"{path} never came into the cache")


def redis_benchmark(fleet, key, seconds):
    """Microseconds of the client's CPU for a GET of the same bytes."""
    url = urlsplit(fleet.redis)
    count = 40_000 * seconds
    command = ["redis-benchmark", "-h", url.hostname, "-p", str(url.port or 6379), "-q", "-P", "1"]
    command += ["-c", str(load.CONNECTIONS), "-n", str(count)]
    command += ["-a", url.password] if url.password else []
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(command + ["GET", key], check=True, capture_output=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    used = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return used / count * 1e6
