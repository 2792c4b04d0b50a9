// Package bodytest has what tests of recorded bodies are made of: clients that send them, and
// the watch over the memory they are recorded in. It does not import package body, so that
// that one's own tests can use it.
package bodytest

import (
	"bytes"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"net/http"
	"os"
	"sync/atomic"
	"testing"

	"go.uber.org/goleak"
)

// ChunksOut counts the chunks that are taken and not given back.
var ChunksOut atomic.Int64

// Hook is told of the memory of a chunk that is taken (+1) and given back (-1).
type Hook = func(buf []byte, taken int)

// Main runs tests with every chunk poisoned that is given back, so that a test sees who
// reads one too long. It fails if any test leaves a goroutine or a chunk behind.
func Main(m *testing.M, hook *Hook) {
	*hook = func(buf []byte, taken int) {
		ChunksOut.Add(int64(taken))
		if taken < 0 {
			for i := range buf {
				buf[i] = 0xDB
			}
		}
	}
	goleak.VerifyTestMain(m, goleak.Cleanup(func(code int) {
		if n := ChunksOut.Load(); code == 0 && n != 0 {
			fmt.Fprintf(os.Stderr, "%d chunks were never given back\n", n)
			code = 1
		}
		os.Exit(code)
	}))
}

// WithoutPoison lets a benchmark see what production sees.
func WithoutPoison(b *testing.B, hook *Hook) {
	before := *hook
	*hook = nil
	b.Cleanup(func() { *hook = before })
}

// RandomBytes returns n bytes, the same for each n.
func RandomBytes(n int) []byte {
	b := make([]byte, n)
	random := rand.NewChaCha8([32]byte{byte(n), byte(n >> 8), byte(n >> 16)})
	_, _ = random.Read(b)
	return b
}

// MustRead ends the test unless r gives want and no more.
func MustRead(t testing.TB, r io.Reader, want []byte) {
	t.Helper()
	got, err := io.ReadAll(r)
	if err != nil {
		t.Fatalf("after %d bytes: %v", len(got), err)
	}
	if !bytes.Equal(got, want) {
		t.Fatalf("read %d bytes that differ from the %d sent", len(got), len(want))
	}
}

// Gate is a client whose reads are answered by the test.
type Gate struct {
	Asked   chan struct{}
	Answers chan any // []byte or error
}

// NewGate makes one that nobody has read from.
func NewGate() *Gate { return &Gate{make(chan struct{}, 100), make(chan any)} }

// Read waits for the test's answer.
func (g *Gate) Read(p []byte) (int, error) {
	g.Asked <- struct{}{}
	switch a := (<-g.Answers).(type) {
	case []byte:
		return copy(p, a), nil
	case error:
		return 0, a
	}
	panic("no answer")
}

// ReaderFunc is a client that is one function.
type ReaderFunc func([]byte) (int, error)

// Read calls f.
func (f ReaderFunc) Read(p []byte) (int, error) { return f(p) }

// TrailerBody fills its trailer in the Read that ends it, as Caddy's does.
type TrailerBody struct {
	io.Reader
	Trailer, Values http.Header
}

// Read fills the trailer at the end.
func (b *TrailerBody) Read(p []byte) (int, error) {
	n, err := b.Reader.Read(p)
	if err == io.EOF { //nolint:errorlint // the end of a Reader is never wrapped
		clear(b.Trailer)
		maps.Copy(b.Trailer, b.Values)
	}
	return n, err
}
