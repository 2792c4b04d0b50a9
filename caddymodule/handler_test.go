package caddymodule_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"

	"github.com/upstreamauth/caddy-upstream-auth/caddymodule"
	"github.com/upstreamauth/caddy-upstream-auth/credential"
	"github.com/upstreamauth/caddy-upstream-auth/internal/proxy"
)

func TestRequestIsAuthenticatedAsItsTenant(t *testing.T) {
	echo := newEcho(t)
	s := newSidecar(t, map[credential.Key]string{
		key("acme"):   `{"api_key":"key-of-acme","account":{"id":42}}`,
		key("globex"): `{"api_key":"key-of-globex","account":{"id":7}}`,
	})
	s.start(t, `provider billing {
		header X-Api-Key {credential.api_key}
		query account {credential.account.id}
	}`, "upstream_auth billing "+echo.URL)

	for tenant, want := range map[string]string{"acme": "42", "globex": "7"} {
		res, body := s.get(t, "/invoices?page=2&%61ccount=99", http.Header{
			"X-Tenant-Id": {tenant}, "X-Api-Key": {"forged"}, "x_api_key": {"forged"},
		})
		if res.StatusCode != http.StatusOK || res.Header.Get(proxy.HeaderError) != "" {
			t.Fatalf("%s: got %s %q", tenant, res.Status, res.Header)
		}
		got := decode(t, body)
		if values := got.Header.Values("X-Api-Key"); len(values) != 1 || values[0] != "key-of-"+tenant {
			t.Errorf("%s: the upstream saw the keys %q", tenant, values)
		}
		if got.URI != "/invoices?page=2&account="+want {
			t.Errorf("%s: the upstream saw %s", tenant, got.URI)
		}
		if got.Header.Get("X-Tenant-Id") != "" {
			t.Errorf("%s: the upstream saw the tenant's name", tenant)
		}
	}
}

func TestTenantsThatAreRefused(t *testing.T) {
	echo := newEcho(t)
	s := newSidecar(t, map[credential.Key]string{
		key("acme"):     `{"api_key":"k"}`,
		key("umbrella"): `{"api_key":"k"}`,
		key("keyless"):  `{"account":1}`,
		key("split"):    `{"api_key":"a\r\nX-Evil: 1"}`,
	})
	s.start(t, apiKey, "upstream_auth billing "+echo.URL+" {\n tenants acme keyless split unknown\n}")

	for name, c := range map[string]struct {
		values []string
		status int
		code   proxy.Code
	}{
		"none":             {nil, 400, proxy.CodeTenantMissing},
		"empty":            {[]string{""}, 400, proxy.CodeTenantMissing},
		"two":              {[]string{"acme", "umbrella"}, 400, proxy.CodeTenantInvalid},
		"the same twice":   {[]string{"acme", "acme"}, 400, proxy.CodeTenantInvalid},
		"list":             {[]string{"acme,umbrella"}, 400, proxy.CodeTenantInvalid},
		"path":             {[]string{"../umbrella"}, 400, proxy.CodeTenantInvalid},
		"dots":             {[]string{"acme..umbrella"}, 400, proxy.CodeTenantInvalid},
		"too long":         {[]string{strings.Repeat("a", 129)}, 400, proxy.CodeTenantInvalid},
		"no credential":    {[]string{"unknown"}, 403, proxy.CodeTenantUnknown},
		"not allowed":      {[]string{"umbrella"}, 403, proxy.CodeTenantUnknown},
		"other case":       {[]string{"ACME"}, 403, proxy.CodeTenantUnknown},
		"field missing":    {[]string{"keyless"}, 502, proxy.CodeCredentialInvalid},
		"field with CR LF": {[]string{"split"}, 502, proxy.CodeCredentialInvalid},
	} {
		t.Run(name, func(t *testing.T) {
			header := http.Header{}
			if c.values != nil {
				header["X-Tenant-Id"] = c.values
			}
			res, body := s.get(t, "/", header)
			if res.StatusCode != c.status || res.Header.Get(proxy.HeaderError) != string(c.code) {
				t.Errorf("got %d %q, want %d %q", res.StatusCode, res.Header.Get(proxy.HeaderError), c.status, c.code)
			}
			if strings.Contains(body, "X-Api-Key") {
				t.Error("the upstream was asked")
			}
		})
	}
}

func TestErrorsReachHandleErrors(t *testing.T) {
	echo := newEcho(t)
	s := newSidecar(t, nil)
	for name, site := range map[string]string{
		"plain":  "upstream_auth billing " + echo.URL,
		"handle": "handle /api/* {\nupstream_auth billing " + echo.URL + "\n}",
		"route":  "route {\nupstream_auth billing " + echo.URL + "\n}",
	} {
		t.Run(name, func(t *testing.T) {
			s.start(t, apiKey, site+"\nhandle_errors {\nrespond \"sorry: {err.status_code}\"\n}")
			res, body := s.get(t, "/api/x", as("nobody"))
			if res.StatusCode != http.StatusForbidden || body != "sorry: 403" {
				t.Errorf("got %d %q", res.StatusCode, body)
			}
			if got := res.Header.Get(proxy.HeaderError); got != string(proxy.CodeTenantUnknown) {
				t.Errorf("got %s %q", proxy.HeaderError, got)
			}
		})
	}
}

func TestTenantFromAnyPlaceholder(t *testing.T) {
	echo := newEcho(t)
	s := newSidecar(t, map[credential.Key]string{key("acme"): `{"api_key":"k"}`, key("a-b"): `{"api_key":"k"}`})
	for name, c := range map[string]struct {
		tenant, path string
		header       http.Header
		status       int
	}{
		"query":                        {"{query.tenant}", "/?tenant=acme", nil, 200},
		"query without it":             {"{query.tenant}", "/", nil, 400},
		"query with a bad one":         {"{query.tenant}", "/?tenant=../acme", nil, 400},
		"another header":               {"{header.X-Org}", "/", http.Header{"X-Org": {"acme"}}, 200},
		"two headers":                  {"{header.X-Org}-{header.X-Team}", "/", http.Header{"X-Org": {"a"}, "X-Team": {"b"}}, 200},
		"two headers, one missing":     {"{header.X-Org}-{header.X-Team}", "/", http.Header{"X-Org": {"a"}}, 400},
		"two headers, one given twice": {"{header.X-Org}-{header.X-Team}", "/", http.Header{"X-Org": {"a"}, "X-Team": {"b", "b"}}, 400},
		"a variable":                   {"{vars.tenant}", "/", nil, 200},
	} {
		t.Run(name, func(t *testing.T) {
			s.start(t, apiKey, "vars tenant acme\nupstream_auth billing "+echo.URL+" {\n tenant "+c.tenant+"\n}")
			res, body := s.get(t, c.path, c.header)
			if res.StatusCode != c.status {
				t.Fatalf("got %s, want %d", res.Status, c.status)
			}
			if c.status != 200 {
				return
			}
			for header := range c.header {
				if decode(t, body).Header.Get(header) != "" {
					t.Errorf("the upstream saw %s", header)
				}
			}
		})
	}
}

func TestSchemaIsChecked(t *testing.T) {
	echo := newEcho(t)
	s := newSidecar(t, map[credential.Key]string{
		key("good"): `{"api_key":"long enough"}`, key("bad"): `{"api_key":"short"}`,
	})
	schema := s.path("schema.json")
	if err := os.WriteFile(schema, []byte(`{"properties":{"api_key":{"minLength":8}}}`), 0o600); err != nil {
		t.Fatal(err)
	}
	s.start(t, "provider billing {\nschema "+schema+"\nheader X-Api-Key {credential.api_key}\n}", "upstream_auth billing "+echo.URL)
	if res, _ := s.get(t, "/", as("good")); res.StatusCode != 200 {
		t.Errorf("a good credential: got %s", res.Status)
	}
	res, body := s.get(t, "/", as("bad"))
	if res.StatusCode != 502 || res.Header.Get(proxy.HeaderError) != string(proxy.CodeCredentialInvalid) {
		t.Errorf("a bad credential: got %s %q", res.Status, res.Header.Get(proxy.HeaderError))
	}
	if strings.Contains(body, "short") {
		t.Error("the answer quotes the credential")
	}
}

func TestExposedFieldNamesTheUpstream(t *testing.T) {
	echo := newEcho(t)
	address := strings.TrimPrefix(echo.URL, "http://")
	s := newSidecar(t, map[credential.Key]string{
		key("acme"):  `{"api_key":"k","host":"` + address + `"}`,
		key("thief"): `{"api_key":"k","host":"localhost` + address[strings.LastIndex(address, ":"):] + `"}`,
	})
	s.start(t, `provider billing {
		allowed_hosts 127.0.0.1
		expose host
		header X-Api-Key {credential.api_key}
	}`, "upstream_auth billing {upstream_auth.credential.host} {\nheader_up Host {upstream_auth.credential.host}\n}")
	if res, body := s.get(t, "/", as("acme")); res.StatusCode != 200 || decode(t, body).Host != address {
		t.Errorf("got %s %s", res.Status, body)
	}
	res, _ := s.get(t, "/", as("thief"))
	if res.StatusCode != 502 || res.Header.Get(proxy.HeaderError) != string(proxy.CodeHostNotAllowed) {
		t.Errorf("a host that is not allowed: got %s %q", res.Status, res.Header.Get(proxy.HeaderError))
	}
}

func TestHostThatIsSentMustBeAllowedToo(t *testing.T) {
	echo := newEcho(t)
	s := newSidecar(t, map[credential.Key]string{key("acme"): `{"api_key":"k"}`})
	s.start(t, "provider billing {\nallowed_hosts 127.0.0.1\nheader X-Api-Key {credential.api_key}\n}",
		"upstream_auth billing "+echo.URL+" {\nheader_up Host evil.example\n}")
	res, body := s.get(t, "/", as("acme"))
	if res.StatusCode != 502 || res.Header.Get(proxy.HeaderError) != string(proxy.CodeHostNotAllowed) {
		t.Errorf("got %s %q", res.Status, res.Header.Get(proxy.HeaderError))
	}
	if strings.Contains(body, "X-Api-Key") {
		t.Error("the upstream was asked")
	}
}

func TestCallerCannotForgeOurHeaders(t *testing.T) {
	upstream := newEcho(t)
	upstream.Config.Handler = http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set(proxy.HeaderError, "refresh_failed")
		w.Header().Set(proxy.HeaderReplay, "skipped")
	})
	s := newSidecar(t, map[credential.Key]string{key("acme"): `{"api_key":"k"}`})
	s.start(t, apiKey, "upstream_auth billing "+upstream.URL)
	res, _ := s.get(t, "/", as("acme"))
	if res.Header.Get(proxy.HeaderError) != "" || res.Header.Get(proxy.HeaderReplay) != "" {
		t.Errorf("the upstream's own headers were passed on: %q", res.Header)
	}
}

func TestOurErrorsAreNotTheUpstreams(t *testing.T) {
	echo := newEcho(t)
	s := newSidecar(t, map[credential.Key]string{key("acme"): `{"api_key":"k"}`})
	s.start(t, apiKey, "upstream_auth billing "+echo.URL+` {
		fail_duration 1h
		max_fails 1
		lb_try_duration 1h
	}`)
	// With errors counted against the upstream, or repeated, this would hang.
	for range 3 {
		if res, _ := s.get(t, "/", as("nobody")); res.StatusCode != 403 {
			t.Fatalf("an unknown tenant: got %s", res.Status)
		}
	}
	if res, _ := s.get(t, "/", as("acme")); res.StatusCode != 200 {
		t.Errorf("a known tenant afterwards: got %s", res.Status)
	}
}

func TestReloadKeepsWhatIsShared(t *testing.T) {
	echo := newEcho(t)
	s := newSidecar(t, map[credential.Key]string{key("acme"): `{"api_key":"k"}`})
	s.start(t, apiKey, "upstream_auth billing "+echo.URL)
	for range 3 {
		// The same file cannot be opened twice: this works only if it is shared.
		s.load(t, apiKey, "upstream_auth billing "+echo.URL+"\nheader X-Reloaded yes")
		if res, _ := s.get(t, "/", as("acme")); res.StatusCode != 200 || res.Header.Get("X-Reloaded") != "yes" {
			t.Fatalf("after a reload: got %s", res.Status)
		}
		s.load(t, apiKey, "upstream_auth billing "+echo.URL)
	}
	caddymodule.Backends.Range(func(key, _ any) bool {
		if n, _ := caddymodule.Backends.References(key); n != 1 {
			t.Errorf("the store is used by %d configurations, want 1", n)
		}
		return true
	})
}

func TestStoreIsReleasedWhenNobodyUsesIt(t *testing.T) {
	echo := newEcho(t)
	s := newSidecar(t, map[credential.Key]string{key("acme"): `{"api_key":"k"}`})
	s.start(t, apiKey, "upstream_auth billing "+echo.URL)
	if err := caddy.Stop(); err != nil {
		t.Fatal(err)
	}
	caddymodule.Backends.Range(func(key, _ any) bool {
		t.Errorf("%v is still there", key)
		return true
	})
	s.start(t, apiKey, "upstream_auth billing "+echo.URL)
	if res, _ := s.get(t, "/", as("acme")); res.StatusCode != 200 {
		t.Errorf("started again: got %s", res.Status)
	}
}

func TestValidateTouchesNothing(t *testing.T) {
	s := &sidecar{dir: t.TempDir(), url: "http://127.0.0.1:1"}
	conf, _, err := caddyconfig.GetAdapter("caddyfile").Adapt(
		[]byte(s.caddyfile(apiKey, "upstream_auth billing 127.0.0.1:1")), map[string]any{"filename": "Caddyfile"})
	if err != nil {
		t.Fatal(err)
	}
	var parsed caddy.Config
	if err := caddy.StrictUnmarshalJSON(conf, &parsed); err != nil {
		t.Fatal(err)
	}
	if err := caddy.Validate(&parsed); err != nil {
		t.Fatal(err)
	}
	for _, file := range []string{"credentials.db", "key"} {
		if _, err := os.Stat(s.path(file)); !os.IsNotExist(err) {
			t.Errorf("%s was made", file)
		}
	}
}

func TestConfigurationsThatDoNotLoad(t *testing.T) {
	const site = "upstream_auth billing 127.0.0.1:1"
	t.Setenv("EMPTY", "")
	for name, c := range map[string]struct{ provider, want string }{
		"placeholder without a value": {"header X-Api-Key {credential.api_key}{env.EMPTY}", "placeholder {env.EMPTY} has no value"},
		"secret file that is gone":    {"oauth2 {\ntoken_url https://as.example/token\nclient_id a\nclient_secret_file {env.TMPDIR}/absent\n}", "client_secret_file: "},
		"certificate authority gone":  {"oauth2 {\ntoken_url https://as.example/token\nclient_id a\nclient_auth none\ntls_ca {env.TMPDIR}/absent\n}", "tls_ca: open "},
		"no certificate authority":    {"oauth2 {\ntoken_url https://as.example/token\nclient_id a\nclient_auth none\ntls_ca testdata/files/client_secret\n}", "tls_ca: testdata/files/client_secret holds no PEM certificate"},
		"client certificate is none":  {"oauth2 {\ntoken_url https://as.example/token\nclient_id a\nclient_auth none\ntls_client_cert testdata/files/jwt\ntls_client_key testdata/files/jwt\n}", "tls_client_cert: "},
		"token_url in the clear":      {"oauth2 {\ntoken_url {env.TOKEN_URL}\nclient_id a\nclient_auth none\n}", "token_url: must be https"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Setenv("TMPDIR", t.TempDir())
			t.Setenv("TOKEN_URL", "http://as.example/token")
			s := &sidecar{dir: t.TempDir(), url: "http://127.0.0.1:1"}
			conf, _, err := caddyconfig.GetAdapter("caddyfile").Adapt(
				[]byte(s.caddyfile("provider billing {\n"+c.provider+"\n}", site)), map[string]any{"filename": "Caddyfile"})
			if err != nil {
				t.Fatal(err)
			}
			var parsed caddy.Config
			if err := caddy.StrictUnmarshalJSON(conf, &parsed); err != nil {
				t.Fatal(err)
			}
			err = caddy.Validate(&parsed)
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got error %v, want %q", err, c.want)
			}
		})
	}
}

func TestReloadWithAnotherKeyFileIsRefused(t *testing.T) {
	echo := newEcho(t)
	s := newSidecar(t, map[credential.Key]string{key("acme"): `{"api_key":"k"}`})
	s.start(t, apiKey, "upstream_auth billing "+echo.URL)
	text := strings.Replace(s.caddyfile(apiKey, "upstream_auth billing "+echo.URL), "key_file "+s.path("key"), "key_file "+s.path("other"), 1)
	conf, _, err := caddyconfig.GetAdapter("caddyfile").Adapt([]byte(text), map[string]any{"filename": "Caddyfile"})
	if err != nil {
		t.Fatal(err)
	}
	if err := caddy.Load(conf, true); err == nil || !strings.Contains(err.Error(), caddymodule.ErrSettings.Error()) {
		t.Errorf("got error %v, want %v", err, caddymodule.ErrSettings)
	}
	if res, _ := s.get(t, "/", as("acme")); res.StatusCode != 200 {
		t.Errorf("the configuration before: got %s", res.Status)
	}
}

func TestFastCGIIsRefused(t *testing.T) {
	s := &sidecar{dir: t.TempDir(), url: "http://127.0.0.1:1"}
	conf, _, err := caddyconfig.GetAdapter("caddyfile").Adapt(
		[]byte(s.caddyfile(apiKey, "upstream_auth billing 127.0.0.1:1 {\ntransport fastcgi\n}")), map[string]any{"filename": "Caddyfile"})
	if err != nil {
		t.Fatal(err)
	}
	var parsed caddy.Config
	if err := caddy.StrictUnmarshalJSON(conf, &parsed); err != nil {
		t.Fatal(err)
	}
	if err := caddy.Validate(&parsed); err == nil || !strings.Contains(err.Error(), "fastcgi") {
		t.Errorf("got error %v", err)
	}
}

// A token that had expired is refreshed before the request is sent. If the
// upstream rejects the new one, that must not cost another.
func TestOneRequestSpendsOneRefreshToken(t *testing.T) {
	var spent atomic.Int64
	endpoint := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		n := spent.Add(1)
		w.Header().Set("Content-Type", "application/json")
		fmt.Fprintf(w, `{"access_token":"a%d","refresh_token":"r%d","expires_in":3600}`, n, n)
	}))
	t.Cleanup(endpoint.Close)
	upstream := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusUnauthorized)
	}))
	t.Cleanup(upstream.Close)
	s := newSidecar(t, map[credential.Key]string{
		key("acme"): `{"access_token":"a0","refresh_token":"r0","expires_at":"2020-01-01T00:00:00Z"}`,
	})
	s.start(t, "provider billing {\noauth2 {\ntoken_url "+endpoint.URL+"\nclient_id app\nclient_auth none\n}\n}",
		"upstream_auth billing "+upstream.URL)
	res, _ := s.get(t, "/", as("acme"))
	if res.StatusCode != 401 || res.Header.Get(proxy.HeaderError) != string(proxy.CodeRefreshFailed) {
		t.Errorf("got %s %q, want the upstream's 401 and refresh_failed", res.Status, res.Header.Get(proxy.HeaderError))
	}
	if n := spent.Load(); n != 1 {
		t.Errorf("%d refresh tokens were spent", n)
	}
}
