package bearer

import (
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"
)

// keyServer is a server with a key set that works in a bubble, too.
type keyServer struct {
	mu     sync.Mutex
	body   string
	status int           // 0: no answer until the client gives up
	takes  time.Duration // to answer
	asked  int
}

func (s *keyServer) RoundTrip(req *http.Request) (*http.Response, error) {
	s.mu.Lock()
	s.asked++
	body, status, takes := s.body, s.status, s.takes
	s.mu.Unlock()
	if status == 0 {
		<-req.Context().Done()
		return nil, context.Cause(req.Context())
	}
	select {
	case <-time.After(takes):
	case <-req.Context().Done():
		return nil, context.Cause(req.Context())
	}
	if status < 0 {
		return nil, errors.New("connection reset by canary")
	}
	return &http.Response{StatusCode: status, Body: io.NopCloser(strings.NewReader(body)), Request: req}, nil
}

// serves has the server answer with keys.
func (s *keyServer) serves(keys ...string) { s.answers(http.StatusOK, keySetOf(keys...)) }

func (s *keyServer) answers(status int, body string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.status, s.body = status, body
}

func (s *keyServer) wantAsked(t *testing.T, want int) {
	t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.asked != want {
		t.Errorf("the server was asked %d times, want %d", s.asked, want)
	}
}

// newKeyServer makes a server with one key, of the id "1", and a verifier that
// asks it.
func newKeyServer(t *testing.T) (*keyServer, *Verifier) {
	t.Helper()
	server := &keyServer{}
	server.serves(keyOne(t))
	return server, newVerifier(t, Config{Token: Token{KeySetURL: "https://as.example/keys", Algorithms: []string{"ES256"}}, Transport: server})
}

func keyOne(t *testing.T) string { return jwk(t, p256().Public(), `"kid":"1"`) }
func keyTwo(t *testing.T) string { return jwk(t, p256Two().Public(), `"kid":"2"`) }

// tokenOne and tokenTwo outlive every test.
func tokenOne() string { return sign(`{"alg":"ES256","kid":"1"}`, lasting, p256()) }
func tokenTwo() string { return sign(`{"alg":"ES256","kid":"2"}`, lasting, p256Two()) }

const lasting = `{"id":"` + tenant + `","exp":1e10}`
