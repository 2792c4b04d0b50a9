package refresh

import (
	"fmt"
	"time"

	"github.com/upstreamauth/caddy-upstream-auth/credential"
	"github.com/upstreamauth/caddy-upstream-auth/internal/scheme"
)

// grant is a token endpoint's successful answer.
type grant struct {
	spent    string    // the refresh token
	response []byte    // a JSON object
	whole    bool      // nothing of the answer is missing
	at       time.Time // when the endpoint was asked: lifetimes start no later
	refusal  *problem  // an error in the answer in spite of its status
}

// newGrant makes a grant of an answer with a successful status. Without one the
// problem says why.
func newGrant(a *answer, spent string, at time.Time) (*grant, *problem) {
	object, problem := a.classify()
	if object == nil {
		return nil, problem
	}
	_, whole := a.object()
	return &grant{spent: spent, response: object, whole: whole, at: at, refusal: problem}, problem
}

// over returns base with the tokens of g merged over it, as the store will have
// it; nil if there is nothing to store. The error is an [ErrFailed] that says why
// the result is of no use to a request: it has the new refresh token and no more.
func (g *grant) over(o *scheme.OAuth2, base *credential.Credential) (*credential.Credential, error) {
	document, err := o.Merge(base.Stored(), g.response, g.at)
	switch {
	case g.refusal != nil:
		err = fmt.Errorf("%w: %w", ErrFailed, g.refusal)
	case err != nil:
		err = fmt.Errorf("%w: token endpoint: %w", ErrFailed, err)
	}
	if document == nil {
		return nil, err
	}
	fresh, newErr := credential.New(credential.Document{Data: document, Version: base.Version() + 1, WrittenAt: g.at})
	if newErr != nil {
		return nil, fmt.Errorf("%w: merge the token response: %w", ErrFailed, newErr)
	}
	if token, _ := o.RefreshToken(fresh); err != nil && token == g.spent {
		return nil, err
	}
	return fresh, err
}
