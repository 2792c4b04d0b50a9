package vaultstore

import (
	"context"
	"errors"
	"time"
)

// A grant is a token of Vault. Two grants are the same if their pointers are; a
// renewal keeps the grant.
type grant struct {
	token    string
	obtained time.Time
}

// A session has the token that requests are made with.
type session interface {
	// token returns the current grant. It waits for a login that is under way,
	// until ctx is done, and fails at once while one that failed rests.
	token(ctx context.Context) (*grant, error)

	// replace returns a grant in the place of one that Vault refused, after a
	// login or what else it takes. It returns nil, and no error, when there is
	// nothing better to be had: the refusal stands.
	replace(ctx context.Context, refused *grant) (*grant, error)

	// run keeps the session alive until ctx is done, and calls obtained with each
	// new grant in place.
	run(ctx context.Context, obtained func(context.Context))
}

// errClosed says that the store was closed before it had a token.
var errClosed = errors.New("the store is closed")

// minLoginInterval is how old a token must be for its refusal to be a reason to
// log in again, and so bounds the rate of such logins: a fresh token that is
// refused is a matter of the policy.
const minLoginInterval = time.Second
