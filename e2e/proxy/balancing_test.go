package proxy

import (
	"context"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/upstreamauth/caddy-upstream-auth/e2e/upstream"
	"github.com/upstreamauth/caddy-upstream-auth/e2e/world"
)

// What goes wrong with a tenant or with Vault is not the upstream's fault: it is
// neither marked down for it, nor is the request tried again.
func TestOurErrorsDoNotCountAgainstTheUpstream(t *testing.T) {
	w := world.New(t)
	const patience = 30 * time.Second
	w.Start(world.Configuration{
		Store: "timeout 500ms",
		Sites: []world.Site{{Handler: "fail_duration 10m\nmax_fails 1\nlb_try_duration " + patience.String() + "\nlb_try_interval 50ms"}},
	})
	w.Seed("acme")
	w.Seed("globex")
	w.Store("broken", world.Document{AccessToken: "split\r\nin two lines", RefreshToken: "some refresh token"})
	w.Expect(world.Request{Tenant: "acme", ID: "first"}, 200)

	promptly := func(r world.Request, status int, code string) world.Response {
		t.Helper()
		begun := time.Now()
		res := w.Expect(r, status)
		if took := time.Since(begun); took > patience/3 {
			t.Errorf("%s: the answer took %v", r.ID, took)
		}
		if got := res.Header.Get("Upstream-Auth-Error"); got != code {
			t.Errorf("%s: code %q", r.ID, got)
		}
		return res
	}
	for range 3 {
		promptly(world.Request{Tenant: "nobody", ID: "unknown"}, 403, "tenant_unknown")
		promptly(world.Request{Tenant: "not/valid", ID: "invalid"}, 400, "tenant_invalid")
		promptly(world.Request{ID: "missing"}, 400, "tenant_missing")
		promptly(world.Request{Tenant: "broken", ID: "broken"}, 502, "credential_invalid")
	}
	w.Tap.Cut.Store(true)
	res := promptly(world.Request{Tenant: "globex", ID: "outage"}, 503, "store_unavailable")
	if res.Header.Get("Retry-After") == "" {
		t.Error("no Retry-After")
	}
	promptly(world.Request{Tenant: "acme", ID: "cached"}, 200, "")
	w.Tap.Cut.Store(false)
	w.Eventually(func() error {
		r := world.Request{Tenant: "globex", ID: fmt.Sprint("after the outage ", time.Now())}
		return w.Delivered(r, w.Must(r))
	})

	for _, id := range []string{"unknown", "invalid", "missing", "broken", "outage"} {
		if len(w.API.Attempts(id)) > 0 {
			t.Errorf("%s: the upstream was asked", id)
		}
	}
	answer, err := w.Caddy.Get(w.Ctx, "/reverse_proxy/upstreams")
	w.Check(err)
	var upstreams []struct{ Fails int }
	if err := json.Unmarshal(answer, &upstreams); err != nil || len(upstreams) != 1 || upstreams[0].Fails != 0 {
		t.Errorf("upstreams: %s, %v", answer, err)
	}
}

// A chunked POST that breaks off at one upstream reaches the next whole, or not
// at all: never the rest of it, never a part that passes for all.
func TestRetriesNeverDeliverPartOfABody(t *testing.T) {
	w := world.New(t)
	var broken atomic.Int64
	breaker := w.Serve(upstream.Serve(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		broken.Add(1)
		after, _ := strconv.ParseInt(r.Header.Get("X-Break-After"), 10, 64)
		_, _ = io.CopyN(io.Discard, r.Body, after)
		panic(http.ErrAbortHandler)
	})))
	breakAfter := func(n int) http.Header { return http.Header{"X-Break-After": {strconv.Itoa(n)}} }
	const settings = "replay_max_body 1MiB\nlb_policy first\nlb_retries 3\nlb_try_interval 10ms\nlb_retry_match {\nmethod POST\n}\n"
	w.Start(world.Configuration{Sites: []world.Site{
		{Name: "over-h1", Upstream: breaker + " " + w.APIURL, Handler: settings + "fail_duration 300ms"},
		{Name: "over-h2c", Upstream: breaker + " " + w.APIURL, Handler: settings + "fail_duration 300ms\ntransport http {\nversions h2c\n}"},
	}})

	for _, y := range allWays {
		for _, fresh := range []bool{true, false} {
			t.Run(fmt.Sprintf("%s fresh=%t", y, fresh), func(t *testing.T) {
				w := w.Within(t)
				tenant := strings.NewReplacer(" ", "-", "/", "-").Replace(fmt.Sprintf("%s-%t", y, fresh))
				w.Seed(tenant)
				if !fresh {
					w.Check(w.Auth.Expire(tenant))
				}
				small := world.Request{Proto: y.proto, Site: y.site, Tenant: tenant, ID: tenant + " small", Body: world.RandomBytes(800 * world.KiB), Chunked: true, Header: breakAfter(500 * world.KiB)}
				awaitRecovery(w)
				before := broken.Load()
				w.Check(w.Delivered(small, w.Must(small)))
				if broken.Load() == before {
					t.Error("the request did not break off")
				}

				large := world.Request{Proto: y.proto, Site: y.site, Tenant: tenant, ID: tenant + " large", Body: world.RandomBytes(3 * world.MiB), Chunked: true, Header: breakAfter(2 * world.MiB)}
				awaitRecovery(w)
				before = broken.Load()
				res, err := w.Send(w.Ctx, large)
				if err == nil && res.StatusCode < 500 {
					t.Errorf("half a body was answered with %d: %q", res.StatusCode, res.Content)
				}
				if broken.Load() == before {
					t.Error("the large request did not break off")
				}
				for _, attempt := range w.API.Attempts(large.ID) {
					if attempt.Whole {
						t.Errorf("part of a body passed for all: %+v", attempt)
					}
				}
			})
		}
	}
}

// An upstream that takes a body and then says that it is overloaded is no reason to
// send the next one anything but the whole.
func TestRetriesOfAnswersDeliverTheWholeBody(t *testing.T) {
	w := world.New(t)
	var asked atomic.Int64
	overloaded := w.Serve(upstream.Serve(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		asked.Add(1)
		_, _ = io.Copy(io.Discard, r.Body)
		rw.WriteHeader(http.StatusServiceUnavailable)
	})))
	w.Start(world.Configuration{Sites: []world.Site{{
		Upstream: overloaded + " " + w.APIURL,
		Handler:  "replay_max_body 1MiB\nlb_policy round_robin\nlb_retries 1\nlb_retry_match {\nmethod POST\nexpression `{rp.status_code} == 503`\n}",
	}}})
	for _, proto := range []string{"HTTP/1.1", "h2c"} {
		for i := range 4 { // half of them start at the wrong end
			tenant := strings.ReplaceAll(fmt.Sprint(proto, "-", i), "/", "-")
			w.SeedExpired(tenant)
			r := world.Request{Proto: proto, Tenant: tenant, ID: tenant, Body: world.RandomBytes(900 * world.KiB), Chunked: true}
			w.Check(w.Delivered(r, w.Must(r)))

			large := world.Request{Proto: proto, Tenant: tenant, ID: tenant + " large", Body: world.RandomBytes(3 * world.MiB), Chunked: true}
			res, err := w.Send(w.Ctx, large)
			if err == nil && res.StatusCode == http.StatusOK {
				w.Check(w.Delivered(large, res))
			}
			for _, attempt := range w.API.Attempts(large.ID) {
				if attempt.Whole && attempt.Digest != upstream.DigestOf(large.Body) {
					t.Errorf("part of a body passed for all: %+v", attempt)
				}
			}
		}
	}
	if asked.Load() == 0 {
		t.Error("the overloaded upstream was never asked")
	}
}

// awaitRecovery waits until Caddy has forgotten that an upstream failed.
func awaitRecovery(w *world.World) {
	w.Helper()
	w.Eventually(func() error {
		answer, err := w.Caddy.Get(w.Ctx, "/reverse_proxy/upstreams")
		if err != nil {
			return err
		}
		var upstreams []struct{ Fails int }
		if err := json.Unmarshal(answer, &upstreams); err != nil {
			return err
		}
		for _, u := range upstreams {
			if u.Fails > 0 {
				return fmt.Errorf("upstreams: %s", answer)
			}
		}
		return nil
	})
}

// Active health checks reach an https upstream as they would without us: over
// TLS, and without a credential.
func TestActiveHealthChecksOfAnHTTPSUpstream(t *testing.T) {
	w := world.New(t)
	secure := upstream.ServeTLS(w.API)
	w.Serve(secure)
	ca := filepath.Join(w.Files, "ca.pem")
	w.Check(os.WriteFile(ca, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: secure.Certificate().Raw}), 0o600))
	w.Start(world.Configuration{Sites: []world.Site{{
		Upstream: secure.URL,
		Handler: "health_uri /health\nhealth_interval 50ms\nhealth_timeout 5s\n" +
			"transport http {\ntls_trust_pool file " + ca + "\ntls_server_name example.com\n}",
	}}})

	for i := range 10 {
		tenant := fmt.Sprint("tenant-", i)
		w.SeedExpired(tenant)
		r := world.Request{Tenant: tenant, ID: tenant, Body: world.RandomBytes(10 * world.KiB)}
		w.Check(w.Delivered(r, w.Must(r)))
	}
	ctx, cancel := context.WithTimeout(w.Ctx, 20*time.Second)
	defer cancel()
	w.Check(w.API.AwaitProbes(ctx, 10))
	for _, probe := range w.API.Probes() {
		if !probe.TLS || probe.Authorization != "" {
			t.Errorf("probe: %+v", probe)
		}
	}
	w.Settled("tenant-0", "tenant-9")
}
