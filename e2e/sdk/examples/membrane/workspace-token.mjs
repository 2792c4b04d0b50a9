import { MembraneClient } from '@membranehq/sdk'

const membrane = new MembraneClient({
  apiUri: process.env.API_URI,
  workspaceKey: process.env.WORKSPACE_KEY,
  workspaceSecret: process.env.WORKSPACE_SECRET,
  tenantKey: process.env.TENANT_KEY,
})

await membrane.self.patch({ credentials: { apiKey: process.env.USER_API_KEY } })
console.log(JSON.stringify(await membrane.self.get()))
