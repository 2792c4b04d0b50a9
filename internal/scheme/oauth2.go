package scheme

import (
	"bytes"
	"crypto/tls"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/tidwall/gjson"

	"github.com/upstreamauth/caddy-upstream-auth/credential"
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

// DefaultRefreshAhead is how long before its expiry a token is refreshed.
const DefaultRefreshAhead = 60 * time.Second

// OAuth2 is how a credential is refreshed by the refresh token grant (RFC 6749
// section 6).
type OAuth2 struct {
	// TokenURL is the token endpoint: https, or http on a loopback host.
	TokenURL string

	// ClientID, and ClientSecret or the file that holds it. The file is read
	// anew at each refresh; a newline at its end is cut off.
	ClientID         *Template
	ClientSecret     *Template
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
	// [OAuth2.First], and RefreshFields those that each refresh gives.
	FirstFields   []FieldMapping
	RefreshFields []FieldMapping

	// RefreshAhead is how long before its expiry a token is refreshed. Default:
	// 60 s; negative: not ahead of its expiry.
	RefreshAhead time.Duration

	// Rotation is what becomes of a used refresh token. Default: RotationSingleUse.
	Rotation Rotation

	// RotationGrace is how long, with RotationGrace, the previous one still counts.
	RotationGrace time.Duration

	// Takeover is how old a claim has to be before another process takes it over whose
	// owner fell silent. Default: DefaultTakeover; at least MinTakeover, as its owner has
	// 10 s to send the token; negative: never.
	Takeover time.Duration
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

// checked returns a copy of o with its defaults filled in, or what is wrong.
func (o *OAuth2) checked() (*OAuth2, error) {
	c := *o
	c.TLS = o.TLS.Clone()
	c.Scopes = slices.Clone(o.Scopes)
	c.Params = maps.Clone(o.Params)
	c.FirstFields = slices.Clone(o.FirstFields)
	c.RefreshFields = slices.Clone(o.RefreshFields)
	setDefault(&c.ClientAuth, ClientAuthBasic)
	setDefault(&c.RefreshAhead, DefaultRefreshAhead)
	setDefault(&c.Rotation, RotationSingleUse)
	setDefault(&c.Takeover, DefaultTakeover)

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

	for _, check := range []func() error{c.checkURL, c.checkClient, c.checkParams, c.CheckRotation, c.Fields.check, c.checkMappings} {
		if err := check(); err != nil {
			return nil, fmt.Errorf("oauth2: %w", err)
		}
	}
	return &c, nil
}

func setDefault[T comparable](field *T, value T) {
	var zero T
	if *field == zero {
		*field = value
	}
}

func (o *OAuth2) checkURL() error {
	if _, err := credential.ParseEndpoint(o.TokenURL); err != nil {
		return fmt.Errorf("token_url: %w", err)
	}
	return nil
}

func (o *OAuth2) checkClient() error {
	if o.ClientID == nil || len(o.ClientID.parts) == 0 {
		return errors.New("client_id is missing")
	}
	hasSecret := o.ClientSecret != nil || o.ClientSecretFile != ""
	switch o.ClientAuth {
	case ClientAuthBasic, ClientAuthPost:
		if !hasSecret {
			return fmt.Errorf("client_auth %s needs a client_secret or a client_secret_file", o.ClientAuth)
		}
	case ClientAuthNone:
		if hasSecret {
			return errors.New("client_auth none goes without a client secret")
		}
	default:
		return fmt.Errorf("client_auth %q is not basic, post or none", o.ClientAuth)
	}
	if o.ClientSecret != nil && o.ClientSecretFile != "" {
		return errors.New("client_secret and client_secret_file exclude each other")
	}
	return nil
}

func (o *OAuth2) checkParams() error {
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

// bearer is the header of a scheme without a mapping of its own.
func (o *OAuth2) bearer() Header {
	return Header{Name: authorization, Value: &Template{parts: []part{
		{text: "Bearer "}, {path: o.Fields.AccessToken},
	}}}
}

// Client returns the client's id and secret for a token request that refreshes c.
// The secret is empty with [ClientAuthNone].
func (o *OAuth2) Client(c *credential.Credential) (id, secret string, err error) {
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

// clientTemplates are those that [OAuth2.Client] fills in.
func (o *OAuth2) clientTemplates() []*Template {
	if o.ClientSecret == nil {
		return []*Template{o.ClientID}
	}
	return []*Template{o.ClientID, o.ClientSecret}
}

// checkNew reports whether the fields of c are as a token endpoint would give them.
// The error is a [credential.FieldError].
func (o *OAuth2) checkNew(c *credential.Credential) error {
	for _, t := range o.clientTemplates() {
		if _, err := t.Execute(c); err != nil {
			return err
		}
	}
	token, err := o.AccessToken(c)
	if err != nil {
		return err
	}
	if problem := accessTokenProblem(c.Get(o.Fields.AccessToken).Type, token); problem != "" {
		return &credential.FieldError{Path: o.Fields.AccessToken, Reason: problem}
	}
	for _, path := range []string{o.Fields.RefreshToken, o.Fields.TokenType, o.Fields.Scope} {
		if value := c.Get(path); value.Exists() && value.Type != gjson.String && value.Type != gjson.Null {
			return &credential.FieldError{Path: path, Reason: "is not a string"}
		}
	}
	_, _, err = o.ExpiresAt(c)
	return err
}

// AccessToken returns the access token of c. The error is a [credential.FieldError].
func (o *OAuth2) AccessToken(c *credential.Credential) (string, error) {
	return field(c, o.Fields.AccessToken, notEmpty)
}

// RefreshToken returns the refresh token of c. The error is a [credential.FieldError].
func (o *OAuth2) RefreshToken(c *credential.Credential) (string, error) {
	return field(c, o.Fields.RefreshToken, notEmpty)
}

// ExpiresAt returns when the access token of c expires; false if c does not say.
// With an error, a [credential.FieldError], c says it in a way that is not RFC
// 3339, and is to be treated as if it did not say.
func (o *OAuth2) ExpiresAt(c *credential.Credential) (time.Time, bool, error) {
	value := c.Get(o.Fields.ExpiresAt)
	if value.Type == 0 { // missing or null
		return time.Time{}, false, nil
	}
	at, err := time.Parse(time.RFC3339, value.Str)
	if err != nil {
		return time.Time{}, false, &credential.FieldError{Path: o.Fields.ExpiresAt, Reason: "is not a time as in RFC 3339"}
	}
	return at, true, nil
}
