package main

import (
	"fmt"
	"io"

	"github.com/hashicorp/vault/version"
)

// announce prints what `vault server -dev` prints, in its words. Programs read
// the lines `Api Address:`, `Unseal Key:` and `Root Token:`, and take the last
// of them for the sign that the server is ready.
func announce(w io.Writer, l *listener, storage string, k keys) {
	fmt.Fprintf(w, `==> Vault server configuration:

Api Address: %s
Storage: %s
Version: Vault v%s

==> Vault server started! Log data will stream to standard error.

WARNING! This Vault is for tests and trials. It starts unsealed, and its keys
lie in the open.

You may need to set the following environment variables:

    $ export VAULT_ADDR='%[1]s'
`, l.url, storage, version.GetVersion().VersionNumber())
	if l.caFile != "" {
		fmt.Fprintf(w, "    $ export VAULT_CACERT='%s'\n", l.caFile)
	}
	fmt.Fprintf(w, "\nUnseal Key: %s\nRoot Token: %s\n", k.UnsealKey, k.RootToken)
}
