"""The programs under measurement: started on free loopback ports, stopped by their pid."""

import http.client
import json
import os
import socket
import subprocess
import time

REPO = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
PING = "/api/v1/ping"
PASSWORD = "orbit-velvet-lantern-42"


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Program:
    def __init__(self, command, env, ready=PING, cwd=REPO, log=None):
        self.port = free_port()
        self.started = time.monotonic()
        log = log or os.environ.get("BENCH_LOG")
        sink = open(log, "ab") if log else subprocess.DEVNULL
        env = {"PATH": os.environ["PATH"], **env, "PORT": str(self.port)}
        self.process = subprocess.Popen(command, cwd=cwd, env=env, stdin=subprocess.DEVNULL, stdout=sink, stderr=sink)
        self.pid, self.command = self.process.pid, command
        self.ready_after = self._wait_until(ready)

    def url(self, path=PING):
        return f"http://127.0.0.1:{self.port}{path}"

    def _wait_until(self, path):
        """Seconds from the start to the first 200."""
        while time.monotonic() < self.started + 60:
            if self.process.poll() is not None:
                raise RuntimeError(f"{self.command[-1]} ended at start with {self.process.returncode}")
            try:
                if self.request("GET", path)[0] == 200:
                    return time.monotonic() - self.started
            except OSError:
                pass
            time.sleep(0.002)
        self.stop()
        raise RuntimeError(f"{self.command[-1]} was not ready within a minute")

    def request(self, method, path, body=None, token=None):
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        headers = {"content-type": "application/json"} if body is not None else {}
        if token:
            headers["authorization"] = f"Bearer {token}"
        connection.request(method, path, json.dumps(body) if body is not None else None, headers)
        answer = connection.getresponse()
        text = answer.read().decode()
        connection.close()
        return answer.status, text

    def stop(self):
        self.process.terminate()
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop()


class Fleet:
    """Makes programs on the services whose addresses are in the environment."""

    def __init__(self, target, node):
        self.target, self.node = target, node
        self.database, self.redis = os.environ["DATABASE_URL"], os.environ["REDIS_URL"]
        self.prefixes = 0

    def env(self, **more):
        """What an operator of production sets, with limits that are counted and told but not met."""
        base = {
            "APP_ENVIRONMENT": "production",
            "HOST": "127.0.0.1",
            "DATABASE_URL": self.database,
            "REDIS_URL": self.redis,
            "APP__REDIS__PREFIX": self.prefix(),
            "APP__SERVER__PUBLIC_URL": "https://api.shop.example",
            "APP__SERVER__DRAIN_DELAY": "0s",
            # What a request costs is measured at full load, not who is turned away there.
            "APP__SERVER__TOLERATED_WAIT": "10s",
            "APP__CORS__ALLOWED_ORIGINS": "https://shop.example",
            "APP__AUTH__MASTER_KEY": "YmVuY2gtYmVuY2gtYmVuY2gtYmVuY2gtYmVuY2gtMDE=",
            "APP__AUTH__ACCESS_TTL": "15m",
            "APP__AUTH__REQUIRE_VERIFIED_EMAIL": "false",
            "APP__MAIL__LOCAL_DELIVERY": "memory",
            "APP__AUTH__FAILURES_ALLOWED": "1000000",
            "APP__AUTH__NETWORK_FAILURES_ALLOWED": "1000000",
            "APP__MAIL__LOCAL_DELIVERY": "memory",
            "APP__LIMITS__DEFAULT": "1000000000/1m",
            "APP__LIMITS__CREDENTIALS": "1000000000/1m",
        }
        return {**base, **more}

    def prefix(self):
        self.prefixes += 1
        return f"bench-{os.getpid()}-{self.prefixes}:"

    def mainstay(self, log=None, **env):
        return Program([f"{self.target}/mainstay", "serve"], self.env(**env), "/health/ready", log=log)

    def worker(self, **env):
        return Program([f"{self.target}/mainstay", "worker"], self.env(**env), "/health/ready")

    def staff(self, email):
        """An account that may import."""
        words = ["admin", "create-user", "--email", email, "--name", "Staff", "--role", "staff", "--if-missing"]
        self.run("mainstay", *words, "--password-stdin", input=PASSWORD + "\n")

    def untold(self):
        return self.program("untold")

    def program(self, name, *words, **env):
        """One of benches/programs that is the product with something added."""
        return Program([f"{self.target}/{name}", *words], self.env(**env), "/health/ready")

    def run(self, name, *words, input=None):
        """The same, to its end."""
        env = {"PATH": os.environ["PATH"], **self.env()}
        run = subprocess.run([f"{self.target}/{name}", *words], env=env, input=input, capture_output=True, text=True)
        if run.returncode:
            raise RuntimeError(f"{name} {words}: {run.stderr}")

    def bare(self):
        return Program([f"{self.target}/bare"], {})

    def migrate(self):
        self.run("mainstay", "migrate", "up")

    def seed(self, products):
        """Sample products, which production has no place for."""
        env = {"PATH": os.environ["PATH"], **self.env(APP_ENVIRONMENT="development")}
        command = [f"{self.target}/mainstay", "admin", "seed", "--products", str(products)]
        subprocess.run(command, env=env, check=True, capture_output=True)

    def twin(self, product_sql="select $1::text"):
        env = {"DATABASE_URL": self.database, "LIMIT": "1000000000", "NODE_ENV": "production", "PRODUCT_SQL": product_sql}
        return self._node("server.mjs", env, "/health/ready")

    def bare_fastify(self):
        return self._node("bare.mjs", {"NODE_ENV": "production"}, PING)

    def _node(self, file, env, ready):
        return Program([self.node, file], env, ready, cwd=f"{REPO}/benches/fastify")


def register(program, email):
    """An account; 409 says that it is there from before."""
    body = {"email": email, "password": PASSWORD, "name": "Ada Lovelace"}
    status, text = program.request("POST", "/api/v1/auth/register", body)
    if status not in (201, 409):
        raise RuntimeError(f"register answered {status} {text}")


def sign_in(program, email):
    """The access token and the id of its user."""
    status, text = program.request("POST", "/api/v1/auth/login", {"email": email, "password": PASSWORD})
    if status != 200:
        raise RuntimeError(f"login answered {status} {text}")
    answer = json.loads(text)
    return answer["access_token"], answer["user"]["id"]
