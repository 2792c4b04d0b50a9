package upstream

import (
	"crypto/tls"
	"errors"
	"net/http"
	"slices"
	"time"

	"github.com/upstreamauth/caddy-upstream-auth/credential"
	"github.com/upstreamauth/caddy-upstream-auth/internal/budget"
	"github.com/upstreamauth/caddy-upstream-auth/internal/fields"
	"github.com/upstreamauth/caddy-upstream-auth/internal/hosts"
	"github.com/upstreamauth/caddy-upstream-auth/internal/oauth2"
	"github.com/upstreamauth/caddy-upstream-auth/internal/renew"
	"github.com/upstreamauth/caddy-upstream-auth/scheme"
)

// Provider is one upstream API and how to authenticate to it. It lives as long as one
// configuration, and is made by [New].
type Provider struct {
	// Provider is its name, and how its credentials are renewed.
	*renew.Provider

	// Schemes authenticate requests, in this order. The renewer is one of them.
	Schemes []scheme.Scheme

	// Schemas are what a credential has to fit: the provider's own, if it has one,
	// and those of its schemes.
	Schemas []*credential.Schema

	// OwnSchema is the one among them that is the provider's own. Nil: it has none.
	OwnSchema *credential.Schema

	// Expose are the fields that may be shown, by path. Each has to be there.
	Expose []string

	// Hosts are where the credential may be sent. Nil: anywhere.
	Hosts hosts.List

	// Test is a request that has to succeed with a new credential before that is
	// accepted. Default: none.
	Test *Request

	// Revocation ends a credential at its provider. Default: nothing does.
	Revocation *Revocation

	// Fetch gets a credential from the application when there is none. Default: it
	// is not asked.
	Fetch *Fetch

	// RetryAfter heeds answers that say that too much is asked. Nil: they are passed on and
	// forgotten.
	RetryAfter *RetryAfter

	// Clock is how far the upstream's is from ours.
	Clock *Clock

	// Budget is what its tenants may have in use at the same time. Nil: any amount.
	Budget *budget.Provider

	names      scheme.Names
	changesURL bool
}

// Key names a tenant's credential.
func (p *Provider) Key(tenant credential.Tenant) credential.Key {
	return credential.Key{Provider: p.Name, Tenant: tenant}
}

// OAuth2 returns the renewer if it is of OAuth 2.0, else nil.
func (p *Provider) OAuth2() *oauth2.Renewer {
	if own, ok := p.Renewer.(interface{ OAuth2() *oauth2.Renewer }); ok {
		return own.OAuth2()
	}
	return nil
}

// Names are what requests are authenticated by, each header field in its canonical form.
func (p *Provider) Names() scheme.Names { return p.names }

// ChangesURL reports whether a scheme may change the URL of a request.
func (p *Provider) ChangesURL() bool { return p.changesURL }

// New checks the schemes of p, and makes it ready for use. A renewer beside which no other
// scheme says who makes a request sends its token as Authorization: Bearer.
//
// Errors: no scheme; two renewers; a header field or query parameter that two schemes set,
// but for Cookie; a name that is not valid; a header that frames the message or belongs
// to the connection.
func New(p Provider) (*Provider, error) {
	p.Clock = new(Clock)
	says := false
	for _, s := range p.Schemes {
		if r, ok := s.(scheme.Renewer); ok && r != p.Renewer {
			return nil, errors.New("a provider has one scheme that renews credentials, and not two")
		}
		_, companion := s.(scheme.Companion)
		_, header := s.(interface{ SetsHeaderAlone() })
		p.changesURL = p.changesURL || !header
		if s == p.Renewer {
			says = says || len(s.Names().Header)+len(s.Names().Query) > 0
		} else {
			says = says || !companion
		}
	}
	if p.Renewer != nil && !says {
		p.Schemes = append(slices.Clone(p.Schemes), bearer{p.Renewer})
		says = true
	}
	if !says {
		return nil, errors.New("there is no scheme that authenticates requests, such as header, query, basic or oauth2")
	}
	var err error
	if p.names, err = namesOf(p.Schemes); err != nil {
		return nil, err
	}
	return &p, nil
}

// Ready is what a provider makes of one version of a credential.
type Ready struct {
	Authenticators []scheme.Authenticator
	Exposed        []string // values of the provider's Expose, in its order

	// Unobtained says that the credential has no token yet, and all that it takes to
	// obtain one. There are no Authenticators then.
	Unobtained bool

	// Those of Authenticators that can do more.
	challengers []scheme.Challenger
	connection  []scheme.ConnectionAuthenticator

	// When the token expires, if that is known, and from when on it may have to be renewed
	// in the background.
	expiresAt, aheadFrom time.Time
	expires              bool
}

// String keeps the secrets out of logs.
func (r *Ready) String() string { return "[ready]" }

// GoString keeps the secrets out of logs.
func (r *Ready) GoString() string { return r.String() }

// Challenge has the schemes look at a rejection, and reports whether one of them can answer
// it: the request is to be sent once more then, authenticated anew.
func (r *Ready) Challenge(res *http.Response) (retry bool) {
	for _, c := range r.challengers {
		told := *res
		told.Body = http.NoBody
		retry = c.Challenge(&told) || retry
	}
	return retry
}

// AuthenticatesConnections reports whether requests go out on connections of this
// credential alone, made with [Ready.TLSConfig].
func (r *Ready) AuthenticatesConnections() bool { return len(r.connection) > 0 }

// TLSConfig returns base, which it may change, with what authenticates.
func (r *Ready) TLSConfig(base *tls.Config) *tls.Config {
	for _, c := range r.connection {
		base = c.TLSConfig(base)
	}
	return base
}

// Ready checks a stored credential and prepares it, once for each version. The error is
// a [credential.ErrInvalid].
func (p *Provider) Ready(cred *credential.Credential) (*Ready, error) {
	kept := cred.Memo(p, func() any {
		ready, err := p.ready(cred)
		return &outcome{ready, err}
	}).(*outcome)
	return kept.ready, kept.err
}

type outcome struct {
	ready *Ready
	err   error
}

func (p *Provider) ready(cred *credential.Credential) (*Ready, error) {
	ready := new(Ready)
	if p.Renewer != nil {
		if ready.expiresAt, ready.expires = p.Renewer.ExpiresAt(cred); ready.expires {
			ready.aheadFrom = ready.expiresAt
			if from, ok := p.AheadFrom(ready.expiresAt); ok {
				ready.aheadFrom = from
			}
		}
	}
	lacking := p.lacksToken(cred)
	described := cred
	if lacking != nil {
		described = p.asObtained(cred)
	}
	for _, schema := range p.Schemas {
		err := schema.Check(described)
		if err != nil {
			if without := p.withoutOptional(described); without != nil {
				err = schema.Check(without)
			}
		}
		if err != nil {
			return ready, err
		}
	}
	if lacking != nil {
		ready.Unobtained = true
		return ready, lacking
	}
	for _, s := range p.Schemes {
		authenticator, err := s.Bind(cred)
		if err != nil {
			return ready, err
		}
		ready.Authenticators = append(ready.Authenticators, authenticator)
		if c, ok := authenticator.(scheme.Challenger); ok {
			ready.challengers = append(ready.challengers, c)
		}
		if c, ok := authenticator.(scheme.ConnectionAuthenticator); ok {
			ready.connection = append(ready.connection, c)
		}
	}
	for _, path := range p.Expose {
		value, err := cred.Text(path)
		if err != nil {
			return ready, err
		}
		ready.Exposed = append(ready.Exposed, value)
	}
	return ready, nil
}

// lacksToken returns what is wrong with the token of a credential, if another one can be
// obtained without one to spend.
func (p *Provider) lacksToken(cred *credential.Credential) error {
	if p.Renewer == nil {
		return nil
	}
	if spent, err := p.Renewer.Spends(cred); err != nil || spent != "" {
		return nil //nolint:nilerr // Bind says what is missing
	}
	_, err := p.Renewer.Token(cred)
	return err
}

// asObtained returns a credential with a word in the place of each field that its renewer
// brings with a token: other schemes use them, and so their schemas require them.
func (p *Provider) asObtained(cred *credential.Credential) *credential.Credential {
	own, ok := p.Renewer.(interface{ Brings() []string })
	if !ok {
		return cred
	}
	document := cred.Stored()
	for _, path := range own.Brings() {
		if !cred.Get(path).Exists() {
			document = fields.SetOptional(document, path, `"x"`)
		}
	}
	obtained, err := credential.New(credential.Document{Data: document})
	if err != nil {
		return cred
	}
	return obtained
}

// withoutOptional returns a credential without the fields that its renewer keeps for
// others than requests, nil if it has none: a schema may be older than they are, and allow
// no others than it knows.
func (p *Provider) withoutOptional(cred *credential.Credential) *credential.Credential {
	own, ok := p.Renewer.(interface{ Optional() []string })
	if !ok {
		return nil
	}
	document := cred.JSON()
	for _, path := range own.Optional() {
		document = fields.Remove(document, path)
	}
	without, err := credential.New(credential.Document{Data: document})
	if err != nil || len(document) == len(cred.JSON()) {
		return nil
	}
	return without
}

// Check reports whether a new credential can serve, if need be with a token that is
// obtained first. The error is a [credential.ErrInvalid].
func (p *Provider) Check(cred *credential.Credential) error {
	ready, err := p.Ready(cred)
	if ready.Unobtained {
		err = nil
	}
	if own, ok := p.Renewer.(interface {
		CheckNew(*credential.Credential) error
	}); ok && err == nil {
		err = own.CheckNew(cred)
	}
	return err
}
