import { IntegrationAppClient } from '@integration-app/sdk'

const integrationApp = new IntegrationAppClient({
  apiUri: process.env.API_URI,
  token: process.env.TOKEN,
  credentials: {
    apiKey: process.env.USER_API_KEY,
  }
})
