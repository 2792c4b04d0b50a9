package scheme

import (
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/tidwall/gjson"
	"github.com/tidwall/sjson"

	"github.com/upstreamauth/caddy-upstream-auth/credential"
)

// ErrResponse says that a token endpoint's answer has no access token in it that
// could be used.
var ErrResponse = errors.New("token response is not usable")

const (
	// maxAccessToken leaves room for "Bearer " and the like in a header's value.
	maxAccessToken = maxValueLength - 1<<10

	// maxLifetime is the longest lifetime of an access token that is believed.
	maxLifetime = 10 * 365 * 24 * time.Hour
)

// Merge returns document, a stored JSON object, with the tokens of response, a
// token endpoint's answer that was received at now, and with RefreshFields.
// Everything else in document stays byte for byte.
//
// The access token, the type and the scope are taken over if given, the refresh
// token if there is a new one (RFC 6749 section 6: without one the old one goes
// on). The time of expiry is now and the lifetime that response tells, in whole
// seconds of UTC. A lifetime that is missing or makes no sense removes the old
// time, which spoke of the old token.
//
// If response is not a JSON object or has no usable access token (a string of
// visible ASCII, RFC 6749 appendix A.12), the error is an [ErrResponse]. There
// may be a document even so: one with the new refresh token, which must not be
// lost with the rest.
func (o *OAuth2) Merge(document, response []byte, now time.Time) ([]byte, error) {
	merged, err := o.mergeTokens(document, response, now)
	if err != nil {
		return merged, err
	}
	return shape(merged, response, o.RefreshFields), nil
}

// mergeTokens is Merge without RefreshFields.
func (o *OAuth2) mergeTokens(document, response []byte, now time.Time) ([]byte, error) {
	if !gjson.ParseBytes(response).IsObject() || !json.Valid(response) {
		return nil, fmt.Errorf("%w: not a JSON object", ErrResponse)
	}
	tokens := o.readTokens(response, now)

	merged, err := tokens.mergeRefreshToken(o, document)
	if err != nil {
		return nil, err
	}
	rescued := merged
	if tokens.refreshToken == "" {
		rescued = nil
	}
	if tokens.problem != "" {
		return rescued, fmt.Errorf("%w: %s", ErrResponse, tokens.problem)
	}
	merged, err = set(merged, o.Fields.AccessToken, tokens.accessToken)
	if err != nil {
		return rescued, err
	}
	merged = setOptional(merged, o.Fields.TokenType, tokens.tokenType)
	merged = setOptional(merged, o.Fields.Scope, tokens.scope)
	if tokens.expiresAt != "" {
		return setOptional(merged, o.Fields.ExpiresAt, tokens.expiresAt), nil
	}
	return remove(merged, o.Fields.ExpiresAt), nil
}

// tokens are a token endpoint's answer, each field as a JSON string, or "" if it
// was not given.
type tokens struct {
	accessToken  string
	problem      string // what is wrong with the access token
	refreshToken string
	tokenType    string
	scope        string
	expiresAt    string
}

func (o *OAuth2) readTokens(response []byte, now time.Time) tokens {
	at := func(path string) gjson.Result { return gjson.GetBytes(response, path) }
	text := func(path string) string {
		if value := at(path); value.Type == gjson.String && value.Str != "" {
			return quote(value.Str)
		}
		return ""
	}
	t := tokens{
		refreshToken: text(o.ResponseFields.RefreshToken),
		tokenType:    text(o.ResponseFields.TokenType),
		scope:        text(o.ResponseFields.Scope),
	}
	access := at(o.ResponseFields.AccessToken)
	if problem := accessTokenProblem(access.Type, access.Str); problem != "" {
		t.problem = "access token " + problem
	} else {
		t.accessToken = quote(access.Str)
	}
	if lifetime, ok := readLifetime(at(o.ResponseFields.ExpiresIn)); ok {
		t.expiresAt = quote(now.UTC().Add(lifetime).Format(time.RFC3339))
	}
	return t
}

// accessTokenProblem returns what is wrong with an access token, "" if nothing is.
func accessTokenProblem(is gjson.Type, token string) string {
	switch {
	case is != gjson.String:
		return "is missing or not a string"
	case !isVisible(token):
		return "is empty or not visible ASCII"
	case len(token) > maxAccessToken:
		return fmt.Sprintf("is longer than %d bytes", maxAccessToken)
	}
	return ""
}

// readLifetime takes what token endpoints send for a number of seconds: integers,
// fractions, and either as a string.
func readLifetime(value gjson.Result) (time.Duration, bool) {
	text := value.Raw
	switch value.Type {
	case gjson.Number:
	case gjson.String:
		text = value.Str
	default:
		return 0, false
	}
	seconds, err := strconv.ParseFloat(strings.TrimSpace(text), 64)
	if err != nil || !(seconds >= 1 && seconds <= maxLifetime.Seconds()) {
		return 0, false
	}
	return time.Duration(seconds) * time.Second, true
}

// mergeRefreshToken puts the new refresh token in its place, if there is one.
func (t tokens) mergeRefreshToken(o *OAuth2, document []byte) ([]byte, error) {
	if t.refreshToken == "" {
		return document, nil
	}
	return set(document, o.Fields.RefreshToken, t.refreshToken)
}

// quote returns s as a JSON string.
func quote(s string) string {
	return string(gjson.AppendJSONString(nil, s))
}

// set returns document with the JSON value raw at path.
func set(document []byte, path, raw string) ([]byte, error) {
	changed, err := sjson.SetRawBytes(document, path, []byte(raw))
	switch {
	case err != nil, !json.Valid(changed):
		return nil, fmt.Errorf("document has no place for field %q", path)
	case len(changed) > credential.MaxSize:
		return nil, fmt.Errorf("document with field %q is larger than %d bytes", path, credential.MaxSize)
	}
	return changed, nil
}

// setOptional is set for what is worth less than the tokens: it is left out where
// there is no place for it.
func setOptional(document []byte, path, raw string) []byte {
	if raw == "" {
		return document
	}
	changed, err := set(document, path, raw)
	if err != nil {
		return document
	}
	return changed
}

// remove returns document without the value at path, each of them where a key is
// there more than once, within reason.
func remove(document []byte, path string) []byte {
	for range 8 {
		if !gjson.GetBytes(document, path).Exists() {
			break
		}
		changed, err := sjson.DeleteBytes(document, path)
		if err != nil || len(changed) >= len(document) || !json.Valid(changed) {
			break
		}
		document = changed
	}
	return document
}
