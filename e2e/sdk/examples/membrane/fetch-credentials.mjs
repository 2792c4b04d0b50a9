import { MembraneClient } from '@membranehq/sdk'

const membrane = new MembraneClient({
  apiUri: process.env.API_URI,
  token: process.env.TOKEN,
  fetchCredentials: () => fetch('/user-credentials').then(res => res.json())
})
