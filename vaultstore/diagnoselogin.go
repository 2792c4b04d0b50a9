package vaultstore

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/upstreamauth/caddy-upstream-auth/credential"
)

// diagnoseLogin says whether there is a token, and what Vault says of it. Without
// one, ok is false and nothing else can be asked.
func (s *Store) diagnoseLogin(ctx context.Context) (f credential.Finding, ok bool) {
	f = credential.Finding{Check: checkLogin}
	if _, err := s.session.token(ctx); err != nil {
		f.Detail, f.Remedy = err.Error(), s.loginRemedy(err)
		return f, false
	}
	// https://developer.hashicorp.com/vault/api-docs/auth/token#lookup-a-token-self
	a, err := s.ask(ctx, request{method: http.MethodGet, path: "auth/token/lookup-self"})
	switch {
	case err != nil:
		f.Detail, f.Remedy = fmt.Sprintf("looking the token up: %v", err), s.loginRemedy(err)
		return f, false
	case a.status == http.StatusOK:
		f.OK = true
		f.Detail = fmt.Sprintf("logged in by %s; %s", s.cfg.Auth.Method, describeToken(a.body))
		return f, true
	case a.status == http.StatusForbidden && !isInvalidToken(a):
		// Nor may it renew itself then; the store logs in instead.
		f.OK = true
		f.Detail = fmt.Sprintf("logged in by %s; Vault does not let the token look at itself", s.cfg.Auth.Method)
		return f, true
	case a.status == http.StatusForbidden:
		f.Detail = fmt.Sprintf("there is a token by %s, but Vault says that it is invalid", s.cfg.Auth.Method)
		f.Remedy = s.loginRemedy(nil)
		return f, false
	default:
		f.Detail = fmt.Sprintf("looking the token up: %v", documentError(a))
		f.Remedy = "See what Vault's own log says of it."
		return f, true
	}
}

// isInvalidToken reports whether Vault says that it does not know the token. Older
// versions say the same as for what a policy forbids.
func isInvalidToken(a answer) bool {
	return slices.ContainsFunc(messages(a.body), func(message string) bool {
		return strings.Contains(message, "invalid token") || strings.Contains(message, "bad token")
	})
}

// describeToken puts what Vault says of a token into words, without the token.
func describeToken(body []byte) string {
	var said struct {
		Data struct {
			TTL              int64
			Renewable        bool
			Policies         []string
			IdentityPolicies []string `json:"identity_policies"`
		}
	}
	if json.Unmarshal(body, &said) != nil {
		return "Vault says nothing that can be understood of the token"
	}
	lasts := "the token does not expire"
	if ttl := said.Data.TTL; ttl > 0 {
		renewable := "cannot be renewed"
		if said.Data.Renewable {
			renewable = "can be renewed"
		}
		lasts = fmt.Sprintf("the token has %v left and %s", time.Duration(min(ttl, maxSeconds))*time.Second, renewable)
	}
	policies := oneLine(strings.Join(append(said.Data.Policies, said.Data.IdentityPolicies...), ", "))
	return lasts + "; its policies are: " + cmp.Or(policies, "none")
}

// loginRemedy is what to do about a login that failed, or a token that is refused.
func (s *Store) loginRemedy(err error) string {
	if file, ok := errors.AsType[*fs.PathError](err); ok {
		return fileRemedy(file)
	}
	auth := &s.cfg.Auth
	if isUnanswered(err) {
		return s.connectionRemedy(err)
	}
	enabled := fmt.Sprintf("See whether vault auth list shows %s/; if not: vault auth enable -path=%s %s. ", auth.Mount, auth.Mount, auth.Method)
	switch auth.Method {
	case MethodAppRole:
		role := fmt.Sprintf("auth/%s/role/ROLE", auth.Mount)
		return enabled + fmt.Sprintf("Compare the role's id with the configured one: vault read -field=role_id %s/role-id. "+
			"Make a new secret id: vault write -f -field=secret_id %s/secret-id > %s", role, role, auth.SecretIDFile)
	case MethodKubernetes, MethodJWT:
		return enabled + fmt.Sprintf("Compare the role with the token in %s (audience, subject, expiry): vault read auth/%s/role/%s",
			auth.JWTFile, auth.Mount, cmp.Or(auth.Role, "ROLE"))
	default:
		return fmt.Sprintf("Put a token that is good into %s: see to the Vault Agent that writes it, or: vault token create -policy=upstream-auth -field=token > %s",
			auth.TokenFile, auth.TokenFile)
	}
}
