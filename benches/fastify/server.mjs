// The tuned twin: on Fastify 5 what Mainstay does for a request. Where there was a choice, the cheaper one was taken:
// response schemas, one hook instead of plugins for fixed headers, metric children looked up once, a log that is
// written in blocks, tokens verified once and remembered, a limiter in memory that asks no Redis at all.
import { createHash, generateKeyPairSync, randomUUID } from 'node:crypto'
import cors from '@fastify/cors'
import Fastify from 'fastify'
import { createSigner, createVerifier } from 'fast-jwt'
import pg from 'pg'
import pino from 'pino'
import prom from 'prom-client'

const log = pino(
  { base: null, timestamp: pino.stdTimeFunctions.isoTime },
  pino.destination({ dest: 2, sync: false, minLength: 4096 }),
)
const db = new pg.Pool({ connectionString: process.env.DATABASE_URL, max: 20 })
const app = Fastify({ logger: false, requestIdHeader: false })

// --- metrics, by method, route template and status
const requests = new prom.Counter({
  name: 'http_requests_total', help: 'Answers given', labelNames: ['method', 'route', 'status'],
})
const durations = new prom.Histogram({
  name: 'http_request_duration_seconds', help: 'Time to the answer', labelNames: ['method', 'route'],
  buckets: [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10],
})
const inFlight = new prom.Gauge({ name: 'http_requests_in_flight', help: 'Requests being worked on' })
const series = new Map()

function seriesOf(method, route, status) {
  const key = `${method} ${route} ${status}`
  let found = series.get(key)
  if (!found) {
    found = { total: requests.labels(method, route, String(status)), time: durations.labels(method, route) }
    series.set(key, found)
  }
  return found
}

// --- authentication: Ed25519, each token verified once and remembered by its digest until it expires
const keys = generateKeyPairSync('ed25519', {
  publicKeyEncoding: { type: 'spki', format: 'pem' }, privateKeyEncoding: { type: 'pkcs8', format: 'pem' },
})
const verify = createVerifier({
  key: keys.publicKey, algorithms: ['EdDSA'], allowedIss: 'twin', allowedAud: 'twin-api', cache: false,
})
const verified = new Map()

function identity(header) {
  if (!header.startsWith('Bearer ')) return null
  const digest = createHash('sha256').update(header).digest('base64')
  const known = verified.get(digest)
  if (known && known.exp * 1000 > Date.now()) return known
  try {
    const claims = verify(header.slice(7))
    if (verified.size >= 50_000) verified.delete(verified.keys().next().value)
    verified.set(digest, claims)
    return claims
  } catch {
    return null
  }
}

// --- rate limit: two buckets of a minute, weighted by their overlap with the window
const limit = Number(process.env.LIMIT ?? 6000)
const windowMs = 60_000
const policy = `"default";q=${limit};w=60`
const buckets = new Map()

function admit(key, now) {
  const start = now - (now % windowMs)
  let bucket = buckets.get(key)
  if (!bucket) buckets.set(key, (bucket = { start, count: 0, before: 0 }))
  if (bucket.start !== start) {
    bucket.before = bucket.start === start - windowMs ? bucket.count : 0
    bucket.count = 0
    bucket.start = start
  }
  const rest = windowMs - (now - start)
  const used = bucket.count + (bucket.before * rest) / windowMs
  const admitted = used < limit
  if (admitted) bucket.count += 1
  return { admitted, left: Math.max(0, Math.floor(limit - used - 1)), reset: Math.ceil(rest / 1000) }
}

// --- the stack
const plainId = /^[A-Za-z0-9._-]{1,128}$/
const fixed = {
  'x-content-type-options': 'nosniff',
  'strict-transport-security': 'max-age=63072000; includeSubDomains',
  'referrer-policy': 'no-referrer',
  'cross-origin-resource-policy': 'same-origin',
  'content-security-policy': "default-src 'none'; base-uri 'none'; frame-ancestors 'none'",
}

app.decorateRequest('actor', null)
app.decorateRequest('startedAt', 0)
app.addHook('onRequest', (request, reply, done) => {
  request.startedAt = performance.now()
  inFlight.inc()
  const sent = request.headers['x-request-id']
  request.id = sent && plainId.test(sent) ? sent : randomUUID()
  reply.headers(fixed)
  reply.header('x-request-id', request.id)
  const header = request.headers.authorization
  if (header !== undefined && (request.actor = identity(header)) === null) {
    reply.code(401).send({ code: 'UNAUTHENTICATED' })
    return
  }
  const standing = admit(request.actor ? `user:${request.actor.sub}` : `address:${request.ip}`, Date.now())
  reply.header('ratelimit-policy', policy)
  reply.header('ratelimit', `"default";r=${standing.left};t=${standing.reset}`)
  if (!standing.admitted) {
    reply.code(429).header('retry-after', standing.reset).send({ code: 'RATE_LIMITED' })
    return
  }
  done()
})
app.addHook('onResponse', (request, reply, done) => {
  const ms = performance.now() - request.startedAt
  const route = request.routeOptions.url ?? 'unmatched'
  const { total, time } = seriesOf(request.method, route, reply.statusCode)
  total.inc()
  time.observe(ms / 1000)
  inFlight.dec()
  if (!route.startsWith('/health')) {
    log.info({
      request_id: request.id, method: request.method, path: request.url.split('?', 1)[0], route,
      status: reply.statusCode, duration_ms: ms, address: request.ip, user_id: request.actor?.sub,
      user_agent: request.headers['user-agent'],
    }, 'request')
  }
  done()
})
await app.register(cors, { origin: ['https://shop.example'], credentials: true, maxAge: 600 })

// --- routes
const text = { type: 'string' }
const answer = (properties) => ({ schema: { response: { 200: { type: 'object', properties } } } })

app.get('/api/v1/ping', answer({ pong: { type: 'boolean' }, user_id: text }), (request, reply) => {
  reply.send({ pong: true, user_id: request.actor?.sub })
})

const integer = { type: 'integer' }
const product = answer({
  id: text, sku: text, name: text, description: text, category: text,
  price: { type: 'object', properties: { amount: integer, currency: text } }, stock: integer,
  attributes: { type: 'object', additionalProperties: true }, archived: { type: 'boolean' },
  created_at: text, updated_at: text,
})
// No amount comes near to where a double gets coarse.
pg.types.setTypeParser(pg.types.builtins.INT8, Number)
const find = { name: 'find_product', text: process.env.PRODUCT_SQL }
app.get('/api/v1/products/:id', product, async (request, reply) => {
  const { rows } = await db.query({ ...find, values: [request.params.id] })
  const row = rows[0]
  if (row === undefined || row.archived) return reply.code(404).send({ code: 'NOT_FOUND' })
  reply.header('etag', `"${row.version}.${row.stock_version}"`)
  reply.header('cache-control', 'public, no-cache').header('x-cache', 'bypass')
  return {
    ...row, price: { amount: row.price, currency: row.currency },
    created_at: row.created_at.toISOString(), updated_at: row.updated_at.toISOString(),
  }
})

app.get('/health/ready', async (_request, reply) => {
  await db.query('select 1')
  return reply.send({ status: 'ok' })
})
app.get('/metrics', async (_request, reply) => reply.type(prom.register.contentType).send(await prom.register.metrics()))

// Only for the measurement: a token for the user of this id.
app.get('/token/:id', (request, reply) => {
  const sign = createSigner({
    key: keys.privateKey, algorithm: 'EdDSA', iss: 'twin', aud: 'twin-api', sub: request.params.id,
    expiresIn: 3_600_000, header: { typ: 'at+jwt' },
  })
  reply.send(sign({ sid: randomUUID(), ver: 1, role: 'customer', jti: randomUUID() }))
})

await app.listen({ host: '127.0.0.1', port: Number(process.env.PORT) })
