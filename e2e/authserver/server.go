// Package authserver is an OAuth 2.0 authorization server for tests: the refresh
// token grant of RFC 6749 section 6, by ory/fosite, with rotation and with the
// detection of reuse (RFC 9700 section 4.14.2): who presents a spent refresh
// token revokes all that descends from it.
//
// It keeps a ledger of what was presented, and can be told to misbehave.
package authserver

import (
	"context"
	"net/http"
	"sync"
	"time"

	"github.com/ory/fosite"
	"github.com/ory/fosite/compose"
	"github.com/ory/fosite/handler/oauth2"
	"github.com/ory/fosite/storage"
	"golang.org/x/crypto/bcrypt"
)

// ClientAuth is how the client authenticates at the token endpoint (RFC 6749
// section 2.3), named as in the configuration of upstream_auth.
type ClientAuth string

// The ways to authenticate.
const (
	Basic ClientAuth = "basic" // Authorization header
	Post  ClientAuth = "post"  // request body
	None  ClientAuth = "none"  // public client
)

// Config configures a [Server].
type Config struct {
	ClientID     string
	ClientSecret string     // unused with None
	ClientAuth   ClientAuth // default Basic; any other way is refused

	// Lifespan is how long an access token is good for. Default 1 h.
	Lifespan time.Duration

	// Issued, if not nil, is told every token that is issued.
	Issued func(token string)
}

// Server answers POST requests of the refresh token grant at any path.
type Server struct {
	config   Config
	provider fosite.OAuth2Provider
	strategy *oauth2.HMACSHAStrategy

	// mu makes each grant one step: fosite's memory store looks a token up and
	// rotates it under separate locks, so that two could spend the same one.
	mu       sync.Mutex
	store    *storage.MemoryStore
	families map[string]string // tenant to the request ID that its tokens share
	script   Script
	scripts  map[string]Script // by tenant
	ledger   []Entry
	changed  chan struct{} // closed and replaced whenever the ledger changes
}

// New makes a server that knows one client.
func New(config Config) (*Server, error) {
	if config.ClientAuth == "" {
		config.ClientAuth = Basic
	}
	if config.Lifespan == 0 {
		config.Lifespan = time.Hour
	}
	client, err := newClient(config)
	if err != nil {
		return nil, err
	}
	settings := &fosite.Config{
		AccessTokenLifespan: config.Lifespan,
		GlobalSecret:        []byte("a secret of thirty-two bytes long"),
		HashCost:            bcrypt.MinCost,
		RefreshTokenScopes:  []string{},
	}
	s := &Server{
		config:   config,
		strategy: compose.NewOAuth2HMACStrategy(settings),
		store:    storage.NewMemoryStore(),
		families: make(map[string]string),
		scripts:  make(map[string]Script),
		changed:  make(chan struct{}),
	}
	s.store.Clients[config.ClientID] = client
	s.provider = compose.Compose(settings, s.store, s.strategy,
		compose.OAuth2RefreshTokenGrantFactory, compose.OAuth2TokenIntrospectionFactory)
	return s, nil
}

func newClient(config Config) (fosite.Client, error) {
	client := &fosite.DefaultOpenIDConnectClient{
		DefaultClient: &fosite.DefaultClient{
			ID:         config.ClientID,
			GrantTypes: []string{"refresh_token"},
			Scopes:     []string{"api"},
			Public:     config.ClientAuth == None,
		},
		TokenEndpointAuthMethod: map[ClientAuth]string{
			Basic: "client_secret_basic", Post: "client_secret_post", None: "none",
		}[config.ClientAuth],
	}
	if config.ClientAuth == None {
		return client, nil
	}
	hash, err := bcrypt.GenerateFromPassword([]byte(config.ClientSecret), bcrypt.MinCost)
	client.Secret = hash
	return client, err
}

// ServeHTTP implements [http.Handler].
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if err := r.ParseForm(); err != nil {
		http.Error(w, "bad form", http.StatusBadRequest)
		return
	}
	number, behaviour := s.present(r)
	if behaviour.Before != nil {
		behaviour.Before()
	}
	if behaviour.Instead != nil {
		s.settle(number, Refused)
		behaviour.Instead(w, r)
		return
	}

	answer, outcome := s.grant(r)
	if outcome == Rotated && behaviour.After != Answer {
		outcome = Lost
	}
	s.settle(number, outcome)
	if behaviour.Between != nil {
		behaviour.Between()
	}
	switch {
	case outcome != Lost:
		answer(w)
	case behaviour.After == Error500:
		http.Error(w, "internal error", http.StatusInternalServerError)
	default:
		panic(http.ErrAbortHandler)
	}
}

// grant lets fosite answer, in one step, and returns what writes its answer.
func (s *Server) grant(r *http.Request) (answer func(http.ResponseWriter), outcome Outcome) {
	s.mu.Lock()
	defer s.mu.Unlock()

	ctx := context.WithoutCancel(r.Context())
	request, err := s.provider.NewAccessRequest(ctx, r, &fosite.DefaultSession{})
	if err != nil {
		return func(w http.ResponseWriter) { s.provider.WriteAccessError(ctx, w, request, err) }, outcomeOf(err)
	}
	response, err := s.provider.NewAccessResponse(ctx, request)
	if err != nil {
		return func(w http.ResponseWriter) { s.provider.WriteAccessError(ctx, w, request, err) }, outcomeOf(err)
	}
	s.issued(response.GetAccessToken())
	if refresh, ok := response.GetExtra("refresh_token").(string); ok {
		s.issued(refresh)
	}
	return func(w http.ResponseWriter) { s.provider.WriteAccessResponse(ctx, w, request, response) }, Rotated
}

func (s *Server) issued(token string) {
	if s.config.Issued != nil {
		s.config.Issued(token)
	}
}
