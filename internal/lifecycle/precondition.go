package lifecycle

import (
	"errors"
	"slices"

	"github.com/upstreamauth/caddy-upstream-auth/credential"
)

// ErrPrecondition says that a write was not made because the credential is not as
// the caller wanted it to be.
var ErrPrecondition = errors.New("the credential is not as the precondition says")

// Precondition is what has to hold of the present credential for a write to be made
// (RFC 9110, section 13.1). The zero value demands nothing.
type Precondition struct {
	// Versions says that the present version is one of these, if it is not nil.
	Versions []uint64

	// Present says that there is a credential.
	Present bool

	// Absent says that there is none.
	Absent bool
}

// check holds p against what a read of the store brought: a credential, or none for
// the reason err. With a [credential.ErrInvalid] there is something all the same.
func (p Precondition) check(present *credential.Credential, err error) error {
	there := present != nil || errors.Is(err, credential.ErrInvalid)
	switch {
	case p.Absent && there,
		p.Present && !there,
		p.Versions != nil && (present == nil || !slices.Contains(p.Versions, present.Version())):
		return ErrPrecondition
	}
	return nil
}
