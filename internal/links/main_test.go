package links

import (
	"testing"

	"go.uber.org/goleak"

	"github.com/upstreamauth/caddy-upstream-auth/credential"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var acme = credential.Key{Provider: "crm", Tenant: "acme"}
