package proxy

import (
	"errors"
	"hash"

	"github.com/upstreamauth/caddy-upstream-auth/internal/body"
	"github.com/upstreamauth/caddy-upstream-auth/scheme"
)

// errNotRecorded says that a body that has to be signed cannot be: the file that records
// it could not be written, or it is no message.
var errNotRecorded = errors.New("upstream_auth: the request body cannot be recorded")

// signedBody is the body of an exchange for schemes that sign it.
type signedBody Exchange

// Hash implements [scheme.Body].
func (b *signedBody) Hash(h hash.Hash) error {
	if b.body == nil {
		return nil
	}
	lost, err := b.body.Copy(h)
	switch {
	case lost == body.TooLarge:
		return scheme.ErrBodyTooLarge
	case lost == body.OverBudget:
		return err // a budget.Error
	case lost != "":
		return errNotRecorded
	case err != nil:
		b.bodyErr = err
	}
	return err
}

var _ scheme.Body = (*signedBody)(nil)
