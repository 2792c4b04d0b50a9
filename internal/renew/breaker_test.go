package renew_test

import (
	"context"
	"crypto/tls"
	"fmt"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/upstreamauth/caddy-upstream-auth/credential"
	"github.com/upstreamauth/caddy-upstream-auth/credential/storetest"
	"github.com/upstreamauth/caddy-upstream-auth/internal/oauth2"
	"github.com/upstreamauth/caddy-upstream-auth/internal/renew"
	"github.com/upstreamauth/caddy-upstream-auth/internal/tokenrequest"
)

// crowd are tenants of one endpoint. A bad one's refresh token is answered as the test says.
type crowd struct {
	*process
	rejected map[credential.Tenant]*credential.Credential
}

// crowd makes tenants of a kind: good0, good1, and so on.
func (f *fleet) crowd(p *process, kind string, n int) *crowd {
	f.t.Helper()
	c := &crowd{process: p, rejected: make(map[credential.Tenant]*credential.Credential)}
	for i := range n {
		name := credential.Tenant(fmt.Sprint(kind, i))
		c.rejected[name] = f.bring(name, kind)
	}
	return c
}

// bring writes a document whose refresh token is named after the tenant's kind.
func (f *fleet) bring(name credential.Tenant, kind string) *credential.Credential {
	f.t.Helper()
	k := credential.Key{Provider: key.Provider, Tenant: name}
	if _, err := f.store.Put(context.Background(), k, fmt.Appendf(nil, `{"access_token":"canary-a1","refresh_token":"canary-%s"}`, kind), 0); err != nil {
		f.t.Fatal(err)
	}
	doc, err := f.store.Get(context.Background(), k)
	if err != nil {
		f.t.Fatal(err)
	}
	return parse(f.t, doc)
}

// storm has each tenant rejected twice a second for d.
func (c *crowd) storm(d time.Duration) {
	var all sync.WaitGroup
	for name, rejected := range c.rejected {
		all.Go(func() {
			for end := time.Now().Add(d); time.Now().Before(end); time.Sleep(500 * time.Millisecond) {
				if _, err := c.Refresh(context.Background(), c.fleet.provider, name, rejected); err == nil {
					return
				}
			}
		})
	}
	all.Wait()
}

// kinds answers bad tokens with silence after a second, and rotates others.
func kinds(code int) answerer {
	return func(form url.Values) *tokenrequest.Response {
		if strings.HasPrefix(form.Get("refresh_token"), "canary-bad") {
			time.Sleep(time.Second)
			return status(code, "")
		}
		return status(200, granted)
	}
}

func TestSilentEndpointIsAskedByFewAtATime(t *testing.T) {
	for _, code := range []int{0, 500, 502, 504} {
		t.Run(fmt.Sprint(code), func(t *testing.T) {
			inFleet(t, func(t *testing.T, f *fleet) {
				f.answers(kinds(code))
				p := f.start(nil)
				bad := f.crowd(p, "bad", 20)
				first := &crowd{process: p, rejected: map[credential.Tenant]*credential.Credential{}}
				for i := range 3 { // open the breaker
					name := credential.Tenant(fmt.Sprint("bad", i))
					first.rejected[name] = bad.rejected[name]
				}
				first.storm(time.Second)
				f.wantAsked(3)
				f.most.Store(0)
				bad.storm(10 * time.Minute)
				if n := f.asked.Load(); n < 3+5 || n > 3+17+20 { // each of the others once, and now and then one of those that have failed
					t.Errorf("%d token requests", n)
				}
				if n := f.most.Load(); n > 2 { // one of those that have failed, and one of the others
					t.Errorf("%d at once", n)
				}
				// It comes back.
				f.answers(always(200, granted))
				start := time.Now()
				bad.storm(20 * time.Minute)
				if took := time.Since(start); took > 11*time.Minute {
					t.Errorf("served after %v", took)
				}
			})
		})
	}
}

// What is wrong is some tenants' own: those that have not failed do not wait for them.
func TestBadCredentialsDoNotDelayGoodOnes(t *testing.T) {
	for _, code := range []int{0, 500} {
		t.Run(fmt.Sprint(code), func(t *testing.T) {
			inFleet(t, func(t *testing.T, f *fleet) {
				f.answers(kinds(code))
				p := f.start(nil)
				p.Start()
				bad := f.crowd(p, "bad", 10)
				var all sync.WaitGroup
				all.Go(func() { bad.storm(5 * time.Minute) })
				time.Sleep(30 * time.Second)
				for i := range 20 {
					good := f.crowd(p, fmt.Sprint("good", i, "-"), 1)
					start := time.Now()
					good.storm(time.Minute)
					// It is held back for a second if the breaker opens while it claims.
					if took := time.Since(start); took > 2500*time.Millisecond {
						t.Errorf("tenant %d is served after %v", i, took)
					}
					time.Sleep(10 * time.Second)
				}
				all.Wait()
			})
		})
	}
}

// Many that have not failed come while one of them tries an open breaker: they wait for
// it, and are served with it.
func TestGoodOnesWaitForTheOneThatTries(t *testing.T) {
	inFleet(t, func(t *testing.T, f *fleet) {
		f.answers(kinds(500))
		p := f.start(nil)
		f.crowd(p, "bad", 3).storm(time.Second)
		f.answers(func(url.Values) *tokenrequest.Response {
			time.Sleep(3 * time.Second)
			return status(200, granted)
		})
		before := f.asked.Load()
		var served atomic.Int64
		for name, rejected := range f.crowd(p, "good", 10).rejected {
			go func() {
				if _, err := p.Refresh(context.Background(), f.provider, name, rejected); err == nil {
					served.Add(1)
				}
			}()
		}
		time.Sleep(time.Second)
		synctest.Wait()
		f.wantAsked(before + 1)
		time.Sleep(6 * time.Second)
		if n := served.Load(); n != 10 {
			t.Errorf("%d of 10 are served", n)
		}
	})
}

// Two credentials alone, however often they fail, open no breaker.
func TestBreakerCountsCredentialsAndNotRequests(t *testing.T) {
	inFleet(t, func(t *testing.T, f *fleet) {
		f.answers(kinds(500))
		p := f.start(nil)
		bad := f.crowd(p, "bad", 2)
		for n := range int64(5) {
			bad.storm(time.Millisecond)
			f.wantAsked(2 * (n + 1)) // both, at once
			time.Sleep(7 * time.Minute)
		}
	})
}

// Those that were used last count, and half of them have to have failed.
func TestBreakerStaysClosedWhileMostAreAnswered(t *testing.T) {
	inFleet(t, func(t *testing.T, f *fleet) {
		f.answers(kinds(500))
		p := f.start(nil)
		one, two := f.crowd(p, "bad-", 1), f.crowd(p, "bad", 2)
		one.storm(time.Second)
		f.crowd(p, "good", 7).storm(time.Second)
		two.storm(time.Second)
		time.Sleep(2 * time.Second)
		var all sync.WaitGroup
		all.Go(func() { one.storm(time.Millisecond) })
		all.Go(func() { two.storm(time.Millisecond) })
		all.Wait()
		f.wantAsked(1 + 7 + 2 + 3)
		if n := f.most.Load(); n < 3 {
			t.Errorf("%d at once", n)
		}
	})
}

// Many are rejected at once, and claim their tokens; what the first get for an answer
// keeps the others from sending theirs, and their claims are released.
func TestTokensAreNotSentIntoABreakerThatHasOpened(t *testing.T) {
	inFleet(t, func(t *testing.T, f *fleet) {
		const tenants = 50
		var turn atomic.Int64
		f.store.After = func(op string, k credential.Key) error {
			if op == storetest.OpPut && k != credential.JournalKey() { // whose maker holds a mutex
				time.Sleep(time.Duration(turn.Add(1)) * time.Millisecond)
			}
			return nil
		}
		p := f.start(nil)
		f.answers(always(500, ""))
		bad := f.crowd(p, "bad", tenants)
		bad.storm(time.Millisecond)
		p.settled()
		f.wantAsked(4) // three, and one that tries
		claimed := 0
		for name := range bad.rejected {
			doc, err := f.store.Get(t.Context(), credential.Key{Provider: key.Provider, Tenant: name})
			if err != nil {
				t.Fatal(err)
			}
			if recordIn(doc.Data)["status"] == "spending" {
				claimed++
			}
		}
		if claimed != 4 {
			t.Errorf("%d are claimed, 4 tokens were sent", claimed)
		}
	})
}

// An attempt to connect costs no token: it is tried every few seconds.
func TestEndpointThatCannotBeReachedIsTriedEveryFewSeconds(t *testing.T) {
	inFleet(t, func(t *testing.T, f *fleet) {
		var tries []time.Time
		p := f.start(func(o *renew.Options) { o.Endpoints = counting{&tries} })
		f.crowd(p, "bad", 3).storm(time.Second)
		tries = nil
		for i := range 40 { // of those that have not failed
			f.crowd(p, fmt.Sprint("new", i, "-"), 1).storm(time.Second)
			time.Sleep(time.Second)
		}
		for i := 1; i < len(tries); i++ {
			if d := tries[i].Sub(tries[i-1]); d < time.Second || d > 8*time.Second {
				t.Errorf("tried again after %v", d)
			}
		}
		if len(tries) < 8 {
			t.Errorf("%d attempts", len(tries))
		}
	})
}

// otherTLS cannot connect for a provider that has TLS settings of its own.
type otherTLS struct{ way }

func (w otherTLS) Dial(ctx context.Context, endpoint string, config *tls.Config) (tokenrequest.Conn, error) {
	if config != nil {
		return nil, &tokenrequest.Error{Reason: "cannot connect", Unspent: true, NoResponse: true}
	}
	return w.way.Dial(ctx, endpoint, config)
}

// Two providers share a token endpoint, and one of them does not get there.
func TestProviderThatCannotConnectDelaysNoOther(t *testing.T) {
	inFleet(t, func(t *testing.T, f *fleet) {
		f.configure(func(o *oauth2.Config) { o.TLS = new(tls.Config) })
		cannot := *f.provider
		cannot.Name = "other"
		f.configure(nil)
		p := f.start(func(o *renew.Options) { o.Endpoints = otherTLS{o.Endpoints.(way)} })
		f.answers(always(200, granted))
		ctx, stop := context.WithCancel(t.Context())
		var all sync.WaitGroup
		for i := range 30 {
			name := credential.Tenant(fmt.Sprint("other-", i))
			document := f.stored().Stored()
			if _, err := f.store.Put(ctx, credential.Key{Provider: cannot.Name, Tenant: name}, document, 0); err != nil {
				t.Fatal(err)
			}
			rejected := f.stored()
			all.Go(func() {
				for ; ctx.Err() == nil; time.Sleep(500 * time.Millisecond) {
					_, _ = p.Refresh(ctx, &cannot, name, rejected)
				}
			})
		}
		time.Sleep(30 * time.Second)
		for i := range 20 {
			start := time.Now()
			f.crowd(p, fmt.Sprint("good", i, "-"), 1).storm(time.Minute)
			if took := time.Since(start); took > time.Second {
				t.Errorf("it took %v", took)
			}
			time.Sleep(7 * time.Second)
		}
		stop()
		all.Wait()
	})
}

// Of a process that has just started nobody has failed yet.
func TestTenantsWithoutAnAnswerDelayOthersLittleAtTheStart(t *testing.T) {
	inFleet(t, func(t *testing.T, f *fleet) {
		f.answers(func(form url.Values) *tokenrequest.Response {
			if strings.HasPrefix(form.Get("refresh_token"), "canary-bad") {
				return status(500, "")
			}
			return status(200, granted)
		})
		p := f.start(nil)
		p.Start()
		var all sync.WaitGroup
		for i := range 30 {
			all.Go(func() {
				time.Sleep(time.Duration(i) * time.Second / 3)
				f.crowd(p, fmt.Sprint("bad", i, "-"), 1).storm(time.Minute)
			})
		}
		for i := range 20 {
			all.Go(func() {
				time.Sleep(time.Duration(i) * time.Second / 2)
				start := time.Now()
				f.crowd(p, fmt.Sprint("good", i, "-"), 1).storm(time.Minute)
				if took := time.Since(start); took > 3*time.Second {
					t.Errorf("a good one took %v", took)
				}
			})
		}
		all.Wait()
	})
}

// Whoever waits for one that tries goes on as soon as that has an answer.
func TestGoodCredentialGoesOnWhenTheOneThatTriesHasAnAnswer(t *testing.T) {
	inFleet(t, func(t *testing.T, f *fleet) {
		f.answers(func(form url.Values) *tokenrequest.Response {
			if strings.HasPrefix(form.Get("refresh_token"), "canary-bad") {
				return status(500, "")
			}
			time.Sleep(300 * time.Millisecond)
			return status(200, granted)
		})
		p := f.start(nil)
		f.crowd(p, "bad", 3).storm(time.Millisecond)
		time.Sleep(2 * time.Second) // the breaker is open, and one may try
		good := f.crowd(p, "good", 5)
		start := time.Now()
		good.storm(time.Minute)
		if took := time.Since(start); took > 700*time.Millisecond {
			t.Errorf("all were served after %v", took)
		}
	})
}
