package connect

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"regexp"
	"strings"
	"sync"
	"testing"

	"go.uber.org/goleak"

	"github.com/upstreamauth/caddy-upstream-auth/credential"
	"github.com/upstreamauth/caddy-upstream-auth/credential/storetest"
	"github.com/upstreamauth/caddy-upstream-auth/internal/links"
	"github.com/upstreamauth/caddy-upstream-auth/internal/oauth2"
	"github.com/upstreamauth/caddy-upstream-auth/internal/template"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	tenant       = credential.Tenant("tenant-canary")
	clientSecret = "canary-client-secret"
	callbackURI  = "https://connect.example/oauth/callback"
)

// fixture is a flow with an authorization server and a person's browser.
type fixture struct {
	*Flow
	t       *testing.T
	server  *server
	browser *browser
	log     *record
	store   *storetest.Memory

	mu       sync.Mutex
	accepted []string // documents
	accept   func(ctx context.Context) error
}

// newFixture checks in the end that no log line has a token, the secret, or the
// tenant in it.
func newFixture(t *testing.T, change func(*Config)) *fixture {
	t.Helper()
	f := &fixture{t: t, server: newServer(t, "https://as.example"), browser: newBrowser(), log: &record{}, store: storetest.NewMemory()}
	f.Flow = f.newFlow(change)
	t.Cleanup(func() {
		for _, secret := range []string{"canary", string(tenant)} {
			if strings.Contains(f.log.String(), secret) {
				t.Errorf("the log has %q in it:\n%s", secret, f.log)
			}
		}
	})
	return f
}

// newFlow makes another one with the same server and store, as another replica has it.
func (f *fixture) newFlow(change func(*Config)) *Flow {
	f.t.Helper()
	c := Config{
		Provider:     "crm",
		OAuth2:       newOAuth2(f.t, f.server.issuer+"/token", nil),
		Issuer:       f.server.issuer,
		Scopes:       []*template.Template{literal("openid"), literal("offline_access")},
		RedirectURIs: []string{callbackURI},
		ReturnTo:     []string{"https://app.example/done", "https://app.example/tenants/"},
		Links:        links.New(f.store),
		Accept:       f.acceptDocument,
		Dialer:       dialer{f.server},
		Transport:    f.server,
		Logger:       slog.New(f.log.handler()),
	}
	if change != nil {
		change(&c)
	}
	flow, err := New(c)
	if err != nil {
		f.t.Fatal(err)
	}
	return flow
}

func (f *fixture) acceptDocument(ctx context.Context, of credential.Tenant, document []byte) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if of != tenant {
		f.t.Errorf("accepted for tenant %s", of)
	}
	if f.accept != nil {
		if err := f.accept(ctx); err != nil {
			return err
		}
	}
	f.accepted = append(f.accepted, string(document))
	return nil
}

func newOAuth2(t testing.TB, tokenURL string, change func(*oauth2.Config)) *oauth2.Renewer {
	t.Helper()
	c := oauth2.Config{TokenURL: newTemplate(t, tokenURL), Client: oauth2.Client{ClientID: newTemplate(t, "client"), ClientSecrets: []oauth2.Secret{{Text: newTemplate(t, clientSecret)}}}}
	if change != nil {
		change(&c)
	}
	renewer, err := oauth2.New(c)
	if err != nil {
		t.Fatal(err)
	}
	return renewer
}

func literal(text string) *template.Template {
	parsed, err := template.Parse(text, nil)
	if err != nil {
		panic(err)
	}
	return parsed
}

func newTemplate(t testing.TB, text string) *template.Template {
	t.Helper()
	parsed, err := template.Parse(text, nil)
	if err != nil {
		t.Fatal(err)
	}
	return parsed
}

func (f *fixture) link(returnTo string) string {
	f.t.Helper()
	return f.linkWith(LinkOptions{ReturnTo: returnTo}).URL
}

func (f *fixture) linkWith(o LinkOptions) *NewLink {
	f.t.Helper()
	link, err := f.Link(f.t.Context(), tenant, o)
	if err != nil {
		f.t.Fatal(err)
	}
	return link
}

// start opens a link, goes on from its page, and returns where the browser was sent.
func (f *fixture) start(link string) string {
	f.t.Helper()
	response := f.browser.begin(f.t, f.Flow, link)
	if response.Code != http.StatusSeeOther {
		f.t.Fatalf("start answered %d: %v", response.Code, f.log.last())
	}
	return response.Header().Get("Location")
}

// authorize begins with a new link, and returns where the authorization server
// sent the browser.
func (f *fixture) authorize(returnTo string) string {
	f.t.Helper()
	return f.server.consent(f.t, f.start(f.link(returnTo)))
}

// connect does all of it.
func (f *fixture) connect(returnTo string) *httptest.ResponseRecorder {
	f.t.Helper()
	return f.browser.get(f.t, f.Flow, f.authorize(returnTo))
}

func (f *fixture) wantConnected(response *httptest.ResponseRecorder) {
	f.t.Helper()
	if response.Code != http.StatusOK || !strings.Contains(response.Body.String(), "Your account is connected") {
		f.t.Fatalf("answered %d: %v", response.Code, f.log.last())
	}
}

// wantFailure checks the error, and that the page tells nothing.
func (f *fixture) wantFailure(response *httptest.ResponseRecorder, want error) {
	f.t.Helper()
	if err := f.log.last(); !errors.Is(err, want) {
		f.t.Errorf("error %v, want %v", err, want)
	}
	if response.Code < 400 || response.Code != noticeOf(want).status {
		f.t.Errorf("answered %d, want %d", response.Code, noticeOf(want).status)
	}
	wantPage(f.t, response)
	if len(f.accepted) > 0 {
		f.t.Errorf("accepted %s", f.accepted)
	}
}

func wantPage(t *testing.T, response *httptest.ResponseRecorder) {
	t.Helper()
	page := response.Body.String()
	for _, part := range []string{`<html lang="en">`, "<title>", "<main>", "<h1>"} {
		if strings.Count(page, part) != 1 {
			t.Errorf("page without one %s:\n%s", part, page)
		}
	}
	for _, part := range []string{"canary", "<script", "http:", "https:", "<form"} {
		if strings.Contains(page, part) {
			t.Errorf("page with %s:\n%s", part, page)
		}
	}
	for name, want := range map[string]string{
		"Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'",
		"X-Frame-Options":         "DENY",
		"Referrer-Policy":         "no-referrer",
		"Cache-Control":           "no-store",
		"X-Content-Type-Options":  "nosniff",
		"Content-Type":            "text/html; charset=utf-8",
	} {
		if got := response.Header().Get(name); got != want {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
}

// with returns address with its query changed.
func with(t *testing.T, address string, change func(url.Values)) string {
	t.Helper()
	u, err := url.Parse(address)
	if err != nil {
		t.Fatal(err)
	}
	query := u.Query()
	change(query)
	u.RawQuery = query.Encode()
	return u.String()
}

func parameter(t *testing.T, address, name string) string {
	t.Helper()
	u, err := url.Parse(address)
	if err != nil {
		t.Fatal(err)
	}
	return u.Query().Get(name)
}

// browser keeps cookies.
type browser struct{ cookies map[string]string }

func newBrowser() *browser { return &browser{cookies: map[string]string{}} }

func (b *browser) get(t *testing.T, f *Flow, address string) *httptest.ResponseRecorder {
	t.Helper()
	return b.do(t, f, httptest.NewRequestWithContext(t.Context(), "GET", address, nil))
}

// begin opens a link and sends the form of its page. An answer without a form is returned
// as it is.
func (b *browser) begin(t *testing.T, f *Flow, link string) *httptest.ResponseRecorder {
	t.Helper()
	response := b.get(t, f, link)
	token := formOf(response)
	if token == "" {
		return response
	}
	return b.post(t, f, link, url.Values{"form": {token}})
}

// formOf returns the token of the form in a page.
func formOf(response *httptest.ResponseRecorder) string {
	found := regexp.MustCompile(`name="form" value="([^"]+)"`).FindStringSubmatch(response.Body.String())
	if found == nil {
		return ""
	}
	return found[1]
}

// post sends a form as a browser does from a page of the flow's own.
func (b *browser) post(t *testing.T, f *Flow, address string, form url.Values) *httptest.ResponseRecorder {
	t.Helper()
	r := httptest.NewRequestWithContext(t.Context(), "POST", address, strings.NewReader(form.Encode()))
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	r.Header.Set("Sec-Fetch-Site", "same-origin")
	return b.do(t, f, r)
}

func (b *browser) do(t *testing.T, f *Flow, r *http.Request) *httptest.ResponseRecorder {
	t.Helper()
	for name, value := range b.cookies {
		r.AddCookie(&http.Cookie{Name: name, Value: value})
	}
	w := httptest.NewRecorder()
	if !f.ServeHTTP(w, r) {
		t.Fatalf("%s is not the flow's", r.URL.Path)
	}
	for _, c := range w.Result().Cookies() {
		if c.MaxAge < 0 {
			delete(b.cookies, c.Name)
		} else {
			b.cookies[c.Name] = c.Value
		}
	}
	return w
}

// record is a log, and the errors in it.
type record struct {
	mu     sync.Mutex
	text   bytes.Buffer
	errors []error
}

func (r *record) handler() slog.Handler {
	return slog.NewTextHandler(r, &slog.HandlerOptions{Level: slog.LevelDebug, ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
		if err, ok := a.Value.Any().(error); ok {
			r.mu.Lock()
			defer r.mu.Unlock()
			r.errors = append(r.errors, err)
		}
		return a
	}})
}

func (r *record) Write(p []byte) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.text.Write(p)
}

func (r *record) String() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.text.String()
}

// last returns the last error, nil if there was none.
func (r *record) last() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.errors) == 0 {
		return nil
	}
	return r.errors[len(r.errors)-1]
}
