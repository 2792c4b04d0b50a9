// npm's oidc-provider as an authorization server for tests: it rotates refresh tokens,
// detects their reuse, and sends its answer to a token request late. Configured by the
// environment: PORT, CLIENT_ID, CLIENT_SECRET, DELAY_MS; CLIENTS, further ones as they are
// registered (RFC 7591); CLIENT_AUTH, the ways in which they may authenticate; TLS_PORT,
// where it answers as well, with the certificate server.pem and to clients whose own is of
// the authority ca.pem, both in the directory TLS_FILES. Beside the provider's own endpoints
// it has:
//
//   POST /test/seed?account=A      tokens as a login would have given them
//   GET  /test/subject?access=T    {"account": …} of an access token; null if it is not good
//   GET  /test/requests            the token requests, in the order of their arrival
import { readFileSync } from 'node:fs'
import { createServer } from 'node:http'
import { createServer as createTLSServer } from 'node:https'
import { createHash } from 'node:crypto'
import Provider from 'oidc-provider'

const { PORT, CLIENT_ID, CLIENT_SECRET, DELAY_MS, CLIENTS, CLIENT_AUTH, TLS_PORT, TLS_FILES } = process.env
const issuer = `http://127.0.0.1:${PORT}`
const scope = 'openid offline_access'
const clientAuthMethods = JSON.parse(CLIENT_AUTH)

const provider = new Provider(issuer, {
  clients: [{
    client_id: CLIENT_ID,
    client_secret: CLIENT_SECRET,
    redirect_uris: ['https://app.example.com/callback'],
    grant_types: ['authorization_code', 'refresh_token'],
    token_endpoint_auth_method: clientAuthMethods[0],
  }, ...JSON.parse(CLIENTS)],
  clientAuthMethods,
  findAccount: (_, id) => ({ accountId: id, claims: () => ({ sub: id }) }),
  rotateRefreshToken: true,
  features: {
    devInteractions: { enabled: false },
    clientCredentials: { enabled: true },
    mTLS: {
      enabled: true,
      tlsClientAuth: true,
      getCertificate: (ctx) => ctx.socket.getPeerX509Certificate?.(),
      certificateAuthorized: (ctx) => ctx.socket.authorized,
      certificateSubjectMatches: (ctx, _, expected) => ctx.socket.getPeerX509Certificate().subjectAltName === `URI:${expected}`,
    },
  },
  ttl: { AccessToken: 3600, ClientCredentials: 3600, RefreshToken: 86400, Grant: 86400, IdToken: 3600 },
})

const requests = []

provider.use(async (ctx, next) => {
  if (ctx.path !== '/token') return next()
  const request = { status: 0 }
  requests.push(request)
  await next() // the token is spent now, whoever hears of it
  request.status = ctx.status
  request.error = ctx.body?.error
  const params = ctx.oidc?.params ?? {}
  const { Account, Client } = ctx.oidc?.entities ?? {}
  request.token = createHash('sha256').update(params.refresh_token ?? '').digest('hex')
  request.account = Account?.accountId ?? ''
  request.client = Client?.clientId ?? ''
  request.by = ['client_secret', 'client_assertion'].find((name) => params[name]) ?? (ctx.headers.authorization ? 'basic' : 'none')
  await new Promise((resolve) => { setTimeout(resolve, Number(DELAY_MS)) })
})

async function seed(accountId) {
  const client = await provider.Client.find(CLIENT_ID)
  const grant = new provider.Grant({ accountId, clientId: CLIENT_ID })
  grant.addOIDCScope(scope)
  const grantId = await grant.save()
  const common = { accountId, client, grantId, gty: 'authorization_code', scope }
  return {
    access_token: await new provider.AccessToken(common).save(),
    refresh_token: await new provider.RefreshToken(common).save(),
  }
}

async function subject(value) {
  const own = await provider.ClientCredentials.find(value)
  if (own) return { account: own.clientId }
  const token = await provider.AccessToken.find(value)
  return token && await provider.Grant.find(token.grantId) ? { account: token.accountId } : null
}

const callback = provider.callback()
async function answer(req, res) {
  const { pathname, searchParams } = new URL(req.url, issuer)
  if (!pathname.startsWith('/test/')) return callback(req, res)
  const answers = {
    '/test/seed': () => seed(searchParams.get('account')),
    '/test/subject': () => subject(searchParams.get('access')),
    '/test/requests': () => requests,
  }
  try {
    const body = JSON.stringify(await answers[pathname]())
    res.setHeader('Content-Type', 'application/json')
    res.end(body)
  } catch (error) {
    res.writeHead(500).end(String(error))
  }
}

if (TLS_PORT) {
  const [key, cert, ca] = ['server.key', 'server.pem', 'ca.pem'].map((name) => readFileSync(`${TLS_FILES}/${name}`))
  createTLSServer({ key, cert, ca, requestCert: true, rejectUnauthorized: false }, answer).listen(Number(TLS_PORT), '127.0.0.1')
}
createServer(answer).listen(Number(PORT), '127.0.0.1', () => console.log('listening'))
