package bearer

import "testing"

func BenchmarkVerify(b *testing.B) {
	set := keySetOf(jwk(b, rsaKey().Public(), `"kid":"r"`), jwk(b, p256().Public(), `"kid":"e"`))
	for name, c := range map[string]struct {
		verifier *Verifier
		token    string
	}{
		"HS256":      {withSecret(b), sign(`{"alg":"HS256"}`, lasting, secret)},
		"ES256":      {withKeys(b, set, "ES256"), sign(`{"alg":"ES256","kid":"e"}`, lasting, p256())},
		"RS256":      {withKeys(b, set, "RS256"), sign(`{"alg":"RS256","kid":"r"}`, lasting, rsaKey())},
		"unsigned":   {withSecret(b), sign(`{"alg":"none"}`, lasting, nil)},
		"forged kid": {withKeys(b, set, "ES256"), sign(`{"alg":"ES256","kid":"forged"}`, lasting, p256())},
	} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				_, _ = c.verifier.Verify(b.Context(), "Bearer "+c.token)
			}
		})
	}
}
