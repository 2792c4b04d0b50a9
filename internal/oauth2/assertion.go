package oauth2

import (
	"context"
	"fmt"
	"slices"

	"github.com/upstreamauth/caddy-upstream-auth/credential"
	"github.com/upstreamauth/caddy-upstream-auth/internal/jwt"
	"github.com/upstreamauth/caddy-upstream-auth/internal/template"
	"github.com/upstreamauth/caddy-upstream-auth/internal/tokenrequest"
)

// assertions make the JWTs of token requests.
type assertions struct {
	grant  *jwt.Minter // of [GrantJWTBearer]; nil: it is obtained
	from   *Renewer    // by this
	before tokenrequest.Steps
	client []*jwt.Minter // who asks: one with a key, or one for each secret
}

func (o *Config) makeAssertions() (a assertions, err error) {
	if o.Assertion != nil {
		if a.grant, err = jwt.New(o.grantAssertion()); err != nil {
			return a, fmt.Errorf("assertion: %w", err)
		}
	}
	if o.AssertionFrom != nil {
		if a.from, err = o.AssertionFrom.renewer(); err != nil {
			return a, fmt.Errorf("assertion_from: %w", err)
		}
		a.before = tokenrequest.NewSteps()
	}
	for _, c := range o.clientAssertions() {
		m, err := jwt.New(c)
		if err != nil {
			return a, fmt.Errorf("client_assertion: %w", err)
		}
		a.client = append(a.client, m)
	}
	return a, nil
}

// grantAssertion is the JWT of the grant (RFC 7523 section 3).
func (o *Config) grantAssertion() jwt.Config {
	return with(*o.Assertion, "aud", o.audience())
}

// clientAssertions are the JWTs by which the client authenticates (OpenID Connect Core
// section 9).
func (o *Config) clientAssertions() (all []jwt.Config) {
	switch o.ClientAuth {
	case ClientAuthPrivateKeyJWT:
		if o.ClientKey != nil {
			all = append(all, *o.ClientKey)
		}
	case ClientAuthSecretJWT:
		for _, s := range o.ClientSecrets {
			all = append(all, jwt.Config{Algorithm: "HS256", Key: s.Text, KeyFile: s.File})
		}
	}
	for i, c := range all {
		c = with(c, "iss", o.ClientID)
		c = with(c, "sub", o.ClientID)
		all[i] = with(c, "aud", o.audience())
	}
	return all
}

// audience is who takes the assertions: an authorization server is named by its issuer,
// and by its token endpoint if it has none.
func (o *Config) audience() *template.Template {
	if o.Issuer != "" {
		return template.Literal(o.Issuer)
	}
	return o.TokenURL
}

// with returns c with a claim, unless it has that one.
func with(c jwt.Config, claim string, value *template.Template) jwt.Config {
	if !slices.ContainsFunc(c.Claims, func(f jwt.Field) bool { return f.Name == claim }) {
		c.Claims = append(slices.Clone(c.Claims), jwt.Field{Name: claim, Value: value})
	}
	return c
}

// mint makes a JWT for a credential. The error holds no secret.
func mint(ctx context.Context, m *jwt.Minter, c *credential.Credential) (string, error) {
	source, err := m.Bind(c)
	if err != nil {
		return "", err
	}
	token, err := source.Mint(ctx)
	return token.Text, err
}
