package journal

import (
	"errors"
	"slices"
	"sync"
)

// Process is all that one process has to do with journals: its own, which is made for
// the first claim and replaced when it breaks, and those of exited processes that it has
// adopted. It is safe for concurrent use.
type Process struct {
	directory func(create bool) (Directory, error)
	adopting  sync.Mutex // held while the directory is searched, which claims do not wait for

	mu      sync.Mutex
	opening sync.Mutex // held while an own journal is made
	own     Journal    // nil until the first claim
	adopted []Adopted
	told    map[string]bool // files that were left, by what is wrong with them
	closed  bool
}

// NewProcess makes one. directory returns where the journals are; it is asked until it
// returns one, and may return none if create is false.
func NewProcess(directory func(create bool) (Directory, error)) *Process {
	return &Process{directory: directory}
}

// Claim writes down that a credential is about to be claimed, and returns the id of the
// journal that says so. After an error the claim must not be made.
func (p *Process) Claim(record ClaimRecord) (owner string, err error) {
	own, err := p.write(func(own Journal) error { return own.Claim(record) })
	if err != nil {
		p.Settle(record.Nonce) // it may be there or not
		return "", err
	}
	return own.ID(), nil
}

// Answer writes down what came of a claim. It may be called again after an error.
func (p *Process) Answer(nonce string, answer Answer) error {
	_, err := p.write(func(own Journal) error { return own.Answer(nonce, answer) })
	return err
}

// write does something to the process's own journal, and if that has failed for good, to
// another one that takes its place.
func (p *Process) write(do func(Journal) error) (Journal, error) {
	own, err := p.open(nil)
	if err != nil {
		return nil, err
	}
	err = do(own)
	if !errors.Is(err, ErrBroken) {
		return own, err
	}
	if own, err = p.open(own); err != nil {
		return nil, err
	}
	if err = do(own); errors.Is(err, ErrNonce) {
		err = nil // it came over with the rest
	}
	return own, err
}

// open returns the process's own journal, another one than broken.
func (p *Process) open(broken Journal) (Journal, error) {
	p.opening.Lock()
	defer p.opening.Unlock()
	p.mu.Lock()
	own, closed := p.own, p.closed
	p.mu.Unlock()
	switch {
	case closed:
		return nil, ErrClosed
	case own != nil && own != broken:
		return own, nil
	}
	directory, err := p.directory(true)
	if err != nil {
		return nil, err
	}
	if own, err = directory.Open(); err != nil {
		return nil, err
	}
	var moved []PendingClaim
	if broken != nil {
		moved = broken.Unsettled()
		if err := move(moved, own); err != nil {
			return nil, err
		}
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		_ = own.Close()
		return nil, ErrClosed
	}
	p.own = own
	if broken != nil {
		left := broken.Unsettled()
		for _, claim := range moved {
			if !slices.ContainsFunc(left, func(p PendingClaim) bool { return p.Nonce == claim.Nonce }) {
				_ = own.Settle(claim.Nonce) // that was done meanwhile
			}
		}
		discard(broken, left)
	}
	return own, nil
}

// move brings what is pending in a broken journal into another one. Until all is there,
// the broken one keeps its lock and what it has in memory.
func move(pending []PendingClaim, own Journal) error {
	for _, claim := range pending {
		err := own.Claim(claim.ClaimRecord)
		if err == nil && claim.Answer != nil {
			err = own.Answer(claim.Nonce, *claim.Answer)
		}
		if err != nil {
			// Nothing may stay in it: closed, it looks like an exited process's.
			discard(own, pending)
			return err
		}
	}
	return nil
}

// discard settles what is in a journal and closes it, which removes it.
func discard(j Journal, pending []PendingClaim) {
	for _, claim := range pending {
		_ = j.Settle(claim.Nonce)
	}
	_ = j.Close()
}

// Settle writes down that nothing is to be done any more for a nonce. What is back after
// a crash is found to be settled.
func (p *Process) Settle(nonce string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.own != nil {
		_ = p.own.Settle(nonce)
	}
	var left []Adopted
	for _, a := range p.adopted {
		_ = a.Settle(nonce)
		if len(a.Unsettled()) == 0 {
			_ = a.Close()
			continue
		}
		left = append(left, a)
	}
	p.adopted = left
}

// Adopt takes over the journals of exited processes. It returns what is pending in them,
// and the files that it has to leave as they are, each once, with what they gave all the
// same. It makes nothing.
func (p *Process) Adopt() (pending []PendingClaim, left []*FileError, err error) {
	p.adopting.Lock()
	defer p.adopting.Unlock()
	directory, err := p.directory(false)
	if err != nil || directory == nil {
		return nil, nil, err
	}
	adopted, files, err := directory.Adopt()
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		for _, a := range adopted {
			_ = a.Close()
		}
		return nil, nil, nil
	}
	for _, file := range files {
		if p.told[file.Error()] {
			continue
		}
		if p.told == nil {
			p.told = make(map[string]bool)
		}
		p.told[file.Error()] = true
		left = append(left, file)
		pending = append(pending, file.Answered...)
	}
	for _, a := range adopted {
		pending = append(pending, a.Unsettled()...)
	}
	p.adopted = append(p.adopted, adopted...)
	return pending, left, err
}

// Close gives the journals up: what is pending in them is left to whoever adopts them.
func (p *Process) Close() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.closed = true
	if p.own != nil {
		_ = p.own.Close()
		p.own = nil
	}
	for _, a := range p.adopted {
		_ = a.Close()
	}
	p.adopted = nil
}
