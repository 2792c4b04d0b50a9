package refresh

import (
	"errors"
	"fmt"
)

// Errors of [Coordinator.Refresh], possibly wrapped; ask with [errors.Is]. None
// of them holds a secret, a tenant's name, or text that a token endpoint sent.
var (
	// ErrFailed says that there is no new credential for now.
	ErrFailed = errors.New("refresh failed")

	// ErrReauthorizationRequired says that there will be none until somebody
	// authorizes anew and writes the tokens into the store: the refresh token was
	// refused for good, or there is none.
	ErrReauthorizationRequired = errors.New("reauthorization required")

	// ErrUnchanged is an [ErrFailed]: the credential is of a kind that is not
	// refreshed, and the store has the same as before.
	ErrUnchanged = fmt.Errorf("%w: the store has the same credential", ErrFailed)
)

var (
	errWaited       = errors.New("waited too long")
	errClosed       = fmt.Errorf("%w: shutting down", ErrFailed)
	errNothingNewer = fmt.Errorf("%w: there is no newer credential than the one rejected", ErrFailed)
	errSameToken    = fmt.Errorf("%w: the token endpoint gave the same access token again", ErrFailed)
	errRejected     = fmt.Errorf("%w: the upstream rejected the new credential", ErrFailed)
	errClaimed      = fmt.Errorf("%w: another process has claimed the refresh token and not finished", ErrFailed)
	errDisabled     = fmt.Errorf("%w: refreshes of the credential are disabled", ErrFailed)
	errBreaker      = fmt.Errorf("%w: the token endpoint has not been answering", ErrFailed)
	errDeleted      = fmt.Errorf("%w: the credential was deleted", ErrFailed)
	errPersonNeeded = fmt.Errorf("%w: the refresh token may have been spent, and takeover is never", ErrReauthorizationRequired)
)
