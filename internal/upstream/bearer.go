package upstream

import (
	"net/http"

	"github.com/upstreamauth/caddy-upstream-auth/credential"
	"github.com/upstreamauth/caddy-upstream-auth/internal/template"
	"github.com/upstreamauth/caddy-upstream-auth/scheme"
)

const authorization = "Authorization"

// bearer sends a renewer's token (RFC 6750 section 2.1).
type bearer struct{ renewer scheme.Renewer }

// Names implements [scheme.Scheme].
func (b bearer) Names() scheme.Names { return scheme.Names{Header: []string{authorization}} }

// Bind implements [scheme.Scheme].
func (b bearer) Bind(c *credential.Credential) (scheme.Authenticator, error) {
	token, err := b.renewer.Token(c)
	if err != nil {
		return nil, err
	}
	if wrong := template.Header(token); wrong != "" {
		return nil, &credential.FieldError{Path: "the token", Reason: wrong}
	}
	value := bearerValue("Bearer " + token)
	return &value, nil
}

// bearerValue is the value of Authorization.
type bearerValue string

// Authenticate implements [scheme.Authenticator].
func (v *bearerValue) Authenticate(req *http.Request, _ scheme.Body) error {
	req.Header[authorization] = []string{string(*v)}
	return nil
}

// SetsHeaderAlone says that requests' URLs stay as they are.
func (b bearer) SetsHeaderAlone() {}
