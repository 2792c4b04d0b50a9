package renew_test

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/upstreamauth/caddy-upstream-auth/credential"
	"github.com/upstreamauth/caddy-upstream-auth/internal/renew"
	"github.com/upstreamauth/caddy-upstream-auth/internal/renew/journal"
	"github.com/upstreamauth/caddy-upstream-auth/internal/renew/journal/journaltest"
	"github.com/upstreamauth/caddy-upstream-auth/internal/tokenrequest"
)

func TestExitedProcesssAnswerIsCommitted(t *testing.T) {
	inFleet(t, func(t *testing.T, f *fleet) {
		one, rejected := f.start(nil), f.stored()
		f.answers(one.commits(lost))
		fresh, err := one.refresh(rejected)
		wantToken(t, fresh, err, "canary-a2")
		one.kill()
		two := f.start(nil)
		two.Start()
		time.Sleep(2 * time.Second)
		f.wantDocument(`{"access_token":"canary-a2","refresh_token":"canary-r2","note":"kept"}`)
		f.wantRecord(readyFor("canary-r2"))
		fresh, err = two.refresh(rejected)
		wantToken(t, fresh, err, "canary-a2")
		f.wantAsked(1)
		two.wantEvents(renew.SentAgain, 0)
		if last, ok := two.LastOutcome(key); !ok || last.Kind != renew.Refreshed || !last.FromJournal {
			t.Errorf("the last outcome is %+v", last)
		}
		if ids := f.journals.IDs(); len(ids) != 0 {
			t.Errorf("%d journals are left", len(ids))
		}
	})
}

// Nobody asked for the flight, and it looks back at older versions while somebody brings
// new tokens. Who was rejected with those must not go back.
func TestCallThatJoinsARecoveryIsNotGivenOlderTokens(t *testing.T) {
	inFleet(t, func(t *testing.T, f *fleet) {
		one := f.start(nil)
		f.answers(one.commits(lost))
		_, _ = one.refresh(f.stored())
		one.kill()
		f.put(`{"access_token":"canary-a3","refresh_token":"canary-r3"}`)
		f.answers(always(200, `{"access_token":"canary-a5","refresh_token":"canary-r5"}`))
		two := f.start(nil)
		var looks atomic.Int64
		two.link.older = map[uint64]func(credential.Document, error) (credential.Document, error){
			2: func(doc credential.Document, err error) (credential.Document, error) {
				looks.Add(1)
				time.Sleep(time.Second)
				return doc, err
			},
		}
		two.Start()
		time.Sleep(1500 * time.Millisecond)
		if looks.Load() != 2 {
			t.Fatalf("looked back %d times", looks.Load())
		}
		newer := f.put(`{"access_token":"canary-a4","refresh_token":"canary-r4"}`)
		fresh, err := two.refresh(newer)
		wantToken(t, fresh, err, "canary-a5")
	})
}

// leave writes a claim into a journal of an exited process, and its answer, if it has one.
func leave(t *testing.T, exited *journaltest.Process, record journal.ClaimRecord, token, body string) {
	t.Helper()
	j, err := exited.Open()
	if err == nil {
		err = j.Claim(record)
	}
	if err == nil && body != "" {
		raw, _ := status(200, body).MarshalBinary()
		err = j.Answer(record.Nonce, journal.Answer{SpentToken: token, Response: raw, At: time.Now()})
	}
	if err != nil {
		t.Fatal(err)
	}
}

// This is found when a process died while it went over from a broken journal to another.
func TestOneClaimInTwoJournals(t *testing.T) {
	for _, answers := range [][2]string{{"", ""}, {granted, ""}, {"", granted}, {granted, granted}} {
		t.Run(fmt.Sprint(answers), func(t *testing.T) {
			inFleet(t, func(t *testing.T, f *fleet) {
				rejected := f.putRecord(claimOf("n1"))
				if _, err := renew.SharedKey(t.Context(), f.store); err != nil {
					t.Fatal(err)
				}
				exited := f.journals.Start()
				for _, answer := range answers {
					leave(t, exited, journal.ClaimRecord{
						Provider: key.Provider, Tenant: string(tenant), Nonce: "n1", Fingerprint: fingerprint("canary-r1"), BaseVersion: 1,
					}, "canary-r1", answer)
				}
				exited.Kill()
				p := f.start(nil)
				p.Start()
				time.Sleep(5 * time.Second)
				fresh, err := p.refresh(rejected)
				wantToken(t, fresh, err, "canary-a2")
				f.wantRecord(readyFor("canary-r2"))
				want := int64(0)
				if answers == [2]string{} {
					want = 1
				}
				f.wantAsked(want)
				p.kill()
				f.wantLeft(0)
			})
		})
	}
}

// delayed connects after a while.
type delayed struct {
	way
	by time.Duration
}

func (d delayed) Dial(ctx context.Context, endpoint string, config *tls.Config) (tokenrequest.Conn, error) {
	time.Sleep(d.by)
	return d.way.Dial(ctx, endpoint, config)
}

// An answer to the token turns up in an exited process's journal while this process is about
// to send it, though the document does not show that claim.
func TestAnswerThatTurnsUpBeforeTheTokenIsSentIsUsed(t *testing.T) {
	inFleet(t, func(t *testing.T, f *fleet) {
		if _, err := renew.SharedKey(t.Context(), f.store); err != nil {
			t.Fatal(err)
		}
		rejected := f.put(with("canary-r1", nil))
		exited := f.journals.Start()
		leave(t, exited, journal.ClaimRecord{
			Provider: key.Provider, Tenant: string(tenant), Nonce: "n1", Fingerprint: fingerprint("canary-r1"), BaseVersion: 1,
		}, "canary-r1", granted)
		p := f.start(func(o *renew.Options) { o.Endpoints = delayed{o.Endpoints.(way), 5 * time.Second} })
		p.Start()
		time.AfterFunc(time.Second, exited.Kill)
		fresh, err := p.refresh(rejected)
		wantToken(t, fresh, err, "canary-a2")
		f.wantAsked(0)
		f.wantRecord(readyFor("canary-r2"))
	})
}

// After a crash with many claims they are settled a few at a time.
func TestRecoveryIsBounded(t *testing.T) {
	inFleet(t, func(t *testing.T, f *fleet) {
		const tenants = 60
		if _, err := renew.SharedKey(t.Context(), f.store); err != nil {
			t.Fatal(err)
		}
		exited := f.journals.Start()
		j, err := exited.Open()
		if err != nil {
			t.Fatal(err)
		}
		for i := range tenants {
			k := credential.Key{Provider: key.Provider, Tenant: credential.Tenant(fmt.Sprint("t", i))}
			nonce := fmt.Sprint("n", i)
			if _, err := f.store.Put(t.Context(), k, []byte(with("canary-r1", claimOf(nonce))), 0); err != nil {
				t.Fatal(err)
			}
			record := journal.ClaimRecord{Provider: k.Provider, Tenant: string(k.Tenant), Nonce: nonce, Fingerprint: fingerprint("canary-r1")}
			if err := j.Claim(record); err != nil {
				t.Fatal(err)
			}
		}
		exited.Kill()
		f.answers(slowly(time.Second))
		p := f.start(nil)
		p.Start()
		time.Sleep(time.Minute)
		f.wantAsked(tenants)
		if n := f.most.Load(); n != 4 { // of one provider
			t.Errorf("%d at once", n)
		}
		p.wantEvents(renew.Refreshed, tenants)
		p.kill()
		f.wantLeft(0)
	})
}

// What the endpoint has answered is settled as soon as the store takes it, however long the
// endpoint is to be left alone.
func TestCooldownDoesNotKeepAClaimInTheDocument(t *testing.T) {
	inFleet(t, func(t *testing.T, f *fleet) {
		p := f.start(nil)
		p.Start()
		f.answers(func(url.Values) *tokenrequest.Response {
			p.link.puts(lost)
			return &tokenrequest.Response{Status: 429, Header: http.Header{"Retry-After": {"3000"}}}
		})
		_, err := p.refresh(f.stored())
		wantError(t, nil, err, renew.ErrFailed)
		time.Sleep(20 * time.Second)
		p.link.puts(nil)
		time.Sleep(10 * time.Second)
		f.wantRecord(readyFor("canary-r1"))
		f.wantAsked(1)
	})
}

// An exited process's claim that is still on its way to the store cannot get there any more
// once somebody has adopted it.
func TestAdoptedClaimThatIsOnItsWayIsObstructed(t *testing.T) {
	inFleet(t, func(t *testing.T, f *fleet) {
		f.configure(takeover(never))
		one, two := f.start(nil), f.start(nil)
		two.Start()
		one.link.puts(func(put func() (uint64, error)) (uint64, error) {
			time.AfterFunc(30*time.Second, func() { put() })
			one.kill()
			return 0, credential.ErrUnavailable
		})
		rejected := f.stored()
		_, err := one.refresh(rejected)
		wantError(t, nil, err, renew.ErrFailed)
		time.Sleep(time.Minute)
		f.wantRecord(says{})
		fresh, err := two.refresh(rejected)
		wantToken(t, fresh, err, "canary-a2")
		f.wantAsked(1)
	})
}

// That another claim can be finished is no reason to send a token that cools down.
func TestFinishingAClaimSendsNoTokenThatCoolsDown(t *testing.T) {
	inFleet(t, func(t *testing.T, f *fleet) {
		p := f.start(nil)
		p.Start()
		f.answers(always(500, ""))
		_, err := p.refresh(f.stored())
		wantError(t, nil, err, renew.ErrFailed)
		for f.asked.Load() < 6 { // then it is a long one
			time.Sleep(time.Second)
		}
		exited := f.journals.Start()
		leave(t, exited, journal.ClaimRecord{Provider: key.Provider, Tenant: string(tenant), Nonce: "n9", Fingerprint: fingerprint("canary-r9"), BaseVersion: 1}, "canary-r9", granted)
		exited.Kill()
		time.Sleep(10 * time.Second)
		p.wantEvents(renew.Adopted, 1)
		f.wantLeft(0)
		f.wantAsked(6)
	})
}

// A claim whose provider is not configured is told once, and waits.
func TestClaimOfAProviderThatIsGoneWaits(t *testing.T) {
	inFleet(t, func(t *testing.T, f *fleet) {
		one, rejected := f.start(nil), f.stored()
		f.answers(one.commits(lost))
		fresh, err := one.refresh(rejected)
		wantToken(t, fresh, err, "canary-a2")
		one.kill()
		var configured atomic.Pointer[renew.Provider]
		two := f.start(func(o *renew.Options) { o.Provider = func(string) *renew.Provider { return configured.Load() } })
		two.Start()
		time.Sleep(time.Hour)
		two.wantEvents(renew.Failed, 1)
		configured.Store(f.provider)
		time.Sleep(15 * time.Second)
		f.wantRecord(readyFor("canary-r2"))
	})
}

var errFull = errors.New("no space left on device")

// times fails an operation for the first n times.
func times(op journaltest.Op, n int, err error) func(journaltest.Op, string) error {
	return func(called journaltest.Op, _ string) error {
		if called != op || n == 0 {
			return nil
		}
		n--
		return err
	}
}

func TestClaimThatCannotBeNotedIsNotMade(t *testing.T) {
	for name, test := range map[string]struct {
		op    journaltest.Op
		err   error
		after bool
	}{
		"no file":                     {op: journaltest.OpOpen, err: errFull},
		"a full disk":                 {op: journaltest.OpClaim, err: errFull},
		"a broken disk":               {op: journaltest.OpClaim, err: journal.ErrBroken},
		"a disk that does not sync":   {op: journaltest.OpClaim, err: journal.ErrBroken, after: true},
		"an answer that lost its way": {op: journaltest.OpClaim, err: errFull, after: true},
	} {
		t.Run(name, func(t *testing.T) {
			inFleet(t, func(t *testing.T, f *fleet) {
				p, before := f.start(nil), f.stored()
				works := false
				hook := func(op journaltest.Op, nonce string) error {
					if works {
						return nil
					}
					return times(test.op, 1, test.err)(op, nonce)
				}
				if test.after {
					p.journal.After = hook
				} else {
					p.journal.Fault = hook
				}
				for range 5 {
					fresh, err := p.refresh(before)
					wantError(t, fresh, err, renew.ErrFailed)
					time.Sleep(2 * time.Second)
				}
				f.wantAsked(0)
				if v := f.stored().Version(); v != before.Version() {
					t.Errorf("version %d: claimed", v)
				}
				p.wantEvents(renew.JournalFailed, 5)
				works = true
				fresh, err := p.refresh(before)
				wantToken(t, fresh, err, "canary-a2")
				p.kill()
				f.wantLeft(0)
			})
		})
	}
}

// New tokens are written down later, while the commit waits, or are committed all the same.
func TestAnswerThatCannotBeNotedIsNotLost(t *testing.T) {
	for name, failure := range map[string]error{"a full disk": errFull, "a broken one": journal.ErrBroken} {
		t.Run(name, func(t *testing.T) {
			inFleet(t, func(t *testing.T, f *fleet) {
				p, rejected := f.start(nil), f.stored()
				var full atomic.Bool
				p.journal.Fault = func(op journaltest.Op, _ string) error {
					if full.Load() && (op == journaltest.OpAnswer || op == journaltest.OpOpen) {
						return failure
					}
					return nil
				}
				p.Start()
				f.answers(func(form url.Values) *tokenrequest.Response {
					full.Store(true)
					return p.commits(lost)(form)
				})
				fresh, err := p.refresh(rejected)
				wantToken(t, fresh, err, "canary-a2")
				if p.count(renew.JournalFailed) == 0 {
					t.Error("it is not told")
				}
				time.Sleep(time.Minute)
				full.Store(false)
				time.Sleep(10 * time.Second)
				p.kill()
				other := f.start(nil)
				other.Start()
				time.Sleep(5 * time.Second)
				f.wantDocument(`{"access_token":"canary-a2","refresh_token":"canary-r2","note":"kept"}`)
				f.wantAsked(1)
			})
		})
	}
}

// A request that comes while an exited process's claim is looked after waits as long as any
// other.
func TestCallThatJoinsARecoveryWaitsForTheAnswer(t *testing.T) {
	inFleet(t, func(t *testing.T, f *fleet) {
		one, rejected := f.start(nil), f.stored()
		f.answers(slowly(time.Hour))
		go func() { _, _ = one.refresh(rejected) }()
		time.Sleep(time.Second)
		one.kill()
		f.answers(slowly(4 * time.Second))
		two := f.start(nil)
		two.Start()
		time.Sleep(500 * time.Millisecond)
		fresh, err := two.refresh(rejected)
		wantToken(t, fresh, err, "canary-a2")
		f.wantAsked(2)
	})
}

// Any number of answers may be listened for: one that is here is dealt with in time.
func TestManyListenersDoNotHoldUpAnAnswer(t *testing.T) {
	inFleet(t, func(t *testing.T, f *fleet) {
		p := f.start(nil)
		p.Start()
		const others = 3000
		f.answers(func(form url.Values) *tokenrequest.Response {
			if form.Get("refresh_token") == "slow" {
				time.Sleep(5 * time.Minute)
				return nil
			}
			return p.commits(first(5, lost))(form)
		})
		rejected := f.stored()
		document := []byte(`{"access_token":"canary-a1","refresh_token":"slow"}`)
		var group sync.WaitGroup
		for i := range others {
			// A provider has no more than some at a time.
			provider := renew.NewProvider(fmt.Sprint("slow-", i%(others/maxSending+1)), f.provider.Renewer, "1")
			name := credential.Tenant(fmt.Sprint("slow-", i))
			if _, err := f.store.Put(t.Context(), credential.Key{Provider: provider.Name, Tenant: name}, document, 0); err != nil {
				t.Fatal(err)
			}
			group.Go(func() { _, _ = p.Refresh(context.Background(), provider, name, rejected) })
		}
		group.Wait()
		if asked := f.asked.Load(); asked < others/2 {
			t.Fatalf("only %d are listened for", asked)
		}
		fresh, err := p.refresh(rejected)
		wantToken(t, fresh, err, "canary-a2")
		time.Sleep(15 * time.Second)
		f.wantRecord(readyFor("canary-r2"))
	})
}

// Other claims do not wait for a directory that is searched slowly.
func TestClaimsDoNotWaitForAdoption(t *testing.T) {
	inFleet(t, func(t *testing.T, f *fleet) {
		if _, err := renew.SharedKey(t.Context(), f.store); err != nil {
			t.Fatal(err)
		}
		p := f.start(nil)
		p.journal.Fault = func(op journaltest.Op, _ string) error {
			if op == journaltest.OpAdopt {
				time.Sleep(time.Minute)
			}
			return nil
		}
		p.Start()
		time.Sleep(time.Second)
		start := time.Now()
		fresh, err := p.refresh(f.stored())
		wantToken(t, fresh, err, "canary-a2")
		wantTook(t, start, 0)
	})
}

func TestDamagedJournalsKeyIsNotOverwritten(t *testing.T) {
	for _, document := range []string{`{}`, `{"key":""}`, `{"key":"canary, not base64"}`, `{"key":"Y2FuYXJ5"}`, `{"key":17}`} {
		inFleet(t, func(t *testing.T, f *fleet) {
			if _, err := f.store.Put(t.Context(), credential.JournalKey(), []byte(document), 0); err != nil {
				t.Fatal(err)
			}
			p := f.start(nil)
			p.Start()
			before := f.stored()
			for range 10 {
				fresh, err := p.refresh(before)
				wantError(t, fresh, err, renew.ErrFailed)
				time.Sleep(time.Minute)
			}
			f.wantAsked(0)
			doc, err := f.store.Get(t.Context(), credential.JournalKey())
			if err != nil || string(doc.Data) != document || f.stored().Version() != before.Version() || len(f.journals.IDs()) != 0 {
				t.Errorf("%s became %s, %v", document, doc.Data, err)
			}
		})
	}
}

// leaving is a directory that has to leave a file as it is.
type leaving struct {
	*journaltest.Process
	left []*journal.FileError
}

func (l leaving) Adopt() ([]journal.Adopted, []*journal.FileError, error) {
	adopted, _, err := l.Process.Adopt()
	return adopted, l.left, err
}

func TestJournalFileThatIsLeftIsToldOnce(t *testing.T) {
	inFleet(t, func(t *testing.T, f *fleet) {
		if _, err := renew.SharedKey(t.Context(), f.store); err != nil {
			t.Fatal(err)
		}
		damaged := &journal.FileError{Path: "/journal/1", Err: journal.ErrDamaged}
		var told atomic.Int64
		p := f.start(func(o *renew.Options) {
			o.Journals = func([]byte) (journal.Directory, error) {
				return leaving{f.journals.Start(), []*journal.FileError{damaged}}, nil
			}
			o.ObserveJournal = func(file *journal.FileError) {
				if told.Add(1); file != damaged {
					t.Errorf("it tells of %v", file)
				}
			}
		})
		p.Start()
		time.Sleep(time.Minute)
		if n := told.Load(); n != 1 {
			t.Errorf("told %d times", n)
		}
	})
}

// What an exited process left for a provider that is not refreshed any more does no harm.
func TestClaimOfAProviderThatIsNotRefreshedAnyMore(t *testing.T) {
	inFleet(t, func(t *testing.T, f *fleet) {
		one := f.start(nil)
		f.answers(one.commits(lost))
		fresh, err := one.refresh(f.stored())
		wantToken(t, fresh, err, "canary-a2")
		one.kill()
		f.provider = renew.NewProvider(key.Provider, nil, "2")
		two := f.start(nil)
		two.Start()
		time.Sleep(5 * time.Second)
		_, err = two.refresh(f.stored())
		wantError(t, nil, err, renew.ErrUnchanged)
		two.wantEvents(renew.Panicked, 0)
	})
}
