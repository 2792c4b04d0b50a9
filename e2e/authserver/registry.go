package authserver

import (
	"context"
	"net/http"
	"net/url"

	"github.com/go-jose/go-jose/v3"
	"github.com/go-jose/go-jose/v3/jwt"
	"github.com/ory/fosite"
	"github.com/ory/fosite/storage"
)

// The names of the grants that need no code and no refresh token (RFC 6749 sections 4.3
// and 4.4, RFC 7523 section 2.1).
const (
	grantPassword          = "password"
	grantClientCredentials = "client_credentials"
	grantJWTBearer         = "urn:ietf:params:oauth:grant-type:jwt-bearer"
)

// Register makes a client of a tenant's own, or gives it another secret. Its tokens by
// client_credentials are those of the tenant that has its ID for a name.
func (s *Server) Register(id, secret string) error {
	client, err := newClient(Config{ClientID: id, ClientSecret: secret, ClientAuth: s.config.ClientAuth})
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.store.Clients[id] = client
	return nil
}

// SetPassword makes an account that has a password, or gives it another one.
func (s *Server) SetPassword(account, password string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.store.Users[account] = storage.MemoryUserRelation{Username: account, Password: password}
}

// Trust has an issuer's assertions about a subject be taken that are signed with a key,
// whose public half this is, and which may have a name.
func (s *Server) Trust(issuer, subject, name string, public any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	issued, known := s.store.IssuerPublicKeys[issuer]
	if !known {
		issued = storage.IssuerPublicKeys{Issuer: issuer, KeysBySub: make(map[string]storage.SubjectPublicKeys)}
		s.store.IssuerPublicKeys[issuer] = issued
	}
	issued.KeysBySub[subject] = storage.SubjectPublicKeys{Subject: subject, Keys: map[string]storage.PublicKeyScopes{
		name: {Key: &jose.JSONWebKey{KeyID: name, Key: public}, Scopes: []string{"api"}},
	}}
}

// Authenticate implements fosite's ResourceOwnerPasswordCredentialsGrantStorage: the
// account is the subject.
func (s store) Authenticate(ctx context.Context, name, secret string) (subject string, err error) {
	if _, err := s.MemoryStore.Authenticate(ctx, name, secret); err != nil {
		return "", err
	}
	return name, nil
}

// subjectOf is whose tokens a session's are: without a person those of the client (RFC
// 9068 section 2.2).
func subjectOf(r fosite.Requester) string {
	if subject := r.GetSession().GetSubject(); subject != "" {
		return subject
	}
	return r.GetClient().GetID()
}

// clientOf is which client a token request says it is from.
func clientOf(r *http.Request) string {
	if id, _, ok := r.BasicAuth(); ok {
		id, _ = url.QueryUnescape(id)
		return id
	}
	return r.PostForm.Get("client_id")
}

// aboutWhom is the subject of an assertion.
func aboutWhom(assertion string) string {
	var claims jwt.Claims
	if token, err := jwt.ParseSigned(assertion); err == nil {
		_ = token.UnsafeClaimsWithoutVerification(&claims)
	}
	return claims.Subject
}
