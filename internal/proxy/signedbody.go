package proxy

import (
	"errors"
	"hash"
	"io"

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
	if err := b.lost(); err != nil {
		return err // Nothing is asked of the client in vain.
	}
	cursor := b.body.open(nil, nil)
	defer func() { _ = cursor.Close() }()
	buffer := newChunk(0, largeChunk)
	defer buffer.free()
	for {
		n, err := cursor.Read(buffer.buf)
		h.Write(buffer.buf[:n])
		if lost := b.lost(); lost != nil {
			return lost
		}
		switch {
		case err == io.EOF: //nolint:errorlint // the end of a Reader is never wrapped
			return nil
		case err != nil:
			b.bodyErr = err
			return err
		}
	}
}

// lost says why the body cannot be sent once it is hashed; nil if it can be.
func (b *signedBody) lost() error {
	switch b.body.whyLost() {
	case "":
		return nil
	case skipTooLarge:
		return scheme.ErrBodyTooLarge
	default:
		return errNotRecorded
	}
}

var _ scheme.Body = (*signedBody)(nil)
