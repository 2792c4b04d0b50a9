// Package vaultstore is a [credential.Store] on Vault's KV secrets engine,
// version 2, or version 1 for credentials that are only read. It needs nothing
// that OpenBao does not have.
//
// A [Store] keeps itself logged in: it renews its token, logs in again when the
// token ends or is refused, and goes on trying while Vault is sealed, restarting
// or out of reach. Requests meanwhile fail with [credential.ErrUnavailable] and
// never with [credential.ErrNotFound]: what a missing mount or a policy hides is
// not an unknown tenant.
//
// The policy that it needs is that of the documents alone, such as
//
//	path "secret/data/upstream-auth/*" { capabilities = ["create", "read", "update"] }
//
// which has in it what is the sidecar's own, at upstream-auth/_journal and
// upstream-auth/_links, and for [Store.Delete] and [Store.List] besides
//
//	path "secret/data/upstream-auth/*" { capabilities = ["delete"] }
//	path "secret/metadata/upstream-auth/*" { capabilities = ["list"] }
//
// [Store.Diagnose] and [Store.DiagnoseLinks] say what is missing.
//
// Renewing and revoking its own token, and asking which engine is at the mount,
// are in Vault's default policy or open to every token. Where they are not, the
// store logs in again instead of renewing, and takes the mount as configured.
//
// Its errors and log lines contain no token, no secret id, no content of a
// document and no tenant's name.
package vaultstore
