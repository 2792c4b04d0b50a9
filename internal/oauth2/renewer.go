package oauth2

import (
	"encoding/json"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/tidwall/gjson"

	"github.com/upstreamauth/caddy-upstream-auth/credential"
	"github.com/upstreamauth/caddy-upstream-auth/internal/discovery"
	"github.com/upstreamauth/caddy-upstream-auth/internal/fields"
	"github.com/upstreamauth/caddy-upstream-auth/internal/template"
	"github.com/upstreamauth/caddy-upstream-auth/scheme"
)

// Renewer renews credentials at a token endpoint.
type Renewer struct {
	Config

	issuer *discovery.Issuer // nil: there is none

	assertions

	// secret says, modulo how many there are, which of the client's secrets is taken first:
	// the one that was not refused.
	secret atomic.Uint32
}

// Names implements [scheme.Scheme]: it is others that put the token into requests.
func (r *Renewer) Names() scheme.Names { return scheme.Names{} }

// Bind implements [scheme.Scheme].
func (r *Renewer) Bind(*credential.Credential) (scheme.Authenticator, error) { return nothing{}, nil }

// SetsHeaderAlone says that requests' URLs stay as they are.
func (r *Renewer) SetsHeaderAlone() {}

// nothing is the authenticator of a scheme that leaves requests as they are.
type nothing struct{}

func (nothing) Authenticate(*http.Request, scheme.Body) error { return nil }

// Token returns the access token of c, which can be sent in a header. The error is a [credential.FieldError].
func (r *Renewer) Token(c *credential.Credential) (string, error) {
	return template.Field(c, r.Fields.AccessToken, template.Header)
}

// Spends returns the refresh token of c; "" with another grant. The error is a
// [credential.FieldError].
func (r *Renewer) Spends(c *credential.Credential) (string, error) {
	if r.Grant != GrantRefreshToken {
		return "", nil
	}
	return template.Field(c, r.Fields.RefreshToken, template.NotEmpty)
}

// ExpiresAt returns when the access token of c expires; false if c does not say, or not
// as in RFC 3339.
func (r *Renewer) ExpiresAt(c *credential.Credential) (time.Time, bool) {
	at, ok, _ := r.expiresAt(c)
	return at, ok
}

// expiresAt is ExpiresAt with a [credential.FieldError] if c says it in another way.
func (r *Renewer) expiresAt(c *credential.Credential) (time.Time, bool, error) {
	value := c.Get(r.Fields.ExpiresAt)
	if value.Type == gjson.Null { // missing, too
		at, known := r.expiresIn(c)
		return at, known, nil
	}
	if at, ok := fields.Time(value); ok {
		return at, true, nil
	}
	return time.Time{}, false, &credential.FieldError{Path: r.Fields.ExpiresAt, Reason: "is not a time as in RFC 3339, nor in seconds or milliseconds since 1970"}
}

// expiresIn takes a token response that was stored as it came for what it is: its lifetime
// counts from when the document was written, as long as no refresh has begun.
func (r *Renewer) expiresIn(c *credential.Credential) (time.Time, bool) {
	lifetime, ok := fields.Number(c.Get(r.ResponseFields.ExpiresIn))
	lifetime *= r.ExpiresInUnit.Seconds()
	if !ok || lifetime <= 0 || lifetime > fields.MaxLifetime.Seconds() || !asItCame(c) {
		return time.Time{}, false
	}
	return c.WrittenAt().Add(time.Duration(lifetime * float64(time.Second))), true
}

// asItCame reports whether lifetimes in a credential may count from when it was written.
func asItCame(c *credential.Credential) bool {
	return !c.WrittenAt().IsZero() && !gjson.GetBytes(c.Stored(), credential.ReservedField+".status").Exists()
}

// Brings are the fields that a token response puts into a credential that has none of them
// yet.
func (r *Renewer) Brings() []string {
	paths := []string{r.Fields.AccessToken}
	for _, m := range r.RefreshFields {
		paths = append(paths, m.Field)
	}
	return paths
}

// Obtained are the fields of a credential that token responses fill in, and nobody brings,
// unless the grant is [GrantRefreshToken].
func (r *Renewer) Obtained() []string { return append(r.Fields.paths(), r.Brings()...) }

// OAuth2 returns r.
func (r *Renewer) OAuth2() *Renewer { return r }

// Renewal says how the tokens are spent, see [scheme.RenewalOf].
func (r *Renewer) Renewal() scheme.Renewal { return r.Config.Renewal }

// Schema implements [scheme.Describer]: the access token is required, and the refresh
// token a string or null if it is there. With a grant that obtains tokens by itself what it
// needs is required, and not the token. Both are writeOnly.
func (r *Renewer) Schema() json.RawMessage {
	b := new(template.SchemaBuilder)
	b.Token(r.Fields.AccessToken, r.Grant == GrantRefreshToken)
	if r.Grant == GrantRefreshToken {
		b.Token(r.Fields.RefreshToken, false)
	} else {
		b.Require(r.templates()...)
	}
	return b.Schema()
}

// CheckNew reports whether the fields of c, a new credential, are as a token endpoint
// would give them: the access token is one (RFC 6749 appendix A.12), the others are
// strings where they are, and the time of expiry is one. A stored credential may be worse
// and still be used. The error is a [credential.FieldError].
func (r *Renewer) CheckNew(c *credential.Credential) error {
	for _, t := range r.templates() {
		if _, err := t.Execute(c); err != nil {
			return err
		}
	}
	for _, server := range r.Chain() {
		if server.TokenURL == nil {
			continue
		}
		if _, err := server.AddressOf(server.TokenURL, c); err != nil {
			return err
		}
	}
	token, err := r.Token(c)
	switch {
	case err != nil && r.Grant != GrantRefreshToken && !c.Get(r.Fields.AccessToken).Exists():
		return nil // it is obtained first
	case err != nil:
		return err
	}
	if wrong := fields.TokenError(c.Get(r.Fields.AccessToken).Type, token); wrong != "" {
		return &credential.FieldError{Path: r.Fields.AccessToken, Reason: wrong}
	}
	for _, path := range []string{r.Fields.RefreshToken, r.Fields.TokenType, r.Fields.Scope} {
		if value := c.Get(path); value.Exists() && value.Type != gjson.String && value.Type != gjson.Null {
			return &credential.FieldError{Path: path, Reason: "is not a string"}
		}
	}
	_, _, err = r.expiresAt(c)
	return err
}

var _ scheme.Renewer = (*Renewer)(nil)
