package e2e

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
)

// What goes wrong with a tenant or with Vault is not the upstream's fault: it is
// neither marked down for it, nor is the request tried again.
func TestOurErrorsDoNotCountAgainstTheUpstream(t *testing.T) {
	w := newWorld(t)
	const patience = 30 * time.Second
	w.start(configuration{
		store: "timeout 500ms",
		sites: []site{{handler: "fail_duration 10m\nmax_fails 1\nlb_try_duration " + patience.String() + "\nlb_try_interval 50ms"}},
	})
	w.seed("acme")
	w.seed("globex")
	w.store("broken", document{AccessToken: "split\r\nin two lines", RefreshToken: "some refresh token"})
	w.expect(request{tenant: "acme", id: "first"}, 200)

	promptly := func(r request, status int, code string) response {
		t.Helper()
		begun := time.Now()
		res := w.expect(r, status)
		if took := time.Since(begun); took > patience/3 {
			t.Errorf("%s: the answer took %v", r.id, took)
		}
		if got := res.Header.Get("Upstream-Auth-Error"); got != code {
			t.Errorf("%s: code %q", r.id, got)
		}
		return res
	}
	for range 3 {
		promptly(request{tenant: "nobody", id: "unknown"}, 403, "tenant_unknown")
		promptly(request{tenant: "not/valid", id: "invalid"}, 400, "tenant_invalid")
		promptly(request{id: "missing"}, 400, "tenant_missing")
		promptly(request{tenant: "broken", id: "broken"}, 502, "credential_invalid")
	}
	w.tap.cut.Store(true)
	res := promptly(request{tenant: "globex", id: "outage"}, 503, "store_unavailable")
	if res.Header.Get("Retry-After") == "" {
		t.Error("no Retry-After")
	}
	promptly(request{tenant: "acme", id: "cached"}, 200, "")
	w.tap.cut.Store(false)
	w.eventually(func() error {
		r := request{tenant: "globex", id: fmt.Sprint("after the outage ", time.Now())}
		return w.delivered(r, w.must(r))
	})

	for _, id := range []string{"unknown", "invalid", "missing", "broken", "outage"} {
		if len(w.api.Attempts(id)) > 0 {
			t.Errorf("%s: the upstream was asked", id)
		}
	}
	answer, err := w.caddy.Get(w.ctx, "/reverse_proxy/upstreams")
	w.check(err)
	var upstreams []struct{ Fails int }
	if err := json.Unmarshal(answer, &upstreams); err != nil || len(upstreams) != 1 || upstreams[0].Fails != 0 {
		t.Errorf("upstreams: %s, %v", answer, err)
	}
}

// A chunked POST that breaks off at one upstream reaches the next whole, or not
// at all: never the rest of it, never a part that passes for all.
func TestRetriesNeverDeliverPartOfABody(t *testing.T) {
	w := newWorld(t)
	var broken atomic.Int64
	breaker := w.serve(upstream.Serve(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		broken.Add(1)
		after, _ := strconv.ParseInt(r.Header.Get("X-Break-After"), 10, 64)
		_, _ = io.CopyN(io.Discard, r.Body, after)
		panic(http.ErrAbortHandler)
	})))
	breakAfter := func(n int) http.Header { return http.Header{"X-Break-After": {strconv.Itoa(n)}} }
	const settings = "replay_max_body 1MiB\nlb_policy first\nlb_retries 3\nlb_try_interval 10ms\nlb_retry_match {\nmethod POST\n}\n"
	w.start(configuration{sites: []site{
		{name: "over-h1", upstream: breaker + " " + w.apiURL, handler: settings + "fail_duration 300ms"},
		{name: "over-h2c", upstream: breaker + " " + w.apiURL, handler: settings + "fail_duration 300ms\ntransport http {\nversions h2c\n}"},
	}})

	for _, y := range allWays {
		for _, fresh := range []bool{true, false} {
			t.Run(fmt.Sprintf("%s fresh=%t", y, fresh), func(t *testing.T) {
				w := w.within(t)
				tenant := strings.NewReplacer(" ", "-", "/", "-").Replace(fmt.Sprintf("%s-%t", y, fresh))
				w.seed(tenant)
				if !fresh {
					w.check(w.auth.Expire(tenant))
				}
				small := request{proto: y.proto, site: y.site, tenant: tenant, id: tenant + " small", body: randomBytes(800 * kib), chunked: true, header: breakAfter(500 * kib)}
				w.awaitRecovery()
				before := broken.Load()
				w.check(w.delivered(small, w.must(small)))
				if broken.Load() == before {
					t.Error("the request did not break off")
				}

				large := request{proto: y.proto, site: y.site, tenant: tenant, id: tenant + " large", body: randomBytes(3 * mib), chunked: true, header: breakAfter(2 * mib)}
				w.awaitRecovery()
				before = broken.Load()
				res, err := w.send(w.ctx, large)
				if err == nil && res.StatusCode < 500 {
					t.Errorf("half a body was answered with %d: %q", res.StatusCode, res.body)
				}
				if broken.Load() == before {
					t.Error("the large request did not break off")
				}
				for _, attempt := range w.api.Attempts(large.id) {
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
	w := newWorld(t)
	var asked atomic.Int64
	overloaded := w.serve(upstream.Serve(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		asked.Add(1)
		_, _ = io.Copy(io.Discard, r.Body)
		rw.WriteHeader(http.StatusServiceUnavailable)
	})))
	w.start(configuration{sites: []site{{
		upstream: overloaded + " " + w.apiURL,
		handler:  "replay_max_body 1MiB\nlb_policy round_robin\nlb_retries 1\nlb_retry_match {\nmethod POST\nexpression `{rp.status_code} == 503`\n}",
	}}})
	for _, proto := range []string{"HTTP/1.1", "h2c"} {
		for i := range 4 { // half of them start at the wrong end
			tenant := strings.ReplaceAll(fmt.Sprint(proto, "-", i), "/", "-")
			w.seedExpired(tenant)
			r := request{proto: proto, tenant: tenant, id: tenant, body: randomBytes(900 * kib), chunked: true}
			w.check(w.delivered(r, w.must(r)))

			large := request{proto: proto, tenant: tenant, id: tenant + " large", body: randomBytes(3 * mib), chunked: true}
			res, err := w.send(w.ctx, large)
			if err == nil && res.StatusCode == http.StatusOK {
				w.check(w.delivered(large, res))
			}
			for _, attempt := range w.api.Attempts(large.id) {
				if attempt.Whole && attempt.Digest != upstream.DigestOf(large.body) {
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
func (w *world) awaitRecovery() {
	w.Helper()
	w.eventually(func() error {
		answer, err := w.caddy.Get(w.ctx, "/reverse_proxy/upstreams")
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
	w := newWorld(t)
	secure := upstream.ServeTLS(w.api)
	w.serve(secure)
	ca := filepath.Join(w.files, "ca.pem")
	w.check(os.WriteFile(ca, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: secure.Certificate().Raw}), 0o600))
	w.start(configuration{sites: []site{{
		upstream: secure.URL,
		handler: "health_uri /health\nhealth_interval 50ms\nhealth_timeout 5s\n" +
			"transport http {\ntls_trust_pool file " + ca + "\ntls_server_name example.com\n}",
	}}})

	for i := range 10 {
		tenant := fmt.Sprint("tenant-", i)
		w.seedExpired(tenant)
		r := request{tenant: tenant, id: tenant, body: randomBytes(10 * kib)}
		w.check(w.delivered(r, w.must(r)))
	}
	ctx, cancel := context.WithTimeout(w.ctx, 20*time.Second)
	defer cancel()
	w.check(w.api.AwaitProbes(ctx, 10))
	for _, probe := range w.api.Probes() {
		if !probe.TLS || probe.Authorization != "" {
			t.Errorf("probe: %+v", probe)
		}
	}
	w.settled("tenant-0", "tenant-9")
}
