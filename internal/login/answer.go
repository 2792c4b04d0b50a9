package login

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"mime"
	"net/http"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/tidwall/gjson"

	"github.com/upstreamauth/caddy-upstream-auth/internal/fields"
	"github.com/upstreamauth/caddy-upstream-auth/internal/template"
	"github.com/upstreamauth/caddy-upstream-auth/internal/tokenrequest"
	"github.com/upstreamauth/caddy-upstream-auth/scheme"
)

// ErrAnswer says that an answer has no token in it that could be used.
var ErrAnswer = errors.New("the answer is not usable")

// answerError is an [ErrAnswer] that says why.
type answerError struct{ reason string }

func (e *answerError) Error() string { return e.reason }

// Is makes it an [ErrAnswer].
func (e *answerError) Is(target error) bool { return target == ErrAnswer }

// answer is what a server says.
type answer struct {
	body    []byte // JSON: of a form an object, of other text a string
	header  http.Header
	at      time.Time
	refused *scheme.RefusedError // nil: the status is one of success, and no error is told
}

// refusals are the statuses that say that what was sent is wrong, and will be wrong the
// next time. A login that is repeated all the same may lock its user out.
var refusals = map[int]bool{
	http.StatusBadRequest: true, http.StatusUnauthorized: true, http.StatusForbidden: true,
	http.StatusUnprocessableEntity: true, http.StatusLocked: true,
}

// readAnswer reads an answer. Without an error it has a body, or was refused.
func readAnswer(r scheme.Response) (*answer, error) {
	object, _, wrong := tokenrequest.ResponseOf(r).TokenResponse()
	a := &answer{body: object, header: r.Header, at: r.At}
	if success := r.Status >= 200 && r.Status <= 299; !success || wrong != nil && object != nil {
		a.refused = refusal(wrong, success || refusals[r.Status])
	}
	text := bytes.TrimSpace(bytes.TrimPrefix(r.Body, []byte("\xef\xbb\xbf")))
	mediaType, _, _ := mime.ParseMediaType(r.Header.Get("Content-Type"))
	switch {
	case a.refused != nil, object != nil && (mediaType != "text/plain" || bytes.HasPrefix(text, []byte("{"))): // else it is taken for a form
	case r.Truncated || !utf8.Valid(text):
		return nil, &answerError{"that cannot be read"}
	case len(text) == 0:
		a.body = []byte("null")
	case json.Valid(text):
		a.body = text
	default:
		a.body = gjson.AppendJSONString(nil, string(text))
	}
	return a, nil //nolint:nilerr // what is wrong is in there
}

func refusal(wrong *tokenrequest.Error, permanent bool) *scheme.RefusedError {
	permanent = permanent || wrong.Permanent
	return &scheme.RefusedError{Code: wrong.Code, Permanent: permanent, Unspent: wrong.Unspent && !permanent, RetryAfter: wrong.RetryAfter}
}

// find returns what a field is taken from; null, if that is not there.
func (a *answer) find(f *TokenField) gjson.Result {
	text := ""
	switch {
	case f.Header != "":
		text = strings.TrimSpace(a.header.Get(f.Header))
	case f.Cookie != "":
		for _, cookie := range (&http.Response{Header: a.header}).Cookies() {
			if cookie.Name == f.Cookie && cookie.MaxAge >= 0 {
				text = cookie.Value
			}
		}
	default:
		return gjson.GetBytes(a.body, f.Path)
	}
	if text == "" {
		return gjson.Result{}
	}
	return gjson.ParseBytes(gjson.AppendJSONString(nil, text))
}

// token returns a token as a string, or says what is wrong with it.
func (a *answer) token(f *TokenField) (text, wrong string) {
	value := a.find(f)
	if value.Type == gjson.Number {
		return strings.TrimSpace(value.Raw), ""
	}
	switch wrong = fields.TokenError(value.Type, value.Str); {
	case value.Type == gjson.Null: // missing, too
		return "", fmt.Sprintf("without %s in it", f)
	case f.Header != "" && len(value.Str) <= fields.MaxToken && template.Header(value.Str) == "":
		return value.Str, "" // "Bearer …", say, to be sent as it came
	case wrong != "":
		return "", fmt.Sprintf("%s %s", f, wrong)
	}
	return value.Str, ""
}

// expiresAt is when a token expires, "" if that is not known.
func (c *Config) expiresAt(a *answer) string {
	lifetime := c.Lifetime
	switch {
	case c.ExpiresIn != "":
		lifetime, _ = fields.Lifetime(gjson.GetBytes(a.body, c.ExpiresIn), time.Second)
	case c.ExpiresAt != "":
		if at, ok := fields.Time(gjson.GetBytes(a.body, c.ExpiresAt)); ok {
			lifetime = at.Sub(a.at)
		}
	}
	if lifetime <= 0 || lifetime > fields.MaxLifetime {
		return ""
	}
	return a.at.UTC().Add(lifetime).Format(time.RFC3339)
}
