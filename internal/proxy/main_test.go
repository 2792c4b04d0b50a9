package proxy

import (
	"testing"

	"github.com/upstreamauth/caddy-upstream-auth/internal/body"
	"github.com/upstreamauth/caddy-upstream-auth/internal/body/bodytest"
)

func TestMain(m *testing.M) { bodytest.Main(m, &body.TestHook) }
