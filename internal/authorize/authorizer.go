package authorize

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"github.com/upstreamauth/caddy-upstream-auth/credential"
	"github.com/upstreamauth/caddy-upstream-auth/internal/bearer"
)

// Authorizer decides by a [Config].
type Authorizer struct {
	config Config
	tokens *bearer.Verifier // nil: there is no [JWT]

	// Find returns a tenant's credential, for a secret that is in there.
	Find func(context.Context, credential.Tenant) (*credential.Credential, error)

	// Logger is told why requests are refused, which they are not.
	Logger *slog.Logger
}

// New makes one of a configuration that is valid.
func New(c Config) (*Authorizer, error) {
	if err := c.Validate(); err != nil {
		return nil, err
	}
	a := &Authorizer{config: c}
	if c.JWT != nil {
		var err error
		if a.tokens, err = bearer.New(c.JWT.Config); err != nil {
			return nil, err
		}
	}
	return a, nil
}

// Headers are the fields by which requests are authorized.
func (a *Authorizer) Headers() (names []string) {
	if a.config.JWT != nil {
		names = append(names, a.config.JWT.header())
	}
	if a.config.Secret != nil {
		names = append(names, a.config.Secret.header())
	}
	return names
}

// Authorize returns the tenant that r may use: the one that it names, or the only one of its
// token if that is missing and the token may name it.
//
// Errors: named's; [credential.ErrNotFound] if r is refused; [bearer.ErrUnavailable],
// [credential.ErrUnavailable] if nobody knows.
func (a *Authorizer) Authorize(r *http.Request, named func(*http.Request) (credential.Tenant, error), tokenNames bool) (credential.Tenant, error) {
	tenants := bearer.Tenants{Operator: true} // of a token, if there has to be one
	if a.tokens != nil {
		token, err := presented(r, a.config.JWT.header())
		if err == nil {
			tenants, err = a.tokens.VerifyTenants(r.Context(), "Bearer "+token)
		}
		if errors.Is(err, bearer.ErrUnavailable) {
			return "", err
		} else if err != nil {
			return "", a.refuse("jwt", err)
		}
	}
	tenant, err := named(r)
	if tokenNames && errors.Is(err, credential.ErrTenantMissing) && len(tenants.Names) == 1 {
		tenant, err = credential.ParseTenant(tenants.Names[0])
	}
	switch {
	case err != nil:
		return "", err
	case !tenants.Hold(tenant):
		return "", a.refuse("jwt", errors.New("the token does not name the tenant"))
	case len(a.config.MTLS) > 0 && !granted(a.config.MTLS, tenant, certificateNames(r)):
		return "", a.refuse("mtls", errors.New("no verified certificate has a name that may use the tenant"))
	case len(a.config.Peer) > 0 && !granted(a.config.Peer, tenant, peerNames(r)):
		return "", a.refuse("peer", errors.New("no process that may use the tenant is known to be at the other end"))
	case a.config.Secret != nil:
		return tenant, a.checkSecret(r, tenant)
	}
	return tenant, nil
}

// refuse says why, but for the request.
func (a *Authorizer) refuse(by string, reason error) error {
	a.Logger.Debug("a request was refused", "authorize", by, "reason", reason)
	return credential.ErrNotFound
}

// presented returns what a request has in a field.
func presented(r *http.Request, header string) (string, error) {
	values := r.Header[header]
	if len(values) != 1 {
		return "", fmt.Errorf("header field %s is there %d times", header, len(values))
	}
	value := values[0]
	if header == authorization {
		scheme, rest, _ := strings.Cut(value, " ")
		if !strings.EqualFold(scheme, "Bearer") {
			return "", errors.New("the scheme of Authorization is not Bearer")
		}
		value = strings.Trim(rest, " ")
	}
	if value == "" {
		return "", fmt.Errorf("header field %s is empty", header)
	}
	return value, nil
}

// granted reports whether one of the grants lets one of the names, by their kinds, use tenant.
func granted(grants []Grant, tenant credential.Tenant, names map[string][]string) bool {
	return slices.ContainsFunc(grants, func(g Grant) bool {
		if len(g.Tenants) > 0 && !slices.Contains(g.Tenants, string(tenant)) {
			return false
		}
		return slices.Contains(names[g.Kind], strings.ReplaceAll(g.Name, tenantPlaceholder, string(tenant)))
	})
}

// certificateNames are those of the client's certificate, if it is verified.
func certificateNames(r *http.Request) map[string][]string {
	if r.TLS == nil || len(r.TLS.VerifiedChains) == 0 {
		return nil
	}
	leaf := r.TLS.VerifiedChains[0][0]
	names := map[string][]string{"dns": leaf.DNSNames, "email": leaf.EmailAddresses}
	for _, u := range leaf.URIs {
		names["uri"] = append(names["uri"], u.String())
	}
	return names
}

// peerNames are those of the process at the other end of the connection.
func peerNames(r *http.Request) map[string][]string {
	p, ok := r.Context().Value(peerKey{}).(peer)
	if !ok {
		return nil
	}
	return map[string][]string{"uid": {strconv.FormatUint(uint64(p.uid), 10)}, "gid": {strconv.FormatUint(uint64(p.gid), 10)}}
}
