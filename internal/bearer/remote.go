package bearer

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"time"

	"github.com/go-jose/go-jose/v4"
)

const (
	// fetchTime bounds one fetch of a key set.
	fetchTime = 5 * time.Second

	// freshTime is how long a key set serves without a look at the server: so long
	// does a key count that is removed there.
	freshTime = 5 * time.Minute

	// staleTime is how much longer it serves while the server does not give another.
	staleTime = time.Hour

	// refetchPause is how long after a fetch the next one comes at the earliest, for
	// whatever tokens are presented; retryPause is the same while there are no keys
	// and every token waits for them.
	refetchPause = 10 * time.Second
	retryPause   = time.Second
)

// remote is a [source]: a key set at a URL.
type remote struct {
	fetch func(context.Context) (*jose.JSONWebKeySet, error)

	mu      sync.Mutex
	keys    *jose.JSONWebKeySet // of the latest fetch that brought any; nil if none did
	fetched time.Time           // when that one began
	err     error               // of the latest fetch
	ended   time.Time           // when that one ended
	flight  chan struct{}       // closed when the fetch that is under way has ended; nil: none is
}

func newRemote(address string, transport http.RoundTripper) *remote {
	return &remote{fetch: newFetch(address, transport)}
}

// verify implements [source].
func (r *remote) verify(ctx context.Context, token *jose.JSONWebSignature) ([]byte, error) {
	keys, err := r.current(ctx)
	if err != nil {
		return nil, err
	}
	payload, err := verify(token, keys)
	// The key may have come since, and a token that names none may be of that one.
	if errors.Is(err, errUnknownKey) || err != nil && token.Signatures[0].Protected.KeyID == "" {
		if newer := r.after(ctx, keys); newer != keys {
			return verify(token, newer)
		}
	}
	return payload, err
}

// current returns the keys that count now.
func (r *remote) current(ctx context.Context) (*jose.JSONWebKeySet, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.keys != nil && time.Since(r.fetched) < freshTime {
		return r.keys, nil
	}
	// In an outage nobody waits for what is likely to fail again.
	outage := r.err != nil && r.ended.Sub(r.fetched) >= freshTime
	patient := !outage || !r.serves()
	r.ask()
	if r.flight != nil && patient {
		if err := r.wait(ctx); err != nil {
			return nil, fmt.Errorf("%w: %w", ErrUnavailable, err)
		}
	}
	if !r.serves() {
		return nil, fmt.Errorf("%w: %w", ErrUnavailable, r.err)
	}
	return r.keys, nil
}

// after returns newer keys than old if they can be had, else old.
func (r *remote) after(ctx context.Context, old *jose.JSONWebKeySet) *jose.JSONWebKeySet {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.ask()
	if r.flight != nil {
		if err := r.wait(ctx); err != nil {
			return old
		}
	}
	return r.keys
}

// serves reports whether there are keys that count still. The lock is held.
func (r *remote) serves() bool {
	return r.keys != nil && time.Since(r.fetched) < freshTime+staleTime
}

// ask starts a fetch, unless one is under way or it is too soon. The lock is held.
func (r *remote) ask() {
	pause := refetchPause
	if !r.serves() {
		pause = retryPause
	}
	if r.flight != nil || !r.ended.IsZero() && time.Since(r.ended) < pause {
		return
	}
	flight, began := make(chan struct{}), time.Now()
	r.flight = flight
	// Detached from the request that it starts with: others wait for it too.
	go func() {
		defer close(flight)
		ctx, cancel := context.WithTimeout(context.Background(), fetchTime)
		defer cancel()
		keys, err := r.fetch(ctx)

		r.mu.Lock()
		defer r.mu.Unlock()
		if err == nil {
			r.keys, r.fetched = keys, began
		}
		r.err, r.ended, r.flight = err, time.Now(), nil
	}()
}

// wait waits until the fetch that is under way has ended or ctx has. The lock is
// held, but not while waiting.
func (r *remote) wait(ctx context.Context) error {
	flight := r.flight
	r.mu.Unlock()
	defer r.mu.Lock()
	select {
	case <-flight:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
