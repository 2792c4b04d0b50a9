package proxy

import (
	"bytes"
	"io"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"testing"

	"github.com/upstreamauth/caddy-upstream-auth/internal/body"
)

var quiet = slog.New(slog.DiscardHandler)

func randomBytes(n int) []byte {
	b := make([]byte, n)
	random := rand.NewChaCha8([32]byte{byte(n), byte(n >> 8), byte(n >> 16)})
	_, _ = random.Read(b)
	return b
}

func mustRead(t testing.TB, r io.Reader, want []byte) {
	t.Helper()
	got, err := io.ReadAll(r)
	if err != nil {
		t.Fatalf("after %d bytes: %v", len(got), err)
	}
	if !bytes.Equal(got, want) {
		t.Fatalf("read %d bytes that differ from the %d sent", len(got), len(want))
	}
}

// gate is a client whose reads are answered by the test.
type gate struct {
	asked   chan struct{}
	answers chan any // []byte or error
}

func newGate() *gate { return &gate{make(chan struct{}, 100), make(chan any)} }

func (g *gate) Read(p []byte) (int, error) {
	g.asked <- struct{}{}
	switch a := (<-g.answers).(type) {
	case []byte:
		return copy(p, a), nil
	case error:
		return 0, a
	}
	panic("no answer")
}

type readerFunc func([]byte) (int, error)

func (f readerFunc) Read(p []byte) (int, error) { return f(p) }

// trailerBody fills its trailer in the Read that ends it, as Caddy's does.
type trailerBody struct {
	io.Reader
	trailer, values http.Header
}

func (b *trailerBody) Read(p []byte) (int, error) {
	n, err := b.Reader.Read(p)
	if err == io.EOF {
		clear(b.trailer)
		for k, v := range b.values {
			b.trailer[k] = v
		}
	}
	return n, err
}

// withoutPoison lets a benchmark see what production sees.
func withoutPoison(b *testing.B) {
	hook := body.TestHook
	body.TestHook = nil
	b.Cleanup(func() { body.TestHook = hook })
}
