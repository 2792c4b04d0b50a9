package journal

// Directory is where the processes that can take over from each other keep their
// journals: [Disk], or one in memory for tests (package journaltest).
type Directory interface {
	// Open begins a new journal, which nobody adopts while this process lives and
	// has not closed it.
	Open() (Journal, error)

	// Adopt takes over the journals of exited processes that have something unsettled, and
	// removes those that have nothing. Of several who try, one gets a journal. It
	// returns those that it got; those of them that it had to leave as they are,
	// with the reason; and an error if it could not look at all. A directory that does
	// not exist is empty. It is called at start and from time to time; a file that
	// is left is left each time.
	Adopt() (adopted []Adopted, left []*FileError, err error)
}

// Journal is a living process's own. Its methods may be called concurrently.
type Journal interface {
	Adopted

	// Claim notes that a credential is about to be claimed. It returns once the
	// note is on the disk. After an error the claim must not be made: the note may
	// be there or not.
	//
	// An error of Claim that is neither [ErrBroken] nor [ErrClosed] leaves the
	// journal as it was, and usable (a full disk, say).
	Claim(note ClaimRecord) error

	// Answer notes what the token endpoint answered to the open claim with that
	// nonce. It returns once the answer is on the disk. After an error it may be
	// there or not, and the answer must be kept in memory; unless the error is
	// [ErrBroken] or [ErrClosed], Answer may be tried again.
	Answer(nonce string, answer Answer) error
}

// Adopted is an exited process's journal that is now held by this one. Its methods
// may be called concurrently.
type Adopted interface {
	// ID is 32 hexadecimal digits, the same for as long as the journal exists.
	ID() string

	// Unsettled returns what is noted and not settled, the oldest claim first. The
	// caller does not change the bytes in it.
	Unsettled() []PendingClaim

	// Settle notes that nothing is to be done any more for that nonce. It does nothing
	// if there was nothing. It does not wait for the disk: after a power failure the
	// entry may be back, for whoever adopts the journal then. Unless the error is
	// [ErrClosed], the entry is gone for this process even if there is one.
	Settle(nonce string) error

	// Close gives the journal up. If all is settled it is removed, otherwise left to
	// whoever adopts it, which this process may do itself. A second call does
	// nothing.
	Close() error
}
