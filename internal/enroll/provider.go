package enroll

import (
	"github.com/upstreamauth/caddy-upstream-auth/credential"
	"github.com/upstreamauth/caddy-upstream-auth/internal/scheme"
)

// Provider is what taking in credentials needs to know of an upstream API.
type Provider struct {
	Name   string
	Scheme *scheme.Scheme

	// Schemas are what a credential has to fit: the provider's own, if it has one,
	// and its scheme's.
	Schemas []*credential.Schema

	// Expose are the fields that may be shown, by path. Each has to be there.
	Expose []string

	// AllowedHost reports whether the credential may be sent to a host, a name or
	// address with a port. Default: to any.
	AllowedHost func(host string) bool

	// Test is a request that has to succeed with a new credential before that is
	// accepted. Default: none.
	Test *Request

	// Revocation ends a credential at its provider. Default: nothing does.
	Revocation *Revocation

	// Fetch gets a credential from the application when there is none. Default: it
	// is not asked.
	Fetch *Fetch
}

// Values checks a stored credential and returns what the provider's scheme makes of
// it. The error is a [credential.ErrInvalid].
func (p *Provider) Values(cred *credential.Credential) (*scheme.Values, error) {
	for _, schema := range p.Schemas {
		if err := schema.Check(cred); err != nil {
			return nil, err
		}
	}
	return p.Scheme.Resolve(cred)
}

// Exposed returns the values of the exposed fields, in their order. A request cannot do
// without any of them: the error is a [credential.FieldError].
func (p *Provider) Exposed(cred *credential.Credential) ([]string, error) {
	var values []string
	for _, path := range p.Expose {
		value, err := cred.Text(path)
		if err != nil {
			return nil, err
		}
		values = append(values, value)
	}
	return values, nil
}

// usable reports whether requests can be sent with a stored credential. The error is a
// [credential.ErrInvalid].
func (p *Provider) usable(cred *credential.Credential) error {
	if _, err := p.Values(cred); err != nil {
		return err
	}
	_, err := p.Exposed(cred)
	return err
}

// check reports whether a new credential can serve. The error is a
// [credential.ErrInvalid].
func (p *Provider) check(cred *credential.Credential) error {
	if err := p.usable(cred); err != nil {
		return err
	}
	return p.Scheme.Check(cred)
}

func (p *Provider) key(tenant credential.Tenant) credential.Key {
	return credential.Key{Provider: p.Name, Tenant: tenant}
}
