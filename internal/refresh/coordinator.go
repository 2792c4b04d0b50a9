package refresh

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/upstreamauth/caddy-upstream-auth/credential"
	"github.com/upstreamauth/caddy-upstream-auth/internal/journal"
	"github.com/upstreamauth/caddy-upstream-auth/internal/scheme"
)

const (
	// maxWait is how long a request waits for a refresh.
	maxWait = 15 * time.Second

	// releaseAfter is how long, after the token endpoint's answer, requests wait
	// for the store to take the new tokens.
	releaseAfter = 250 * time.Millisecond

	// storeTimeout bounds one read of the store, writeTimeout one write.
	storeTimeout = 5 * time.Second
	writeTimeout = 3 * time.Second

	// rounds is how often one call deals with a document that somebody else
	// wrote meanwhile.
	rounds = 5
)

// Provider is what the coordinator needs to know of an upstream API. It lives as
// long as one configuration.
type Provider struct {
	Name   string
	Scheme *scheme.Scheme

	// Fingerprint tells configurations of the provider apart: that a refresh
	// failed under one of them does not hold back another.
	Fingerprint string

	// Logger takes what happens to credentials, without the tenants' names.
	// Default: nowhere.
	Logger *slog.Logger
}

func (p *Provider) logger() *slog.Logger {
	if p.Logger == nil {
		return slog.New(slog.DiscardHandler)
	}
	return p.Logger
}

// Options are the settings of a [Coordinator].
type Options struct {
	// Journals returns the directory of the journals that are sealed under a key.
	// Default: there are none, and what is not in the store yet is lost with the
	// process.
	Journals func(key []byte) (journal.Directory, error)

	// Name is what a document that this coordinator wrote tokens into says of who
	// obtained them: a host's name and a process id, say. It is no secret. Default:
	// nothing.
	Name string

	// Exclusive says that no other process has the store open. A claim that is not
	// this coordinator's own is then a dead process's.
	Exclusive bool

	// Provider returns a provider of the present configuration by its name, nil if
	// there is none, for what a dead process left unfinished. Default: none.
	Provider func(name string) *Provider

	// Transport sends the token requests, each once. It calls GotConn of the
	// request's [httptrace.ClientTrace] when its connection is up, and sends nothing
	// before that returns, or if the request's context has ended then. Default:
	// HTTP/1.1 on a fresh connection each, through the proxy that the environment
	// names.
	Transport http.RoundTripper
}

// Coordinator refreshes the credentials of one store. It outlives configurations
// and is safe for concurrent use.
type Coordinator struct {
	cache     *credential.Cache
	store     credential.Store
	name      string
	exclusive bool
	provider  func(name string) *Provider
	notes     *notes
	endpoint  *endpoint
	breakers  breakers
	log       atomic.Pointer[slog.Logger]

	start      sync.Once
	recovering sync.WaitGroup
	closed     chan struct{}
	close      sync.Once

	mu        sync.Mutex
	states    map[credential.Key]*state
	sweep     int                         // number of states at which the idle ones are dropped
	unsettled map[credential.Key]struct{} // those with entries
	lasting   map[string]bool             // by a provider's fingerprint: its refresh tokens were seen to stay as they are
	again     int                         // tokens sent again
	active    int                         // flights
	idle      chan struct{}               // closed when active gets 0 again
}

// New makes a coordinator for the store behind cache, and notes new credentials
// in cache.
func New(cache *credential.Cache, o Options) *Coordinator {
	if o.Provider == nil {
		o.Provider = func(string) *Provider { return nil }
	}
	return &Coordinator{
		cache:     cache,
		store:     cache.Store(),
		name:      o.Name,
		exclusive: o.Exclusive,
		provider:  o.Provider,
		notes:     &notes{store: cache.Store(), directory: o.Journals, id: newNonce()},
		endpoint:  &endpoint{transport: o.Transport},
		closed:    make(chan struct{}),
		states:    make(map[credential.Key]*state),
		sweep:     minSweep,
		unsettled: make(map[credential.Key]struct{}),
		lasting:   make(map[string]bool),
	}
}

// Refresh returns another credential than rejected, which the upstream did not
// accept: the one in the store, if that is already another, else one from the
// token endpoint, which it commits to the store. For a provider without OAuth2 it
// only looks into the store.
//
// Any number of calls for one key share one refresh, which goes on when ctx ends.
// A call waits for at most 15 s. While a failed refresh rests, calls get its
// error at once. Errors: [ErrReauthorizationRequired], [ErrUnchanged], else
// [ErrFailed].
func (c *Coordinator) Refresh(ctx context.Context, p *Provider, tenant credential.Tenant, rejected *credential.Credential) (*credential.Credential, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, maxWait, errWaited)
	defer cancel()
	key := credential.Key{Provider: p.Name, Tenant: tenant}

	for range rounds {
		f, fresh, err := c.join(p, key, rejected)
		if f == nil {
			return fresh, err
		}
		select {
		case <-f.done:
		case <-ctx.Done():
			return nil, fmt.Errorf("%w: %w", ErrFailed, context.Cause(ctx))
		}
		// A flight that others started may have been for another credential than
		// the one rejected now, or under another configuration. One whose commit is
		// pending is still there, and no other starts.
		switch {
		case f.err == nil && differ(p, f.credential, rejected):
			return f.credential, nil
		case f.err != nil && f.fingerprint == p.Fingerprint:
			return nil, f.err
		}
		select {
		case <-f.settled:
		case <-ctx.Done():
			return nil, fmt.Errorf("%w: %w", ErrFailed, context.Cause(ctx))
		}
	}
	return nil, errNothingNewer
}

// RefreshNow obtains new tokens for tenant even if a failed refresh rests, for
// somebody who knows that its cause is gone. It goes by the same protocol: a token
// that somebody else is spending, or that was refused for good, is not sent.
// Errors are those of Refresh.
func (c *Coordinator) RefreshNow(ctx context.Context, p *Provider, tenant credential.Tenant) (*credential.Credential, error) {
	key := credential.Key{Provider: p.Name, Tenant: tenant}
	newest, err := c.read(key)
	if err != nil {
		return nil, err
	}
	c.mu.Lock()
	if s := c.state(key, time.Now()); s.flight == nil {
		s.rest = nil
	}
	c.mu.Unlock()
	return c.Refresh(ctx, p, tenant, newest.Credential)
}

// join returns the flight to wait for, or, without one, what there is to say.
func (c *Coordinator) join(p *Provider, key credential.Key, rejected *credential.Credential) (*flight, *credential.Credential, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := time.Now()
	s := c.state(key, now)

	if r := s.rest; r.active(p, now) {
		switch known := r.credential; {
		case known.Version() > rejected.Version() && differ(p, known, rejected):
			return nil, known, nil
		case known.Version() < rejected.Version() && differ(p, known, rejected):
			// Somebody has seen a newer document than the one that rests.
		case s.flight != nil, now.Sub(s.lookedAt) < lookInterval:
			return nil, nil, r.err
		}
	}
	if s.flight == nil {
		if c.isClosed() {
			return nil, nil, errClosed
		}
		c.begin(s, p, key, rejected, false)
	}
	return s.flight, nil, nil
}

// Ahead starts a refresh in the background if the access token of cred expires
// within the provider's RefreshAhead, or up to a quarter of that more, which each
// tenant's does at a time of its own, unless one is under way or rests. Of a
// token that this process obtained half its life has to be over, too. It never
// blocks.
func (c *Coordinator) Ahead(p *Provider, tenant credential.Tenant, cred *credential.Credential) {
	now := time.Now()
	if !expiresSoon(p, tenant, cred, now) {
		return
	}
	key := credential.Key{Provider: p.Name, Tenant: tenant}
	c.mu.Lock()
	defer c.mu.Unlock()
	s := c.state(key, now)
	if s.flight != nil || now.Before(s.aheadAfter) || s.rest.active(p, now) && s.rest.concerns(cred) || c.isClosed() {
		return
	}
	c.begin(s, p, key, cred, true)
}

// Rejected notes that the upstream rejected cred, a credential that Refresh
// returned. If it came from the token endpoint, that counts as a failed refresh:
// an upstream that rejects everything must not make tokens rotate for ever.
func (c *Coordinator) Rejected(p *Provider, tenant credential.Tenant, cred *credential.Credential) {
	key := credential.Key{Provider: p.Name, Tenant: tenant}
	if rejections := c.noteRejection(p, key, cred); rejections > 0 {
		p.logger().Warn("upstream rejected a refreshed credential", "provider", p.Name, "in_a_row", rejections)
	}
}

// noteRejection returns how many there were in a row, 0 if this does not count.
func (c *Coordinator) noteRejection(p *Provider, key credential.Key, cred *credential.Credential) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := time.Now()
	s := c.state(key, now)
	if !s.isOwn(p, cred) || s.rest.active(p, now) && s.rest.concerns(cred) {
		return 0 // not ours, or one of many that were sent with it
	}
	s.rejections++
	s.setRest(p, cred, errRejected, now.Add(s.delay()))
	return s.rejections
}

// Accepted notes that the upstream accepted cred, a credential that Refresh
// returned. It takes back what [Coordinator.Rejected] did.
func (c *Coordinator) Accepted(p *Provider, tenant credential.Tenant, cred *credential.Credential) {
	c.mu.Lock()
	defer c.mu.Unlock()
	s := c.states[credential.Key{Provider: p.Name, Tenant: tenant}]
	if s == nil {
		return
	}
	s.rejections = 0
	if s.rest != nil && errors.Is(s.rest.err, errRejected) && s.rest.concerns(cred) {
		s.rest = nil
	}
}

// Wait returns when no refresh and no commit is under way, or with the error of
// ctx when that ends.
func (c *Coordinator) Wait(ctx context.Context) error {
	for {
		c.mu.Lock()
		active, idle := c.active, c.idle
		c.mu.Unlock()
		if active == 0 {
			return nil
		}
		select {
		case <-idle:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// Close makes c start no refresh any more, and leaves commits that the store does
// not take now to whoever adopts the journal. Call [Coordinator.Wait] before it:
// without a journal such tokens are lost, and the log says of which provider.
func (c *Coordinator) Close() {
	c.close.Do(func() {
		c.mu.Lock()
		close(c.closed)
		if c.active == 0 {
			c.notes.close() // otherwise the last flight does
		}
		c.mu.Unlock()
		c.recovering.Wait()
	})
}

func (c *Coordinator) isClosed() bool {
	select {
	case <-c.closed:
		return true
	default:
		return false
	}
}

// differ reports whether a has something else to send than b: another access
// token or, without OAuth2, another value of any kind. What cannot be sent is
// nothing else.
func differ(p *Provider, a, b *credential.Credential) bool {
	if a == b {
		return false
	}
	if o := p.Scheme.OAuth2(); o != nil {
		tokenA, err := o.AccessToken(a)
		if err != nil {
			return false
		}
		tokenB, err := o.AccessToken(b)
		return err != nil || tokenA != tokenB
	}
	valuesA, err := p.Scheme.Resolve(a)
	if err != nil {
		return false
	}
	valuesB, err := p.Scheme.Resolve(b)
	return err != nil || !valuesA.Equal(valuesB)
}
