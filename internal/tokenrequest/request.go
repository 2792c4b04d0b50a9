package tokenrequest

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/url"

	"golang.org/x/oauth2"
	"golang.org/x/oauth2/clientcredentials"
)

// Parameters are what the requests to an endpoint have in common.
type Parameters struct {
	// URL is the endpoint.
	URL string

	// ClientID and ClientSecret are the client's; a public one has no secret.
	ClientID, ClientSecret string

	// AuthStyle is how they are sent (RFC 6749 section 2.3.1):
	// [oauth2.AuthStyleInHeader] or [oauth2.AuthStyleInParams]. It is never guessed: a
	// guess that is wrong spends the token twice.
	AuthStyle oauth2.AuthStyle

	// Assertion authenticates the client instead of a secret (RFC 7521 section 4.2): a
	// JWT (RFC 7523 section 2.2). AuthStyle is [oauth2.AuthStyleInParams] then.
	Assertion string

	// Params are further parameters.
	Params url.Values

	// Format is how parameters travel. Default: [FormatForm].
	Format Format

	// Header has further fields of the request's header.
	Header http.Header
}

// GrantRequest makes a request for a token by a grant (RFC 6749 section 4.5): its own
// parameters, the grant type among them, over which Params go.
func GrantRequest(p Parameters, grant url.Values) (*http.Request, error) {
	params := maps.Clone(grant)
	maps.Copy(params, p.Params)
	return p.clientRequest(params)
}

// CodeRequest makes a request that spends an authorization code (RFC 6749 section
// 4.1.3), with the verifier of PKCE (RFC 7636 section 4.5) unless that is empty.
func CodeRequest(p Parameters, code, redirectURI, verifier string) (*http.Request, error) {
	config := &oauth2.Config{
		ClientID: p.ClientID, ClientSecret: p.ClientSecret, RedirectURL: redirectURI,
		Endpoint: oauth2.Endpoint{TokenURL: p.URL, AuthStyle: p.AuthStyle},
	}
	var options []oauth2.AuthCodeOption
	if verifier != "" {
		options = append(options, oauth2.VerifierOption(verifier))
	}
	for name, values := range p.withAssertion(p.Params) {
		for _, value := range values {
			options = append(options, oauth2.SetAuthURLParam(name, value))
		}
	}
	return p.capture(func(ctx context.Context) error {
		_, err := config.Exchange(ctx, code, options...)
		return err
	})
}

// RevocationRequest makes a request that revokes a token (RFC 7009 section 2.1) of
// the kind hint: refresh_token or access_token. Params are not sent.
func RevocationRequest(p Parameters, token, hint string) (*http.Request, error) {
	// Without values a parameter is not sent: this is no grant.
	params := url.Values{"grant_type": nil, "token": {token}}
	if hint != "" {
		params.Set("token_type_hint", hint)
	}
	return p.clientRequest(params)
}

// clientRequest makes a request with params as the client.
func (p Parameters) clientRequest(params url.Values) (*http.Request, error) {
	config := &clientcredentials.Config{
		ClientID: p.ClientID, ClientSecret: p.ClientSecret, TokenURL: p.URL, AuthStyle: p.AuthStyle,
		EndpointParams: p.withAssertion(params),
	}
	return p.capture(func(ctx context.Context) error {
		_, err := config.Token(ctx)
		return err
	})
}

// withAssertion returns params with those that authenticate the client by an assertion.
func (p Parameters) withAssertion(params url.Values) url.Values {
	if p.Assertion == "" {
		return params
	}
	all := url.Values{
		"client_assertion_type": {"urn:ietf:params:oauth:client-assertion-type:jwt-bearer"},
		"client_assertion":      {p.Assertion},
	}
	maps.Copy(all, params)
	return all
}

var errCaptured = errors.New("the token request is made")

// capture returns the request that ask wants to send by x/oauth2.
func (p Parameters) capture(ask func(ctx context.Context) error) (*http.Request, error) {
	if p.AuthStyle != oauth2.AuthStyleInHeader && p.AuthStyle != oauth2.AuthStyleInParams {
		return nil, fmt.Errorf("token request: %d is no way to authenticate a client", p.AuthStyle)
	}
	var captured *http.Request
	client := &http.Client{Transport: roundTripper(func(req *http.Request) (*http.Response, error) {
		captured = req.Clone(context.Background())
		body, err := req.GetBody()
		if err != nil {
			return nil, err
		}
		captured.Body = body
		captured.Header.Set("Accept", "application/json")
		return nil, errCaptured
	})}
	if err := ask(context.WithValue(context.Background(), oauth2.HTTPClient, client)); !errors.Is(err, errCaptured) {
		// What it says may quote the URL, which may have a credential's field in it.
		return nil, errors.New("token request: its URL or a parameter makes no request")
	}
	if err := p.Format.apply(captured); err != nil {
		return nil, fmt.Errorf("token request: %w", err)
	}
	maps.Copy(captured.Header, p.Header)
	return captured, nil
}
