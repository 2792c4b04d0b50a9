package refresh

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strconv"
	"time"

	"github.com/upstreamauth/caddy-upstream-auth/internal/scheme"
)

// maxAnswer bounds a token endpoint's answer in bytes, decompressed.
const maxAnswer = 512 << 10

// problem says what is wrong with a token endpoint or its answer, and what that
// means for the refresh token that was to be spent. It holds nothing that came
// from there but the status and an error code.
type problem struct {
	reason     string
	status     int    // 0: no answer
	code       string // RFC 6749 section 5.2
	retryAfter time.Duration

	silent    bool // counts for the breaker
	unspent   bool // the refresh token is as it was: it was not sent, or not looked at
	permanent bool // the refresh token is refused for good
}

func (p *problem) Error() string {
	switch {
	case p.status == 0:
		return "token endpoint: " + p.reason
	case p.code != "":
		return fmt.Sprintf("token endpoint answered %d, %s", p.status, p.code)
	default:
		return fmt.Sprintf("token endpoint answered %d, %s", p.status, p.reason)
	}
}

// noAnswer tells why there is none. The text of err may quote what the endpoint
// sent, so only kinds of errors are told.
func noAnswer(err error, sent bool) *problem {
	if !sent {
		return &problem{reason: "the request was not sent", unspent: true}
	}
	reason := "connection ended without an answer"
	var timeout net.Error
	if errors.Is(err, context.Canceled) || errors.As(err, &timeout) && timeout.Timeout() {
		reason = "no answer in time"
	}
	return &problem{reason: reason, silent: true}
}

// notConnected tells why there is no connection.
func notConnected(err error) *problem {
	reason := "cannot connect"
	var timeout net.Error
	var certificate *tls.CertificateVerificationError
	switch {
	case errors.As(err, &certificate):
		reason = "its certificate is not trusted"
	case errors.Is(err, context.Canceled) || errors.As(err, &timeout) && timeout.Timeout():
		reason = "cannot connect in time"
	}
	return &problem{reason: reason, silent: true, unspent: true}
}

// answer is what a token endpoint sent.
type answer struct {
	status      int
	contentType string
	retryAfter  time.Duration
	body        []byte
	cut         bool // there was more, or should have been
}

// success reports whether the status says that the token was spent.
func (a *answer) success() bool { return a.status >= 200 && a.status <= 299 }

// journalled is how the answer is written down: raw, with what it takes to read it.
type journalled struct {
	Status      int    `json:"status"`
	ContentType string `json:"content_type"`
	Cut         bool   `json:"cut,omitempty"`
	Body        []byte `json:"body"`
}

// raw returns the answer for the journal.
func (a *answer) raw() []byte {
	contentType := a.contentType[:min(len(a.contentType), 200)]
	raw, _ := json.Marshal(journalled{a.status, contentType, a.cut, a.body}) // cannot fail
	return raw
}

// readAnswer is the reverse of raw.
func readAnswer(raw []byte) (*answer, error) {
	var j journalled
	if err := json.Unmarshal(raw, &j); err != nil {
		return nil, errors.New("not a journalled answer")
	}
	return &answer{status: j.Status, contentType: j.ContentType, cut: j.Cut, body: j.Body}, nil
}

// permanentCodes refuse a refresh token for good (RFC 6749 section 5.2, OpenID
// Connect Core section 3.1.2.6).
var permanentCodes = map[string]bool{
	"invalid_grant":        true,
	"unauthorized_client":  true,
	"interaction_required": true,
	"login_required":       true,
	"consent_required":     true,
	"bad_refresh_token":    true, // GitHub's name for invalid_grant
}

// classify returns a successful answer as a JSON object, for it may have tokens,
// and what is wrong with the answer, if anything is. With both, see [grant].
func (a *answer) classify() ([]byte, *problem) {
	object, _ := a.object()
	p := &problem{status: a.status, code: scheme.ResponseError(object), reason: "no token response"}
	switch {
	case a.success() && object != nil && p.code == "":
		return object, nil
	case a.success() && object == nil:
		p.silent = a.cut // nothing that could be told from a broken connection
	case a.success():
		// An error in spite of the status, as some endpoints answer.
		p.permanent = permanentCodes[p.code]
		p.unspent = !p.permanent
		return object, p
	case a.status == http.StatusTooManyRequests, a.status == http.StatusServiceUnavailable:
		p.retryAfter = a.retryAfter
		p.unspent = true
	case a.status >= 500:
		p.silent = true
	default:
		p.permanent = permanentCodes[p.code]
		p.unspent = !p.permanent
	}
	return nil, p
}

// object returns the answer as a JSON object, nil if it cannot be read as one, and
// whether it is all there.
func (a *answer) object() (object []byte, whole bool) {
	return scheme.ResponseObject(a.contentType, a.body, a.cut)
}

// retryAfter reads a Retry-After header (RFC 9110 section 10.2.3).
func retryAfter(value string, now time.Time) time.Duration {
	if seconds, err := strconv.ParseUint(value, 10, 31); err == nil {
		return time.Duration(seconds) * time.Second
	}
	if at, err := http.ParseTime(value); err == nil {
		return max(0, at.Sub(now))
	}
	return 0
}
