package renew

import (
	"bytes"
	"context"
	"errors"
	"sync"
	"time"

	"github.com/upstreamauth/caddy-upstream-auth/credential"
	"github.com/upstreamauth/caddy-upstream-auth/internal/renew/journal"
	"github.com/upstreamauth/caddy-upstream-auth/internal/tokenrequest"
	"github.com/upstreamauth/caddy-upstream-auth/scheme"
)

const (
	// maxWait is how long a request waits for a refresh.
	maxWait = 15 * time.Second

	// storeTimeout bounds one read of the store, writeTimeout one write.
	storeTimeout = 5 * time.Second
	writeTimeout = 3 * time.Second

	// rounds is how often one flight deals with a document that somebody else wrote
	// meanwhile.
	rounds = 5
)

// Provider is what the coordinator needs to know of an upstream API. It lives as
// long as one configuration.
type Provider struct {
	Name string

	// Renewer obtains new credentials. Nil: they are looked for in the store alone.
	Renewer scheme.Renewer

	// Renewal is how its tokens are spent, with the defaults filled in.
	scheme.Renewal

	// Fingerprint tells configurations of the provider apart: that a refresh
	// failed under one of them does not hold back another.
	Fingerprint string
}

// NewProvider makes one whose credentials r renews, or nobody if that is nil.
func NewProvider(name string, r scheme.Renewer, fingerprint string) *Provider {
	p := &Provider{Name: name, Renewer: r, Fingerprint: fingerprint}
	if r != nil {
		p.Renewal = scheme.RenewalOf(r)
	}
	return p
}

// RefreshTokenExpiresAt returns when the refresh token of cred expires, by what its server
// said; false if that is not known.
func (p *Provider) RefreshTokenExpiresAt(cred *credential.Credential) (time.Time, bool) {
	own, ok := p.Renewer.(interface {
		RefreshTokenExpiresAt(*credential.Credential) (time.Time, bool)
	})
	if !ok {
		return time.Time{}, false
	}
	return own.RefreshTokenExpiresAt(cred)
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
	// this coordinator's own is then an exited process's.
	Exclusive bool

	// Provider returns a provider of the present configuration by its name, nil if
	// there is none, for what an exited process left unfinished. Default: none.
	Provider func(name string) *Provider

	// Endpoints brings up connections to token endpoints. Default: a
	// [tokenrequest.Client], through the proxy that the environment names.
	Endpoints tokenrequest.Dialer

	// Observe is told what happens to credentials. It must not block. Default: nobody.
	Observe func(Event)

	// ObserveJournal is told of a journal file that is left as it is, once for each.
	// Default: nobody.
	ObserveJournal func(*journal.FileError)
}

// Coordinator refreshes the credentials of one store. It outlives configurations
// and is safe for concurrent use.
type Coordinator struct {
	options  Options
	cache    *credential.Cache
	store    credential.Store
	journal  *journal.Process // nil: there is none
	id       string           // who owns claims without a journal
	breakers breakers
	outcomes outcomes

	start      sync.Once
	recovering sync.WaitGroup
	wake       chan struct{}   // somebody else may be settled now
	closed     context.Context // done when the coordinator is closed
	close      context.CancelFunc

	mu      sync.Mutex
	states  map[credential.Key]*state
	swept   time.Time
	pending map[credential.Key]struct{} // those with claims that are not settled
	alive   map[string]*keepAlive       // by provider
	active  int                         // flights, and claims whose answer is listened for
	idle    chan struct{}               // closed when active gets 0 again
}

// New makes a coordinator for the store behind cache, and notes new credentials
// in cache.
func New(cache *credential.Cache, o Options) *Coordinator {
	if o.Provider == nil {
		o.Provider = func(string) *Provider { return nil }
	}
	if o.Endpoints == nil {
		o.Endpoints = new(tokenrequest.Client)
	}
	c := &Coordinator{
		options: o,
		cache:   cache,
		store:   cache.Store(),
		id:      newNonce(),
		states:  make(map[credential.Key]*state),
		pending: make(map[credential.Key]struct{}),
		alive:   make(map[string]*keepAlive),
		wake:    make(chan struct{}, 1),
	}
	c.closed, c.close = context.WithCancel(context.Background())
	if o.Journals != nil {
		c.journal = journal.NewProcess(c.journalDirectory())
	}
	return c
}

// Refresh returns another credential than rejected, which the upstream did not
// accept: the one in the store, if that is already another, else one from the
// token endpoint, which it commits to the store. For a provider without OAuth2 it
// only looks into the store.
//
// Any number of calls for one key share one refresh, which goes on when ctx ends.
// A call waits for at most 15 s. During the cooldown after a failure calls get its
// error at once. Errors: [ErrReauthorizationRequired], [ErrUnchanged], else
// [ErrFailed].
func (c *Coordinator) Refresh(ctx context.Context, p *Provider, tenant credential.Tenant, rejected *credential.Credential) (*credential.Credential, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, maxWait, errWaited)
	defer cancel()
	key := credential.Key{Provider: p.Name, Tenant: tenant}

	for range rounds {
		f, err := c.join(p, key, rejected, false)
		if err != nil {
			return nil, err
		}
		select {
		case <-f.released:
		case <-ctx.Done():
			return nil, c.gaveUp(ctx, key, f)
		}
		// A flight that others started may have been for another credential than
		// the one rejected now, or under another configuration; and one that nobody
		// asked for may have read the store before that got there.
		older := f.recovery && f.err == nil && f.credential.Version() < rejected.Version()
		switch {
		case f.err == nil && !older && tokenChanged(p, f.credential, rejected):
			return f.credential, nil
		case f.err != nil && f.provider.Fingerprint == p.Fingerprint && c.failsWith(f, key, rejected):
			return nil, f.err
		}
		select {
		case <-f.ended:
		case <-ctx.Done():
			return nil, c.gaveUp(ctx, key, f)
		}
	}
	return nil, errNothingNewer
}

// RefreshNow obtains new tokens for tenant even during the cooldown after a failure,
// for somebody who knows that its cause is gone. It goes by the same protocol: a token
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
		s.cooldown = nil
	}
	c.mu.Unlock()
	return c.Refresh(ctx, p, tenant, newest.Credential)
}

// failsWith reports whether the failure of a flight is that of a call whose credential is
// rejected: the flight has looked at that one, or at another with the same tokens.
func (c *Coordinator) failsWith(f *flight, key credential.Key, rejected *credential.Credential) bool {
	if judged := f.judged.Load(); judged == 0 || judged >= rejected.Version() {
		return true
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	now := time.Now()
	s := c.state(key, now)
	return s.cooldown.active(f.provider, now) && s.cooldown.concerns(rejected)
}

// join returns the flight to wait for, or why none is made. ahead says that nobody rejected
// the credential.
func (c *Coordinator) join(p *Provider, key credential.Key, rejected *credential.Credential, ahead bool) (*flight, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := time.Now()
	s := c.state(key, now)
	if s.cooldown.active(p, now) && s.cooldown.concerns(rejected) {
		return nil, s.cooldown.err
	}
	if s.flight == nil {
		if c.isClosed() {
			return nil, errClosed
		}
		c.begin(s, p, key, rejected, ahead)
	}
	s.flight.joined = true
	return s.flight, nil
}

// Ahead starts a refresh in the background if the access token of cred expires
// within the provider's RefreshAhead, or up to a quarter of that more, which each
// tenant's does at a time of its own, unless one is under way or cools down. Of a
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
	if s.flight != nil || now.Before(s.aheadAfter) || s.cooldown.active(p, now) && s.cooldown.concerns(cred) || c.isClosed() {
		return
	}
	c.begin(s, p, key, cred, true)
}

// Rejected notes that the upstream rejected cred, a credential that Refresh
// returned. If it came from the token endpoint, that counts as a failed refresh:
// an upstream that rejects everything must not make tokens rotate for ever.
func (c *Coordinator) Rejected(p *Provider, tenant credential.Tenant, cred *credential.Credential) {
	key := credential.Key{Provider: p.Name, Tenant: tenant}
	c.mu.Lock()
	now := time.Now()
	s := c.state(key, now)
	if !s.isOwn(p, cred) || s.cooldown.active(p, now) && s.cooldown.concerns(cred) {
		c.mu.Unlock()
		return // not ours, or one of many that were sent with it
	}
	s.rejections++
	e := Event{Kind: Rejected, Err: errRejected, Count: s.rejections}
	s.cool(p, cred, errRejected, s.delay(), &e)
	c.mu.Unlock()
	c.tell(key, e)
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
	if s.cooldown != nil && errors.Is(s.cooldown.err, errRejected) && s.cooldown.concerns(cred) {
		s.cooldown = nil
	}
}

// tell tells the observer, and remembers what happened last.
func (c *Coordinator) tell(key credential.Key, e Event) {
	e.Provider, e.Tenant, e.At = key.Provider, key.Tenant, time.Now()
	if e.changesOutcome() {
		c.outcomes.note(e)
	}
	if c.options.Observe != nil {
		c.options.Observe(e)
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

// Close makes c start no refresh any more and listen for no answer, and leaves commits
// that the store does not take now to whoever adopts the journal. Call
// [Coordinator.Wait] before it, and after it until what was under way has ended.
func (c *Coordinator) Close() {
	c.close()
	c.recovering.Wait()
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.active == 0 {
		c.giveJournalsUp() // otherwise what is under way does
	}
}

func (c *Coordinator) giveJournalsUp() {
	if c.journal != nil {
		c.journal.Close()
	}
}

func (c *Coordinator) isClosed() bool { return c.closed.Err() != nil }

// tokenChanged reports whether a has something else to send than b: another token or,
// without a renewer, anything else at all. What cannot be sent is nothing else.
func tokenChanged(p *Provider, a, b *credential.Credential) bool {
	if a == b {
		return false
	}
	if p.Renewer == nil {
		return !bytes.Equal(a.JSON(), b.JSON())
	}
	tokenA, err := p.Renewer.Token(a)
	if err != nil {
		return false
	}
	tokenB, err := p.Renewer.Token(b)
	return err != nil || tokenA != tokenB
}
