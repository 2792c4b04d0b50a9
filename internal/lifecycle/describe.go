package lifecycle

import (
	"encoding/json"
	"time"

	"github.com/upstreamauth/caddy-upstream-auth/credential"
	"github.com/upstreamauth/caddy-upstream-auth/internal/renew"
	"github.com/upstreamauth/caddy-upstream-auth/internal/upstream"
)

// Description is what may be told of a credential: nothing secret. In JSON, times are
// in RFC 3339, and those that nobody knows are left out.
type Description struct {
	// Version is the store's.
	Version uint64 `json:"version"`

	// WrittenAt is when the store took this version.
	WrittenAt time.Time `json:"written_at,omitzero"`

	// WrittenBy says who wrote its tokens: "api", "connect", "fetch", or a process
	// that refreshed them.
	WrittenBy string `json:"written_by,omitempty"`

	// ExpiresAt is when the access token does.
	ExpiresAt time.Time `json:"expires_at,omitzero"`

	// RefreshTokenExpiresAt is when the refresh token does, by what its server said. Unless
	// it is used before, the tenant has to sign in again then.
	RefreshTokenExpiresAt time.Time `json:"refresh_token_expires_at,omitzero"`

	// Status is ready, refreshing, reauthorization_required, or invalid if the
	// credential breaks a rule.
	Status string `json:"status"`

	// Problem says which rule it breaks, and where.
	Problem string `json:"problem,omitempty"`

	// Disabled says that operators want no refresh of it.
	Disabled bool `json:"disabled,omitempty"`

	// Credentials are the exposed fields that it has, by path.
	Credentials map[string]json.RawMessage `json:"credentials"`
}

// The statuses of a [Description], and that of a tenant without a credential.
const (
	StatusReady       = "ready"
	StatusRefreshing  = "refreshing"
	StatusReauthorize = "reauthorization_required"
	StatusInvalid     = "invalid" // it breaks a rule
	StatusMissing     = "missing"
)

// Describe tells what may be told of a credential.
func Describe(p *upstream.Provider, cred *credential.Credential) Description {
	status := renew.StatusOf(p.Renewer, cred)
	d := Description{
		Version:     cred.Version(),
		WrittenAt:   cred.WrittenAt().UTC(),
		WrittenBy:   status.By,
		Status:      status.State,
		Disabled:    status.Disabled,
		Credentials: make(map[string]json.RawMessage, len(p.Expose)),
	}
	if cred.WrittenAt().IsZero() {
		d.WrittenAt = time.Time{}
	}
	if p.Renewer != nil {
		if at, known := p.Renewer.ExpiresAt(cred); known {
			d.ExpiresAt = at
		}
	}
	d.RefreshTokenExpiresAt, _ = p.RefreshTokenExpiresAt(cred)
	for _, path := range p.Expose {
		if _, err := cred.Text(path); err == nil {
			d.Credentials[path] = json.RawMessage(cred.Get(path).Raw)
		}
	}
	if ready, err := p.Ready(cred); err != nil && !ready.Unobtained {
		d.Status, d.Problem = StatusInvalid, err.Error()
	}
	return d
}

// DescribeInvalid is [Describe] for a stored document that is no credential,
// for the reason err, a [credential.ErrInvalid].
func DescribeInvalid(err error) Description {
	return Description{Status: StatusInvalid, Problem: err.Error(), Credentials: map[string]json.RawMessage{}}
}
