package oauth2

import (
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/upstreamauth/caddy-upstream-auth/credential"
	"github.com/upstreamauth/caddy-upstream-auth/internal/hosts"
	"github.com/upstreamauth/caddy-upstream-auth/internal/template"
	"github.com/upstreamauth/caddy-upstream-auth/internal/tokenrequest"
	"github.com/upstreamauth/caddy-upstream-auth/scheme"
)

// request makes a token request and returns its body.
func request(t *testing.T, r *Renewer, document string) (*http.Request, string) {
	t.Helper()
	req, _, err := r.Request(t.Context(), newCredential(t, document))
	if err != nil {
		t.Fatal(err)
	}
	body, err := io.ReadAll(req.Body)
	if err != nil || int64(len(body)) != req.ContentLength {
		t.Fatalf("%d bytes of %d: %v", len(body), req.ContentLength, err)
	}
	return req, string(body)
}

func TestGrantsOnTheWire(t *testing.T) {
	list := func(texts ...string) (all []*template.Template) {
		for _, s := range texts {
			all = append(all, text(t, s))
		}
		return all
	}
	for name, test := range map[string]struct {
		change   func(*Config)
		document string
		want     string
	}{
		"refresh_token": {nil, `{"refresh_token":"r"}`, "grant_type=refresh_token&refresh_token=r"},
		"client_credentials": {func(c *Config) {
			c.Grant, c.Scopes = GrantClientCredentials, list("read", "of.{credential.org}")
		}, `{"org":"7","refresh_token":"r"}`, "grant_type=client_credentials&scope=read+of.7"},
		"scopes by commas": {func(c *Config) {
			c.Grant, c.Scopes, c.ScopeSeparator = GrantClientCredentials, list("read", "write"), ","
		}, `{}`, "grant_type=client_credentials&scope=read%2Cwrite"},
		"password": {func(c *Config) {
			c.Grant, c.Username, c.Password = GrantPassword, text(t, "{credential.user}"), text(t, "{credential.password}")
		}, `{"user":"jo","password":"p w&"}`, "grant_type=password&password=p+w%26&username=jo"},
		"token_exchange": {func(c *Config) {
			c.Grant, c.SubjectToken, c.Audiences, c.Resources = GrantTokenExchange, text(t, "{credential.subject}"), list("api", "other"), list("https://api.example")
		}, `{"subject":"s"}`, "audience=api&audience=other&grant_type=urn%3Aietf%3Aparams%3Aoauth%3Agrant-type%3Atoken-exchange&resource=https%3A%2F%2Fapi.example&subject_token=s&subject_token_type=urn%3Aietf%3Aparams%3Aoauth%3Atoken-type%3Aaccess_token"},
		"a grant type of its own": {func(c *Config) {
			c.Grant, c.Params = GrantClientCredentials, map[string]*template.Template{"grant_type": text(t, "openapi_2lo"), "account": text(t, "{credential.account.id}"), "empty": {}}
		}, `{"account":{"id":12}}`, "account=12&empty=&grant_type=openapi_2lo"},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRenewer(t, test.change)
			req, body := request(t, r, test.document)
			if id, secret, _ := req.BasicAuth(); body != test.want || id != "id" || secret != "secret" || req.Method != http.MethodPost {
				t.Errorf("%s %s by %s:%s\nwant %s", req.Method, body, id, secret, test.want)
			}
			spends, err := r.Spends(newCredential(t, test.document))
			if want := map[bool]string{true: "r"}[r.Grant == GrantRefreshToken]; spends != want || err != nil {
				t.Errorf("spends %q, %v", spends, err)
			}
		})
	}
}

func TestParametersTravelAsTheServerWantsThem(t *testing.T) {
	object := newRenewer(t, func(c *Config) {
		c.Grant, c.Format, c.ClientAuth = GrantClientCredentials, tokenrequest.FormatJSON, ClientAuthPost
		c.RequestHeader = map[string]*template.Template{"X-Api-Key": text(t, "{credential.key}"), "Accept": text(t, "application/vnd.example+json")}
		c.TokenURL = text(t, "https://as.example/token?v=1")
	})
	req, body := request(t, object, `{"key":"k"}`)
	var got map[string]string
	if err := json.Unmarshal([]byte(body), &got); err != nil || len(got) != 3 || got["grant_type"] != "client_credentials" || got["client_id"] != "id" || got["client_secret"] != "secret" {
		t.Errorf("%s: %v", body, err)
	}
	if req.Header.Get("Content-Type") != "application/json" || req.Header.Get("X-Api-Key") != "k" || req.Header.Get("Accept") != "application/vnd.example+json" || req.URL.RawQuery != "v=1" {
		t.Errorf("%s with %v", req.URL, req.Header)
	}
	query := newRenewer(t, func(c *Config) {
		c.Grant, c.Format, c.TokenURL = GrantClientCredentials, tokenrequest.FormatQuery, text(t, "https://as.example/token?v=1")
	})
	req, body = request(t, query, `{}`)
	if want := (url.Values{"v": {"1"}, "grant_type": {"client_credentials"}}); body != "" || req.URL.RawQuery != want.Encode() || req.Header.Get("Content-Type") != "" {
		t.Errorf("%s with %v: %s", req.URL, req.Header, body)
	}
}

func TestAnEndpointOfTheTenantsOwn(t *testing.T) {
	allowed, err := hosts.Parse([]string{"*.example.com"})
	if err != nil {
		t.Fatal(err)
	}
	r := newRenewer(t, func(c *Config) {
		c.TokenURL, c.RefreshURL = text(t, "https://{credential.shop}.example.com/{credential.area}/token"), text(t, "https://{credential.shop}.example.com/refresh")
		c.TokenHosts = allowed
	})
	req, _ := request(t, r, `{"shop":"acme","area":"eu","refresh_token":"r"}`)
	if req.URL.String() != "https://acme.example.com/refresh" {
		t.Errorf("refreshes at %s", req.URL)
	}
	if p, err := r.Parameters(t.Context(), newCredential(t, `{"shop":"acme","area":"eu"}`)); err != nil || p.URL != "https://acme.example.com/eu/token" {
		t.Errorf("%v, %v", p.URL, err)
	}
	for document, want := range map[string]string{
		`{"area":"eu"}`:                          "is missing",
		`{"shop":"evil.example/x?","area":"eu"}`: "cannot stand in a URL",
		`{"shop":"a.b","area":"eu"}`:             "not among token_hosts",
		`{"shop":"acme","area":".."}`:            "cannot stand in a URL",
	} {
		if p, err := r.Parameters(t.Context(), newCredential(t, document)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %q, %v, want %q", document, p.URL, err, want)
		}
	}
}

func TestNewRefusesEndpoints(t *testing.T) {
	allowed, err := hosts.Parse([]string{"as.example"})
	if err != nil {
		t.Fatal(err)
	}
	for address, test := range map[string]struct {
		hosts hosts.List
		want  string
	}{
		"https://{credential.host}/token":       {nil, "token_hosts has to say"},
		"https://x{credential.host}.example/t":  {nil, "token_hosts has to say"},
		"{credential.url}":                      {allowed, "not an absolute URL"},
		"{credential.scheme}://as.example/t":    {allowed, "not an absolute URL"},
		"http://{credential.host}.example/t":    {allowed, "must be https"},
		"https://as.example:8443@evil.example/": {allowed, "user information"},
		"https://other.example/token":           {allowed, "not among token_hosts"},
	} {
		c := Config{TokenURL: text(t, address), TokenHosts: test.hosts, Client: Client{ClientID: text(t, "id"), ClientAuth: ClientAuthNone}}
		if _, err := New(c); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: %v, want %q", address, err, test.want)
		}
	}
}

func TestNewRefusesGrants(t *testing.T) {
	for want, change := range map[string]func(*Config){
		`grant "implicit" is none`:                   func(c *Config) { c.Grant = "implicit" },
		"grant password needs username":              func(c *Config) { c.Grant, c.Password = GrantPassword, text(t, "p") },
		"grant password needs password":              func(c *Config) { c.Grant, c.Username = GrantPassword, text(t, "u") },
		"username goes with grant password":          func(c *Config) { c.Username = text(t, "u") },
		"grant token_exchange needs subject_token":   func(c *Config) { c.Grant = GrantTokenExchange },
		"refresh_url goes with grant":                func(c *Config) { c.Grant, c.RefreshURL = GrantClientCredentials, c.TokenURL },
		`request "xml" is none of`:                   func(c *Config) { c.Format = "xml" },
		"expires_in_unit is seconds or milliseconds": func(c *Config) { c.ExpiresInUnit = time.Minute },
		"request_header Host cannot be set":          func(c *Config) { c.RequestHeader = map[string]*template.Template{"Host": text(t, "x")} },
		"request_header authorization is set by":     func(c *Config) { c.RequestHeader = map[string]*template.Template{"authorization": text(t, "x")} },
		"request_header a b is not a valid name":     func(c *Config) { c.RequestHeader = map[string]*template.Template{"a b": text(t, "x")} },
		"private_key_jwt and one of client_key":      func(c *Config) { c.ClientAuth, c.ClientSecrets = ClientAuthPrivateKeyJWT, nil },
		"parameter audience and audience exclude": func(c *Config) {
			c.Audiences, c.Params = []*template.Template{text(t, "x")}, map[string]*template.Template{"audience": text(t, "x")}
		},
	} {
		c := Config{TokenURL: text(t, "https://as.example/token"), Client: Client{ClientID: text(t, "id"), ClientSecrets: []Secret{{Text: text(t, "secret")}}}}
		change(&c)
		if _, err := New(c); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q", err, want)
		}
	}
}

// While a client's secret is changed for another the one that was not refused is taken.
func TestTheOtherSecretIsTakenAfterARefusal(t *testing.T) {
	r := newRenewer(t, func(c *Config) { c.ClientSecrets = append(c.ClientSecrets, Secret{Text: text(t, "next")}) })
	cred := newCredential(t, `{"refresh_token":"r"}`)
	secret := func(retry bool) string {
		ctx := t.Context()
		if retry {
			ctx = scheme.WithRetry(ctx)
		}
		req, _, err := r.Request(ctx, cred)
		if err != nil {
			t.Fatal(err)
		}
		_, secret, _ := req.BasicAuth()
		return secret
	}
	got := []string{secret(false), secret(false), secret(true), secret(false), secret(true), secret(false)}
	if strings.Join(got, " ") != "secret secret next next secret secret" {
		t.Errorf("secrets %v", got)
	}
	_, err := r.Merge([]byte("{}"), scheme.Response{Status: 401, Body: []byte(`{"error":"invalid_client"}`), At: now})
	if refused, ok := errors.AsType[*scheme.RefusedError](err); !ok || !refused.Retry || !refused.Unspent {
		t.Errorf("%+v", err)
	}
	_, err = newRenewer(t, nil).Merge([]byte("{}"), scheme.Response{Status: 401, Body: []byte(`{"error":"invalid_client"}`), At: now})
	if refused, ok := errors.AsType[*scheme.RefusedError](err); !ok || refused.Retry {
		t.Errorf("with one secret: %+v", err)
	}
}

func TestAClientAssertionIsReadAnew(t *testing.T) {
	file := filepath.Join(t.TempDir(), "token")
	r := newRenewer(t, func(c *Config) {
		c.Grant = GrantClientCredentials
		c.Client = Client{ClientID: text(t, "id"), ClientAssertionFile: file}
	})
	for _, assertion := range []string{"a.b.c", "d.e.f"} {
		if err := os.WriteFile(file, []byte(assertion+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		req, body := request(t, r, `{}`)
		form, err := url.ParseQuery(body)
		if err != nil || form.Get("client_assertion") != assertion || form.Get("client_id") != "id" || form.Has("client_secret") ||
			form.Get("client_assertion_type") != "urn:ietf:params:oauth:client-assertion-type:jwt-bearer" || req.Header.Get("Authorization") != "" {
			t.Errorf("%s, %v", body, err)
		}
	}
}

func TestWhatIsObtainedByItself(t *testing.T) {
	r := newRenewer(t, func(c *Config) {
		c.Grant, c.ClientID = GrantClientCredentials, text(t, "{credential.client}")
		c.ExpiresInUnit, c.ResponseFields.ExpiresAt = time.Millisecond, "until"
	})
	merged, err := r.Merge([]byte(`{"client":"acme"}`), granted(`{"access_token":"a","refresh_token":"not for us","expires_in":60000}`))
	if want := `{"client":"acme","access_token":"a","expires_at":"2026-03-01T11:01:00Z"}`; err != nil || string(merged) != want {
		t.Errorf("%s, %v", merged, err)
	}
	merged, err = r.Merge([]byte(`{}`), granted(`{"access_token":"a","expires_in":60000,"until":1772370000}`))
	if want := `{"access_token":"a","expires_at":"2026-03-01T13:00:00Z"}`; err != nil || string(merged) != want {
		t.Errorf("a point in time: %s, %v", merged, err)
	}
	if err := r.CheckNew(newCredential(t, `{"client":"acme"}`)); err != nil {
		t.Error(err)
	}
	for _, document := range []string{`{}`, `{"client":"acme","access_token":{}}`} {
		if err := r.CheckNew(newCredential(t, document)); !errors.Is(err, credential.ErrInvalid) {
			t.Errorf("%s: %v", document, err)
		}
	}
	schema, err := credential.CompileSchema(r.Schema())
	if err != nil {
		t.Fatal(err)
	}
	if err := schema.Check(newCredential(t, `{"client":"acme"}`)); err != nil {
		t.Error(err)
	}
	if err := schema.Check(newCredential(t, `{"access_token":"a"}`)); err == nil {
		t.Error("without what it takes it fits the schema")
	}
}
