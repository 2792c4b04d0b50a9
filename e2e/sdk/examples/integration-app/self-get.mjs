import { IntegrationAppClient } from '@integration-app/sdk'

const integrationApp = new IntegrationAppClient({
  apiUri: process.env.API_URI,
  token: process.env.TOKEN,
})

console.log(JSON.stringify(await integrationApp.self.get()))
