// Signs in and walks a list with a client whose types were generated from the API description.
// BASE_URL, EMAIL and PASSWORD (of an administrator) come from the environment.
import assert from "node:assert/strict";
import createClient from "openapi-fetch";
import type { components, paths } from "./api.js";

type User = components["schemas"]["User"];

function required(name: string): string {
  const value = process.env[name];
  assert.ok(value, `${name} is not set`);
  return value;
}

const api = createClient<paths>({ baseUrl: required("BASE_URL") });

async function signIn(): Promise<string> {
  const { data, error } = await api.POST("/api/v1/auth/login", {
    body: { email: required("EMAIL"), password: required("PASSWORD"), token_delivery: "body" },
  });
  assert.ok(data, `login is refused: ${error?.code}`);
  assert.equal(data.token_type, "Bearer");
  return data.access_token;
}

/** All pages of two, by the cursor. */
async function walk(authorization: string): Promise<User[]> {
  const all: User[] = [];
  let cursor: string | null | undefined;
  do {
    const query = { limit: 2, ...(cursor ? { cursor } : {}) };
    const { data, error } = await api.GET("/api/v1/users", {
      params: { query },
      headers: { authorization },
    });
    assert.ok(data, `the list is refused: ${error?.code}`);
    assert.ok(data.data.length <= 2);
    all.push(...data.data);
    cursor = data.next_cursor;
  } while (cursor);
  return all;
}

const { data: pong } = await api.GET("/api/v1/ping");
assert.equal(pong?.pong, true);

const refused = await api.GET("/api/v1/users");
assert.equal(refused.response.status, 401);
assert.equal(refused.error?.code, "UNAUTHENTICATED");

const authorization = `Bearer ${await signIn()}`;
const users = await walk(authorization);
assert.ok(users.length > 2, "there is more than a page");
assert.equal(new Set(users.map((user) => user.id)).size, users.length, "a user came twice");

const first = users[0];
assert.ok(first);
const one = await api.GET("/api/v1/users/{id}", {
  params: { path: { id: first.id } },
  headers: { authorization },
});
assert.deepEqual(one.data, first);
console.log(`signed in and walked ${users.length} users`);
