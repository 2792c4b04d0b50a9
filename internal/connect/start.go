package connect

import (
	"cmp"
	"context"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	"golang.org/x/oauth2"

	"github.com/upstreamauth/caddy-upstream-auth/internal/links"
)

// ask shows what the link of r would connect to what, with a form to go on by. Nothing
// but the browser's cookie comes of it: what follows links by itself, as an image of
// another site or what scans mail, gets no further.
func (f *Flow) ask(w http.ResponseWriter, r *http.Request, at *redirect) error {
	l, query, err := f.openLink(r)
	if err != nil {
		return err
	}
	registered, err := f.config.Links.Get(r.Context(), l.key(), l.ID)
	if err != nil {
		return err
	}
	// Better no start than no end: the endpoint, and the client secret.
	endpoint, err := f.endpoint(r.Context())
	if err != nil {
		return err
	}
	if _, err := f.config.OAuth2.Parameters(f.none); err != nil {
		return err
	}
	browser := at.giveCookie(w, r, l)
	return writeQuestion(w, question{
		Application: f.config.Application,
		Provider:    f.config.Provider,
		Host:        endpoint.Host,
		Tenant:      string(l.Tenant),
		Form:        formToken(browser, l),
		WantsCode:   registered.Handoff != "" && query.Get("handoff") == "",
	})
}

// formToken is what the form for l in a browser's page has in it, and no other site's.
func formToken(browser string, l *link) string { return links.Fingerprint("form", browser, l.ID) }

// begin takes the form of a page that ask has shown, and returns where the browser goes
// from here: the authorization request (RFC 6749 section 4.1.1).
func (f *Flow) begin(w http.ResponseWriter, r *http.Request, at *redirect) (address string, err error) {
	if err := f.checkOrigin(r); err != nil {
		return "", err
	}
	form, err := readForm(w, r)
	if err != nil {
		return "", err
	}
	l, query, err := f.openLink(r)
	if err != nil {
		return "", err
	}
	browser := at.readCookie(r, l)
	if browser == "" || !links.Matches(form.Get("form"), "form", browser, l.ID) {
		return "", ErrOtherBrowser
	}
	endpoint, err := f.endpoint(r.Context())
	if err != nil {
		return "", err
	}
	p, err := f.config.OAuth2.Parameters(f.none)
	if err != nil {
		return "", err
	}
	s := newState(l, at.uri, browser)
	if err := f.beginAttempt(r.Context(), s, cmp.Or(query.Get("handoff"), form.Get("handoff"))); err != nil {
		return "", err
	}
	sealed, err := f.config.Links.Seal(r.Context(), stateKind, s)
	if err != nil {
		return "", err
	}
	c := &oauth2.Config{ClientID: p.ClientID, Endpoint: oauth2.Endpoint{AuthURL: endpoint.String()}, RedirectURL: at.uri, Scopes: f.config.Scopes}
	options := []oauth2.AuthCodeOption{oauth2.S256ChallengeOption(s.Verifier)}
	if f.metadata != nil {
		options = append(options, oauth2.SetAuthURLParam("nonce", s.Nonce))
	}
	for name, value := range f.config.Params {
		options = append(options, oauth2.SetAuthURLParam(name, value))
	}
	return c.AuthCodeURL(sealed, options...), nil
}

// beginAttempt notes that s was made. A wrong code is an attempt, too, that has ended.
func (f *Flow) beginAttempt(ctx context.Context, s *state, code string) error {
	wrong := false
	_, err := f.config.Links.Update(ctx, s.Link.key(), s.Link.ID, func(l *links.Link) error {
		if !time.Now().Before(l.Expires) {
			return ErrExpired
		}
		wrong = l.Handoff != "" && !links.Matches(l.Handoff, s.Link.ID, strings.ToUpper(strings.TrimSpace(code)))
		return l.Begin(s.ID, links.Attempt{Expires: s.expires(), Ended: wrong})
	})
	if err == nil && wrong {
		return ErrHandoff
	}
	return err
}

// endpoint is the authorization endpoint.
func (f *Flow) endpoint(ctx context.Context) (*url.URL, error) {
	address := f.config.AuthorizationURL
	if f.metadata != nil {
		m, err := f.metadata.get(ctx)
		if err != nil {
			return nil, err
		}
		address = cmp.Or(address, m.AuthorizationEndpoint)
	}
	if address == "" {
		return nil, fmt.Errorf("%w: its metadata name no authorization endpoint", ErrServerUnavailable)
	}
	return url.Parse(address)
}
