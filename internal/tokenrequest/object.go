package tokenrequest

import (
	"bytes"
	"encoding/json"
	"mime"
	"net/url"

	"github.com/tidwall/gjson"
)

// responseObject returns the body of a token endpoint's answer as a JSON object, nil if
// it cannot be read as one, and whether it is all there; truncated says that the body is
// not. It takes forms too, which some endpoints send, and of a body that is truncated or
// broken what is complete: a refresh token is worth it.
func responseObject(contentType string, body []byte, truncated bool) (object []byte, complete bool) {
	body = bytes.TrimSpace(bytes.TrimPrefix(body, []byte("\xef\xbb\xbf")))
	if bytes.HasPrefix(body, []byte("{")) {
		if json.Valid(body) {
			return body, !truncated
		}
		return completeMembers(body), false
	}
	switch mediaType, _, _ := mime.ParseMediaType(contentType); mediaType {
	case "application/x-www-form-urlencoded", "text/plain":
		return fromForm(body, truncated), !truncated
	}
	return nil, false
}

// completeMembers makes an object of those members of a broken one that come before
// the break.
func completeMembers(body []byte) []byte {
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
// is truncated there.
func fromForm(body []byte, truncated bool) []byte {
	if truncated {
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

// errorCodes are those of RFC 6749 section 5.2, RFC 8628 section 3.5, RFC 8707 section
// 2, OpenID Connect Core section 3.1.2.6, and of servers that go their own way.
var errorCodes = map[string]bool{
	"invalid_request": true, "invalid_client": true, "invalid_grant": true,
	"unauthorized_client": true, "unsupported_grant_type": true, "invalid_scope": true,
	"access_denied": true, "server_error": true, "temporarily_unavailable": true,
	"authorization_pending": true, "slow_down": true, "expired_token": true, "invalid_target": true,
	"interaction_required": true, "login_required": true, "account_selection_required": true, "consent_required": true,
	"invalid_token": true, "unsupported_token_type": true,
	"bad_refresh_token": true, "bad_verification_code": true, "incorrect_client_credentials": true, // GitHub
	"redirect_uri_mismatch": true, "inactive_user": true, "inactive_org": true, "rate_limit_exceeded": true,
}

// responseError returns the error code of a token endpoint's answer as [ErrorCode] tells
// it, "" if it has none.
func responseError(object []byte) string {
	value := gjson.GetBytes(object, "error")
	if value.Type != gjson.String {
		return ""
	}
	return ErrorCode(value.Str)
}

// ErrorCode tells an error code (RFC 6749 section 5.2) that came from a token endpoint,
// "" for none. One that is not known is told as "unknown_error": it may be a secret that
// the endpoint quotes.
func ErrorCode(code string) string {
	if code == "" || errorCodes[code] {
		return code
	}
	return "unknown_error"
}
