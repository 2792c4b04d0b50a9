package renew

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"time"

	"github.com/upstreamauth/caddy-upstream-auth/credential"
	"github.com/upstreamauth/caddy-upstream-auth/internal/renew/journal"
	"github.com/upstreamauth/caddy-upstream-auth/internal/tokenrequest"
	"github.com/upstreamauth/caddy-upstream-auth/scheme"
)

// releaseAfter is how long, after the token endpoint's answer, requests wait for the
// store to take the new tokens.
const releaseAfter = 250 * time.Millisecond

// pauseOfRepeated is how long a request is not repeated at least that uses nothing up, as a
// login, and was refused, or answered without a token: a user who is often refused is
// locked out. An outage that looks like a refusal may end meanwhile.
const pauseOfRepeated = 15 * time.Minute

// conclude does what the answer to a claim of this flight says, whatever is wrong with
// it, and tells requests.
func (r *renewal) conclude(claim *pendingClaim, base version, wrong *tokenrequest.Error) result {
	tokens, wrong := r.answerTo(claim, wrong)
	switch {
	case tokens != nil:
		return r.commitFresh(claim, base, tokens)
	case wrong.Unspent && wrong.Retry && !r.retried && !claim.withinGrace:
		r.retried = true
		if err := r.finish(claim); err != nil {
			return failure(err)
		}
		return failure(errConcurrentUpdate) // from the beginning
	case wrong.Unspent:
		err := r.failAnswer(base.Credential, wrong)
		r.releaseWaiters(nil, err)
		_ = r.finish(claim)
		return failure(err)
	case !wrong.Permanent:
		// Nobody knows whether the token is spent. The claim stays, and is claimed over after
		// the cooldown; unless the answer may have tokens in it.
		err := r.failAnswer(base.Credential, wrong)
		if claim.answer != nil {
			_ = r.finish(claim)
		}
		return failure(err)
	case claim.withinGrace:
		// The other may have been granted what this one was refused.
		r.settle(claim)
		return failure(r.failAnswer(base.Credential, wrong))
	case claim.claimless:
		r.settle(claim)
		newest, err := r.read(r.key)
		if err == nil && (!r.holds(newest.Credential, claim.token) || tokenChanged(r.provider, newest.Credential, base.Credential)) {
			return failure(errConcurrentUpdate) // somebody else spent it first and stored its successor
		}
		if err == nil && r.dropRefused(claim, newest, wrong) {
			return failure(errConcurrentUpdate)
		}
	default:
		err := r.finish(claim)
		if err != nil && (!errors.Is(err, errPending) || r.withoutRefused(claim, base.Credential) != nil) {
			return failure(err)
		}
	}
	e := eventOf(Refused, wrong)
	e.Err = fmt.Errorf("%w: %w", ErrReauthorizationRequired, wrong)
	if pause := r.pauseAfter(base.Credential, wrong); pause > 0 {
		return failure(r.failFor(base.Credential, e, pause))
	}
	return failure(r.coolDown(base.Credential, e, 0))
}

// notMade ends a pass whose request cannot be made, also if its scheme was refused, or not
// answered, what it has to ask before.
func (r *renewal) notMade(cred *credential.Credential, err error) error {
	wrong, ok := errors.AsType[*tokenrequest.Error](err)
	if !ok {
		return r.fail(cred, Event{Kind: Failed, Err: fmt.Errorf("%w: %w", ErrFailed, err)})
	}
	e := eventOf(kindOf(wrong), wrong)
	if e.Err = fmt.Errorf("%w: %w", ErrFailed, err); wrong.Permanent {
		e.Err = fmt.Errorf("%w: %w", ErrReauthorizationRequired, err)
	}
	return r.failFor(cred, e, r.pauseAfter(cred, wrong))
}

// finish does what the answer to a claim says, and settles it. The error is errPending if
// the store does not take it now, and errConcurrentUpdate if somebody else wrote another
// token meanwhile, which wins.
func (r *renewal) finish(claim *pendingClaim) error {
	r.journalAnswer(claim)
	tokens, wrong := r.answerTo(claim, nil)
	switch {
	case tokens != nil:
		_, err := r.commit(claim, tokens)
		return err
	case wrong.Unspent:
		return r.unclaim(claim)
	case wrong.Permanent && claim.claimless:
		r.settle(claim) // whoever asks next is told
		return nil
	case wrong.Permanent:
		return r.refuse(claim)
	}
	if r.hold(claim) {
		return errNoTokens
	}
	// Nothing in it that would tell anything: as if there were none.
	r.mu.Lock()
	defer r.mu.Unlock()
	claim.answer = nil
	return nil
}

// finishAnswered finishes the claims whose answer is known: of exited processes, and this
// one's own that could not be finished before. If it changed anything the error is
// errConcurrentUpdate.
func (r *renewal) finishAnswered() result {
	var finished result
	for _, claim := range r.claims {
		if !claim.finish || r.renewer == nil {
			continue
		}
		_, wrong := r.answerTo(claim.pendingClaim, nil)
		err := r.finish(claim.pendingClaim)
		if errors.Is(err, errNoTokens) {
			finished.err = errConcurrentUpdate // look at it as what it is now
			continue
		}
		if errors.Is(err, errWithoutToken) {
			continue // there may be another access token
		}
		if err == nil && wrong != nil && wrong.Permanent {
			e := eventOf(Refused, wrong)
			e.Err, e.FromJournal = fmt.Errorf("%w: %w", ErrReauthorizationRequired, wrong), claim.adopted
			r.tell(e)
		}
		switch fresh := claim.fresh; {
		case !errors.Is(err, errPending):
			finished.err = errConcurrentUpdate
		case fresh != nil && !errors.Is(err, errDeleted) && (r.rejected == nil || tokenChanged(r.provider, fresh, r.rejected)):
			r.cache.SetNext(r.key, fresh) // it may have been read anew from the store
			return result{credential: fresh}
		default:
			return failure(err)
		}
	}
	return finished
}

// hold keeps a successful answer in which this configuration finds no tokens, though it
// speaks of a refresh token: another configuration may, until others may take over. It reports false if
// there is nothing to be kept.
func (r *renewal) hold(claim *pendingClaim) bool {
	if claim.claimless {
		return false
	}
	response, err := responseIn(claim.answer)
	if err != nil || !response.Success() {
		return false
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if !bytes.Contains(bytes.ToLower(response.Body), []byte("refresh")) || !claim.heldUntil.IsZero() && time.Now().After(claim.heldUntil) {
		return false
	}
	claim.heldBy = r.provider.Fingerprint
	if claim.heldUntil.IsZero() {
		claim.heldUntil = claim.answer.At.Add(cmp.Or(max(r.provider.Takeover, 0), listenWithoutTakeover))
	}
	return true
}

// responseIn returns an answer as it was noted.
func responseIn(answer *journal.Answer) (*tokenrequest.Response, error) {
	response := new(tokenrequest.Response)
	err := response.UnmarshalBinary(answer.Response)
	return response, err
}

// tokenResponse is a token endpoint's answer with tokens in it.
type tokenResponse struct {
	spent    string // the refresh token
	response *tokenrequest.Response
	complete bool                // nothing of the answer is missing
	wrong    *tokenrequest.Error // an error in the answer in spite of its status
}

// answerTo returns the tokens in the answer to a claim, or what is wrong with it: wrong,
// if that is known.
func (r *renewal) answerTo(claim *pendingClaim, wrong *tokenrequest.Error) (*tokenResponse, *tokenrequest.Error) {
	r.mu.Lock()
	answer := claim.answer
	r.mu.Unlock()
	if answer == nil {
		return nil, wrong
	}
	response, err := responseIn(answer)
	if err != nil {
		return nil, &tokenrequest.Error{Reason: err.Error()}
	}
	if response.Status == 0 {
		return nil, &tokenrequest.Error{Reason: "the request was not sent", Unspent: true}
	}
	read, unusable := r.wrongWith(response)
	wrong = cmp.Or(wrong, read)
	object, complete, _ := response.TokenResponse()
	if object == nil { // in a format that its scheme alone can read
		complete = !response.Truncated
	}
	tokens := &tokenResponse{spent: answer.SpentToken, response: response, complete: complete, wrong: wrong}
	if !tokens.areThere(r) {
		if wrong == nil {
			wrong = &tokenrequest.Error{Status: response.Status, Reason: unusable}
		}
		return nil, wrong
	}
	return tokens, wrong
}

// wrongWith returns the error that an answer reports, as the provider's scheme reads it;
// nil if it reports none, with what else makes it unusable.
func (r *renewal) wrongWith(response *tokenrequest.Response) (wrong *tokenrequest.Error, unusable string) {
	_, err := r.renewer.Merge(emptyCredential.Stored(), response.ForScheme())
	refused, ok := errors.AsType[*scheme.RefusedError](err)
	if !ok {
		if err != nil {
			unusable = err.Error()
		}
		return nil, unusable //nolint:nilerr // it is returned as text
	}
	_, _, wrong = response.TokenResponse() // what it says of the reason
	if wrong == nil {
		wrong = &tokenrequest.Error{Status: response.Status, Reason: "no token response"}
	}
	wrong.Code = cmp.Or(tokenrequest.ErrorCode(refused.Code), wrong.Code)
	wrong.Permanent, wrong.Unspent, wrong.RetryAfter = refused.Permanent, refused.Unspent && !refused.Permanent, refused.RetryAfter
	wrong.Retry = refused.Retry && wrong.Unspent
	wrong.NoResponse = !refused.Permanent && !refused.Unspent && (response.Truncated || !answers(response.Status))
	return wrong, ""
}

// answers reports whether a status tells that the server has looked at a request.
func answers(status int) bool { return status >= 200 && status < 500 }

// areThere reports whether there is anything in the answer to be stored.
func (t *tokenResponse) areThere(r *renewal) bool {
	fresh, _ := t.over(r, emptyCredential)
	return fresh != nil
}

var emptyCredential, _ = credential.New(credential.Document{Data: []byte("{}")})

// over returns base with the tokens of t merged over it, as the store will have
// it; nil if there is nothing to store. The error is an [ErrFailed] that says why
// the result is of no use to a request: it has the new refresh token and no more.
func (t *tokenResponse) over(r *renewal, base *credential.Credential) (*credential.Credential, error) {
	document, err := r.renewer.Merge(base.Stored(), t.response.ForScheme())
	switch {
	case t.wrong != nil:
		err = fmt.Errorf("%w: %w", ErrFailed, t.wrong)
	case err != nil:
		err = fmt.Errorf("%w: token endpoint: %w", ErrFailed, err)
	}
	if document == nil {
		return nil, err
	}
	fresh, invalid := credential.New(credential.Document{Data: document, Version: base.Version() + 1, WrittenAt: t.response.At})
	if invalid != nil {
		return nil, fmt.Errorf("%w: merge the token response: %w", ErrFailed, invalid)
	}
	if token, _ := r.renewer.Spends(fresh); err != nil && (token == t.spent || token == "") {
		return nil, err
	}
	return fresh, err
}

// failAnswer notes a failure at the token endpoint that may pass.
func (r *renewal) failAnswer(cred *credential.Credential, wrong *tokenrequest.Error) error {
	e := eventOf(kindOf(wrong), wrong)
	e.Err = fmt.Errorf("%w: %w", ErrFailed, wrong)
	return r.failFor(cred, e, r.pauseAfter(cred, wrong))
}

func kindOf(wrong *tokenrequest.Error) EventKind {
	switch {
	case wrong.NoResponse:
		return NoAnswer
	case wrong.Permanent:
		return Refused
	case !wrong.Unspent:
		return Unusable
	}
	return Failed
}

// pauseAfter is how long a request is not made again at least.
func (r *renewal) pauseAfter(cred *credential.Credential, wrong *tokenrequest.Error) time.Duration {
	if kind := kindOf(wrong); kind == Refused || kind == Unusable {
		if token, err := r.renewer.Spends(cred); err == nil && token == "" {
			return pauseOfRepeated
		}
	}
	return wrong.RetryAfter
}

// eventOf is an event with what the endpoint said.
func eventOf(kind EventKind, wrong *tokenrequest.Error) Event {
	return Event{Kind: kind, Status: wrong.Status, Code: wrong.Code, Description: wrong.Description}
}

// tokenError is the error of a token request.
func tokenError(err error) *tokenrequest.Error {
	if known, ok := errors.AsType[*tokenrequest.Error](err); ok {
		return known
	}
	return &tokenrequest.Error{Reason: "no answer", NoResponse: true}
}
