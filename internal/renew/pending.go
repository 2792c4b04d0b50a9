package renew

import (
	"slices"
	"time"

	"github.com/upstreamauth/caddy-upstream-auth/credential"
	"github.com/upstreamauth/caddy-upstream-auth/internal/renew/journal"
	"github.com/upstreamauth/caddy-upstream-auth/internal/tokenrequest"
)

// pendingClaim is a claim that is not settled: this process's own, or one that it found
// in the journal of an exited process.
type pendingClaim struct {
	journal.ClaimRecord
	token       string // the refresh token; empty if it is adopted
	limits      tokenrequest.Limits
	adopted     bool // of an exited process
	withinGrace bool // made over another's claim
	maybeSpent  bool // the token may have been sent before
	claimless   bool // there is none in the document

	// The coordinator's mutex guards these.
	listening  bool            // the token was sent, and the answer may yet come
	unattended bool            // no flight waits for it
	answer     *journal.Answer // nil: none is known
	heldBy     string          // fingerprint of a configuration that finds no tokens in the answer
	heldUntil  time.Time       // then others may take over: it counts as none

	// One flight at a time, or before it who listens, has these.
	journaled bool                   // the answer is in a journal
	written   bool                   // what settles it may be in the document
	fresh     *credential.Credential // what the answer makes of the credential, once it is known
}

// canBeFinished reports whether there is an answer that something can be done with under
// a configuration. The mutex is held.
func (p *pendingClaim) canBeFinished(configuration *Provider, now time.Time) bool {
	return p.answer != nil && !p.listening && (p.heldBy != configuration.Fingerprint || now.After(p.heldUntil))
}

func (p *pendingClaim) key() credential.Key {
	return credential.Key{Provider: p.Provider, Tenant: credential.Tenant(p.Tenant)}
}

// track remembers a claim until it is settled. There may be two with one nonce: one
// claim that went from one journal to another. They are settled together.
func (c *Coordinator) track(claim *pendingClaim) {
	c.mu.Lock()
	defer c.mu.Unlock()
	s := c.state(claim.key(), time.Now())
	s.claims = append(s.claims, claim)
	s.recoverAt = time.Time{}
	c.pending[claim.key()] = struct{}{}
}

// settle forgets a claim: nothing is to be done for it any more.
func (c *Coordinator) settle(claim *pendingClaim) {
	if c.journal != nil {
		c.journal.Settle(claim.Nonce)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	s := c.state(claim.key(), time.Now())
	s.postponed, s.recoverAt = 0, time.Time{}
	s.claims = slices.DeleteFunc(s.claims, func(known *pendingClaim) bool { return known.Nonce == claim.Nonce })
	if len(s.claims) == 0 {
		delete(c.pending, claim.key())
	}
}

// claimView is a claim with what was known of it at one time.
type claimView struct {
	*pendingClaim
	answer    *journal.Answer // nil while it is listened for: it may be on its way into the journal
	listening bool
	finish    bool // see canBeFinished
}

// viewClaims returns the claims on the credential that are not settled.
func (r *renewal) viewClaims() []claimView {
	r.mu.Lock()
	defer r.mu.Unlock()
	var views []claimView
	if s := r.states[r.key]; s != nil {
		for _, claim := range s.claims {
			view := claimView{claim, claim.answer, claim.listening, claim.canBeFinished(r.provider, time.Now())}
			if view.listening {
				view.answer = nil
			}
			views = append(views, view)
		}
	}
	return views
}

// claimsChanged reports whether there is a claim now, or an answer, that was not there
// when the pass began.
func (r *renewal) claimsChanged() bool { return !slices.Equal(r.claims, r.viewClaims()) }

// maxListeners is for how many answers at most one credential has somebody listen, as
// somebody may bring it one token after the other.
const maxListeners = 4

func (r *renewal) listeners() (n int) {
	for _, claim := range r.claims {
		if claim.listening {
			n++
		}
	}
	return n
}

// hasRival reports whether another claim on the same token has turned up since the pass
// began, in the journal of an exited process.
func (r *renewal) hasRival(claim *pendingClaim) bool {
	return slices.ContainsFunc(r.viewClaims(), func(view claimView) bool {
		return view.pendingClaim != claim && view.Fingerprint == claim.Fingerprint &&
			!slices.ContainsFunc(r.claims, func(known claimView) bool { return known.pendingClaim == view.pendingClaim })
	})
}

// ownClaims are this process's claims on the token that the document has.
type ownClaims struct {
	unanswered *pendingClaim // nobody else has or will have an answer to it: its end is up to this process
	listening  *pendingClaim // its answer is listened for
	held       *pendingClaim // its answer has no tokens in it, as this configuration reads it
}

// judge goes through the claims that are not finished by a document that was read after
// they were known. Those that have come to nothing it settles, after making sure that they
// cannot get into the document any more: then the error is errConcurrentUpdate.
func (r *renewal) judge(newest version, known record) (own ownClaims, err error) {
	token, missing := r.renewer.Spends(newest.Credential)
	same := fingerprint(token)
	for _, view := range r.claims {
		claim := view.pendingClaim
		switch {
		case view.finish:
			// It has been, or that was not possible now.
		case view.listening && claim.Fingerprint == same:
			own.listening = claim
		case view.listening:
			// For another token than the document has now.
		case view.answer != nil && claim.Fingerprint == same:
			own.held = claim
		case view.answer != nil, claim.claimless:
			r.settle(claim)
		case newest.Version() == claim.BaseVersion:
			// Not in the document, and perhaps on the way there.
			return own, r.obstruct(claim)
		case missing != nil:
			r.postpone(maxPostponed) // it may come back, with the claim
		case known.Nonce == claim.Nonce && known.Over != "":
			r.settle(claim) // what it was made over may still be spent: it is left to takeover
		case known.Nonce == claim.Nonce, claim.Fingerprint == same && !known.claimed() && !known.refused() && known.Survived != yes:
			own.unanswered = claim
		case claim.Fingerprint == same && known.isLost():
			r.postpone(maxPostponed) // perhaps it is this one
		default:
			r.settle(claim)
		}
	}
	return own, nil
}
