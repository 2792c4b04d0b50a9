package refresh

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"

	"github.com/upstreamauth/caddy-upstream-auth/credential"
	"github.com/upstreamauth/caddy-upstream-auth/internal/journal"
)

// notes are what this process has written down, and what it has found of dead
// processes. Without a directory nothing is written down: the store's commit is
// what survives a crash.
type notes struct {
	store     credential.Store
	directory func(key []byte) (journal.Directory, error)

	loading sync.Mutex        // held while the key is loaded
	opened  journal.Directory // nil until then

	mu      sync.Mutex
	own     journal.Journal // nil until the first claim
	adopted []journal.Adopted
	id      string // the owner without a journal
	told    map[string]bool
	closed  bool
}

// errNoNotes says that there is no journal to write to.
var errNoNotes = errors.New("the journal cannot be written")

// noteFailed is an error of the journal.
func noteFailed(err error) error { return fmt.Errorf("%w: %w: %w", ErrFailed, errNoNotes, err) }

// claim writes down that a credential is about to be claimed, and returns the
// claim's owner.
func (n *notes) claim(note journal.Note) (owner string, err error) {
	if n.directory == nil {
		return n.id, nil
	}
	own, err := n.open()
	if err != nil {
		return "", err
	}
	err = own.Claim(note)
	if errors.Is(err, journal.ErrBroken) {
		own, err = n.replace(own, func(own journal.Journal) error { return own.Claim(note) })
	}
	if err != nil {
		n.settle(note.Nonce) // it may be there or not
		return "", noteFailed(err)
	}
	return own.ID(), nil
}

// answer writes down what came of a claim. It may be called again after an error.
func (n *notes) answer(nonce string, a journal.Answer) error {
	if n.directory == nil {
		return nil
	}
	own, err := n.open()
	if err != nil {
		return err
	}
	err = own.Answer(nonce, a)
	if errors.Is(err, journal.ErrBroken) {
		_, err = n.replace(own, func(own journal.Journal) error { return own.Answer(nonce, a) })
	}
	if err != nil {
		return noteFailed(err)
	}
	return nil
}

// settle writes down that nothing is to be done any more for a nonce.
func (n *notes) settle(nonce string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.own != nil {
		_ = n.own.Settle(nonce) // what is back after a crash is found to be settled
	}
	var left []journal.Adopted
	for _, a := range n.adopted {
		_ = a.Settle(nonce)
		if len(a.Unsettled()) == 0 {
			_ = a.Close()
			continue
		}
		left = append(left, a)
	}
	n.adopted = left
}

// adopt takes over the journals of the dead and returns what is not settled in
// them. It makes nothing: without the journals' key there is nothing to adopt.
func (n *notes) adopt(logger *slog.Logger) ([]journal.Entry, error) {
	if n.directory == nil {
		return nil, nil
	}
	directory, err := n.load(false)
	if err != nil || directory == nil {
		return nil, err
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.closed {
		return nil, nil
	}
	adopted, left, err := directory.Adopt()
	var entries []journal.Entry
	for _, file := range left {
		if n.tell(logger, file) {
			entries = append(entries, file.Answered...)
		}
	}
	for _, a := range adopted {
		n.adopted = append(n.adopted, a)
		entries = append(entries, a.Unsettled()...)
	}
	return entries, err
}

// tell logs that a file is left as it is, once, and reports whether it did.
func (n *notes) tell(logger *slog.Logger, file *journal.FileError) bool {
	if n.told[file.Error()] {
		return false
	}
	if n.told == nil {
		n.told = make(map[string]bool)
	}
	n.told[file.Error()] = true
	if errors.Is(file, journal.ErrForeign) {
		logger.Info("a journal is left to its own store", "error", file)
		return true
	}
	logger.Error("a journal is left as it is; somebody has to look at it", "error", file, "answers_in_it", len(file.Answered))
	return true
}

// close gives the journals up: what is not settled in them is left to whoever
// adopts them.
func (n *notes) close() {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.closed = true
	if n.own != nil {
		_ = n.own.Close()
		n.own = nil
	}
	for _, a := range n.adopted {
		_ = a.Close()
	}
	n.adopted = nil
}

// open returns this process's journal.
func (n *notes) open() (journal.Journal, error) {
	n.mu.Lock()
	own, closed := n.own, n.closed
	n.mu.Unlock()
	if own != nil && !closed {
		return own, nil
	}
	directory, err := n.load(true)
	if err != nil {
		return nil, err
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	switch {
	case n.closed:
		return nil, noteFailed(journal.ErrClosed)
	case n.own != nil:
		return n.own, nil
	}
	if own, err = directory.Open(); err != nil {
		return nil, noteFailed(err)
	}
	n.own = own
	return own, nil
}

// replace goes over to another file after the one in use has failed for good, and
// does there what failed. Until all is in the new one, the old one keeps its lock
// and what it has in memory.
func (n *notes) replace(broken journal.Journal, failed func(journal.Journal) error) (journal.Journal, error) {
	own, err := n.reopen(broken)
	if err != nil {
		return nil, err
	}
	if err := failed(own); err != nil && !errors.Is(err, journal.ErrNonce) {
		return nil, err
	}
	return own, nil // with ErrNonce it came over with the rest
}

func (n *notes) reopen(broken journal.Journal) (journal.Journal, error) {
	directory, err := n.load(true)
	if err != nil {
		return nil, err
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	switch {
	case n.closed:
		return nil, journal.ErrClosed
	case n.own != broken:
		return n.own, nil
	}
	own, err := directory.Open()
	if err != nil {
		return nil, err
	}
	entries := broken.Unsettled()
	for _, e := range entries {
		err := own.Claim(e.Note)
		if err == nil && e.Answer != nil {
			err = own.Answer(e.Nonce, *e.Answer)
		}
		if err != nil {
			// Nothing may stay in it: closed, it looks like a dead process's.
			discard(own, entries)
			return nil, err
		}
	}
	discard(broken, entries)
	n.own = own
	return own, nil
}

// discard settles what is in a journal and closes it, which removes it.
func discard(j journal.Journal, entries []journal.Entry) {
	for _, e := range entries {
		_ = j.Settle(e.Nonce)
	}
	_ = j.Close()
}

// load opens the journals' directory with their key, which is in the store: without the
// store a journal file is worth nothing. If there is no key yet it is made, unless
// create is false.
func (n *notes) load(create bool) (journal.Directory, error) {
	n.loading.Lock()
	defer n.loading.Unlock()
	if n.opened != nil {
		return n.opened, nil
	}
	key, err := sharedKey(context.Background(), n.store, create)
	if err != nil || key == nil {
		return nil, err
	}
	if n.opened, err = n.directory(key); err != nil {
		return nil, noteFailed(err)
	}
	return n.opened, nil
}
