package explain

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/upstreamauth/caddy-upstream-auth/credential"
	"github.com/upstreamauth/caddy-upstream-auth/internal/lifecycle"
	"github.com/upstreamauth/caddy-upstream-auth/internal/renew"
	"github.com/upstreamauth/caddy-upstream-auth/internal/upstream"
)

const (
	// refreshReads is how many credentials are read at the same time.
	refreshReads = 8

	// maxRefreshReads is how many credentials are read to see whether what happened last
	// still counts: those to which it happened last.
	maxRefreshReads = 100

	// maxRefreshFindings is how many kinds of failures are told of a provider: the most
	// frequent ones.
	maxRefreshFindings = 5
)

// failureGroup are credentials whose last refresh failed of the same.
type failureGroup struct {
	count  int
	newest renew.Event
}

// Refreshes looks at what happened last to the credentials of a provider. It tells
// numbers, and no tenants' names.
func Refreshes(p *upstream.Provider, coordinator *renew.Coordinator, service *lifecycle.Service) Check {
	return Check{Name: checkRefresh, Look: func(ctx context.Context) []credential.Finding {
		type cause struct {
			text, code string
			status     int
		}
		groups := make(map[cause]*failureGroup)
		refused, disabled := 0, 0
		for _, e := range presentOutcomes(ctx, p, coordinator, service) {
			switch {
			case e.Kind == renew.Refused:
				refused++
			case e.Kind == renew.Disabled:
				disabled++
			case IsFailure(&e):
				c := cause{Cause(&e), e.Code, e.Status}
				if groups[c] == nil {
					groups[c] = &failureGroup{newest: e} // they come with the newest first
				}
				groups[c].count++
			}
		}
		var failures []*failureGroup
		for _, g := range groups {
			failures = append(failures, g)
		}
		slices.SortFunc(failures, func(a, b *failureGroup) int {
			return cmp.Or(b.count-a.count, b.newest.At.Compare(a.newest.At))
		})
		var findings []credential.Finding
		for _, g := range failures[:min(len(failures), maxRefreshFindings)] {
			findings = append(findings, credential.Finding{
				Check: checkRefresh,
				Detail: fmt.Sprintf("provider %s: the last refresh of %s failed, at %s: %s",
					p.Name, credentials(g.count), UTC(g.newest.At).Format(time.RFC3339), Cause(&g.newest)),
				Remedy: Remedy(p, &g.newest),
			})
		}
		switch known := knownCounts(refused, disabled); {
		case len(failures) == 0:
			detail := "provider " + p.Name + ": no refresh is known that failed last"
			if known != "" {
				detail = "provider " + p.Name + ": no refresh failed last, but for " + known
			}
			findings = append(findings, credential.Finding{Check: checkRefresh, OK: true, Detail: detail})
		case known != "":
			findings = append(findings, credential.Finding{Check: checkRefresh, OK: true, Detail: "provider " + p.Name + ": besides, " + known})
		}
		return findings
	}}
}

func credentials(n int) string {
	if n == 1 {
		return "1 credential"
	}
	return fmt.Sprintf("%d credentials", n)
}

// knownCounts says of how many credentials it is known that somebody has to do something
// for them, which is no fault of the setup.
func knownCounts(refused, disabled int) string {
	var parts []string
	if refused > 0 {
		parts = append(parts, credentials(refused)+" whose tenants have to sign in again")
	}
	if disabled > 0 {
		parts = append(parts, credentials(disabled)+" that operators have disabled")
	}
	return strings.Join(parts, " and ")
}

// presentOutcomes returns what happened last to credentials of a provider, the newest
// first, without what does not count any more: the credential is another one by now, or
// gone, or it was the store that failed and does not now.
func presentOutcomes(ctx context.Context, p *upstream.Provider, coordinator *renew.Coordinator, service *lifecycle.Service) []renew.Event {
	events := coordinator.LastOutcomes(p.Name)
	events = slices.DeleteFunc(events, func(e renew.Event) bool { return !IsFailure(&e) && e.Kind != renew.Disabled })
	past := make([]bool, len(events))
	var group errgroup.Group
	group.SetLimit(refreshReads)
	for i := range events[:min(len(events), maxRefreshReads)] {
		group.Go(func() error {
			e := &events[i]
			cred, err := service.Get(ctx, p, e.Tenant)
			past[i] = errors.Is(err, credential.ErrNotFound) || err == nil && (!e.Concerns(cred) || isPastOutage(e))
			return nil
		})
	}
	_ = group.Wait()
	var present []renew.Event
	for i, e := range events {
		if !past[i] {
			present = append(present, e)
		}
	}
	return present
}

// isPastOutage reports whether it is all that was wrong that the store could not be read.
func isPastOutage(e *renew.Event) bool {
	return e.Kind == renew.StoreFailed && !errors.Is(e.Err, credential.ErrForbidden)
}
