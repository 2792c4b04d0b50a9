package journal

import (
	"errors"
	"io/fs"
)

// Errors of this package, possibly wrapped; ask with [errors.Is].
var (
	// ErrBroken says that a journal has failed for good. Nobody knows what of its
	// last records is on the disk, so it takes no more: fsync(2) reports a failure
	// once and succeeds after it, with the data gone. It still tells what it has in
	// memory. Open another, claim and answer there, under the same nonces, what
	// is unsettled here, settle it here and close this one, which removes its
	// file. To close it before is to tell others that its process has exited.
	ErrBroken = errors.New("journal has failed")

	// ErrClosed says that a journal is used after [Adopted.Close].
	ErrClosed = errors.New("journal is closed")

	// ErrNonce says that a nonce does not fit: a claim under the nonce of an open
	// one, an answer to a claim that is not open, or a second answer.
	ErrNonce = errors.New("journal: the nonce is in use, or no claim without an answer has it")

	// ErrTooLarge says that something is longer than a journal takes; see
	// [MaxResponse] and [MaxText].
	ErrTooLarge = errors.New("journal: too large")

	// ErrForeign is the reason for which a file is left that was written under
	// another key: for another store.
	ErrForeign = errors.New("written under another key")

	// ErrDamaged is the reason for which a file is left that no process left so by
	// its death. Somebody has to look at it.
	ErrDamaged = errors.New("damaged")
)

// FileError says why [Directory.Adopt] left a file as it was: [ErrForeign],
// [ErrDamaged], or an error of the operating system.
type FileError struct {
	Path string
	Err  error

	// Answered is what a damaged file still gave: claims with their answers. They
	// may have been settled long ago, in a record that is lost. Claims without an
	// answer are not among them: their answers may be what is lost.
	Answered []PendingClaim
}

func (e *FileError) Error() string { return "journal " + e.Path + ": " + e.Err.Error() }

// Unwrap returns the reason.
func (e *FileError) Unwrap() error { return e.Err }

// fileError is about the file at path, which err need not name again.
func fileError(path string, err error) *FileError {
	var named *fs.PathError
	if errors.As(err, &named) {
		err = named.Err
	}
	return &FileError{Path: path, Err: err}
}
