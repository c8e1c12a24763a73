"""Who calls in .ci/contract: an administrator, and for what ends its caller a fresh customer."""

import itertools
import json
import os
import re
import subprocess
import time
import urllib.error
import urllib.request
import uuid

import schemathesis

BASE = os.environ["CONTRACT_URL"]
BINARY = os.environ["CONTRACT_BINARY"]
PASSWORD = "orbit-velvet-lantern-42"
# After these the administrator may be none any more, or be signed out.
MAY_END_IT = {"update_user", "delete_user", "end_session", "end_user_sessions"}
# After these the token that was sent is of no use to the next case.
ENDS_ITS_CALLER = {"logout_session", "logout_all_sessions", "change_password", "delete_own_user"}

KEY = re.compile(r'[!#-~][!-~]{0,254}|"([!#-\[\]-~]|\\["\\]){1,255}"')
SKU = re.compile(r"[!-~]{1,64}")

numbers = itertools.count()


def call(method, path, token=None, body=None):
    headers = {"content-type": "application/json"}
    if token:
        headers["authorization"] = f"Bearer {token}"
    data = json.dumps(body).encode() if body else None
    request = urllib.request.Request(BASE + path, data=data, headers=headers, method=method)
    try:
        with urllib.request.urlopen(request) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as refusal:
        return refusal.code, None


def create(role, email=None):
    email = email or f"{role}-{os.getpid()}-{next(numbers)}@example.com"
    arguments = ["--email", email, "--name", "Contract", "--role", role, "--password-stdin", "--if-missing"]
    command = [BINARY, "admin", "create-user", *arguments]
    subprocess.run(command, input=PASSWORD.encode(), check=True, capture_output=True)
    return email


def sign_in(email, token="access_token"):
    body = {"email": email, "password": PASSWORD, "token_delivery": "body"}
    status, answer = call("POST", "/api/v1/auth/login", body=body)
    return answer[token] if status == 200 else None


def register():
    email = f"fresh-{os.getpid()}-{next(numbers)}@example.com"
    call("POST", "/api/v1/auth/register", body={"email": email, "password": PASSWORD, "name": "Fresh"})
    return email


class Administrator:
    """Kept until a case has demoted, disabled or deleted it; then there is another one."""

    def __init__(self):
        self.email = self.token = None
        self.checked_at = 0.0

    def access(self, operation):
        # a token lasts for ten minutes
        if time.monotonic() > self.checked_at + 60:
            self.check()
        if operation in MAY_END_IT:
            self.checked_at = 0.0
        return self.token

    def check(self):
        if not self.holds():
            self.token = self.email and sign_in(self.email)
        if not self.holds():
            self.email = create("admin")
            self.token = sign_in(self.email)
        self.checked_at = time.monotonic()

    def holds(self):
        status, page = call("GET", "/api/v1/users?limit=1", self.token) if self.token else (401, None)
        return status == 200


administrator = Administrator()
# The account of the description's examples, so that their login is one.
create("customer", "ada@example.com")


@schemathesis.auth(refresh_interval=None)
class Caller:
    def get(self, case, context):
        name = context.operation.definition.raw.get("operationId")
        if name == "refresh_session":
            # the name of the cookie in development
            return "Cookie", f"refresh={sign_in(register(), 'refresh_token')}"
        return "Authorization", f"Bearer {sign_in(register()) if name in ENDS_ITS_CALLER else administrator.access(name)}"

    def set(self, case, header, context):
        name, value = header
        case.headers = case.headers or {}
        case.headers[name] = value
        # A made-up tag is always stale: every other one is any, so that what lies behind is reached.
        if "If-Match" in case.headers and next(numbers) % 2:
            case.headers["If-Match"] = "*"
        # The key of the example, and short ones, would be those of an earlier case.
        if KEY.fullmatch(case.headers.get("Idempotency-Key", "")):
            case.headers["Idempotency-Key"] = str(uuid.uuid4())
        # And SKUs would be taken, of which a few cases are enough.
        sku = case.body.get("sku") if isinstance(case.body, dict) else None
        if isinstance(sku, str) and SKU.fullmatch(sku) and next(numbers) % 4:
            case.body = {**case.body, "sku": f"SKU-{next(numbers)}"}
