package sdk

import (
	"context"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/upstreamauth/caddy-upstream-auth/e2e/browser"
)

func openBrowser(ctx context.Context, t *testing.T) *browser.Browser {
	t.Helper()
	b, err := browser.Start(ctx)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := b.Close(); err != nil {
			t.Error(err)
		}
	})
	return b
}

// visit has a new person go to the page of an example.
func visit(ctx context.Context, t *testing.T, b *browser.Browser, p Package, e Example, env Env) (page *browser.Page, origin string) {
	t.Helper()
	handler, err := p.Page(e, env)
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(handler)
	t.Cleanup(server.Close)
	page, err = b.NewPage(ctx)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(page.Close)
	if status, err := page.Navigate(ctx, server.URL); err != nil || status != http.StatusOK {
		t.Fatalf("%d, %v", status, err)
	}
	return page, server.URL
}

func TestExamplesInAPage(t *testing.T) {
	ctx := deadline(t)
	b := openBrowser(ctx, t)
	for _, p := range []Package{IntegrationApp, Membrane} {
		for e, want := range examples {
			t.Run(p.Name+" "+string(e), func(t *testing.T) {
				a := startAPI(t)
				page, origin := visit(ctx, t, b, p, e, a.env())
				if output, err := Output(ctx, page); err != nil || string(output) != want.output {
					t.Fatalf("%q, %v", output, err)
				}
				requests, preflights := a.await(ctx, t, 1)
				if r := requests[0]; len(requests) != 1 || r.method != want.method || r.path != "/self" ||
					r.body != want.body || r.authorization != "Bearer "+token || r.origin != origin {
					t.Errorf("%+v", requests)
				}
				if r := preflights[0]; len(preflights) != 1 || r.wantsMethod != want.method || r.origin != origin ||
					!strings.Contains(r.wantsHeaders, "authorization") || r.authorization != "" {
					t.Errorf("preflights: %+v", preflights)
				}
				t.Logf("asks to send: %s", preflights[0].wantsHeaders)
				if failures, err := Failures(ctx, page); err != nil || len(failures) != 0 {
					t.Errorf("%q, %v", failures, err)
				}
			})
		}
	}
}

func TestFailureInAPage(t *testing.T) {
	ctx := deadline(t)
	b := openBrowser(ctx, t)
	for name, c := range map[string]struct {
		status int
		allow  bool
		want   string
	}{
		"refused by the API":         {status: http.StatusUnauthorized, allow: true, want: "status code 401"},
		"not allowed by the browser": {status: http.StatusOK, want: "Network Error"},
	} {
		for _, p := range []Package{IntegrationApp, Membrane} {
			t.Run(name+" "+p.Name, func(t *testing.T) {
				a := startAPIThat(t, c.allow, c.status)
				page, _ := visit(ctx, t, b, p, SelfGet, a.env())
				if output, err := Output(ctx, page); err == nil || !strings.Contains(err.Error(), c.want) {
					t.Errorf("%q, %v", output, err)
				}
				page, _ = visit(ctx, t, b, p, Credentials, a.env())
				if err := page.Await(ctx, "failures.length > 0"); err != nil {
					t.Fatal(err)
				}
				if failures, err := Failures(ctx, page); err != nil || len(failures) != 1 || !strings.Contains(failures[0], c.want) {
					t.Errorf("%q, %v", failures, err)
				}
			})
		}
	}
}

func TestWorkspaceSecretIsNotForPages(t *testing.T) {
	ctx := deadline(t)
	a := startAPI(t)
	page, _ := visit(ctx, t, openBrowser(ctx, t), Membrane, WorkspaceToken, Env{"API_URI": a.address, "WORKSPACE_SECRET": "secret"})
	if output, err := Output(ctx, page); err == nil || !strings.Contains(err.Error(), "must not be used in browser code") {
		t.Errorf("%q, %v", output, err)
	}
}
