package e2e

import (
	"context"
	"crypto/rand"
	"errors"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"

	"github.com/hashicorp/vault/api"

	"github.com/upstreamauth/caddy-upstream-auth/vaultstore/vaulttest"
)

// The policies of the README: what the sidecar may do in any case, and what the
// credentials API and the command line need besides.
const (
	policy    = "upstream-auth"
	policyAPI = "upstream-auth-api"
)

// policies are those that the README tells people to write, by name.
var policies = sync.OnceValues(func() (map[string]string, error) {
	readme, err := os.ReadFile(filepath.Join("..", "README.md"))
	if err != nil {
		return nil, err
	}
	texts := make(map[string]string)
	for _, found := range regexp.MustCompile(`(?s)vault policy write (\S+) - <<EOF\n(.*?)EOF\n`).FindAllSubmatch(readme, -1) {
		texts[string(found[1])] = string(found[2])
	}
	if texts[policy] == "" || texts[policyAPI] == "" {
		return nil, errors.New("the README lacks a policy for Vault")
	}
	return texts, nil
})

// vault is a real Vault of the test's own, with an AppRole for the sidecar.
type vault struct {
	*vaulttest.Server
	root *api.Client
}

func startVault(t *testing.T) *vault {
	t.Helper()
	v := &vault{Server: vaulttest.Start(t, vaulttest.Options{RootToken: "root-" + rand.Text()})}
	v.root = v.Client()
	return v
}

// allowLogin makes an AppRole with the least-privilege policy, and returns what
// it takes to log in.
func (v *vault) allowLogin(ctx context.Context) (roleID, secretID string, err error) {
	if err := v.root.Sys().EnableAuthWithOptionsWithContext(ctx, "approle", &api.EnableAuthOptions{Type: "approle"}); err != nil {
		return "", "", err
	}
	if err := v.allow(ctx, policy); err != nil {
		return "", "", err
	}
	id, err := v.root.Logical().ReadWithContext(ctx, role+"/role-id")
	if err != nil {
		return "", "", err
	}
	secret, err := v.root.Logical().WriteWithContext(ctx, role+"/secret-id", nil)
	if err != nil {
		return "", "", err
	}
	return id.Data["role_id"].(string), secret.Data["secret_id"].(string), nil
}

// role is the sidecar's AppRole.
const role = "auth/approle/role/sidecar"

// allow gives policies of the README to who logs in from now on, and no others.
func (v *vault) allow(ctx context.Context, names ...string) error {
	texts, err := policies()
	if err != nil {
		return err
	}
	for _, name := range names {
		if err := v.root.Sys().PutPolicyWithContext(ctx, name, texts[name]); err != nil {
			return err
		}
	}
	_, err = v.root.Logical().WriteWithContext(ctx, role, map[string]any{
		"token_policies": strings.Join(names, ","), "token_ttl": "1h", "token_max_ttl": "4h",
	})
	return err
}

// The policy of the README allows all that the sidecar does, and no more.
func TestLeastPrivilege(t *testing.T) {
	w := newWorld(t)
	w.start(configuration{})
	w.seedExpired("acme")
	r := request{tenant: "acme", id: "acme"}
	w.check(w.delivered(r, w.must(r)))
	w.expect(request{tenant: "nobody", id: "nobody"}, 403)
	w.settled("acme")
	w.tap.mu.Lock()
	defer w.tap.mu.Unlock()
	if len(w.tap.refused) > 0 {
		t.Errorf("Vault refused %q", w.tap.refused)
	}

	sidecar := w.vault.Client()
	login, err := sidecar.Logical().WriteWithContext(w.ctx, "auth/approle/login", map[string]any{
		"role_id": w.read("role-id"), "secret_id": w.read("secret-id"),
	})
	w.check(err)
	w.secrets.Add("another vault token", login.Auth.ClientToken)
	sidecar.SetToken(login.Auth.ClientToken)
	if _, err := sidecar.Logical().ReadWithContext(w.ctx, pathOf("acme")); err != nil {
		t.Errorf("reading a credential: %v", err)
	}
	vault := sidecar.Logical()
	for what, try := range map[string]func(context.Context, string) (*api.Secret, error){
		"secret/data/other":                      vault.ReadWithContext,
		"secret/metadata/upstream-auth/api/acme": vault.ReadWithContext,
		"secret/metadata/upstream-auth/api":      vault.ListWithContext,
		pathOf("acme"):                           func(ctx context.Context, path string) (*api.Secret, error) { return vault.DeleteWithContext(ctx, path) },
		"sys/policies/acl/upstream-auth":         vault.ReadWithContext,
	} {
		_, err := try(w.ctx, what)
		var answer *api.ResponseError
		if !errors.As(err, &answer) || answer.StatusCode != 403 {
			t.Errorf("%s is not refused: %v", what, err)
		}
	}
}
