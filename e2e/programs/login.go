package programs

import (
	"testing"

	"github.com/upstreamauth/caddy-upstream-auth/e2e/process"
)

// StartLoginServer starts a server that users log in at with a password, and the API behind
// it; see login.py.
func StartLoginServer(t *testing.T, password string) (address string) {
	t.Helper()
	return start(t, func(address string) process.Command {
		return process.Command{Path: "python3", Args: []string{Source("login.py"), portOf(address), password}}
	})
}
