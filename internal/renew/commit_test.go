package renew_test

import (
	"context"
	"errors"
	"net/url"
	"sync/atomic"
	"testing"
	"time"

	"github.com/upstreamauth/caddy-upstream-auth/credential"
	"github.com/upstreamauth/caddy-upstream-auth/internal/oauth2"
	"github.com/upstreamauth/caddy-upstream-auth/internal/renew"
	"github.com/upstreamauth/caddy-upstream-auth/internal/tokenrequest"
)

func TestOperatorsWriteDuringTheTokenRequest(t *testing.T) {
	for name, test := range map[string]struct {
		operator string // their document; "" deletes it
		token    string // what the request gets; "" if nothing
		stored   string // what the store has afterwards; "" if nothing
		asked    int64
	}{
		"other tokens win": {
			`{"access_token":"canary-their-a","refresh_token":"canary-their-r"}`, "canary-their-a",
			`{"access_token":"canary-their-a","refresh_token":"canary-their-r"}`, 1,
		},
		"another refresh token beside the rejected access token is spent in turn": {
			`{"access_token":"canary-a1","refresh_token":"canary-r7"}`, "canary-a8",
			`{"access_token":"canary-a8","refresh_token":"canary-r8"}`, 2,
		},
		"a changed field survives": {
			`{"access_token":"canary-a1","refresh_token":"canary-r1","note":"changed","more":[1]}`, "canary-a2",
			`{"access_token":"canary-a2","refresh_token":"canary-r2","note":"changed","more":[1]}`, 1,
		},
		"a document without a refresh token wins": {
			`{"access_token":"canary-their-a"}`, "canary-their-a", `{"access_token":"canary-their-a"}`, 1,
		},
		"deleted stays deleted": {"", "", "", 1},
	} {
		t.Run(name, func(t *testing.T) {
			inFleet(t, func(t *testing.T, f *fleet) {
				p, rejected := f.start(nil), f.stored()
				f.answers(func(form url.Values) *tokenrequest.Response {
					f.answers(rotate)
					if test.operator == "" {
						f.delete()
					} else {
						f.put(test.operator)
					}
					return rotate(form)
				})
				fresh, err := p.refresh(rejected)
				p.settled()
				f.wantAsked(test.asked)
				if test.stored != "" {
					wantToken(t, fresh, err, test.token)
					f.wantDocument(test.stored)
					wantToken(t, p.cached(), nil, test.token)
					return
				}
				if _, err := f.store.Get(context.Background(), key); !errors.Is(err, credential.ErrNotFound) {
					t.Errorf("the store has it: %v", err)
				}
			})
		})
	}
}

// commits has a fate for the writes that follow the answer.
func (p *process) commits(fate func(func() (uint64, error)) (uint64, error)) answerer {
	return func(form url.Values) *tokenrequest.Response {
		p.link.puts(fate)
		return rotate(form)
	}
}

func TestOperatorsWriteRightBeforeTheCommit(t *testing.T) {
	inFleet(t, func(t *testing.T, f *fleet) {
		p := f.start(nil)
		f.answers(p.commits(first(4, func(put func() (uint64, error)) (uint64, error) {
			f.put(`{"access_token":"canary-a1","refresh_token":"canary-r1","note":"changed"}`)
			return put()
		})))
		start := time.Now()
		fresh, err := p.refresh(f.stored())
		wantToken(t, fresh, err, "canary-a2")
		wantTook(t, start, 0)
		f.wantAsked(1)
		f.wantDocument(`{"access_token":"canary-a2","refresh_token":"canary-r2","note":"changed"}`)
		if fresh.Version() != 7 || p.cached().Version() != 7 { // after the claim and theirs
			t.Errorf("versions %d and %d", fresh.Version(), p.cached().Version())
		}
	})
}

// The document has no refresh token where it is looked for: somebody's mistake, or a
// configuration's. The new tokens wait until that is mended.
func TestNewTokensWaitForADocumentWithARefreshToken(t *testing.T) {
	t.Run("a configuration looks elsewhere", func(t *testing.T) {
		inFleet(t, func(t *testing.T, f *fleet) {
			p := f.start(nil)
			p.Start()
			var down atomic.Bool
			f.answers(func(form url.Values) *tokenrequest.Response { down.Store(true); return rotate(form) })
			p.link.puts(func(put func() (uint64, error)) (uint64, error) {
				if down.Load() {
					return 0, credential.ErrUnavailable
				}
				return put()
			})
			fresh, err := p.refresh(f.stored())
			wantToken(t, fresh, err, "canary-a2")
			time.Sleep(20 * time.Second)
			f.configure(func(o *oauth2.Config) { o.Fields.RefreshToken = "refreshtoken" })
			f.reconfigured()
			down.Store(false)
			time.Sleep(30 * time.Second)
			f.configure(nil)
			time.Sleep(time.Minute)
			f.wantDocument(`{"access_token":"canary-a2","refresh_token":"canary-r2","note":"kept"}`)
		})
	})
	t.Run("written over and rolled back", func(t *testing.T) {
		inFleet(t, func(t *testing.T, f *fleet) {
			p := f.start(nil)
			p.Start()
			f.answers(slowly(3 * time.Second))
			outcome := make(chan error, 1)
			rejected := f.stored()
			go func() { _, err := p.refresh(rejected); outcome <- err }()
			time.Sleep(time.Second)
			claimed := string(f.stored().Stored())
			f.put(`{"note":"oops"}`)
			time.Sleep(5 * time.Second)
			f.put(claimed)
			time.Sleep(90 * time.Second)
			f.wantDocument(`{"access_token":"canary-a2","refresh_token":"canary-r2","note":"kept"}`)
			wantError(t, nil, <-outcome, renew.ErrReauthorizationRequired)
			f.wantAsked(1)
		})
	})
}

// An operator puts the document anew during the token request, and deletes it while the
// commit looks back at what stood in it before.
func TestDocumentThatIsDeletedWhileACommitLooksBackStaysDeleted(t *testing.T) {
	inFleet(t, func(t *testing.T, f *fleet) {
		p, rejected := f.start(nil), f.stored()
		looked := false
		p.link.older = map[uint64]func(credential.Document, error) (credential.Document, error){
			2: func(doc credential.Document, err error) (credential.Document, error) {
				looked = true
				f.delete()
				return doc, err
			},
		}
		f.answers(func(form url.Values) *tokenrequest.Response {
			f.put(`{"access_token":"canary-a1","refresh_token":"canary-r1","note":"theirs"}`)
			return rotate(form)
		})
		_, err := p.refresh(rejected)
		p.settled()
		if !looked {
			t.Fatal("it did not look back")
		}
		if doc, gone := f.store.Get(t.Context(), key); !errors.Is(gone, credential.ErrNotFound) {
			t.Errorf("version %d is %s, %v after %v", doc.Version, doc.Data, gone, err)
		}
	})
}

func TestCommitWithAnUnclearAnswerIsReadBack(t *testing.T) {
	for name, fate := range unclear {
		for _, body := range []string{granted, `{"access_token":"canary-a2"}`} {
			t.Run(name+body, func(t *testing.T) {
				inFleet(t, func(t *testing.T, f *fleet) {
					p, before := f.start(nil), f.stored()
					f.answers(func(url.Values) *tokenrequest.Response {
						p.link.puts(fate())
						return status(200, body)
					})
					fresh, err := p.refresh(before)
					wantToken(t, fresh, err, "canary-a2")
					time.Sleep(2 * time.Minute)
					if v := f.stored().Version(); v != before.Version()+2 {
						t.Errorf("version %d", v)
					}
					wantToken(t, f.stored(), nil, "canary-a2")
					if f.record()["status"] != "ready" {
						t.Errorf("the record is %v", f.record())
					}
					f.wantAsked(1)
				})
			})
		}
	}
}

func TestReleaseWithAnUnclearAnswerIsReadBack(t *testing.T) {
	for name, fate := range unclear {
		for code, want := range map[int]says{429: readyFor("canary-r1"), 400: refusedFor("canary-r1")} {
			t.Run(name, func(t *testing.T) {
				inFleet(t, func(t *testing.T, f *fleet) {
					p, before := f.start(nil), f.stored()
					f.answers(func(url.Values) *tokenrequest.Response {
						p.link.puts(fate())
						return status(code, `{"error":"invalid_grant"}`)
					})
					fresh, err := p.refresh(before)
					if fresh != nil || errors.Is(err, renew.ErrReauthorizationRequired) != (code == 400) {
						t.Errorf("got %v, %v", fresh, err)
					}
					time.Sleep(2 * time.Minute)
					f.wantRecord(want)
					f.wantDocument(string(before.JSON()))
				})
			})
		}
	}
}

// Who waits gets new tokens within a quarter of a second, whether or not the store takes
// them. They are stored when it does.
func TestStoreDownAfterTheSpend(t *testing.T) {
	for name, hangs := range map[string]bool{"fails": false, "hangs": true} {
		t.Run(name, func(t *testing.T) {
			inFleet(t, func(t *testing.T, f *fleet) {
				p, rejected := f.start(nil), f.stored()
				p.Start()
				var down atomic.Bool
				down.Store(true)
				back := make(chan struct{})
				f.answers(func(form url.Values) *tokenrequest.Response {
					p.link.gets(func() error {
						if down.Load() && hangs {
							<-back
						}
						if down.Load() {
							return credential.ErrUnavailable
						}
						return nil
					})
					return rotate(form)
				})
				start := time.Now()
				fresh, err := p.refresh(rejected)
				wantToken(t, fresh, err, "canary-a2")
				if took := time.Since(start); took > 250*time.Millisecond {
					t.Errorf("served %v after the answer", took)
				}
				f.answers(rotate)
				if !hangs {
					// Ten minutes of outage: the new token serves, and no other is asked for.
					for range 600 {
						late, err := p.refresh(rejected)
						wantToken(t, late, err, "canary-a2")
						wantToken(t, p.cached(), nil, "canary-a2")
						time.Sleep(time.Second)
					}
				}
				f.wantAsked(1)
				f.wantDocument(`{"access_token":"canary-a1","refresh_token":"canary-r1","note":"kept"}`)
				down.Store(false)
				close(back)
				time.Sleep(10 * time.Second)
				f.wantDocument(`{"access_token":"canary-a2","refresh_token":"canary-r2","note":"kept"}`)
				f.wantRecord(readyFor("canary-r2"))
				next, err := p.refresh(fresh)
				wantToken(t, next, err, "canary-a3")
			})
		})
	}
}

func TestCloseLeavesACommitToWhoAdoptsTheJournal(t *testing.T) {
	inFleet(t, func(t *testing.T, f *fleet) {
		p := f.start(nil)
		f.answers(p.commits(lost))
		fresh, err := p.refresh(f.stored())
		wantToken(t, fresh, err, "canary-a2")
		p.Close()
		p.settled()
		p.wantEvents(renew.CommitDelayed, 1)
		other := f.start(nil)
		other.Start()
		time.Sleep(5 * time.Second)
		f.wantRecord(readyFor("canary-r2"))
		f.wantAsked(1)
		other.wantEvents(renew.Adopted, 1)
	})
}

func TestReadOnlyStoreEndsTheCommit(t *testing.T) {
	inFleet(t, func(t *testing.T, f *fleet) {
		p := f.start(nil)
		f.answers(p.commits(func(func() (uint64, error)) (uint64, error) { return 0, credential.ErrReadOnly }))
		fresh, err := p.refresh(f.stored())
		wantToken(t, fresh, err, "canary-a2")
		p.kill()
		f.wantLeft(0)
	})
}

func TestStoreDownBeforeTheSpendStartsNoCooldown(t *testing.T) {
	inFleet(t, func(t *testing.T, f *fleet) {
		p, rejected := f.start(nil), f.stored()
		p.link.dead.Store(true)
		for range 10 {
			fresh, err := p.refresh(rejected)
			wantError(t, fresh, err, renew.ErrFailed)
			wantError(t, fresh, err, credential.ErrUnavailable)
		}
		f.wantAsked(0)
		p.link.dead.Store(false)
		fresh, err := p.refresh(rejected)
		wantToken(t, fresh, err, "canary-a2")
	})
}

func TestTokenRejectedWhileItsSlowCommitIsUnderWay(t *testing.T) {
	inFleet(t, func(t *testing.T, f *fleet) {
		p := f.start(nil)
		f.answers(p.commits(first(1, func(put func() (uint64, error)) (uint64, error) {
			time.Sleep(2 * time.Second)
			return put()
		})))
		fresh, err := p.refresh(f.stored())
		wantToken(t, fresh, err, "canary-a2")
		f.answers(rotate)
		next, err := p.refresh(fresh)
		wantToken(t, next, err, "canary-a3")
		f.wantAsked(2)
	})
}
