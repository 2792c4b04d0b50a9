package authserver

import (
	"maps"
	"net/http"
	"strings"
)

// userinfo says whose access token this is (OpenID Connect Core 1.0 section 5.3).
func (s *Server) userinfo(w http.ResponseWriter, r *http.Request) {
	token, bearer := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	account, current := s.Subject(token)
	switch {
	case !bearer:
		w.Header().Set("WWW-Authenticate", "Bearer")
		w.WriteHeader(http.StatusUnauthorized)
	case !current:
		w.Header().Set("WWW-Authenticate", `Bearer error="invalid_token"`)
		w.WriteHeader(http.StatusUnauthorized)
	default:
		claims := map[string]any{"sub": account}
		maps.Copy(claims, s.config.Claims(account))
		writeJSON(w, claims)
	}
}
