package credential_test

import (
	"strings"
	"testing"

	"github.com/upstreamauth/caddy-upstream-auth/credential"
)

// BenchmarkCheckInput is how much processor a MiB of a caller's JSON costs.
func BenchmarkCheckInput(b *testing.B) {
	for name, element := range map[string]string{"long numbers": "1" + strings.Repeat("0", 110), "texts": `"` + strings.Repeat("a", 110) + `"`} {
		b.Run(name, func(b *testing.B) {
			n := (1<<20 - 16) / (len(element) + 1)
			text := []byte(`{"a":[` + strings.Repeat(element+",", n-1) + element + `]}`)
			b.SetBytes(int64(len(text)))
			for b.Loop() {
				if err := credential.CheckInput(text); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
