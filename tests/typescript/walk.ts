// Signs in and walks a list with a client whose types were generated from the API description.
// BASE_URL, EMAIL and PASSWORD (of an administrator) come from the environment.
import assert from "node:assert/strict";
import createClient from "openapi-fetch";
import type { components, paths } from "./api.js";

type Product = components["schemas"]["Product"];
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

type Page<T> = { data: T[]; next_cursor: string | null };

/** All pages of two, by the cursor. */
async function walk<T>(fetchPage: (query: { limit: number; cursor?: string }) => Promise<Page<T>>): Promise<T[]> {
  const all: T[] = [];
  let cursor: string | null | undefined;
  do {
    const page = await fetchPage({ limit: 2, ...(cursor ? { cursor } : {}) });
    assert.ok(page.data.length <= 2);
    all.push(...page.data);
    cursor = page.next_cursor;
  } while (cursor);
  return all;
}

async function pageOfUsers(query: { limit: number; cursor?: string }): Promise<Page<User>> {
  const { data, error } = await api.GET("/api/v1/users", { params: { query }, headers: { authorization } });
  assert.ok(data, `the list is refused: ${error?.code}`);
  return data;
}

/** Cheapest first, to whom it may concern: nobody is signed in. */
async function pageOfProducts(query: { limit: number; cursor?: string }): Promise<Page<Product>> {
  const { data, error } = await api.GET("/api/v1/products", {
    params: { query: { ...query, category: "walk/of-client", sort: "price" } },
  });
  assert.ok(data, `the products are refused: ${error?.code}`);
  return data;
}

async function addProduct(n: number): Promise<Product> {
  const { data, error } = await api.POST("/api/v1/products", {
    body: {
      sku: `WALK-${n}`,
      name: `Walking stick ${n}`,
      category: "walk/of-client",
      price: { amount: 1000 - n, currency: "EUR" },
    },
    headers: { authorization },
  });
  assert.ok(data, `the product is refused: ${error?.code}`);
  return data;
}

const { data: pong } = await api.GET("/api/v1/ping");
assert.equal(pong?.pong, true);

const refused = await api.GET("/api/v1/users");
assert.equal(refused.response.status, 401);
assert.equal(refused.error?.code, "UNAUTHENTICATED");

const authorization = `Bearer ${await signIn()}`;
const users = await walk(pageOfUsers);
assert.ok(users.length > 2, "there is more than a page");
assert.equal(new Set(users.map((user) => user.id)).size, users.length, "a user came twice");

const first = users[0];
assert.ok(first);
const one = await api.GET("/api/v1/users/{id}", {
  params: { path: { id: first.id } },
  headers: { authorization },
});
assert.deepEqual(one.data, first);

const added: Product[] = [];
for (const n of [1, 2, 3, 4, 5]) added.push(await addProduct(n));
const products = await walk(pageOfProducts);
assert.deepEqual(products, added.reverse(), "not all of the category, cheapest first");
console.log(`signed in and walked ${users.length} users and ${products.length} products`);
