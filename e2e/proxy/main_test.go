// Package proxy tests what becomes of a request: it reaches the upstream whole and
// once, in its tenant's name, also when it has to be sent again, and the app sees the
// upstream's own answer. No secret shows up anywhere.
package proxy

import (
	"os"
	"testing"

	"github.com/upstreamauth/caddy-upstream-auth/e2e/world"
)

func TestMain(m *testing.M) { os.Exit(world.Run(m)) }
