// npm's oidc-provider as an authorization server for tests: it rotates refresh tokens,
// detects their reuse, and sends its answer to a token request late. Configured by the
// environment: PORT, CLIENT_ID, CLIENT_SECRET, DELAY_MS. Beside the provider's own
// endpoints it has:
//
//   POST /test/seed?account=A      tokens as a login would have given them
//   GET  /test/subject?access=T    {"account": …} of an access token; null if it is not good
//   GET  /test/requests            the token requests, in the order of their arrival
import { createServer } from 'node:http'
import { createHash } from 'node:crypto'
import Provider from 'oidc-provider'

const { PORT, CLIENT_ID, CLIENT_SECRET, DELAY_MS } = process.env
const issuer = `http://127.0.0.1:${PORT}`
const scope = 'openid offline_access'

const provider = new Provider(issuer, {
  clients: [{
    client_id: CLIENT_ID,
    client_secret: CLIENT_SECRET,
    redirect_uris: ['https://app.example.com/callback'],
    grant_types: ['authorization_code', 'refresh_token'],
    token_endpoint_auth_method: 'client_secret_basic',
  }],
  findAccount: (_, id) => ({ accountId: id, claims: () => ({ sub: id }) }),
  rotateRefreshToken: true,
  features: { devInteractions: { enabled: false } },
  ttl: { AccessToken: 3600, RefreshToken: 86400, Grant: 86400, IdToken: 3600 },
})

const requests = []

provider.use(async (ctx, next) => {
  if (ctx.path !== '/token') return next()
  const request = { status: 0 }
  requests.push(request)
  await next() // the token is spent now, whoever hears of it
  request.status = ctx.status
  request.error = ctx.body?.error
  const token = ctx.oidc?.params?.refresh_token ?? ''
  request.token = createHash('sha256').update(token).digest('hex')
  request.account = ctx.oidc?.entities?.Account?.accountId ?? ''
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
  const token = await provider.AccessToken.find(value)
  return token && await provider.Grant.find(token.grantId) ? { account: token.accountId } : null
}

const callback = provider.callback()
createServer(async (req, res) => {
  const { pathname, searchParams } = new URL(req.url, issuer)
  if (!pathname.startsWith('/test/')) return callback(req, res)
  const answers = {
    '/test/seed': () => seed(searchParams.get('account')),
    '/test/subject': () => subject(searchParams.get('access')),
    '/test/requests': () => requests,
  }
  try {
    const answer = JSON.stringify(await answers[pathname]())
    res.setHeader('Content-Type', 'application/json')
    res.end(answer)
  } catch (error) {
    res.writeHead(500).end(String(error))
  }
}).listen(Number(PORT), '127.0.0.1', () => console.log('listening'))
