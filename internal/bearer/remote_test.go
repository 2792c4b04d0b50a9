package bearer

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

func TestKeySetIsFetchedLazilyAndCached(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server, v := newKeyServer(t)
		wantRefused(t, v, "a.b.c", ErrInvalid)
		wantRefused(t, v, sign(`{"alg":"HS256","kid":"1"}`, lasting, secret), errAlgorithm)
		server.wantAsked(t, 0)
		wantAccepted(t, v, tokenOne())
		wantAccepted(t, v, tokenOne())
		time.Sleep(freshTime - 1)
		wantAccepted(t, v, tokenOne())
		server.wantAsked(t, 1)
		time.Sleep(time.Nanosecond)
		wantAccepted(t, v, tokenOne())
		server.wantAsked(t, 2)
	})
}

func TestRemovedKeyIsRefusedAfterTheCacheTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server, v := newKeyServer(t)
		wantAccepted(t, v, tokenOne())
		server.serves(keyTwo(t))
		time.Sleep(freshTime - 1)
		wantAccepted(t, v, tokenOne())
		time.Sleep(time.Nanosecond)
		wantRefused(t, v, tokenOne(), errUnknownKey)
		wantAccepted(t, v, tokenTwo())
		server.wantAsked(t, 2)
		server.serves()
		time.Sleep(freshTime)
		wantRefused(t, v, tokenTwo(), errUnknownKey)
	})
}

// The set is as old as the question: a key may be removed while it is answered.
func TestCacheTimeBeginsWithTheQuestion(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server, v := newKeyServer(t)
		server.takes = 3 * time.Second
		wantAccepted(t, v, tokenOne())
		server.serves(keyTwo(t))
		time.Sleep(freshTime - server.takes - time.Nanosecond)
		wantAccepted(t, v, tokenOne())
		time.Sleep(time.Nanosecond)
		wantRefused(t, v, tokenOne(), errUnknownKey)
	})
}

func TestNewKeyIsFetchedWhenATokenNamesIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server, v := newKeyServer(t)
		wantAccepted(t, v, tokenOne())
		server.serves(keyOne(t), keyTwo(t))
		time.Sleep(refetchPause - 1)
		wantRefused(t, v, tokenTwo(), errUnknownKey)
		server.wantAsked(t, 1)
		time.Sleep(time.Nanosecond)
		wantAccepted(t, v, tokenTwo())
		wantAccepted(t, v, tokenOne())
		server.wantAsked(t, 2)
	})
}

func TestNewKeyIsFetchedForATokenThatNamesNone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server, v := newKeyServer(t)
		wantAccepted(t, v, tokenOne())
		server.serves(keyTwo(t))
		time.Sleep(refetchPause)
		wantAccepted(t, v, sign(`{"alg":"ES256"}`, lasting, p256Two()))
		server.wantAsked(t, 2)
	})
}

func TestForgedKeyNamesAreNoFloodForTheServer(t *testing.T) {
	for name, header := range map[string]func(i int) string{
		"unknown keys": func(i int) string { return fmt.Sprintf(`{"alg":"ES256","kid":"forged-%d"}`, i) },
		"no key":       func(int) string { return `{"alg":"ES256"}` },
	} {
		for state, status := range map[string]int{"up": 200, "down": 503} {
			t.Run(name+", server "+state, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					server, v := newKeyServer(t)
					wantAccepted(t, v, tokenOne())
					server.answers(status, keySetOf(keyOne(t)))
					const second = 2 // tokens in it
					for i := range 60 * second {
						wantRefused(t, v, sign(header(i), lasting, p256Two()), ErrInvalid)
						time.Sleep(time.Second / second)
					}
					server.wantAsked(t, 1+5)
					wantAccepted(t, v, tokenOne())
				})
			})
		}
	}
}

func TestKnownKeyWithABadSignatureAsksNobody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server, v := newKeyServer(t)
		wantAccepted(t, v, tokenOne())
		time.Sleep(time.Minute)
		wantRefused(t, v, sign(`{"alg":"ES256","kid":"1"}`, lasting, p256Two()), errSignature)
		server.wantAsked(t, 1)
	})
}

func TestOldKeysServeWhileTheServerIsDown(t *testing.T) {
	for name, status := range map[string]int{"no answer": 0, "connections fail": -1, "errors": 500} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				server, v := newKeyServer(t)
				began := time.Now()
				wantAccepted(t, v, tokenOne())
				server.answers(status, "canary")
				time.Sleep(freshTime)
				wantAccepted(t, v, tokenOne()) // after the deadline at worst

				// From here on nobody waits for the server, which is asked all the same.
				for time.Since(began) < freshTime+staleTime-time.Minute {
					time.Sleep(time.Minute)
					before := time.Now()
					wantAccepted(t, v, tokenOne())
					if waited := time.Since(before); waited > 0 {
						t.Fatalf("waited %v in an outage", waited)
					}
					synctest.Wait()
				}
				server.wantAsked(t, 2+int(staleTime/time.Minute)-1)
				time.Sleep(freshTime + staleTime - time.Since(began) - 1)
				wantAccepted(t, v, tokenOne())
				time.Sleep(time.Nanosecond)
				wantRefused(t, v, tokenOne(), ErrUnavailable)

				time.Sleep(2 * fetchTime) // what is under way fails, too
				server.serves(keyOne(t))
				wantAccepted(t, v, tokenOne())
			})
		})
	}
}

func TestRemovedKeyIsRefusedAfterAnOutage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server, v := newKeyServer(t)
		wantAccepted(t, v, tokenOne())
		server.answers(503, "")
		time.Sleep(freshTime)
		wantAccepted(t, v, tokenOne())
		server.serves(keyTwo(t))
		time.Sleep(refetchPause)
		wantAccepted(t, v, tokenOne()) // and starts the fetch
		synctest.Wait()
		wantRefused(t, v, tokenOne(), errUnknownKey)
		wantAccepted(t, v, tokenTwo())
	})
}

// A forged key's failed fetch is no outage: the next one is waited for.
func TestFailedFetchForAForgedKeyDoesNotProlongARemovedKey(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server, v := newKeyServer(t)
		wantAccepted(t, v, tokenOne())
		time.Sleep(time.Minute)
		server.answers(503, "")
		wantRefused(t, v, tokenTwo(), errUnknownKey)
		server.wantAsked(t, 2)
		server.serves(keyTwo(t))
		time.Sleep(freshTime - time.Minute)
		wantRefused(t, v, tokenOne(), errUnknownKey)
	})
}

func TestServerThatIsDownFromTheBeginning(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server, v := newKeyServer(t)
		server.answers(503, "canary")
		wantRefused(t, v, tokenOne(), ErrUnavailable)
		server.wantAsked(t, 1)
		server.serves(keyOne(t))
		time.Sleep(retryPause - 1)
		wantRefused(t, v, tokenOne(), ErrUnavailable)
		server.wantAsked(t, 1)
		time.Sleep(time.Nanosecond)
		wantAccepted(t, v, tokenOne())
		server.wantAsked(t, 2)
	})
}

func TestServerThatDoesNotAnswer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server, v := newKeyServer(t)
		server.answers(0, "")
		before := time.Now()
		wantRefused(t, v, tokenOne(), ErrUnavailable)
		if waited := time.Since(before); waited != fetchTime {
			t.Errorf("waited %v, want %v", waited, fetchTime)
		}
		wantRefused(t, v, tokenOne(), ErrUnavailable)
		if waited := time.Since(before); waited != fetchTime {
			t.Errorf("waited %v more for a server that was asked a moment ago", waited-fetchTime)
		}
		server.wantAsked(t, 1)
	})
}

func TestFetchIsSharedAndOutlivesItsCallers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server, v := newKeyServer(t)
		server.takes = time.Second
		first, hangUp := context.WithCancel(t.Context())
		given := make(chan error)
		go func() {
			_, err := v.Verify(first, "Bearer "+tokenOne())
			given <- err
		}()
		synctest.Wait()
		var callers sync.WaitGroup
		for range 100 {
			callers.Go(func() { wantAccepted(t, v, tokenOne()) })
		}
		synctest.Wait()
		hangUp()
		if err := <-given; !errors.Is(err, ErrUnavailable) || !errors.Is(err, context.Canceled) {
			t.Errorf("error %v for the caller that hung up", err)
		}
		callers.Wait()
		server.wantAsked(t, 1)
	})
}

func TestCallersWhoseKeyIsNotKnownShareAFetch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server, v := newKeyServer(t)
		wantAccepted(t, v, tokenOne())
		time.Sleep(refetchPause)
		server.serves(keyOne(t), keyTwo(t))
		server.takes = time.Second
		var callers sync.WaitGroup
		for range 100 {
			callers.Go(func() { wantAccepted(t, v, tokenTwo()) })
		}
		synctest.Wait()
		before := time.Now()
		wantAccepted(t, v, tokenOne())
		if waited := time.Since(before); waited > 0 {
			t.Errorf("a known key waited %v for the fetch of another", waited)
		}
		gone, hangUp := context.WithCancel(t.Context())
		hangUp()
		if _, err := v.Verify(gone, "Bearer "+tokenTwo()); !errors.Is(err, errUnknownKey) {
			t.Errorf("error %v for a caller that is gone", err)
		}
		callers.Wait()
		server.wantAsked(t, 2)
	})
}
