package oauth2

import (
	"cmp"
	"crypto/tls"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"time"

	"golang.org/x/net/http/httpguts"

	"github.com/upstreamauth/caddy-upstream-auth/credential"
	"github.com/upstreamauth/caddy-upstream-auth/internal/discovery"
	"github.com/upstreamauth/caddy-upstream-auth/internal/fields"
	"github.com/upstreamauth/caddy-upstream-auth/internal/hosts"
	"github.com/upstreamauth/caddy-upstream-auth/internal/jwt"
	"github.com/upstreamauth/caddy-upstream-auth/internal/template"
	"github.com/upstreamauth/caddy-upstream-auth/internal/tokenrequest"
	"github.com/upstreamauth/caddy-upstream-auth/scheme"
)

// Grant is how tokens are obtained.
type Grant string

const (
	// GrantRefreshToken spends a refresh token (RFC 6749 section 6).
	GrantRefreshToken Grant = "refresh_token"
	// GrantClientCredentials has the client's own authority (RFC 6749 section 4.4).
	GrantClientCredentials Grant = "client_credentials"
	// GrantPassword has a resource owner's user name and password (RFC 6749 section 4.3).
	GrantPassword Grant = "password"
	// GrantTokenExchange has another token (RFC 8693).
	GrantTokenExchange Grant = "token_exchange"
	// GrantJWTBearer has a JWT that says who asks for whom (RFC 7523 section 2.1).
	GrantJWTBearer Grant = "jwt_bearer"
)

// Config is how a credential is renewed at a token endpoint.
type Config struct {
	// Grant is how. Default: [GrantRefreshToken]. Each other one can be made again and
	// again: what the answer says of a refresh token is not kept.
	Grant Grant

	// Issuer identifies the authorization server: https, or http on a loopback host. What is
	// not said of the endpoints and the way to authenticate the client is discovered there.
	Issuer string

	// TokenURL makes the token endpoint of a credential: https, or http on a loopback
	// host. RefreshURL is where refresh tokens go, if elsewhere.
	TokenURL, RefreshURL *template.Template

	// TokenHosts are where what is secret may be sent. They have to be given where the
	// credential has a say in the host. Nil: anywhere.
	TokenHosts hosts.List

	// Client is who asks.
	Client

	// TLS is for connections to the authorization server. Nil: the system's certificate
	// authorities, and no client certificate.
	TLS *tls.Config

	// Format is how parameters travel. Default: [tokenrequest.FormatForm].
	Format tokenrequest.Format

	// RequestHeader are further fields of the token request's header, and Params further
	// parameters. The grant type may be among them.
	RequestHeader, Params map[string]*template.Template

	// Scopes are asked for, separated by ScopeSeparator. None means those of the original
	// grant. Default: a space.
	Scopes         []*template.Template
	ScopeSeparator string

	// Username and Password are for [GrantPassword].
	Username, Password *template.Template

	// SubjectToken is for [GrantTokenExchange]. Default of its type:
	// urn:ietf:params:oauth:token-type:access_token.
	SubjectToken     *template.Template
	SubjectTokenType string

	// Assertion is what the JWT of [GrantJWTBearer] is made of. Default of aud: the issuer,
	// or else the token endpoint.
	Assertion *jwt.Config

	// AssertionFrom obtains it instead, for each request: its access token is the assertion.
	AssertionFrom *Config

	// Resources (RFC 8707 section 2) and Audiences (RFC 8693 section 2.1) are what the token
	// is for.
	Resources, Audiences []*template.Template

	// ExpiresInUnit is that of a lifetime in the answer. Default: a second.
	ExpiresInUnit time.Duration

	// WithoutPKCE says that connecting does not use PKCE (RFC 7636).
	WithoutPKCE bool

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

	RefreshTokenExpiresAt string // RFC 3339; default: refresh_token_expires_at
}

func (f Fields) check() error { return fields.CheckPlaces(f.paths()) }

func (f Fields) paths() []string {
	return []string{f.AccessToken, f.RefreshToken, f.TokenType, f.ExpiresAt, f.Scope, f.RefreshTokenExpiresAt}
}

// ResponseFields are gjson paths in the token endpoint's answer. An empty one
// means its default.
type ResponseFields struct {
	AccessToken  string // default: access_token
	RefreshToken string // default: refresh_token
	TokenType    string // default: token_type
	ExpiresIn    string // in the unit of the configuration; default: expires_in
	ExpiresAt    string // as in [Fields], or seconds or milliseconds since 1970; default: the answer has none
	Scope        string // default: scope

	// When the refresh token expires, as ExpiresIn and ExpiresAt say it of the access token.
	// Default of both: where authorization servers say it.
	RefreshTokenExpiresIn string
	RefreshTokenExpiresAt string
}

// New checks c and makes a renewer of it, with the defaults filled in.
func New(c Config) (*Renewer, error) {
	r, err := c.renewer()
	if err != nil {
		return nil, fmt.Errorf("oauth2: %w", err)
	}
	return r, nil
}

func (o *Config) renewer() (*Renewer, error) {
	c := *o
	c.TLS = c.TLS.Clone()
	c.Scopes = slices.Clone(c.Scopes)
	c.Params, c.RequestHeader = maps.Clone(c.Params), maps.Clone(c.RequestHeader)
	c.FirstFields = slices.Clone(c.FirstFields)
	c.RefreshFields = slices.Clone(c.RefreshFields)
	setDefault(&c.Grant, GrantRefreshToken)
	setDefault(&c.Format, tokenrequest.FormatForm)
	setDefault(&c.ScopeSeparator, " ")
	setDefault(&c.ExpiresInUnit, time.Second)
	setDefault(&c.SubjectTokenType, "urn:ietf:params:oauth:token-type:access_token")
	c.setClientDefaults(!c.TokenURL.IsEmpty())
	c.SetDefaults()

	setDefault(&c.Fields.AccessToken, "access_token")
	setDefault(&c.Fields.RefreshToken, "refresh_token")
	setDefault(&c.Fields.TokenType, "token_type")
	setDefault(&c.Fields.ExpiresAt, "expires_at")
	setDefault(&c.Fields.Scope, "scope")
	setDefault(&c.Fields.RefreshTokenExpiresAt, "refresh_token_expires_at")

	setDefault(&c.ResponseFields.AccessToken, "access_token")
	setDefault(&c.ResponseFields.RefreshToken, "refresh_token")
	setDefault(&c.ResponseFields.TokenType, "token_type")
	setDefault(&c.ResponseFields.ExpiresIn, "expires_in")
	setDefault(&c.ResponseFields.Scope, "scope")

	r := new(Renewer)
	makeAssertions := func() (err error) {
		r.assertions, err = c.makeAssertions()
		return err
	}
	for _, check := range []func() error{c.checkURLs, c.checkClient, c.checkGrant, c.checkRequest, makeAssertions, c.Check, c.Fields.check, c.checkMappings} {
		if err := check(); err != nil {
			return nil, err
		}
	}
	r.Config = c
	if c.Issuer != "" {
		r.issuer = &discovery.Issuer{Name: c.Issuer, Client: discovery.NewClient(nil, c.TLS)}
	}
	return r, nil
}

func setDefault[T comparable](field *T, value T) {
	var zero T
	if *field == zero {
		*field = value
	}
}

func (o *Config) checkURLs() error {
	if o.TokenURL.IsEmpty() && o.Issuer == "" {
		return errors.New("token_url is missing")
	}
	if u, err := credential.ParseEndpoint(o.Issuer); o.Issuer != "" && (err != nil || u.RawQuery != "") {
		return fmt.Errorf("issuer: %w", cmp.Or(err, errors.New("must not have a query")))
	}
	for name, u := range map[string]*template.Template{"token_url": o.TokenURL, "refresh_url": o.RefreshURL} {
		if u == nil {
			continue
		}
		if err := o.CheckURL(u); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	return nil
}

// CheckURL reports whether a template makes an address that secrets may be sent to.
func (o *Config) CheckURL(u *template.Template) error {
	hostByCredential, err := u.CheckURL()
	switch {
	case err != nil:
		return err
	case hostByCredential && o.TokenHosts == nil:
		return errors.New("the credential has a say in the host: token_hosts has to say which hosts may be sent secrets")
	case hostByCredential || u.UsesCredential():
		return nil // looked at with each request
	}
	_, err = o.AddressOf(u, nil)
	return err
}

// errTokenHost refuses to send secrets where they must not go.
var errTokenHost = errors.New("the host is not among token_hosts")

// AddressOf returns the address that a template makes of a credential, if secrets may be
// sent there. The error, a [credential.FieldError] if the credential has a say in it, holds
// nothing of the credential.
func (o *Config) AddressOf(u *template.Template, c *credential.Credential) (string, error) {
	address, err := u.ExecuteURL(c)
	if err == nil && !o.TokenHosts.AllowsURL(address) {
		err = errTokenHost
	}
	if err == nil {
		return address.String(), nil
	}
	if _, known := errors.AsType[*credential.FieldError](err); known || !u.UsesCredential() {
		return "", err
	}
	return "", &credential.FieldError{Path: u.Paths()[0], Reason: "makes no address to send secrets to: " + err.Error()}
}

func (o *Config) checkGrant() error {
	needs := func(name string, t *template.Template, grant Grant) error {
		switch given := !t.IsEmpty(); {
		case given && o.Grant != grant:
			return fmt.Errorf("%s goes with grant %s", name, grant)
		case !given && o.Grant == grant:
			return fmt.Errorf("grant %s needs %s", grant, name)
		}
		return nil
	}
	switch o.Grant {
	case GrantRefreshToken, GrantClientCredentials, GrantPassword, GrantTokenExchange, GrantJWTBearer:
	default:
		return fmt.Errorf("grant %q is none of refresh_token, client_credentials, password, jwt_bearer, token_exchange", o.Grant)
	}
	switch from := o.AssertionFrom; {
	case o.Assertion != nil && from != nil:
		return errors.New("assertion and assertion_from exclude each other")
	case (o.Assertion != nil || from != nil) != (o.Grant == GrantJWTBearer):
		return errors.New("grant jwt_bearer and assertion or assertion_from go together")
	case from != nil && (from.Grant == "" || from.Grant == GrantRefreshToken):
		return errors.New("assertion_from needs a grant that can be repeated, not refresh_token")
	}
	if o.RefreshURL != nil && o.Grant != GrantRefreshToken {
		return errors.New("refresh_url goes with grant refresh_token")
	}
	if o.KeepAlive != 0 && o.Grant != GrantRefreshToken {
		return fmt.Errorf("keep_alive goes with grant refresh_token: with %s there is no refresh token that could end", o.Grant)
	}
	return cmp.Or(needs("username", o.Username, GrantPassword), needs("password", o.Password, GrantPassword),
		needs("subject_token", o.SubjectToken, GrantTokenExchange))
}

func (o *Config) checkRequest() error {
	switch o.Format {
	case tokenrequest.FormatForm, tokenrequest.FormatJSON, tokenrequest.FormatQuery:
	default:
		return fmt.Errorf("request %q is none of form, json, query", o.Format)
	}
	if o.ExpiresInUnit != time.Second && o.ExpiresInUnit != time.Millisecond {
		return errors.New("expires_in_unit is seconds or milliseconds")
	}
	for _, s := range o.Scopes {
		if err := s.CheckLiterals(ScopeText); err != nil {
			return fmt.Errorf("scopes: %w", err)
		}
	}
	for name := range o.RequestHeader {
		if err := checkHeader(name, o.ClientAuth); err != nil {
			return fmt.Errorf("request_header %s %w", name, err)
		}
	}
	for name := range o.Params {
		switch {
		case name == "":
			return errors.New("parameter without a name")
		case name == "scope" && len(o.Scopes) > 0:
			return errors.New("parameter scope and scopes exclude each other")
		case name == "resource" && len(o.Resources) > 0, name == "audience" && len(o.Audiences) > 0:
			return fmt.Errorf("parameter %s and %s exclude each other", name, name)
		case name == "client_id" && o.ClientAuth == ClientAuthBasic:
		case slices.Contains(ownParameters, name):
			return fmt.Errorf("parameter %s has its own setting", name)
		}
	}
	return nil
}

// ownParameters are those that have settings of their own.
var ownParameters = []string{
	"refresh_token", "client_id", "client_secret", "client_assertion", "client_assertion_type",
	"username", "password", "subject_token", "subject_token_type", "assertion",
}

// checkHeader reports whether a field may be set in a token request.
func checkHeader(name string, auth ClientAuth) error {
	switch canonical := http.CanonicalHeaderKey(name); {
	case !httpguts.ValidHeaderFieldName(name):
		return errors.New("is not a valid name")
	case canonical == "Authorization" && auth == ClientAuthBasic:
		return errors.New("is set by client_auth basic")
	case slices.Contains([]string{"Host", "Content-Length", "Content-Type", "Transfer-Encoding", "Connection", "Upgrade", "Trailer", "Te", "Expect"}, canonical):
		return errors.New("cannot be set")
	}
	return nil
}

// ScopeText is the [template.Rule] for a scope (RFC 6749 section 3.3). Some servers
// separate scopes by other characters than a space.
func ScopeText(s string) string {
	if !fields.IsVisible(s) || strings.ContainsAny(s, `"\`) {
		return "is not a scope"
	}
	return ""
}
