package scheme

import (
	"cmp"
	"errors"
	"fmt"
	"time"
)

// Rotation is what becomes of a refresh token that was used (RFC 6749 section 6,
// RFC 9700 section 4.14).
type Rotation string

const (
	// RotationSingleUse says that it is worth nothing any more, or that its use
	// gives an alarm.
	RotationSingleUse Rotation = "single_use"
	// RotationGrace says that it still counts for some time.
	RotationGrace Rotation = "grace"
	// RotationNone says that it stays what it is.
	RotationNone Rotation = "none"
)

const (
	// DefaultTakeover is how long a claim whose owner is silent is left alone.
	DefaultTakeover = 10 * time.Minute

	// MinTakeover is longer than its owner may take to send the token: see
	// [Renewal].
	MinTakeover = 15 * time.Second

	// MinKeepAlive is the shortest time after which a refresh token that is not used is
	// renewed: what ends sooner is a session, and should end.
	MinKeepAlive = time.Hour
)

// DefaultRefreshAhead is how long before its expiry a token is renewed.
const DefaultRefreshAhead = 60 * time.Second

// Renewal is how the tokens of a [Renewer] are spent and renewed. A Renewer that has
// other than the defaults implements
//
//	Renewal() Renewal
type Renewal struct {
	// RefreshAhead is how long before its expiry a token is renewed. Default:
	// [DefaultRefreshAhead]; negative: not ahead of its expiry.
	RefreshAhead time.Duration

	// Rotation is what becomes of a token that was spent. Default: [RotationSingleUse].
	Rotation Rotation

	// RotationGrace is how long, with [RotationGrace], the previous one still counts.
	RotationGrace time.Duration

	// Takeover is how old a claim has to be before another process takes it over whose
	// owner fell silent. Default: [DefaultTakeover]; at least [MinTakeover], as its owner
	// has 10 s to send the token; negative: never.
	Takeover time.Duration

	// KeepAlive is how long a refresh token is left unused before it is renewed although no
	// request comes. Default: for ever; at least [MinKeepAlive].
	KeepAlive time.Duration
}

// RenewalOf returns how the tokens of a renewer are spent, with the defaults filled in.
func RenewalOf(r Renewer) Renewal {
	var renewal Renewal
	if own, ok := r.(interface{ Renewal() Renewal }); ok {
		renewal = own.Renewal()
	}
	renewal.SetDefaults()
	return renewal
}

// SetDefaults fills in what is not set.
func (r *Renewal) SetDefaults() {
	r.RefreshAhead = cmp.Or(r.RefreshAhead, DefaultRefreshAhead)
	r.Rotation = cmp.Or(r.Rotation, RotationSingleUse)
	r.Takeover = cmp.Or(r.Takeover, DefaultTakeover)
}

// Check reports what is wrong.
func (r *Renewal) Check() error {
	switch r.Rotation {
	case "", RotationSingleUse, RotationNone:
		if r.RotationGrace != 0 {
			return errors.New("rotation_grace goes with rotation grace")
		}
	case RotationGrace:
		if r.RotationGrace <= 0 {
			return errors.New("rotation grace needs a duration above zero")
		}
	default:
		return fmt.Errorf("rotation %q is none of single_use, grace, none", r.Rotation)
	}
	if r.Takeover > 0 && r.Takeover < MinTakeover {
		return fmt.Errorf("takeover cannot be below %v: whoever is to be taken over from may be about to answer", MinTakeover)
	}
	switch {
	case r.KeepAlive == 0:
	case r.KeepAlive < MinKeepAlive:
		return fmt.Errorf("keep_alive cannot be below %v: refresh tokens that end sooner are for sessions, and every tenant's would be spent that often", MinKeepAlive)
	case r.Rotation == RotationNone:
		return errors.New("keep_alive goes by claims, so that each token is spent once, and rotation none does without: " +
			"a token that does not change needs no keep_alive, and one that ends unless it is used is to have another rotation")
	}
	return nil
}
