package renew_test

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tidwall/gjson"
	"github.com/tidwall/sjson"
	"go.uber.org/goleak"

	"github.com/upstreamauth/caddy-upstream-auth/credential"
	"github.com/upstreamauth/caddy-upstream-auth/credential/storetest"
	"github.com/upstreamauth/caddy-upstream-auth/internal/oauth2"
	"github.com/upstreamauth/caddy-upstream-auth/internal/renew"
	"github.com/upstreamauth/caddy-upstream-auth/internal/renew/journal"
	"github.com/upstreamauth/caddy-upstream-auth/internal/renew/journal/journaltest"
	"github.com/upstreamauth/caddy-upstream-auth/internal/template"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// What is secret, and a tenant's name, has "canary" in it.
const (
	tenant  = credential.Tenant("tenant-canary")
	granted = `{"access_token":"canary-a2","refresh_token":"canary-r2"}`
)

var key = credential.Key{Provider: "crm", Tenant: tenant}

// fleet is a store, a machine and a token endpoint that several processes share. The
// document has access token canary-a1 and refresh token canary-r1; the endpoint rotates
// both.
type fleet struct {
	t        *testing.T
	store    *storetest.Memory
	journals *journaltest.Directory
	provider *renew.Provider
	present  atomic.Pointer[renew.Provider] // the same, for processes
	*endpoint
}

// inFleet runs a test on synthetic time with a new fleet of no processes.
func inFleet(t *testing.T, test func(t *testing.T, f *fleet)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		f := &fleet{t: t, store: storetest.NewMemory(), journals: journaltest.NewDirectory(), endpoint: &endpoint{answer: rotate}}
		t.Cleanup(func() { // the endpoint's last answers, which nobody listens for
			for f.inFlight.Load() > 0 {
				time.Sleep(time.Minute)
			}
		})
		f.configure(nil)
		f.put(`{"access_token":"canary-a1","refresh_token":"canary-r1","note":"kept"}`)
		test(t, f)
	})
}

// configure makes another provider of the same name.
func (f *fleet) configure(change func(*oauth2.Config)) {
	f.t.Helper()
	o := &oauth2.Config{TokenURL: text(f.t, "https://as.example/token"), Client: oauth2.Client{ClientID: text(f.t, "client"), ClientSecrets: []oauth2.Secret{{Text: text(f.t, "canary-secret")}}}}
	if change != nil {
		change(o)
	}
	r, err := oauth2.New(*o)
	if err != nil {
		f.t.Fatal(err)
	}
	f.provider = renew.NewProvider(key.Provider, r, "1")
	f.present.Store(f.provider)
}

// reconfigured makes the provider one of another configuration.
func (f *fleet) reconfigured() {
	p := *f.provider
	p.Fingerprint = "2"
	f.provider = &p
	f.present.Store(f.provider)
}

func takeover(d time.Duration) func(*oauth2.Config) {
	return func(o *oauth2.Config) { o.Takeover = d }
}

const never time.Duration = -1

func text(t testing.TB, s string) *template.Template {
	t.Helper()
	parsed, err := template.Parse(s, nil)
	if err != nil {
		t.Fatal(err)
	}
	return parsed
}

func parse(t testing.TB, doc credential.Document) *credential.Credential {
	t.Helper()
	c, err := credential.New(doc)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// put writes the document as somebody from outside.
func (f *fleet) put(document string) *credential.Credential {
	f.t.Helper()
	held, err := f.store.Get(context.Background(), key)
	if err != nil && !errors.Is(err, credential.ErrNotFound) {
		f.t.Fatal(err)
	}
	if _, err := f.store.Put(context.Background(), key, []byte(document), held.Version); err != nil {
		f.t.Fatal(err)
	}
	return f.stored()
}

func (f *fleet) delete() {
	f.t.Helper()
	if err := f.store.Delete(context.Background(), key); err != nil {
		f.t.Error(err)
	}
}

func (f *fleet) stored() *credential.Credential {
	f.t.Helper()
	doc, err := f.store.Get(context.Background(), key)
	if err != nil {
		f.t.Fatal(err)
	}
	return parse(f.t, doc)
}

// says is a record as it stands in a document.
type says map[string]string

func (f *fleet) record() says {
	f.t.Helper()
	return recordIn(f.stored().Stored())
}

func recordIn(document []byte) says {
	found := make(says)
	gjson.GetBytes(document, credential.ReservedField).ForEach(func(name, value gjson.Result) bool {
		found[name.Str] = value.String()
		return true
	})
	return found
}

// putRecord writes the document with another record.
func (f *fleet) putRecord(r says) *credential.Credential {
	f.t.Helper()
	return f.put(withRecord(f.stored().JSON(), r))
}

func withRecord(document []byte, r says) string {
	raw, _ := json.Marshal(r)
	data, err := sjson.SetRawBytes(document, credential.ReservedField, raw)
	if err != nil {
		panic(err)
	}
	return string(data)
}

func fingerprint(token string) string {
	sum := sha256.Sum256([]byte(token))
	return hex.EncodeToString(sum[:])[:32]
}

func stamp(at time.Time) string { return at.UTC().Format(time.RFC3339Nano) }

// claimOf is a claim on canary-r1 that no process of the fleet has made.
func claimOf(nonce string) says {
	return says{
		"status": "spending", "fingerprint": fingerprint("canary-r1"), "nonce": nonce,
		"owner": strings.Repeat("0", 32), "at": stamp(time.Now()), "since": stamp(time.Now()),
	}
}

func readyFor(token string) says { return says{"status": "ready", "fingerprint": fingerprint(token)} }

func refusedFor(token string) says { //nolint:unparam // beside readyFor
	return says{"status": "reauthorization_required", "fingerprint": fingerprint(token)}
}

// wantRecord compares all but times and owner.
func (f *fleet) wantRecord(want says) {
	f.t.Helper()
	got := f.record()
	for _, varies := range []string{"at", "since", "owner", "listens"} {
		delete(got, varies)
	}
	if !maps.Equal(got, want) {
		f.t.Errorf("the record is %v, want %v", got, want)
	}
}

func (f *fleet) wantDocument(want string) {
	f.t.Helper()
	var a, b any
	if err := errors.Join(json.Unmarshal(f.stored().JSON(), &a), json.Unmarshal([]byte(want), &b)); err != nil {
		f.t.Fatal(err)
	}
	if x, y := fmt.Sprint(a), fmt.Sprint(b); x != y {
		f.t.Errorf("document is %s, want %s", f.stored().Stored(), want)
	}
}

// wantLeft says how many claims are unsettled in the journals of exited processes.
func (f *fleet) wantLeft(want int) {
	f.t.Helper()
	adopted, left, err := f.journals.Start().Adopt()
	if err != nil || len(left) != 0 {
		f.t.Fatalf("left %v, %v", left, err)
	}
	got := 0
	for _, a := range adopted {
		got += len(a.Unsettled())
	}
	if got != want {
		f.t.Errorf("%d claims are left, want %d", got, want)
	}
}

// process is one with a coordinator of its own.
type process struct {
	*renew.Coordinator
	fleet   *fleet
	link    *link
	cache   *credential.Cache
	journal *journaltest.Process

	mu     sync.Mutex
	events []renew.Event
}

// start starts a process. Its events must not tell a secret.
func (f *fleet) start(change func(*renew.Options)) *process {
	f.t.Helper()
	p := &process{fleet: f, link: &link{Store: f.store}, journal: f.journals.Start()}
	p.cache = credential.NewCache(p.link, credential.CacheOptions{})
	o := renew.Options{
		Endpoints: way{p},
		Journals:  func([]byte) (journal.Directory, error) { return p.journal, nil },
		Provider:  func(string) *renew.Provider { return f.present.Load() },
		Observe:   p.observe,
	}
	if change != nil {
		change(&o)
	}
	p.Coordinator = renew.New(p.cache, o)
	f.t.Cleanup(func() {
		p.Close()
		p.settled()
	})
	return p
}

func (p *process) observe(e renew.Event) {
	e.Tenant = ""
	if told := fmt.Sprintf("%+v %v", e, e.Err); strings.Contains(told, "canary") {
		p.fleet.t.Errorf("an event tells a secret: %s", told)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.events = append(p.events, e)
}

// count is how often it was told.
func (p *process) count(kind renew.EventKind) (n int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, e := range p.events {
		if e.Kind == kind {
			n++
		}
	}
	return n
}

func (p *process) wantEvents(kind renew.EventKind, want int) {
	p.fleet.t.Helper()
	if got := p.count(kind); got != want {
		p.fleet.t.Errorf("%d times %q, want %d", got, kind, want)
	}
}

// kill ends the process: nothing of it gets anywhere any more.
func (p *process) kill() {
	p.link.dead.Store(true)
	p.journal.Kill()
	p.Close()
}

func (p *process) refresh(rejected *credential.Credential) (*credential.Credential, error) {
	return p.Refresh(context.Background(), p.fleet.provider, tenant, rejected)
}

// refreshUntil calls once a second for as long as there is an error, for no longer than d,
// and returns what the last call returned.
func (p *process) refreshUntil(rejected *credential.Credential, d time.Duration) (fresh *credential.Credential, err error) {
	for end := time.Now().Add(d); time.Now().Before(end); time.Sleep(time.Second) {
		if fresh, err = p.refresh(rejected); err == nil {
			return fresh, nil
		}
	}
	return nil, err
}

// settled waits for all that the process does.
func (p *process) settled() {
	p.fleet.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Hour)
	defer cancel()
	if err := p.Wait(ctx); err != nil {
		p.fleet.t.Error("something does not end")
	}
}

func (p *process) cached() *credential.Credential {
	p.fleet.t.Helper()
	c, err := p.cache.Get(context.Background(), key)
	if err != nil {
		p.fleet.t.Fatal(err)
	}
	return c
}

func wantToken(t testing.TB, c *credential.Credential, err error, want string) {
	t.Helper()
	if err != nil {
		t.Fatalf("no credential: %v; want %s", err, want)
	}
	if got := c.Get("access_token").Str; got != want {
		t.Fatalf("access token %s, want %s", got, want)
	}
}

// wantError also checks that the error tells no secret.
func wantError(t testing.TB, c *credential.Credential, err, want error) {
	t.Helper()
	if !errors.Is(err, want) || c != nil {
		t.Fatalf("got %v, %v; want %v", c, err, want)
	}
	if strings.Contains(err.Error(), "canary") {
		t.Fatalf("the error tells a secret: %v", err)
	}
}

// wantTook says how long something took, to a tenth of a second.
func wantTook(t testing.TB, start time.Time, want time.Duration) {
	t.Helper()
	if took := time.Since(start).Round(100 * time.Millisecond); took != want {
		t.Errorf("it took %v, want %v", took, want)
	}
}

// link is a process's way to the store. What it does there is up to the test.
type link struct {
	credential.Store
	dead atomic.Bool
	skew time.Duration // of the store's clock

	mu    sync.Mutex
	fate  func(put func() (uint64, error)) (uint64, error) // of writes of the document
	reads func() error                                     // before a read of the document
	older map[uint64]func(credential.Document, error) (credential.Document, error)

	lists   atomic.Int64
	forbids atomic.Bool // lists
}

func (l *link) puts(fate func(put func() (uint64, error)) (uint64, error)) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.fate = fate
}

func (l *link) gets(reads func() error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.reads = reads
}

func (l *link) Get(ctx context.Context, k credential.Key) (credential.Document, error) {
	l.mu.Lock()
	reads := l.reads
	l.mu.Unlock()
	if reads != nil && k == key {
		if err := reads(); err != nil {
			return credential.Document{}, err
		}
	}
	if l.dead.Load() {
		return credential.Document{}, credential.ErrUnavailable
	}
	doc, err := l.Store.Get(ctx, k)
	if err == nil {
		doc.ReadAt = doc.ReadAt.Add(l.skew)
	}
	return doc, err
}

func (l *link) List(ctx context.Context, provider string, after credential.Tenant, limit int) ([]credential.Tenant, error) {
	l.lists.Add(1)
	if l.forbids.Load() {
		return nil, &credential.PermissionError{Capabilities: []string{"list"}, Path: "secret/metadata/x/*"}
	}
	return l.Store.List(ctx, provider, after, limit)
}

func (l *link) GetVersion(ctx context.Context, k credential.Key, version uint64) (credential.Document, error) {
	doc, err := l.Store.GetVersion(ctx, k, version)
	if change := l.older[version]; change != nil {
		return change(doc, err)
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
