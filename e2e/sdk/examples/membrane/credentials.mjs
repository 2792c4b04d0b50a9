import { MembraneClient } from '@membranehq/sdk'

const membrane = new MembraneClient({
  apiUri: process.env.API_URI,
  token: process.env.TOKEN,
  credentials: {
    apiKey: process.env.USER_API_KEY,
  }
})
