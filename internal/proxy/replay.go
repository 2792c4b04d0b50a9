package proxy

import (
	"context"
	"errors"
	"net/http"

	"github.com/upstreamauth/caddy-upstream-auth/internal/budget"
	"github.com/upstreamauth/caddy-upstream-auth/internal/renew"
)

// answersChallenge has schemes look at the first refusal, and reports whether one of them
// can answer it.
func (x *Exchange) answersChallenge(res *http.Response) bool {
	if x.challenged || !x.refused(res) {
		return false
	}
	x.challenged = true
	return x.Challenge(res)
}

// refresh has the credential that first refuses refreshed and sends req again. If
// either cannot be, it returns first.
func (t *Transport) refresh(req *http.Request, first *http.Response, x *Exchange) (*http.Response, error) {
	x.lookAtClock(first)
	ctx := req.Context()
	buffered := bufferResponse(first)
	fresh, err := x.Credentials.Renew(ctx, x.Provider, x.Tenant, x.Credential)
	if errors.Is(ctx.Err(), context.Canceled) {
		// Nobody is there to take an answer. The refresh goes on without us; this
		// is what Base would have said had the client left a moment earlier.
		buffered.discard()
		return nil, ctx.Err()
	}
	if err != nil {
		res := buffered.restore()
		if code := codeOf(err); code != "" {
			res.Header.Set(HeaderError, string(code))
		}
		return res, nil
	}
	x.Opened = fresh
	x.replayed, x.unconfirmed = true, true
	res, err := t.replay(req, buffered, x)
	if err == nil {
		x.reportOutcome(res)
	}
	return res, err
}

// replay sends req once more. If it cannot be, it returns the first answer.
func (t *Transport) replay(req *http.Request, first *bufferedResponse, x *Exchange) (*http.Response, error) {
	if reason := x.whyNot(); reason != "" {
		x.unconfirmed = false
		res := first.restore()
		res.Header.Set(HeaderReplay, "skipped; reason="+reason)
		return res, nil
	}
	first.discard()
	return t.attempt(req, x)
}

// whyNot returns why a request cannot be sent again, "" if it can. Its body is as it was
// at the start then.
func (x *Exchange) whyNot() string {
	switch {
	case x.SentOnce:
		return "not-matched"
	case x.body == nil:
		return ""
	}
	return string(x.body.Rewind())
}

// lookAtClock tells operators of an upstream that refuses a credential when it is another
// time there, which may be why.
func (x *Exchange) lookAtClock(res *http.Response) {
	if ahead, news := x.Provider.Clock.Look(res.Header); news && x.Logger != nil {
		x.Logger.Warn("the upstream refuses a credential, and its clock and this machine's are apart", "provider", x.Provider.Name, "ahead", ahead)
	}
}

// codeOf returns what the client is told of a refresh that did not succeed: nothing
// if there was nothing to refresh.
func codeOf(err error) Code {
	switch {
	case errors.Is(err, renew.ErrUnchanged):
		return ""
	case errors.Is(err, renew.ErrReauthorizationRequired):
		return CodeReauthorizationRequired
	case errors.As(err, new(*budget.Error)):
		return CodeTooManyRequests
	default:
		return CodeRefreshFailed
	}
}

// reportOutcome tells the coordinator what the upstream made of a refreshed
// credential, the first time that it says anything at all.
func (x *Exchange) reportOutcome(res *http.Response) {
	switch {
	case !x.unconfirmed, speaksForUs(res.Header):
		return
	case x.refused(res):
		x.Credentials.Rejected(x.Provider.Provider, x.Tenant, x.Credential)
	default:
		x.Credentials.Accepted(x.Provider.Provider, x.Tenant, x.Credential)
	}
	x.unconfirmed = false
}
