package oauth2

import (
	"encoding/json"
	"errors"
	"time"

	"github.com/tidwall/gjson"

	"github.com/upstreamauth/caddy-upstream-auth/internal/fields"
	"github.com/upstreamauth/caddy-upstream-auth/internal/tokenrequest"
	"github.com/upstreamauth/caddy-upstream-auth/scheme"
)

// ErrResponse says that a token endpoint's answer has no access token in it that
// could be used.
var ErrResponse = errors.New("token response is not usable")

// responseError is an [ErrResponse] that says why.
type responseError struct{ reason string }

func (e *responseError) Error() string { return e.reason }

// Is makes it an [ErrResponse].
func (e *responseError) Is(target error) bool { return target == ErrResponse }

// Merge returns document, a stored JSON object, with the tokens of a token endpoint's
// answer, and with RefreshFields. Everything else in document stays byte for byte.
//
// The access token, the type and the scope are taken over if given, the refresh
// token if there is a new one (RFC 6749 section 6: without one the old one goes
// on). The time of expiry is when the request was sent and the lifetime that the answer
// tells, in whole seconds of UTC. A lifetime that is missing or makes no sense removes the
// old time, which spoke of the old token. The same goes for the refresh token's, whose old
// time stays as long as the token does.
//
// The error is a [*scheme.RefusedError] if the endpoint says no, and an [ErrResponse] if
// the answer has no usable access token (a string of visible ASCII, RFC 6749 appendix
// A.12). There may be a document even so: one with the new refresh token, which must not
// be lost with the rest.
func (r *Renewer) Merge(document []byte, response scheme.Response) ([]byte, error) {
	object, _, wrong := tokenrequest.ResponseOf(response).TokenResponse()
	if object == nil {
		return nil, r.refused(wrong)
	}
	if wrong == nil {
		merged, err := r.mergeTokens(document, object, response.At)
		if err != nil {
			return merged, err
		}
		return MapFields(merged, object, r.RefreshFields), nil
	}
	if r.readTokens(object, response.At).refreshToken == "" {
		return nil, r.refused(wrong)
	}
	merged, err := r.mergeTokens(document, object, response.At)
	return merged, errors.Join(r.refused(wrong), err)
}

func (r *Renewer) refused(e *tokenrequest.Error) error {
	refused := &scheme.RefusedError{Code: e.Code, Permanent: e.Permanent, Unspent: e.Unspent, RetryAfter: e.RetryAfter}
	refused.Retry = len(r.ClientSecrets) > 1 && e.Code == "invalid_client" // with the other secret
	return refused
}

// mergeTokens is Merge without RefreshFields.
func (r *Renewer) mergeTokens(document, response []byte, now time.Time) ([]byte, error) {
	if !gjson.ParseBytes(response).IsObject() || !json.Valid(response) {
		return nil, &responseError{"it is no JSON object"}
	}
	tokens := r.readTokens(response, now)

	merged, err := tokens.mergeRefreshToken(r, document)
	if err != nil {
		return nil, err
	}
	rescued := merged
	if tokens.refreshToken == "" {
		rescued = nil
	}
	if tokens.wrong != "" {
		return rescued, &responseError{tokens.wrong}
	}
	merged, err = fields.Set(merged, r.Fields.AccessToken, tokens.accessToken)
	if err != nil {
		return rescued, err
	}
	merged = fields.SetOptional(merged, r.Fields.TokenType, tokens.tokenType)
	merged = fields.SetOptional(merged, r.Fields.Scope, tokens.scope)
	if tokens.expiresAt != "" {
		return fields.SetOptional(merged, r.Fields.ExpiresAt, tokens.expiresAt), nil
	}
	return fields.Remove(merged, r.Fields.ExpiresAt), nil
}

// tokens are a token endpoint's answer, each field as a JSON string, or "" if it
// was not given.
type tokens struct {
	accessToken  string
	wrong        string // with the access token
	refreshToken string
	tokenType    string
	scope        string
	expiresAt    string

	refreshTokenExpiresAt string
}

func (r *Renewer) readTokens(response []byte, now time.Time) tokens {
	at := func(path string) gjson.Result { return gjson.GetBytes(response, path) }
	text := func(path string) string {
		if value := at(path); value.Type == gjson.String && value.Str != "" {
			return fields.Quote(value.Str)
		}
		return ""
	}
	t := tokens{
		refreshToken: text(r.ResponseFields.RefreshToken),
		tokenType:    text(r.ResponseFields.TokenType),
		scope:        text(r.ResponseFields.Scope),
	}
	access := at(r.ResponseFields.AccessToken)
	if access.Type == gjson.Null { // missing, too
		t.wrong = "without " + r.ResponseFields.AccessToken + " in it"
	} else if wrong := fields.TokenError(access.Type, access.Str); wrong != "" {
		t.wrong = r.ResponseFields.AccessToken + " " + wrong
	} else {
		t.accessToken = fields.Quote(access.Str)
	}
	if expires, ok := r.readExpiry(at, now); ok {
		t.expiresAt = fields.Quote(expires.UTC().Format(time.RFC3339))
	}
	if r.Grant != GrantRefreshToken {
		t.refreshToken = "" // nobody would spend it
	} else if expires, ok := r.readRefreshTokenExpiry(at, now); ok {
		t.refreshTokenExpiresAt = fields.Quote(expires.UTC().Format(time.RFC3339))
	}
	return t
}

// readExpiry returns when a token expires that was asked for now.
func (r *Renewer) readExpiry(at func(path string) gjson.Result, now time.Time) (time.Time, bool) {
	if path := r.ResponseFields.ExpiresAt; path != "" {
		if expires, ok := fields.Time(at(path)); ok && expires.Sub(now) <= fields.MaxLifetime {
			return expires, true
		}
	}
	lifetime, ok := fields.Lifetime(at(r.ResponseFields.ExpiresIn), r.ExpiresInUnit)
	return now.Add(lifetime), ok
}

// mergeRefreshToken puts the new refresh token in its place, if there is one, and when it
// expires, as far as that is known.
func (t tokens) mergeRefreshToken(r *Renewer, document []byte) (merged []byte, err error) {
	merged = document
	if t.refreshToken != "" {
		if merged, err = fields.Set(document, r.Fields.RefreshToken, t.refreshToken); err != nil {
			return nil, err
		}
		if held := gjson.GetBytes(document, r.Fields.RefreshToken); fields.Quote(held.Str) != t.refreshToken {
			merged = fields.Remove(merged, r.Fields.RefreshTokenExpiresAt)
		}
	}
	return fields.SetOptional(merged, r.Fields.RefreshTokenExpiresAt, t.refreshTokenExpiresAt), nil
}
