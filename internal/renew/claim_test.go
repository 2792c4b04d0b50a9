package renew_test

import (
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/upstreamauth/caddy-upstream-auth/credential"
	"github.com/upstreamauth/caddy-upstream-auth/internal/oauth2"
	"github.com/upstreamauth/caddy-upstream-auth/internal/renew"
	"github.com/upstreamauth/caddy-upstream-auth/internal/tokenrequest"
	"github.com/upstreamauth/caddy-upstream-auth/scheme"
)

func TestClaimIsInTheDocumentWhenTheTokenIsSent(t *testing.T) {
	inFleet(t, func(t *testing.T, f *fleet) {
		p := f.start(nil)
		f.answers(func(form url.Values) *tokenrequest.Response {
			during := f.record()
			now := stamp(time.Now())
			if during["status"] != "spending" || during["fingerprint"] != fingerprint("canary-r1") || len(during["nonce"]) != 32 ||
				during["owner"] != f.journals.IDs()[0] || during["at"] != now || during["since"] != now || during["listens"] != "9m45s" || f.stored().Version() != 2 {
				t.Errorf("version %d says %v", f.stored().Version(), during)
			}
			return rotate(form)
		})
		fresh, err := p.refresh(f.stored())
		wantToken(t, fresh, err, "canary-a2")
		if held := f.record(); len(held) != 2 {
			t.Errorf("the claim left %v", held)
		}
	})
}

func TestClaimIsWaitedForByOnePoller(t *testing.T) {
	inFleet(t, func(t *testing.T, f *fleet) {
		f.answers(slowly(8 * time.Second))
		rejected := f.stored()
		first, second := f.start(nil), f.start(nil)
		var all sync.WaitGroup
		all.Go(func() {
			fresh, err := first.refresh(rejected)
			wantToken(t, fresh, err, "canary-a2")
		})
		time.Sleep(time.Second)
		before := f.store.Gets()
		for range 100 {
			all.Go(func() {
				start := time.Now()
				fresh, err := second.refresh(rejected)
				wantToken(t, fresh, err, "canary-a2")
				if took := time.Since(start); took < 7*time.Second || took > 8250*time.Millisecond {
					t.Errorf("waited %v", took)
				}
			})
		}
		all.Wait()
		f.wantAsked(1)
		if reads := f.store.Gets() - before; reads < 8 || reads > 25 {
			t.Errorf("%d reads in 7 s", reads)
		}
	})
}

func TestWithoutRotationNothingIsClaimed(t *testing.T) {
	inFleet(t, func(t *testing.T, f *fleet) {
		f.configure(func(o *oauth2.Config) { o.Rotation = scheme.RotationNone })
		f.answers(always(200, `{"access_token":"canary-a2"}`))
		p, before := f.start(nil), f.stored()
		fresh, err := p.refresh(before)
		wantToken(t, fresh, err, "canary-a2")
		if v := f.stored().Version(); v != before.Version()+1 {
			t.Errorf("version %d", v)
		}
		f.wantRecord(says{})
		if ids := f.journals.IDs(); len(ids) != 0 {
			t.Errorf("%d journals", len(ids))
		}
	})
}

// A server that is said not to rotate and does so all the same.
func TestWithoutRotationATokenThatComesAllTheSameIsNotLost(t *testing.T) {
	inFleet(t, func(t *testing.T, f *fleet) {
		f.configure(func(o *oauth2.Config) { o.Rotation = scheme.RotationNone })
		p := f.start(nil)
		f.answers(func(form url.Values) *tokenrequest.Response {
			p.link.dead.Store(true) // it cannot commit any more
			return rotate(form)
		})
		rejected := f.stored()
		// The journals' key is there: somebody used it before.
		if _, err := renew.SharedKey(t.Context(), f.store); err != nil {
			t.Fatal(err)
		}
		p.Start()
		time.Sleep(time.Second)
		fresh, err := p.refresh(rejected)
		wantToken(t, fresh, err, "canary-a2")
		p.kill()
		other := f.start(nil)
		other.Start()
		time.Sleep(5 * time.Second)
		f.wantDocument(`{"access_token":"canary-a2","refresh_token":"canary-r2","note":"kept"}`)
		f.wantAsked(1)
	})
}

// What is known of a token is known of that token: it is claimed each time, and its
// document says that it survived.
func TestTokenThatStaysIsClaimedEachTime(t *testing.T) {
	for name, answer := range map[string]string{"no refresh token": `"}`, "the same": `","refresh_token":"canary-r1"}`} {
		t.Run(name, func(t *testing.T) {
			inFleet(t, func(t *testing.T, f *fleet) {
				p := f.start(nil)
				survived := readyFor("canary-r1")
				survived["survived"] = "true"
				for _, access := range []string{"canary-a2", "canary-a3", "canary-a4"} {
					before := f.stored()
					f.answers(func(url.Values) *tokenrequest.Response {
						if during := f.record(); during["status"] != "spending" || during["survived"] != f.recordBefore()["survived"] {
							t.Errorf("it is sent under %v", during)
						}
						return status(200, `{"access_token":"`+access+answer)
					})
					fresh, err := p.refresh(before)
					wantToken(t, fresh, err, access)
					f.wantRecord(survived)
					if n := f.stored().Version() - before.Version(); n != 2 {
						t.Errorf("%d writes", n)
					}
				}
				// That one token stayed says nothing of the next.
				f.answers(always(200, `{"access_token":"canary-a5","refresh_token":"canary-r5"}`))
				fresh, err := p.refresh(f.stored())
				wantToken(t, fresh, err, "canary-a5")
				f.wantRecord(readyFor("canary-r5"))
				f.wantAsked(4)
				p.wantEvents(renew.SentAgain, 0)
			})
		})
	}
}

// recordBefore is the record of the version before the newest.
func (f *fleet) recordBefore() says {
	f.t.Helper()
	doc, err := f.store.GetVersion(f.t.Context(), key, f.stored().Version()-1)
	if err != nil {
		f.t.Fatal(err)
	}
	return recordIn(doc.Data)
}

// Fates of a write.
var (
	applied = func(put func() (uint64, error)) (uint64, error) { put(); return 0, credential.ErrUnavailable }
	lost    = func(func() (uint64, error)) (uint64, error) { return 0, credential.ErrUnavailable }
	// repeated is what a proxy on the way does: the first is applied, the second answered.
	repeated = func(put func() (uint64, error)) (uint64, error) { put(); return put() }
)

// late writes d after it has said that it does not know.
func late(d time.Duration) func(func() (uint64, error)) (uint64, error) {
	return func(put func() (uint64, error)) (uint64, error) {
		time.AfterFunc(d, func() { put() })
		return 0, credential.ErrUnavailable
	}
}

// first has one fate for the first n writes, and none for the others.
func first(n int64, fate func(func() (uint64, error)) (uint64, error)) func(func() (uint64, error)) (uint64, error) { //nolint:unparam // says how often
	var writes atomic.Int64
	return func(put func() (uint64, error)) (uint64, error) {
		if writes.Add(1) <= n {
			return fate(put)
		}
		return put()
	}
}

// unclear are the fates of a write that is not known to be made.
var unclear = map[string]func() func(func() (uint64, error)) (uint64, error){
	"applied":          func() func(func() (uint64, error)) (uint64, error) { return first(1, applied) },
	"lost":             func() func(func() (uint64, error)) (uint64, error) { return first(1, lost) },
	"late":             func() func(func() (uint64, error)) (uint64, error) { return first(1, late(20*time.Millisecond)) },
	"late, after ours": func() func(func() (uint64, error)) (uint64, error) { return first(1, late(time.Minute)) },
	"repeated":         func() func(func() (uint64, error)) (uint64, error) { return first(1, repeated) },
}

func TestClaimWithAnUnclearAnswerIsReadBack(t *testing.T) {
	for name, fate := range unclear {
		t.Run(name, func(t *testing.T) {
			inFleet(t, func(t *testing.T, f *fleet) {
				before := f.stored()
				f.answers(slowly(time.Second))
				var all sync.WaitGroup
				for range 3 {
					p := f.start(nil)
					p.link.puts(fate())
					all.Go(func() {
						fresh, err := p.refresh(before)
						wantToken(t, fresh, err, "canary-a2")
						p.wantEvents(renew.SentAgain, 0)
					})
				}
				all.Wait()
				f.wantAsked(1)
				time.Sleep(2 * time.Minute) // the late ones, too
				if n := f.stored().Version() - before.Version(); n != 2 {
					t.Errorf("%d writes", n)
				}
				f.wantRecord(readyFor("canary-r2"))
			})
		})
	}
}

func TestClaimThatIsLostToAnotherIsNotSpent(t *testing.T) {
	inFleet(t, func(t *testing.T, f *fleet) {
		p, rejected := f.start(nil), f.stored()
		p.link.puts(func(put func() (uint64, error)) (uint64, error) {
			p.link.puts(nil)
			f.putRecord(claimOf("theirs"))
			return put() // a conflict
		})
		fresh, err := p.refresh(rejected)
		wantError(t, fresh, err, renew.ErrFailed)
		f.wantAsked(0)
		if held := f.record(); held["nonce"] != "theirs" {
			t.Errorf("the claim is %v", held)
		}
		p.kill()
		f.wantLeft(0)
	})
}

// Somebody puts the document anew right before the claim: the claim is made over that, and
// nobody takes the first for one that was used.
func TestClaimThatIsLostToAnOperatorIsMadeAgain(t *testing.T) {
	inFleet(t, func(t *testing.T, f *fleet) {
		f.configure(takeover(never))
		p := f.start(nil)
		p.link.puts(func(put func() (uint64, error)) (uint64, error) {
			p.link.puts(nil)
			f.put(with("canary-r1", nil))
			return put() // a conflict
		})
		fresh, err := p.refresh(f.stored())
		wantToken(t, fresh, err, "canary-a2")
		f.wantAsked(1)
		p.wantEvents(renew.SentAgain, 0)
	})
}

// Who gives up makes sure that the claim cannot get into the document any more.
func TestWhoGivesUpAClaimObstructsIt(t *testing.T) {
	for name, fate := range map[string]func(func() (uint64, error)) (uint64, error){
		"lost": lost, "late": late(30 * time.Second), "late, after all": late(90 * time.Second),
	} {
		t.Run(name, func(t *testing.T) {
			inFleet(t, func(t *testing.T, f *fleet) {
				p, rejected := f.start(nil), f.stored()
				p.Start()
				p.link.puts(fate)
				start := time.Now()
				fresh, err := p.refresh(rejected)
				wantError(t, fresh, err, renew.ErrFailed)
				if took := time.Since(start); took < 5*time.Second || took > 6250*time.Millisecond {
					t.Errorf("gave up after %v", took)
				}
				time.Sleep(10 * time.Second)
				p.link.puts(nil)
				time.Sleep(2 * time.Minute) // whatever is late
				f.wantAsked(0)
				if held := f.record(); held["nonce"] != "" {
					t.Errorf("claimed: %v", held)
				}
				f.wantDocument(string(rejected.JSON()))
				fresh, err = p.refresh(rejected)
				wantToken(t, fresh, err, "canary-a2")
				p.wantEvents(renew.SentAgain, 0)
				p.kill()
				f.wantLeft(0)
			})
		})
	}
}

// What the store refuses is refused each time; requests do not wait for it.
func TestStoreThatTakesNoWritesCostsNoToken(t *testing.T) {
	for name, refusal := range map[string]error{"read-only": credential.ErrReadOnly, "forbidden": credential.ErrForbidden} {
		t.Run(name, func(t *testing.T) {
			inFleet(t, func(t *testing.T, f *fleet) {
				p, rejected := f.start(nil), f.stored()
				p.link.puts(func(func() (uint64, error)) (uint64, error) { return 0, refusal })
				start := time.Now()
				for range 100 {
					fresh, err := p.refresh(rejected)
					wantError(t, fresh, err, renew.ErrFailed)
					wantError(t, fresh, err, refusal)
				}
				wantTook(t, start, 0)
				f.wantAsked(0)
				p.wantEvents(renew.StoreFailed, 1)
				p.wantEvents(renew.Claimed, 0)
				p.kill()
				f.wantLeft(0)
			})
		})
	}
}

func TestEndpointThatCannotBeReachedCostsNoClaim(t *testing.T) {
	inFleet(t, func(t *testing.T, f *fleet) {
		p := f.start(func(o *renew.Options) { o.Endpoints = unreachable{} })
		before := f.stored()
		for range 10 {
			fresh, err := p.refresh(before)
			wantError(t, fresh, err, renew.ErrFailed)
			time.Sleep(10 * time.Minute)
		}
		if v := f.stored().Version(); v != before.Version() {
			t.Errorf("version %d", v)
		}
		if ids := f.journals.IDs(); len(ids) != 0 {
			t.Errorf("%d journals", len(ids))
		}
		p.wantEvents(renew.NoAnswer, 10)
	})
}

func TestMissingClientSecretFileIsToldAndCoolsDown(t *testing.T) {
	inFleet(t, func(t *testing.T, f *fleet) {
		f.configure(func(o *oauth2.Config) { o.ClientSecrets = []oauth2.Secret{{File: "/nonexistent/secret"}} })
		p := f.start(nil)
		for range 10 {
			fresh, err := p.refresh(f.stored())
			wantError(t, fresh, err, renew.ErrFailed)
			if !strings.Contains(err.Error(), "/nonexistent/secret") {
				t.Errorf("%v does not name the file", err)
			}
		}
		p.wantEvents(renew.Failed, 1)
		if n := f.dialled.Load(); n != 0 {
			t.Errorf("%d connections", n)
		}
	})
}
