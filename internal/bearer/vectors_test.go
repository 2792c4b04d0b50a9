package bearer

import (
	"encoding/base64"
	"testing"
	"testing/synctest"
)

// The examples of RFC 7515 appendix A, which expire in 2011; a bubble's clock
// starts in 2000.
const (
	examplePayload = "eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ"
	exampleHMAC    = "eyJ0eXAiOiJKV1QiLA0KICJhbGciOiJIUzI1NiJ9." + examplePayload + ".dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk"
	exampleSecret  = "AyM1SysPpbyDfgZld3umj1qzKObwVMkoqQ-EstJQLr_T-1qS0gZH75aKtMN3Yj0iPS4hcgUuTwjAzZr1Z9CAow"
	exampleECDSA   = "eyJhbGciOiJFUzI1NiJ9." + examplePayload + ".DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSApmWQxfKTUJqPP3-Kg6NU1Q"
	exampleKey     = `{"kty":"EC","crv":"P-256","x":"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU","y":"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"}`
)

func TestExamplesOfRFC7515(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		raw, err := base64.RawURLEncoding.DecodeString(exampleSecret)
		if err != nil {
			t.Fatal(err)
		}
		v := newVerifier(t, Config{Token: Token{SecretFile: writeFile(t, string(raw))}, TenantClaim: "iss", Issuer: "joe"})
		wantCaller(t, v, exampleHMAC, Caller{Tenant: "joe"})

		v = newVerifier(t, Config{Token: Token{KeySetFile: writeFile(t, keySetOf(exampleKey)), Algorithms: []string{"ES256"}}, TenantClaim: "iss"})
		wantCaller(t, v, exampleECDSA, Caller{Tenant: "joe"})
	})
}
