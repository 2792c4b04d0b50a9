package bearer

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/go-jose/go-jose/v4"
	"golang.org/x/sync/singleflight"
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

// remote is a [source]: a key set at a URL. It is not go-oidc's RemoteKeySet, which
// asks the server for every token that it cannot verify, lets a removed key count
// until then, and puts what the server answers into its errors.
type remote struct {
	address string
	client  *http.Client
	flight  singleflight.Group // of whoever asks
	latest  atomic.Pointer[fetched]
}

// fetched is what the fetches have brought so far. It is never changed once made.
type fetched struct {
	keys  *jose.JSONWebKeySet // of the latest one that brought any; nil if none did
	began time.Time           // when that one began; zero, which is long ago, if none did
	err   error               // of the latest one
	ended time.Time           // when that one ended
}

// serves reports whether there are keys that count still.
func (f *fetched) serves() bool { return time.Since(f.began) < freshTime+staleTime }

// verify implements [source].
func (r *remote) verify(ctx context.Context, token *jose.JSONWebSignature) ([]byte, error) {
	keys, err := r.current(ctx)
	if err != nil {
		return nil, err
	}
	payload, err := verify(token, keys)
	// The key may have come since, and a token that names none may be of that one.
	if errors.Is(err, errUnknownKey) || err != nil && token.Signatures[0].Protected.KeyID == "" {
		_ = wait(ctx, r.ask())
		if newer := r.latest.Load().keys; newer != keys {
			return verify(token, newer)
		}
	}
	return payload, err
}

// current returns the keys that count now.
func (r *remote) current(ctx context.Context) (*jose.JSONWebKeySet, error) {
	known := r.latest.Load()
	if time.Since(known.began) < freshTime {
		return known.keys, nil
	}
	flight := r.ask()
	// In an outage nobody waits for what is likely to fail again.
	outage := known.err != nil && known.ended.Sub(known.began) >= freshTime
	if !outage || !known.serves() {
		if err := wait(ctx, flight); err != nil {
			return nil, fmt.Errorf("%w: %w", ErrUnavailable, err)
		}
		known = r.latest.Load()
	}
	if !known.serves() {
		return nil, fmt.Errorf("%w: %w", ErrUnavailable, known.err)
	}
	return known.keys, nil
}

// ask fetches the key set, unless it is too soon. All who ask share one fetch, which
// goes on without them.
func (r *remote) ask() <-chan singleflight.Result {
	return r.flight.DoChan("", func() (any, error) {
		next := *r.latest.Load()
		pause := refetchPause
		if !next.serves() {
			pause = retryPause
		}
		if time.Since(next.ended) < pause {
			return nil, nil
		}
		began := time.Now()
		keys, err := r.fetch()
		if err == nil {
			next.keys, next.began = keys, began
		}
		next.err, next.ended = err, time.Now()
		r.latest.Store(&next)
		return nil, nil
	})
}

// wait waits until what was asked for is there or ctx is done.
func wait(ctx context.Context, flight <-chan singleflight.Result) error {
	select {
	case <-flight:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
