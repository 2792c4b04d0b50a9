package tokenrequest

import (
	"context"
	"errors"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/tidwall/gjson"
	"golang.org/x/oauth2"
	"golang.org/x/oauth2/clientcredentials"

	"github.com/upstreamauth/caddy-upstream-auth/scheme"
)

// Response is a token endpoint's answer.
type Response struct {
	Status    int
	Header    http.Header
	Body      []byte    // at most 512 KiB, decompressed
	Truncated bool      // there was more, or should have been
	At        time.Time // when the request was sent: lifetimes in the answer start no later

	request *http.Request // nil: not known
}

// AnswerTo makes r the answer to req, and returns it. What was in req is kept out of
// an [Error]'s Description. Without it, or its GetBody, there is no Description.
func (r *Response) AnswerTo(req *http.Request) *Response {
	r.request = req
	return r
}

// Success reports whether the status says that the token was spent.
func (r *Response) Success() bool { return r.Status >= 200 && r.Status <= 299 }

// permanentCodes refuse a token for good (RFC 6749 section 5.2, OpenID Connect Core
// section 3.1.2.6).
var permanentCodes = map[string]bool{
	"invalid_grant":        true,
	"unauthorized_client":  true,
	"interaction_required": true,
	"login_required":       true,
	"consent_required":     true,
	"bad_refresh_token":    true, // GitHub's name for invalid_grant
}

// TokenResponse returns a successful answer as a JSON object, whether it is all
// there, and what is wrong with the answer, if anything is. There is an object
// together with an error where an endpoint reports one in spite of its status: it may
// hold tokens, which must not be lost. No object without an error is nil.
//
// What an error means for the token: a known permanent code refuses it, 429, 503 and
// whatever else is below 500 left it as it was, and any other status says nothing.
func (r *Response) TokenResponse() (object []byte, complete bool, err *Error) {
	object, complete = responseObject(r.Header.Get("Content-Type"), r.Body, r.Truncated)
	e := &Error{Status: r.Status, Reason: "no token response"}
	if !r.Success() || responseError(object) != "" {
		r.readError(e, object)
	}
	switch {
	case r.Success() && object != nil && e.Code == "":
		return object, complete, nil
	case r.Success() && object == nil:
		e.NoResponse = r.Truncated // nothing that could be told from a broken connection
		return nil, false, e
	case r.Status == http.StatusTooManyRequests, r.Status == http.StatusServiceUnavailable:
		e.RetryAfter = retryAfter(r.Header.Get("Retry-After"), r.At)
		e.Unspent = true
	case r.Status < 200, r.Status >= 500:
		e.NoResponse = true
	default:
		e.Permanent = permanentCodes[e.Code]
		e.Unspent = !e.Permanent
	}
	if r.Success() {
		return object, complete, e
	}
	return nil, false, e
}

// readError reads the error that the answer reports.
func (r *Response) readError(e *Error, object []byte) {
	var description string
	if reported := r.retrieveError(); reported != nil {
		e.Code = ErrorCode(reported.ErrorCode)
		description = reported.ErrorDescription
	}
	if e.Code == "" { // one that x/oauth2 doesn't read, as for an odd member beside it
		e.Code = responseError(object)
		description = gjson.GetBytes(object, "error_description").String()
	}
	if secrets, known := secretsOf(r.request); known {
		e.Description = cleanDescription(description, secrets)
	}
}

// retrieveError is what x/oauth2 makes of the answer, nil if no error.
func (r *Response) retrieveError() *oauth2.RetrieveError {
	client := &http.Client{
		Transport: roundTripper(func(req *http.Request) (*http.Response, error) {
			return &http.Response{StatusCode: r.Status, Header: r.Header, Body: io.NopCloser(strings.NewReader(string(r.Body))), Request: req}, nil
		}),
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	config := clientcredentials.Config{TokenURL: "https://token.invalid", AuthStyle: oauth2.AuthStyleInParams}
	_, err := config.Token(context.WithValue(context.Background(), oauth2.HTTPClient, client))
	reported, _ := errors.AsType[*oauth2.RetrieveError](err)
	return reported
}

type roundTripper func(*http.Request) (*http.Response, error)

// RoundTrip implements [http.RoundTripper].
func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

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

// ResponseOf makes a response of what a scheme is given of one.
func ResponseOf(r scheme.Response) *Response {
	return &Response{Status: r.Status, Header: r.Header, Body: r.Body, Truncated: r.Truncated, At: r.At}
}

// ForScheme is what a scheme is given of r.
func (r *Response) ForScheme() scheme.Response {
	return scheme.Response{Status: r.Status, Header: r.Header, Body: r.Body, Truncated: r.Truncated, At: r.At}
}
