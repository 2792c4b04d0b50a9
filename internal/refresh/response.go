package refresh

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"mime"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/tidwall/gjson"
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
	p := &problem{status: a.status, code: errorCode(object), reason: "no token response"}
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
// whether it is all there. It takes forms too, which some endpoints send, and of
// an answer that is cut off or broken what is whole: a refresh token is worth it.
func (a *answer) object() (object []byte, whole bool) {
	body := bytes.TrimSpace(bytes.TrimPrefix(a.body, []byte("\xef\xbb\xbf")))
	if bytes.HasPrefix(body, []byte("{")) {
		if json.Valid(body) {
			return body, !a.cut
		}
		return wholeMembers(body), false
	}
	switch mediaType, _, _ := mime.ParseMediaType(a.contentType); mediaType {
	case "application/x-www-form-urlencoded", "text/plain":
		return fromForm(body, a.cut), !a.cut
	}
	return nil, false
}

// wholeMembers makes an object of those members of a broken one that come before
// the break.
func wholeMembers(body []byte) []byte {
	object := []byte{'{'}
	d := json.NewDecoder(bytes.NewReader(body))
	_, err := d.Token() // the brace
	for err == nil {
		var key json.Token
		if key, err = d.Token(); err != nil {
			break
		}
		name, ok := key.(string)
		var value json.RawMessage
		if !ok || d.Decode(&value) != nil {
			break
		}
		// A number at the very end may be the beginning of a longer one.
		if last := value[len(value)-1]; last >= '0' && last <= '9' && int(d.InputOffset()) == len(body) {
			break
		}
		if len(object) > 1 {
			object = append(object, ',')
		}
		object = gjson.AppendJSONString(object, name)
		object = append(append(object, ':'), value...)
	}
	if len(object) == 1 {
		return nil
	}
	return append(object, '}')
}

// fromForm makes an object of a form's fields, the last one left out if the form
// is cut off there.
func fromForm(body []byte, cut bool) []byte {
	if cut {
		body = body[:max(bytes.LastIndexByte(body, '&'), 0)]
	}
	form, err := url.ParseQuery(string(body))
	if err != nil || len(form) == 0 {
		return nil
	}
	fields := make(map[string]string, len(form))
	for name := range form {
		fields[name] = form.Get(name)
	}
	object, err := json.Marshal(fields)
	if err != nil {
		return nil
	}
	return object
}

// errorCode returns the error code of an answer (RFC 6749 section 5.2), "" if it
// has none. One that does not look like a code, and so may be a secret that the
// endpoint quotes, is told as "unknown_error".
func errorCode(object []byte) string {
	value := gjson.GetBytes(object, "error")
	if value.Type != gjson.String || value.Str == "" {
		return ""
	}
	for i := range len(value.Str) {
		if c := value.Str[i]; i >= 40 || c != '_' && (c < 'a' || c > 'z') {
			return "unknown_error"
		}
	}
	return value.Str
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
