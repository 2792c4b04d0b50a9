package schemes_test

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/upstreamauth/caddy-upstream-auth/caddymodule/schemes"
	"github.com/upstreamauth/caddy-upstream-auth/internal/oauth2"
	"github.com/upstreamauth/caddy-upstream-auth/internal/tlsfiles"
	"github.com/upstreamauth/caddy-upstream-auth/scheme"
)

// public is what oauth2 needs at the least.
const public = "token_url https://as.example/token\nclient_id app\nclient_auth none\n"

// jwtFrom begins an oauth2 whose assertion is obtained.
const jwtFrom = public + "grant jwt_bearer\nassertion_from {\n" + public

func TestOAuth2ReadsAllItsSubdirectives(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, []byte("s3cret\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	const rest = `
		client_id          {credential.client_id}
		tls_ca             FILE
		tls_client_cert    FILE
		tls_client_key     FILE
		scopes             chat:write users:read
		scopes             more
		param              audience https://api.example
		param              resource {env.RESOURCE}
		credential_field   access_token tokens.access
		credential_field   expires_at tokens.until
		response_field     access_token authed_user.access_token
		issuer             https://as.example
		authorization_url  https://as.example/authorize
		userinfo_url       https://as.example/userinfo
		revocation_url     https://as.example/revoke
		token_field        instance_host instance_url|@host
		refresh_field      instance_host instance_url|@host
		userinfo_field     mail email
		id_token_field     org tid
`
	all := schemes.OAuth2{
		TokenURL: "https://as.example/token", ClientID: "{credential.client_id}",
		Files:            tlsfiles.Files{TLSCA: file, TLSClientCert: file, TLSClientKey: file},
		Scopes:           []string{"chat:write", "users:read", "more"},
		Params:           map[string]string{"audience": "https://api.example", "resource": "{env.RESOURCE}"},
		CredentialFields: map[string]string{"access_token": "tokens.access", "expires_at": "tokens.until"},
		ResponseFields:   map[string]string{"access_token": "authed_user.access_token"},
		Issuer:           "https://as.example", AuthorizationURL: "https://as.example/authorize",
		UserinfoURL: "https://as.example/userinfo", RevocationURL: "https://as.example/revoke",
		TokenFields:    map[string]string{"instance_host": "instance_url|@host"},
		RefreshFields:  map[string]string{"instance_host": "instance_url|@host"},
		UserinfoFields: map[string]string{"mail": "email"},
		IDTokenFields:  map[string]string{"org": "tid"},
	}
	for lines, change := range map[string]func(*schemes.OAuth2){
		"token_url https://as.example/token\nclient_secret {env.SECRET}": func(o *schemes.OAuth2) { o.ClientSecret = "{env.SECRET}" },
		"token_url {env.TOKEN_URL}\nclient_secret_file FILE\nclient_auth post\nrefresh_ahead 5m\nrotation grace 30s\ntakeover never": func(o *schemes.OAuth2) {
			o.TokenURL, o.ClientSecretFile, o.ClientAuth = "{env.TOKEN_URL}", file, "post"
			o.RefreshAhead, o.Rotation, o.RotationGrace, o.Takeover = caddy.Duration(5*time.Minute), "grace", caddy.Duration(30*time.Second), -1
		},
		"token_url https://as.example/token\nclient_auth tls_client_auth": func(o *schemes.OAuth2) { o.ClientAuth = "tls_client_auth" },
		"token_url https://as.example/token\nclient_auth none\nrefresh_ahead 0s\nrotation none\ntakeover 1m": func(o *schemes.OAuth2) {
			o.ClientAuth, o.RefreshAhead, o.Rotation, o.Takeover = "none", -1, "none", caddy.Duration(time.Minute)
		},
	} {
		want := all
		change(&want)
		got := read(t, strings.ReplaceAll("oauth2 {\n"+lines+rest+"}", "FILE", file)).(*schemes.OAuth2)
		if got.Renewer == nil {
			t.Error("it is not ready to be asked when a Caddyfile is adapted")
		}
		got.Renewer = nil
		if !reflect.DeepEqual(*got, want) {
			t.Errorf("%s: got  %+v\nwant %+v", lines, *got, want)
		}
		text, err := json.Marshal(got)
		if err != nil {
			t.Fatal(err)
		}
		var again schemes.OAuth2
		if err := caddy.StrictUnmarshalJSON(text, &again); err != nil || !reflect.DeepEqual(again, want) {
			t.Errorf("%s: %v: from JSON it is %+v", lines, err, again)
		}
	}
}

func TestOAuth2SubdirectivesThatAreWrong(t *testing.T) {
	const endpoint, client = "token_url https://as.example/token\n", "client_id app\n"
	for lines, want := range map[string]string{
		client:                                                            "token_url is missing",
		"token_url http://as.example/token\n":                             "token_url: must be https",
		endpoint + "client_auth none\n":                                   "client_id is missing",
		endpoint + client:                                                 "need one of client_secret_file and client_secret",
		endpoint + client + "client_secret hunter2\n":                     "client_secret: a secret is not written",
		endpoint + client + "client_secret a{env.SECRET}\n":               "client_secret: a secret is not written",
		endpoint + client + "client_secret_file /absent/file\n":           "client_secret_file: open /absent/file",
		endpoint + client + "client_auth jwt\n":                           `client_auth "jwt" is none of basic, post, none`,
		public + "client_secret {env.SECRET}\n":                           "none goes without a client secret",
		public + "token_url https://as.example/2\n":                       "token_url is given twice",
		endpoint + client + "client_auth tls_client_auth\n":               "tls_client_auth needs tls_client_cert and tls_client_key",
		public + "tls_client_cert {env.CERT}\n":                           "tls_client_cert and tls_client_key go together",
		public + "scopes\n":                                               "wrong argument count",
		public + "scopes \"a b\"\n":                                       "is not a scope",
		public + "param a\n":                                              "wrong argument count",
		public + "param a b\nparam a c\n":                                 "param a is given twice",
		public + "param client_secret x\n":                                "has its own setting",
		public + "credential_field token x\n":                             `"token" is not a field`,
		public + "credential_field scope \"\"\n":                          "the path of scope is empty",
		public + "credential_field scope _upstream_auth.x\n":              "is reserved",
		public + "response_field expires x\n":                             `"expires" is not a field`,
		public + "token_field access_token x\n":                           "overlap",
		public + "refresh_field a x|@hots\n":                              "unknown modifier @hots",
		public + "issuer http://as.example\n":                             "issuer: must be https",
		public + "revocation_url /revoke\n":                               "revocation_url: not an absolute URL",
		jwtFrom + "}\n":                                                   "assertion_from needs a grant that can be repeated",
		jwtFrom + "grant client_credentials\n}\nassertion_from {\n":       "assertion_from is given twice",
		jwtFrom + "grant client_credentials\nrotation none\n}\n":          "assertion_from: refresh_ahead, rotation or takeover has no place there",
		jwtFrom + "grant client_credentials\ntoken_field a b\n}\n":        "assertion_from: token_field has no place there",
		jwtFrom + "grant client_credentials\nclient_secret hunter2\n}\n":  "client_secret: a secret is not written",
		jwtFrom + "grant client_credentials\nclient_secrets hunter2\n}\n": "unrecognized subdirective 'client_secrets' of oauth2",
		public + "assertion_from {\n" + public + "grant password\nusername u\npassword {env.P}\n}\n": "grant jwt_bearer and assertion or assertion_from go together",
		public + "rotation\n":                           "wrong argument count",
		public + "rotation sometimes\n":                 `rotation "sometimes" is none of`,
		public + "rotation grace\n":                     "wrong argument count",
		public + "rotation grace 0s\n":                  "above zero",
		public + "rotation none 30s\n":                  "wrong argument count",
		public + "rotation none\nrotation none\n":       "rotation is given twice",
		public + "takeover 1s\n":                        "takeover cannot be below 15s",
		public + "takeover 0s\n":                        "above zero",
		public + "takeover never 1m\n":                  "wrong argument count",
		public + "takeover never\ntakeover never\n":     "takeover is given twice",
		public + "refresh_ahead -1s\n":                  "cannot be below zero",
		public + "refresh_ahead 0s\nrefresh_ahead 1m\n": "refresh_ahead is given twice",
		public + "param a {http.request.host}\n":        "oauth2: param a: ",
		public + "refresh_ahead soon\n":                 "'soon' is not a duration",
	} {
		_, err := unmarshal(t, "oauth2 {\n"+lines+"}")
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%s: got %v, want %q", lines, err, want)
		}
	}
}

func TestOAuth2IsProvisionedWithTheEnvironment(t *testing.T) {
	t.Setenv("TOKEN_URL", "https://as.example/token")
	t.Setenv("ID", "app")
	t.Setenv("SECRET", "s3cret")
	t.Setenv("RESOURCE", "https://api.example")
	secret := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(secret, []byte("s3cret\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("SECRET_FILE", secret)
	for _, given := range []string{"client_secret {env.SECRET}", "client_secret_file {env.SECRET_FILE}", "client_secret {credential.client.secret}"} {
		m := provision(t, `oauth2 {
			token_url {env.TOKEN_URL}
			client_id {env.ID}-{credential.client.id}
			client_auth post
			`+given+`
			param resource {env.RESOURCE}
			token_field host url
			refresh_ahead 5m
			rotation grace 30s
			takeover never
		}`).(*schemes.OAuth2)
		req, _, err := m.Request(t.Context(), newCredential(t, `{"access_token": "a", "refresh_token": "r", "client": {"id": 42, "secret": "s3cret"}}`))
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(req.Body)
		if err != nil {
			t.Fatal(err)
		}
		form, err := url.ParseQuery(string(body))
		if err != nil {
			t.Fatal(err)
		}
		want := url.Values{
			"grant_type": {"refresh_token"}, "refresh_token": {"r"}, "resource": {"https://api.example"},
			"client_id": {"app-42"}, "client_secret": {"s3cret"},
		}
		if req.URL.String() != "https://as.example/token" || !reflect.DeepEqual(form, want) {
			t.Errorf("%s: asked %s with %v", given, req.URL, form)
		}
		renewal := scheme.Renewal{RefreshAhead: 5 * time.Minute, Rotation: scheme.RotationGrace, RotationGrace: 30 * time.Second, Takeover: -1}
		if got := scheme.RenewalOf(m); got != renewal {
			t.Errorf("%s: tokens are spent as in %+v", given, got)
		}
		if got := m.FirstFields; !reflect.DeepEqual(got, []oauth2.FieldMapping{{Field: "host", From: "url"}}) {
			t.Errorf("%s: fields are %v", given, got)
		}
		if !strings.Contains(given, "SECRET_FILE") && m.ClientSecret == "s3cret" {
			t.Error("the secret is in the configuration")
		}
	}
}

func TestOAuth2RefusesAnEnvironmentThatCannotWork(t *testing.T) {
	t.Setenv("EMPTY", "")
	t.Setenv("HTTP", "http://as.example/token")
	t.Setenv("DIR", t.TempDir())
	for lines, want := range map[string]string{
		"token_url {env.HTTP}\nclient_id app\nclient_auth none":                                   "oauth2: token_url: must be https",
		"token_url {env.EMPTY}\nclient_id app\nclient_auth none":                                  "oauth2: token_url: ",
		"token_url https://as.example/\nclient_id {env.EMPTY}\nclient_auth none":                  "oauth2: client_id: placeholder {env.EMPTY}",
		"token_url https://as.example/\nclient_id app\nclient_secret {env.EMPTY}":                 "oauth2: client_secret: placeholder {env.EMPTY}",
		"token_url https://as.example/\nclient_id app\nclient_secret_file {env.DIR}":              "oauth2: client_secret_file: ",
		"token_url https://as.example/\nclient_id app\nclient_secret_file {env.DIR}/absent":       "oauth2: client_secret_file: ",
		"token_url https://as.example/\nclient_id app\nclient_auth none\nparam a {env.EMPTY}":     "oauth2: param a: ",
		"token_url https://as.example/\nclient_id app\nclient_auth none\ntls_ca {env.DIR}/absent": "oauth2: tls_ca: ",
	} {
		err := read(t, "oauth2 {\n"+lines+"\n}").Provision(caddy.Context{})
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, want %q", lines, err, want)
		}
	}
}

// Its token is sent by others, or as a bearer token.
func TestOAuth2LeavesRequestsAsTheyAre(t *testing.T) {
	req := newRequest(t, "https://api.example/a?b")
	apply(t, req, `{"access_token": "a"}`, "oauth2 {\n"+public+"}")
	if len(req.Header) != 0 || req.URL.String() != "https://api.example/a?b" {
		t.Errorf("sent to %s with %v", req.URL, req.Header)
	}
}

func TestOAuth2ReadsGrantsThatSign(t *testing.T) {
	key := filepath.Join(t.TempDir(), "key.pem")
	if err := os.WriteFile(key, []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	read(t, `oauth2 {
		grant       jwt_bearer
		token_url   https://as.example/token
		client_id   {credential.client_id}
		client_auth private_key_jwt
		client_key  {credential.client_key}
		client_assertion {
			algorithm ES256
			header    kid {credential.kid}
		}
		assertion {
			algorithm RS256
			key       {credential.private_key}
			claim     iss {credential.client_email}
			claim     scope "read write"
			lifetime  1h
		}
	}`)
	for lines, want := range map[string]string{
		"grant jwt_bearer\ntoken_url https://as.example/\nclient_id a\nclient_auth none":         "jwt_bearer and assertion or assertion_from go together",
		public + "assertion {\nkey {env.K}\n}":                                                   "jwt_bearer and assertion or assertion_from go together",
		public + "assertion {\nkey hunter2\n}":                                                   "a secret is not written into the configuration",
		public + "assertion {\nreuse on\n}":                                                      "unrecognized subdirective 'reuse' of assertion",
		public + "client_key {env.K}":                                                            "client_auth private_key_jwt and one of",
		"token_url https://as.example/\nclient_id a\nclient_key {env.K}\nclient_key_file " + key: "exclude each other",
		"token_url https://as.example/\nclient_id a\nclient_assertion {\nalgorithm ES256\n}":     "key is missing",
		"token_url https://as.example/\nclient_id a\nclient_auth client_secret_jwt":              "need one of client_secret_file",
	} {
		_, err := unmarshal(t, "oauth2 {\n"+lines+"\n}")
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%s: got %v, want %q", lines, err, want)
		}
	}
}

// The settings of where an assertion is obtained are the same as those of oauth2, and are
// filled in as those are.
func TestOAuth2HasItsAssertionOfAnotherServer(t *testing.T) {
	asked := make(chan url.Values, 1)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_ = r.ParseForm()
		asked <- r.PostForm
		_, _ = io.WriteString(w, `{"grant":{"jwt":"the-grant"}}`)
	}))
	defer server.Close()
	secret := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(secret, []byte("s3cret\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("SECRET_FILE", secret)
	t.Setenv("HOME_SERVER", server.URL)
	m := provision(t, `oauth2 {
		grant jwt_bearer
		`+public+`
		assertion_from {
			grant token_exchange
			token_url {env.HOME_SERVER}/token
			client_id home
			client_auth post
			client_secret_file {env.SECRET_FILE}
			subject_token {credential.id_token}
			subject_token_type urn:ietf:params:oauth:token-type:id_token
			audience https://as.example
			param requested_token_type urn:ietf:params:oauth:token-type:jwt
			response_field access_token grant.jwt
		}
	}`).(*schemes.OAuth2)
	req, _, err := m.Request(t.Context(), newCredential(t, `{"id_token":"the-id-token"}`))
	if err != nil {
		t.Fatal(err)
	}
	body, err := io.ReadAll(req.Body)
	if err != nil || !strings.Contains(string(body), "assertion=the-grant") {
		t.Errorf("asked with %s, %v", body, err)
	}
	want := url.Values{
		"grant_type": {"urn:ietf:params:oauth:grant-type:token-exchange"}, "subject_token": {"the-id-token"},
		"subject_token_type": {"urn:ietf:params:oauth:token-type:id_token"}, "requested_token_type": {"urn:ietf:params:oauth:token-type:jwt"},
		"audience": {"https://as.example"}, "client_id": {"home"}, "client_secret": {"s3cret"},
	}
	if got := <-asked; !reflect.DeepEqual(got, want) {
		t.Errorf("asked before with %v", got)
	}
}
