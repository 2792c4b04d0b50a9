package refresh

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/url"
	"time"

	"golang.org/x/oauth2"
	"golang.org/x/oauth2/clientcredentials"

	"github.com/upstreamauth/caddy-upstream-auth/internal/scheme"
)

// spendDeadline is how long a token request may take, its answer included.
const spendDeadline = 10 * time.Second

// newTransport makes one that sends a request once: on a connection of its own,
// since one that was idle may be gone, and over HTTP/1.1, since HTTP/2 repeats
// what a server did not take.
func newTransport() *http.Transport {
	protocols := new(http.Protocols)
	protocols.SetHTTP1(true)
	return &http.Transport{
		Proxy:                  http.ProxyFromEnvironment,
		DisableKeepAlives:      true,
		Protocols:              protocols,
		MaxResponseHeaderBytes: 64 << 10,
	}
}

// endpoint sends token requests.
type endpoint struct {
	transport http.RoundTripper
}

// ask makes one token request with the refresh token grant (RFC 6749 section 6).
// It returns the answer as a JSON object if that may have a token in it, and what
// is wrong, or both: an answer may have been cut off behind its tokens.
func (e *endpoint) ask(o *scheme.OAuth2, id, secret, refreshToken string) ([]byte, *problem) {
	// Detached from every request: an answer that nobody waits for has tokens in
	// it all the same.
	ctx, cancel := context.WithTimeout(context.Background(), spendDeadline)
	defer cancel()

	recorder := &recorder{transport: e.transport}
	client := &http.Client{
		Transport:     recorder,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	params := url.Values{"grant_type": {"refresh_token"}, "refresh_token": {refreshToken}}
	for name, value := range o.Params {
		params.Set(name, value)
	}
	config := clientcredentials.Config{
		ClientID:       id,
		ClientSecret:   secret,
		TokenURL:       o.TokenURL,
		Scopes:         o.Scopes,
		EndpointParams: params,
		// Never oauth2.AuthStyleAutoDetect, which asks twice.
		AuthStyle: oauth2.AuthStyleInParams,
	}
	if o.ClientAuth == scheme.ClientAuthBasic {
		config.AuthStyle = oauth2.AuthStyleInHeader
	}
	// What x/oauth2 makes of the answer is of no use: it drops tokens for oddities
	// beside them, and its errors quote the answer. The recorder has it raw.
	_, err := config.Token(context.WithValue(ctx, oauth2.HTTPClient, client))
	if recorder.answer == nil {
		return nil, noAnswer(err)
	}
	return recorder.answer.classify(time.Now())
}

// recorder sends one request and keeps its answer from the caller, who gets an
// empty one.
type recorder struct {
	transport http.RoundTripper
	sent      bool
	answer    *answer
}

var errSentOnce = errors.New("a token request is sent once")

func (r *recorder) RoundTrip(req *http.Request) (*http.Response, error) {
	if r.sent {
		return nil, errSentOnce
	}
	r.sent = true
	req = req.Clone(req.Context())
	req.GetBody = nil // so that net/http cannot send it again
	req.Header.Set("Accept", "application/json")

	response, err := r.transport.RoundTrip(req)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(io.LimitReader(response.Body, maxAnswer+1))
	r.answer = &answer{
		status: response.StatusCode,
		header: response.Header,
		body:   body[:min(len(body), maxAnswer)],
		cut:    err != nil || len(body) > maxAnswer,
	}
	response.Body = http.NoBody
	return response, nil
}
