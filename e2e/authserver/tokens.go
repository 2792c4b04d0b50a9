package authserver

import (
	"context"
	"fmt"
	"time"

	"github.com/ory/fosite"
)

// Tokens is what a tenant got when it authorized the client.
type Tokens struct {
	Access  string
	Refresh string
	Expires time.Time // of Access
}

// Seed authorizes the client for tenant, as a login in a browser would have, and
// returns the first tokens of a new family.
func (s *Server) Seed(tenant string) (Tokens, error) {
	s.mu.Lock()
	defer s.mu.Unlock()

	ctx := context.Background()
	tokens := Tokens{Expires: time.Now().UTC().Add(s.config.Lifespan).Truncate(time.Second)}
	session := &fosite.DefaultSession{Subject: tenant}
	session.SetExpiresAt(fosite.AccessToken, tokens.Expires)
	session.SetExpiresAt(fosite.RefreshToken, tokens.Expires.Add(30*24*time.Hour))

	request := fosite.NewRequest()
	request.Client = s.store.Clients[s.config.ClientID]
	request.Session = session
	request.GrantScope("api")

	access, accessSignature, err := s.strategy.GenerateAccessToken(ctx, request)
	if err != nil {
		return Tokens{}, fmt.Errorf("making an access token: %w", err)
	}
	refresh, refreshSignature, err := s.strategy.GenerateRefreshToken(ctx, request)
	if err != nil {
		return Tokens{}, fmt.Errorf("making a refresh token: %w", err)
	}
	if err := s.store.CreateAccessTokenSession(ctx, accessSignature, request); err != nil {
		return Tokens{}, fmt.Errorf("keeping the access token: %w", err)
	}
	if err := s.store.CreateRefreshTokenSession(ctx, refreshSignature, accessSignature, request); err != nil {
		return Tokens{}, fmt.Errorf("keeping the refresh token: %w", err)
	}
	s.families[tenant] = request.GetID()
	s.issued(access)
	s.issued(refresh)
	tokens.Access, tokens.Refresh = access, refresh
	return tokens, nil
}

// Expire ends the life of the tenant's newest access token. Its refresh token
// stays good.
func (s *Server) Expire(tenant string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.store.RevokeAccessToken(context.Background(), s.families[tenant])
}

// Revoke ends the tenant's authorization: its refresh token is an invalid_grant
// from now on, its access token no longer current.
func (s *Server) Revoke(tenant string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	ctx := context.Background()
	if err := s.store.RevokeRefreshToken(ctx, s.families[tenant]); err != nil {
		return err
	}
	return s.store.RevokeAccessToken(ctx, s.families[tenant])
}

// Subject is the introspection (RFC 7662) of an access token: whose it is, if it
// is current.
func (s *Server) Subject(access string) (tenant string, current bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	_, request, err := s.provider.IntrospectToken(context.Background(), access, fosite.AccessToken, &fosite.DefaultSession{})
	if err != nil {
		return "", false
	}
	// Fosite takes a refresh token for an answer too; an API must not.
	if _, ok := s.store.AccessTokens[s.strategy.AccessTokenSignature(context.Background(), access)]; !ok {
		return "", false
	}
	return subjectOf(request), true
}

// Spendable tells whose refresh token this is, if it can still be spent.
func (s *Server) Spendable(refresh string) (tenant string, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	ctx := context.Background()
	session, err := s.store.GetRefreshTokenSession(ctx, s.strategy.RefreshTokenSignature(ctx, refresh), nil)
	if err != nil || s.strategy.ValidateRefreshToken(ctx, session, refresh) != nil {
		return "", false
	}
	return session.GetSession().GetSubject(), true
}
