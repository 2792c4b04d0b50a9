package connect

import (
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
	asked := f.question(l, registered, query)
	if f.config.Form != nil {
		asked.Form = formToken(at.giveCookie(w, r, l), l)
		return f.writeForm(w, http.StatusOK, asked, nil, nil)
	}
	known, err := f.known(r.Context(), l.Tenant, registered.Parameters)
	if err != nil {
		return err
	}
	if asked.Ask = f.unanswered(known); len(asked.Ask) == 0 {
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
	return writeAsking(w, http.StatusOK, questionPage, asked)
}

// question is what is asked for a link, whose address has the query.
func (f *Flow) question(l *link, registered *links.Link, query url.Values) question {
	return question{
		Application: f.config.Application,
		Provider:    f.config.Provider,
		Tenant:      string(l.Tenant),
		WantsCode:   registered.Handoff != "" && query.Get("handoff") == "",
		ReturnTo:    registered.ReturnTo != "",
	}
}

// formToken is what the form for l in a browser's page has in it, and no other site's.
func formToken(browser string, l *link) string { return links.Fingerprint("form", browser, l.ID) }

// begin takes the form of a page that ask has shown, and returns where the browser goes
// from here: the authorization request (RFC 6749 section 4.1.1).
func (f *Flow) begin(w http.ResponseWriter, r *http.Request, at *redirect) (address string, err error) {
	p, err := f.takeForm(w, r, at, maxForm)
	if err != nil {
		return "", err
	}
	known, err := f.answered(r.Context(), p.link, p.values)
	if err != nil {
		return "", err
	}
	endpoint, err := f.endpoint(r.Context(), known)
	if err != nil {
		return "", err
	}
	client, err := f.config.OAuth2.Parameters(r.Context(), known)
	if err != nil {
		return "", err
	}
	s := newState(p.link, at.uri, p.browser)
	if err := f.beginAttempt(r.Context(), p, s.ID, links.Attempt{Expires: s.expires(), Known: known.Stored()}); err != nil {
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
	c := &oauth2.Config{ClientID: client.ClientID, Endpoint: oauth2.Endpoint{AuthURL: endpoint.String()}, RedirectURL: at.uri}
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

// beginAttempt notes an attempt at using a link, with what is known of the credential to
// be: what comes back goes to the servers that the browser was sent to the like of. A wrong
// code is an attempt, too, that has ended. One that has ended with the right one uses the
// link.
func (f *Flow) beginAttempt(ctx context.Context, p *posted, id string, a links.Attempt) error {
	wrong := false
	_, err := f.config.Links.Update(ctx, p.key(), p.ID, func(l *links.Link) error {
		if !time.Now().Before(l.Expires) {
			return ErrExpired
		}
		begun := a
		if wrong = l.Handoff != "" && !links.Matches(l.Handoff, p.ID, strings.ToUpper(strings.TrimSpace(p.code))); wrong {
			begun.Ended = true
		}
		l.Used = a.Ended && !wrong
		return l.Begin(id, begun)
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
