"""Postgres, and the statements of the product itself."""

import glob
import json
import subprocess

from programs import REPO


def sql(fleet, text):
    run = subprocess.run(["psql", "-XAtq", "-v", "ON_ERROR_STOP=1", fleet.database], input=text, capture_output=True, text=True)
    if run.returncode:
        raise RuntimeError(f"psql: {run.stderr}")
    return run.stdout.strip()


def statement(words, but=()):
    """The query of the product that has these words, as its macro has described it."""
    for path in glob.glob(f"{REPO}/.sqlx/*.json"):
        with open(path) as file:
            query = json.load(file)["query"]
        if all(word in query for word in words) and not any(word in query for word in but):
            return query
    raise RuntimeError(f"no query of the product has {words}")


def line(query):
    """On one line, as pgbench wants it."""
    return " ".join(query.split())
