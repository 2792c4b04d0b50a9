package simulation

import (
	"math/rand/v2"
	"time"

	"github.com/upstreamauth/caddy-upstream-auth/scheme"
)

// canary begins all that is secret.
const canary = "canary-"

// rules are how a provider treats its tokens, and what we are told of it.
type rules struct {
	rotation scheme.Rotation
	grace    time.Duration
	takeover time.Duration // negative: never

	lasting    bool          // the server leaves refresh tokens as they are, though it is configured otherwise
	keepsOld   bool          // an access token outlives the next one's issue
	silentLast bool          // a lasting refresh token is not repeated in the answer
	lives      time.Duration // an access token
	tells      bool          // answers say how long access tokens live
}

// rotates reports whether the server gives a new refresh token each time.
func (r *rules) rotates() bool { return r.rotation != scheme.RotationNone && !r.lasting }

func (r *rules) never() bool { return r.takeover < 0 }

// sharing returns rules of another tenant of the same provider: how it is configured is
// the same, how its tokens are treated need not be.
func (r rules) sharing(with *rand.Rand) rules {
	other := randomRules(with)
	other.rotation, other.grace, other.takeover = r.rotation, r.grace, r.takeover
	if other.rotation == scheme.RotationNone {
		other.lasting = false
	}
	return other
}

func randomRules(r *rand.Rand) rules {
	made := rules{
		rotation: scheme.RotationSingleUse,
		takeover: choose(r, 15*time.Second, 20*time.Second, 30*time.Second, time.Minute),
		keepsOld: r.IntN(3) == 0,
		lives:    between(r, 2*time.Second, 15*time.Second),
		tells:    r.IntN(2) == 0,
	}
	switch r.IntN(10) {
	case 0, 1:
		made.takeover = -1
	case 2, 3:
		made.rotation = scheme.RotationGrace
		made.grace = choose(r, 10*time.Second, 30*time.Second, time.Minute)
	case 4:
		made.rotation = scheme.RotationNone
		made.silentLast = r.IntN(2) == 0
	case 5:
		made.lasting = true
		made.silentLast = r.IntN(2) == 0
	}
	return made
}

// profile is how often what goes wrong in a run: chances at one passing of an edge,
// and numbers of what comes by itself.
type profile struct {
	storeFails, storeSlow, storeLosesAnswer, storeLate, storeLies float64
	journalFails, journalLosesAnswer, journalBreaks, journalSlow  float64
	refused, connectSlow                                          float64
	dropsBefore, dropsAfter, arrivesLate, answersLate             float64
	unlooked, serverError, odd, cut, slowEndpoint                 float64
	crash, stop                                                   float64

	coarseClock bool // the store tells the time in seconds

	crashes, stops, outages, operations int
	lasts                               time.Duration
}

// randomProfile switches half of all faults off, so that the others are seen in
// combinations that do not drown in noise.
func randomProfile(r *rand.Rand) profile {
	chance := func(of ...float64) float64 {
		if r.IntN(2) == 0 {
			return 0
		}
		return choose(r, of...)
	}
	often := func() float64 { return chance(0.02, 0.05, 0.15) }
	number := func(most int) int { return max(0, r.IntN(2*most)-most+1) }
	return profile{
		storeFails: often(), storeSlow: often(), storeLosesAnswer: often(), storeLate: often(), storeLies: often(),
		journalFails: often(), journalLosesAnswer: often(), journalBreaks: often(), journalSlow: often(),
		refused: often(), connectSlow: often(),
		dropsBefore: often(), dropsAfter: often(), arrivesLate: often(), answersLate: chance(0.1, 0.3),
		unlooked: often(), serverError: often(), odd: often(), cut: often(), slowEndpoint: chance(0.1, 0.5, 1),
		crash: chance(0.003, 0.01, 0.03), stop: chance(0.003, 0.01, 0.03),
		crashes: number(3), stops: number(2), outages: number(2), operations: number(4),
		lasts:       between(r, 20*time.Second, 70*time.Second),
		coarseClock: r.IntN(4) != 0,
	}
}
