package caddymodule_test

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/upstreamauth/caddy-upstream-auth/credential"
)

// newHeld is an upstream that answers when the test lets it; asked has an element for each
// request that has come.
func newHeld(t *testing.T, status int) (url string, asked chan struct{}, letGo func()) {
	t.Helper()
	asked, held := make(chan struct{}, 100), make(chan struct{})
	upstream := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked <- struct{}{}
		<-held
		w.WriteHeader(status)
	}))
	letGo = sync.OnceFunc(func() { close(held) })
	t.Cleanup(func() {
		letGo()
		upstream.Close()
	})
	return upstream.URL, asked, letGo
}

// One tenant over its own limit is told so, and others are served until all is in use.
func TestRequestsOverALimitAreRefused(t *testing.T) {
	for _, where := range []string{"app", "provider"} {
		t.Run(where, func(t *testing.T) {
			url, asked, letGo := newHeld(t, 200)
			s := newSidecar(t, map[credential.Key]string{
				key("acme"): `{"api_key":"k"}`, key("globex"): `{"api_key":"k"}`, key("initech"): `{"api_key":"k"}`,
			})
			const limits = "limits {\nrequests 2 3\n}\n"
			configuration := limits + apiKey
			if where == "provider" {
				configuration = strings.Replace(apiKey, "{", "{\n"+limits, 1)
			}
			s.start(t, configuration, "upstream_auth billing "+url)
			var group sync.WaitGroup
			for _, tenant := range []string{"acme", "acme", "globex"} {
				group.Go(func() {
					if res, _ := s.get(t, "/", as(tenant)); res.StatusCode != 200 {
						t.Errorf("%s: got %s", tenant, res.Status)
					}
				})
				<-asked
			}
			for tenant, status := range map[string]int{"acme": 429, "initech": 503} {
				res, body := s.get(t, "/", as(tenant))
				if res.StatusCode != status || res.Header.Get("Upstream-Auth-Error") != "too_many_requests" || res.Header.Get("Retry-After") == "" || !strings.HasPrefix(body, "too_many_requests: ") {
					t.Errorf("%s: got %s %v %q", tenant, res.Status, res.Header, body)
				}
			}
			letGo()
			group.Wait()
			// All is given back, what was refused included.
			for _, tenant := range []string{"acme", "globex", "initech", "unknown"} {
				if res, _ := s.get(t, "/", as(tenant)); res.StatusCode == 429 || res.StatusCode == 503 {
					t.Errorf("%s: got %s", tenant, res.Status)
				}
			}
		})
	}
}

// Over the limit for waiting the upstream's own answer comes at once, and the refresh is
// made all the same.
func TestRequestsThatMayNotWaitGetTheUpstreamsAnswer(t *testing.T) {
	asked, held := make(chan struct{}, 100), make(chan struct{})
	endpoint := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked <- struct{}{}
		<-held
		w.Header().Set("Content-Type", "application/json")
		_, _ = io.WriteString(w, `{"access_token":"canary-access-2","refresh_token":"canary-refresh-2"}`)
	}))
	letGo := sync.OnceFunc(func() { close(held) })
	t.Cleanup(func() {
		letGo()
		endpoint.Close()
	})
	upstream := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "Bearer canary-access-2" {
			w.WriteHeader(http.StatusUnauthorized)
			_, _ = io.WriteString(w, "the upstream's own words")
		}
	}))
	t.Cleanup(upstream.Close)
	t.Setenv("SECRET", "canary-secret")
	s := newSidecar(t, map[credential.Key]string{key("acme"): tokens, key("globex"): tokens})
	s.start(t, "limits {\nrefreshes 1 1\n}\nprovider billing {\noauth2 {\ntoken_url "+endpoint.URL+"\nclient_id app\nclient_secret {env.SECRET}\n}\n}", "upstream_auth billing "+upstream.URL)
	var group sync.WaitGroup
	group.Go(func() {
		if res, _ := s.get(t, "/", as("acme")); res.StatusCode != 200 {
			t.Errorf("who waits: got %s", res.Status)
		}
	})
	<-asked
	for _, tenant := range []string{"acme", "globex"} {
		res, body := s.get(t, "/", as(tenant))
		if res.StatusCode != 401 || res.Header.Get("Upstream-Auth-Error") != "too_many_requests" || body != "the upstream's own words" {
			t.Errorf("%s: got %s %v %q", tenant, res.Status, res.Header, body)
		}
	}
	<-asked // globex's
	letGo()
	group.Wait()
	eventually(t, func() bool {
		res, _ := s.get(t, "/", as("globex"))
		return res.StatusCode == 200
	})
	if len(asked) > 0 {
		t.Errorf("%d token requests too many", len(asked))
	}
}

// eventually waits until something is true.
func eventually(t *testing.T, is func() bool) {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); !is(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("it never was")
		}
	}
}

func TestCallsOfTheAPIOverALimitAreRefused(t *testing.T) {
	s := startAPI(t, "limits {\napi_calls 1 2\n}\n"+exposedKey, "", "")
	hold := func(tenant string) (letGo func()) {
		body, w := io.Pipe()
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPatch, s.url+"/self", body)
		if err != nil {
			t.Fatal(err)
		}
		req.Header = s.tenant(tenant)
		done := make(chan struct{})
		go func() {
			defer close(done)
			if res, err := new(http.Transport).RoundTrip(req); err == nil {
				res.Body.Close()
			}
		}()
		_, _ = io.WriteString(w, `{"credentials":`) // it has come when the next one is refused
		return func() {
			w.CloseWithError(io.ErrUnexpectedEOF)
			<-done
		}
	}
	isRefused := func(tenant string, want int) func() bool {
		return func() bool {
			status, answer, header := s.call("GET", "/self", s.tenant(tenant), "")
			return status == want && answer["code"] == "too_many_requests" && header.Get("Retry-After") != ""
		}
	}
	one := hold("acme")
	eventually(t, isRefused("acme", 429))
	if status, _, _ := s.call("GET", "/self", s.tenant("globex"), ""); status != 200 {
		t.Errorf("globex: %d", status)
	}
	two := hold("globex")
	eventually(t, isRefused("globex", 429))
	eventually(t, isRefused("initech", 503))
	one()
	two()
	eventually(t, func() bool {
		status, _, _ := s.call("GET", "/self", s.tenant("acme"), "")
		return status == 200
	})
}

// While a tenant's credential is looked at, its next change waits, and other tenants' do not.
func TestATenantsChangesWaitForEachOther(t *testing.T) {
	asked, held := make(chan string, 10), make(chan struct{})
	upstream := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked <- r.Header.Get("X-Api-Key")
		if strings.HasPrefix(r.Header.Get("X-Api-Key"), "key-of-acme") {
			<-held
		}
	}))
	t.Cleanup(upstream.Close)
	s := startAPI(t, strings.Replace(exposedKey, "{", "{\ntest "+upstream.URL+"\nallowed_hosts 127.0.0.1\n", 1), "", "")
	const credentials = `{"credentials":{"api_key":"%s","account":"a"}}`
	var all sync.WaitGroup
	patch := func(tenant, key string) {
		all.Go(func() {
			if status, answer, _ := s.call("PATCH", "/self", s.tenant(tenant), strings.Replace(credentials, "%s", key, 1)); status != 200 {
				t.Errorf("%s: %d %v", tenant, status, answer)
			}
		})
	}
	patch("acme", "key-of-acme-1")
	if got := <-asked; got != "key-of-acme-1" {
		t.Errorf("tested %s", got)
	}
	patch("acme", "key-of-acme-2")
	patch("globex", "key-of-globex")
	if got := <-asked; got != "key-of-globex" {
		t.Errorf("tested %s while acme's was being changed", got)
	}
	held <- struct{}{}
	if got := <-asked; got != "key-of-acme-2" {
		t.Errorf("tested %s", got)
	}
	close(held)
	all.Wait()
}

func TestLimitsThatCannotBe(t *testing.T) {
	const count = ": '%s' is neither an amount nor off, at Caddyfile:4"
	inLimits := func(lines string) string { return inApp("limits {\n" + lines + "\n}\n" + store) }
	for name, c := range map[string]struct{ caddyfile, want string }{
		"unknown":            {inLimits("request 5"), "unrecognized subdirective 'request' of limits, at Caddyfile:4"},
		"no amount":          {inLimits("requests"), "wrong argument count or unexpected line ending after 'requests', at Caddyfile:4"},
		"three amounts":      {inLimits("requests 1 2 3"), "wrong argument count or unexpected line ending after '3', at Caddyfile:4"},
		"a word":             {inLimits("requests many"), "requests" + strings.Replace(count, "%s", "many", 1)},
		"zero":               {inLimits("api_calls 0"), "api_calls" + strings.Replace(count, "%s", "0", 1)},
		"below zero":         {inLimits("refreshes -1"), "refreshes" + strings.Replace(count, "%s", "-1", 1)},
		"no size":            {inLimits("recorded_disk 1potato"), "recorded_disk" + strings.Replace(count, "%s", "1potato", 1)},
		"twice":              {inLimits("requests 1\nrequests 2"), "requests is given twice, at Caddyfile:5"},
		"lookups twice":      {inLimits("lookups 1\nlookups 2"), "lookups is given twice, at Caddyfile:5"},
		"more than in total": {inLimits("requests 5 4"), "limits: requests of one tenant cannot be more than in total, at Caddyfile:4"},
		"two blocks":         {inApp("limits {\nrequests 1\n}\nlimits {\n}\n" + store), "limits is given twice, at Caddyfile:6"},
		"an argument":        {inApp("limits x {\n}\n" + store), "wrong argument count or unexpected line ending after 'x', at Caddyfile:3"},
		"in a provider":      {inProvider("limits {\nrequests 5 4\n}\nheader A {credential.a}"), "limits: requests of one tenant cannot be more than in total, at Caddyfile:8"},
		"no room":            {inApp("journal_room 0\n" + store), "journal_room: '0' is not a number above zero, at Caddyfile:3"},
		"room twice":         {inApp("journal_room 1\njournal_room 1\n" + store), "journal_room is given twice, at Caddyfile:4"},
	} {
		t.Run(name, func(t *testing.T) {
			if got, err := adapt(t, c.caddyfile); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v\n%s\nwant %s", err, got, c.want)
			}
		})
	}
}
