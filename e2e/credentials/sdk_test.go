package credentials

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/upstreamauth/caddy-upstream-auth/e2e/browser"
	"github.com/upstreamauth/caddy-upstream-auth/e2e/sdk"
	"github.com/upstreamauth/caddy-upstream-auth/e2e/world"
)

// byKey is a provider whose credentials are those of the SDKs' examples. A sidecar
// that did not notice that one was replaced would send the old one for an hour.
var byKey = world.Configuration{Keys: true, Store: world.PatientVault + "cache_ttl 1h"}

var sdkPackages = []sdk.Package{sdk.IntegrationApp, sdk.Membrane}

// The examples of the SDKs' documentation work in Node, unchanged but for the address:
// what they bring is in Vault, and the next request to the upstream has it.
func TestSDKsInNode(t *testing.T) {
	w := world.New(t)
	w.Start(w.WithAPI(byKey, ""))
	for _, p := range sdkPackages {
		examples := []sdk.Example{sdk.Credentials, sdk.FetchCredentials, sdk.SelfPatch, sdk.SelfGet}
		if p == sdk.Membrane {
			examples = append(examples, sdk.WorkspaceToken)
		}
		for _, e := range examples {
			t.Run(p.Global+" "+string(e), func(t *testing.T) {
				u := newUser(w.Within(t), p, e)
				output, err := p.Run(w.Ctx, e, u.env)
				u.Check(err)
				u.hasConnected(output)
			})
		}
	}
}

// They work in a page of another origin that is on the list, and get nowhere in a page
// of one that is not, whatever token they have.
func TestSDKsInABrowser(t *testing.T) {
	w := world.New(t)
	listed, foreign := newOrigin(w), newOrigin(w)
	w.Start(w.WithAPI(byKey, "cors_origins https://other.example "+listed.URL))
	b := openBrowser(w)
	for _, p := range sdkPackages {
		for _, e := range []sdk.Example{sdk.Credentials, sdk.FetchCredentials, sdk.SelfPatch, sdk.SelfGet} {
			t.Run(p.Global+" "+string(e), func(t *testing.T) {
				u := newUser(w.Within(t), p, e)
				page := u.visit(b, listed)
				output, err := sdk.Output(u.Ctx, page)
				u.Check(err)
				u.Check(page.Await(u.Ctx, u.hasAnswer()))
				if failures, err := sdk.Failures(u.Ctx, page); err != nil || len(failures) > 0 {
					u.Errorf("failures %q, %v", failures, err)
				}
				u.hasConnected(output)
			})
		}
		for _, e := range []sdk.Example{sdk.SelfPatch, sdk.SelfGet} {
			t.Run("foreign "+p.Global+" "+string(e), func(t *testing.T) {
				w := w.Within(t)
				tenant := "foreign-" + p.Global + "-" + string(e)
				u := &user{World: w, p: p, example: e, tenant: tenant, key: w.NewKey(tenant)}
				u.StoreRaw(tenant, world.KeyDocument{APIKey: u.key})
				u.env = u.environment("a key that a foreign page brings")
				page := u.visit(b, foreign)
				if output, err := sdk.Output(u.Ctx, page); err == nil || len(output) > 0 || !strings.Contains(err.Error(), "Network Error") {
					u.Errorf("the page got %q, %v", output, err)
				}
				if _, version, err := u.StoredRaw(tenant); err != nil || version != 1 {
					u.Errorf("version %d in Vault, %v", version, err)
				}
				u.Check(u.HoldsKey(tenant, u.key))
				u.isServed("after the page")
			})
		}
	}
}

// user is an end user who runs an example.
type user struct {
	*world.World
	p       sdk.Package
	example sdk.Example
	tenant  string
	key     string // that the upstream takes
	env     sdk.Env
}

// newUser makes a user with a new key, which only the example makes known to the
// sidecar. It has the old one, or nothing at all; sdk.SelfGet, which brings nothing,
// finds the new one.
func newUser(w *world.World, p sdk.Package, e sdk.Example) *user {
	w.Helper()
	u := &user{World: w, p: p, example: e, tenant: p.Global + "-" + string(e)}
	if e == sdk.Credentials {
		w.Expect(world.Request{Tenant: u.tenant, ID: u.tenant + " unknown"}, http.StatusForbidden)
	} else {
		old := w.NewKey(u.tenant)
		w.StoreRaw(u.tenant, world.KeyDocument{APIKey: old})
		u.isServed("with the old key")
	}
	u.key = w.NewKey(u.tenant)
	if e == sdk.SelfGet {
		w.Brings(u.tenant, world.KeyDocument{APIKey: u.key})
	} else if e != sdk.Credentials {
		w.Expect(world.Request{Tenant: u.tenant, ID: u.tenant + " rejected"}, http.StatusUnauthorized)
	}
	u.env = u.environment(u.key)
	return u
}

// environment is what an example needs to bring a key.
func (u *user) environment(key string) sdk.Env {
	u.Helper()
	env := sdk.Env{"API_URI": u.apiURI(), "USER_API_KEY": key}
	if u.example == sdk.WorkspaceToken {
		env["WORKSPACE_KEY"], env["WORKSPACE_SECRET"], env["TENANT_KEY"] = world.WorkspaceKey, u.Read(world.WorkspaceSecret), u.tenant
	} else {
		env["TOKEN"] = u.TokenOf(u.tenant)
	}
	return env
}

func (u *user) apiURI() string { return "http://" + u.Caddy.Address }

// hasConnected checks that the next request has the new key, that it is in Vault, and
// what the example has printed.
func (u *user) hasConnected(output []byte) {
	u.Helper()
	u.isServed("with the new key")
	u.Check(u.HoldsKey(u.tenant, u.key))
	if u.example != sdk.SelfGet && u.example != sdk.WorkspaceToken {
		if len(output) > 0 {
			u.Errorf("output %q", output)
		}
		return
	}
	var d world.Description
	u.Check(json.Unmarshal(output, &d))
	if d.ID != u.tenant || d.Provider != "api" || d.Version != 2 || d.Status != "ready" || d.WrittenBy != "api" || len(d.Credentials) > 0 {
		u.Errorf("the SDK was told %s", output)
	}
	for _, leak := range u.Secrets.Scan("output of the SDK", output) {
		u.Errorf("leak: %s", leak)
	}
}

// isServed checks that the upstream sees the key that it takes, at the first attempt.
func (u *user) isServed(id string) {
	u.Helper()
	r := world.Request{Tenant: u.tenant, ID: u.tenant + " " + id, Body: []byte("question")}
	u.Check(u.Delivered(r, u.Must(r)))
	if attempts := u.API.Attempts(r.ID); len(attempts) != 1 || u.key != "" && attempts[0].Header.Get("X-Api-Key") != u.key {
		u.Errorf("%s: %d attempts, or another key", r.ID, len(attempts))
	}
}

// visit opens the page of the example.
func (u *user) visit(b *browser.Browser, o *origin) *browser.Page {
	u.Helper()
	handler, err := u.p.Page(u.example, u.env)
	u.Check(err)
	o.page.Store(&handler)
	page, err := b.NewPage(u.Ctx)
	u.Check(err)
	u.Cleanup(page.Close)
	if status, err := page.Navigate(u.Ctx, o.URL); err != nil || status != http.StatusOK {
		u.Fatalf("%d, %v", status, err)
	}
	return page
}

// hasAnswer is true in a page that has the answer to its request to the API: nothing
// else tells when the example is done that nobody awaits.
func (u *user) hasAnswer() string {
	return fmt.Sprintf(`performance.getEntriesByType("resource").some(entry => entry.name === %q && entry.responseEnd > 0)`, u.apiURI()+"/self")
}

// origin serves one page at a time.
type origin struct {
	*httptest.Server
	page atomic.Pointer[http.Handler]
}

func newOrigin(w *world.World) *origin {
	o := new(origin)
	o.Server = httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		if page := o.page.Load(); page != nil {
			(*page).ServeHTTP(rw, r)
			return
		}
		http.NotFound(rw, r)
	}))
	w.Serve(o.Server)
	return o
}

// openBrowser starts a browser that ends with the test.
func openBrowser(w *world.World) *browser.Browser {
	w.Helper()
	b, err := browser.Start(context.WithoutCancel(w.Ctx))
	w.Check(err)
	w.Cleanup(func() { w.Check(b.Close()) })
	return b
}
