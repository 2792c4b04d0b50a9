package explain

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/upstreamauth/caddy-upstream-auth/credential"
)

// Report is what was found when everything was looked at that the app needs.
type Report struct {
	Healthy  bool                 `json:"healthy"`
	Findings []credential.Finding `json:"findings"`
}

// reportTimeout bounds it. The last of it is for checks to say that they
// were interrupted.
const (
	reportTimeout = 10 * time.Second
	reportGrace   = 500 * time.Millisecond
)

// Check is one part of a report, under the name that its findings have.
type Check struct {
	Name string
	Look func(context.Context) []credential.Finding

	// AtStart says that it looks at nothing but this machine, and so at start, too.
	AtStart bool
}

// Run makes all checks at the same time. One that does not come to an end, as on a file
// system that hangs, is left behind and is a finding of its own.
func Run(ctx context.Context, checks []Check) Report {
	ctx, cancel := context.WithTimeout(ctx, reportTimeout)
	defer cancel()
	looking, cancelLooking := context.WithTimeout(ctx, reportTimeout-reportGrace)
	defer cancelLooking()
	results := make([]chan []credential.Finding, len(checks))
	for i, e := range checks {
		results[i] = make(chan []credential.Finding, 1)
		go func() { results[i] <- e.Look(looking) }()
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
				Check:  e.Name,
				Detail: fmt.Sprintf("there was no answer within %v", reportTimeout),
				Remedy: "See what it waits for: a file system or a server that hangs.",
			})
		}
	}
	healthy := !slices.ContainsFunc(findings, func(f credential.Finding) bool { return !f.OK })
	return Report{Healthy: healthy, Findings: findings}
}
