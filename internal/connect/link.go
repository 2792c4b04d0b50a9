package connect

import (
	"context"
	"crypto/rand"
	"net/http"
	"net/url"
	"time"

	"github.com/upstreamauth/caddy-upstream-auth/credential"
	"github.com/upstreamauth/caddy-upstream-auth/internal/links"
)

// link is what a link says: where it is registered. All else lies there.
type link struct {
	ID       string            `json:"id"`
	Provider string            `json:"provider"`
	Tenant   credential.Tenant `json:"tenant"`
	Expires  int64             `json:"expires"` // seconds since 1970
}

func (l *link) expires() time.Time { return time.Unix(l.Expires, 0) }

func (l *link) key() credential.Key {
	return credential.Key{Provider: l.Provider, Tenant: l.Tenant}
}

// What is sealed.
const (
	linkKind  = "link"
	stateKind = "state"
)

// LinkOptions are what a link can want.
type LinkOptions struct {
	// ReturnTo is where the browser is sent in the end, with the parameter status, which
	// is success or error. Default: a page says how it went.
	ReturnTo string

	// Handoff has whoever opens the link need a code, too, which the application shows in
	// its own session or puts into the link's query as handoff.
	Handoff bool

	// Account has to be true of the account that is connected: values of claims by their
	// names, of the id token or else of the userinfo.
	Account map[string]string

	// Parameters answer questions, by their paths, so that nobody asks the person.
	Parameters map[string]string
}

// NewLink is a link that was made.
type NewLink struct {
	URL     string
	Expires time.Time
	Handoff string // the code, if the link wants one
}

// codeLength is that of a handoff code in characters, of five bits each: a person may
// have to type it, and a link takes few wrong ones.
const codeLength = 10

// Link makes a link with which somebody connects an account to tenant, until it expires
// or until it is done.
//
// Errors: [credential.ErrTenantMissing], [credential.ErrTenantInvalid], [ErrReturnTo],
// [ErrAccount], [ErrParameters], a [links.QuotaError], or the store's.
func (f *Flow) Link(ctx context.Context, tenant credential.Tenant, o LinkOptions) (*NewLink, error) {
	if _, err := credential.ParseTenant(string(tenant)); err != nil {
		return nil, err
	}
	if o.ReturnTo != "" && !f.mayReturnTo(o.ReturnTo) {
		return nil, ErrReturnTo
	}
	if err := f.checkAccount(o.Account); err != nil {
		return nil, err
	}
	if err := f.checkGiven(o.Parameters); err != nil {
		return nil, err
	}
	made := &NewLink{Expires: time.Now().Add(f.config.LinkTTL).Truncate(time.Second).UTC()}
	l := link{ID: rand.Text(), Provider: f.config.Provider, Tenant: tenant, Expires: made.Expires.Unix()}
	registered := links.Link{Expires: made.Expires, ReturnTo: o.ReturnTo, Account: o.Account, Parameters: o.Parameters}
	if o.Handoff {
		made.Handoff = rand.Text()[:codeLength]
		registered.Handoff = links.Fingerprint(l.ID, made.Handoff)
	}
	sealed, err := f.config.Links.Seal(ctx, linkKind, &l)
	if err != nil {
		return nil, err
	}
	if err := f.config.Links.Add(ctx, l.key(), l.ID, registered); err != nil {
		return nil, err
	}
	made.URL = f.redirects[0].startURL() + "?link=" + sealed
	return made, nil
}

// openLink opens the link of r, of this provider and not expired. Whether it can still be
// used its registration tells.
func (f *Flow) openLink(r *http.Request) (*link, url.Values, error) {
	query, err := parameters(r, "link", "handoff")
	if err != nil {
		return nil, nil, err
	}
	if query.Get("link") == "" {
		return nil, nil, errNoLink
	}
	l := new(link)
	if err := f.config.Links.Open(r.Context(), linkKind, query.Get("link"), l); err != nil {
		return nil, nil, err
	}
	switch {
	case l.Provider != f.config.Provider:
		return nil, nil, ErrOtherProvider
	case !time.Now().Before(l.expires()):
		return nil, nil, ErrExpired
	}
	return l, query, nil
}
