"""P4 to P6: a product by its id, read from Postgres each time because the cache is switched off (`cache.enabled`)."""

import json
import re
import tempfile
from contextlib import contextmanager

from measure import Row
from sql import line, statement

UNCACHED = {"APP__CACHE__ENABLED": "false"}


def query():
    """The statement of the product, with columns that are called as they are anywhere else."""
    text = statement(["from products p join categories c", "where p.id = $1"], ["for no key update"])
    return re.sub(r'"(\w+)[!?]?(: \w+)?"', r"\1", line(text))


def listed(program, limit):
    status, text = program.request("GET", f"/api/v1/products?limit={limit}")
    if status != 200:
        raise RuntimeError(f"the list answered {status} {text}")
    return json.loads(text)["data"]


def path(product_id):
    return f"/api/v1/products/{product_id}"


@contextmanager
def pgbench_script():
    """The same statement for pgbench, which is given the id as :id."""
    with tempfile.NamedTemporaryFile("w", suffix=".sql") as file:
        file.write(query().replace("$1", ":id") + ";\n")
        file.flush()
        yield file.name


def check_alike(ours, twin, where):
    """Both read it, and both tell the same."""
    mine, theirs = (json.loads(program.request("GET", where)[1]) for program in (ours, twin))
    if mine != theirs:
        raise RuntimeError(f"the twin tells something else of {where}:\n{mine}\n{theirs}")


def statements(fleet, say):
    """P6: what the canonical lines say of a product, and of lists of 1, 10 and 100."""
    with tempfile.NamedTemporaryFile("r") as log:
        with fleet.mainstay(log=log.name, **UNCACHED) as program:
            for limit in (1, 10, 100):
                rows = listed(program, limit)
            if len(rows) < 100:
                raise RuntimeError(f"{len(rows)} products are too few")
            for row in rows[:3]:
                program.request("GET", path(row["id"]))
        lines = [json.loads(text) for text in log if '"mainstay::access"' in text]
    counted = {}
    for told in lines:
        if told["status"] != 200:
            raise RuntimeError(f"{told['path']} was answered {told['status']}")
        counted.setdefault(told["route"], []).append(told["db_statements"])
    say(f"statements: {counted}")
    return [
        Row("P6", "statements of a product's detail", counted["/api/v1/products/{id}"], 2, 1),
        Row("P6", "statements of a list of 1, of 10, of 100 products", counted["/api/v1/products"], 3, 1),
    ]
