package body

import (
	"bytes"
	"io"
	"testing"

	"github.com/upstreamauth/caddy-upstream-auth/internal/body/bodytest"
)

func BenchmarkBody1MiB(b *testing.B) {
	bodytest.WithoutPoison(b, &TestHook)
	body := bodytest.RandomBytes(1 << 20)
	buf := make([]byte, 32<<10)
	drain := func(b *testing.B, r io.Reader) {
		for {
			if _, err := r.Read(buf); err == io.EOF {
				return
			} else if err != nil {
				b.Fatal(err)
			}
		}
	}
	b.Run("plain", func(b *testing.B) {
		b.SetBytes(int64(len(body)))
		b.ReportAllocs()
		for b.Loop() {
			drain(b, bytes.NewReader(body))
		}
	})
	for name, limits := range map[string]Limits{
		"file":        {MaxBody: 10 << 20, Memory: 64 << 10, Dir: b.TempDir()},
		"memory":      {MaxBody: 10 << 20},
		"passthrough": {MaxBody: 1},
	} {
		b.Run(name, func(b *testing.B) {
			b.SetBytes(int64(len(body)))
			b.ReportAllocs()
			for b.Loop() {
				r := record(bytes.NewReader(body), int64(len(body)), limits)
				drain(b, r.Restart(nil, nil))
				r.Close()
			}
		})
	}
}

func BenchmarkBody1KiB(b *testing.B) {
	bodytest.WithoutPoison(b, &TestHook)
	body, buf := bodytest.RandomBytes(1<<10), make([]byte, 32<<10)
	b.ReportAllocs()
	for b.Loop() {
		r := record(bytes.NewReader(body), int64(len(body)), Limits{MaxBody: 10 << 20})
		c := r.Restart(nil, nil)
		for {
			if _, err := c.Read(buf); err == io.EOF {
				break
			}
		}
		r.Close()
	}
}
