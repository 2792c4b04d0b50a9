package connect

import (
	"bytes"
	"context"
	"errors"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

func TestForgedStates(t *testing.T) {
	f := newFixture(t, nil)
	back := f.authorize("https://app.example/done")
	state := parameter(t, back, "state")
	otherKey := newFixture(t, func(c *Config) {
		c.Key = func(context.Context) ([]byte, error) { return bytes.Repeat([]byte{8}, KeySize), nil }
	})
	flipped := []byte(state)
	flipped[len(flipped)/2] ^= 1
	for name, forged := range map[string]string{
		"nonsense":      "canary",
		"changed":       string(flipped),
		"cut off":       state[:len(state)-1],
		"another key's": parameter(t, otherKey.authorize(""), "state"),
		"a link":        parameter(t, f.link(""), "link"),
	} {
		t.Run(name, func(t *testing.T) {
			f.wantFailure(f.browser.get(t, f.Flow, with(t, back, func(q url.Values) { q.Set("state", forged) })), ErrForged)
		})
	}
	if n := f.server.count("/token"); n != 0 {
		t.Errorf("%d token requests", n)
	}
	if response := f.browser.get(t, f.Flow, back); !strings.HasSuffix(response.Header().Get("Location"), "status=success") {
		t.Errorf("the true one is of no use any more: %v", f.log.last())
	}
}

func TestReplayedState(t *testing.T) {
	f := newFixture(t, nil)
	back := f.authorize("https://app.example/done")
	cookies := map[string]string{}
	for name, value := range f.browser.cookies {
		cookies[name] = value
	}
	if response := f.browser.get(t, f.Flow, back); response.Code != http.StatusSeeOther {
		t.Fatalf("answered %d", response.Code)
	}
	f.accepted = nil
	f.wantFailure(f.browser.get(t, f.Flow, back), ErrUsed)
	f.browser.cookies = cookies // of a browser that did not forget them
	f.wantFailure(f.browser.get(t, f.Flow, back), ErrUsed)
	f.browser.cookies = cookies
	another := with(t, back, func(q url.Values) { q.Set("code", parameter(t, f.authorize(""), "code")) })
	f.wantFailure(f.browser.get(t, f.Flow, another), ErrUsed)
	if n := f.server.count("/token"); n != 1 {
		t.Errorf("%d token requests", n)
	}
}

// TestReloadForgetsNothing has the flow of a new configuration know what the old one's
// has seen.
func TestReloadForgetsNothing(t *testing.T) {
	f := newFixture(t, nil)
	reload := func() { f.Flow = f.newFlow(nil) }
	reload()
	link := f.link("")
	late := f.server.consent(t, f.start(link))
	back := f.server.consent(t, f.start(link))
	cookies := maps.Clone(f.browser.cookies)
	f.wantConnected(f.browser.get(t, f.Flow, back))
	f.accepted = nil
	reload()
	f.browser.cookies = cookies
	f.wantFailure(f.browser.get(t, f.Flow, back), ErrUsed)
	f.wantFailure(f.browser.get(t, f.Flow, late), ErrUsed)
	f.wantFailure(f.browser.get(t, f.Flow, link), ErrUsed)
	if n := f.server.count("/token"); n != 1 {
		t.Errorf("%d token requests", n)
	}
}

func TestStateIsUsedUpByAFailureToo(t *testing.T) {
	f := newFixture(t, nil)
	back := f.authorize("")
	cookies := map[string]string{}
	for name, value := range f.browser.cookies {
		cookies[name] = value
	}
	f.wantFailure(f.browser.get(t, f.Flow, with(t, back, func(q url.Values) { q.Set("error", "access_denied") })), ErrDeclined)
	f.browser.cookies = cookies
	f.wantFailure(f.browser.get(t, f.Flow, back), ErrUsed)
}

func TestManyCallbacksAtOnceConnectOnce(t *testing.T) {
	f := newFixture(t, nil)
	back := f.authorize("")
	var all sync.WaitGroup
	for range 20 {
		all.Go(func() {
			r := httptest.NewRequestWithContext(t.Context(), "GET", back, nil)
			for name, value := range f.browser.cookies {
				r.AddCookie(&http.Cookie{Name: name, Value: value})
			}
			f.ServeHTTP(httptest.NewRecorder(), r)
		})
	}
	all.Wait()
	if n := f.server.count("/token"); n != 1 || len(f.accepted) != 1 {
		t.Errorf("%d token requests, %d documents", n, len(f.accepted))
	}
}

func TestExpiredState(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(t, nil)
		early, late := f.authorize(""), f.authorize("")
		time.Sleep(stateTTL - time.Second)
		f.wantConnected(f.browser.get(t, f.Flow, early))
		f.accepted = nil
		time.Sleep(time.Second)
		f.wantFailure(f.browser.get(t, f.Flow, late), ErrExpired)
	})
}

func TestStateOfAnotherBrowser(t *testing.T) {
	f := newFixture(t, nil)
	back := f.authorize("")
	stranger := newBrowser()
	f.wantFailure(stranger.get(t, f.Flow, back), ErrOtherBrowser)

	// A cookie with the right name, which is no secret.
	for name := range f.browser.cookies {
		stranger.cookies[name] = "guessed"
	}
	f.wantFailure(stranger.get(t, f.Flow, back), ErrOtherBrowser)

	// The right one beside another of that name, which somebody planted.
	for name, value := range f.browser.cookies {
		for _, order := range [][]string{{value, "planted"}, {"planted", value}} {
			r := httptest.NewRequestWithContext(t.Context(), "GET", back, nil)
			for _, v := range order {
				r.AddCookie(&http.Cookie{Name: name, Value: v})
			}
			f.wantFailure(newBrowser().do(t, f.Flow, r), ErrOtherBrowser)
		}
	}
}

// TestStateOfAnotherTenant has a person with two tabs, for two tenants: the answer
// of one does not go with the other's cookie.
func TestStateOfAnotherTenant(t *testing.T) {
	f := newFixture(t, nil)
	back := f.authorize("")
	var own string
	for name := range f.browser.cookies {
		own = name
	}
	foreign, _, err := f.Link(t.Context(), "globex", "")
	if err != nil {
		t.Fatal(err)
	}
	f.start(foreign)
	for name, value := range f.browser.cookies {
		if name != own {
			f.browser.cookies[own] = value
		}
	}
	f.wantFailure(f.browser.get(t, f.Flow, back), ErrOtherBrowser)
}

func TestStateOfAnotherProvider(t *testing.T) {
	f := newFixture(t, nil)
	back := f.authorize("")
	other := f.newFlow(func(c *Config) { c.Provider = "billing" })
	f.wantFailure(f.browser.get(t, other, back), ErrOtherProvider)
	f.wantConnected(f.browser.get(t, f.Flow, back)) // it was not used up
}

func TestStateOfAnotherRedirectURI(t *testing.T) {
	f := newFixture(t, func(c *Config) {
		c.RedirectURIs = []string{callbackURI, "https://other.example/oauth/callback", "https://connect.example/oauth/callback2"}
	})
	for _, other := range []string{"https://other.example/oauth/callback", "https://connect.example/oauth/callback2"} {
		back := strings.Replace(f.authorize(""), callbackURI, other, 1)
		f.wantFailure(f.browser.get(t, f.Flow, back), ErrOtherRedirect)
	}
}

func TestUsedForgetsWhatHasExpired(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var u used
		now := time.Now()
		for i, id := range []string{"a", "b"} {
			if err := u.take(id, now.Add(time.Duration(i+1)*time.Minute)); err != nil {
				t.Fatal(err)
			}
		}
		time.Sleep(time.Minute + time.Second)
		if err := u.take("c", now.Add(time.Hour)); err != nil {
			t.Fatal(err)
		}
		if u.has("a") || !u.has("b") || !u.has("c") {
			t.Errorf("remembers %v", u.until)
		}
		if err := u.take("b", now.Add(time.Hour)); !errors.Is(err, ErrUsed) {
			t.Errorf("took it twice: %v", err)
		}
		u.giveBack("b")
		if err := u.take("b", now.Add(time.Hour)); err != nil {
			t.Errorf("what was given back: %v", err)
		}
	})
}

func TestUsedIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(t, nil)
		for i := range maxUsed {
			if err := f.usedStates.take(strings.Repeat("x", i%7)+time.Duration(i).String(), time.Now().Add(time.Minute)); err != nil {
				t.Fatal(err)
			}
		}
		response := f.connect("")
		if !errors.Is(f.log.last(), ErrBusy) || response.Code != http.StatusServiceUnavailable || len(f.accepted) > 0 {
			t.Errorf("answered %d: %v", response.Code, f.log.last())
		}
		time.Sleep(time.Minute + time.Second)
		f.wantConnected(f.connect(""))
	})
}
