package upstream

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/upstreamauth/caddy-upstream-auth/credential"
	"github.com/upstreamauth/caddy-upstream-auth/internal/login"
	"github.com/upstreamauth/caddy-upstream-auth/internal/oauth2"
	"github.com/upstreamauth/caddy-upstream-auth/internal/template"
	"github.com/upstreamauth/caddy-upstream-auth/scheme"
)

func TestNewRefuses(t *testing.T) {
	for name, test := range map[string]struct {
		schemes []scheme.Scheme
		want    string
	}{
		"nothing":           {nil, "no scheme that authenticates"},
		"companions alone":  {[]scheme.Scheme{&companion{}, &companion{sets{names: scheme.Names{Header: []string{"X-Account"}}}}}, "no scheme that authenticates"},
		"two renewers":      {[]scheme.Scheme{newRenewer(t, nil), newRenewer(t, nil)}, "and not two"},
		"header twice":      {[]scheme.Scheme{header("X-Key"), header("x-key")}, "header X-Key is set twice"},
		"header alike":      {[]scheme.Scheme{header("X-Key"), header("X_Key")}, "is set twice"},
		"twice by one":      {[]scheme.Scheme{header("X-Key", "x-key")}, "header X-Key is set twice"},
		"query twice":       {[]scheme.Scheme{query("Key"), query("key")}, "query parameter key is set twice"},
		"two who say who":   {[]scheme.Scheme{header("authorization"), header("Authorization")}, "header Authorization is set twice"},
		"bearer and header": {[]scheme.Scheme{newRenewer(t, nil), &companion{sets{names: scheme.Names{Header: []string{"authorization"}}}}}, "header Authorization is set twice"},
		"header name":       {[]scheme.Scheme{header("X Key")}, "not a valid header name"},
		"empty header name": {[]scheme.Scheme{header("")}, "not a valid header name"},
		"newline in name":   {[]scheme.Scheme{header("X\r\nY")}, "not a valid header name"},
		"host":              {[]scheme.Scheme{header("host")}, "header Host cannot be set"},
		"content-length":    {[]scheme.Scheme{header("Content_Length")}, "header Content-Length cannot be set"},
		"transfer-encoding": {[]scheme.Scheme{header("transfer-encoding")}, "header Transfer-Encoding cannot be set"},
		"connection":        {[]scheme.Scheme{header("Connection")}, "header Connection cannot be set"},
		"te":                {[]scheme.Scheme{header("TE")}, "header Te cannot be set"},
		"query name":        {[]scheme.Scheme{query("")}, "has no name"},
	} {
		t.Run(name, func(t *testing.T) {
			p, err := newProvider(test.schemes...)
			if p != nil || err == nil || !strings.Contains(err.Error(), test.want) {
				t.Fatalf("got %v, %v; want %q", p, err, test.want)
			}
		})
	}
}

func TestNamesAreThoseOfAllSchemes(t *testing.T) {
	names := mustProvider(t, header("x-key", "cookie"), header("Cookie"), query("api key"), newRenewer(t, nil)).Names()
	if want := []string{"X-Key", "Cookie"}; !slices.Equal(names.Header, want) || !slices.Equal(names.Query, []string{"api key"}) {
		t.Errorf("got %q", names)
	}
}

func TestOAuth2WithoutMappingIsBearer(t *testing.T) {
	p := mustProvider(t, newRenewer(t, func(c *oauth2.Config) { c.Fields.AccessToken = "tokens.access" }))
	ready, err := p.Ready(newCredential(t, `{"tokens": {"access": "abc"}}`))
	if err != nil {
		t.Fatal(err)
	}
	if got := authenticated(t, ready).Get("Authorization"); got != "Bearer abc" {
		t.Errorf("got %q", got)
	}
	if names := p.Names(); !slices.Equal(names.Header, []string{"Authorization"}) || p.ChangesURL() {
		t.Errorf("names %q, changes the URL: %v", names, p.ChangesURL())
	}
	if o := p.OAuth2(); o.RefreshAhead != scheme.DefaultRefreshAhead || o.Fields.RefreshToken != "refresh_token" || o.ClientAuth != oauth2.ClientAuthNone {
		t.Errorf("defaults are not filled in: %+v", o)
	}

	own := mustProvider(t, newRenewer(t, nil), header("X-Token"))
	if ready, err = own.Ready(newCredential(t, `{"access_token": "abc", "k": "own"}`)); err != nil {
		t.Fatal(err)
	}
	if h := authenticated(t, ready); len(h) != 1 || h.Get("X-Token") != "own" {
		t.Errorf("with a mapping of its own: got %v", h)
	}
}

func TestOAuth2BesideCompanionsIsBearer(t *testing.T) {
	for name, beside := range map[string]scheme.Scheme{
		"that set nothing":  &companion{},
		"that set a header": &companion{sets{names: scheme.Names{Header: []string{"X-Account"}}}},
	} {
		t.Run(name, func(t *testing.T) {
			ready, err := mustProvider(t, beside, newRenewer(t, nil)).Ready(newCredential(t, `{"access_token": "abc", "k": "1"}`))
			if err != nil {
				t.Fatal(err)
			}
			if got := authenticated(t, ready).Get("Authorization"); got != "Bearer abc" {
				t.Errorf("got %q", got)
			}
		})
	}
}

// ownRenewer is a renewer that sends its token itself.
type ownRenewer struct{ *oauth2.Renewer }

func (ownRenewer) Names() scheme.Names { return scheme.Names{Header: []string{"X-Session"}} }

func TestRenewerThatSendsItsTokenIsNotBearer(t *testing.T) {
	p := mustProvider(t, &ownRenewer{newRenewer(t, nil)})
	if names := p.Names(); !slices.Equal(names.Header, []string{"X-Session"}) || len(p.Schemes) != 1 {
		t.Errorf("got %q", names)
	}
}

func TestBearerTokenThatCannotBeSent(t *testing.T) {
	p := mustProvider(t, newRenewer(t, nil))
	for _, document := range []string{`{}`, `{"access_token": "hunter2\r\nX-Other: 1"}`, `{"access_token": " "}`, `{"access_token": ["hunter2"]}`} {
		_, err := p.Ready(newCredential(t, document))
		var field *credential.FieldError
		if !errors.As(err, &field) || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%s: %v", document, err)
		}
	}
}

func TestWhoMayChangeTheURL(t *testing.T) {
	if !mustProvider(t, newRenewer(t, nil), query("key")).ChangesURL() {
		t.Error("nobody")
	}
	if mustProvider(t, newRenewer(t, nil)).ChangesURL() {
		t.Error("a bearer token's scheme")
	}
}

func TestCredentialIsMadeReadyOnce(t *testing.T) {
	s := header("X-Key")
	p := mustProvider(t, s)
	good, bad := newCredential(t, `{"k": "1"}`), newCredential(t, `{}`)
	first, err := p.Ready(good)
	if err != nil {
		t.Fatal(err)
	}
	if again, _ := p.Ready(good); again != first || s.binds != 1 {
		t.Errorf("bound %d times", s.binds)
	}
	for range 2 {
		if _, err := p.Ready(bad); !errors.Is(err, credential.ErrInvalid) {
			t.Error(err)
		}
	}
	if s.binds != 2 {
		t.Errorf("bound %d times", s.binds)
	}
}

func TestWhatIsReadyDoesNotPrintSecrets(t *testing.T) {
	p := mustProvider(t, newRenewer(t, nil))
	p.Expose = []string{"access_token"}
	cred := newCredential(t, `{"access_token": "hunter2"}`)
	ready, err := p.Ready(cred)
	if err != nil {
		t.Fatal(err)
	}
	for _, format := range []string{"%v", "%+v", "%#v", "%s", "%q"} {
		for _, value := range []any{ready, Opened{Ready: ready, Credential: cred}, &Opened{Ready: ready, Credential: cred}} {
			if text := fmt.Sprintf(format, value); strings.Contains(text, "hunter2") {
				t.Errorf("%s prints %s", format, text)
			}
		}
	}
}

func TestExposedFieldsHaveToBeThere(t *testing.T) {
	p := mustProvider(t, header("X-Key"))
	p.Expose = []string{"account.id", "name"}
	ready, err := p.Ready(newCredential(t, `{"k": "1", "account": {"id": 42}, "name": "x"}`))
	if err != nil || !slices.Equal(ready.Exposed, []string{"42", "x"}) {
		t.Error(ready, err)
	}
	if _, err := p.Ready(newCredential(t, `{"k": "1", "name": "x"}`)); !errors.Is(err, credential.ErrInvalid) {
		t.Error(err)
	}
}

// Mappings beside a login need what it brings, and no credential has that from the start.
func TestCredentialWithoutWhatItsLoginBringsIsNoInvalidOne(t *testing.T) {
	r, err := login.New(login.Config{
		Requests:    []login.Request{{URL: "https://as.example/login", Form: map[string]string{"user": "{credential.user}"}}},
		TokenFields: []login.TokenField{{Field: "session.id", Path: "id"}, {Field: "csrf", Path: "csrf"}},
	}, nil)
	if err != nil {
		t.Fatal(err)
	}
	p := mustProvider(t, header("X-Session"), r)
	for _, t2 := range []*template.Template{mustTemplate(t, "{credential.session.id}-{credential.csrf}"), mustTemplate(t, "{credential.account}")} {
		schema, err := credential.CompileSchema(template.Schema(t2))
		if err != nil {
			t.Fatal(err)
		}
		p.Schemas = append(p.Schemas, schema)
	}
	for document, want := range map[string]struct{ unobtained, accepted bool }{
		`{"user":"ann","account":1}`:                            {true, true},
		`{"user":"ann"}`:                                        {false, false},
		`{"user":"ann","account":1,"session":{"id":"s"}}`:       {false, false},
		`{"user":"ann","account":1,"session":{},"csrf":{}}`:     {false, false},
		`{"user":"ann","account":1,"csrf":"old","k":"a value"}`: {true, true},
	} {
		cred := newCredential(t, document)
		ready, err := p.Ready(cred)
		if ready.Unobtained != want.unobtained || !errors.Is(err, credential.ErrInvalid) {
			t.Errorf("%s: unobtained is %t, %v", document, ready.Unobtained, err)
		}
		if err := p.Check(cred); (err == nil) != want.accepted {
			t.Errorf("%s: as a new credential: %v", document, err)
		}
	}
}

func TestCredentialWithoutWhatItsGrantBringsIsNoInvalidOne(t *testing.T) {
	p := mustProvider(t, header("X-Token"), newRenewer(t, func(c *oauth2.Config) {
		c.Grant, c.RefreshFields = oauth2.GrantClientCredentials, []oauth2.FieldMapping{{Field: "host", From: "host"}}
	}))
	schema, err := credential.CompileSchema(template.Schema(mustTemplate(t, "{credential.access_token}-{credential.host}-{credential.account}")))
	if err != nil {
		t.Fatal(err)
	}
	p.Schemas = append(p.Schemas, schema)
	for document, want := range map[string]bool{`{"account":1}`: true, `{}`: false} {
		if ready, err := p.Ready(newCredential(t, document)); ready.Unobtained != want || err == nil {
			t.Errorf("%s: unobtained is %t, %v", document, ready.Unobtained, err)
		}
	}
}

// A schema that knows no more fields than there were before does not keep a credential from
// being used whose server says how long the refresh token lives.
func TestSchemaDoesNotRefuseWhenTheRefreshTokenExpires(t *testing.T) {
	schema, err := credential.CompileSchema([]byte(`{"additionalProperties":false,"required":["access_token"],
		"properties":{"access_token":{"type":"string"},"refresh_token":{"type":"string"}}}`))
	if err != nil {
		t.Fatal(err)
	}
	p := mustProvider(t, newRenewer(t, nil))
	p.Schemas = []*credential.Schema{schema}
	for document, valid := range map[string]bool{
		`{"access_token":"a","refresh_token":"r"}`:                                                                 true,
		`{"access_token":"a","refresh_token":"r","refresh_token_expires_at":"2026-01-01T00:00:00Z"}`:               true,
		`{"access_token":"a","refresh_token":"r","refresh_token_expires_at":"2026-01-01T00:00:00Z","another":"x"}`: false,
		`{"refresh_token":"r","refresh_token_expires_at":"2026-01-01T00:00:00Z"}`:                                  false,
	} {
		cred := newCredential(t, document)
		if _, err := p.Ready(cred); (err == nil) != valid {
			t.Errorf("%s: got %v", document, err)
		}
		if err := p.Check(cred); (err == nil) != valid {
			t.Errorf("%s brought anew: got %v", document, err)
		}
	}
}
