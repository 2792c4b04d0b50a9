// Package credential is the domain of upstream_auth: tenants, the credentials
// that providers need for them, the stores that keep those, and what a
// credential must look like. It knows neither HTTP nor Caddy nor Vault.
package credential
