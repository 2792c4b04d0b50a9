package connect

import (
	"context"
	"crypto/rand"
	"time"

	"github.com/upstreamauth/caddy-upstream-auth/credential"
)

// link is what a link says.
type link struct {
	ID       string            `json:"id"`
	Provider string            `json:"provider"`
	Tenant   credential.Tenant `json:"tenant"`
	ReturnTo string            `json:"return_to,omitempty"`
	Expires  int64             `json:"expires"` // seconds since 1970
}

func (l *link) expires() time.Time { return time.Unix(l.Expires, 0) }

// Link makes a link with which somebody connects an account to tenant, until
// expires or until it is done. If returnTo is not empty the browser is sent there
// in the end, with the parameter status, which is success or error; otherwise a
// page says how it went.
//
// Errors: [credential.ErrTenantMissing], [credential.ErrTenantInvalid],
// [ErrReturnTo], or that there is no key.
func (f *Flow) Link(ctx context.Context, tenant credential.Tenant, returnTo string) (address string, expires time.Time, err error) {
	if _, err := credential.ParseTenant(string(tenant)); err != nil {
		return "", time.Time{}, err
	}
	if returnTo != "" && !f.mayReturnTo(returnTo) {
		return "", time.Time{}, ErrReturnTo
	}
	s, err := f.sealer(ctx)
	if err != nil {
		return "", time.Time{}, err
	}
	expires = time.Now().Add(f.config.LinkTTL).Truncate(time.Second)
	sealed, err := s.seal(linkKind, link{
		ID:       rand.Text(),
		Provider: f.config.Provider,
		Tenant:   tenant,
		ReturnTo: returnTo,
		Expires:  expires.Unix(),
	})
	if err != nil {
		return "", time.Time{}, err
	}
	return f.redirects[0].startURL() + "?link=" + sealed, expires, nil
}

// openLink opens a link that can still be used.
func (f *Flow) openLink(ctx context.Context, sealed string) (*link, error) {
	s, err := f.sealer(ctx)
	if err != nil {
		return nil, err
	}
	l := new(link)
	if err := s.open(linkKind, sealed, l); err != nil {
		return nil, err
	}
	switch {
	case l.Provider != f.config.Provider:
		return nil, ErrOtherProvider
	case !time.Now().Before(l.expires()):
		return nil, ErrExpired
	case f.usedLinks.has(l.ID):
		return nil, ErrUsed
	}
	return l, nil
}
