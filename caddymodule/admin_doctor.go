package caddymodule

import (
	"context"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"time"

	"github.com/upstreamauth/caddy-upstream-auth/credential"
)

// report is what was found when everything was looked at that the app needs.
type report struct {
	Healthy  bool                 `json:"healthy"`
	Findings []credential.Finding `json:"findings"`
}

// reportTimeout bounds it. The last of it is for checks to say that they
// were interrupted.
const (
	reportTimeout = 10 * time.Second
	reportGrace   = 500 * time.Millisecond
)

// diagnosable is a store that can look at itself.
type diagnosable interface {
	Diagnose(ctx context.Context, providers []string) []credential.Finding
}

// check is one part of a report, under the name that its findings have.
type check struct {
	check string
	look  func(context.Context) []credential.Finding
}

func adminDoctor(w http.ResponseWriter, c *adminCall) error {
	d := report{Healthy: true, Findings: makeChecks(c.Context(), c.app.checks())}
	for _, f := range d.Findings {
		d.Healthy = d.Healthy && f.OK
	}
	return writeJSON(w, http.StatusOK, d)
}

// makeChecks makes all checks at the same time. One that does not come to an end,
// as on a file system that hangs, is left behind and is a finding of its own.
func makeChecks(ctx context.Context, checks []check) []credential.Finding {
	ctx, cancel := context.WithTimeout(ctx, reportTimeout)
	defer cancel()
	looking, cancelLooking := context.WithTimeout(ctx, reportTimeout-reportGrace)
	defer cancelLooking()
	results := make([]chan []credential.Finding, len(checks))
	for i, e := range checks {
		results[i] = make(chan []credential.Finding, 1)
		go func() { results[i] <- e.look(looking) }()
	}
	findings := []credential.Finding{}
	for i, e := range checks {
		select {
		case found := <-results[i]:
			findings = append(findings, found...)
			continue
		case <-ctx.Done():
		}
		select {
		case found := <-results[i]:
			findings = append(findings, found...)
		default:
			findings = append(findings, credential.Finding{
				Check:  e.check,
				Detail: fmt.Sprintf("there was no answer within %v", reportTimeout),
				Remedy: "See what it waits for: a file system or a server that hangs.",
			})
		}
	}
	return findings
}

// checks are what there is to look at: the store first.
func (a *App) checks() []check {
	names := slices.Sorted(maps.Keys(a.providers))
	var all []check
	if store, ok := a.backend.store.(diagnosable); ok {
		all = append(all, check{"store", func(ctx context.Context) []credential.Finding {
			return store.Diagnose(ctx, names)
		}})
	}
	if a.refreshes() && a.backend.journals != "" {
		all = append(all, check{checkJournal, func(context.Context) []credential.Finding {
			return []credential.Finding{examineJournal(a.backend.journals)}
		}})
	}
	for _, name := range names {
		conf, p := a.Providers[name], a.providers[name]
		all = append(all, conf.checks(p)...)
		if o := conf.oauth2(); o != nil && o.Issuer != "" {
			all = append(all, conf.checkOfIssuer(p))
		}
		if p.Renewer != nil {
			all = append(all, a.checkOfRefreshes(p))
		}
	}
	return all
}
