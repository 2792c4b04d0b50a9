package jwt

import (
	"context"
	"errors"
	"strconv"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// counter mints 1, 2, 3 and so on.
type counter struct {
	mu       sync.Mutex
	n        int
	lifetime time.Duration
	err      error
	wait     time.Duration
}

func (c *counter) mint(ctx context.Context) (Token, error) {
	time.Sleep(c.wait)
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err != nil || ctx.Err() != nil {
		return Token{}, errors.Join(c.err, ctx.Err())
	}
	c.n++
	now := time.Now()
	return Token{Text: strconv.Itoa(c.n), MintedAt: now, ExpiresAt: now.Add(c.lifetime)}, nil
}

func wantToken(t *testing.T, r *Reuse, want string) {
	t.Helper()
	if got, err := r.Token(t.Context()); got != want || err != nil {
		t.Errorf("got %q, %v; want %q", got, err, want)
	}
}

func is(text string) func(string) bool { return func(other string) bool { return other == text } }

func TestTokenIsKeptUntilShortlyBeforeItExpires(t *testing.T) {
	for lifetime, kept := range map[time.Duration]time.Duration{20 * time.Minute: 19 * time.Minute, 10 * time.Second: 9 * time.Second} {
		synctest.Test(t, func(t *testing.T) {
			r := &Reuse{Mint: (&counter{lifetime: lifetime}).mint}
			wantToken(t, r, "1")
			time.Sleep(kept - time.Nanosecond)
			wantToken(t, r, "1")
			time.Sleep(time.Nanosecond)
			wantToken(t, r, "2")
		})
	}
}

func TestThoseWhoNeedANewTokenGetTheSame(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := &counter{lifetime: time.Minute, wait: time.Second}
		r := &Reuse{Mint: c.mint}
		gone, cancel := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		wg.Go(func() {
			if _, err := r.Token(gone); !errors.Is(err, context.Canceled) {
				t.Errorf("got %v", err)
			}
		})
		synctest.Wait()
		for range 10 {
			wg.Go(func() { wantToken(t, r, "1") })
		}
		synctest.Wait()
		cancel() // who asked first leaves, and takes nothing from the others
		wg.Wait()
	})
}

func TestFailureIsNotKept(t *testing.T) {
	c := &counter{lifetime: time.Minute, err: errors.New("away")}
	r := &Reuse{Mint: c.mint}
	if got, err := r.Token(t.Context()); got != "" || !errors.Is(err, c.err) {
		t.Errorf("got %q, %v", got, err)
	}
	c.err = nil
	wantToken(t, r, "1")
}

func TestOnlyATokenThatWasKeptIsMintedAnewWhenItIsRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := &Reuse{Mint: (&counter{lifetime: time.Hour}).mint}
		wantToken(t, r, "1")
		if r.Refused(is("1")) {
			t.Error("a new one is minted anew")
		}
		wantToken(t, r, "1")
		time.Sleep(freshFor)
		for range 2 { // requests were sent with it
			if !r.Refused(is("1")) {
				t.Error("an old one is not minted anew")
			}
		}
		wantToken(t, r, "2")
		if !r.Refused(is("1")) {
			t.Error("there is a newer one")
		}
		if r.Refused(is("2")) {
			t.Error("a key that is refused has one minted for each request")
		}
		wantToken(t, r, "2")
	})
}

func BenchmarkReuse(b *testing.B) {
	r := &Reuse{Mint: (&counter{lifetime: time.Hour}).mint}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := r.Token(b.Context()); err != nil {
			b.Fatal(err)
		}
	}
}
