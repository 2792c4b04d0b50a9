package explain

import (
	"context"
	"fmt"

	"github.com/upstreamauth/caddy-upstream-auth/credential"
	"github.com/upstreamauth/caddy-upstream-auth/internal/upstream"
)

const checkClock = "clock"

// clockRemedy is what to do about clocks that are apart.
const clockRemedy = "Set the clock that is wrong; if it is this machine's, keep it right by NTP: timedatectl set-ntp true. " +
	"Signed tokens and times of expiry depend on it."

// UpstreamClock tells whether a provider's upstream, when it last refused a credential, had
// another time than this machine.
func UpstreamClock(p *upstream.Provider) Check {
	return Check{Name: checkClock, Look: func(context.Context) []credential.Finding {
		ahead := p.Clock.Ahead()
		if ahead == 0 {
			return nil
		}
		direction := "ahead of"
		if ahead < 0 {
			direction = "behind"
		}
		return []credential.Finding{{
			Check:  checkClock,
			Detail: fmt.Sprintf("the upstream of provider %s refuses credentials, and its clock is about %v %s this machine's", p.Name, ahead.Abs(), direction),
			Remedy: clockRemedy,
		}}
	}}
}
