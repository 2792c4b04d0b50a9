package renew_test

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tidwall/sjson"

	"github.com/upstreamauth/caddy-upstream-auth/credential"
	"github.com/upstreamauth/caddy-upstream-auth/internal/oauth2"
	"github.com/upstreamauth/caddy-upstream-auth/internal/renew"
	"github.com/upstreamauth/caddy-upstream-auth/internal/tokenrequest"
	"github.com/upstreamauth/caddy-upstream-auth/scheme"
)

const (
	day      = 24 * time.Hour
	interval = 2 * day
)

// population is many tenants of a fleet, whose refresh tokens are kept alive. That of tenant
// t1 is t1-r1, then t1-r2, and so on.
type population struct {
	*fleet
	extra string // what is in each answer besides

	mu    sync.Mutex
	spent map[string][]time.Time // by refresh token
	used  map[string][]time.Time // by tenant
}

func (f *fleet) populate(n int) *population {
	f.t.Helper()
	f.delete()
	f.configure(func(o *oauth2.Config) { o.KeepAlive = interval })
	p := &population{fleet: f, spent: make(map[string][]time.Time), used: make(map[string][]time.Time)}
	for i := range n {
		p.bring(fmt.Sprint("t", i), "")
	}
	f.answers(p.rotate)
	return p
}

// bring writes a tenant's document.
func (p *population) bring(tenant, more string) {
	p.t.Helper()
	at := credential.Key{Provider: key.Provider, Tenant: credential.Tenant(tenant)}
	document := fmt.Sprintf(`{"access_token":"%s-a1","refresh_token":"%s-r1"%s}`, tenant, tenant, more)
	if _, err := p.store.Put(context.Background(), at, []byte(document), 0); err != nil {
		p.t.Fatal(err)
	}
}

func (p *population) rotate(form url.Values) *tokenrequest.Response {
	token := form.Get("refresh_token")
	tenant, number, _ := strings.Cut(token, "-r")
	n := 0
	fmt.Sscan(number, &n) //nolint:errcheck // it stays 0
	p.mu.Lock()
	defer p.mu.Unlock()
	p.spent[token] = append(p.spent[token], time.Now())
	p.used[tenant] = append(p.used[tenant], time.Now())
	return status(200, fmt.Sprintf(`{"access_token":"%s-a%d","refresh_token":"%s-r%d"%s}`, tenant, n+1, tenant, n+1, p.extra))
}

// uses are when a tenant's tokens were spent.
func (p *population) uses(tenant string) []time.Time {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.used[tenant]
}

// wantSpentOnce checks that no token was sent twice.
func (p *population) wantSpentOnce() {
	p.t.Helper()
	p.mu.Lock()
	defer p.mu.Unlock()
	for token, at := range p.spent {
		if len(at) > 1 {
			p.t.Errorf("%s was sent %d times: %v", token, len(at), at)
		}
	}
}

// keepAlive has a process keep tokens alive until stop, which returns when that has ended.
func (p *population) keepAlive(by *process) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		by.KeepAlive(ctx, p.provider, slog.New(slog.DiscardHandler))
	}()
	stop = func() {
		cancel()
		<-ended
	}
	p.t.Cleanup(stop)
	return stop
}

// Each idle tenant is refreshed once in each interval, by one of two processes, and at a time
// of its own; one that is used otherwise is not.
func TestIdleTokensAreKeptAlive(t *testing.T) {
	const tenants, intervals = 2000, 3
	inFleet(t, func(t *testing.T, f *fleet) {
		p := f.populate(tenants)
		for i := range 10 {
			p.bring(fmt.Sprint("busy", i), "")
		}
		a, b := f.start(nil), f.start(nil)
		stopA, stopB := p.keepAlive(a), p.keepAlive(b)
		start := time.Now()
		for time.Since(start) < intervals*interval {
			time.Sleep(interval / 4)
			for i := range 10 {
				tenant := credential.Tenant(fmt.Sprint("busy", i))
				doc, err := f.store.Get(context.Background(), credential.Key{Provider: key.Provider, Tenant: tenant})
				if err != nil {
					t.Fatal(err)
				}
				if _, err := a.Refresh(context.Background(), f.provider, tenant, parse(t, doc)); err != nil {
					t.Fatal(err)
				}
			}
		}
		stopA()
		stopB()
		p.wantSpentOnce()
		slots := make(map[int64]int)
		const slot = interval / 96 // half an hour
		for i := range tenants {
			used, last := p.uses(fmt.Sprint("t", i)), start
			for _, at := range used {
				if idle := at.Sub(last); idle < interval/2 || idle > interval+5*time.Minute {
					t.Errorf("t%d: refreshed after %v", i, idle)
				}
				if last != start && at.Sub(last) < interval-5*time.Minute {
					t.Errorf("t%d: refreshed again after %v", i, at.Sub(last))
				}
				last = at
				slots[int64(at.Sub(start)/slot)]++
			}
			if n := len(used); n < intervals-1 || n > intervals {
				t.Errorf("t%d: refreshed %d times in %d intervals", i, n, intervals)
			}
		}
		for at, n := range slots {
			if n > 4*tenants/96 {
				t.Errorf("%d refreshes %v after the start", n, time.Duration(at)*slot)
			}
		}
		for i := range 10 {
			if n := len(p.uses(fmt.Sprint("busy", i))); n != 4*intervals {
				t.Errorf("busy%d: %d token requests, %d of them asked for", i, n, 4*intervals)
			}
		}
		if n := f.store.Gets(); n > 10*2*tenants*intervals {
			t.Errorf("the store was read %d times", n)
		}
		if n := a.cache.Len() + b.cache.Len(); n > tenants/10 {
			t.Errorf("%d credentials are cached", n)
		}
	})
}

// What was due while nobody ran is done soon after the start, though not at once; a restart
// has nothing done twice, and an end leaves nothing out.
func TestTurnsAreNotLostByRestarts(t *testing.T) {
	const tenants = 500
	inFleet(t, func(t *testing.T, f *fleet) {
		p := f.populate(tenants)
		time.Sleep(10 * interval)
		start := time.Now()
		stop := p.keepAlive(f.start(nil))
		time.Sleep(time.Minute)
		if n := f.asked.Load(); n == 0 || n > 70 {
			t.Errorf("%d tokens were sent within a minute", n)
		}
		for range 20 {
			stop()
			stop = p.keepAlive(f.start(nil)) // a new process
			time.Sleep(3 * time.Minute)
		}
		time.Sleep(time.Hour)
		for i := range tenants {
			if n := len(p.uses(fmt.Sprint("t", i))); n != 1 {
				t.Errorf("t%d: refreshed %d times", i, n)
			}
		}
		for time.Since(start) < 2*interval {
			stop()
			stop = p.keepAlive(f.start(nil))
			time.Sleep(7 * time.Hour)
		}
		stop()
		p.wantSpentOnce()
		for i := range tenants {
			if n := len(p.uses(fmt.Sprint("t", i))); n < 2 || n > 3 {
				t.Errorf("t%d: refreshed %d times", i, n)
			}
		}
	})
}

// Of an old configuration and a new one, one keeps tokens alive at a time, and the new one
// does not read again what the old one has read.
func TestReloadGoesOnKeepingAlive(t *testing.T) {
	inFleet(t, func(t *testing.T, f *fleet) {
		p := f.populate(100)
		a := f.start(nil)
		stopOld := p.keepAlive(a)
		time.Sleep(time.Hour)
		read, listed := f.store.Gets(), a.link.lists.Load()
		stopNew := p.keepAlive(a)
		time.Sleep(10 * time.Minute)
		if n := a.link.lists.Load(); n > listed+1 {
			t.Errorf("tenants were listed %d times more beside the old configuration", n-listed)
		}
		stopOld()
		time.Sleep(10 * time.Minute)
		if n := f.store.Gets(); n != read {
			t.Errorf("%d documents were read again", n-read)
		}
		time.Sleep(interval)
		stopNew()
		if n := f.asked.Load(); n != 100 {
			t.Errorf("%d tokens were sent", n)
		}
	})
}

// There is nothing to be kept alive where nobody may refresh, or could.
func TestWhatCannotBeKeptAliveIsLeftAlone(t *testing.T) {
	inFleet(t, func(t *testing.T, f *fleet) {
		p := f.populate(0)
		p.bring("disabled", `,"_upstream_auth":{"disabled":"true"}`)
		p.bring("refused", `,"_upstream_auth":{"status":"reauthorization_required","fingerprint":"`+fingerprint("refused-r1")+`"}`)
		p.bring("deleted", "")
		for tenant, document := range map[string]string{"tokenless": `{"access_token":"a"}`, "null": `{"access_token":"a","refresh_token":null}`} {
			if _, err := f.store.Put(context.Background(), credential.Key{Provider: key.Provider, Tenant: credential.Tenant(tenant)}, []byte(document), 0); err != nil {
				t.Fatal(err)
			}
		}
		if err := f.store.Delete(context.Background(), credential.Key{Provider: key.Provider, Tenant: "deleted"}); err != nil {
			t.Fatal(err)
		}
		stop := p.keepAlive(f.start(nil))
		time.Sleep(3 * interval)
		f.wantAsked(0)
		if n := f.store.Gets(); n > 6*(2*3+1) {
			t.Errorf("%d reads", n)
		}
		p.bring("new", "")
		time.Sleep(interval + 5*time.Minute)
		stop()
		if n := len(p.uses("new")); n != 1 {
			t.Errorf("a tenant that came later was refreshed %d times", n)
		}
	})
}

// A failure is one tenant's, and is tried again within an eighth of the interval, and an hour:
// not as if a token that was not looked at had been used.
func TestFailuresToKeepAliveAreTriedAgain(t *testing.T) {
	inFleet(t, func(t *testing.T, f *fleet) {
		p := f.populate(50)
		var works atomic.Bool
		f.answers(func(form url.Values) *tokenrequest.Response {
			if tenant, _, _ := strings.Cut(form.Get("refresh_token"), "-r"); tenant == "t7" && !works.Load() {
				p.rotate(url.Values{"refresh_token": {tenant + "-r0"}})
				return status(503, "")
			}
			return p.rotate(form)
		})
		a := f.start(nil)
		stop := p.keepAlive(a)
		time.Sleep(interval + time.Hour)
		failed := p.uses("t7")
		if len(failed) == 0 {
			t.Fatal("t7 was not tried")
		}
		for i := range failed[1:] {
			if pause := failed[i+1].Sub(failed[i]); pause < 50*time.Minute || pause > 70*time.Minute {
				t.Errorf("t7 was tried again after %v", pause)
			}
		}
		for i := range 50 {
			if n := len(p.uses(fmt.Sprint("t", i))); i != 7 && n != 1 {
				t.Errorf("t%d: refreshed %d times", i, n)
			}
		}
		works.Store(true)
		before := len(p.uses("t7"))
		time.Sleep(interval / 4)
		if n := len(p.uses("t7")) - before; n != 1 {
			t.Errorf("t7 was refreshed %d times once that works", n)
		}
		f.answers(always(400, `{"error":"invalid_grant"}`))
		asked := f.asked.Load()
		time.Sleep(3 * interval)
		stop()
		if n := f.asked.Load() - asked; n != 50 {
			t.Errorf("%d token requests for 50 tokens that are refused for good", n)
		}
	})
}

// A token whose server says that it ends before its turn is renewed before that; one that is
// renewed with the same end over and over is not renewed without end, and neither is one
// whose end is over.
func TestTokensThatEndEarlyAreKeptAlive(t *testing.T) {
	for name, test := range map[string]struct {
		extra       func(start time.Time) string
		soonest     time.Duration
		least, most int // times that it is renewed
	}{
		"each lives a day":    {func(time.Time) string { return `,"refresh_token_expires_in":86400` }, 18*time.Hour - time.Minute, 11, 13},
		"each lives a second": {func(time.Time) string { return `,"refresh_token_expires_in":1` }, 10 * time.Minute, 8 * 24 * 5, 10 * 24 * 6},
		"all end at a time": {func(start time.Time) string {
			return `,"refresh_token_expires_at":"` + start.Add(3*day).UTC().Format(time.RFC3339) + `"`
		}, 10 * time.Minute, 5, 20},
		"all ended before": {func(start time.Time) string {
			return `,"refresh_token_expires_at":"` + start.Add(-3*day).UTC().Format(time.RFC3339) + `"`
		}, interval - time.Hour, 3, 5},
	} {
		t.Run(name, func(t *testing.T) {
			inFleet(t, func(t *testing.T, f *fleet) {
				p := f.populate(0)
				p.extra = test.extra(time.Now())
				p.bring("t", "")
				start := time.Now()
				stop := p.keepAlive(f.start(nil))
				time.Sleep(interval)
				if len(p.uses("t")) == 0 {
					t.Fatal("it was not renewed")
				}
				time.Sleep(8 * day)
				stop()
				used := p.uses("t")
				for i := range used[1:] {
					if pause := used[i+1].Sub(used[i]); pause < test.soonest || pause > interval+5*time.Minute {
						t.Errorf("renewed after %v", pause)
					}
				}
				if len(used) < test.least || len(used) > test.most {
					t.Errorf("renewed %d times in %v", len(used), time.Since(start))
				}
			})
		})
	}
}

// A document that is written anew is not taken for a token that was used.
func TestAWriteIsNoUse(t *testing.T) {
	inFleet(t, func(t *testing.T, f *fleet) {
		p := f.populate(1)
		stop := p.keepAlive(f.start(nil))
		defer stop()
		time.Sleep(interval + 5*time.Minute)
		at := credential.Key{Provider: key.Provider, Tenant: "t0"}
		for end := time.Now().Add(interval); time.Now().Before(end); time.Sleep(interval / 10) {
			doc, err := f.store.Get(context.Background(), at)
			if err != nil {
				t.Fatal(err)
			}
			note, err := sjson.SetBytes(parse(t, doc).JSON(), "note", stamp(time.Now()))
			if err != nil {
				t.Fatal(err)
			}
			changed, err := renew.Carry(parse(t, doc), note, "api")
			if err != nil {
				t.Fatal(err)
			}
			if _, err := f.store.Put(context.Background(), at, changed, doc.Version); err != nil {
				t.Fatal(err)
			}
		}
		time.Sleep(5 * time.Minute)
		if n := len(p.uses("t0")); n != 2 {
			t.Errorf("refreshed %d times in two intervals", n)
		}
	})
}

// What is missing in the store's policy is logged once.
func TestForbiddenListIsLoggedOnce(t *testing.T) {
	inFleet(t, func(t *testing.T, f *fleet) {
		p := f.populate(1)
		var log bytes.Buffer
		a := f.start(nil)
		a.link.forbids.Store(true)
		ctx, cancel := context.WithCancel(context.Background())
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			a.KeepAlive(ctx, p.provider, slog.New(slog.NewTextHandler(&log, nil)))
		}()
		time.Sleep(day)
		f.wantAsked(0)
		a.link.forbids.Store(false)
		time.Sleep(interval)
		cancel()
		<-ended
		f.wantAsked(1)
		if got := log.String(); strings.Count(got, "\n") != 2 || !strings.Contains(got, "does not allow list on secret/metadata/x/*") || !strings.Contains(got, "can be listed again") {
			t.Errorf("the log says\n%s", got)
		}
	})
}

// explosive is a renewer with a defect.
type explosive struct{ scheme.Renewer }

func (explosive) Spends(*credential.Credential) (string, error) { panic("canary") }

// A defect that keeping tokens alive meets does not end the proxy.
func TestDefectsDoNotEndKeepingAlive(t *testing.T) {
	inFleet(t, func(t *testing.T, f *fleet) {
		p := f.populate(1)
		defect := *f.provider
		defect.Renewer = explosive{f.provider.Renewer}
		f.provider = &defect
		a := f.start(nil)
		stop := p.keepAlive(a)
		time.Sleep(5*time.Hour + 30*time.Minute)
		stop()
		if n := a.count(renew.Panicked); n < 4 || n > 6 {
			t.Errorf("the defect was met %d times in five hours", n)
		}
	})
}
