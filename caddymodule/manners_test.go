package caddymodule_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/upstreamauth/caddy-upstream-auth/credential"
)

func TestAnAPIThatAsksToWaitIsLeftAlone(t *testing.T) {
	var requests atomic.Int64
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if requests.Add(1); r.Header.Get("X-Api-Key") == "acme's" {
			w.Header().Set("X-Reset-In", "30")
			w.WriteHeader(http.StatusTooManyRequests)
			fmt.Fprint(w, "slow down")
		}
	}))
	t.Cleanup(server.Close)
	s := newSidecar(t, map[credential.Key]string{
		{Provider: "billing", Tenant: "acme"}:   `{"api_key":"acme's"}`,
		{Provider: "billing", Tenant: "globex"}: `{"api_key":"globex's"}`,
	})
	s.start(t, `provider billing {
		header X-Api-Key {credential.api_key}
		retry_after X-Reset-In
	}`, "upstream_auth billing "+server.URL)

	if res, body := s.get(t, "/", as("acme")); res.StatusCode != 429 || body != "slow down" || res.Header.Get("Upstream-Auth-Error") != "" {
		t.Errorf("the API's own answer is %d %q, with %v", res.StatusCode, body, res.Header)
	}
	res, body := s.get(t, "/", as("acme"))
	after, err := strconv.Atoi(res.Header.Get("Retry-After"))
	if res.StatusCode != 429 || err != nil || after < 1 || after > 30 || res.Header.Get("Upstream-Auth-Error") != "rate_limited" || !strings.Contains(body, "asked to wait") {
		t.Errorf("the next is %d %q, with %v", res.StatusCode, body, res.Header)
	}
	if res, _ := s.get(t, "/", as("globex")); res.StatusCode != 200 {
		t.Errorf("another tenant's gets %d", res.StatusCode)
	}
	if n := requests.Load(); n != 2 {
		t.Errorf("the API had %d requests, want 2", n)
	}
}

func TestWhichRequestsAreReplayed(t *testing.T) {
	i := newIssuer(t)
	s := newSidecar(t, map[credential.Key]string{{Provider: "billing", Tenant: "acme"}: `{"region":"eu","secret":"s3cret","access_token":"old"}`})
	s.start(t, i.provider(""), "upstream_auth billing "+i.url+` {
		replay method GET
		replay header Idempotency-Key *
	}`)
	for _, test := range []struct {
		method, key string
		status      int
	}{{"POST", "", 401}, {"POST", "k", 200}, {"GET", "", 200}} {
		i.requests.Add(1) // so that the token that is stored is refused
		req, err := http.NewRequestWithContext(t.Context(), test.method, s.url+"/", strings.NewReader("the body"))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("X-Tenant-ID", "acme")
		if test.key != "" {
			req.Header.Set("Idempotency-Key", test.key)
		}
		res, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		res.Body.Close()
		why := res.Header.Get("Upstream-Auth-Replay")
		if res.StatusCode != test.status || (why != "") != (test.status == 401) || why != "" && why != "skipped; reason=not-matched" {
			t.Errorf("%s with key %q: %d, replay %q", test.method, test.key, res.StatusCode, why)
		}
	}
}

// What the credential says of the request counts, too, where it is exposed.
func TestWhichRequestsAreReplayedByAnExposedField(t *testing.T) {
	i := newIssuer(t)
	s := newSidecar(t, map[credential.Key]string{
		key("acme"):   `{"region":"eu","secret":"s3cret","access_token":"old","plan":"basic"}`,
		key("globex"): `{"region":"eu","secret":"s3cret","access_token":"old","plan":"once"}`,
	})
	s.start(t, i.provider("expose plan"), "upstream_auth billing "+i.url+` {
		replay expression `+"`{upstream_auth.credential.plan} != 'once'`"+`
	}`)
	for tenant, status := range map[string]int{"acme": 200, "globex": 401} {
		i.requests.Add(1) // so that the token that is stored is refused
		if res, _ := s.get(t, "/", as(tenant)); res.StatusCode != status {
			t.Errorf("%s: %d, replay %q", tenant, res.StatusCode, res.Header.Get("Upstream-Auth-Replay"))
		}
	}
}

func TestAnUpstreamWithAnotherTimeIsTold(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Date", time.Now().Add(-7*time.Minute).UTC().Format(http.TimeFormat))
		w.WriteHeader(http.StatusUnauthorized)
	}))
	t.Cleanup(server.Close)
	s := administered(t, map[credential.Key]string{{Provider: "billing", Tenant: "acme"}: `{"key":"0123456789abcdef0123456789abcdef"}`})
	text := s.caddyfile(`provider billing {
		jwt {
			algorithm HS256
			key       {credential.key}
			claim     iss acme
		}
	}`, "upstream_auth billing "+server.URL)
	startText(t, strings.Replace(text, "level ERROR", "output file "+s.path("log"), 1))
	if d := s.diagnose(t); !d.Healthy {
		t.Errorf("before: %+v", d)
	}
	for range 3 {
		if res, _ := s.get(t, "/", as("acme")); res.StatusCode != 401 {
			t.Errorf("%d", res.StatusCode)
		}
	}
	if found := s.diagnose(t).wrong()["clock"]; !strings.Contains(found, "about 7m") || !strings.Contains(found, "behind this machine's → Set the clock") {
		t.Errorf("the doctor says %q", found)
	}
	log, err := os.ReadFile(s.path("log"))
	if n := strings.Count(string(log), "clock"); err != nil || n != 1 {
		t.Errorf("the log says it %d times, %v", n, err)
	}
}
