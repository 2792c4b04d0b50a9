package authserver

import (
	"context"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/upstreamauth/caddy-upstream-auth/e2e/browser"
)

func TestPersonWithABrowser(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	client := httptest.NewServer(http.NotFoundHandler())
	t.Cleanup(client.Close)
	f := begin(t, Config{RedirectURIs: []string{client.URL + "/callback"}})
	f.request.Set("redirect_uri", client.URL+"/callback")

	b, err := browser.Start(ctx)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := b.Close(); err != nil {
			t.Error(err)
		}
	})
	page, err := b.NewPage(ctx)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(page.Close)
	visit := func(account, button string) url.Values {
		t.Helper()
		if status, err := page.Navigate(ctx, f.address+"/authorize?"+f.request.Encode()); err != nil || status != http.StatusOK {
			t.Fatalf("%d, %v", status, err)
		}
		if err := page.Fill(ctx, "#account", account); err != nil {
			t.Fatal(err)
		}
		if status, err := page.Submit(ctx, button); err != nil || status != http.StatusNotFound {
			t.Fatalf("back at the client: %d, %v", status, err)
		}
		address, err := page.URL(ctx)
		if err != nil || !strings.HasPrefix(address, client.URL+"/callback?") {
			t.Fatalf("%s, %v", address, err)
		}
		back, err := url.Parse(address)
		if err != nil {
			t.Fatal(err)
		}
		return back.Query()
	}
	if back := visit("acme", "#deny"); back.Get("error") != "access_denied" || back.Has("code") {
		t.Errorf("denied: %v", back)
	}
	back := visit("acme", "#allow")
	a, err := f.exchange(back.Get("code"), "redirect_uri", client.URL+"/callback")
	if err != nil {
		t.Fatal(err)
	}
	if tenant, ok := f.server.Subject(a.Access); !ok || tenant != "acme" || back.Get("iss") != f.address {
		t.Errorf("%v %+v", back, a)
	}
}
