package renew

import (
	"errors"
	"fmt"

	"github.com/upstreamauth/caddy-upstream-auth/credential"
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
	errNoAnswerYet  = fmt.Errorf("%w: the token endpoint has not answered yet", ErrFailed)
	errNoTokens     = fmt.Errorf("%w: the token endpoint's answer has no tokens where they were looked for", ErrFailed)
	errDisabled     = fmt.Errorf("%w: refreshes of the credential are disabled", ErrFailed)
	errBusy         = fmt.Errorf("%w: too many token requests are waiting for the token endpoint", ErrFailed)
	errBreaker      = fmt.Errorf("%w: the token endpoint has not been answering", ErrFailed)
	errDeleted      = fmt.Errorf("%w: the credential was deleted", ErrFailed)
	errNoProvider   = fmt.Errorf("%w: its provider is not configured", ErrFailed)
	errPersonNeeded = fmt.Errorf("%w: the refresh token may have been spent, and takeover is never", ErrReauthorizationRequired)

	// errNoJournal says that there is no journal to write to.
	errNoJournal = errors.New("the journal cannot be written")

	// errPanicked is about a defect of this program.
	errPanicked = errors.New("a defect of this program ended the refresh")

	// errConcurrentUpdate says that somebody else wrote the document: it is to be looked at
	// anew.
	errConcurrentUpdate = errors.New("somebody else wrote the document")

	// errWithoutToken says that new tokens wait for a document that has a refresh token: what
	// is there may be somebody's mistake, or a configuration's.
	errWithoutToken = fmt.Errorf("%w: without a refresh token", credential.ErrInvalid)

	// errTooLate says that what was to be done may not be done any more.
	errTooLate = errors.New("too late")

	// errPending says that a claim is to be taken up later: the store does not take what
	// would settle it, or the document is deleted, or no credential now, and may come back
	// as it was.
	errPending = fmt.Errorf("%w: the document cannot be written now", ErrFailed)
)
