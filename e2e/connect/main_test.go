// Package connect tests how people connect accounts in their browsers.
package connect

import (
	"os"
	"testing"

	"github.com/upstreamauth/caddy-upstream-auth/e2e/world"
)

func TestMain(m *testing.M) { os.Exit(world.Run(m)) }
