package connect

import (
	"context"
	"crypto/rand"
	"net/http"
	"time"

	"golang.org/x/oauth2"

	"github.com/upstreamauth/caddy-upstream-auth/credential"
	"github.com/upstreamauth/caddy-upstream-auth/internal/links"
)

// stateTTL is how long a person has at the authorization server.
const stateTTL = 10 * time.Minute

// state is what goes with the browser to the authorization server and back: one attempt
// at using a link.
type state struct {
	ID          string `json:"id"`
	Link        link   `json:"link"`
	Verifier    string `json:"verifier"` // RFC 7636 section 4.1
	Nonce       string `json:"nonce"`    // OpenID Connect Core section 3.1.2.1
	RedirectURI string `json:"redirect_uri"`
	Issued      int64  `json:"issued"`  // seconds since 1970
	Browser     string `json:"browser"` // the Fingerprint of its cookie
}

// newState makes a state for the browser with this cookie.
func newState(l *link, redirectURI, browser string) *state {
	return &state{
		ID:          rand.Text(),
		Link:        *l,
		Verifier:    oauth2.GenerateVerifier(),
		Nonce:       rand.Text(),
		RedirectURI: redirectURI,
		Issued:      time.Now().Unix(),
		Browser:     links.Fingerprint(browser),
	}
}

func (s *state) expires() time.Time { return time.Unix(s.Issued, 0).UTC().Add(stateTTL) }

// openState opens a state of this provider, good or not.
func (f *Flow) openState(ctx context.Context, sealed string) (*state, error) {
	s := new(state)
	if err := f.config.Links.Open(ctx, stateKind, sealed, s); err != nil {
		return nil, err
	}
	if s.Link.Provider != f.config.Provider {
		return nil, ErrOtherProvider
	}
	return s, nil
}

// take ends the attempt that s is, if r brings it back in time, to the place and by the
// browser that it was made for; and uses up its link if something is to be connected. It
// returns what is registered of that, and what is known of the credential to be.
func (f *Flow) take(ctx context.Context, s *state, r *http.Request, at *redirect, connects bool) (*links.Link, *credential.Credential, error) {
	switch {
	case s.RedirectURI != at.uri:
		return nil, nil, ErrOtherRedirect
	case !time.Now().Before(s.expires()):
		return nil, nil, ErrExpired
	}
	var attempt links.Attempt
	registered, err := f.config.Links.Update(ctx, s.Link.key(), s.Link.ID, func(l *links.Link) error {
		var err error
		if attempt, err = l.End(s.ID); err != nil {
			return err // rather than ErrOtherBrowser: the cookie may be gone by then
		}
		if !links.Matches(s.Browser, at.readCookie(r, &s.Link)) {
			return ErrOtherBrowser
		}
		l.Used = connects
		return nil
	})
	if err != nil {
		return nil, nil, err
	}
	known, err := credential.New(credential.Document{Data: attempt.Known})
	if err != nil {
		return nil, nil, ErrUsed // it began before this was noted
	}
	return registered, known, nil
}
