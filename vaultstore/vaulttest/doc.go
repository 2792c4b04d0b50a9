// Package vaulttest runs a real Vault as a process, for tests: it can be sealed,
// killed and restarted.
//
// The program is the one that $VAULT_BIN names, a vault or bao binary; else the
// one that $DEVVAULT_BIN names; else cmd/devvault of this repository, which is
// built once into the user's cache directory. That takes ten minutes the first
// time: more than "go test" grants by default.
package vaulttest
