import { IntegrationAppClient } from '@integration-app/sdk'

const integrationApp = new IntegrationAppClient({
  apiUri: process.env.API_URI,
  token: process.env.TOKEN,
})
const newCredentials = { apiKey: process.env.USER_API_KEY }

await integrationApp.self.patch({ credentials: newCredentials })
