package vaultstore

import (
	"context"
	"errors"
	"time"
)

// A vaultToken is a token of Vault. Two are the same if their pointers are; a
// renewal keeps the token.
type vaultToken struct {
	token    string
	obtained time.Time
}

// A session has the token that requests are made with.
type session interface {
	// token returns the current token. It waits for a login that is under way,
	// until ctx is done, and fails at once while one that failed backs off.
	token(ctx context.Context) (*vaultToken, error)

	// replace returns a token in the place of one that Vault refused, after a
	// login or what else it takes. It returns nil, and no error, when there is
	// nothing better to be had: the refusal stands.
	replace(ctx context.Context, refused *vaultToken) (*vaultToken, error)

	// run keeps the session alive until ctx is done, and calls obtained with each
	// new token in place.
	run(ctx context.Context, obtained func(context.Context))
}

// errClosed says that the store was closed before it had a token.
var errClosed = errors.New("the store is closed")

// minLoginInterval is how old a token must be for its refusal to be a reason to
// log in again, and so bounds the rate of such logins: a fresh token that is
// refused is a matter of the policy.
const minLoginInterval = time.Second
