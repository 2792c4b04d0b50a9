// Package authserver is an OAuth 2.0 authorization server and OpenID provider for
// tests, by ory/fosite: the authorization code grant with PKCE (RFC 6749 section 4.1,
// RFC 7636) and a page where a person allows or denies it, and the refresh token
// grant (RFC 6749 section 6) with rotation and with the detection of reuse (RFC 9700
// section 4.14.2): who presents a spent refresh token revokes all that descends from
// it. There are the client credentials, password and JWT bearer grants, too (RFC 6749
// sections 4.4 and 4.3, RFC 7523).
//
// It keeps a ledger of what was presented, and can be told to misbehave.
package authserver

import (
	"context"
	"crypto/rsa"
	"net/http"
	"net/url"
	"sync"
	"time"

	"github.com/ory/fosite"
	"github.com/ory/fosite/compose"
	"github.com/ory/fosite/handler/oauth2"
	"github.com/ory/fosite/handler/openid"
	"github.com/ory/fosite/storage"
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

// authMethods are the names that RFC 8414 section 2 knows them by.
var authMethods = map[ClientAuth]string{Basic: "client_secret_basic", Post: "client_secret_post", None: "none"}

// Config configures a [Server].
type Config struct {
	ClientID     string
	ClientSecret string     // unused with None
	ClientAuth   ClientAuth // default Basic; any other way is refused

	// Lifespan is how long an access token is good for. Default 1 h.
	Lifespan time.Duration

	// RedirectURIs are where a browser may be sent back to, compared as strings
	// (RFC 9700 section 4.1.3). Without any, nobody can be sent to authorize.
	RedirectURIs []string

	// Issuer is how the server names itself. Default: scheme and host of each request.
	Issuer string

	// Fields, if not nil, returns further fields of the answer to a token request,
	// such as Salesforce's instance_url. It must not call the server.
	Fields func(e Entry) map[string]any

	// Claims, if not nil, returns what ID tokens and the userinfo endpoint say of an
	// account, beside sub. Default: the claim tid, which is "tid-" and the account.
	Claims func(account string) map[string]any

	// Metadata, if not nil, may change the discovery document before it is sent.
	Metadata func(document map[string]any)

	// Issued, if not nil, is told every token that is issued.
	Issued func(token string)
}

// Server is the authorization server. A request at a path that is no other endpoint's
// is a token request.
type Server struct {
	config   Config
	mux      *http.ServeMux
	provider fosite.OAuth2Provider
	settings *fosite.Config
	strategy *oauth2.HMACSHAStrategy
	key      func() *rsa.PrivateKey // of the ID tokens

	// mu makes each grant one step: fosite's memory store looks a token up and
	// rotates it under separate locks, so that two could spend the same one.
	mu          sync.Mutex
	store       *storage.MemoryStore
	families    map[string]string // tenant to the request ID that its tokens share
	script      Script
	scripts     map[string]Script // by tenant
	ledger      []Entry
	revocations []Revocation
	changed     chan struct{} // closed and replaced whenever the ledger changes
	refusal     string        // of authorization requests
	signedIn    string        // account of all browsers
	alter       func(response url.Values)
}

// New makes a server that knows one client.
func New(config Config) (*Server, error) {
	if config.ClientAuth == "" {
		config.ClientAuth = Basic
	}
	if config.Lifespan == 0 {
		config.Lifespan = time.Hour
	}
	if config.Claims == nil {
		config.Claims = func(account string) map[string]any { return map[string]any{"tid": "tid-" + account} }
	}
	client, err := newClient(config)
	if err != nil {
		return nil, err
	}
	settings := &fosite.Config{
		AccessTokenLifespan: config.Lifespan,
		GlobalSecret:        []byte("a secret of thirty-two bytes long"),
		ClientSecretsHasher: secretHasher{},
		RefreshTokenScopes:  []string{},
		EnforcePKCE:         true, // S256 alone, fosite's default
	}
	s := &Server{
		config:   config,
		mux:      http.NewServeMux(),
		settings: settings,
		strategy: compose.NewOAuth2HMACStrategy(settings),
		key:      sync.OnceValue(newKey),
		store:    storage.NewMemoryStore(),
		families: make(map[string]string),
		scripts:  make(map[string]Script),
		changed:  make(chan struct{}),
	}
	s.store.Clients[config.ClientID] = client
	signer := newSigner(s.key, sync.OnceValue(newKey))
	strategy := &compose.CommonStrategy{
		CoreStrategy:               s.strategy,
		OpenIDConnectTokenStrategy: &openid.DefaultStrategy{Signer: signer, Config: settings},
		Signer:                     signer,
	}
	s.provider = compose.Compose(settings, store{s.store}, strategy,
		compose.OAuth2AuthorizeExplicitFactory, compose.OAuth2RefreshTokenGrantFactory,
		compose.OpenIDConnectExplicitFactory, compose.OpenIDConnectRefreshFactory, compose.OAuth2PKCEFactory,
		compose.OAuth2ClientCredentialsGrantFactory, compose.OAuth2ResourceOwnerPasswordCredentialsFactory, compose.RFC7523AssertionGrantFactory,
		compose.OAuth2TokenIntrospectionFactory, compose.OAuth2TokenRevocationFactory)
	s.route()
	return s, nil
}

func (s *Server) route() {
	s.mux.HandleFunc("/", s.token)
	s.mux.HandleFunc("/authorize", s.authorize)
	s.mux.HandleFunc("/revoke", s.revoke)
	s.mux.HandleFunc("/userinfo", s.userinfo)
	s.mux.HandleFunc("/jwks", s.jwks)
	s.mux.HandleFunc("/.well-known/openid-configuration", s.discovery)
	s.mux.HandleFunc("/.well-known/oauth-authorization-server", s.discovery)
}

// ServeHTTP implements [http.Handler].
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) { s.mux.ServeHTTP(w, r) }

// grantTypes are those that all clients may use.
var grantTypes = []string{"authorization_code", "refresh_token", grantClientCredentials, grantPassword, grantJWTBearer}

func newClient(config Config) (fosite.Client, error) {
	client := &fosite.DefaultOpenIDConnectClient{
		DefaultClient: &fosite.DefaultClient{
			ID:            config.ClientID,
			RedirectURIs:  config.RedirectURIs,
			ResponseTypes: []string{"code"},
			GrantTypes:    grantTypes,
			Scopes:        []string{"api", "openid"},
			Public:        config.ClientAuth == None,
		},
		TokenEndpointAuthMethod: authMethods[config.ClientAuth],
	}
	if config.ClientAuth == None {
		return client, nil
	}
	hash, err := secretHasher{}.Hash(context.Background(), []byte(config.ClientSecret))
	client.Secret = hash
	return client, err
}
