package connect

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/upstreamauth/caddy-upstream-auth/internal/tokenrequest"
)

// server is an authorization server that keeps to the letter: a code is good once,
// for the client, redirect URI and verifier that it was asked for with. What it
// answers can be changed, and each of its places replaced.
type server struct {
	t      *testing.T
	issuer string
	key    *ecdsa.PrivateKey

	mu       sync.Mutex
	codes    map[string]url.Values // the authorization request of each
	asked    map[string]int        // requests by path
	forms    []url.Values          // token requests
	replaced map[string]http.HandlerFunc
	tokens   map[string]any                     // members of the token response
	metadata map[string]any                     // members of the metadata, nil to leave one out
	claims   map[string]any                     // of the id token, nil to leave one out
	sign     func(claims map[string]any) string // nil: as the metadata say
}

func newServer(t *testing.T, issuer string) *server {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return &server{
		t: t, issuer: issuer, key: key,
		codes: map[string]url.Values{}, asked: map[string]int{}, replaced: map[string]http.HandlerFunc{},
		tokens: map[string]any{}, metadata: map[string]any{}, claims: map[string]any{},
	}
}

// RoundTrip makes the server a transport, which can be used under a fake clock.
func (s *server) RoundTrip(r *http.Request) (*http.Response, error) {
	if got := r.URL.Scheme + "://" + r.URL.Host; got != s.issuer && !strings.HasPrefix(s.issuer, got+"/") {
		s.t.Errorf("%s was asked", r.URL)
	}
	r = r.Clone(r.Context())
	if r.Body == nil {
		r.Body = http.NoBody
	}
	w := httptest.NewRecorder()
	s.ServeHTTP(w, r)
	if err := r.Context().Err(); err != nil {
		return nil, err
	}
	return w.Result(), nil
}

// dialer connects to a transport, which can be used under a fake clock.
type dialer struct{ http.RoundTripper }

// Dial implements [tokenrequest.Dialer].
func (d dialer) Dial(context.Context, string, *tls.Config) (tokenrequest.Conn, error) {
	return transportConn(d), nil
}

type transportConn struct{ http.RoundTripper }

// Send implements [tokenrequest.Conn].
func (c transportConn) Send(ctx context.Context, req *http.Request, limits tokenrequest.Limits) (*tokenrequest.Response, error) {
	at := time.Now()
	ctx, cancel := context.WithDeadline(context.WithoutCancel(ctx), limits.Start.Add(limits.Listen))
	defer cancel()
	answer, err := c.RoundTrip(req.WithContext(ctx))
	if err != nil {
		return nil, &tokenrequest.Error{Reason: "no answer in time", NoResponse: true}
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(answer.Body)
	r := &tokenrequest.Response{Status: answer.StatusCode, Header: answer.Header, Body: body, Truncated: err != nil, At: at}
	return r.AnswerTo(req), nil
}

// Close implements [tokenrequest.Conn].
func (transportConn) Close() {}

func (s *server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	s.asked[r.URL.Path]++
	handler := s.replaced[r.URL.Path]
	s.mu.Unlock()
	if handler != nil {
		handler(w, r)
		return
	}
	switch r.URL.Path {
	case "/.well-known/openid-configuration":
		s.serveMetadata(w)
	case "/token":
		s.serveToken(w, r)
	case "/keys":
		s.serve(w, jose.JSONWebKeySet{Keys: []jose.JSONWebKey{{Key: s.key.Public(), KeyID: "1", Algorithm: "ES256", Use: "sig"}}})
	case "/userinfo":
		if r.Method != "GET" || r.Header.Get("Authorization") != "Bearer canary-a1" {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		s.serve(w, map[string]any{"sub": "person-canary", "tenant": map[string]any{"id": 12345678901234567}, "gone": nil})
	default:
		http.NotFound(w, r)
	}
}

func (s *server) serve(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/json")
	if err := json.NewEncoder(w).Encode(v); err != nil {
		s.t.Error(err)
	}
}

func (s *server) serveMetadata(w http.ResponseWriter) {
	s.serve(w, changed(map[string]any{
		"issuer":                                s.issuer,
		"authorization_endpoint":                s.issuer + "/authorize?audience=own",
		"token_endpoint":                        s.issuer + "/token",
		"userinfo_endpoint":                     s.issuer + "/userinfo",
		"jwks_uri":                              s.issuer + "/keys",
		"id_token_signing_alg_values_supported": []string{"ES256", "HS256", "none"},
		"code_challenge_methods_supported":      []string{"plain", "S256"},
		"authorization_response_iss_parameter_supported": true,
	}, s.metadata))
}

func changed(object, changes map[string]any) map[string]any {
	for name, value := range changes {
		if value == nil {
			delete(object, name)
		} else {
			object[name] = value
		}
	}
	return object
}

// consent takes an authorization request as a browser brings it, and returns where
// the browser is sent.
func (s *server) consent(t *testing.T, address string) string {
	t.Helper()
	u, err := url.Parse(address)
	if err != nil || !strings.HasPrefix(address, s.issuer+"/authorize?") {
		t.Fatalf("the browser was sent to %s", address)
	}
	query := u.Query()
	for name, want := range map[string]string{"response_type": "code", "client_id": "client", "code_challenge_method": "S256"} {
		if got := query[name]; len(got) != 1 || got[0] != want {
			t.Errorf("%s is %q, want %s", name, got, want)
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	code := fmt.Sprintf("canary-code-%d", len(s.codes)+1)
	s.codes[code] = query
	return query.Get("redirect_uri") + "?" + url.Values{"code": {code}, "state": {query.Get("state")}, "iss": {s.issuer}}.Encode()
}

func (s *server) serveToken(w http.ResponseWriter, r *http.Request) {
	refuse := func(code string) {
		w.WriteHeader(http.StatusBadRequest)
		s.serve(w, map[string]string{"error": code, "error_description": "canary-description"})
	}
	if err := r.ParseForm(); err != nil || r.Method != "POST" {
		refuse("invalid_request")
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	form := r.PostForm
	s.forms = append(s.forms, form)
	id, secret, basic := r.BasicAuth()
	if !basic {
		id, secret = form.Get("client_id"), form.Get("client_secret")
	}
	if id != "client" || secret != clientSecret {
		refuse("invalid_client")
		return
	}
	request := s.codes[form.Get("code")]
	delete(s.codes, form.Get("code"))
	challenge := sha256.Sum256([]byte(form.Get("code_verifier")))
	if request == nil || form.Get("grant_type") != "authorization_code" ||
		form.Get("redirect_uri") != request.Get("redirect_uri") ||
		base64.RawURLEncoding.EncodeToString(challenge[:]) != request.Get("code_challenge") {
		refuse("invalid_grant")
		return
	}
	s.serve(w, changed(map[string]any{
		"access_token": "canary-a1", "refresh_token": "canary-r1", "token_type": "Bearer", "expires_in": 3600,
		"id_token": s.idToken(request.Get("nonce")),
	}, s.tokens))
}

func (s *server) idToken(nonce string) string {
	claims := changed(map[string]any{
		"iss": s.issuer, "aud": "client", "sub": "person-canary", "nonce": nonce, "tid": "org-canary",
		"iat": time.Now().Unix(), "exp": time.Now().Add(time.Minute).Unix(),
	}, s.claims)
	if s.sign != nil {
		return s.sign(claims)
	}
	return signed(s.t, jose.ES256, jose.JSONWebKey{Key: s.key, KeyID: "1"}, claims)
}

// signWith makes the server sign with another key, and publish another.
func (s *server) signWith(algorithm jose.SignatureAlgorithm, key, published any) {
	s.sign = func(claims map[string]any) string {
		return signed(s.t, algorithm, jose.JSONWebKey{Key: key, KeyID: "2"}, claims)
	}
	s.at("/keys", func(w http.ResponseWriter, _ *http.Request) {
		s.serve(w, jose.JSONWebKeySet{Keys: []jose.JSONWebKey{{Key: published, KeyID: "2"}}})
	})
}

func signed(t *testing.T, algorithm jose.SignatureAlgorithm, key any, claims map[string]any) string {
	t.Helper()
	payload, err := json.Marshal(claims)
	if err != nil {
		t.Fatal(err)
	}
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: algorithm, Key: key}, nil)
	if err != nil {
		t.Fatal(err)
	}
	jws, err := signer.Sign(payload)
	if err != nil {
		t.Fatal(err)
	}
	token, err := jws.CompactSerialize()
	if err != nil {
		t.Fatal(err)
	}
	return token
}

// at replaces what is at path.
func (s *server) at(path string, handler http.HandlerFunc) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.replaced[path] = handler
}

func (s *server) count(path string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.asked[path]
}

// always answers the same.
func always(status int, contentType, body string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", contentType)
		w.WriteHeader(status)
		_, _ = w.Write([]byte(body))
	}
}
