package journaltest

import (
	"bytes"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"sync"

	"github.com/upstreamauth/caddy-upstream-auth/internal/renew/journal"
)

// Directory is a directory of journals in memory, for any number of simulated
// processes. It starts no goroutine and waits for nothing, and so can be used
// inside a testing/synctest bubble.
type Directory struct {
	mu    sync.Mutex
	files []*memory // the oldest first, so that a simulation can be repeated
	ids   func() string
}

// memory is a journal file.
type memory struct {
	id      string
	owner   *Process // who has its lock; nil if it is free
	entries []journal.PendingClaim
	synced  []journal.PendingClaim // what a power failure leaves
}

// NewDirectory returns an empty directory.
func NewDirectory() *Directory {
	return &Directory{ids: func() string {
		id := make([]byte, 16)
		_, _ = rand.Read(id) // Never fails.
		return hex.EncodeToString(id)
	}}
}

// NewSeeded returns an empty directory whose ids are the ones that next returns:
// 32 hexadecimal digits, another each time. For simulations that can be repeated.
func NewSeeded(next func() string) *Directory { return &Directory{ids: next} }

// An Op is an operation that the hooks of a [Process] are called for.
type Op string

// The operations. OpSettle and OpClose are for adopted journals too.
const (
	OpOpen   Op = "open"
	OpAdopt  Op = "adopt"
	OpClaim  Op = "claim"
	OpAnswer Op = "answer"
	OpSettle Op = "settle"
	OpClose  Op = "close"
)

// Process is a [journal.Directory] as one process sees it. Once killed, it can do
// nothing any more: its goroutines, which nobody can kill, get [journal.ErrClosed]
// from whatever they call.
//
// The hooks are set before the first use and may be nil. They may block, use the
// directory and kill the process: no lock is held while they run. The nonce is that
// of the claim, empty for OpOpen, OpAdopt and OpClose. An error that is a
// [journal.ErrBroken] breaks the journal for good; Unsettled still tells what it
// had.
type Process struct {
	// Fault is called before an operation is done. An error keeps it from being
	// done and is its answer; but what is settled is so for this process.
	Fault func(op Op, nonce string) error

	// After is called when it is done. An error replaces its answer, as when the
	// fsync after an append fails.
	After func(op Op, nonce string) error

	directory *Directory
	dead      bool // guarded by directory.mu
}

var (
	_ journal.Directory = (*Process)(nil)
	_ journal.Journal   = (*handle)(nil)
)

var errKilled = fmt.Errorf("%w: its process was killed", journal.ErrClosed)

// Start returns a new process.
func (d *Directory) Start() *Process { return &Process{directory: d} }

// IDs are those of all journals that exist, the oldest first.
func (d *Directory) IDs() []string {
	d.mu.Lock()
	defer d.mu.Unlock()
	var ids []string
	for _, m := range d.files {
		ids = append(ids, m.id)
	}
	return ids
}

// Kill ends the process as kill -9 does: its journals, own and adopted, are free
// for adoption, with all that was written to them.
func (p *Process) Kill() { p.end(func(*memory) {}) }

// LosePower ends the process as a power failure of its machine does: settlements
// after the last claim or answer may not have reached the disk, and did not.
func (p *Process) LosePower() { p.end(func(m *memory) { m.entries = slices.Clone(m.synced) }) }

func (p *Process) end(lose func(*memory)) {
	p.directory.mu.Lock()
	defer p.directory.mu.Unlock()
	p.dead = true
	for _, m := range p.directory.files {
		if m.owner == p {
			lose(m)
			m.owner = nil
		}
	}
}

// Open implements [journal.Directory].
func (p *Process) Open() (journal.Journal, error) {
	var opened *handle
	err := p.do(OpOpen, "", func() error {
		m := &memory{id: p.directory.ids(), owner: p}
		p.directory.files = append(p.directory.files, m)
		opened = &handle{process: p, file: m}
		return nil
	})
	if err != nil {
		if opened != nil {
			p.free(opened.file)
		}
		return nil, err
	}
	return opened, nil
}

// Adopt implements [journal.Directory]. It leaves nothing.
func (p *Process) Adopt() ([]journal.Adopted, []*journal.FileError, error) {
	var adopted []journal.Adopted
	var got []*memory
	err := p.do(OpAdopt, "", func() error {
		d := p.directory
		d.files = slices.DeleteFunc(d.files, func(m *memory) bool { return m.owner == nil && len(m.entries) == 0 })
		for _, m := range d.files {
			if m.owner == nil {
				m.owner = p
				got = append(got, m)
				adopted = append(adopted, &handle{process: p, file: m, entries: slices.Clone(m.entries)})
			}
		}
		return nil
	})
	if err != nil {
		p.free(got...)
		return nil, nil, err
	}
	return adopted, nil, nil
}

// free gives the locks on files up, as far as the process still has them.
func (p *Process) free(files ...*memory) {
	_ = p.locked(func() error {
		for _, m := range files {
			m.owner = nil
		}
		return nil
	})
}

// do does an operation between its hooks.
func (p *Process) do(op Op, nonce string, apply func() error) error {
	if p.Fault != nil {
		if err := p.Fault(op, nonce); err != nil {
			return err
		}
	}
	err := p.locked(apply)
	if err == nil && p.After != nil {
		if err := p.After(op, nonce); err != nil {
			return err
		}
		err = p.locked(func() error { return nil }) // The hook may have killed the process.
	}
	return err
}

// locked calls apply with the directory locked, if the process lives.
func (p *Process) locked(apply func() error) error {
	p.directory.mu.Lock()
	defer p.directory.mu.Unlock()
	if p.dead {
		return errKilled
	}
	return apply()
}

// handle is a process's hold on a journal. Its fields are guarded by the
// directory's mutex.
type handle struct {
	process *Process
	file    *memory
	entries []journal.PendingClaim // what this process knows, whatever the file has
	broken  error
	closed  bool
}

func (h *handle) ID() string { return h.file.id }

func (h *handle) Unsettled() []journal.PendingClaim {
	h.process.directory.mu.Lock()
	defer h.process.directory.mu.Unlock()
	return slices.Clone(h.entries)
}

func (h *handle) Claim(note journal.ClaimRecord) error {
	if err := note.Check(); err != nil {
		return err
	}
	return h.do(OpClaim, note.Nonce, func() error {
		if index(h.entries, note.Nonce) >= 0 {
			return journal.ErrNonce
		}
		h.entries = append(h.entries, journal.PendingClaim{ClaimRecord: note})
		h.file.entries = append(h.file.entries, journal.PendingClaim{ClaimRecord: note})
		h.file.synced = slices.Clone(h.file.entries)
		return nil
	})
}

func (h *handle) Answer(nonce string, answer journal.Answer) error {
	if err := answer.Check(); err != nil {
		return err
	}
	answer.Response = bytes.Clone(answer.Response)
	answer.At = answer.At.UTC().Round(0)
	return h.do(OpAnswer, nonce, func() error {
		i := index(h.entries, nonce)
		if i < 0 || h.entries[i].Answer != nil {
			return journal.ErrNonce
		}
		h.entries[i].Answer = &answer
		h.file.entries[index(h.file.entries, nonce)].Answer = &answer
		h.file.synced = slices.Clone(h.file.entries)
		return nil
	})
}

func (h *handle) Settle(nonce string) error {
	err := h.do(OpSettle, nonce, func() error {
		h.file.entries = without(h.file.entries, nonce)
		return nil
	})
	h.process.directory.mu.Lock()
	defer h.process.directory.mu.Unlock()
	if !h.closed {
		h.entries = without(h.entries, nonce)
	}
	return err
}

func (h *handle) Close() error {
	d := h.process.directory
	d.mu.Lock()
	done := h.closed
	h.closed = true
	d.mu.Unlock()
	if done {
		return nil
	}
	free := false
	err := h.process.do(OpClose, "", func() error {
		free = true
		h.file.owner = nil
		if len(h.entries) == 0 {
			d.files = slices.DeleteFunc(d.files, func(m *memory) bool { return m == h.file })
		}
		return nil
	})
	if !free {
		h.process.free(h.file) // A file that cannot be removed is given up all the same.
	}
	return err
}

// do does an operation of a journal that is open and not broken.
func (h *handle) do(op Op, nonce string, apply func() error) error {
	if err := h.usable(); err != nil {
		return err
	}
	err := h.process.do(op, nonce, func() error {
		if h.closed {
			return journal.ErrClosed
		}
		if h.broken != nil {
			return h.broken
		}
		return apply()
	})
	if errors.Is(err, journal.ErrBroken) {
		h.process.directory.mu.Lock()
		h.broken = err
		h.process.directory.mu.Unlock()
	}
	return err
}

// usable keeps the hooks from what is refused without being tried.
func (h *handle) usable() error {
	return h.process.locked(func() error {
		if h.closed {
			return journal.ErrClosed
		}
		return h.broken
	})
}

func index(entries []journal.PendingClaim, nonce string) int {
	return slices.IndexFunc(entries, func(e journal.PendingClaim) bool { return e.Nonce == nonce })
}

func without(entries []journal.PendingClaim, nonce string) []journal.PendingClaim {
	return slices.DeleteFunc(slices.Clone(entries), func(e journal.PendingClaim) bool { return e.Nonce == nonce })
}
