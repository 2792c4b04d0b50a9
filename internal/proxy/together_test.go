package proxy

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/upstreamauth/caddy-upstream-auth/credential"
	"github.com/upstreamauth/caddy-upstream-auth/credential/storetest"
	"github.com/upstreamauth/caddy-upstream-auth/internal/body"
	"github.com/upstreamauth/caddy-upstream-auth/internal/body/bodytest"
	"github.com/upstreamauth/caddy-upstream-auth/internal/oauth2"
	"github.com/upstreamauth/caddy-upstream-auth/internal/renew"
	"github.com/upstreamauth/caddy-upstream-auth/internal/template"
	"github.com/upstreamauth/caddy-upstream-auth/internal/upstream"
	"github.com/upstreamauth/caddy-upstream-auth/scheme"
)

// TestManyTenantsTogether has the real coordinator refresh while many requests of
// several tenants are refused at once: each arrives once, whole, with its own
// tenant's new token, and each refresh token is spent once.
func TestManyTenantsTogether(t *testing.T) {
	var spent sync.Map
	endpoint := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		token := r.FormValue("refresh_token")
		if _, twice := spent.LoadOrStore(token, true); twice {
			t.Errorf("%s was spent twice", token)
		}
		w.Header().Set("Content-Type", "application/json")
		tenant := strings.TrimPrefix(token, "refresh-")
		fmt.Fprintf(w, `{"access_token":"new-%s","refresh_token":"next-%s"}`, tenant, tenant)
	}))
	defer endpoint.Close()

	store := storetest.NewMemory()
	cache := credential.NewCache(store, credential.CacheOptions{})
	coordinator := renew.New(cache, renew.Options{})
	defer coordinator.Close()
	renewer, err := oauth2.New(oauth2.Config{TokenURL: mustTemplate(t, endpoint.URL), Client: oauth2.Client{ClientID: mustTemplate(t, "client"), ClientSecrets: []oauth2.Secret{{Text: mustTemplate(t, "secret")}}}})
	if err != nil {
		t.Fatal(err)
	}
	provider, err := upstream.New(upstream.Provider{Provider: renew.NewProvider("crm", renewer, ""), Schemes: []scheme.Scheme{renewer}})
	if err != nil {
		t.Fatal(err)
	}
	credentials := &upstream.Credentials{Cache: cache, Coordinator: coordinator}

	const tenants, each = 5, 8
	for i := range tenants {
		tenant := fmt.Sprintf("tenant-%d", i)
		document := fmt.Appendf(nil, `{"access_token":"old-%s","refresh_token":"refresh-%s"}`, tenant, tenant)
		if _, err := store.Put(t.Context(), credential.Key{Provider: "crm", Tenant: credential.Tenant(tenant)}, document, 0); err != nil {
			t.Fatal(err)
		}
	}

	eachProtocol(t, func(t *testing.T, protocol string) {
		var arrived atomic.Int32
		u := newUpstream(t, protocol, func(w http.ResponseWriter, r *http.Request) {
			if r.Header.Get("Authorization") != "Bearer new-"+r.Header.Get("X-Expected") {
				http.Error(w, "refused", 401)
				return
			}
			body, err := io.ReadAll(r.Body)
			if err != nil {
				return
			}
			arrived.Add(1)
			_, _ = w.Write(body)
		})
		var all sync.WaitGroup
		for i := range tenants * each {
			all.Go(func() {
				tenant := credential.Tenant(fmt.Sprintf("tenant-%d", i%tenants))
				opened, err := credentials.Open(t.Context(), provider, tenant)
				if err != nil {
					t.Error(err)
					return
				}
				x := &Exchange{Tenant: tenant, Opened: opened, Settings: &Settings{
					Provider: provider, Credentials: credentials, Limits: body.Limits{MaxBody: 1 << 20, Memory: 10_000, Dir: t.TempDir()},
				}}
				defer x.Close()
				body := string(bodytest.RandomBytes(1000 * i))
				req := newRequest(t, x, "POST", u.URL, unsized{strings.NewReader(body)})
				req.Header.Set("X-Expected", string(tenant))
				res, err := u.RoundTrip(req)
				if err != nil {
					t.Error(err)
					return
				}
				defer res.Body.Close()
				if got, err := io.ReadAll(res.Body); err != nil || string(got) != body || res.StatusCode != 200 {
					t.Errorf("%s: %d, %d bytes of %d, %v", tenant, res.StatusCode, len(got), len(body), err)
				}
			})
		}
		all.Wait()
		if n := arrived.Load(); n != tenants*each {
			t.Errorf("%d of %d arrived", n, tenants*each)
		}
	})
	if err := coordinator.Wait(t.Context()); err != nil {
		t.Fatal(err)
	}
	if n := store.Puts(); n != 3*tenants { // the first version, the claim, the commit
		t.Errorf("%d writes", n)
	}
}

func mustTemplate(t testing.TB, text string) *template.Template {
	t.Helper()
	parsed, err := template.Parse(text, nil)
	if err != nil {
		t.Fatal(err)
	}
	return parsed
}
