package connect

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"

	"golang.org/x/oauth2"
)

// grant is a token endpoint's successful answer.
type grant struct {
	clientID string
	response []byte    // a JSON object
	at       time.Time // when the endpoint was asked: lifetimes start no later
}

// exchange spends the code for tokens (RFC 6749 section 4.1.3).
func (f *Flow) exchange(ctx context.Context, s *state, code string) (*grant, error) {
	ctx, cancel := context.WithTimeout(ctx, exchangeDeadline)
	defer cancel()
	c, err := f.oauth2(s.RedirectURI)
	if err != nil {
		return nil, err
	}
	once := &tokenRequest{next: f.client.Transport}
	client := *f.client
	client.Transport = once
	at := time.Now()
	// What x/oauth2 makes of the answer is of no use: it drops tokens for oddities
	// beside them, and its errors quote the answer. RoundTrip has kept it raw.
	_, _ = c.Exchange(context.WithValue(ctx, oauth2.HTTPClient, &client), code, oauth2.VerifierOption(s.Verifier))
	response, err := once.answer.object()
	if err != nil {
		return nil, err
	}
	return &grant{clientID: c.ClientID, response: response, at: at}, nil
}

// tokenRequest sends a token request, once, and keeps the answer.
type tokenRequest struct {
	next    http.RoundTripper
	started bool
	answer  *answer // nil: none
}

var errSentOnce = errors.New("a token request is sent once")

// RoundTrip implements [http.RoundTripper]. The caller gets an empty answer.
func (t *tokenRequest) RoundTrip(r *http.Request) (*http.Response, error) {
	if t.started {
		return nil, errSentOnce
	}
	t.started = true
	r = r.Clone(r.Context())
	r.GetBody = nil // so that net/http cannot send it again
	r.Header.Set("Accept", "application/json")
	response, err := t.next.RoundTrip(r)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		return nil, fmt.Errorf("read the answer: %w", err)
	}
	t.answer = &answer{
		status:      response.StatusCode,
		contentType: response.Header.Get("Content-Type"),
		body:        body,
	}
	response.Body = http.NoBody
	return response, nil
}
