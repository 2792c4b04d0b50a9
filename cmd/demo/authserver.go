package main

import (
	"crypto/rand"
	"crypto/subtle"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"sync"
)

// lifetime of an access token, in seconds, as the token response tells it.
const lifetime = 3600

// authServer is an authorization server with the refresh token grant of RFC 6749
// section 6. A refresh token is good for one use; one that comes a second time
// is taken for stolen and ends the grant (RFC 9700 section 4.14.2).
type authServer struct {
	clientID, clientSecret string
	events                 *events

	mu      sync.Mutex
	grants  map[string]*grant // by tenant
	access  map[string]*token // every access token issued, by its value
	refresh map[string]*token // and every refresh token
}

// grant is what one tenant allowed the client to do.
type grant struct {
	tenant          string
	generation      int
	access, refresh *token // what is current; nil: nothing is
	spent           *token // the refresh token before
}

type token struct {
	grant *grant
	value string
	label string // as much of the value as may be shown
}

func newAuthServer(e *events) *authServer {
	return &authServer{
		clientID: "demo", clientSecret: rand.Text(), events: e,
		grants: make(map[string]*grant), access: make(map[string]*token), refresh: make(map[string]*token),
	}
}

// grantTo starts a tenant's grant and returns its first tokens.
func (s *authServer) grantTo(tenant string) (access, refresh string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	g := &grant{tenant: tenant}
	s.grants[tenant] = g
	s.issue(g)
	return g.access.value, g.refresh.value
}

// issue replaces a grant's tokens.
func (s *authServer) issue(g *grant) {
	g.generation++
	mint := func(kind string, all map[string]*token) *token {
		label := fmt.Sprintf("%s-%s-%d-", g.tenant, kind, g.generation)
		t := &token{grant: g, value: label + rand.Text(), label: label + "..."}
		all[t.value] = t
		return t
	}
	g.spent = g.refresh
	g.access, g.refresh = mint("access", s.access), mint("refresh", s.refresh)
}

// redeem exchanges a refresh token for new tokens, unless it is not current.
func (s *authServer) redeem(value string) (access, refresh string, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	t := s.refresh[value]
	switch {
	case t == nil:
		s.events.add("token endpoint", "an unknown refresh token", "refused")
		return "", "", false
	case t.grant.refresh == nil:
		s.events.add("token endpoint", t.label, "refused, its grant is revoked")
		return "", "", false
	case t.grant.refresh != t:
		t.grant.access, t.grant.refresh = nil, nil
		s.events.add("token endpoint", t.label+" again", "refused, its grant is revoked now")
		return "", "", false
	}
	s.issue(t.grant)
	s.events.add("token endpoint", t.label+" spent", t.grant.refresh.label+" issued")
	return t.grant.access.value, t.grant.refresh.value, true
}

// inspect tells the API whose an access token is, and whether it is current.
func (s *authServer) inspect(value string) (tenant string, current bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	t := s.access[value]
	if t == nil {
		return "", false
	}
	return t.grant.tenant, t == t.grant.access
}

// expire ends a tenant's access token before its time, so that the client finds
// out from the API.
func (s *authServer) expire(tenant string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	g := s.grants[tenant]
	if g != nil {
		g.access = nil
	}
	return g != nil
}

// label returns as much of a token as may be shown.
func (s *authServer) label(value string) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, all := range []map[string]*token{s.access, s.refresh} {
		if t := all[value]; t != nil {
			return t.label
		}
	}
	return "an unknown token"
}

// spent returns the refresh token that a tenant's current one replaced.
func (s *authServer) spent(tenant string) (value string, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if g := s.grants[tenant]; g != nil && g.spent != nil {
		return g.spent.value, true
	}
	return "", false
}

// isIn reports whether text holds any token that was ever issued.
func (s *authServer) isIn(text string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, all := range []map[string]*token{s.access, s.refresh} {
		for value := range all {
			if strings.Contains(text, value) {
				return true
			}
		}
	}
	return false
}

// handler has the token endpoint, and two that no authorization server has: they
// are for whoever watches the demo.
func (s *authServer) handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("POST /token", s.serveToken)
	mux.HandleFunc("POST /expire", func(w http.ResponseWriter, r *http.Request) {
		if !s.expire(r.FormValue("tenant")) {
			http.Error(w, "no such tenant", http.StatusNotFound)
			return
		}
		_, _ = fmt.Fprintln(w, "its access token has expired")
	})
	mux.HandleFunc("POST /reuse", func(w http.ResponseWriter, r *http.Request) {
		value, ok := s.spent(r.FormValue("tenant"))
		if !ok {
			http.Error(w, "no refresh token of this tenant was spent yet", http.StatusNotFound)
			return
		}
		s.redeem(value)
		_, _ = fmt.Fprintln(w, "a spent refresh token came again: all tokens of its grant are revoked")
	})
	return mux
}

// serveToken is the token endpoint.
func (s *authServer) serveToken(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Cache-Control", "no-store")
	if !s.authenticated(r) {
		w.Header().Set("WWW-Authenticate", `Basic realm="demo"`)
		answer(w, http.StatusUnauthorized, map[string]any{"error": "invalid_client"})
		return
	}
	if r.PostFormValue("grant_type") != "refresh_token" {
		answer(w, http.StatusBadRequest, map[string]any{"error": "unsupported_grant_type"})
		return
	}
	access, refresh, ok := s.redeem(r.PostFormValue("refresh_token"))
	if !ok {
		answer(w, http.StatusBadRequest, map[string]any{"error": "invalid_grant"})
		return
	}
	answer(w, http.StatusOK, map[string]any{
		"access_token": access, "token_type": "Bearer", "expires_in": lifetime, "refresh_token": refresh,
	})
}

// authenticated checks the client's identifier and secret, which are encoded as
// in a form before they become Basic authentication (RFC 6749 section 2.3.1).
func (s *authServer) authenticated(r *http.Request) bool {
	user, password, _ := r.BasicAuth()
	id, errID := url.QueryUnescape(user)
	secret, errSecret := url.QueryUnescape(password)
	return errID == nil && errSecret == nil && id == s.clientID &&
		subtle.ConstantTimeCompare([]byte(secret), []byte(s.clientSecret)) == 1
}

func answer(w http.ResponseWriter, status int, body any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(body)
}
