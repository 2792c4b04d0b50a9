package oauth2

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/upstreamauth/caddy-upstream-auth/credential"
	"github.com/upstreamauth/caddy-upstream-auth/internal/jwt"
	"github.com/upstreamauth/caddy-upstream-auth/internal/template"
	"github.com/upstreamauth/caddy-upstream-auth/scheme"
)

func TestNewRefuses(t *testing.T) {
	for name, test := range map[string]struct {
		change func(*Config)
		want   string
	}{
		"token_url http":          {func(o *Config) { o.TokenURL = text(t, "http://as.example/token") }, "must be https"},
		"token_url loopback-like": {func(o *Config) { o.TokenURL = text(t, "http://127.0.0.1.example/token") }, "must be https"},
		"token_url relative":      {func(o *Config) { o.TokenURL = text(t, "/token") }, "not an absolute URL"},
		"token_url scheme":        {func(o *Config) { o.TokenURL = text(t, "ftp://localhost/token") }, "must be https"},
		"token_url user":          {func(o *Config) { o.TokenURL = text(t, "https://u:p@as.example/token") }, "user information"},
		"token_url fragment":      {func(o *Config) { o.TokenURL = text(t, "https://as.example/token#x") }, "fragment"},
		"no client_id":            {func(o *Config) { o.ClientID = nil }, "client_id is missing"},
		"no secret":               {func(o *Config) { o.ClientSecrets = nil }, "one of"},
		"both secrets":            {func(o *Config) { o.ClientSecrets[0].File = "f" }, "needs one of"},
		"public with secret":      {func(o *Config) { o.ClientAuth = ClientAuthNone }, "goes without a client secret"},
		"client_auth":             {func(o *Config) { o.ClientAuth = "jwt" }, "is none of basic, post, none"},
		"scope":                   {func(o *Config) { o.Scopes = []*template.Template{text(t, "a b")} }, "is not a scope"},
		"param client_secret":     {func(o *Config) { o.Params = map[string]*template.Template{"client_secret": text(t, "x")} }, "has its own setting"},
		"param refresh_token":     {func(o *Config) { o.Params = map[string]*template.Template{"refresh_token": text(t, "x")} }, "has its own setting"},
		"param scope": {func(o *Config) {
			o.Params = map[string]*template.Template{"scope": text(t, "x")}
			o.Scopes = []*template.Template{text(t, "y")}
		}, "exclude each other"},
		"assertion_from elsewhere": {func(o *Config) { o.AssertionFrom = new(Config) }, "grant jwt_bearer and assertion or assertion_from go together"},
		"assertion_from beside assertion": {func(o *Config) {
			o.Grant, o.Assertion, o.AssertionFrom = GrantJWTBearer, new(jwt.Config), new(Config)
		}, "assertion and assertion_from exclude each other"},
		"assertion_from that spends":     {func(o *Config) { o.Grant, o.AssertionFrom = GrantJWTBearer, new(Config) }, "a grant that can be repeated"},
		"assertion_from that is no good": {func(o *Config) { o.Grant, o.AssertionFrom = GrantJWTBearer, &Config{Grant: GrantClientCredentials} }, "oauth2: assertion_from: token_url is missing"},

		"field reserved":          {func(o *Config) { o.Fields.AccessToken = "_upstream_auth.x" }, "is reserved"},
		"field query":             {func(o *Config) { o.Fields.AccessToken = "#(a==1).x" }, "cannot stand in the path"},
		"field wildcard":          {func(o *Config) { o.Fields.Scope = "sc*" }, "cannot stand in the path"},
		"field empty key":         {func(o *Config) { o.Fields.Scope = "a..b" }, "empty key"},
		"field index":             {func(o *Config) { o.Fields.Scope = "a.99999999.b" }, "index 99999999"},
		"field last index":        {func(o *Config) { o.Fields.ExpiresAt = "a.0" }, "index 0"},
		"field append":            {func(o *Config) { o.Fields.Scope = "a.-1.b" }, "index -1"},
		"field index spelled odd": {func(o *Config) { o.Fields.Scope = "a.01.b" }, "index 01"},
		"fields overlap":          {func(o *Config) { o.Fields.RefreshToken = "access_token.r" }, "overlap"},
		"fields the same":         {func(o *Config) { o.Fields.RefreshToken = "access_token" }, "overlap"},

		"first field reserved":       {func(o *Config) { o.FirstFields = []FieldMapping{{"_upstream_auth.by", "x"}} }, "is reserved"},
		"first field is a token":     {func(o *Config) { o.FirstFields = []FieldMapping{{"refresh_token", "x"}} }, "first fields: fields \"refresh_token\""},
		"refresh field above tokens": {func(o *Config) { o.Fields.Scope = "t.s"; o.RefreshFields = []FieldMapping{{"t", "x"}} }, "overlap"},
		"refresh field below token":  {func(o *Config) { o.RefreshFields = []FieldMapping{{"scope.x", "x"}} }, "overlap"},
		"refresh fields overlap":     {func(o *Config) { o.RefreshFields = []FieldMapping{{"a", "x"}, {"b", "x"}, {"a.b", "y"}} }, "fields \"a\" and \"a.b\" overlap"},
		"first field twice":          {func(o *Config) { o.FirstFields = []FieldMapping{{"a", "x"}, {"a", "y"}} }, "overlap"},
		"refresh field without name": {func(o *Config) { o.RefreshFields = []FieldMapping{{"", "x"}} }, "empty key"},
		"refresh field with query":   {func(o *Config) { o.RefreshFields = []FieldMapping{{"a.#", "x"}} }, "cannot stand in the path"},
		"refresh field from nowhere": {func(o *Config) { o.RefreshFields = []FieldMapping{{Field: "a"}} }, "path to take it from is missing"},
		"first field misspelled":     {func(o *Config) { o.FirstFields = []FieldMapping{{"a", "x.y|@hots"}} }, "unknown modifier @hots"},
	} {
		t.Run(name, func(t *testing.T) {
			c := Config{TokenURL: text(t, "https://as.example/token"), Client: Client{ClientID: text(t, "id"), ClientSecrets: []Secret{{Text: text(t, "secret")}}}}
			test.change(&c)
			r, err := New(c)
			if r != nil || err == nil || !strings.Contains(err.Error(), test.want) {
				t.Fatalf("got %v, %v; want %q", r, err, test.want)
			}
		})
	}
}

func TestNewTakesHTTPOnLoopbackHosts(t *testing.T) {
	for _, url := range []string{"http://127.0.0.1:9/t", "http://[::1]/t", "http://localhost:1/t", "http://LOCALHOST/t", "https://as.example/t?x=1"} {
		if _, err := New(Config{TokenURL: text(t, url), Client: Client{ClientID: text(t, "id"), ClientAuth: ClientAuthNone}}); err != nil {
			t.Errorf("%s: %v", url, err)
		}
	}
}

func TestNewFillsInDefaults(t *testing.T) {
	r, err := New(Config{
		TokenURL: text(t, "https://as.example/t"), Client: Client{ClientID: text(t, "id"), ClientAuth: ClientAuthNone},
		Fields: Fields{AccessToken: "tokens.access"},
	})
	if err != nil {
		t.Fatal(err)
	}
	if r.RefreshAhead != scheme.DefaultRefreshAhead || r.Fields.AccessToken != "tokens.access" || r.Fields.RefreshToken != "refresh_token" || r.ClientAuth != ClientAuthNone {
		t.Errorf("defaults are not filled in: %+v", r)
	}
	if token, err := r.Token(newCredential(t, `{"tokens": {"access": "abc"}}`)); token != "abc" || err != nil {
		t.Errorf("got %q, %v", token, err)
	}
	// It is by this that a provider without another scheme sends the token as Bearer.
	if names := r.Names(); len(names.Header)+len(names.Query) != 0 {
		t.Errorf("it names %v", names)
	}
}

func TestClientSecretFileIsReadAnew(t *testing.T) {
	file := filepath.Join(t.TempDir(), "secret")
	o := newRenewer(t, func(o *Config) {
		o.ClientID, o.ClientSecrets = text(t, "{credential.client}"), []Secret{{File: file}}
	})
	c := newCredential(t, `{"client":"acme"}`)
	client := func(c *credential.Credential) (id, secret string, err error) {
		p, err := o.Parameters(t.Context(), c)
		return p.ClientID, p.ClientSecret, err
	}
	if _, _, err := client(c); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("without the file: %v", err)
	}
	for content, want := range map[string]string{"one\n": "one", "two": "two", "three\r\n": "three", " four \n\n": " four \n"} {
		if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		if id, secret, err := client(c); id != "acme" || secret != want || err != nil {
			t.Errorf("%q: got %q, %q, %v", content, id, secret, err)
		}
	}
	if err := os.WriteFile(file, []byte("\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, _, err := client(c); err == nil {
		t.Error("an empty file is taken for a secret")
	}
	if _, _, err := client(newCredential(t, `{}`)); !errors.Is(err, credential.ErrInvalid) {
		t.Errorf("without the client id: %v", err)
	}
}
