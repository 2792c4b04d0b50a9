package refresh

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/upstreamauth/caddy-upstream-auth/credential"
	"github.com/upstreamauth/caddy-upstream-auth/internal/journal"
	"github.com/upstreamauth/caddy-upstream-auth/internal/journal/journaltest"
)

// fleet is a fixture whose store and token endpoint several replicas share.
type fleet struct {
	*fixture
	journals    *journaltest.Directory
	connections atomic.Int64 // to the token endpoint
}

// inFleet runs a test on synthetic time with a new fleet of no replicas.
func inFleet(t *testing.T, test func(t *testing.T, f *fleet)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		test(t, &fleet{fixture: newFixture(t), journals: journaltest.NewDirectory()})
	})
}

// replica is a process with a coordinator of its own.
type replica struct {
	*Coordinator
	fleet   *fleet
	store   *link
	process *journaltest.Process
}

// link is a replica's way to the store. What it does to a write is up to the test.
type link struct {
	credential.Store
	dead atomic.Bool
	skew time.Duration // of the store's clock

	mu   sync.Mutex
	fate func(put func() (uint64, error)) (uint64, error)
}

func (l *link) puts(fate func(put func() (uint64, error)) (uint64, error)) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.fate = fate
}

func (l *link) Get(ctx context.Context, key credential.Key) (credential.Document, error) {
	if l.dead.Load() {
		return credential.Document{}, credential.ErrUnavailable
	}
	doc, err := l.Store.Get(ctx, key)
	if err == nil {
		doc.ReadAt = doc.ReadAt.Add(l.skew)
	}
	return doc, err
}

func (l *link) Put(ctx context.Context, k credential.Key, data []byte, version uint64) (uint64, error) {
	if l.dead.Load() {
		return 0, credential.ErrUnavailable
	}
	l.mu.Lock()
	fate := l.fate
	l.mu.Unlock()
	if fate == nil || k != key {
		return l.Store.Put(ctx, k, data, version)
	}
	return fate(func() (uint64, error) { return l.Store.Put(context.WithoutCancel(ctx), k, data, version) })
}

// replica starts a process.
func (f *fleet) replica(change func(*Options)) *replica {
	f.t.Helper()
	r := &replica{fleet: f, store: &link{Store: f.store}, process: f.journals.Start()}
	o := Options{
		Transport: roundTripper(func(req *http.Request) (*http.Response, error) {
			f.connections.Add(1)
			connected(req)
			if r.store.dead.Load() {
				return nil, context.Canceled
			}
			return f.RoundTrip(req)
		}),
		Journals: func([]byte) (journal.Directory, error) { return r.process, nil },
		Provider: func(string) *Provider { return f.provider },
	}
	if change != nil {
		change(&o)
	}
	r.Coordinator = New(credential.NewCache(r.store, credential.CacheOptions{}), o)
	r.SetLogger(f.provider.Logger)
	f.t.Cleanup(func() {
		r.Close()
		if err := r.Wait(context.Background()); err != nil {
			f.t.Error(err)
		}
	})
	return r
}

// kill ends the process: nothing of it gets anywhere any more.
func (r *replica) kill() {
	r.store.dead.Store(true)
	r.process.Kill()
	r.Close()
}

func (r *replica) refresh(rejected *credential.Credential) (*credential.Credential, error) {
	return r.Refresh(context.Background(), r.fleet.provider, tenant, rejected)
}

// settled waits for all that the replica does.
func (r *replica) settled() {
	r.fleet.t.Helper()
	if err := r.Wait(context.Background()); err != nil {
		r.fleet.t.Error(err)
	}
}

// recorded is what the store's document says of its refresh token.
func (f *fleet) recorded() record {
	f.t.Helper()
	return recordOf(f.stored())
}

// putRecord writes r into the document as it is, as an operator does with a patch.
func (f *fleet) putRecord(change func(*record)) *credential.Credential {
	f.t.Helper()
	held := f.stored()
	r := recordOf(held)
	change(&r)
	raw, err := r.in(held)
	if err != nil {
		f.t.Fatal(err)
	}
	return f.put(string(raw))
}

// claimedBy puts a claim into the document that no process of the fleet has made.
func (f *fleet) claimedBy(nonce string) *credential.Credential {
	f.t.Helper()
	now := time.Now().UTC().Format(time.RFC3339Nano)
	return f.putRecord(func(r *record) {
		*r = record{Status: statusSpending, Fingerprint: fingerprint("canary-r1"), Nonce: nonce, Owner: strings.Repeat("0", 32), At: now, Since: now}
	})
}

// wantRecord compares all but times and owner.
func (f *fleet) wantRecord(want record) {
	f.t.Helper()
	got := f.recorded()
	got.At, got.Since, got.Owner = "", "", ""
	if got != want {
		raw, _ := json.Marshal(got)
		f.t.Errorf("the record is %s, want %+v", raw, want)
	}
}

// readyFor is the record of a refresh token that nobody has claimed.
func readyFor(token string) record {
	return record{Status: statusReady, Fingerprint: fingerprint(token)}
}

func (f *fleet) wantLog(text string) {
	f.t.Helper()
	if !strings.Contains(f.log.String(), text) {
		f.t.Errorf("the log has no %q:\n%s", text, f.log.String())
	}
}

func (f *fleet) wantNoLog(text string) {
	f.t.Helper()
	if strings.Contains(f.log.String(), text) {
		f.t.Errorf("the log has %q:\n%s", text, f.log.String())
	}
}

const (
	loggedAgain    = "a refresh token is sent again"
	loggedTakeover = "a claim is taken over"
)

// slowly answers after d.
func slowly(d time.Duration) func(url.Values) (int, string) {
	return func(form url.Values) (int, string) {
		time.Sleep(d)
		return rotate(form)
	}
}

// unreachable is a token endpoint that nobody gets to.
type unreachable struct{}

func (unreachable) RoundTrip(*http.Request) (*http.Response, error) {
	return nil, errors.New("no route to canary")
}
