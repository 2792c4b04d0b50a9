package connect

import (
	"fmt"
	"net/http"

	"golang.org/x/oauth2"
)

// start opens the link of r, gives the browser a cookie, and returns where it goes
// from here: the authorization request (RFC 6749 section 4.1.1).
func (f *Flow) start(w http.ResponseWriter, r *http.Request, at *redirect) (address string, err error) {
	query, err := parameters(r, "link")
	if err != nil {
		return "", err
	}
	if query.Get("link") == "" {
		return "", fmt.Errorf("%w: link is missing", ErrMalformed)
	}
	l, err := f.openLink(r.Context(), query.Get("link"))
	if err != nil {
		return "", err
	}
	endpoint := f.config.AuthorizationURL
	if f.metadata != nil {
		m, err := f.metadata.get(r.Context())
		if err != nil {
			return "", err
		}
		if endpoint == "" {
			endpoint = m.AuthorizationEndpoint
		}
	}
	if endpoint == "" {
		return "", fmt.Errorf("%w: its metadata name no authorization endpoint", ErrServerUnavailable)
	}
	// With the client secret, though it is not needed yet: better no start than no end.
	p, err := f.config.OAuth2.Parameters(f.none)
	if err != nil {
		return "", err
	}
	c := &oauth2.Config{ClientID: p.ClientID, Endpoint: oauth2.Endpoint{AuthURL: endpoint}, RedirectURL: at.uri, Scopes: f.config.Scopes}
	s, cookie := newState(l, at.uri)
	sealer, err := f.sealer(r.Context())
	if err != nil {
		return "", err
	}
	sealed, err := sealer.seal(stateKind, s)
	if err != nil {
		return "", err
	}
	options := []oauth2.AuthCodeOption{oauth2.S256ChallengeOption(s.Verifier)}
	if f.metadata != nil {
		options = append(options, oauth2.SetAuthURLParam("nonce", s.Nonce))
	}
	for name, value := range f.config.Params {
		options = append(options, oauth2.SetAuthURLParam(name, value))
	}
	http.SetCookie(w, at.cookie(s, cookie))
	return c.AuthCodeURL(sealed, options...), nil
}
