package lifecycle

import (
	"errors"
	"time"

	"github.com/maypok86/otter/v2"
	"golang.org/x/sync/singleflight"

	"github.com/upstreamauth/caddy-upstream-auth/credential"
	"github.com/upstreamauth/caddy-upstream-auth/internal/budget"
	"github.com/upstreamauth/caddy-upstream-auth/internal/upstream"
)

// maxOutcomes bounds how many tenants' last fetches are remembered.
const maxOutcomes = 100_000

// fetches is what is remembered of fetches: those under way, and what became of the
// last ones.
type fetches struct {
	flights  singleflight.Group
	outcomes *otter.Cache[credential.Key, outcome]
}

// outcome is what became of a fetch. The application is not asked again before until.
type outcome struct {
	err   error // nil: there was a credential
	until time.Time
}

func newFetches() *fetches {
	return &fetches{outcomes: otter.Must(&otter.Options[credential.Key, outcome]{MaximumSize: maxOutcomes})}
}

// known returns why the application need not be asked now, nil if it is to be. After
// a success it is asked again at once if the store has lost the credential, but not
// if the upstream rejects what it gave.
func (f *fetches) known(p *upstream.Provider, tenant credential.Tenant, rejected *credential.Credential) error {
	last, ok := f.outcomes.GetIfPresent(p.Key(tenant))
	switch {
	case !ok || !time.Now().Before(last.until):
		return nil
	case last.err == nil && rejected != nil:
		return ErrSame
	case rejected == nil && errors.Is(last.err, ErrSame):
		return nil
	}
	return last.err
}

// note remembers what became of a fetch. What the store did not do, or there was no room
// for, says nothing of the application.
func (f *fetches) note(p *upstream.Provider, tenant credential.Tenant, err error) {
	_, busy := errors.AsType[*budget.Error](err)
	if _, asked := errors.AsType[*upstream.FetchError](err); busy || !asked && errors.Is(err, credential.ErrUnavailable) {
		return
	}
	f.outcomes.Set(p.Key(tenant), outcome{err: err, until: time.Now().Add(p.Fetch.NegativeTTL)})
}
