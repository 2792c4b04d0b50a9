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

	"github.com/upstreamauth/caddy-upstream-auth/credential"
	"github.com/upstreamauth/caddy-upstream-auth/internal/discovery"
	"github.com/upstreamauth/caddy-upstream-auth/internal/links"
	"github.com/upstreamauth/caddy-upstream-auth/internal/template"
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
	known, err := f.known(r.Context(), l.Tenant, registered.Parameters)
	if err != nil {
		return err
	}
	asked := question{
		Application: f.config.Application,
		Provider:    f.config.Provider,
		Tenant:      string(l.Tenant),
		WantsCode:   registered.Handoff != "" && query.Get("handoff") == "",
		Ask:         f.unanswered(known),
	}
	if len(asked.Ask) == 0 {
		// Better no start than no end: the endpoint, and the client secret.
		endpoint, err := f.endpoint(r.Context(), known)
		if err != nil {
			return err
		}
		if _, err := f.config.OAuth2.Parameters(r.Context(), known); err != nil {
			return err
		}
		asked.Host = endpoint.Host
	}
	asked.Form = formToken(at.giveCookie(w, r, l), l)
	return writeQuestion(w, asked)
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
	known, err := f.answered(r.Context(), l, form)
	if err != nil {
		return "", err
	}
	endpoint, err := f.endpoint(r.Context(), known)
	if err != nil {
		return "", err
	}
	p, err := f.config.OAuth2.Parameters(r.Context(), known)
	if err != nil {
		return "", err
	}
	s := newState(l, at.uri, browser)
	if err := f.beginAttempt(r.Context(), s, cmp.Or(query.Get("handoff"), form.Get("handoff")), known.Stored()); err != nil {
		return "", err
	}
	sealed, err := f.config.Links.Seal(r.Context(), stateKind, s)
	if err != nil {
		return "", err
	}
	params, err := f.authorizationParams(known)
	if err != nil {
		return "", err
	}
	c := &oauth2.Config{ClientID: p.ClientID, Endpoint: oauth2.Endpoint{AuthURL: endpoint.String()}, RedirectURL: at.uri}
	var options []oauth2.AuthCodeOption
	if !f.config.OAuth2.WithoutPKCE {
		options = append(options, oauth2.S256ChallengeOption(s.Verifier))
	}
	if f.metadata != nil {
		options = append(options, oauth2.SetAuthURLParam("nonce", s.Nonce))
	}
	for name := range params {
		options = append(options, oauth2.SetAuthURLParam(name, params.Get(name)))
	}
	return c.AuthCodeURL(sealed, options...), nil
}

// authorizationParams are the further parameters of an authorization request.
func (f *Flow) authorizationParams(known *credential.Credential) (url.Values, error) {
	params := make(url.Values)
	if err := f.config.OAuth2.AddTargets(params, known); err != nil {
		return nil, err
	}
	if len(f.config.Scopes) > 0 {
		scope, err := f.config.OAuth2.JoinScopes(f.config.Scopes, known)
		if err != nil {
			return nil, err
		}
		params.Set("scope", scope)
	}
	return params, f.fillIn(params, f.config.Params, known)
}

// fillIn sets parameters.
func (f *Flow) fillIn(params url.Values, templates map[string]*template.Template, known *credential.Credential) error {
	for name, t := range templates {
		value, err := t.Execute(known)
		if err != nil {
			return fmt.Errorf("param %s: %w", name, err)
		}
		params.Set(name, value)
	}
	return nil
}

// beginAttempt notes that s was made, with what is known of the credential to be: what
// comes back goes to the servers that the browser was sent to the like of. A wrong code is
// an attempt, too, that has ended.
func (f *Flow) beginAttempt(ctx context.Context, s *state, code string, known []byte) error {
	wrong := false
	_, err := f.config.Links.Update(ctx, s.Link.key(), s.Link.ID, func(l *links.Link) error {
		if !time.Now().Before(l.Expires) {
			return ErrExpired
		}
		wrong = l.Handoff != "" && !links.Matches(l.Handoff, s.Link.ID, strings.ToUpper(strings.TrimSpace(code)))
		return l.Begin(s.ID, links.Attempt{Expires: s.expires(), Ended: wrong, Known: known})
	})
	if err == nil && wrong {
		return ErrHandoff
	}
	return err
}

// endpoint is the authorization endpoint.
func (f *Flow) endpoint(ctx context.Context, known *credential.Credential) (*url.URL, error) {
	var m *discovery.Metadata
	if f.metadata != nil {
		var err error
		if m, err = f.metadataOf(ctx); err != nil {
			return nil, err
		}
	}
	if f.config.AuthorizationURL == nil {
		if m == nil || m.AuthorizationEndpoint == "" {
			return nil, fmt.Errorf("%w: its metadata name no authorization endpoint", ErrServerUnavailable)
		}
		return url.Parse(m.AuthorizationEndpoint)
	}
	address, err := f.config.OAuth2.AddressOf(f.config.AuthorizationURL, known)
	if err != nil {
		return nil, fmt.Errorf("authorization_url: %w", err)
	}
	return url.Parse(address)
}
