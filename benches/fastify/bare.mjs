// Bare Fastify: the same hello and nothing else. The twin must stay within 3.0 of it, or it is no tuned peer.
import Fastify from 'fastify'

const app = Fastify()
const schema = { response: { 200: { type: 'object', properties: { pong: { type: 'boolean' } } } } }
app.get('/api/v1/ping', { schema }, (_request, reply) => {
  reply.send({ pong: true })
})
await app.listen({ host: '127.0.0.1', port: Number(process.env.PORT) })
