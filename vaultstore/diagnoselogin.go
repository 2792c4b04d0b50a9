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
		said := readToken(a.body)
		f.Detail = fmt.Sprintf("logged in by %s; %s", s.cfg.Auth.Method, said.describe())
		switch {
		case said.isRoot():
			f.Detail += ", and with that it may do everything in Vault"
			f.Remedy = "Have the sidecar's token allow what it needs and no more: put one into " + s.cfg.Auth.TokenFile +
				" that was made by vault token create -orphan -policy=upstream-auth -period=24h -field=token, and revoke this one."
		case s.cfg.Auth.Method == MethodTokenFile && said.endsSoon():
			f.Remedy = "Put a new token into " + s.cfg.Auth.TokenFile + ", or have a Vault Agent write it, before this one ends."
		default:
			f.OK = true
		}
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

// tokenSaid is what Vault says of a token; nil: nothing that can be understood.
type tokenSaid struct {
	TTL              int64
	CreationTTL      int64 `json:"creation_ttl"`
	Renewable        bool
	Policies         []string
	IdentityPolicies []string `json:"identity_policies"`
}

func readToken(body []byte) *tokenSaid {
	var said struct{ Data tokenSaid }
	if json.Unmarshal(body, &said) != nil {
		return nil
	}
	return &said.Data
}

func (t *tokenSaid) isRoot() bool { return t != nil && slices.Contains(t.Policies, "root") }

// endsSoon reports whether nothing can keep the token for much longer.
func (t *tokenSaid) endsSoon() bool {
	return t != nil && !t.Renewable && t.TTL > 0 && t.TTL < max(t.CreationTTL/10, 600)
}

// describe puts it into words, without the token.
func (t *tokenSaid) describe() string {
	if t == nil {
		return "Vault says nothing that can be understood of the token"
	}
	lasts := "the token does not expire"
	if t.TTL > 0 {
		renewable := "cannot be renewed"
		if t.Renewable {
			renewable = "can be renewed"
		}
		lasts = fmt.Sprintf("the token has %v left and %s", time.Duration(min(t.TTL, maxSeconds))*time.Second, renewable)
	}
	policies := oneLine(strings.Join(append(t.Policies, t.IdentityPolicies...), ", "))
	return lasts + "; its policies are: " + cmp.Or(policies, "none")
}

// warnOfRoot says in the log that the token is a root token. Vault gives none out to who
// logs in, so that there is something to ask of a token_file alone.
func (s *Store) warnOfRoot(ctx context.Context) {
	if s.cfg.Auth.Method != MethodTokenFile {
		return
	}
	a, err := s.ask(ctx, request{method: http.MethodGet, path: "auth/token/lookup-self"})
	if err == nil && a.status == http.StatusOK && readToken(a.body).isRoot() {
		s.log().Warn("the token of Vault is a root token, which may do everything: give the sidecar one with a policy of its own",
			"token_file", s.cfg.Auth.TokenFile)
	}
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
