package renew

import (
	"context"
	"crypto/tls"
	"errors"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/upstreamauth/caddy-upstream-auth/credential"
	"github.com/upstreamauth/caddy-upstream-auth/internal/tokenrequest"
	"github.com/upstreamauth/caddy-upstream-auth/scheme"
)

// spend spends the refresh token of base once: first all that can fail, then the claim,
// the token request, and what its answer says.
func (r *renewal) spend(base version, how spendOptions) result {
	token, err := r.renewer.Spends(base.Credential)
	if err != nil {
		return failure(err)
	}
	ctx := r.closed
	if r.retried {
		ctx = scheme.WithRetry(ctx)
	}
	request, config, err := r.renewer.Request(ctx, base.Credential)
	if err != nil {
		return failure(r.notMade(base.Credential, err))
	}
	r.waitFor(theEndpoint)
	host := request.URL.Scheme + "://" + request.URL.Host + " of " + r.provider.Name
	permit, wait, err := r.breakers.admit(r.closed, r.endpoint(request, config), host, r.key, r.hasFailed())
	if err != nil {
		return failure(r.pauseShortly(base.Credential, Event{Kind: NoAnswer, Err: err}, wait))
	}
	var connection tokenrequest.Conn
	giveBack := sync.OnceFunc(func() {
		permit.cancel()
		if connection != nil {
			connection.Close()
		}
	})
	sent := false
	defer func() {
		if !sent { // a defect may have ended this
			giveBack()
		}
	}()
	if connection, err = r.options.Endpoints.Dial(r.closed, request.URL.String(), config); err != nil {
		wrong := tokenError(err)
		permit.report(wrong)
		r.withState(func(s *state) { s.noAnswer = wrong.NoResponse })
		return failure(r.failAnswer(base.Credential, wrong))
	}

	r.waitFor(theStore)
	claim, base, err := r.claim(base, token, how)
	r.waitFor(theEndpoint)
	if err == nil && !permit.stillHolds(r.closed) {
		// Many were rejected at the same time, and the first of them had no answer.
		err = r.pauseShortly(base.Credential, Event{Kind: NoAnswer, Err: errBreaker}, 0)
	}
	if err == nil && r.hasRival(claim) {
		err = errConcurrentUpdate
	}
	if err != nil {
		giveBack() // now: who waits for the probe must not wait for the store
		r.abandon(claim, err)
		return failure(err)
	}
	if how.takesOver != nil {
		r.settle(how.takesOver) // its nonce is not in the document any more
	}
	if how.maybeSpent {
		r.tell(Event{Kind: SentAgain})
	}
	sent = true
	answered := r.send(connection, request, claim, base, permit)
	patience := recoveryWait // a flight that nobody waits for leaves its place to others
	for awaited := true; awaited && patience != maxWait; {
		if r.isAwaited() {
			patience = maxWait
		}
		select {
		case wrong := <-answered:
			return r.conclude(claim, base, wrong)
		case <-time.After(time.Until(claim.limits.Start.Add(patience))):
			awaited = r.isAwaited()
		}
	}
	if r.letListen(base.Credential, claim, Event{Kind: NoAnswer, Err: errNoAnswerYet, Duration: patience}) {
		return failure(errNoAnswerYet)
	}
	return r.conclude(claim, base, <-answered) // it came at the last moment
}

// endpoint names where a request goes, by what connections. Providers that share a token
// endpoint and not the connections to it say nothing of each other.
func (r *renewal) endpoint(request *http.Request, config *tls.Config) string {
	u := *request.URL
	u.RawQuery, u.User = "", nil
	if config == nil {
		return u.String()
	}
	return u.String() + " of " + r.provider.Name
}

// letListen has answers listened for without anybody waiting, that to claim too; another
// flight deals with them. Until then nothing else is done with the token. It reports false
// if the answer to claim is here.
func (r *renewal) letListen(cred *credential.Credential, claim *pendingClaim, e Event) bool {
	known, listening := false, false
	r.withState(func(s *state) {
		if claim != nil && !claim.listening {
			return
		}
		if claim != nil {
			claim.unattended = true
		}
		listening = true
		known = s.cooldown != nil && errors.Is(s.cooldown.err, errNoAnswerYet)
		delay := minCooldown // the answer has come meanwhile
		if slices.ContainsFunc(s.claims, func(other *pendingClaim) bool { return other.listening }) {
			delay = 0
		}
		s.cool(r.provider, cred, e.Err, delay, &e)
	})
	if listening && !known {
		r.tell(e)
	}
	return listening
}

// hasFailed reports whether the last request with this credential had no answer.
func (r *renewal) hasFailed() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.state(r.key, time.Now()).noAnswer
}

// send sends the request, if there is still time, and returns at once. What is wrong with
// the answer, if anything is, comes when the answer is in the journal.
func (r *renewal) send(connection tokenrequest.Conn, request *http.Request, claim *pendingClaim, base version, permit *permit) <-chan *tokenrequest.Error {
	answered := make(chan *tokenrequest.Error, 1)
	r.mu.Lock()
	claim.listening = true
	r.enter()
	r.mu.Unlock()
	go func() {
		defer connection.Close()
		defer context.AfterFunc(r.closed, connection.Close)()
		slow := time.AfterFunc(maxWait, func() { permit.report(&tokenrequest.Error{NoResponse: true}) })
		wrong := r.listen(connection, request, claim)
		slow.Stop()
		permit.report(wrong)
		unattended := r.stopListening(claim, wrong)
		if unattended && wrong != nil && !wrong.Permanent {
			_ = r.failAnswer(base.Credential, wrong)
		}
		answered <- wrong
		r.mu.Lock()
		defer r.mu.Unlock()
		if unattended {
			r.takeUpNow(r.key)
		}
		r.leave()
	}()
	return answered
}

// listen sends the request and returns what is wrong with the answer. A defect of this
// program must not end the proxy with it.
func (r *renewal) listen(connection tokenrequest.Conn, request *http.Request, claim *pendingClaim) (wrong *tokenrequest.Error) {
	defer func() {
		if defect := recover(); defect != nil {
			r.tell(panicked(defect))
			wrong = &tokenrequest.Error{Reason: "no answer that could be read", NoResponse: true}
		}
	}()
	response, err := connection.Send(r.closed, request, claim.limits)
	return r.heard(claim, response, err)
}

// stopListening notes that nothing more will be heard of a claim, and reports whether
// nobody waits for it.
func (r *renewal) stopListening(claim *pendingClaim, wrong *tokenrequest.Error) (unattended bool) {
	r.withState(func(s *state) {
		claim.listening, unattended = false, claim.unattended
		s.noAnswer = wrong != nil && wrong.NoResponse
		if s.cooldown != nil && errors.Is(s.cooldown.err, errNoAnswerYet) {
			s.cooldown = nil
		}
	})
	return unattended
}

// heard notes what the endpoint answered, in the journal before anything else, and
// returns what is wrong with it. That a token was not sent is noted like an answer.
func (r *renewal) heard(claim *pendingClaim, response *tokenrequest.Response, err error) *tokenrequest.Error {
	if err != nil {
		wrong := tokenError(err)
		if wrong.Unspent {
			r.note(claim, unsent)
		}
		return wrong
	}
	wrong, _ := r.wrongWith(response)
	if wrong == nil || !wrong.NoResponse {
		r.note(claim, response)
	}
	return wrong
}
