// What a page has that Node may lack, for scripts that are written for pages:
// node --import ./browserlike.mjs examples/integration-app/credentials.mjs

import { createServer } from 'node:http'
import { File } from 'node:buffer'
import { webcrypto } from 'node:crypto'

// Node 18 keeps these to itself.
globalThis.crypto ??= webcrypto
globalThis.File ??= File // undici looks for it

// The page's own server, to which relative addresses belong. It serves what the
// application would: the credentials of the user who is logged in.
const server = createServer((request, response) => {
  response.statusCode = request.url === '/user-credentials' ? 200 : 404
  response.setHeader('Content-Type', 'application/json')
  response.setHeader('Connection', 'close') // or it would keep the script from ending
  response.end(JSON.stringify({ apiKey: process.env.USER_API_KEY }))
})
await new Promise(resolve => server.listen(0, '127.0.0.1', resolve))
server.unref()
const origin = `http://127.0.0.1:${server.address().port}`

const fetchAbsolute = globalThis.fetch
globalThis.fetch = (resource, options) =>
  fetchAbsolute(typeof resource === 'string' ? new URL(resource, origin) : resource, options)
