package schemes

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/upstreamauth/caddy-upstream-auth/caddymodule/config"
	"github.com/upstreamauth/caddy-upstream-auth/internal/hosts"
	"github.com/upstreamauth/caddy-upstream-auth/internal/oauth2"
	"github.com/upstreamauth/caddy-upstream-auth/internal/template"
	"github.com/upstreamauth/caddy-upstream-auth/internal/tlsfiles"
	"github.com/upstreamauth/caddy-upstream-auth/internal/tokenrequest"
	"github.com/upstreamauth/caddy-upstream-auth/scheme"
)

// OAuth2 renews a credential at a token endpoint (RFC 6749): when the upstream rejects the
// access token, ahead of its expiry, and when there is none yet.
type OAuth2 struct {
	// How tokens are obtained: `refresh_token` (RFC 6749, section 6), which spends the stored
	// refresh token; `client_credentials` (section 4.4); `password` (section 4.3);
	// `jwt_bearer` (RFC 7523), by an assertion; `token_exchange` (RFC 8693). Default:
	// `refresh_token`.
	Grant string `json:"grant,omitempty"`

	// The token endpoint. The scheme is https, unless the host is a loopback
	// address. It may hold `{credential.<path>}`, what of it is filled in there stands for
	// itself in a URL (RFC 3986, section 2.3), and if it is in the host then token_hosts is
	// required. Default: what the issuer says.
	TokenURL string `json:"token_url,omitempty"`

	// Where refresh tokens go, if elsewhere. Default: token_url.
	RefreshURL string `json:"refresh_url,omitempty"`

	// Where the client's secret and refresh tokens may be sent: patterns as those of a
	// provider's allowed_hosts. Default: what the endpoints say.
	TokenHosts []string `json:"token_hosts,omitempty"`

	// The client's identifier at the authorization server. It may come from the
	// credential.
	ClientID string `json:"client_id,omitempty"`

	// The client's secret: one placeholder, `{env.NAME}`, `{file.PATH}` or
	// `{credential.<path>}`.
	ClientSecret string `json:"client_secret,omitempty"`

	// A file that holds the client's secret, read again at each refresh.
	ClientSecretFile string `json:"client_secret_file,omitempty"`

	// Another secret, while the client's is changed for another: it is tried when the first
	// one is refused (`invalid_client`), and the one that was not refused last is taken first.
	NextClientSecret string `json:"next_client_secret,omitempty"`

	// The same in a file.
	NextClientSecretFile string `json:"next_client_secret_file,omitempty"`

	// How the client authenticates (RFC 6749, section 2.3.1): `basic`, in the
	// Authorization header; `post`, among the parameters; `none`, for a public client;
	// `client_secret_jwt` and `private_key_jwt` (RFC 7523), by a JWT that is signed with the
	// secret, or with a key: see client_assertion; `tls_client_auth` (RFC 8705), by
	// tls_client_cert. Default: `private_key_jwt` with a key or client_assertion_file; without
	// a token_url `basic` or `post`, as the issuer says; else `basic`.
	ClientAuth string `json:"client_auth,omitempty"`

	// A file with a JWT that authenticates the client, as Kubernetes and SPIFFE write them. It
	// is read again at each refresh.
	ClientAssertionFile string `json:"client_assertion_file,omitempty"`

	// The JWT that authenticates the client, signed with its key. Defaults: `RS256`; client_id
	// for the claims `iss` and `sub`; the issuer, or else the token endpoint, for `aud`.
	ClientAssertion *JWTSettings `json:"client_assertion,omitempty"`

	// Those of connections to the authorization server.
	tlsfiles.Files

	// The scope to ask for. Default: none is sent, which asks for what was granted.
	Scopes []string `json:"scopes,omitempty"`

	// What stands between two scopes. Default: a space.
	ScopeSeparator string `json:"scope_separator,omitempty"`

	// How parameters travel to the token endpoint: `form`; `json`, as an object of strings;
	// `query`, in the URL, which ends in logs. Default: `form`.
	RequestFormat string `json:"request,omitempty"`

	// Further header fields of the token request: templates.
	RequestHeader map[string]string `json:"request_header,omitempty"`

	// Further parameters of the token request: templates. `grant_type` among them replaces
	// the grant's own.
	Params map[string]string `json:"params,omitempty"`

	// The resource owner's, for grant `password`: templates. The password is one placeholder.
	Username string `json:"username,omitempty"`
	Password string `json:"password,omitempty"`

	// The JWT that is exchanged for a token, for grant `jwt_bearer`. Default of its `aud`: the
	// issuer, or else the token endpoint.
	Assertion *JWTSettings `json:"assertion,omitempty"`

	// Instead, where the assertion is obtained for each token request
	// (draft-ietf-oauth-identity-chaining): by grant `token_exchange` or another one that can
	// be repeated, at another authorization server. Its access token is the assertion. What is
	// about stored tokens and about connecting has no place here.
	AssertionFrom *OAuth2 `json:"assertion_from,omitempty"`

	// The token that is exchanged, for grant `token_exchange`: one placeholder.
	SubjectToken string `json:"subject_token,omitempty"`

	// Its type. Default: `urn:ietf:params:oauth:token-type:access_token`.
	SubjectTokenType string `json:"subject_token_type,omitempty"`

	// What the token is for (RFC 8707, section 2; RFC 8693, section 2.1): templates.
	Resources []string `json:"resources,omitempty"`
	Audiences []string `json:"audiences,omitempty"`

	// The unit of a lifetime in the token response, `seconds` or `milliseconds`. Default:
	// `seconds`.
	ExpiresInUnit string `json:"expires_in_unit,omitempty"`

	// Whether connecting uses PKCE (RFC 7636): `S256`, or `off` for authorization servers that
	// refuse it. Default: `S256`.
	PKCE string `json:"pkce,omitempty"`

	// Where in the credential the fields `access_token`, `refresh_token`,
	// `token_type`, `expires_at`, `scope` and `refresh_token_expires_at` lie, if not under
	// these names.
	CredentialFields map[string]string `json:"credential_fields,omitempty"`

	// Where in the token response the fields `access_token`, `refresh_token`,
	// `token_type`, `expires_in` and `scope` lie, if not under these names; and
	// `expires_at`, if it says a point in time (RFC 3339, or a number since 1970). When the
	// refresh token expires is looked for as `refresh_token_expires_in`, `refresh_expires_in`
	// and `x_refresh_token_expires_in`, or else where `refresh_token_expires_in` says, and as
	// `refresh_token_expires_at` and `refresh_expires_at`, or where the first of them says.
	ResponseFields map[string]string `json:"response_fields,omitempty"`

	// The authorization server's issuer identifier: what is not configured of its endpoints
	// is discovered there (OpenID Connect Discovery, RFC 8414), and in
	// `upstream_auth_connect` its answers have to name it (RFC 9207). https, unless the host
	// is a loopback address.
	Issuer string `json:"issuer,omitempty"`

	// The authorization endpoint, for `upstream_auth_connect`. Default: discovered.
	AuthorizationURL string `json:"authorization_url,omitempty"`

	// The userinfo endpoint, for userinfo_fields. Default: discovered. It and those before and
	// after it may hold `{credential.<path>}`, as token_url.
	UserinfoURL string `json:"userinfo_url,omitempty"`

	// The revocation endpoint (RFC 7009), asked before a credential is deleted. Default:
	// without a token_url what the issuer says, else nothing is revoked.
	RevocationURL string `json:"revocation_url,omitempty"`

	// What else goes into the credential, by its path there: from the token response
	// to a connection, from that to a refresh, from what the userinfo endpoint says
	// after a connection, and from the claims of the id token. The paths on that side
	// are gjson paths; `|@host` after one makes a host name of a URL.
	TokenFields    map[string]string `json:"token_fields,omitempty"`
	RefreshFields  map[string]string `json:"refresh_fields,omitempty"`
	UserinfoFields map[string]string `json:"userinfo_fields,omitempty"`
	IDTokenFields  map[string]string `json:"id_token_fields,omitempty"`

	Spending

	*oauth2.Renewer `json:"-"` // nil until the settings are checked
}

// CaddyModule returns the Caddy module information.
func (*OAuth2) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: Namespace + ".oauth2", New: func() caddy.Module { return new(OAuth2) }}
}

// Provision checks the settings.
func (conf *OAuth2) Provision(caddy.Context) error {
	resolve := config.NewResolver()
	settings, err := conf.settings(resolve)
	if err == nil {
		err = conf.complete(&settings, resolve)
	}
	if err != nil {
		return fmt.Errorf("oauth2: %w", err)
	}
	conf.Renewer, err = oauth2.New(settings)
	return err
}

// Templates parses texts, by their names, that are templates over the credential.
func Templates(kind string, texts map[string]string, resolve *config.Resolver) (map[string]*template.Template, error) {
	t := newTemplates(resolve)
	parsed := t.parseAll(kind, texts)
	return parsed, t.err
}

// ScopeTemplates is [Templates] for scopes.
func ScopeTemplates(texts []string, resolve *config.Resolver) ([]*template.Template, error) {
	t := newTemplates(resolve)
	parsed := t.parseList("scopes", texts)
	return parsed, t.err
}

// OAuth2Of returns the one among schemes, nil if there is none.
func OAuth2Of(all []scheme.Scheme) *OAuth2 { return first[*OAuth2](all) }

// first returns the first of a type, nil if there is none.
func first[T scheme.Scheme](all []scheme.Scheme) (found T) {
	for _, s := range all {
		if one, ok := s.(T); ok {
			return one
		}
	}
	return found
}

// Sets implements [Explainer]: it is others that put the token into requests, or the
// default.
func (conf *OAuth2) Sets() []Setting { return nil }

// settings turns the settings into those of the renewer, which checks them. What only the
// running process can know is left to complete.
func (conf *OAuth2) settings(resolve *config.Resolver) (o oauth2.Config, err error) {
	o = oauth2.Config{
		Grant:            oauth2.Grant(conf.Grant),
		Client:           oauth2.Client{ClientAuth: oauth2.ClientAuth(conf.ClientAuth), ClientAssertionFile: conf.ClientAssertionFile},
		Format:           tokenrequest.Format(conf.RequestFormat),
		ScopeSeparator:   conf.ScopeSeparator,
		SubjectTokenType: conf.SubjectTokenType,
		Renewal:          conf.renewal(),
	}
	if err := tlsfiles.Check(conf.Files); err != nil {
		return o, err
	}
	if o.ClientAuth == oauth2.ClientAuthTLS && conf.TLSClientCert == "" {
		return o, errors.New("client_auth tls_client_auth needs tls_client_cert and tls_client_key")
	}
	if o.TokenHosts, err = hosts.Parse(conf.TokenHosts); err != nil {
		return o, fmt.Errorf("token_hosts: %w", err)
	}
	if o.Issuer = resolve.URL("issuer", conf.Issuer); resolve.Err() != nil {
		return o, resolve.Err()
	}
	t := newTemplates(resolve)
	o.TokenURL = t.url("token_url", conf.TokenURL, &o.TokenHosts)
	o.RefreshURL = t.url("refresh_url", conf.RefreshURL, &o.TokenHosts)
	o.ClientID = t.parse("client_id", conf.ClientID)
	o.Username = t.parse("username", conf.Username)
	o.Password = t.secret("password", conf.Password)
	o.SubjectToken = t.secret("subject_token", conf.SubjectToken)
	o.Params = t.parseAll("param", conf.Params)
	o.RequestHeader = t.parseAll("request_header", conf.RequestHeader)
	o.Scopes = t.parseList("scopes", conf.Scopes)
	o.Resources = t.parseList("resource", conf.Resources)
	o.Audiences = t.parseList("audience", conf.Audiences)
	if o.Assertion, err = conf.Assertion.jwt("assertion", resolve, t.lookup); err != nil {
		return o, err
	}
	if conf.AssertionFrom != nil {
		from, err := conf.AssertionFrom.assertionFrom(resolve)
		if err != nil {
			return o, fmt.Errorf("assertion_from: %w", err)
		}
		o.AssertionFrom = &from
	}
	if o.ClientKey, err = conf.ClientAssertion.jwt("client_assertion", resolve, t.lookup); err != nil {
		return o, err
	}
	for _, secret := range []struct{ text, file string }{{conf.ClientSecret, conf.ClientSecretFile}, {conf.NextClientSecret, conf.NextClientSecretFile}} {
		switch {
		case secret.text != "" && secret.file != "":
			return o, errors.New("client_secret and client_secret_file exclude each other")
		case secret.text != "":
			o.ClientSecrets = append(o.ClientSecrets, oauth2.Secret{Text: t.secret("client_secret", secret.text)})
		case secret.file != "":
			o.ClientSecrets = append(o.ClientSecrets, oauth2.Secret{File: secret.file})
		}
	}
	if t.err != nil {
		return o, t.err
	}
	switch conf.ExpiresInUnit {
	case "", "seconds":
	case "milliseconds":
		o.ExpiresInUnit = time.Millisecond
	default:
		return o, fmt.Errorf("expires_in_unit: '%s' is none of seconds, milliseconds", conf.ExpiresInUnit)
	}
	if conf.PKCE != "" && conf.PKCE != "S256" && conf.PKCE != "off" {
		return o, fmt.Errorf("pkce: '%s' is none of S256, off", conf.PKCE)
	}
	o.WithoutPKCE = conf.PKCE == "off"
	if err := setFields(conf.CredentialFields, map[string]*string{
		"access_token":  &o.Fields.AccessToken,
		"refresh_token": &o.Fields.RefreshToken,
		"token_type":    &o.Fields.TokenType,
		"expires_at":    &o.Fields.ExpiresAt,
		"scope":         &o.Fields.Scope,

		"refresh_token_expires_at": &o.Fields.RefreshTokenExpiresAt,
	}); err != nil {
		return o, fmt.Errorf("credential_field: %w", err)
	}
	if err := setFields(conf.ResponseFields, map[string]*string{
		"access_token":  &o.ResponseFields.AccessToken,
		"refresh_token": &o.ResponseFields.RefreshToken,
		"token_type":    &o.ResponseFields.TokenType,
		"expires_in":    &o.ResponseFields.ExpiresIn,
		"expires_at":    &o.ResponseFields.ExpiresAt,
		"scope":         &o.ResponseFields.Scope,

		"refresh_token_expires_in": &o.ResponseFields.RefreshTokenExpiresIn,
		"refresh_token_expires_at": &o.ResponseFields.RefreshTokenExpiresAt,
	}); err != nil {
		return o, fmt.Errorf("response_field: %w", err)
	}
	o.FirstFields = FieldMappings(conf.TokenFields)
	o.RefreshFields = FieldMappings(conf.RefreshFields)
	return o, nil
}

// assertionFrom is settings of an assertion_from, of whose answer nothing is stored.
func (conf *OAuth2) assertionFrom(resolve *config.Resolver) (oauth2.Config, error) {
	for _, unused := range []struct {
		name  string
		given bool
	}{
		{"refresh_ahead, rotation or takeover", conf.Spending != (Spending{})},
		{"credential_field", conf.CredentialFields != nil},
		{"token_field", conf.TokenFields != nil},
		{"refresh_field", conf.RefreshFields != nil},
		{"userinfo_field", conf.UserinfoFields != nil},
		{"id_token_field", conf.IDTokenFields != nil},
		{"authorization_url", conf.AuthorizationURL != ""},
		{"userinfo_url", conf.UserinfoURL != ""},
		{"revocation_url", conf.RevocationURL != ""},
		{"pkce", conf.PKCE != ""},
	} {
		if unused.given {
			return oauth2.Config{}, fmt.Errorf("%s has no place there", unused.name)
		}
	}
	return conf.settings(resolve)
}

// FieldMappings returns fields in the order of their names.
func FieldMappings(fields map[string]string) []oauth2.FieldMapping {
	var mappings []oauth2.FieldMapping
	for _, field := range slices.Sorted(maps.Keys(fields)) {
		mappings = append(mappings, oauth2.FieldMapping{Field: field, From: fields[field]})
	}
	return mappings
}

// complete fills in what needs the running process: files.
func (conf *OAuth2) complete(o *oauth2.Config, resolve *config.Resolver) error {
	for i := range o.ClientSecrets {
		if err := completeFile("client_secret_file", &o.ClientSecrets[i].File, resolve); err != nil {
			return err
		}
	}
	if err := completeFile("client_assertion_file", &o.ClientAssertionFile, resolve); err != nil {
		return err
	}
	if o.AssertionFrom != nil {
		if err := conf.AssertionFrom.complete(o.AssertionFrom, resolve); err != nil {
			return fmt.Errorf("assertion_from: %w", err)
		}
	}
	var err error
	o.TLS, err = config.LoadTLS(conf.Files, resolve)
	return err
}

// completeFile fills in the name of a file, if there is one, which can be read.
func completeFile(name string, file *string, resolve *config.Resolver) error {
	if *file == "" {
		return nil
	}
	if *file = resolve.Text(name, *file); resolve.Err() != nil {
		return resolve.Err()
	}
	if err := config.CheckReadable(*file); err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	return nil
}

// Endpoint returns the template of another endpoint of the authorization server than the
// token endpoint, nil for none. Secrets may be sent there.
func (conf *OAuth2) Endpoint(name, address string, resolve *config.Resolver) (*template.Template, error) {
	t := newTemplates(resolve)
	allowed := slices.Clone(conf.Renewer.TokenHosts)
	parsed := t.url(name, address, &allowed)
	if parsed == nil || t.err != nil {
		return nil, t.err
	}
	check := oauth2.Config{TokenHosts: allowed}
	if err := check.CheckURL(parsed); err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return parsed, nil
}

// UsesTransit implements [TransitUser].
func (conf *OAuth2) UsesTransit() bool {
	return conf.Assertion != nil && conf.Assertion.UsesTransit() || conf.ClientAssertion != nil && conf.ClientAssertion.UsesTransit() ||
		conf.AssertionFrom != nil && conf.AssertionFrom.UsesTransit()
}

// UseTransit implements [TransitUser].
func (conf *OAuth2) UseTransit(store Transit) {
	for _, s := range []*JWTSettings{conf.Assertion, conf.ClientAssertion} {
		if s != nil && s.UsesTransit() {
			s.UseTransit(store)
		}
	}
	if conf.AssertionFrom != nil {
		conf.AssertionFrom.UseTransit(store)
	}
}

// setFields copies the paths of config to where they belong.
func setFields(conf map[string]string, targets map[string]*string) error {
	for name, path := range conf {
		target, known := targets[name]
		if !known {
			return fmt.Errorf("%q is not a field", name)
		}
		if path == "" {
			return fmt.Errorf("the path of %s is empty", name)
		}
		*target = path
	}
	return nil
}
