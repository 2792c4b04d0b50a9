package upstream

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"hash"
	"io"
	"net/http"
	"slices"
	"strings"
)

// Digest is what is remembered of a body.
type Digest struct {
	Length int64
	SHA256 string // in hex; only once the body is read
}

// DigestOf returns the digest of a whole body.
func DigestOf(body []byte) Digest {
	sum := sha256.Sum256(body)
	return Digest{Length: int64(len(body)), SHA256: hex.EncodeToString(sum[:])}
}

// Attempt is one request that reached the upstream.
type Attempt struct {
	ID       string // of the client's request
	Number   int    // 1 for the first attempt of this request
	Method   string
	Path     string
	Host     string
	Proto    string // "HTTP/1.1", "HTTP/2.0"
	Header   http.Header
	Trailer  http.Header // as it was when the body had been read
	Chunked  bool        // the length was not announced
	Accepted bool        // the token was current when the request came
	Tenant   string      // whose it was
	Digest               // what has been read of the body so far
	Whole    bool        // the body was read to its end
	Done     bool        // the handler has returned
}

// Delivered says that the request arrived authenticated and whole.
func (a Attempt) Delivered() bool { return a.Accepted && a.Whole }

// Probe is a request to /health.
type Probe struct {
	Proto, Host, Authorization string
	TLS                        bool
}

// Attempts returns all attempts of one request, in the order of arrival.
func (a *API) Attempts(id string) []Attempt {
	a.mu.Lock()
	defer a.mu.Unlock()
	return values(a.byID[id])
}

// All returns all attempts of all requests, in the order of arrival.
func (a *API) All() []Attempt {
	a.mu.Lock()
	defer a.mu.Unlock()
	return values(a.attempts)
}

// Probes returns all requests to /health.
func (a *API) Probes() []Probe {
	a.mu.Lock()
	defer a.mu.Unlock()
	return slices.Clone(a.probes)
}

// Await returns once ready holds of the attempts of request id, or ctx is done.
func (a *API) Await(ctx context.Context, id string, ready func([]Attempt) bool) error {
	a.await(ctx, func() bool { return ready(values(a.byID[id])) })
	return ctx.Err()
}

// AwaitProbes returns once n requests to /health came, or ctx is done.
func (a *API) AwaitProbes(ctx context.Context, n int) error {
	a.await(ctx, func() bool { return len(a.probes) >= n })
	return ctx.Err()
}

// Release lets /hold and /events go on with request id.
func (a *API) Release(id string) {
	a.update(func() {
		if a.released == nil {
			a.released = make(map[string]bool)
		}
		a.released[id] = true
	})
}

func (a *API) awaitRelease(r *http.Request) {
	id := r.Header.Get(RequestID)
	a.await(r.Context(), func() bool { return a.released[id] })
}

func (a *API) begin(r *http.Request) *Attempt {
	attempt := &Attempt{
		ID: r.Header.Get(RequestID), Method: r.Method, Path: r.URL.Path, Host: r.Host, Proto: r.Proto,
		Header: r.Header.Clone(), Chunked: r.ContentLength < 0,
	}
	token, bearer := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	if bearer && a.Subject != nil && len(r.Header.Values("Authorization")) == 1 {
		attempt.Tenant, attempt.Accepted = a.Subject(token)
	}
	if keys := r.Header.Values("X-Api-Key"); len(keys) == 1 && !bearer && a.Owner != nil {
		attempt.Tenant, attempt.Accepted = a.Owner(keys[0])
	}
	a.update(func() {
		if a.byID == nil {
			a.byID = make(map[string][]*Attempt)
		}
		a.attempts = append(a.attempts, attempt)
		a.byID[attempt.ID] = append(a.byID[attempt.ID], attempt)
		attempt.Number = len(a.byID[attempt.ID])
	})
	return attempt
}

func (a *API) end(attempt *Attempt) { a.update(func() { attempt.Done = true }) }

func (a *API) noteTrailer(attempt *Attempt, trailer http.Header) {
	a.update(func() { attempt.Trailer = trailer.Clone() })
}

func (a *API) probed(r *http.Request) {
	a.update(func() {
		a.probes = append(a.probes, Probe{
			Proto: r.Proto, Host: r.Host, Authorization: r.Header.Get("Authorization"), TLS: r.TLS != nil,
		})
	})
}

// read reads body to its end, and keeps the digest up to date as it goes.
func (a *API) read(attempt *Attempt, body io.Reader) {
	if attempt.Whole {
		return
	}
	progress := &progress{api: a, attempt: attempt, hash: sha256.New()}
	_, err := io.Copy(progress, body)
	a.update(func() {
		attempt.Whole = err == nil
		attempt.SHA256 = hex.EncodeToString(progress.hash.Sum(nil))
	})
}

type progress struct {
	api     *API
	attempt *Attempt
	hash    hash.Hash
}

func (p *progress) Write(b []byte) (int, error) {
	p.hash.Write(b)
	p.api.update(func() { p.attempt.Length += int64(len(b)) })
	return len(b), nil
}

func values(attempts []*Attempt) []Attempt {
	all := make([]Attempt, len(attempts))
	for i, attempt := range attempts {
		all[i] = *attempt
	}
	return all
}

// update changes the state and wakes those who wait for it.
func (a *API) update(change func()) {
	a.mu.Lock()
	defer a.mu.Unlock()
	change()
	if a.changed != nil {
		close(a.changed)
		a.changed = nil
	}
}

// await blocks until ready, called under the lock, holds or ctx is done.
func (a *API) await(ctx context.Context, ready func() bool) {
	for {
		a.mu.Lock()
		if ready() {
			a.mu.Unlock()
			return
		}
		if a.changed == nil {
			a.changed = make(chan struct{})
		}
		changed := a.changed
		a.mu.Unlock()
		select {
		case <-changed:
		case <-ctx.Done():
			return
		}
	}
}
