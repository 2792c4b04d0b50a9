import { MembraneClient } from '@membranehq/sdk'

const membrane = new MembraneClient({
  apiUri: process.env.API_URI,
  token: process.env.TOKEN,
})

console.log(JSON.stringify(await membrane.self.get()))
