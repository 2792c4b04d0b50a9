package renew

import (
	"context"
	"fmt"
	"sync"

	"github.com/upstreamauth/caddy-upstream-auth/internal/renew/journal"
	"github.com/upstreamauth/caddy-upstream-auth/internal/tokenrequest"
)

// journalDirectory returns the journals' directory, opened with their key, which is in the
// store: without the store a journal file is worth nothing. If there is no key yet it is
// made, unless create is false.
func (c *Coordinator) journalDirectory() func(create bool) (journal.Directory, error) {
	var mu sync.Mutex
	var opened journal.Directory
	return func(create bool) (journal.Directory, error) {
		mu.Lock()
		defer mu.Unlock()
		if opened != nil {
			return opened, nil
		}
		key, err := sharedKey(context.Background(), c.store, create)
		if err != nil || key == nil {
			return nil, err
		}
		directory, err := c.options.Journals(key)
		if err == nil {
			opened = directory
		}
		return directory, err
	}
}

// unsent stands for the answer to a token that was not sent.
var unsent = new(tokenrequest.Response)

// note notes the answer to a claim in memory and in the journal.
func (r *renewal) note(claim *pendingClaim, response *tokenrequest.Response) {
	raw, _ := response.MarshalBinary() // never fails
	r.mu.Lock()
	claim.answer = &journal.Answer{SpentToken: claim.token, Response: raw, At: response.At}
	r.mu.Unlock()
	if claim.claimless && !r.bringsAnother(claim) {
		claim.journaled = true // there is nothing in it to be lost
	}
	r.journalAnswer(claim)
}

// bringsAnother reports whether the answer to a token that was thought to last has another
// one. Then it is noted like the answer to a claim.
func (r *renewal) bringsAnother(claim *pendingClaim) bool {
	tokens, _ := r.answerTo(claim, nil)
	if tokens == nil || r.journal == nil {
		return false
	}
	fresh, _ := tokens.over(r, emptyCredential)
	if token, err := r.renewer.Spends(fresh); err != nil || token == claim.token {
		return false
	}
	if _, err := r.owner(claim.ClaimRecord); err != nil {
		r.tell(Event{Kind: JournalFailed, Err: err})
		return false
	}
	return true
}

// journalAnswer puts the answer to a claim into the journal, if it is not there yet.
func (r *renewal) journalAnswer(claim *pendingClaim) {
	if r.journal == nil || claim.journaled || claim.answer == nil {
		return
	}
	if err := r.journal.Answer(claim.Nonce, *claim.answer); err != nil {
		r.tell(Event{Kind: JournalFailed, Err: fmt.Errorf("%w: %w: %w", ErrFailed, errNoJournal, err)})
		return
	}
	claim.journaled = true
}
