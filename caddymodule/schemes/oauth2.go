package schemes

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/upstreamauth/caddy-upstream-auth/caddymodule/config"
	"github.com/upstreamauth/caddy-upstream-auth/internal/oauth2"
	"github.com/upstreamauth/caddy-upstream-auth/internal/template"
	"github.com/upstreamauth/caddy-upstream-auth/internal/tlsfiles"
	"github.com/upstreamauth/caddy-upstream-auth/scheme"
)

// OAuth2 refreshes a credential at a token endpoint with the refresh token grant
// (RFC 6749, section 6): when the upstream rejects the access token, and ahead of
// its expiry.
type OAuth2 struct {
	// The token endpoint. The scheme is https, unless the host is a loopback
	// address.
	TokenURL string `json:"token_url"`

	// The client's identifier at the authorization server. It may come from the
	// credential.
	ClientID string `json:"client_id,omitempty"`

	// The client's secret: one placeholder, `{env.NAME}`, `{file.PATH}` or
	// `{credential.<path>}`.
	ClientSecret string `json:"client_secret,omitempty"`

	// A file that holds the client's secret, read again at each refresh.
	ClientSecretFile string `json:"client_secret_file,omitempty"`

	// How the client authenticates (RFC 6749, section 2.3.1): `basic`, in the
	// Authorization header; `post`, in the body; `none`, for a public client.
	// Default: `basic`.
	ClientAuth string `json:"client_auth,omitempty"`

	// Those of connections to the authorization server.
	tlsfiles.Files

	// The scope to ask for. Default: none is sent, which asks for what was granted.
	Scopes []string `json:"scopes,omitempty"`

	// Further parameters of the token request.
	Params map[string]string `json:"params,omitempty"`

	// Where in the credential the fields `access_token`, `refresh_token`,
	// `token_type`, `expires_at` and `scope` lie, if not under these names.
	CredentialFields map[string]string `json:"credential_fields,omitempty"`

	// Where in the token response the fields `access_token`, `refresh_token`,
	// `token_type`, `expires_in` and `scope` lie, if not under these names.
	ResponseFields map[string]string `json:"response_fields,omitempty"`

	// The authorization server's issuer identifier, for `upstream_auth_connect`: what
	// is not configured of its endpoints is discovered there (OpenID Connect
	// Discovery, RFC 8414), and its answers have to name it (RFC 9207). https, unless
	// the host is a loopback address.
	Issuer string `json:"issuer,omitempty"`

	// The authorization endpoint, for `upstream_auth_connect`. Default: discovered.
	AuthorizationURL string `json:"authorization_url,omitempty"`

	// The userinfo endpoint, for userinfo_fields. Default: discovered.
	UserinfoURL string `json:"userinfo_url,omitempty"`

	// The revocation endpoint (RFC 7009), asked before a credential is deleted.
	// Default: nothing is revoked.
	RevocationURL string `json:"revocation_url,omitempty"`

	// What else goes into the credential, by its path there: from the token response
	// to a connection, from that to a refresh, from what the userinfo endpoint says
	// after a connection, and from the claims of the id token. The paths on that side
	// are gjson paths; `|@host` after one makes a host name of a URL.
	TokenFields    map[string]string `json:"token_fields,omitempty"`
	RefreshFields  map[string]string `json:"refresh_fields,omitempty"`
	UserinfoFields map[string]string `json:"userinfo_fields,omitempty"`
	IDTokenFields  map[string]string `json:"id_token_fields,omitempty"`

	// How long before its expiry a token is refreshed, in the background, by the
	// first request that finds it so. A negative value means never, as 0s does in a
	// Caddyfile. Default: 60s.
	RefreshAhead caddy.Duration `json:"refresh_ahead,omitempty"`

	// What becomes of a refresh token that was used: `single_use`, it is worth
	// nothing any more; `grace`, it still counts for rotation_grace; `none`, it
	// does not change, and needs no claim in the store before it is used. Default:
	// `single_use`.
	Rotation string `json:"rotation,omitempty"`

	// With rotation `grace`: how long the previous refresh token still counts. From
	// 11s to 10s before its end, by the store's clock, another process may use the
	// token of one that has not answered; so it has an effect above 21s.
	RotationGrace caddy.Duration `json:"rotation_grace,omitempty"`

	// How old a refresh has to be, by the store's clock, before another process takes
	// it over whose owner fell silent, and sends its refresh token again. It does not
	// wait for an exited process whose journal it has. Until shortly before that the
	// owner listens for the answer. At least 15s, since a token is sent within 10s; a
	// token that was seen to stay what it is when it is used is taken over after 30s. A
	// negative value means never: then no refresh token is ever sent twice, and after
	// a crash in mid-refresh somebody has to authorize anew. Default: 10m.
	Takeover caddy.Duration `json:"takeover,omitempty"`

	*oauth2.Renewer `json:"-"` // nil until the settings are checked
}

// CaddyModule returns the Caddy module information.
func (*OAuth2) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: Namespace + ".oauth2", New: func() caddy.Module { return new(OAuth2) }}
}

// Provision checks the settings.
func (conf *OAuth2) Provision(caddy.Context) error {
	resolve := config.NewResolver()
	settings, err := conf.settings(resolve.Lookup)
	if err == nil {
		err = conf.complete(&settings, resolve)
	}
	if err != nil {
		return fmt.Errorf("oauth2: %w", err)
	}
	conf.Renewer, err = oauth2.New(settings)
	return err
}

// OAuth2Of returns the one among schemes, nil if there is none.
func OAuth2Of(all []scheme.Scheme) *OAuth2 {
	for _, s := range all {
		if o, ok := s.(*OAuth2); ok {
			return o
		}
	}
	return nil
}

// Sets implements [Explainer]: it is others that put the token into requests, or the
// default.
func (conf *OAuth2) Sets() []Setting { return nil }

// settings turns the settings into those of the renewer, which checks them. What only the
// running process can know is left to complete.
func (conf *OAuth2) settings(lookup func(string) (string, error)) (o oauth2.Config, err error) {
	tokenURL := conf.TokenURL
	if strings.Contains(tokenURL, "{") {
		tokenURL = config.UnknownURL
	}
	o = oauth2.Config{
		TokenURL:         tokenURL,
		ClientSecretFile: conf.ClientSecretFile,
		ClientAuth:       oauth2.ClientAuth(conf.ClientAuth),
		Scopes:           conf.Scopes,
		Params:           maps.Clone(conf.Params),
		Renewal:          conf.renewal(),
	}
	if o.ClientID, err = template.Parse(conf.ClientID, lookup); err != nil {
		return o, fmt.Errorf("client_id: %w", err)
	}
	if err := tlsfiles.Check(conf.Files); err != nil {
		return o, err
	}
	if conf.ClientSecret != "" {
		if !config.IsOnePlaceholder(conf.ClientSecret) {
			return o, fmt.Errorf("client_secret: %w", config.ErrInlineSecret)
		}
		if o.ClientSecret, err = template.Parse(conf.ClientSecret, lookup); err != nil {
			return o, fmt.Errorf("client_secret: %w", err)
		}
	}
	if err := setFields(conf.CredentialFields, map[string]*string{
		"access_token":  &o.Fields.AccessToken,
		"refresh_token": &o.Fields.RefreshToken,
		"token_type":    &o.Fields.TokenType,
		"expires_at":    &o.Fields.ExpiresAt,
		"scope":         &o.Fields.Scope,
	}); err != nil {
		return o, fmt.Errorf("credential_field: %w", err)
	}
	if err := setFields(conf.ResponseFields, map[string]*string{
		"access_token":  &o.ResponseFields.AccessToken,
		"refresh_token": &o.ResponseFields.RefreshToken,
		"token_type":    &o.ResponseFields.TokenType,
		"expires_in":    &o.ResponseFields.ExpiresIn,
		"scope":         &o.ResponseFields.Scope,
	}); err != nil {
		return o, fmt.Errorf("response_field: %w", err)
	}
	o.FirstFields = FieldMappings(conf.TokenFields)
	o.RefreshFields = FieldMappings(conf.RefreshFields)
	return o, nil
}

// FieldMappings returns fields in the order of their names.
func FieldMappings(fields map[string]string) []oauth2.FieldMapping {
	var mappings []oauth2.FieldMapping
	for _, field := range slices.Sorted(maps.Keys(fields)) {
		mappings = append(mappings, oauth2.FieldMapping{Field: field, From: fields[field]})
	}
	return mappings
}

// complete fills in what needs the running process: placeholders outside
// templates, and files.
func (conf *OAuth2) complete(o *oauth2.Config, resolve *config.Resolver) error {
	o.TokenURL = resolve.Text("token_url", conf.TokenURL)
	o.ClientSecretFile = resolve.Text("client_secret_file", conf.ClientSecretFile)
	for name, value := range o.Params {
		o.Params[name] = resolve.Text("param "+name, value)
	}
	if resolve.Err() != nil {
		return resolve.Err()
	}
	if o.ClientSecretFile != "" {
		if err := config.CheckReadable(o.ClientSecretFile); err != nil {
			return fmt.Errorf("client_secret_file: %w", err)
		}
	}
	var err error
	o.TLS, err = config.LoadTLS(conf.Files, resolve)
	return err
}

// renewal is how tokens are spent.
func (conf *OAuth2) renewal() scheme.Renewal {
	return scheme.Renewal{
		RefreshAhead:  time.Duration(conf.RefreshAhead),
		Rotation:      scheme.Rotation(conf.Rotation),
		RotationGrace: time.Duration(conf.RotationGrace),
		Takeover:      time.Duration(conf.Takeover),
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
