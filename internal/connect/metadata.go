package connect

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

// metadata are what an authorization server says of itself (RFC 8414 section 2,
// OpenID Connect Discovery 1.0 section 3).
type metadata struct {
	Issuer                string    `json:"issuer"`
	AuthorizationEndpoint string    `json:"authorization_endpoint"`
	TokenEndpoint         string    `json:"token_endpoint"`
	ClientAuthMethods     []string  `json:"token_endpoint_auth_methods_supported"`
	RevocationEndpoint    string    `json:"revocation_endpoint"`
	UserinfoEndpoint      string    `json:"userinfo_endpoint"`
	KeysURI               string    `json:"jwks_uri"`
	IDTokenAlgorithms     []string  `json:"id_token_signing_alg_values_supported"`
	ChallengeMethods      *[]string `json:"code_challenge_methods_supported"`
	IssParameter          bool      `json:"authorization_response_iss_parameter_supported"` // RFC 9207 section 3

	keys oidc.KeySet // nil without KeysURI
}

// signatures are the algorithms that an id token may be signed with: neither none,
// nor those with the client secret for a key.
var signatures = []string{
	oidc.RS256, oidc.RS384, oidc.RS512, oidc.PS256, oidc.PS384, oidc.PS512,
	oidc.ES256, oidc.ES384, oidc.ES512, oidc.EdDSA,
}

// algorithms are the signatures that the server uses. Without a list it is RS256,
// which each has to know (OpenID Connect Discovery 1.0 section 3).
func (m *metadata) algorithms() []string {
	if len(m.IDTokenAlgorithms) == 0 {
		return []string{oidc.RS256}
	}
	return slices.DeleteFunc(slices.Clone(m.IDTokenAlgorithms), func(algorithm string) bool {
		return !slices.Contains(signatures, algorithm)
	})
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
// some place has something. The error is an [ErrServerUnavailable].
func fetchMetadata(ctx context.Context, client *http.Client, issuer string) (*metadata, error) {
	places, err := wellKnown(issuer)
	if err != nil {
		return nil, unusable("its issuer cannot be read")
	}
	for _, place := range places {
		request, err := http.NewRequestWithContext(ctx, http.MethodGet, place, nil)
		if err != nil {
			return nil, unusable("its issuer cannot be read")
		}
		status, body, err := get(client, request)
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

func unusable(reason string) error {
	return fmt.Errorf("%w: metadata: %s", ErrServerUnavailable, reason)
}

func readMetadata(client *http.Client, issuer string, body []byte) (*metadata, error) {
	m := new(metadata)
	if err := json.Unmarshal(body, m); err != nil {
		return nil, unusable("not a JSON object as it should be")
	}
	if err := m.check(issuer); err != nil {
		return nil, unusable(err.Error())
	}
	if m.KeysURI != "" {
		// Its own requests are bounded by the client.
		m.keys = oidc.NewRemoteKeySet(oidc.ClientContext(context.Background(), client), m.KeysURI)
	}
	return m, nil
}

// checkPKCE reports whether the server can be used with PKCE. The error is an
// [ErrServerUnavailable].
func (m *metadata) checkPKCE() error {
	if m.ChallengeMethods != nil && !slices.Contains(*m.ChallengeMethods, "S256") {
		return unusable("they do not name the code challenge method S256")
	}
	return nil
}

// check reports what is wrong with m, without quoting it.
func (m *metadata) check(issuer string) error {
	if m.Issuer != issuer { // RFC 8414 section 3.3
		return errors.New("they name another issuer")
	}
	at, err := parseAddress(issuer)
	if err != nil {
		return fmt.Errorf("issuer %w", err)
	}
	for name, endpoint := range map[string]string{
		"authorization_endpoint": m.AuthorizationEndpoint,
		"userinfo_endpoint":      m.UserinfoEndpoint,
		"jwks_uri":               m.KeysURI,
	} {
		if endpoint == "" {
			continue
		}
		u, err := parseAddress(endpoint)
		if err == nil && credential.IsLoopback(u.Hostname()) && !credential.IsLoopback(at.Hostname()) {
			err = errors.New("is on this machine, which the issuer is not")
		}
		if err == nil && name == "authorization_endpoint" {
			err = checkEndpoint(endpoint)
		}
		if err != nil {
			return fmt.Errorf("%s %w", name, err)
		}
	}
	return nil
}
