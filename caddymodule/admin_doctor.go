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

// diagnosis is what was found when everything was looked at that the app needs.
type diagnosis struct {
	Healthy  bool                 `json:"healthy"`
	Findings []credential.Finding `json:"findings"`
}

// diagnosisTimeout bounds it. The last of it is for examinations to say that they
// were interrupted.
const (
	diagnosisTimeout = 10 * time.Second
	lastWords        = 500 * time.Millisecond
)

// diagnosable is a store that can look at itself.
type diagnosable interface {
	Diagnose(ctx context.Context, providers []string) []credential.Finding
}

// examination is one part of a diagnosis, under the name that its findings have.
type examination struct {
	check string
	look  func(context.Context) []credential.Finding
}

func adminDoctor(w http.ResponseWriter, c *adminCall) error {
	d := diagnosis{Healthy: true, Findings: examine(c.Context(), c.app.examinations())}
	for _, f := range d.Findings {
		d.Healthy = d.Healthy && f.OK
	}
	return writeJSON(w, http.StatusOK, d)
}

// examine makes all examinations at the same time. One that does not come to an end,
// as on a file system that hangs, is left behind and is a finding of its own.
func examine(ctx context.Context, examinations []examination) []credential.Finding {
	ctx, cancel := context.WithTimeout(ctx, diagnosisTimeout)
	defer cancel()
	looking, cancelLooking := context.WithTimeout(ctx, diagnosisTimeout-lastWords)
	defer cancelLooking()
	results := make([]chan []credential.Finding, len(examinations))
	for i, e := range examinations {
		results[i] = make(chan []credential.Finding, 1)
		go func() { results[i] <- e.look(looking) }()
	}
	findings := []credential.Finding{}
	for i, e := range examinations {
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
				Detail: fmt.Sprintf("there was no answer within %v", diagnosisTimeout),
				Remedy: "See what it waits for: a file system or a server that hangs.",
			})
		}
	}
	return findings
}

// examinations are what there is to look at: the store first.
func (a *App) examinations() []examination {
	names := slices.Sorted(maps.Keys(a.providers))
	var all []examination
	if store, ok := a.backend.store.(diagnosable); ok {
		all = append(all, examination{"store", func(ctx context.Context) []credential.Finding {
			return store.Diagnose(ctx, names)
		}})
	}
	if a.refreshes() && a.backend.journals != "" {
		all = append(all, examination{checkJournal, func(context.Context) []credential.Finding {
			return []credential.Finding{examineJournal(a.backend.journals)}
		}})
	}
	for _, name := range names {
		config, p := a.Providers[name], a.providers[name]
		all = append(all, config.examinations(p)...)
		if p.scheme.OAuth2() == nil {
			continue
		}
		if config.OAuth2.Issuer != "" {
			all = append(all, config.examineIssuer(p))
		}
		all = append(all, a.examineRefreshes(p))
	}
	return all
}
