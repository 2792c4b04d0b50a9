package authserver

import (
	"encoding/json"
	"net/http"
)

// discovery is the server's metadata (RFC 8414 section 2; OpenID Connect Discovery 1.0
// section 3), the same at both addresses.
func (s *Server) discovery(w http.ResponseWriter, r *http.Request) {
	issuer := s.issuer(r)
	document := map[string]any{
		"issuer":                                         issuer,
		"authorization_endpoint":                         issuer + "/authorize",
		"token_endpoint":                                 issuer + "/token",
		"userinfo_endpoint":                              issuer + "/userinfo",
		"jwks_uri":                                       issuer + "/jwks",
		"revocation_endpoint":                            issuer + "/revoke",
		"response_types_supported":                       []string{"code"},
		"response_modes_supported":                       []string{"query"},
		"grant_types_supported":                          grantTypes,
		"code_challenge_methods_supported":               []string{"S256"},
		"token_endpoint_auth_methods_supported":          []string{authMethods[s.config.ClientAuth]},
		"revocation_endpoint_auth_methods_supported":     []string{authMethods[s.config.ClientAuth]},
		"scopes_supported":                               []string{"api", "openid"},
		"subject_types_supported":                        []string{"public"},
		"id_token_signing_alg_values_supported":          []string{"RS256"},
		"authorization_response_iss_parameter_supported": true, // RFC 9207 section 3
	}
	if s.config.Metadata != nil {
		s.config.Metadata(document)
	}
	writeJSON(w, document)
}

// issuer is how the server names itself to who sends r.
func (s *Server) issuer(r *http.Request) string {
	switch {
	case s.config.Issuer != "":
		return s.config.Issuer
	case r.TLS != nil:
		return "https://" + r.Host
	default:
		return "http://" + r.Host
	}
}

func writeJSON(w http.ResponseWriter, document any) {
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(document)
}
