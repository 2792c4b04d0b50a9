package connect

import (
	"context"
	"crypto/subtle"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"time"

	"github.com/upstreamauth/caddy-upstream-auth/credential"
	"github.com/upstreamauth/caddy-upstream-auth/internal/discovery"
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
	// From here on a browser that goes away changes nothing: the code can be spent
	// only once.
	ctx := context.WithoutCancel(r.Context())
	m, refused := f.judge(ctx, query)
	registered, known, err := f.take(ctx, s, r, at, refused == nil)
	if err != nil {
		return "", err
	}
	if refused != nil {
		return registered.ReturnTo, refused
	}
	if err := f.connect(ctx, m, s, known, registered.Account, query.Get("code")); err != nil {
		// If this fails the link stays used: the person needs another one.
		_ = f.config.Links.GiveBack(ctx, s.Link.key(), s.Link.ID)
		return registered.ReturnTo, err
	}
	http.SetCookie(w, at.cookie(&s.Link, ""))
	return registered.ReturnTo, nil
}

// judge says whether an answer has a code to be spent, and if not why.
func (f *Flow) judge(ctx context.Context, query url.Values) (m *discovery.Metadata, err error) {
	if f.metadata != nil {
		if m, err = f.metadataOf(ctx); err != nil {
			return nil, err
		}
		if err := checkIssuer(m, query); err != nil {
			return nil, err
		}
	}
	switch {
	case query.Has("error"):
		return nil, authorizationError(query.Get("error"))
	case query.Get("code") == "":
		return nil, fmt.Errorf("%w: code is missing", ErrMalformed)
	}
	return m, nil
}

// checkIssuer follows RFC 9207 section 2.4, for errors too.
func checkIssuer(m *discovery.Metadata, query url.Values) error {
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
func (f *Flow) connect(ctx context.Context, m *discovery.Metadata, s *state, known *credential.Credential, account map[string]string, code string) error {
	g, err := f.exchange(ctx, s, known, code)
	if err != nil {
		return err
	}
	document, err := f.document(ctx, m, s, known, account, g)
	if errors.Is(err, ErrOtherAccount) && f.config.Revoke != nil {
		err = errors.Join(err, f.config.Revoke(ctx, document))
	}
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
