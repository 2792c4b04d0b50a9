package body

import (
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"net/http"
	"path/filepath"
	"sync"
	"testing"

	"github.com/upstreamauth/caddy-upstream-auth/internal/body/bodytest"
)

// chancyReader reads in random pieces, empty ones among them, and ends in either
// of the two ways that io.Reader allows.
type chancyReader struct {
	body   []byte
	random *rand.Rand
	busy   sync.Mutex
	end    error
}

func (r *chancyReader) Read(p []byte) (int, error) {
	if !r.busy.TryLock() {
		panic("two reads of the client at a time")
	}
	defer r.busy.Unlock()
	if r.random.IntN(20) == 0 {
		return 0, nil
	}
	n := min(len(p), len(r.body), 1+r.random.IntN(40_000))
	if n > 0 && r.random.IntN(3) == 0 {
		n = 1 + r.random.IntN(n)
	}
	copy(p, r.body[:n])
	for i := n; i < len(p); i++ {
		p[i] = 0xEE // An io.Reader may use all of p.
	}
	r.body = r.body[n:]
	if len(r.body) == 0 && (n == 0 || r.random.IntN(2) == 0) {
		return n, r.end
	}
	return n, nil
}

// TestEveryCursorReadsAPrefix lets many cursors loose on one recording, opened,
// closed and superseded at random, with a stop somewhere: whatever one reads is
// the body from the start, an end is the end, and errors are of the right kind.
func TestEveryCursorReadsAPrefix(t *testing.T) {
	for seed := range uint64(300) {
		random := rand.New(rand.NewPCG(seed, 1))
		body := bodytest.RandomBytes(random.IntN(250_000))
		limits := Limits{MaxBody: random.Int64N(250_000), Memory: random.Int64N(100_000)}
		if random.IntN(2) == 0 {
			limits.Dir = t.TempDir()
		}
		length := int64(-1)
		if random.IntN(2) == 0 {
			length = int64(len(body))
		}
		end := io.EOF
		if random.IntN(3) == 0 {
			end = errors.New("client gone")
		}
		r := record(&chancyReader{body: body, random: rand.New(rand.NewPCG(seed, 2)), end: end}, length, limits)
		neverStopped := random.IntN(2) == 0
		var attempts sync.WaitGroup
		for i := range 2 + random.IntN(5) {
			own := rand.New(rand.NewPCG(seed, uint64(100+i)))
			attempts.Go(func() {
				opened := r.Open
				if own.IntN(2) == 0 {
					opened = r.Restart
				}
				c := opened(nil, nil)
				defer c.Close()
				closeAfter := own.IntN(3*len(body)/2 + 1)
				for at := 0; ; {
					p := make([]byte, own.IntN(50_000))
					n, err := c.Read(p)
					if at+n > len(body) || !bytes.Equal(p[:n], body[at:at+n]) {
						t.Errorf("seed %d: wrong bytes at %d", seed, at)
						return
					}
					at += n
					switch {
					case err == nil:
					case err == end:
						if at != len(body) {
							t.Errorf("seed %d: ends after %d of %d", seed, at, len(body))
						}
						return
					case errors.Is(err, http.ErrBodyReadAfterClose):
						return
					case errors.Is(err, ErrGone):
						if neverStopped && int64(len(body)) <= limits.MaxBody {
							t.Errorf("seed %d: gone at %d", seed, at)
						}
						return
					default:
						t.Errorf("seed %d: %v", seed, err)
						return
					}
					if at > closeAfter {
						attempts.Go(func() { c.Close() })
					}
					if !neverStopped && own.IntN(10) == 0 {
						r.Stop()
					}
				}
			})
		}
		attempts.Wait()
		if neverStopped && int64(len(body)) <= limits.MaxBody && !r.IsWhole() {
			t.Errorf("seed %d: not whole", seed)
		}
		r.Close()
	}
	if n := bodytest.ChunksOut.Load(); n != 0 {
		t.Fatalf("%d chunks were not given back", n)
	}
}

// TestLivingCursorSurvivesAnything is the promise to an upload: whatever happens
// to the recording, the newest attempt of one that began in time reads it all.
func TestLivingCursorSurvivesAnything(t *testing.T) {
	for seed := range uint64(200) {
		random := rand.New(rand.NewPCG(seed, 3))
		body := bodytest.RandomBytes(random.IntN(300_000))
		limits := Limits{MaxBody: int64(random.IntN(400_000)), Memory: int64(random.IntN(100_000))}
		switch random.IntN(3) {
		case 0:
			limits.Dir = t.TempDir()
		case 1:
			limits.Dir = filepath.Join(t.TempDir(), "missing")
		}
		r := record(&chancyReader{body: body, random: random, end: io.EOF}, -1, limits)
		stale := r.Restart(nil, nil)
		_, _ = io.CopyN(io.Discard, stale, int64(len(body)/3))
		newest := stale
		if r.Rewind() == "" {
			newest = r.Restart(nil, nil)
			var got []byte
			for len(got) < len(body)/4 {
				p := make([]byte, 1000)
				n, err := newest.Read(p)
				if got = append(got, p[:n]...); err != nil {
					break
				}
			}
			r.Stop()
			if !bytes.Equal(got, body[:len(got)]) {
				t.Fatalf("seed %d: wrong bytes", seed)
			}
			if len(got) < len(body) || len(body) == 0 {
				bodytest.MustRead(t, newest, body[len(got):])
			}
		} else {
			bodytest.MustRead(t, newest, body[newest.offset:])
		}
		r.Close()
	}
}
