package connect

import (
	"context"
	"crypto/subtle"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/coreos/go-oidc/v3/oidc"
	"github.com/tidwall/gjson"

	"github.com/upstreamauth/caddy-upstream-auth/internal/discovery"
)

// identity returns the claims of the id token that came with g, verified; nil if
// there is none. The error is an [ErrIDToken].
func (f *Flow) identity(ctx context.Context, m *discovery.Metadata, s *state, g *tokenResponse) ([]byte, error) {
	value := gjson.GetBytes(g.response, "id_token")
	switch {
	case m == nil:
		return nil, nil
	case !value.Exists(), value.Type == gjson.Null, value.Type == gjson.String && value.Str == "":
		if len(f.config.IDTokenFields) > 0 {
			return nil, fmt.Errorf("%w: there is none", ErrIDToken)
		}
		return nil, nil
	case value.Type != gjson.String:
		return nil, fmt.Errorf("%w: not a string", ErrIDToken)
	case m.Keys == nil:
		return nil, fmt.Errorf("%w: the metadata name no keys to verify it by", ErrIDToken)
	}
	algorithms := m.Algorithms()
	if len(algorithms) == 0 {
		return nil, fmt.Errorf("%w: the metadata name no signature that is safe", ErrIDToken)
	}
	verifier := oidc.NewVerifier(m.Issuer, m.Keys, &oidc.Config{ClientID: g.clientID, SupportedSigningAlgs: algorithms})
	token, err := verifier.Verify(ctx, value.Str)
	if err != nil {
		return nil, fmt.Errorf("%w: %s", ErrIDToken, why(ctx, m, algorithms, value.Str, err))
	}
	var claims json.RawMessage
	if err := token.Claims(&claims); err != nil || object(claims) == nil {
		return nil, fmt.Errorf("%w: its claims cannot be read", ErrIDToken)
	}
	accessToken := gjson.GetBytes(g.response, f.config.OAuth2.ResponseFields.AccessToken).String()
	if err := checkIDToken(token, claims, s.Nonce, g.clientID, accessToken); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrIDToken, err)
	}
	return object(claims), nil
}

// checkIDToken checks what go-oidc leaves to its caller: OpenID Connect Core
// sections 3.1.3.7 (3 to 5, 11) and 3.1.3.8.
func checkIDToken(token *oidc.IDToken, claims []byte, nonce, clientID, accessToken string) error {
	if subtle.ConstantTimeCompare([]byte(token.Nonce), []byte(nonce)) != 1 {
		return errors.New("it is not of this login: nonce")
	}
	if token.Subject == "" {
		return errors.New("it names no subject")
	}
	party := gjson.GetBytes(claims, "azp")
	if party.Exists() && party.String() != clientID || !party.Exists() && len(token.Audience) > 1 {
		return errors.New("it was issued to another client")
	}
	if token.AccessTokenHash != "" && token.VerifyAccessToken(accessToken) != nil {
		return errors.New("it came with another access token")
	}
	return nil
}

// why tells why a token was refused with err, whose text quotes the token or what
// the server sent.
func why(ctx context.Context, m *discovery.Metadata, algorithms []string, raw string, err error) string {
	if _, ok := errors.AsType[*oidc.TokenExpiredError](err); ok {
		return "it has expired"
	}
	signature := oidc.NewVerifier(m.Issuer, m.Keys, &oidc.Config{
		SupportedSigningAlgs: algorithms, SkipIssuerCheck: true, SkipClientIDCheck: true, SkipExpiryCheck: true,
	})
	token, err := signature.Verify(ctx, raw)
	switch {
	case err != nil:
		return "its signature cannot be verified, or is not of a kind that the metadata name"
	case token.Issuer != m.Issuer:
		return "it is of another issuer"
	default:
		return "it is for another audience, or not valid yet"
	}
}
