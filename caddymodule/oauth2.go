package caddymodule

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/upstreamauth/caddy-upstream-auth/credential"
	"github.com/upstreamauth/caddy-upstream-auth/internal/scheme"
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

	// PEM files with the certificate authorities to trust at the authorization server,
	// and with a client certificate and its key, which is read again at each
	// connection. Default: the system's, and none.
	TLSCA         string `json:"tls_ca,omitempty"`
	TLSClientCert string `json:"tls_client_cert,omitempty"`
	TLSClientKey  string `json:"tls_client_key,omitempty"`

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
}

// unknownURL stands for a text whose placeholders are yet to be filled in: a URL, most
// of all.
const unknownURL = "https://unknown.invalid/unknown"

// scheme checks the settings and turns them into those of the scheme. What only
// the running process can know is left to complete.
func (config *OAuth2) scheme(lookup func(string) (string, error)) (*scheme.OAuth2, error) {
	if config.TokenURL == "" {
		return nil, errors.New("token_url is missing")
	}
	tokenURL := config.TokenURL
	if strings.Contains(tokenURL, "{") {
		tokenURL = unknownURL
	} else if err := checkEndpoint(tokenURL); err != nil {
		return nil, fmt.Errorf("token_url: %w", err)
	}
	o := &scheme.OAuth2{
		TokenURL:         tokenURL,
		ClientSecretFile: config.ClientSecretFile,
		ClientAuth:       scheme.ClientAuth(config.ClientAuth),
		Scopes:           config.Scopes,
		Params:           maps.Clone(config.Params),
		RefreshAhead:     time.Duration(config.RefreshAhead),
		Rotation:         scheme.Rotation(config.Rotation),
		RotationGrace:    time.Duration(config.RotationGrace),
		Takeover:         time.Duration(config.Takeover),
	}
	var err error
	if config.ClientID == "" {
		return nil, errors.New("client_id is missing")
	}
	if o.ClientID, err = scheme.ParseTemplate(config.ClientID, lookup); err != nil {
		return nil, fmt.Errorf("client_id: %w", err)
	}
	if err := config.checkClientAuth(); err != nil {
		return nil, err
	}
	if err := config.tls().check(); err != nil {
		return nil, err
	}
	if config.ClientSecret != "" {
		if !isOnePlaceholder(config.ClientSecret) {
			return nil, fmt.Errorf("client_secret: %w", errInlineSecret)
		}
		if o.ClientSecret, err = scheme.ParseTemplate(config.ClientSecret, lookup); err != nil {
			return nil, fmt.Errorf("client_secret: %w", err)
		}
	}
	if err := setFields(config.CredentialFields, map[string]*string{
		"access_token":  &o.Fields.AccessToken,
		"refresh_token": &o.Fields.RefreshToken,
		"token_type":    &o.Fields.TokenType,
		"expires_at":    &o.Fields.ExpiresAt,
		"scope":         &o.Fields.Scope,
	}); err != nil {
		return nil, fmt.Errorf("credential_field: %w", err)
	}
	if err := setFields(config.ResponseFields, map[string]*string{
		"access_token":  &o.ResponseFields.AccessToken,
		"refresh_token": &o.ResponseFields.RefreshToken,
		"token_type":    &o.ResponseFields.TokenType,
		"expires_in":    &o.ResponseFields.ExpiresIn,
		"scope":         &o.ResponseFields.Scope,
	}); err != nil {
		return nil, fmt.Errorf("response_field: %w", err)
	}
	o.FirstFields = fieldMappings(config.TokenFields)
	o.RefreshFields = fieldMappings(config.RefreshFields)
	return o, config.checkRotation()
}

// fieldMappings returns fields in the order of their names.
func fieldMappings(fields map[string]string) []scheme.FieldMapping {
	var mappings []scheme.FieldMapping
	for _, field := range slices.Sorted(maps.Keys(fields)) {
		mappings = append(mappings, scheme.FieldMapping{Field: field, From: fields[field]})
	}
	return mappings
}

// complete fills in what needs the running process: placeholders outside
// templates, and files.
func (config *OAuth2) complete(o *scheme.OAuth2, resolve *resolver) error {
	o.TokenURL = resolve.text("token_url", config.TokenURL)
	o.ClientSecretFile = resolve.text("client_secret_file", config.ClientSecretFile)
	for name, value := range o.Params {
		o.Params[name] = resolve.text("param "+name, value)
	}
	if resolve.err != nil {
		return resolve.err
	}
	if err := checkEndpoint(o.TokenURL); err != nil {
		return fmt.Errorf("token_url: %w", err)
	}
	if o.ClientSecretFile != "" {
		if err := checkReadable(o.ClientSecretFile); err != nil {
			return fmt.Errorf("client_secret_file: %w", err)
		}
	}
	var err error
	o.TLS, err = config.tls().load(resolve)
	return err
}

func (config *OAuth2) tls() tlsFiles {
	return tlsFiles{config.TLSCA, config.TLSClientCert, config.TLSClientKey}
}

func (config *OAuth2) checkClientAuth() error {
	secrets := 0
	for _, given := range []bool{config.ClientSecret != "", config.ClientSecretFile != ""} {
		if given {
			secrets++
		}
	}
	switch config.ClientAuth {
	case "", string(scheme.ClientAuthBasic), string(scheme.ClientAuthPost):
		if secrets != 1 {
			return errors.New("client_auth basic and post need one of client_secret_file and client_secret")
		}
	case string(scheme.ClientAuthNone):
		if secrets != 0 {
			return errors.New("client_auth none goes without a client secret")
		}
	default:
		return fmt.Errorf("client_auth %q is none of basic, post, none", config.ClientAuth)
	}
	return nil
}

// checkRotation checks what a Caddyfile's line can get wrong alone.
func (config *OAuth2) checkRotation() error {
	return (&scheme.OAuth2{
		Rotation:      scheme.Rotation(config.Rotation),
		RotationGrace: time.Duration(config.RotationGrace),
		Takeover:      time.Duration(config.Takeover),
	}).CheckRotation()
}

// setFields copies the paths of config to where they belong.
func setFields(config map[string]string, targets map[string]*string) error {
	for name, path := range config {
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

// isOnePlaceholder reports whether text is one placeholder and nothing else.
func isOnePlaceholder(text string) bool {
	return strings.HasPrefix(text, "{") && strings.Index(text, "}") == len(text)-1
}

// checkEndpoint reports whether secrets may be sent to a URL.
func checkEndpoint(text string) error {
	_, err := credential.ParseEndpoint(text)
	return err
}

// checkReadable reports whether a file can be read.
func checkReadable(name string) error {
	f, err := os.Open(name)
	if err != nil {
		return err
	}
	defer f.Close()
	if info, err := f.Stat(); err != nil {
		return err
	} else if info.IsDir() {
		return fmt.Errorf("%s is a directory", name)
	}
	return nil
}
