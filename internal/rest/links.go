package rest

import (
	"context"
	"errors"
	"net/http"
	"sync"
	"time"

	"github.com/upstreamauth/caddy-upstream-auth/credential"
	"github.com/upstreamauth/caddy-upstream-auth/internal/connect"
	"github.com/upstreamauth/caddy-upstream-auth/internal/links"
)

// Links makes links by which tenants connect accounts, for the providers that have a way
// to.
type Links struct {
	// Registry is where they are registered.
	Registry *links.Registry

	mu    sync.Mutex
	flows map[string]configuredFlow // by provider
}

type configuredFlow struct {
	flow     *connect.Flow
	settings string
}

// ErrTwoFlows refuses a second way to connect for one provider.
var ErrTwoFlows = errors.New("there are two ways to connect: give one several redirect_uris")

// Add makes the way to connect an account of a provider known. A site that is served in
// two ways, as by http and https, has the same one twice: settings tell.
func (l *Links) Add(provider string, flow *connect.Flow, settings string) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if other, known := l.flows[provider]; known {
		if other.settings != settings {
			return ErrTwoFlows
		}
		return nil
	}
	if l.flows == nil {
		l.flows = make(map[string]configuredFlow)
	}
	l.flows[provider] = configuredFlow{flow, settings}
	return nil
}

// Has reports whether there is a way to connect an account of a provider.
func (l *Links) Has(provider string) bool { return l.flow(provider) != nil }

func (l *Links) flow(provider string) *connect.Flow {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.flows[provider].flow
}

// Link is a link to connect. Handoff is the code that goes with it, if it wants one.
type Link struct {
	URL       string    `json:"url"`
	ExpiresAt time.Time `json:"expires_at"`
	Handoff   string    `json:"handoff,omitempty"`
}

// LinkRequest says what a link to connect is to do, see [connect.LinkOptions].
type LinkRequest struct {
	ReturnTo string            `json:"return_to,omitempty"`
	Handoff  bool              `json:"handoff,omitempty"`
	Account  map[string]string `json:"account,omitempty"`

	// Parameters answer what the site asks for, by paths in the credential.
	Parameters map[string]string `json:"parameters,omitempty"`
}

var errNoConnect = &Error{http.StatusConflict, "connect_not_configured", "no site has upstream_auth_connect for the provider"}

// new makes a link by which a tenant connects an account.
func (l *Links) new(ctx context.Context, provider string, tenant credential.Tenant, r LinkRequest) (*Link, error) {
	flow := l.flow(provider)
	if flow == nil {
		return nil, errNoConnect
	}
	link, err := flow.Link(ctx, tenant, connect.LinkOptions(r))
	switch {
	case errors.Is(err, connect.ErrReturnTo):
		return nil, BadRequest("return_to is not an allowed address")
	case errors.Is(err, connect.ErrAccount):
		return nil, BadRequest("account is not 1 to 4 claims of an id token or the userinfo, which the provider needs an issuer or a userinfo_url for")
	case errors.Is(err, connect.ErrParameters):
		return nil, BadRequest("parameters are not what upstream_auth_connect asks for (ask), or too long")
	case err != nil:
		return nil, err
	}
	return &Link{URL: link.URL, ExpiresAt: link.Expires, Handoff: link.Handoff}, nil
}
