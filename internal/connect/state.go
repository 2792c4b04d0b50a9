package connect

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"net/http"
	"time"

	"golang.org/x/oauth2"
)

// stateTTL is how long a person has at the authorization server.
const stateTTL = 10 * time.Minute

// state is what goes with the browser to the authorization server and back.
type state struct {
	ID          string `json:"id"`
	Link        link   `json:"link"`
	Verifier    string `json:"verifier"` // RFC 7636 section 4.1
	Nonce       string `json:"nonce"`    // OpenID Connect Core section 3.1.2.1
	RedirectURI string `json:"redirect_uri"`
	Issued      int64  `json:"issued"`  // seconds since 1970
	Browser     []byte `json:"browser"` // SHA-256 of the cookie's value
}

// newState makes a state, and the value of the cookie that belongs to it.
func newState(l *link, redirectURI string) (s *state, cookie string) {
	cookie = rand.Text()
	browser := sha256.Sum256([]byte(cookie))
	return &state{
		ID:          rand.Text(),
		Link:        *l,
		Verifier:    oauth2.GenerateVerifier(),
		Nonce:       rand.Text(),
		RedirectURI: redirectURI,
		Issued:      time.Now().Unix(),
		Browser:     browser[:],
	}, cookie
}

func (s *state) expires() time.Time { return time.Unix(s.Issued, 0).Add(stateTTL) }

// linkForgotten is when neither the link nor any state made of it opens any more.
func (s *state) linkForgotten() time.Time { return s.Link.expires().Add(stateTTL) }

// openState opens a state of this provider, good or not.
func (f *Flow) openState(ctx context.Context, sealed string) (*state, error) {
	sealer, err := f.sealer(ctx)
	if err != nil {
		return nil, err
	}
	s := new(state)
	if err := sealer.open(stateKind, sealed, s); err != nil {
		return nil, err
	}
	if s.Link.Provider != f.config.Provider {
		return nil, ErrOtherProvider
	}
	return s, nil
}

// take uses s up, if r brings it back in time, to the place and by the browser
// that it was made for.
func (f *Flow) take(s *state, r *http.Request, at *redirect) error {
	switch {
	case s.RedirectURI != at.uri:
		return ErrOtherRedirect
	case !time.Now().Before(s.expires()):
		return ErrExpired
	case f.usedStates.has(s.ID):
		return ErrUsed // rather than ErrOtherBrowser: the cookie is gone by then
	case !s.isOf(r, at):
		return ErrOtherBrowser
	}
	return f.usedStates.take(s.ID, s.expires())
}

// isOf reports whether r has the cookie of s.
func (s *state) isOf(r *http.Request, at *redirect) bool {
	cookies := r.CookiesNamed(at.cookieName(s))
	if len(cookies) != 1 {
		return false
	}
	browser := sha256.Sum256([]byte(cookies[0].Value))
	return subtle.ConstantTimeCompare(browser[:], s.Browser) == 1
}
