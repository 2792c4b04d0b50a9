package body

import (
	"testing"

	"github.com/upstreamauth/caddy-upstream-auth/internal/body/bodytest"
)

func TestMain(m *testing.M) { bodytest.Main(m, &TestHook) }
