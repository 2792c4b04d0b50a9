package proxy

import (
	"net/http"
	"time"

	"github.com/upstreamauth/caddy-upstream-auth/internal/upstream"
)

// heed looks whether an answer asks to wait. If the request may, it does, and is sent once
// more; the answer to that is returned whatever it is.
func (t *Transport) heed(req *http.Request, res *http.Response, x *Exchange) (*http.Response, error) {
	until, asked := x.asksToWait(res)
	if !asked || x.waited || time.Until(until) > x.Provider.RetryAfter.Wait || x.whyNot() != "" {
		return res, nil // at once: who cannot be sent again waits for nothing
	}
	x.waited = true
	buffered := bufferResponse(res)
	if err := upstream.Pause(req.Context(), until); err != nil {
		buffered.discard()
		return nil, err
	}
	res, err := t.replay(req, buffered, x)
	if err == nil {
		res, err = t.settle(req, res, x)
	}
	if err == nil {
		x.asksToWait(res)
	}
	return res, err
}

// asksToWait reports until when an answer asks to wait, and has it remembered for others.
func (x *Exchange) asksToWait(res *http.Response) (until time.Time, asked bool) {
	if speaksForUs(res.Header) {
		return time.Time{}, false
	}
	return x.Provider.RetryAfter.Heed(x.Tenant, res.StatusCode, res.Header)
}
