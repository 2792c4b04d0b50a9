package authserver

import (
	"context"
	"net/http"
	"slices"
	"time"
)

// Revocation is one revocation request.
type Revocation struct {
	Tenant   string // whose token it was; empty if nobody's
	Token    string // SHA-256 of the token presented, in hex
	Hint     string // the parameter "token_type_hint"
	Accepted bool   // answered with success, which it also is for a token that is nobody's
	At       time.Time
}

// Revocations returns all revocation requests so far, in the order of their arrival.
func (s *Server) Revocations() []Revocation {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.revocations)
}

// revoke is the revocation endpoint (RFC 7009). A refresh token, and likewise an
// access token, takes its whole family with it.
func (s *Server) revoke(w http.ResponseWriter, r *http.Request) {
	if err := r.ParseForm(); err != nil {
		http.Error(w, "bad form", http.StatusBadRequest)
		return
	}
	ctx := context.WithoutCancel(r.Context())
	s.mu.Lock()
	defer s.mu.Unlock()
	token := r.PostForm.Get("token")
	revocation := Revocation{
		Tenant: s.ownerOf(token), Token: fingerprint(token), Hint: r.PostForm.Get("token_type_hint"), At: time.Now(),
	}
	if access, ok := s.store.AccessTokens[s.strategy.AccessTokenSignature(ctx, token)]; ok {
		revocation.Tenant = access.GetSession().GetSubject()
	}
	err := s.provider.NewRevocationRequest(ctx, r)
	revocation.Accepted = err == nil
	s.revocations = append(s.revocations, revocation)
	s.provider.WriteRevocationResponse(ctx, w, err)
}
