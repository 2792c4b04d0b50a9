package upstream

import (
	"fmt"

	"github.com/upstreamauth/caddy-upstream-auth/internal/form"
	"github.com/upstreamauth/caddy-upstream-auth/internal/oauth2"
)

// Form makes a form for what a person brings of a credential: all but what comes with a
// token. The error says why there can be none.
func (p *Provider) Form() (*form.Form, error) {
	if o := p.OAuth2(); o != nil && o.Grant == oauth2.GrantRefreshToken {
		return nil, fmt.Errorf("form is for credentials that people type, and oauth2 with grant %s has tokens of its authorization server: leave form out", o.Grant)
	}
	source := form.Source{Own: p.OwnSchema, Schemas: p.Schemas, Exposed: p.Expose}
	if own, ok := p.Renewer.(interface{ Obtained() []string }); ok {
		source.Obtained = own.Obtained()
	}
	return form.New(source)
}
