package jwt

import (
	"context"
	"sync/atomic"
	"time"

	"golang.org/x/sync/singleflight"
)

// freshFor is how long a refusal of a JWT is not for its age.
const freshFor = 10 * time.Second

// Reuse keeps a JWT until shortly before it expires: a minute, or a tenth of a lifetime
// that is short. It is safe for concurrent use.
type Reuse struct {
	// Mint makes a new one.
	Mint func(context.Context) (Token, error)

	kept   atomic.Pointer[Token]
	flight singleflight.Group
}

// Token returns the JWT that is kept, or a new one. Those who need a new one at the same
// time get the same.
func (r *Reuse) Token(ctx context.Context) (string, error) {
	if kept := r.kept.Load(); kept != nil && time.Now().Before(kept.lastUse()) {
		return kept.Text, nil
	}
	minted := r.flight.DoChan("", func() (any, error) {
		token, err := r.Mint(context.WithoutCancel(ctx))
		if err != nil {
			return "", err
		}
		r.kept.Store(&token)
		return token.Text, nil
	})
	select {
	case result := <-minted:
		return result.Val.(string), result.Err
	case <-ctx.Done():
		return "", ctx.Err()
	}
}

// lastUse is when a new JWT takes its place.
func (t *Token) lastUse() time.Time {
	return t.ExpiresAt.Add(-min(time.Minute, t.ExpiresAt.Sub(t.MintedAt)/10))
}

// Refused says that a JWT was refused, and reports whether the next one is another. One
// that is new was not refused for its age: minting another would not help. wasSent tells
// that JWT from others.
func (r *Reuse) Refused(wasSent func(text string) bool) bool {
	kept := r.kept.Load()
	if kept == nil || !wasSent(kept.Text) {
		return true
	}
	if time.Since(kept.MintedAt) < freshFor {
		return false
	}
	r.kept.CompareAndSwap(kept, nil)
	return true
}
