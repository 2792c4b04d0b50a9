import { IntegrationAppClient } from '@integration-app/sdk'

const integrationApp = new IntegrationAppClient({
  apiUri: process.env.API_URI,
  token: process.env.TOKEN,
  fetchCredentials: () => fetch('/user-credentials').then(res => res.json())
})
