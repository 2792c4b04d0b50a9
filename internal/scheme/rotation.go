package scheme

import (
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
	// [OAuth2.Takeover].
	MinTakeover = 15 * time.Second
)

// CheckRotation reports what is wrong with Rotation, RotationGrace and Takeover.
func (o *OAuth2) CheckRotation() error {
	switch o.Rotation {
	case "", RotationSingleUse, RotationNone:
		if o.RotationGrace != 0 {
			return errors.New("rotation_grace goes with rotation grace")
		}
	case RotationGrace:
		if o.RotationGrace <= 0 {
			return errors.New("rotation grace needs a duration above zero")
		}
	default:
		return fmt.Errorf("rotation %q is none of single_use, grace, none", o.Rotation)
	}
	if o.Takeover > 0 && o.Takeover < MinTakeover {
		return fmt.Errorf("takeover cannot be below %v: whoever is to be taken over from may be about to answer", MinTakeover)
	}
	return nil
}
