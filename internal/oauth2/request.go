package oauth2

import (
	"context"
	"crypto/tls"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/upstreamauth/caddy-upstream-auth/credential"
	"github.com/upstreamauth/caddy-upstream-auth/internal/template"
	"github.com/upstreamauth/caddy-upstream-auth/internal/tokenrequest"
	"github.com/upstreamauth/caddy-upstream-auth/scheme"
)

// Request makes a token request, after obtaining the assertion for it where that is had
// elsewhere. The error holds no secret, and is an [AssertionError] then if there is none.
func (r *Renewer) Request(ctx context.Context, c *credential.Credential) (*http.Request, *tls.Config, error) {
	if scheme.IsRetry(ctx) {
		r.TakeOtherSecret()
	}
	return r.request(ctx, c)
}

func (r *Renewer) request(ctx context.Context, c *credential.Credential) (*http.Request, *tls.Config, error) {
	grant, err := r.grantParams(ctx, c)
	if err != nil {
		return nil, nil, err
	}
	p, err := r.Parameters(ctx, c)
	if err != nil {
		return nil, nil, err
	}
	if r.RefreshURL != nil {
		if p.URL, err = r.AddressOf(r.RefreshURL, c); err != nil {
			return nil, nil, fmt.Errorf("refresh_url: %w", err)
		}
	}
	if p.Params, err = r.params(c); err != nil {
		return nil, nil, err
	}
	req, err := tokenrequest.GrantRequest(p, grant)
	return req, r.TLS, err
}

// TakeOtherSecret has requests be made with the client's other secret, as the last one was
// refused; false if there is none.
func (r *Renewer) TakeOtherSecret() bool {
	if len(r.ClientSecrets) < 2 {
		return false
	}
	r.secret.Add(1)
	return true
}

// grantParams returns the parameters of the grant.
func (r *Renewer) grantParams(ctx context.Context, c *credential.Credential) (url.Values, error) {
	params := make(url.Values)
	set := func(name string, t *template.Template) error {
		value, err := t.Execute(c)
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		params.Set(name, value)
		return nil
	}
	switch r.Grant {
	case GrantClientCredentials:
		params.Set("grant_type", "client_credentials")
		return params, nil
	case GrantPassword:
		params.Set("grant_type", "password")
		if err := set("username", r.Username); err != nil {
			return nil, err
		}
		return params, set("password", r.Password)
	case GrantJWTBearer:
		assertion, err := r.assertion(ctx, c)
		if err != nil {
			return nil, err
		}
		params.Set("grant_type", "urn:ietf:params:oauth:grant-type:jwt-bearer")
		params.Set("assertion", assertion)
		return params, nil
	case GrantTokenExchange:
		params.Set("grant_type", "urn:ietf:params:oauth:grant-type:token-exchange")
		params.Set("subject_token_type", r.SubjectTokenType)
		return params, set("subject_token", r.SubjectToken)
	}
	token, err := r.Spends(c)
	if err != nil {
		return nil, err
	}
	params.Set("grant_type", "refresh_token")
	params.Set("refresh_token", token)
	return params, nil
}

// params returns what goes with the grant.
func (r *Renewer) params(c *credential.Credential) (url.Values, error) {
	params := make(url.Values, len(r.Params))
	for name, t := range r.Params {
		value, err := t.ExecuteWith(c, anyText)
		if err != nil {
			return nil, fmt.Errorf("param %s: %w", name, err)
		}
		params.Set(name, value)
	}
	if err := r.AddTargets(params, c); err != nil {
		return nil, err
	}
	if len(r.Scopes) > 0 {
		scope, err := r.JoinScopes(r.Scopes, c)
		if err != nil {
			return nil, err
		}
		params.Set("scope", scope)
	}
	return params, nil
}

// AddTargets adds to params what the token is for.
func (o *Config) AddTargets(params url.Values, c *credential.Credential) error {
	for name, templates := range map[string][]*template.Template{"resource": o.Resources, "audience": o.Audiences} {
		for _, t := range templates {
			value, err := t.Execute(c)
			if err != nil {
				return fmt.Errorf("%s: %w", name, err)
			}
			params.Add(name, value)
		}
	}
	return nil
}

func anyText(string) string { return "" }

// JoinScopes returns scopes as a parameter.
func (o *Config) JoinScopes(scopes []*template.Template, c *credential.Credential) (string, error) {
	names := make([]string, 0, len(scopes))
	for _, t := range scopes {
		name, err := t.ExecuteWith(c, ScopeText)
		if err != nil {
			return "", fmt.Errorf("scopes: %w", err)
		}
		names = append(names, name)
	}
	return strings.Join(names, o.ScopeSeparator), nil
}

// Parameters returns those of the authorization server for a credential: the token
// endpoint, who asks, and how. The error holds no secret.
func (r *Renewer) Parameters(ctx context.Context, c *credential.Credential) (p tokenrequest.Parameters, err error) {
	p.Format = r.Format
	by := r.ClientAuth
	if r.TokenURL != nil {
		p.URL, err = r.AddressOf(r.TokenURL, c)
	} else {
		p.URL, by, err = r.discovered(ctx)
	}
	if err != nil {
		return p, fmt.Errorf("token_url: %w", err)
	}
	if err := r.authenticate(ctx, &p, by, c); err != nil {
		return p, err
	}
	for name, t := range r.RequestHeader {
		value, err := t.ExecuteWith(c, template.Header)
		if err != nil {
			return p, fmt.Errorf("request_header %s: %w", name, err)
		}
		if p.Header == nil {
			p.Header = make(http.Header, len(r.RequestHeader))
		}
		p.Header.Set(name, value)
	}
	return p, nil
}

// Paths are what requests want of a credential besides the tokens.
func (o *Config) Paths() (paths []string) {
	for _, t := range o.templates() {
		paths = append(paths, t.Paths()...)
	}
	return paths
}

// Endpoint is the token endpoint for people: what comes from the credential is there by
// name.
func (o *Config) Endpoint() string {
	if o.TokenURL == nil {
		return o.Issuer // it says where
	}
	return o.TokenURL.String()
}

// templates are those that a request fills in, in an order that stays.
func (o *Config) templates() []*template.Template {
	all := o.Client.templates()
	for _, t := range []*template.Template{o.TokenURL, o.RefreshURL, o.Username, o.Password, o.SubjectToken} {
		if t != nil {
			all = append(all, t)
		}
	}
	for _, named := range []map[string]*template.Template{o.RequestHeader, o.Params} {
		for _, name := range slices.Sorted(maps.Keys(named)) {
			all = append(all, named[name])
		}
	}
	signed := o.clientAssertions()
	if o.Assertion != nil {
		signed = append(signed, o.grantAssertion())
	}
	for _, c := range signed {
		all = append(all, c.Templates()...)
	}
	if o.AssertionFrom != nil {
		all = append(all, o.AssertionFrom.templates()...)
	}
	return slices.Concat(all, o.Scopes, o.Resources, o.Audiences)
}
