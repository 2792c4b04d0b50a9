package wire

import (
	"context"
	"errors"
	"net/http"

	"github.com/upstreamauth/caddy-upstream-auth/credential"
	"github.com/upstreamauth/caddy-upstream-auth/internal/refresh"
)

// refresh has the credential that first refuses refreshed and sends req again. If
// either cannot be, it returns first.
func (t *Transport) refresh(req *http.Request, first *http.Response, x *Exchange) (*http.Response, error) {
	ctx := req.Context()
	held := hold(first)
	fresh, err := x.Coordinator.Refresh(ctx, x.Provider, x.Tenant, x.Credential)
	if err == nil {
		err = x.adopt(fresh)
	}
	if errors.Is(ctx.Err(), context.Canceled) {
		// Nobody is there to take an answer. The refresh goes on without us; this
		// is what Base would have said had the client left a moment earlier.
		held.discard()
		return nil, ctx.Err()
	}
	if err != nil {
		res := held.restore()
		if code := codeOf(err); code != "" {
			res.Header.Set(HeaderError, string(code))
		}
		return res, nil
	}
	if x.body != nil {
		if reason := x.body.rewind(); reason != "" {
			res := held.restore()
			res.Header.Set(HeaderReplay, "skipped; reason="+string(reason))
			return res, nil
		}
	}
	held.discard()
	x.replayed, x.onTrial = true, true
	return t.attempt(req, x)
}

// adopt makes fresh the credential of the exchange.
func (x *Exchange) adopt(fresh *credential.Credential) error {
	prepare := x.Prepare
	if prepare == nil {
		prepare = x.Provider.Scheme.Resolve
	}
	values, err := prepare(fresh)
	if err != nil {
		return err
	}
	x.Credential, x.Values = fresh, values
	return nil
}

// codeOf returns what the client is told of a refresh that did not succeed: nothing
// if there was nothing to refresh.
func codeOf(err error) Code {
	switch {
	case errors.Is(err, refresh.ErrUnchanged):
		return ""
	case errors.Is(err, refresh.ErrReauthorizationRequired):
		return CodeReauthorizationRequired
	default:
		return CodeRefreshFailed
	}
}

// reportOutcome tells the coordinator what the upstream made of a refreshed
// credential, the first time that it says anything at all.
func (x *Exchange) reportOutcome(res *http.Response) {
	switch {
	case !x.onTrial:
		return
	case x.refused(res):
		x.Coordinator.Rejected(x.Provider, x.Tenant, x.Credential)
	default:
		x.Coordinator.Accepted(x.Provider, x.Tenant, x.Credential)
	}
	x.onTrial = false
}
