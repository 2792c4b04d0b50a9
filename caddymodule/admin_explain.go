package caddymodule

import (
	"encoding/json"
	"errors"
	"net/http"
	"time"

	"github.com/upstreamauth/caddy-upstream-auth/credential"
	"github.com/upstreamauth/caddy-upstream-auth/internal/enroll"
)

// explanation is what becomes of a tenant's requests, and why.
type explanation struct {
	tenantBody

	// Sets is what requests are sent with.
	Sets []setting `json:"sets"`

	// AllowedHosts are where they may be sent; none means anywhere.
	AllowedHosts []string `json:"allowed_hosts,omitempty"`

	// Request, On401 and ToDo say in words what happens to a request, what happens
	// when the upstream answers 401, and what a person has to do, if anything.
	Request string `json:"request"`
	On401   string `json:"on_401"`
	ToDo    string `json:"to_do,omitempty"`
}

// setting is a header field or query parameter that is set. Its value is the template
// as it is configured: what comes from the credential, the environment or a file is
// there by name.
type setting struct {
	In    string `json:"in"` // header or query
	Name  string `json:"name"`
	Value string `json:"value"`
}

// The statuses of a credential, see [enroll.Description], and that of a tenant without
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
		d, err = enroll.Description{Status: statusMissing, Credentials: map[string]json.RawMessage{}}, nil
	}
	if err != nil {
		return err
	}
	config := c.app.Providers[c.provider.name]
	o := outlook{
		provider: c.provider, cred: cred, status: d.Status, disabled: d.Disabled,
		last: c.app.lastOutcome(c.provider, c.tenant, cred), connect: c.app.canConnect(c.provider.name), now: time.Now(),
	}
	return writeJSON(w, http.StatusOK, explanation{
		tenantBody:   c.tell(c.tenant, cred, d),
		Sets:         config.sets(c.provider),
		AllowedHosts: config.AllowedHosts,
		Request:      o.request(),
		On401:        o.on401(),
		ToDo:         o.toDo(),
	})
}

// sets returns what requests are sent with, as it is configured.
func (config *Provider) sets(p *provider) []setting {
	sets := []setting{}
	for _, m := range config.Header {
		sets = append(sets, setting{"header", http.CanonicalHeaderKey(m.Name), m.Value})
	}
	if config.Basic != nil {
		sets = append(sets, setting{"header", "Authorization", "Basic base64(" + config.Basic.User + ":" + config.Basic.Password + ")"})
	}
	for _, m := range config.Query {
		sets = append(sets, setting{"query", m.Name, m.Value})
	}
	if len(sets) == 0 {
		sets = append(sets, setting{"header", "Authorization", "Bearer {credential." + p.scheme.OAuth2().Fields.AccessToken + "}"})
	}
	return sets
}
