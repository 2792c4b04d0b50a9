package caddymodule_test

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"crypto/tls"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/tidwall/sjson"

	"github.com/upstreamauth/caddy-upstream-auth/credential"
	"github.com/upstreamauth/caddy-upstream-auth/internal/proxy"
	"github.com/upstreamauth/caddy-upstream-auth/scheme"
)

func init() {
	caddy.RegisterModule(new(testSignature))
	caddy.RegisterModule(new(testLogin))
	caddy.RegisterModule(new(testPass))
	caddy.RegisterModule(new(testPassForGood))
}

// testSignature is a scheme as others write them: it signs method, path and body with a
// key of the credential's.
type testSignature struct {
	Field string `json:"field"`

	provisioned bool
}

func (*testSignature) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "upstream_auth.schemes.test_signature", New: func() caddy.Module { return new(testSignature) }}
}

func (s *testSignature) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next()
	if !d.AllArgs(&s.Field) {
		return d.ArgErr()
	}
	return nil
}

func (s *testSignature) Provision(caddy.Context) error {
	s.provisioned = true
	return nil
}

func (s *testSignature) Names() scheme.Names { return scheme.Names{Header: []string{"X-Signature"}} }

func (s *testSignature) Schema() json.RawMessage {
	return json.RawMessage(fmt.Sprintf(`{"required":[%q],"properties":{%q:{"type":"string","writeOnly":true}}}`, s.Field, s.Field))
}

func (s *testSignature) Bind(c *credential.Credential) (scheme.Authenticator, error) {
	if !s.provisioned {
		panic("it is used before it is provisioned")
	}
	secret, err := c.Text(s.Field)
	return signer(secret), err
}

type signer string

func (s signer) Authenticate(req *http.Request, body scheme.Body) error {
	mac := hmac.New(sha256.New, []byte(s))
	fmt.Fprintf(mac, "%s\n%s\n", req.Method, req.URL.RequestURI())
	if err := body.Hash(mac); err != nil {
		return err
	}
	req.Header.Set("X-Signature", hex.EncodeToString(mac.Sum(nil)))
	return nil
}

// signature is what an upstream expects of a request that it saw.
func signature(secret string, got seen) string {
	mac := hmac.New(sha256.New, []byte(secret))
	fmt.Fprintf(mac, "%s\n%s\n%s", got.Method, got.URI, got.Body)
	return hex.EncodeToString(mac.Sum(nil))
}

// unsized is a body whose length nobody knows beforehand.
type unsized struct{ io.Reader }

func TestSchemeOfAnotherPlugin(t *testing.T) {
	echo := newEcho(t)
	s := newSidecar(t, map[credential.Key]string{
		key("acme"):    `{"secret":"secret-of-acme","account":42}`,
		key("globex"):  `{"secret":"secret-of-globex","account":7}`,
		key("keyless"): `{"account":1}`,
	})
	s.start(t, `provider billing {
		base_path /accounts/{credential.account}
		test_signature secret
		query account {credential.account}
		header X-Account {credential.account}
	}`, "upstream_auth billing "+echo.URL+" {\nrewrite /v1{uri}\nreplay_max_body 1KiB\n}")

	header := func(tenant string) http.Header {
		return http.Header{"X-Tenant-Id": {tenant}, "X_signature": {"forged"}, "X-Account": {"99"}}
	}
	for tenant, account := range map[string]string{"acme": "42", "globex": "7"} {
		for name, request := range map[string]struct {
			method string
			body   io.Reader
		}{
			"no body":         {http.MethodGet, nil},
			"a body":          {http.MethodPost, strings.NewReader("invoice 1")},
			"an empty body":   {http.MethodPost, strings.NewReader("")},
			"a chunked one":   {http.MethodPut, unsized{strings.NewReader(strings.Repeat("x", 1000))}},
			"all that may be": {http.MethodPatch, strings.NewReader(strings.Repeat("x", 1024))},
		} {
			res, body := s.do(t, request.method, "/invoices?page=2", header(tenant), request.body)
			if res.StatusCode != http.StatusOK {
				t.Fatalf("%s, %s: got %s %q", tenant, name, res.Status, res.Header)
			}
			got := decode(t, body)
			if want := "/accounts/" + account + "/v1/invoices?page=2&account=" + account; got.URI != want {
				t.Errorf("%s, %s: the upstream saw %s, want %s", tenant, name, got.URI, want)
			}
			signed := got
			signed.URI = strings.TrimSuffix(got.URI, "&account="+account) // query is applied after it
			if values := got.Header.Values("X-Signature"); len(values) != 1 || values[0] != signature("secret-of-"+tenant, signed) {
				t.Errorf("%s, %s: the upstream saw %q of %+v", tenant, name, values, got)
			}
			if values := got.Header.Values("X-Account"); len(values) != 1 || values[0] != account {
				t.Errorf("%s, %s: the upstream saw the accounts %q", tenant, name, values)
			}
		}
	}

	for name, body := range map[string]io.Reader{"sized": strings.NewReader(strings.Repeat("x", 1025)), "chunked": unsized{strings.NewReader(strings.Repeat("x", 1025))}} {
		res, _ := s.do(t, http.MethodPost, "/invoices", header("acme"), body)
		if res.StatusCode != http.StatusRequestEntityTooLarge || res.Header.Get(proxy.HeaderError) != string(proxy.CodeBodyTooLarge) {
			t.Errorf("a longer body, %s: got %s %q", name, res.Status, res.Header.Get(proxy.HeaderError))
		}
	}
	res, _ := s.get(t, "/", header("keyless"))
	if res.StatusCode != http.StatusBadGateway || res.Header.Get(proxy.HeaderError) != string(proxy.CodeCredentialInvalid) {
		t.Errorf("without a key: got %s %q", res.Status, res.Header.Get(proxy.HeaderError))
	}
}

func TestCaddyfilesWithASchemeOfAnotherPlugin(t *testing.T) {
	for lines, want := range map[string]string{
		"test_signature":                         "wrong argument count or unexpected line ending after 'test_signature', at Caddyfile:7",
		"test_signatures secret":                 "unrecognized subdirective 'test_signatures' of provider, at Caddyfile:7",
		"test_signature secret":                  "",
		"test_login https://a.example\nexpose a": "",
	} {
		_, err := adapt(t, inProvider(lines))
		if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%s: got %v, want %q", lines, err, want)
		}
	}
}

// testLogin is a scheme whose credentials are renewed as others do it: with a name and a
// password, which give any number of sessions.
type testLogin struct {
	URL string `json:"url"`
}

func (*testLogin) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "upstream_auth.schemes.test_login", New: func() caddy.Module { return new(testLogin) }}
}

func (l *testLogin) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next()
	if !d.AllArgs(&l.URL) {
		return d.ArgErr()
	}
	return nil
}

func (*testLogin) Names() scheme.Names { return scheme.Names{} }

func (*testLogin) Bind(*credential.Credential) (scheme.Authenticator, error) { return nothing{}, nil }

type nothing struct{}

func (nothing) Authenticate(*http.Request, scheme.Body) error { return nil }

func (*testLogin) Token(c *credential.Credential) (string, error) { return c.Text("session") }

func (*testLogin) ExpiresAt(*credential.Credential) (time.Time, bool) { return time.Time{}, false }

func (*testLogin) Spends(*credential.Credential) (string, error) { return "", nil }

func (l *testLogin) Request(ctx context.Context, c *credential.Credential) (*http.Request, *tls.Config, error) {
	body, _ := json.Marshal(map[string]string{"user": c.Get("user").Str, "password": c.Get("password").Str})
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, l.URL, strings.NewReader(string(body)))
	if err == nil {
		req.Header.Set("Content-Type", "application/json")
	}
	return req, nil, err
}

func (*testLogin) Merge(document []byte, r scheme.Response) ([]byte, error) {
	if r.Status != http.StatusOK {
		forbidden := r.Status == http.StatusForbidden
		return nil, &scheme.RefusedError{Permanent: forbidden, Unspent: !forbidden}
	}
	var object, answer map[string]any
	if err := json.Unmarshal(document, &object); err != nil {
		return nil, err
	}
	if err := json.Unmarshal(r.Body, &answer); err != nil {
		return nil, err
	}
	object["session"] = answer["session"]
	return json.Marshal(object)
}

var _ scheme.Renewer = (*testLogin)(nil)

// loginServer gives sessions out, and an API takes the last one.
type loginServer struct {
	login, api *httptest.Server
	logins     atomic.Int64
}

func newLoginServer(t *testing.T) *loginServer {
	t.Helper()
	l := new(loginServer)
	l.login = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		n := l.logins.Add(1)
		var given struct{ User, Password string }
		if err := json.NewDecoder(r.Body).Decode(&given); err != nil || r.Header.Get("Content-Type") != "application/json" || given.User == "nobody" {
			w.WriteHeader(http.StatusForbidden)
			return
		}
		fmt.Fprintf(w, `{"session":"%s-%s-%d"}`, given.User, given.Password, n)
	}))
	t.Cleanup(l.login.Close)
	l.api = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		sent := r.Header.Get("Authorization") + r.Header.Get("X-Session")
		if !strings.HasSuffix(sent, fmt.Sprintf("u-pw-%d", l.logins.Load())) {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		fmt.Fprintf(w, "%s: %s", sent, body)
	}))
	t.Cleanup(l.api.Close)
	return l
}

func TestRenewerOfAnotherPluginIsAskedOn401(t *testing.T) {
	for name, c := range map[string]struct{ lines, want string }{
		"as a bearer token":                    {"", "Bearer u-pw-"},
		"as a bearer token beside a path":      {"base_path /v1", "Bearer u-pw-"},
		"by a scheme of ours":                  {"header X-Session {credential.session}", "u-pw-"},
		"by a scheme of ours that is no other": {`header Authorization "Session {credential.session}"`, "Session u-pw-"},
	} {
		t.Run(name, func(t *testing.T) {
			l := newLoginServer(t)
			s := newSidecar(t, map[credential.Key]string{
				key("acme"):    `{"user":"u","password":"pw","session":"old"}`,
				key("refused"): `{"user":"nobody","password":"pw","session":"old"}`,
			})
			s.start(t, "provider billing {\ntest_login "+l.login.URL+"\n"+c.lines+"\n}", "upstream_auth billing "+l.api.URL)
			for range 2 { // the second one finds the new session in the store
				res, body := s.do(t, http.MethodPost, "/invoices", as("acme"), strings.NewReader("invoice 1"))
				if res.StatusCode != http.StatusOK || body != c.want+"1: invoice 1" {
					t.Errorf("got %s %q", res.Status, body)
				}
			}
			if n := l.logins.Load(); n != 1 {
				t.Errorf("%d logins", n)
			}

			for range 2 { // the second time nobody asks
				res, _ := s.get(t, "/", as("refused"))
				if res.StatusCode != http.StatusUnauthorized || res.Header.Get(proxy.HeaderError) != string(proxy.CodeReauthorizationRequired) {
					t.Errorf("without a login: got %s %q", res.Status, res.Header.Get(proxy.HeaderError))
				}
			}
			if n := l.logins.Load(); n != 2 {
				t.Errorf("%d logins", n)
			}

			// That was the last session: the one of before is renewed again.
			res, body := s.get(t, "/", as("acme"))
			if res.StatusCode != http.StatusOK || body != c.want+"3: " {
				t.Errorf("rejected again: got %s %q", res.Status, body)
			}
		})
	}
}

// testPass is testLogin with a server that answers in a format of its own, and with a pass
// that is never sent twice, though it stays what it is when it is used.
type testPass struct{ testLogin }

func (*testPass) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "upstream_auth.schemes.test_pass", New: func() caddy.Module { return new(testPass) }}
}

func (*testPass) Renewal() scheme.Renewal { return scheme.Renewal{Takeover: -1} }

func (*testPass) Spends(c *credential.Credential) (string, error) { return c.Text("password") }

func (*testPass) Merge(document []byte, r scheme.Response) ([]byte, error) {
	if string(r.Body) == "<once more>" {
		return nil, &scheme.RefusedError{Unspent: true, Retry: true}
	}
	session, found := strings.CutPrefix(string(r.Body), "<session>")
	if !found || r.Truncated {
		return nil, &scheme.RefusedError{}
	}
	return sjson.SetBytes(document, "session", session)
}

// testPassForGood is testPass with a pass that may be sent any number of times.
type testPassForGood struct{ testPass }

func (*testPassForGood) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "upstream_auth.schemes.test_pass_for_good", New: func() caddy.Module { return new(testPassForGood) }}
}

func (*testPassForGood) Spends(*credential.Credential) (string, error) { return "", nil }

func TestTokenThatStaysIsUsedAgainWhateverTheFormatOfAnswers(t *testing.T) {
	var logins atomic.Int64
	login := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/xml")
		fmt.Fprintf(w, "<session>%d", logins.Add(1))
	}))
	t.Cleanup(login.Close)
	api := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "Bearer "+r.URL.Path[1:] {
			w.WriteHeader(http.StatusUnauthorized)
		}
	}))
	t.Cleanup(api.Close)
	s := newSidecar(t, map[credential.Key]string{key("acme"): `{"password":"pw","session":"0"}`})
	s.start(t, "provider billing {\ntest_pass "+login.URL+"\n}", "upstream_auth billing "+api.URL)
	for n := range 3 {
		res, _ := s.get(t, fmt.Sprintf("/%d", n), as("acme"))
		if res.StatusCode != http.StatusOK || logins.Load() != int64(n) {
			t.Errorf("got %s %q after %d logins, want %d", res.Status, res.Header.Get(proxy.HeaderError), logins.Load(), n)
		}
	}
}

// A server that wants a request once more, as with a nonce that it gave, gets it at once,
// and only once.
func TestRenewalIsAskedForOnceMoreIfTheServerWantsIt(t *testing.T) {
	for _, spends := range []string{"test_pass", "test_pass_for_good"} {
		t.Run(spends, func(t *testing.T) {
			var logins atomic.Int64
			willing := int64(2)
			login := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				if logins.Add(1) < willing {
					w.WriteHeader(http.StatusBadRequest)
					fmt.Fprint(w, "<once more>")
					return
				}
				fmt.Fprint(w, "<session>new")
			}))
			t.Cleanup(login.Close)
			api := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if r.Header.Get("Authorization") != "Bearer new" {
					w.WriteHeader(http.StatusUnauthorized)
				}
			}))
			t.Cleanup(api.Close)
			for _, c := range []struct {
				willing, logins int64
				status          int
			}{{2, 2, http.StatusOK}, {3, 2, http.StatusUnauthorized}} {
				logins.Store(0)
				willing = c.willing
				s := newSidecar(t, map[credential.Key]string{key("acme"): `{"password":"pw","session":"0"}`})
				s.start(t, "provider billing {\n"+spends+" "+login.URL+"\n}", "upstream_auth billing "+api.URL)
				res, _ := s.get(t, "/", as("acme"))
				if res.StatusCode != c.status || logins.Load() != c.logins {
					t.Errorf("willing at %d: got %s after %d logins", c.willing, res.Status, logins.Load())
				}
				if err := caddy.Stop(); err != nil {
					t.Fatal(err)
				}
			}
		})
	}
}

// Whether other plugins' schemes go together is known when they are loaded.
func TestSchemesOfAnotherPluginThatDoNotGoTogether(t *testing.T) {
	const oauth2 = "oauth2 {\ntoken_url https://as.example/token\nclient_id a\nclient_auth none\n}\n"
	for lines, want := range map[string]string{
		"test_login https://login.example\ntest_login https://login.example": "one scheme that renews credentials, and not two",
		oauth2 + "test_login https://login.example":                          "one scheme that renews credentials, and not two",
		"test_signature a\ntest_signature b":                                 "header X-Signature is set twice",
		"header x_signature {credential.a}\ntest_signature b":                "header X-Signature is set twice",
		"test_signature secret\nexpose secret":                               `the schema says that "secret" is writeOnly`,
		oauth2 + "test_signature secret":                                     "",
	} {
		text, err := adapt(t, inProvider(lines))
		if err != nil {
			t.Fatal(err)
		}
		var parsed caddy.Config
		if err := caddy.StrictUnmarshalJSON([]byte(text), &parsed); err != nil {
			t.Fatal(err)
		}
		parsed.StorageRaw = []byte(`{"module":"file_system","root":"` + t.TempDir() + `"}`)
		err = caddy.Validate(&parsed)
		if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%s: got %v, want %q", lines, err, want)
		}
	}
}
