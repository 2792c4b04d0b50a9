package connect

import (
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
	otherKey := newFixture(t, nil)
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
	foreign, err := f.Link(t.Context(), "globex", LinkOptions{})
	if err != nil {
		t.Fatal(err)
	}
	f.start(foreign.URL)
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
