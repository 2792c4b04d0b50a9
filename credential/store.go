package credential

import (
	"context"
	"errors"
	"time"
)

// Errors that a [Store] returns, possibly wrapped; ask with [errors.Is].
var (
	// ErrNotFound says that the store answered and has nothing under the key:
	// it never had, or what it had is deleted.
	ErrNotFound = errors.New("credential not found")

	// ErrConflict says that a check-and-set lost: the store holds another
	// version than the one expected, and this call wrote nothing.
	ErrConflict = errors.New("credential was changed by somebody else")

	// ErrUnavailable says that the store did not answer, or did not do what was
	// asked for a reason that says nothing of the credential: it is unreachable
	// or sealed, the mount does not exist, the policy forbids. After a Put or a
	// Delete it leaves open whether the change was made; only a Get can tell.
	ErrUnavailable = errors.New("credential store unavailable")

	// ErrForbidden says that the store answered and may not do what was asked: its
	// policy forbids it, whoever asks and however often. Nothing was read or written.
	// It is a [PermissionError], and an [ErrUnavailable] as well.
	ErrForbidden = errors.New("forbidden by the credential store's policy")

	// ErrReadOnly says that the store has no check-and-set and so takes no
	// writes (Vault's KV version 1).
	ErrReadOnly = errors.New("credential store is read-only")
)

// Document is a stored JSON object with what the store knows of it.
type Document struct {
	// Data is the JSON object as it was stored, up to the store's own
	// reformatting. Its readers do not change it.
	Data []byte

	// Version is what a check-and-set is made against. It grows with each write
	// and starts at 1; 0 stands for "never written". A store without versions
	// leaves it 0.
	Version uint64

	// WrittenAt is when this version was written, by the store's clock; zero if
	// the store does not say.
	WrittenAt time.Time

	// DeletedAt is when this version was deleted, by the same clock; zero if it was
	// not, or if the store does not say.
	DeletedAt time.Time

	// ReadAt is when the store answered, by the same clock; zero if it does not
	// say. It may be as coarse as a second.
	ReadAt time.Time
}

// Age is how old the version was when the store answered, by the store's own
// clock; ok is false if the store does not say.
func (d Document) Age() (age time.Duration, ok bool) {
	if d.WrittenAt.IsZero() || d.ReadAt.IsZero() {
		return 0, false
	}
	return d.ReadAt.Sub(d.WrittenAt), true
}

// Store keeps one JSON object per [Key]. All its methods are safe for concurrent
// use, talk to the store itself and not to a cache, return when ctx is done, and
// do not repeat a request whose outcome is unknown. Every Store passes the suite
// in package storetest.
type Store interface {
	// Get returns the newest version. With [ErrNotFound] for a deleted document
	// the returned Version is that of the deletion's mark, so that a Put against
	// it can still tell whether anything happened in between.
	Get(ctx context.Context, key Key) (Document, error)

	// GetVersion returns one version of the document. The newest and, unless that
	// was deleted, the one before it are kept, older ones at the store's pleasure;
	// what is not kept is [ErrNotFound]. Where the store still knows that there was
	// such a version and that it was deleted, the error comes with a Document that
	// has its Version and no Data; otherwise with the zero Document.
	GetVersion(ctx context.Context, key Key, version uint64) (Document, error)

	// Put writes data, a JSON object, if the newest version is still version,
	// and returns the new version. Version 0 writes only where nothing was ever
	// written, or where all trace of it is gone. [ErrConflict] says that nothing
	// was written; after [ErrUnavailable] the outcome is unknown.
	Put(ctx context.Context, key Key, data []byte, version uint64) (uint64, error)

	// Delete removes the newest version. Deleting what is not there is no error.
	Delete(ctx context.Context, key Key) error

	// List returns the tenants that have a document for provider, in ascending byte
	// order: at most limit of those that follow after, which is any text; "" begins
	// at the first. It may name some whose newest version is deleted; a Get tells.
	// The error is that of [CheckProvider], or an [ErrUnavailable].
	List(ctx context.Context, provider string, after Tenant, limit int) ([]Tenant, error)
}
