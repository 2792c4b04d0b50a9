// Package zitadel is Zitadel's authorization server, which exchanges tokens (RFC 8693), with
// the storage of its example.
package zitadel

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"sync"

	"github.com/zitadel/oidc/v3/example/server/storage"
	"github.com/zitadel/oidc/v3/pkg/oidc"
	"github.com/zitadel/oidc/v3/pkg/op"
)

// Server is one that runs. Who has an access token and no actor's gets none in exchange.
type Server struct {
	*httptest.Server
	provider *op.Provider
	storage  *store

	mu       sync.Mutex
	requests []Request
}

// Request is a token request, and what was answered.
type Request struct {
	Client, GrantType string
	Status            int
	Error             string
}

// Start starts a server with a client, which authenticates by Basic and gets access tokens
// that are JWTs, and with users.
func Start(client, secret string, users ...string) (*Server, error) {
	known := make(userStore)
	for _, name := range users {
		known[name] = &storage.User{ID: name, Username: name}
	}
	s := &Server{storage: &store{storage.NewStorageWithClients(known, map[string]*storage.Client{client: storage.WebClient(client, secret)})}}
	s.Server = httptest.NewServer(http.HandlerFunc(s.serve))
	config := &op.Config{AuthMethodPost: true}
	_, _ = rand.Read(config.CryptoKey[:])
	var err error
	s.provider, err = op.NewOpenIDProvider(s.URL, config, s.storage, op.WithAllowInsecure())
	if err != nil {
		s.Close()
		return nil, err
	}
	return s, nil
}

func (s *Server) serve(w http.ResponseWriter, r *http.Request) {
	if r.URL.Path != s.provider.TokenEndpoint().Relative() {
		s.provider.ServeHTTP(w, r)
		return
	}
	_ = r.ParseForm()
	answer := httptest.NewRecorder()
	s.provider.ServeHTTP(answer, r)
	var body struct{ Error string }
	_ = json.Unmarshal(answer.Body.Bytes(), &body)
	client, _, _ := r.BasicAuth()
	s.mu.Lock()
	s.requests = append(s.requests, Request{client, r.Form.Get("grant_type"), answer.Code, body.Error})
	s.mu.Unlock()
	for name, values := range answer.Header() {
		w.Header()[name] = values
	}
	w.WriteHeader(answer.Code)
	_, _ = w.Write(answer.Body.Bytes())
}

// Requests are the token requests until now.
func (s *Server) Requests() []Request {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]Request(nil), s.requests...)
}

// Token returns an access token of a user's, as a login would have given it.
func (s *Server) Token(ctx context.Context, user string) (string, error) {
	token, _, _, err := op.CreateAccessToken(ctx, &oidc.JWTTokenRequest{Subject: user}, op.AccessTokenTypeBearer, s.provider, nil, "")
	return token, err
}

// Subject returns whose access token this is, if it is current.
func (s *Server) Subject(access string) (user string, current bool) {
	req, err := http.NewRequest(http.MethodGet, s.URL+s.provider.UserinfoEndpoint().Relative(), http.NoBody)
	if err != nil {
		return "", false
	}
	req.Header.Set("Authorization", "Bearer "+access)
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return "", false
	}
	defer res.Body.Close()
	var info struct{ Sub string }
	err = json.NewDecoder(res.Body).Decode(&info)
	return info.Sub, err == nil && res.StatusCode == http.StatusOK && info.Sub != ""
}

// Key returns the key by which the server's JWTs are verified, and its name.
func (s *Server) Key(ctx context.Context) (id string, public any, err error) {
	keys, err := s.storage.KeySet(ctx)
	if err != nil || len(keys) != 1 {
		return "", nil, fmt.Errorf("%d keys: %w", len(keys), err)
	}
	return keys[0].ID(), keys[0].Key(), nil
}

// store is the example's, whose clients get JWTs.
type store struct{ *storage.Storage }

// GetClientByClientID implements [op.Storage].
func (s *store) GetClientByClientID(ctx context.Context, id string) (op.Client, error) {
	c, err := s.Storage.GetClientByClientID(ctx, id)
	return &client{c}, err
}

type client struct{ op.Client }

// AccessTokenType implements [op.Client].
func (*client) AccessTokenType() op.AccessTokenType { return op.AccessTokenTypeJWT }

type userStore map[string]*storage.User

// GetUserByID implements [storage.UserStore].
func (s userStore) GetUserByID(id string) *storage.User { return s[id] }

// GetUserByUsername implements [storage.UserStore].
func (s userStore) GetUserByUsername(name string) *storage.User { return s[name] }

// ExampleClientID implements [storage.UserStore].
func (userStore) ExampleClientID() string { return "" }
