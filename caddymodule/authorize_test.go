package caddymodule_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"io"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/upstreamauth/caddy-upstream-auth/credential"
)

// authorized is a sidecar with a site that lets not everybody in, and two tenants with
// secrets of their own.
func authorized(t *testing.T, site string) *sidecar {
	t.Helper()
	s := newSidecar(t, map[credential.Key]string{
		key("acme"):   `{"api_key":"key-of-acme","app":["secret-of-acme","next-of-acme",7,""]}`,
		key("globex"): `{"api_key":"key-of-globex","app":"secret-of-globex"}`,
		key("none"):   `{"api_key":"key-of-none"}`,
	})
	s.file(t, "workspace", workspaceSecret)
	for tenant, secret := range map[string]string{"acme": "secret-of-acme\r\nnext-of-acme\n", "globex": "secret-of-globex", "empty": "\n"} {
		s.file(t, tenant+".secret", secret)
	}
	echo := newEcho(t)
	s.start(t, apiKey, "upstream_auth billing "+echo.URL+" {\n"+strings.ReplaceAll(site, "DIR", s.dir)+"\n}")
	return s
}

func (s *sidecar) file(t *testing.T, name, content string) {
	t.Helper()
	if err := os.WriteFile(s.path(name), []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
}

// want checks that a request is served as a tenant's, or refused as if the tenant had no
// credential, if tenant is empty; and that what authorizes it is not sent on.
func want(t *testing.T, what, tenant string, res *http.Response, body string) {
	t.Helper()
	if tenant == "" {
		if res.StatusCode != 403 || res.Header.Get("Upstream-Auth-Error") != "tenant_unknown" || body != "tenant_unknown: there is no credential for the tenant, or it is not allowed here\n" {
			t.Errorf("%s: got %s %q", what, res.Status, body)
		}
		return
	}
	if res.StatusCode != 200 {
		t.Errorf("%s: got %s %s", what, res.Status, body)
		return
	}
	got := decode(t, body)
	if got.Header.Get("X-Api-Key") != "key-of-"+tenant {
		t.Errorf("%s: the upstream saw the key %q, want %s's", what, got.Header.Get("X-Api-Key"), tenant)
	}
	for _, name := range []string{"Authorization", "X-Token", "X-Secret", "X-Tenant-Id"} {
		if len(got.Header[name]) > 0 {
			t.Errorf("%s: the upstream saw %s", what, name)
		}
	}
}

const jwtOfWorkspace = "authorize jwt {\ntoken hs256 {\nsecret_file DIR/workspace\n}\nissuer workspace\noperators role operator\n"

func TestTokenSaysWhichTenantsMayBeUsed(t *testing.T) {
	acme, list := map[string]any{"id": "acme"}, map[string]any{"id": []any{"globex", "acme", 7, "a/b"}}
	type request struct {
		what   string
		claims map[string]any
		named  []string
		tenant string // empty: refused
	}
	for site, requests := range map[string][]request{
		jwtOfWorkspace + "}": {
			{"its own", acme, []string{"acme"}, "acme"},
			{"another", acme, []string{"globex"}, ""},
			{"one that there is not", acme, []string{"nobody"}, ""},
			{"one of a list", list, []string{"acme"}, "acme"},
			{"none of a list", list, []string{"none"}, ""},
			{"of an empty list", map[string]any{"id": []any{}}, []string{"acme"}, ""},
			{"named by the token", acme, nil, "acme"},
			{"named by a list of one", map[string]any{"id": []any{"acme"}}, nil, "acme"},
			{"an operator's", map[string]any{"role": "operator"}, []string{"globex"}, "globex"},
			{"no claim", map[string]any{"sub": "acme"}, []string{"acme"}, ""},
			{"another issuer", map[string]any{"id": "acme", "iss": "other"}, []string{"acme"}, ""},
			{"expired", map[string]any{"id": "acme", "exp": 1}, []string{"acme"}, ""},
			{"no token", nil, []string{"acme"}, ""},
			{"nothing", nil, nil, ""},
		},
		"tenant {header.X-Org}\n" + jwtOfWorkspace + "header x-token\ntenant_claim orgs.ids\n}": {
			{"its own", map[string]any{"orgs": map[string]any{"ids": []any{"acme"}}}, []string{"acme"}, "acme"},
			{"another", map[string]any{"orgs": map[string]any{"ids": []any{"acme"}}}, []string{"globex"}, ""},
		},
		"tenant acme\n" + jwtOfWorkspace + "}": {
			{"the site's", acme, nil, "acme"},
			{"not the site's", map[string]any{"id": "globex"}, nil, ""},
		},
	} {
		s := authorized(t, site)
		for _, r := range requests {
			header := http.Header{"X-Org": r.named}
			if !strings.Contains(site, "tenant acme") {
				header["X-Tenant-Id"] = r.named
			}
			if r.claims != nil && strings.Contains(site, "x-token") {
				header.Set("X-Token", sign(t, r.claims))
			} else if r.claims != nil {
				header.Set("Authorization", "Bearer "+sign(t, r.claims))
			}
			res, body := s.get(t, "/", header)
			if len(r.named) > 0 && strings.Contains(site, "X-Org") && res.StatusCode == 200 {
				body = strings.Replace(body, "X-Tenant-Id", "X-Other", 1) // not the site's way to name one
			}
			want(t, r.what, r.tenant, res, body)
		}
	}
}

func TestTokenOfSeveralTenantsDoesNotNameOne(t *testing.T) {
	s := authorized(t, jwtOfWorkspace+"}")
	res, _ := s.get(t, "/", http.Header{"Authorization": {"Bearer " + sign(t, map[string]any{"id": []any{"acme", "globex"}})}})
	if res.StatusCode != 400 || res.Header.Get("Upstream-Auth-Error") != "tenant_missing" {
		t.Errorf("got %s %v", res.Status, res.Header)
	}
	res, _ = s.get(t, "/", http.Header{"Authorization": {"Bearer " + sign(t, map[string]any{"id": "acme"})}, "X-Tenant-Id": {"acme", "acme"}})
	if res.StatusCode != 400 || res.Header.Get("Upstream-Auth-Error") != "tenant_invalid" {
		t.Errorf("two names: got %s %v", res.Status, res.Header)
	}
}

func TestTokenThatCannotBeVerifiedNow(t *testing.T) {
	s := authorized(t, jwtOfWorkspace+"}")
	if err := os.Remove(s.path("workspace")); err != nil {
		t.Fatal(err)
	}
	res, body := s.get(t, "/", http.Header{"Authorization": {"Bearer " + sign(t, map[string]any{"id": "acme"})}})
	if res.StatusCode != 503 || res.Header.Get("Upstream-Auth-Error") != "store_unavailable" || strings.Contains(body, s.dir) {
		t.Errorf("got %s %s", res.Status, body)
	}
}

func TestDoctorLooksAtWhatAuthorizesTokens(t *testing.T) {
	s := administered(t, nil)
	s.file(t, "workspace", workspaceSecret)
	if err := os.Chmod(s.path("workspace"), 0o644); err != nil {
		t.Fatal(err)
	}
	s.start(t, apiKey, "upstream_auth billing 127.0.0.1:1 {\nauthorize jwt {\ntoken hs256 {\nsecret_file "+s.path("workspace")+"\n}\n}\n}")
	wrong := s.diagnose(t).wrong()
	if !strings.HasPrefix(wrong["tokens"], "authorize jwt of provider billing accepts tokens of any issuer") ||
		!strings.HasPrefix(wrong["file"], "secret_file of authorize jwt of provider billing is open to others") {
		t.Errorf("got %v", wrong)
	}
}

func TestAnswersDependOnWhatAuthorizes(t *testing.T) {
	for site, want := range map[string]string{
		jwtOfWorkspace + "}":                   "X-Tenant-Id, Authorization",
		"tenant acme\n" + jwtOfWorkspace + "}": "Authorization",
	} {
		s := authorized(t, site)
		res, _ := s.get(t, "/", http.Header{"Authorization": {"Bearer " + sign(t, map[string]any{"id": "acme"})}})
		if vary := strings.Join(res.Header["Vary"], ", "); vary != want || res.Header.Get("Cache-Control") != "private" {
			t.Errorf("got Vary %q, want %q, and %q", vary, want, res.Header.Get("Cache-Control"))
		}
	}
}

func TestEachTenantHasASecretOfItsOwn(t *testing.T) {
	for name, site := range map[string]string{
		"field":        "authorize secret {\nfield app\n}",
		"file":         "authorize secret {\nfile DIR/{tenant}.secret\n}",
		"other header": "authorize secret {\nheader X-Secret\nfield app\n}",
	} {
		s := authorized(t, site)
		for _, c := range []struct {
			named, tenant string
			secret        []string
		}{
			{"acme", "acme", []string{"secret-of-acme"}},
			{"acme", "acme", []string{"next-of-acme"}},
			{"globex", "globex", []string{"secret-of-globex"}},
			{"acme", "", []string{"secret-of-globex"}},
			{"acme", "", []string{"secret-of-acm"}},
			{"acme", "", []string{"secret-of-acmes"}},
			{"acme", "", []string{"7"}},
			{"acme", "", []string{`["secret-of-acme","next-of-acme",7,""]`}},
			{"acme", "", []string{""}},
			{"acme", "", nil},
			{"acme", "", []string{"secret-of-acme", "secret-of-acme"}},
			{"none", "", []string{"secret-of-acme"}},
			{"empty", "", []string{""}},
			{"nobody", "", []string{"secret-of-acme"}},
			{"nobody", "", nil},
		} {
			header := as(c.named)
			for _, secret := range c.secret {
				if name == "other header" {
					header.Add("X-Secret", secret)
				} else {
					header.Add("Authorization", "Bearer "+secret)
				}
			}
			res, body := s.get(t, "/", header)
			want(t, name+" "+c.named+strings.Join(c.secret, " "), c.tenant, res, body)
		}
	}
}

// All that is written has to be met.
// A secret is looked for in what the store has: who knows none cannot have the application
// asked for whatever tenant they name.
func TestSecretOfATenantWithoutACredentialIsNotFetched(t *testing.T) {
	var asked atomic.Int32
	application := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked.Add(1)
		_, _ = io.WriteString(w, `{"api_key":"key-of-nobody","app":"secret-of-nobody"}`)
	}))
	t.Cleanup(application.Close)
	s := newSidecar(t, map[credential.Key]string{key("acme"): `{"api_key":"key-of-acme","app":"secret-of-acme"}`})
	s.file(t, "nobody.secret", "secret-of-nobody")
	fetching := strings.Replace(apiKey, "{", "{\nfetch_credentials "+application.URL, 1)
	echo := newEcho(t)
	with := func(tenant, secret string) (*http.Response, string) {
		header := as(tenant)
		header.Set("Authorization", "Bearer "+secret)
		return s.get(t, "/", header)
	}
	s.start(t, fetching, "upstream_auth billing "+echo.URL+" {\nauthorize secret {\nfield app\n}\n}")
	res, body := with("acme", "secret-of-acme")
	want(t, "acme", "acme", res, body)
	for _, secret := range []string{"secret-of-nobody", "other"} {
		res, body := with("nobody", secret)
		want(t, "nobody with "+secret, "", res, body)
	}
	if n := asked.Load(); n > 0 {
		t.Errorf("the application was asked %d times", n)
	}
	// With a secret that the store need not have, it is asked once that is known.
	s.load(t, fetching, "upstream_auth billing "+echo.URL+" {\nauthorize secret {\nfile "+s.dir+"/{tenant}.secret\n}\n}")
	res, body = with("nobody", "other")
	want(t, "nobody with another secret", "", res, body)
	if n := asked.Load(); n > 0 {
		t.Errorf("the application was asked %d times for who has no secret", n)
	}
	res, body = with("nobody", "secret-of-nobody")
	want(t, "nobody with a file", "nobody", res, body)
}

func TestAllWaysToAuthorizeAreRequired(t *testing.T) {
	s := authorized(t, jwtOfWorkspace+"}\nauthorize secret {\nheader X-Secret\nfield app\n}\ntenants acme none")
	token := "Bearer " + sign(t, map[string]any{"id": []any{"acme", "globex"}})
	for what, c := range map[string]struct {
		tenant string
		header http.Header
	}{
		"both":         {"acme", http.Header{"X-Tenant-Id": {"acme"}, "Authorization": {token}, "X-Secret": {"secret-of-acme"}}},
		"no secret":    {"", http.Header{"X-Tenant-Id": {"acme"}, "Authorization": {token}}},
		"no token":     {"", http.Header{"X-Tenant-Id": {"acme"}, "X-Secret": {"secret-of-acme"}}},
		"not the site": {"", http.Header{"X-Tenant-Id": {"globex"}, "Authorization": {token}, "X-Secret": {"secret-of-globex"}}},
	} {
		res, body := s.get(t, "/", c.header)
		want(t, what, c.tenant, res, body)
	}
}

// handle_errors is told no more than the app.
func TestRefusalsAreAllAlike(t *testing.T) {
	s := newSidecar(t, map[credential.Key]string{key("acme"): `{"api_key":"k","app":"secret-of-acme"}`})
	s.start(t, apiKey, "upstream_auth billing 127.0.0.1:1 {\nauthorize secret {\nfield app\n}\n}\nhandle_errors {\nrespond \"{err.message}\"\n}")
	_, known := s.get(t, "/", http.Header{"X-Tenant-Id": {"acme"}, "Authorization": {"Bearer other"}})
	_, unknown := s.get(t, "/", http.Header{"X-Tenant-Id": {"nobody"}, "Authorization": {"Bearer other"}})
	if known != unknown || !strings.Contains(known, "tenant_unknown") {
		t.Errorf("got %q and %q", known, unknown)
	}
}

// authority issues certificates.
type authority struct {
	*testing.T
	certificate *x509.Certificate
	key         *ecdsa.PrivateKey
}

func newAuthority(t *testing.T) *authority {
	t.Helper()
	a := &authority{T: t}
	issued := a.issue(&x509.Certificate{IsCA: true, KeyUsage: x509.KeyUsageCertSign})
	a.certificate, a.key = issued.Leaf, issued.PrivateKey.(*ecdsa.PrivateKey)
	return a
}

func (a *authority) issue(template *x509.Certificate) tls.Certificate {
	a.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		a.Fatal(err)
	}
	template.SerialNumber, template.BasicConstraintsValid = big.NewInt(time.Now().UnixNano()), true
	template.NotBefore, template.NotAfter = time.Now().Add(-time.Hour), time.Now().Add(time.Hour)
	parent, signer := a.certificate, a.key
	if parent == nil {
		parent, signer = template, key
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, &key.PublicKey, signer)
	if err != nil {
		a.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		a.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: leaf}
}

// write writes a certificate and its key as PEM files.
func (a *authority) write(c tls.Certificate, path string) {
	a.Helper()
	key, err := x509.MarshalECPrivateKey(c.PrivateKey.(*ecdsa.PrivateKey))
	if err != nil {
		a.Fatal(err)
	}
	for name, block := range map[string]*pem.Block{".pem": {Type: "CERTIFICATE", Bytes: c.Certificate[0]}, ".key": {Type: "EC PRIVATE KEY", Bytes: key}} {
		if err := os.WriteFile(path+name, pem.EncodeToMemory(block), 0o600); err != nil {
			a.Fatal(err)
		}
	}
}

func TestCertificateSaysWhichTenantsMayBeUsed(t *testing.T) {
	ca, other := newAuthority(t), newAuthority(t)
	s := newSidecar(t, map[credential.Key]string{key("acme"): `{"api_key":"key-of-acme"}`, key("globex"): `{"api_key":"key-of-globex"}`})
	ca.write(ca.issue(&x509.Certificate{DNSNames: []string{"localhost"}}), s.path("site"))
	ca.write(tls.Certificate{Certificate: [][]byte{ca.certificate.Raw}, PrivateKey: ca.key}, s.path("ca"))
	echo := newEcho(t)
	s.url = "https://localhost" + s.address[strings.LastIndex(s.address, ":"):]
	uri := func(text string) *url.URL { u, _ := url.Parse(text); return u }
	acme := &x509.Certificate{URIs: []*url.URL{uri("spiffe://example.org/tenant/acme")}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}
	both := &x509.Certificate{DNSNames: []string{"other.internal", "billing.internal"}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}
	all := &x509.Certificate{EmailAddresses: []string{"ops@example.org"}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}
	for mode, verified := range map[string]bool{"verify_if_given": true, "require_and_verify": true, "request": false, "require": false} {
		pool := ""
		if verified {
			pool = "trust_pool file " + s.path("ca.pem") + "\n"
		}
		site := "tls " + s.path("site.pem") + " " + s.path("site.key") + " {\nclient_auth {\nmode " + mode + "\n" + pool + "}\n}\n" +
			"upstream_auth billing " + echo.URL + " {\nauthorize mtls {\nuri spiffe://example.org/tenant/{tenant}\ndns billing.internal acme globex\nemail ops@example.org\n}\n}"
		startText(t, strings.Replace(s.caddyfile(apiKey, site), "persist_config off", "persist_config off\nauto_https off", 1))
		for _, c := range []struct {
			what, named string
			certificate *tls.Certificate
			allowed     bool
		}{
			{"its own", "acme", ptr(ca.issue(acme)), true},
			{"another", "globex", ptr(ca.issue(acme)), false},
			{"another spelling", "ACME", ptr(ca.issue(acme)), false},
			{"one of two", "globex", ptr(ca.issue(both)), true},
			{"none of two", "nobody", ptr(ca.issue(both)), false},
			{"any", "globex", ptr(ca.issue(all)), true},
			{"no certificate", "acme", nil, false},
			{"of another authority", "acme", ptr(other.issue(acme)), false},
			{"by another kind of name", "acme", ptr(ca.issue(&x509.Certificate{DNSNames: []string{"ops@example.org"}, EmailAddresses: []string{"billing.internal"}})), false},
		} {
			conf := &tls.Config{RootCAs: x509.NewCertPool(), MinVersion: tls.VersionTLS13}
			conf.RootCAs.AddCert(ca.certificate)
			if c.certificate != nil {
				// Whatever authorities the server names.
				conf.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return c.certificate, nil }
			}
			req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, s.url+"/", nil)
			if err != nil {
				t.Fatal(err)
			}
			req.Header = as(c.named)
			res, err := (&http.Transport{TLSClientConfig: conf, DisableKeepAlives: true}).RoundTrip(req)
			if err != nil {
				if verified && c.allowed {
					t.Errorf("%s %s: %v", mode, c.what, err)
				}
				continue // refused by the handshake
			}
			body, _ := io.ReadAll(res.Body)
			res.Body.Close()
			tenant := ""
			if c.allowed && verified {
				tenant = c.named
			}
			want(t, mode+" "+c.what, tenant, res, string(body))
		}
	}
}

func ptr[T any](v T) *T { return &v }

func TestProcessSaysWhichTenantsMayBeUsed(t *testing.T) {
	uid, gid, other := strconv.Itoa(os.Getuid()), strconv.Itoa(os.Getgid()), strconv.Itoa(os.Getuid()+1)
	s := newSidecar(t, map[credential.Key]string{key("acme"): `{"api_key":"key-of-acme"}`, key("globex"): `{"api_key":"key-of-globex"}`})
	echo := newEcho(t)
	socket := filepath.Join(s.dir, "app.sock")
	for site, tenants := range map[string]map[string]string{
		"uid " + uid:                                  {"acme": "acme", "globex": "globex"},
		"uid " + uid + " acme":                        {"acme": "acme", "globex": ""},
		"gid " + gid + " globex":                      {"acme": "", "globex": "globex"},
		"uid " + other:                                {"acme": "", "globex": ""},
		"uid " + other + "\ngid " + gid + " acme":     {"acme": "acme", "globex": ""},
		"uid " + other + "\ngid " + other + "\n# end": {"acme": ""},
	} {
		for _, at := range []string{"unix/" + socket, "127.0.0.1"} {
			s.start(t, apiKey, "bind "+at+"\nupstream_auth billing "+echo.URL+" {\nauthorize peer {\n"+site+"\n}\n}")
			dial := func(ctx context.Context, network, address string) (net.Conn, error) {
				if strings.HasPrefix(at, "unix") {
					network, address = "unix", socket
				}
				return new(net.Dialer).DialContext(ctx, network, address)
			}
			for named, tenant := range tenants {
				req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, s.url+"/", nil)
				if err != nil {
					t.Fatal(err)
				}
				req.Header = as(named)
				res, body := send(t, &http.Transport{DialContext: dial, DisableKeepAlives: true}, req)
				if at == "127.0.0.1" {
					tenant = "" // nobody knows who that is
				}
				want(t, at+" "+site+" as "+named, tenant, res, body)
			}
		}
	}
}
