package refresh

import (
	"context"
	"errors"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/upstreamauth/caddy-upstream-auth/credential"
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
		"the same document written anew": {
			`{"access_token":"canary-a1","refresh_token":"canary-r1","note":"kept"}`, "canary-a2",
			`{"access_token":"canary-a2","refresh_token":"canary-r2","note":"kept"}`, 1,
		},
		"a document without a refresh token wins": {
			`{"access_token":"canary-their-a"}`, "canary-their-a", `{"access_token":"canary-their-a"}`, 1,
		},
		"deleted stays deleted": {"", "", "", 1},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, f *fixture) {
				rejected := f.stored()
				f.answers(func(form url.Values) (int, string) {
					f.answers(rotate)
					if test.operator == "" {
						if err := f.store.Delete(context.Background(), key); err != nil {
							t.Error(err)
						}
					} else {
						f.put(test.operator)
					}
					return rotate(form)
				})
				fresh, err := f.refresh(rejected)
				if test.token != "" {
					wantToken(t, fresh, err, test.token)
				} else {
					wantError(t, fresh, err, ErrFailed)
				}
				f.wait()
				f.wantAsked(test.asked)
				if test.stored != "" {
					wantDocument(t, f.stored(), test.stored)
					wantToken(t, f.cached(), nil, test.token)
					return
				}
				if _, err := f.store.Get(context.Background(), key); !errors.Is(err, credential.ErrNotFound) {
					t.Errorf("the store has it: %v", err)
				}
				if _, err := f.cache.Get(context.Background(), key); !errors.Is(err, credential.ErrNotFound) {
					t.Errorf("the cache has it: %v", err)
				}
			})
		})
	}
}

func TestOperatorsWriteRightBeforeTheCommit(t *testing.T) {
	inBubble(t, func(t *testing.T, f *fixture) {
		rejected := f.stored()
		var once atomic.Bool
		f.store.Fault = func(op string, _ credential.Key) error {
			if f.commits(op) && once.CompareAndSwap(false, true) {
				f.put(`{"access_token":"canary-a1","refresh_token":"canary-r1","note":"changed"}`)
			}
			return nil
		}
		fresh, err := f.refresh(rejected)
		wantToken(t, fresh, err, "canary-a2")
		f.wait()
		f.wantAsked(1)
		wantDocument(t, f.stored(), `{"access_token":"canary-a2","refresh_token":"canary-r2","note":"changed"}`)
		if fresh.Version() != 4 || f.cached().Version() != 4 { // after the claim and theirs
			t.Errorf("versions %d and %d", fresh.Version(), f.cached().Version())
		}
	})
}

func TestALostAnswerToTheCommitIsReadBack(t *testing.T) {
	inBubble(t, func(t *testing.T, f *fixture) {
		var lost atomic.Bool
		f.store.After = func(op string, _ credential.Key) error {
			if f.commits(op) && lost.CompareAndSwap(false, true) {
				return credential.ErrUnavailable
			}
			return nil
		}
		fresh, err := f.refresh(f.stored())
		wantToken(t, fresh, err, "canary-a2")
		f.wait()
		if v := f.stored().Version(); v != 3 || f.store.Puts() != 3 {
			t.Errorf("version %d after %d writes; written twice?", v, f.store.Puts())
		}
	})
}

func TestALostAnswerIsReadBackWithoutRotationToo(t *testing.T) {
	inBubble(t, func(t *testing.T, f *fixture) {
		f.answers(always(200, `{"access_token":"canary-a2","expires_in":60}`))
		rejected := f.stored()
		var lost atomic.Bool
		f.store.After = func(op string, _ credential.Key) error {
			if f.commits(op) && lost.CompareAndSwap(false, true) {
				return credential.ErrUnavailable
			}
			return nil
		}
		fresh, err := f.refresh(rejected)
		wantToken(t, fresh, err, "canary-a2")
		f.wait()
		if v := f.stored().Version(); v != 3 {
			t.Errorf("version %d; written twice?", v)
		}
	})
}

func TestNewTokenStaysInTheCacheWhileTheStoreHasTheOldOne(t *testing.T) {
	inBubble(t, func(t *testing.T, f *fixture) {
		rejected := f.stored()
		var down atomic.Bool
		down.Store(true)
		f.store.Fault = func(op string, _ credential.Key) error {
			if f.commits(op) && down.Load() {
				return credential.ErrUnavailable
			}
			return nil
		}
		fresh, err := f.refresh(rejected)
		wantToken(t, fresh, err, "canary-a2")
		time.Sleep(10 * time.Minute)
		f.cache.Forget(key)
		f.cached() // reads the old one again
		time.Sleep(2 * maxCommitPause)
		wantToken(t, f.cached(), nil, "canary-a2")
		down.Store(false)
		f.wait()
		wantToken(t, f.stored(), nil, "canary-a2")
		f.wantAsked(1)
	})
}

func TestStoreDownAfterTheSpend(t *testing.T) {
	inBubble(t, func(t *testing.T, f *fixture) {
		rejected := f.stored()
		var down atomic.Bool
		var answered time.Time
		f.store.Fault = func(string, credential.Key) error {
			if down.Load() {
				return credential.ErrUnavailable
			}
			return nil
		}
		f.answers(func(form url.Values) (int, string) {
			down.Store(true)
			answered = time.Now()
			return rotate(form)
		})
		fresh, err := f.refresh(rejected)
		wantToken(t, fresh, err, "canary-a2")
		if took := time.Since(answered); took > 250*time.Millisecond {
			t.Errorf("served %v after the answer", took)
		}

		// Ten minutes of outage: the new token serves, and no other is asked for,
		// whatever is rejected.
		for range 600 {
			late, err := f.refresh(rejected)
			wantToken(t, late, err, "canary-a2")
			start := time.Now()
			none, err := f.refresh(fresh)
			wantError(t, none, err, ErrFailed)
			if time.Since(start) != 0 {
				t.Error("a call waits for the commit")
			}
			f.Ahead(f.provider, tenant, parse(t, credential.Document{Data: []byte(`{"access_token":"x","expires_at":"1999-01-01T00:00:00Z"}`)}))
			wantToken(t, f.cached(), nil, "canary-a2")
			time.Sleep(time.Second)
		}
		f.wantAsked(1)

		down.Store(false)
		f.wait()
		wantDocument(t, f.stored(), `{"access_token":"canary-a2","refresh_token":"canary-r2","note":"kept"}`)
		f.answers(rotate)
		next, err := f.refresh(fresh)
		wantToken(t, next, err, "canary-a3")
	})
}

func TestStoreThatHangsAfterTheSpend(t *testing.T) {
	inBubble(t, func(t *testing.T, f *fixture) {
		rejected := f.stored()
		var hang atomic.Bool
		release := make(chan struct{})
		f.store.Fault = func(string, credential.Key) error {
			if hang.Load() {
				<-release
			}
			return nil
		}
		f.answers(func(form url.Values) (int, string) { hang.Store(true); return rotate(form) })
		start := time.Now()
		fresh, err := f.refresh(rejected)
		wantToken(t, fresh, err, "canary-a2")
		if took := time.Since(start); took != releaseAfter {
			t.Errorf("took %v", took)
		}
		wantToken(t, f.cached(), nil, "canary-a2")
		time.Sleep(time.Minute)
		hang.Store(false)
		close(release)
		f.wait()
		wantToken(t, f.stored(), nil, "canary-a2")
		f.wantAsked(1)
	})
}

func TestCloseGivesUpACommitThatTheStoreDoesNotTake(t *testing.T) {
	inBubble(t, func(t *testing.T, f *fixture) {
		var down atomic.Bool
		f.store.Fault = func(string, credential.Key) error {
			if down.Load() {
				return credential.ErrUnavailable
			}
			return nil
		}
		rejected := f.stored()
		f.answers(func(form url.Values) (int, string) { down.Store(true); return rotate(form) })
		fresh, err := f.refresh(rejected)
		wantToken(t, fresh, err, "canary-a2")
		f.Close()
		f.wait()
		if !strings.Contains(f.log.String(), "was not stored") {
			t.Errorf("log: %s", f.log.String())
		}
	})
}

func TestReadOnlyStoreEndsTheCommit(t *testing.T) {
	inBubble(t, func(t *testing.T, f *fixture) {
		rejected := f.stored()
		f.store.Fault = func(op string, _ credential.Key) error {
			if f.commits(op) {
				return credential.ErrReadOnly
			}
			return nil
		}
		fresh, err := f.refresh(rejected)
		wantToken(t, fresh, err, "canary-a2")
		f.wait()
		if !strings.Contains(f.log.String(), "level=ERROR") {
			t.Error("the loss is not logged")
		}
	})
}

func TestRefreshTokenBesideAnUnusableAccessTokenIsKept(t *testing.T) {
	for name, answer := range map[string]string{
		"no access token":    `{"refresh_token":"canary-r2"}`,
		"control characters": `{"refresh_token":"canary-r2","access_token":"a\nb"}`,
		"cut off":            `{"refresh_token":"canary-r2","access_tok`,
		"an error beside it": `{"refresh_token":"canary-r2","error":"invalid_grant"}`,
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, f *fixture) {
				f.answers(always(200, answer))
				rejected := f.stored()
				fresh, err := f.refresh(rejected)
				wantError(t, fresh, err, ErrFailed)
				if errors.Is(err, ErrReauthorizationRequired) {
					t.Errorf("%v is for good", err)
				}
				f.wait()
				wantDocument(t, f.stored(), `{"access_token":"canary-a1","refresh_token":"canary-r2","note":"kept"}`)
				f.answers(rotate)
				time.Sleep(2 * time.Second)
				fresh, err = f.refresh(rejected)
				wantToken(t, fresh, err, "canary-a3")
			})
		})
	}
}

func TestStoreDownBeforeTheSpendStartsNoRest(t *testing.T) {
	inBubble(t, func(t *testing.T, f *fixture) {
		rejected := f.stored()
		var down atomic.Bool
		down.Store(true)
		f.store.Fault = func(string, credential.Key) error {
			if down.Load() {
				return credential.ErrUnavailable
			}
			return nil
		}
		for range 10 {
			fresh, err := f.refresh(rejected)
			wantError(t, fresh, err, ErrFailed)
			synctest.Wait()
		}
		f.wantAsked(0)
		down.Store(false)
		fresh, err := f.refresh(rejected)
		wantToken(t, fresh, err, "canary-a2")
	})
}

func TestTokenRejectedWhileItsSlowCommitIsUnderWay(t *testing.T) {
	inBubble(t, func(t *testing.T, f *fixture) {
		rejected := f.stored()
		f.store.Fault = func(op string, _ credential.Key) error {
			if f.commits(op) {
				time.Sleep(2 * time.Second)
			}
			return nil
		}
		fresh, err := f.refresh(rejected)
		wantToken(t, fresh, err, "canary-a2")
		next, err := f.refresh(fresh)
		wantToken(t, next, err, "canary-a3")
		f.wait()
		f.wantAsked(2)
	})
}
