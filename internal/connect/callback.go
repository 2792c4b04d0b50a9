package connect

import (
	"context"
	"crypto/subtle"
	"fmt"
	"net/http"
	"net/url"
	"time"
)

const (
	// exchangeDeadline bounds the token request.
	exchangeDeadline = 10 * time.Second

	// identityDeadline bounds what it takes to verify the id token and to get the
	// userinfo.
	identityDeadline = 10 * time.Second

	// acceptDeadline bounds Accept, which may send a test request and has to write to
	// the store.
	acceptDeadline = 30 * time.Second
)

// comeBack takes the authorization server's answer from the browser (RFC 6749
// section 4.1.2). It returns where to send the browser, once it is known to be the
// one that the answer is for.
func (f *Flow) comeBack(w http.ResponseWriter, r *http.Request, at *redirect) (returnTo string, err error) {
	query, err := parameters(r, "state", "code", "iss", "error")
	if err != nil {
		return "", err
	}
	if query.Get("state") == "" {
		return "", fmt.Errorf("%w: state is missing", ErrMalformed)
	}
	s, err := f.openState(r.Context(), query.Get("state"))
	if err != nil {
		return "", err
	}
	http.SetCookie(w, at.cookie(s, ""))
	if err := f.take(s, r, at); err != nil {
		return "", err
	}
	return s.Link.ReturnTo, f.answered(r.Context(), s, query)
}

// answered does what the authorization server's answer asks for.
func (f *Flow) answered(ctx context.Context, s *state, query url.Values) error {
	// From here on a browser that goes away changes nothing: the code can be spent
	// only once.
	ctx = context.WithoutCancel(ctx)
	var m *metadata
	if f.metadata != nil {
		var err error
		if m, err = f.metadata.get(ctx); err != nil {
			return err
		}
		if err := checkIssuer(m, query); err != nil {
			return err
		}
	}
	if query.Has("error") {
		return authorizationError(query.Get("error"))
	}
	if query.Get("code") == "" {
		return fmt.Errorf("%w: code is missing", ErrMalformed)
	}
	// Two tabs can have one link open. Who comes first takes it, and gives it back if
	// nothing was connected.
	if err := f.usedLinks.take(s.Link.ID, s.linkForgotten()); err != nil {
		return err
	}
	if err := f.connect(ctx, m, s, query.Get("code")); err != nil {
		f.usedLinks.giveBack(s.Link.ID)
		return err
	}
	return nil
}

// checkIssuer follows RFC 9207 section 2.4, for errors too.
func checkIssuer(m *metadata, query url.Values) error {
	if !query.Has("iss") {
		if m.IssParameter {
			return fmt.Errorf("%w: iss is missing", ErrIssuer)
		}
		return nil
	}
	if subtle.ConstantTimeCompare([]byte(query.Get("iss")), []byte(m.Issuer)) != 1 {
		return ErrIssuer
	}
	return nil
}

// authorizationError tells an error code apart (RFC 6749 section 4.1.2.1, OpenID
// Connect Core section 3.1.2.6), and repeats only one that is known.
func authorizationError(code string) error {
	switch code {
	case "access_denied":
		return ErrDeclined
	case "server_error", "temporarily_unavailable":
		return fmt.Errorf("%w: %s", ErrServerUnavailable, code)
	case "invalid_request", "unauthorized_client", "unsupported_response_type", "invalid_scope", "invalid_target",
		"interaction_required", "login_required", "account_selection_required", "consent_required":
		return fmt.Errorf("%w: %s", ErrServerRefused, code)
	default:
		return fmt.Errorf("%w: unknown_error", ErrServerRefused)
	}
}

// connect spends the code and hands on what it gets.
func (f *Flow) connect(ctx context.Context, m *metadata, s *state, code string) error {
	g, err := f.exchange(ctx, s, code)
	if err != nil {
		return err
	}
	document, err := f.document(ctx, m, s, g)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, acceptDeadline)
	defer cancel()
	if err := f.config.Accept(ctx, s.Link.Tenant, document); err != nil {
		return fmt.Errorf("%w: %w", ErrNotAccepted, err)
	}
	return nil
}
