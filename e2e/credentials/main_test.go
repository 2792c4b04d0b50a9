// Package credentials tests how credentials get into the store and out of it: the API
// and its callers' tokens, the SDKs, the command line, and the application that is
// asked for them; and what Vault's policies have to allow.
package credentials

import (
	"os"
	"testing"

	"github.com/upstreamauth/caddy-upstream-auth/e2e/world"
)

func TestMain(m *testing.M) { os.Exit(world.Run(m)) }
