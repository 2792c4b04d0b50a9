package connect

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/upstreamauth/caddy-upstream-auth/credential"
	"github.com/upstreamauth/caddy-upstream-auth/internal/form"
	"github.com/upstreamauth/caddy-upstream-auth/internal/links"
	"github.com/upstreamauth/caddy-upstream-auth/internal/oauth2"
	"github.com/upstreamauth/caddy-upstream-auth/internal/template"
	"github.com/upstreamauth/caddy-upstream-auth/internal/tokenrequest"
)

const (
	// DefaultLinkTTL is how long a link can be opened.
	DefaultLinkTTL = 15 * time.Minute

	// MaxLinkTTL is the longest that it can be.
	MaxLinkTTL = 24 * time.Hour

	// maxApplication bounds the application's name in characters.
	maxApplication = 100
)

// Settings are those of connecting that operators make.
type Settings struct {
	// What the person is told wants to use their account: the name that they know your
	// application by. Default: the host of the first redirect URI.
	Application string `json:"application,omitempty"`

	// Where the authorization server sends the browser back to, each as registered there:
	// https, unless the host is a loopback address, with a path, without a query. The one
	// is used whose host the browser came to; links lead to the first. Its sibling
	// `connect` is where links lead: for `https://h/oauth/callback` it is
	// `https://h/oauth/connect`, which no redirect URI may be. So two providers with one
	// host need two directories. With a form, that sibling is all that is served.
	RedirectURIs []string `json:"redirect_uris"`

	// For a provider whose credentials people have, such as API keys: the page of a link is a
	// form, made of the provider's schema or else of what its schemes need. Default: people
	// sign in at an authorization server.
	Form *FormSettings `json:"form,omitempty"`

	// The scope to ask for. Default: oauth2's scopes; none at all means those that the
	// server chooses.
	Scopes []string `json:"scopes,omitempty"`

	// Further parameters of the authorization request, such as `prompt` or `access_type`:
	// templates.
	Params map[string]string `json:"params,omitempty"`

	// Further parameters of the request that spends the code: templates.
	TokenParams map[string]string `json:"token_params,omitempty"`

	// What the person is asked for before anything else: what the endpoints, the client or
	// parameters take from the credential, such as a shop's name. A link may have it
	// already. It becomes part of the credential.
	Ask []Question `json:"ask,omitempty"`

	// Where the browser may be sent afterwards, with `status` in its query: addresses, each
	// with any query, or beginnings of such that end in a slash. A link says which.
	// Default: a page of this handler's own says how it went.
	ReturnTo []string `json:"return_to,omitempty"`
}

// FormSettings are those of a form.
type FormSettings struct {
	// A page that says where to find what the form asks for, https. It is opened beside the
	// form. Default: none.
	HelpURL string `json:"help_url,omitempty"`
}

// Question is a field of the credential that a person fills in.
type Question struct {
	// The field's path in the credential.
	Path string `json:"path"`

	// What the person is asked. Default: the path.
	Label string `json:"label,omitempty"`

	// Whether it is not shown while it is typed.
	Secret bool `json:"secret,omitempty"`
}

// Config is how accounts of one provider are connected. Its templates are filled in with
// what a link or the person says, and with what a stored credential of the tenant has of
// it: where the account is, or which client asks for it.
type Config struct {
	// Provider is its name.
	Provider string

	// Form is what a person fills in. Nil: they sign in at an authorization server. With it
	// what is for that is left out: OAuth2, Issuer, the endpoints, Ask, Scopes and parameters.
	Form *form.Form

	// HelpURL is a page with help for the form.
	HelpURL string

	// Check reports whether a document that was filled in can become a credential, before it
	// is sent anywhere. The error is a [credential.ErrInvalid]. It is required with Form.
	Check func(document []byte) error

	// OAuth2 is how its credentials are refreshed. Its token endpoint, TLS, client, fields and
	// FirstFields are used here, its scopes and parameters are not.
	OAuth2 *oauth2.Renewer

	// Issuer identifies the authorization server: https, or http on a loopback host.
	// With it the server's metadata are read (OpenID Connect Discovery 1.0 section 4,
	// RFC 8414 section 3) and have to be there, answers of other servers are refused
	// (RFC 9207), and id tokens are verified. Without it id tokens are ignored.
	Issuer string

	// AuthorizationURL is the authorization endpoint. Its query is kept. Default: what
	// the metadata say.
	AuthorizationURL *template.Template

	// UserinfoURL is the userinfo endpoint, asked only for UserinfoFields. Default:
	// what the metadata say.
	UserinfoURL *template.Template

	// What follows is as in [Settings].
	Application         string
	RedirectURIs        []string
	ReturnTo            []string
	Ask                 []Question
	Scopes              []*template.Template
	Params, TokenParams map[string]*template.Template

	// Stored returns the tenant's present credential, or an error if there is none. Nil:
	// nothing is taken from it.
	Stored func(ctx context.Context, tenant credential.Tenant) (*credential.Credential, error)

	// LinkTTL is how long a link can be opened. Default: [DefaultLinkTTL]; at most
	// [MaxLinkTTL].
	LinkTTL time.Duration

	// IDTokenFields are copied from the claims of the id token into the credential;
	// with them an id token is required. UserinfoFields are copied from the userinfo.
	// What is not there, or null, is left out: Accept is to say whether it is needed.
	IDTokenFields, UserinfoFields []oauth2.FieldMapping

	// Links is where links are registered.
	Links *links.Registry

	// Accept validates, tests and stores a new credential. Its context does not end
	// with the request. Its error is logged, and told to the person only as one of
	// two kinds: [credential.ErrInvalid], that this account is of no use, or any
	// other, that it could not be stored.
	Accept func(ctx context.Context, tenant credential.Tenant, document []byte) error

	// Revoke ends at the authorization server what was granted for an account that the
	// link is not for. Its error is logged. Nil: there is no way to.
	Revoke func(ctx context.Context, document []byte) error

	// Dialer is for the token request. Nil: the network.
	Dialer tokenrequest.Dialer

	// Transport is for the other requests to the authorization server. Nil: one with
	// bounds of its own, and with OAuth2's TLS.
	Transport http.RoundTripper

	// Logger gets one line for each person who is connected or is not. Nil: none.
	Logger *slog.Logger
}

// Validate reports what is wrong with the settings. It opens and asks nothing.
func (c *Config) Validate() error {
	checks := []func() error{
		func() error { return credential.CheckProvider(c.Provider) },
		c.checkClient, c.checkServer, c.checkRequest, c.checkFields, c.checkOwnAddresses,
	}
	if c.Form != nil {
		checks = []func() error{checks[0], c.checkForm, c.checkRequest, c.checkOwnAddresses}
	}
	for _, check := range checks {
		if err := check(); err != nil {
			return fmt.Errorf("connect: %w", err)
		}
	}
	return nil
}

func (c *Config) checkForm() error {
	if len(c.Ask)+len(c.Scopes)+len(c.Params)+len(c.TokenParams) > 0 {
		return errors.New("ask, scopes, param and token_param are for signing in at an authorization server, which a form is instead of")
	}
	if c.HelpURL != "" {
		if err := CheckHelpURL(c.HelpURL); err != nil {
			return fmt.Errorf("form: %w", err)
		}
	}
	return nil
}

// CheckHelpURL reports whether a page with help can be linked to.
func CheckHelpURL(text string) error {
	if u, err := url.Parse(text); err != nil || u.Scheme != "https" || u.Host == "" || u.User != nil {
		return errors.New("is no https URL of a page with help")
	}
	return nil
}

func (c *Config) checkClient() error {
	o := c.OAuth2
	switch {
	case o == nil, o.ClientID == nil:
		return errors.New("provider has no oauth2")
	case o.Grant != oauth2.GrantRefreshToken:
		return fmt.Errorf("oauth2 has grant %s, which needs nobody who connects an account: say form for what people type", o.Grant)
	}
	return nil
}

func (c *Config) checkServer() error {
	if c.Issuer == "" && c.AuthorizationURL == nil {
		return errors.New("issuer or authorization_url is missing")
	}
	if c.Issuer != "" {
		if _, err := parseBareAddress(c.Issuer); err != nil {
			return fmt.Errorf("issuer %w", err)
		}
	}
	for name, u := range map[string]*template.Template{"authorization_url": c.AuthorizationURL, "userinfo_url": c.UserinfoURL} {
		if u == nil {
			continue
		}
		if err := c.OAuth2.CheckURL(u); err != nil {
			return fmt.Errorf("%s is no endpoint: %w", name, err)
		}
		if name != "authorization_url" || u.UsesCredential() {
			continue
		}
		address, err := u.ExecuteURL(nil)
		if err == nil {
			err = checkEndpoint(address.String())
		}
		if err != nil {
			return fmt.Errorf("%s %w", name, err)
		}
	}
	return nil
}

func (c *Config) checkRequest() error {
	if err := CheckApplication(c.Application); err != nil {
		return fmt.Errorf("application: %w", err)
	}
	for _, s := range c.Scopes {
		if err := s.CheckLiterals(oauth2.ScopeText); err != nil {
			return fmt.Errorf("scopes: %w", err)
		}
	}
	for name := range c.TokenParams {
		if name == "" || isOwnTokenParameter(name) {
			return fmt.Errorf("token_param %q is set by the protocol", name)
		}
	}
	for name, value := range c.Params {
		if name == "" {
			return errors.New("parameter without a name")
		}
		// Some servers have a request of their own kind. Nobody else than the operator says it:
		// RFC 9101 has the answer's address in it.
		if constant := name == "request" && !value.UsesCredential(); isOwnParameter(name) && !constant {
			return fmt.Errorf("parameter %s is set by the protocol", name)
		}
	}
	if c.LinkTTL < 0 || c.LinkTTL > MaxLinkTTL || c.LinkTTL > 0 && c.LinkTTL < time.Second {
		return fmt.Errorf("link_ttl must be between 1s and %s", MaxLinkTTL)
	}
	return nil
}

// CheckApplication reports whether name can stand in a sentence.
func CheckApplication(name string) error {
	if utf8.RuneCountInString(name) > maxApplication || strings.ContainsFunc(name, func(r rune) bool { return !unicode.IsPrint(r) }) {
		return fmt.Errorf("is not one line of at most %d characters", maxApplication)
	}
	return nil
}

func (c *Config) checkFields() error {
	if len(c.IDTokenFields) > 0 && c.Issuer == "" {
		return errors.New("fields of the id token need an issuer to verify it by")
	}
	if len(c.UserinfoFields) > 0 && c.UserinfoURL == nil && c.Issuer == "" {
		return errors.New("fields of the userinfo need a userinfo_url or an issuer")
	}
	asked := make([]oauth2.FieldMapping, 0, len(c.Ask))
	for _, q := range c.Ask {
		if CheckApplication(q.Label) != nil {
			return fmt.Errorf("ask %s: the label is not one line of at most %d characters", q.Path, maxApplication)
		}
		asked = append(asked, oauth2.FieldMapping{Field: q.Path, From: "@this"})
	}
	return c.OAuth2.CheckMappings(c.IDTokenFields, c.UserinfoFields, asked)
}

func (c *Config) checkOwnAddresses() error {
	if len(c.RedirectURIs) == 0 {
		return errors.New("redirect_uri is missing")
	}
	seen := map[string]bool{}
	for _, text := range c.RedirectURIs {
		u, err := parseBareAddress(text)
		if err == nil {
			err = checkRedirectPath(u)
		}
		if err == nil && len(text) > maxReturnTo {
			err = fmt.Errorf("is longer than %d bytes", maxReturnTo)
		}
		if err != nil {
			return fmt.Errorf("redirect_uri %w", err)
		}
		place := normalHost(u.Scheme, u.Host) + u.Path
		if seen[place] {
			return errors.New("redirect_uri is there twice")
		}
		seen[place] = true
	}
	for _, text := range c.ReturnTo {
		if _, err := parseReturnTo(text); err != nil {
			return fmt.Errorf("return_to %w", err)
		}
	}
	return nil
}

// checkRedirectPath keeps to paths of which there is one spelling.
func checkRedirectPath(u *url.URL) error {
	switch {
	case u.Path == "":
		return errors.New("needs a path")
	case u.Path != u.EscapedPath(), !isPlainPath(u.Path):
		return errors.New("has a path with escapes or dot segments")
	case strings.HasSuffix(u.Path, startPage):
		return fmt.Errorf("must not end in %s, which is the start page", startPage)
	}
	return nil
}
