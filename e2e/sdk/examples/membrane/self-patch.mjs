import { MembraneClient } from '@membranehq/sdk'

const membrane = new MembraneClient({
  apiUri: process.env.API_URI,
  token: process.env.TOKEN,
})
const newCredentials = { apiKey: process.env.USER_API_KEY }

await membrane.self.patch({ credentials: newCredentials })
