package oauth2

import (
	"bytes"
	"crypto/tls"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"

	"github.com/upstreamauth/caddy-upstream-auth/credential"
	"github.com/upstreamauth/caddy-upstream-auth/internal/template"
	"github.com/upstreamauth/caddy-upstream-auth/scheme"
)

// ClientAuth is how the client authenticates to the token endpoint (RFC 6749
// section 2.3). It is never guessed: a guess that is wrong spends the refresh
// token twice.
type ClientAuth string

const (
	// ClientAuthBasic sends id and secret, each form-encoded, by HTTP Basic.
	ClientAuthBasic ClientAuth = "basic"
	// ClientAuthPost sends client_id and client_secret in the body.
	ClientAuthPost ClientAuth = "post"
	// ClientAuthNone is for public clients: client_id in the body, no secret.
	ClientAuthNone ClientAuth = "none"
)

// Config is how a credential is refreshed by the refresh token grant (RFC 6749
// section 6).
type Config struct {
	// TokenURL is the token endpoint: https, or http on a loopback host.
	TokenURL string

	// ClientID, and ClientSecret or the file that holds it. The file is read
	// anew at each refresh; a newline at its end is cut off.
	ClientID         *template.Template
	ClientSecret     *template.Template
	ClientSecretFile string

	// ClientAuth is how the two are sent. Default: ClientAuthBasic.
	ClientAuth ClientAuth

	// TLS is for connections to the authorization server. Nil: the system's certificate
	// authorities, and no client certificate.
	TLS *tls.Config

	// Scopes are asked for; none means those of the original grant.
	Scopes []string

	// Params are further parameters of the token request.
	Params map[string]string

	// Fields are where things lie in the document.
	Fields Fields

	// ResponseFields are where things lie in the token endpoint's answer.
	ResponseFields ResponseFields

	// FirstFields are further fields that the first token response gives, see
	// [Renewer.NewDocument], and RefreshFields those that each refresh gives.
	FirstFields   []FieldMapping
	RefreshFields []FieldMapping

	// Renewal is how the tokens are spent.
	scheme.Renewal
}

// Fields are paths in the credential document: keys, and indexes of arrays,
// joined by dots; '.', ':', '/' and '@' in a key are written with a '\' before
// them. An empty one means its default.
type Fields struct {
	AccessToken  string // default: access_token
	RefreshToken string // default: refresh_token
	TokenType    string // default: token_type
	ExpiresAt    string // RFC 3339; default: expires_at
	Scope        string // default: scope
}

// ResponseFields are gjson paths in the token endpoint's answer. An empty one
// means its default.
type ResponseFields struct {
	AccessToken  string // default: access_token
	RefreshToken string // default: refresh_token
	TokenType    string // default: token_type
	ExpiresIn    string // seconds; default: expires_in
	Scope        string // default: scope
}

// New checks c and makes a renewer of it, with the defaults filled in.
func New(c Config) (*Renewer, error) {
	c.TLS = c.TLS.Clone()
	c.Scopes = slices.Clone(c.Scopes)
	c.Params = maps.Clone(c.Params)
	c.FirstFields = slices.Clone(c.FirstFields)
	c.RefreshFields = slices.Clone(c.RefreshFields)
	setDefault(&c.ClientAuth, ClientAuthBasic)
	c.SetDefaults()

	setDefault(&c.Fields.AccessToken, "access_token")
	setDefault(&c.Fields.RefreshToken, "refresh_token")
	setDefault(&c.Fields.TokenType, "token_type")
	setDefault(&c.Fields.ExpiresAt, "expires_at")
	setDefault(&c.Fields.Scope, "scope")

	setDefault(&c.ResponseFields.AccessToken, "access_token")
	setDefault(&c.ResponseFields.RefreshToken, "refresh_token")
	setDefault(&c.ResponseFields.TokenType, "token_type")
	setDefault(&c.ResponseFields.ExpiresIn, "expires_in")
	setDefault(&c.ResponseFields.Scope, "scope")

	for _, check := range []func() error{c.checkURL, c.checkClient, c.checkParams, c.Check, c.Fields.check, c.checkMappings} {
		if err := check(); err != nil {
			return nil, fmt.Errorf("oauth2: %w", err)
		}
	}
	return &Renewer{c}, nil
}

func setDefault[T comparable](field *T, value T) {
	var zero T
	if *field == zero {
		*field = value
	}
}

func (o *Config) checkURL() error {
	if o.TokenURL == "" {
		return errors.New("token_url is missing")
	}
	if _, err := credential.ParseEndpoint(o.TokenURL); err != nil {
		return fmt.Errorf("token_url: %w", err)
	}
	return nil
}

func (o *Config) checkClient() error {
	if o.ClientID.IsEmpty() {
		return errors.New("client_id is missing")
	}
	secrets := 0
	for _, given := range []bool{o.ClientSecret != nil, o.ClientSecretFile != ""} {
		if given {
			secrets++
		}
	}
	switch o.ClientAuth {
	case ClientAuthBasic, ClientAuthPost:
		if secrets != 1 {
			return errors.New("client_auth basic and post need one of client_secret_file and client_secret")
		}
	case ClientAuthNone:
		if secrets != 0 {
			return errors.New("client_auth none goes without a client secret")
		}
	default:
		return fmt.Errorf("client_auth %q is none of basic, post, none", o.ClientAuth)
	}
	return nil
}

func (o *Config) checkParams() error {
	for _, s := range o.Scopes {
		if !isVisible(s) || strings.ContainsAny(s, `"\`) { // RFC 6749 section 3.3
			return fmt.Errorf("%q is not a scope", s)
		}
	}
	for name := range o.Params {
		switch name {
		case "grant_type", "refresh_token", "client_id", "client_secret":
			return fmt.Errorf("parameter %s has its own setting", name)
		case "scope":
			if len(o.Scopes) > 0 {
				return errors.New("parameter scope and scopes exclude each other")
			}
		case "":
			return errors.New("parameter without a name")
		}
	}
	return nil
}

// isVisible reports whether s is one or more visible ASCII characters, which is
// what tokens are made of (RFC 6749 appendix A).
func isVisible(s string) bool {
	for i := range len(s) {
		if s[i] <= ' ' || s[i] >= 0x7f {
			return false
		}
	}
	return s != ""
}

// client returns the client's id and secret for a token request that refreshes c.
// The secret is empty with [ClientAuthNone].
func (o *Config) client(c *credential.Credential) (id, secret string, err error) {
	if id, err = o.ClientID.Execute(c); err != nil {
		return "", "", fmt.Errorf("client id: %w", err)
	}
	switch {
	case o.ClientSecretFile != "":
		content, err := os.ReadFile(o.ClientSecretFile)
		if err != nil {
			return "", "", fmt.Errorf("client secret: %w", err)
		}
		content = bytes.TrimSuffix(bytes.TrimSuffix(content, []byte("\n")), []byte("\r"))
		if len(content) == 0 {
			return "", "", errors.New("client secret: file is empty")
		}
		secret = string(content)
	case o.ClientSecret != nil:
		if secret, err = o.ClientSecret.Execute(c); err != nil {
			return "", "", fmt.Errorf("client secret: %w", err)
		}
	}
	return id, secret, nil
}

// clientTemplates are those that client fills in.
func (o *Config) clientTemplates() []*template.Template {
	if o.ClientSecret == nil {
		return []*template.Template{o.ClientID}
	}
	return []*template.Template{o.ClientID, o.ClientSecret}
}
