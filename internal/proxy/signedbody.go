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

// errOverBudget says that a body that has to be signed cannot be recorded now.
var errOverBudget = errors.New("upstream_auth: too much is recorded already")

// signedBody is the body of an exchange for schemes that sign it.
type signedBody Exchange

// Hash implements [scheme.Body].
func (b *signedBody) Hash(h hash.Hash) error {
	if b.body == nil {
		return nil
	}
	lost, err := b.body.Copy(h)
	switch {
	case err != nil:
		b.bodyErr = err
		return err
	case lost == body.TooLarge:
		return scheme.ErrBodyTooLarge
	case lost == body.OverBudget:
		return errOverBudget
	case lost != "":
		return errNotRecorded
	}
	return nil
}

var _ scheme.Body = (*signedBody)(nil)
