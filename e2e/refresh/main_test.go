// Package refresh tests that each refresh token is presented once and no new one is
// lost, whatever fails: sidecars, Vault, the authorization server, or all of them.
package refresh

import (
	"os"
	"testing"

	"github.com/upstreamauth/caddy-upstream-auth/e2e/world"
)

func TestMain(m *testing.M) { os.Exit(world.Run(m)) }
