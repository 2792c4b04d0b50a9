package caddymodule

import (
	"encoding/json"
	"errors"
	"net/http"
	"time"

	"github.com/upstreamauth/caddy-upstream-auth/caddymodule/schemes"
	"github.com/upstreamauth/caddy-upstream-auth/credential"
	"github.com/upstreamauth/caddy-upstream-auth/internal/lifecycle"
	"github.com/upstreamauth/caddy-upstream-auth/internal/upstream"
)

// explanationBody is what becomes of a tenant's requests, and why.
type explanationBody struct {
	tenantBody

	// Sets is what requests are sent with.
	Sets []schemes.Setting `json:"sets"`

	// AllowedHosts are where they may be sent; none means anywhere.
	AllowedHosts []string `json:"allowed_hosts,omitempty"`

	// Request, On401 and ToDo say in words what happens to a request, what happens
	// when the upstream answers 401, and what a person has to do, if anything.
	Request string `json:"request"`
	On401   string `json:"on_401"`
	ToDo    string `json:"to_do,omitempty"`
}

// The statuses of a credential, see [lifecycle.Description], and that of a tenant without
// one.
const (
	statusReady       = "ready"
	statusRefreshing  = "refreshing"
	statusReauthorize = "reauthorization_required"
	statusMissing     = "missing"
)

func adminExplain(w http.ResponseWriter, c *adminCall) error {
	cred, d, err := c.describe(c.Context(), c.tenant)
	if errors.Is(err, credential.ErrNotFound) {
		d, err = lifecycle.Description{Status: statusMissing, Credentials: map[string]json.RawMessage{}}, nil
	}
	if err != nil {
		return err
	}
	conf := c.app.Providers[c.provider.Name]
	o := explanation{
		provider: c.provider, cred: cred, status: d.Status, disabled: d.Disabled,
		last: c.app.lastOutcome(c.provider, c.tenant, cred), connect: c.app.canConnect(c.provider.Name), now: time.Now(),
	}
	return writeJSON(w, http.StatusOK, explanationBody{
		tenantBody:   c.tell(c.tenant, cred, d),
		Sets:         conf.sets(c.provider),
		AllowedHosts: conf.AllowedHosts,
		Request:      o.request(),
		On401:        o.on401(),
		ToDo:         o.toDo(),
	})
}

// sets returns what requests are sent with, as it is configured.
func (conf *Provider) sets(p *upstream.Provider) []schemes.Setting {
	sets := []schemes.Setting{}
	for _, s := range p.Schemes {
		switch s := s.(type) {
		case schemes.Explainer:
			sets = append(sets, s.Sets()...)
		default: // of others, or the default of a renewer
			for _, name := range s.Names().Header {
				sets = append(sets, schemes.Setting{In: "header", Name: http.CanonicalHeaderKey(name), Value: conf.valueOf(p)})
			}
			for _, name := range s.Names().Query {
				sets = append(sets, schemes.Setting{In: "query", Name: name})
			}
		}
	}
	return sets
}

// valueOf is what is sent where no template says it.
func (conf *Provider) valueOf(p *upstream.Provider) string {
	if o := p.OAuth2(); o != nil {
		return "Bearer {credential." + o.Fields.AccessToken + "}"
	}
	return ""
}
