package connect

import (
	"errors"
	"fmt"
	"net/url"
	"strings"

	"github.com/upstreamauth/caddy-upstream-auth/credential"
)

// parseAddress is [credential.ParseEndpoint] with an error that goes behind the name
// of a setting.
func parseAddress(text string) (*url.URL, error) {
	u, err := credential.ParseEndpoint(text)
	if err != nil {
		return nil, fmt.Errorf("is no endpoint: %w", err)
	}
	return u, nil
}

// parseBareAddress is parseAddress for what must not have a query.
func parseBareAddress(text string) (*url.URL, error) {
	u, err := parseAddress(text)
	if err == nil && strings.Contains(text, "?") {
		return nil, errors.New("must not have a query")
	}
	return u, err
}

// normalHost is the host and, unless it is the scheme's own, the port.
func normalHost(scheme, host string) string {
	host = strings.ToLower(host)
	if scheme == "https" {
		return strings.TrimSuffix(host, ":443")
	}
	return strings.TrimSuffix(host, ":80")
}

// checkEndpoint checks the address of an authorization endpoint, which may have a
// query (RFC 6749 section 3.1) but none of our parameters in it.
func checkEndpoint(text string) error {
	u, err := parseAddress(text)
	if err != nil {
		return err
	}
	query, err := url.ParseQuery(u.RawQuery)
	if err != nil {
		return errors.New("has a query that cannot be read")
	}
	for name := range query {
		if isOwnParameter(name) {
			return errors.New("has a parameter in its query that the protocol sets")
		}
	}
	return nil
}

// isOwnTokenParameter is [isOwnParameter] for the request that spends the code.
func isOwnTokenParameter(name string) bool {
	switch name {
	case "grant_type", "code", "redirect_uri", "client_id", "client_secret", "client_assertion", "client_assertion_type", "code_verifier":
		return true
	}
	return false
}

// isOwnParameter reports whether name is a parameter of the authorization request
// that the flow sets itself, or that would replace those or move the answer.
func isOwnParameter(name string) bool {
	switch name {
	case "response_type", "client_id", "redirect_uri", "scope", "state", // RFC 6749 section 4.1.1
		"code_challenge", "code_challenge_method", // RFC 7636 section 4.3
		"nonce", "response_mode", // OpenID Connect Core section 3.1.2.1
		"request", "request_uri": // RFC 9101 section 5
		return true
	}
	return false
}
