package discovery

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/coreos/go-oidc/v3/oidc"

	"github.com/upstreamauth/caddy-upstream-auth/credential"
)

// Metadata are what an authorization server says of itself (RFC 8414 section 2,
// OpenID Connect Discovery 1.0 section 3).
type Metadata struct {
	Issuer                string    `json:"issuer"`
	AuthorizationEndpoint string    `json:"authorization_endpoint"`
	TokenEndpoint         string    `json:"token_endpoint"`
	AuthMethods           []string  `json:"token_endpoint_auth_methods_supported"`
	RevocationEndpoint    string    `json:"revocation_endpoint"`
	UserinfoEndpoint      string    `json:"userinfo_endpoint"`
	KeysURI               string    `json:"jwks_uri"`
	IDTokenAlgorithms     []string  `json:"id_token_signing_alg_values_supported"`
	ChallengeMethods      *[]string `json:"code_challenge_methods_supported"`
	IssParameter          bool      `json:"authorization_response_iss_parameter_supported"` // RFC 9207 section 3

	// Keys are those that id tokens are signed with; nil without KeysURI.
	Keys oidc.KeySet `json:"-"`
}

// signatures are the algorithms that an id token may be signed with: neither none,
// nor those with the client secret for a key.
var signatures = []string{
	oidc.RS256, oidc.RS384, oidc.RS512, oidc.PS256, oidc.PS384, oidc.PS512,
	oidc.ES256, oidc.ES384, oidc.ES512, oidc.EdDSA,
}

// Algorithms are the signatures that the server uses. Without a list it is RS256,
// which each has to know (OpenID Connect Discovery 1.0 section 3).
func (m *Metadata) Algorithms() []string {
	if len(m.IDTokenAlgorithms) == 0 {
		return []string{oidc.RS256}
	}
	return slices.DeleteFunc(slices.Clone(m.IDTokenAlgorithms), func(algorithm string) bool {
		return !slices.Contains(signatures, algorithm)
	})
}

// ClientAuthMethods are the ways of client authentication that the token endpoint takes, by
// their registered names (RFC 7591 section 2). Without a list it is client_secret_basic (RFC
// 8414 section 2).
func (m *Metadata) ClientAuthMethods() []string {
	if m.AuthMethods == nil {
		return []string{"client_secret_basic"}
	}
	return m.AuthMethods
}

// wellKnown are the places where an issuer's metadata may lie: behind its path
// (OpenID Connect Discovery 1.0 section 4), and before it (RFC 8414 section 3).
func wellKnown(issuer string) ([]string, error) {
	u, err := url.Parse(issuer)
	if err != nil {
		return nil, err
	}
	path := strings.TrimSuffix(u.EscapedPath(), "/")
	origin := u.Scheme + "://" + u.Host
	return []string{
		origin + path + "/.well-known/openid-configuration",
		origin + "/.well-known/oauth-authorization-server" + path,
	}, nil
}

// fetchMetadata asks for an issuer's metadata where they may lie, in turn, until
// some place has something. The error is an [*Error].
func fetchMetadata(ctx context.Context, client *http.Client, issuer string) (*Metadata, error) {
	places, err := wellKnown(issuer)
	if err != nil {
		return nil, unusable("its issuer cannot be read")
	}
	for _, place := range places {
		request, err := http.NewRequestWithContext(ctx, http.MethodGet, place, nil)
		if err != nil {
			return nil, unusable("its issuer cannot be read")
		}
		status, body, err := Get(client, request)
		switch {
		case status == 0:
			return nil, unusable("it does not answer")
		case status == http.StatusTooManyRequests, status >= 500:
			return nil, unusable(fmt.Sprintf("it answered %d", status))
		case status != http.StatusOK:
			continue
		case err != nil:
			return nil, unusable("they are cut off or too large")
		}
		return readMetadata(client, issuer, body)
	}
	return nil, unusable("it has none")
}

// Error says what is wrong with an authorization server's metadata, without quoting them.
type Error struct{ Reason string }

func (e *Error) Error() string { return "metadata: " + e.Reason }

func unusable(reason string) error { return &Error{reason} }

func readMetadata(client *http.Client, issuer string, body []byte) (*Metadata, error) {
	m := new(Metadata)
	if err := json.Unmarshal(body, m); err != nil {
		return nil, unusable("not a JSON object as it should be")
	}
	if err := m.check(issuer); err != nil {
		return nil, unusable(err.Error())
	}
	if m.KeysURI != "" {
		// Its own requests are bounded by the client.
		m.Keys = oidc.NewRemoteKeySet(oidc.ClientContext(context.Background(), client), m.KeysURI)
	}
	return m, nil
}

// CheckPKCE reports whether the server can be used with PKCE (RFC 7636). The error is an
// [*Error].
func (m *Metadata) CheckPKCE() error {
	if m.ChallengeMethods != nil && !slices.Contains(*m.ChallengeMethods, "S256") {
		return unusable("they do not name the code challenge method S256")
	}
	return nil
}

// check reports what is wrong with m, without quoting it.
func (m *Metadata) check(issuer string) error {
	if m.Issuer != issuer { // RFC 8414 section 3.3
		return errors.New("they name another issuer")
	}
	at, err := credential.ParseEndpoint(issuer)
	if err != nil {
		return fmt.Errorf("issuer is no endpoint: %w", err)
	}
	for name, endpoint := range map[string]string{
		"authorization_endpoint": m.AuthorizationEndpoint,
		"token_endpoint":         m.TokenEndpoint,
		"revocation_endpoint":    m.RevocationEndpoint,
		"userinfo_endpoint":      m.UserinfoEndpoint,
		"jwks_uri":               m.KeysURI,
	} {
		if endpoint == "" {
			continue
		}
		u, err := credential.ParseEndpoint(endpoint)
		if err == nil && credential.IsLoopback(u.Hostname()) && !credential.IsLoopback(at.Hostname()) {
			return fmt.Errorf("%s is on this machine, which the issuer is not", name)
		}
		if err != nil {
			return fmt.Errorf("%s is no endpoint: %w", name, err)
		}
	}
	return nil
}
