package admin

import (
	"encoding/json"
	"errors"
	"net/http"
	"time"

	"github.com/upstreamauth/caddy-upstream-auth/caddymodule/schemes"
	"github.com/upstreamauth/caddy-upstream-auth/credential"
	"github.com/upstreamauth/caddy-upstream-auth/internal/explain"
	"github.com/upstreamauth/caddy-upstream-auth/internal/lifecycle"
	"github.com/upstreamauth/caddy-upstream-auth/internal/rest"
	"github.com/upstreamauth/caddy-upstream-auth/internal/upstream"
)

// explanationBody is what becomes of a tenant's requests, and why.
type explanationBody struct {
	rest.Tenant

	// Sets is what requests are sent with.
	Sets []schemes.Setting `json:"sets"`

	// AllowedHosts are where they may be sent; none means the upstreams of the sites.
	AllowedHosts []string `json:"allowed_hosts,omitempty"`

	// Request, On401 and ToDo say in words what happens to a request, what happens
	// when the upstream answers 401, and what a person has to do, if anything.
	Request string `json:"request"`
	On401   string `json:"on_401"`
	ToDo    string `json:"to_do,omitempty"`
}

func adminExplain(w http.ResponseWriter, c *adminCall) error {
	provider := c.collection.Provider
	cred, d, err := c.collection.Describe(c.Context(), c.tenant)
	if errors.Is(err, credential.ErrNotFound) {
		d, err = lifecycle.Description{Status: lifecycle.StatusMissing, Credentials: map[string]json.RawMessage{}}, nil
	}
	if err != nil {
		return err
	}
	o := explain.Explanation{
		Provider: provider, Cred: cred, Status: d.Status, Disabled: d.Disabled,
		Last: c.collection.LastOutcome(c.tenant, cred), Connect: c.collection.Links.Has(provider.Name), Now: time.Now(),
	}
	return rest.WriteJSON(w, http.StatusOK, explanationBody{
		Tenant:       c.collection.Tell(c.tenant, cred, d),
		Sets:         sets(provider),
		AllowedHosts: provider.Hosts.Patterns(),
		Request:      o.Request(),
		On401:        o.On401(),
		ToDo:         o.ToDo(),
	})
}

// sets returns what requests are sent with, as it is configured.
func sets(p *upstream.Provider) []schemes.Setting {
	sets := []schemes.Setting{}
	for _, s := range p.Schemes {
		switch s := s.(type) {
		case schemes.Explainer:
			sets = append(sets, s.Sets()...)
		default: // of others, or the default of a renewer
			for _, name := range s.Names().Header {
				sets = append(sets, schemes.Setting{In: "header", Name: http.CanonicalHeaderKey(name), Value: valueOf(p)})
			}
			for _, name := range s.Names().Query {
				sets = append(sets, schemes.Setting{In: "query", Name: name})
			}
		}
	}
	return sets
}

// valueOf is what is sent where no template says it.
func valueOf(p *upstream.Provider) string {
	if o := p.OAuth2(); o != nil {
		return "Bearer {credential." + o.Fields.AccessToken + "}"
	}
	if l := schemes.LoginOf(p.Schemes); l != nil {
		return "Bearer {credential." + l.Brings()[0] + "}"
	}
	return ""
}
