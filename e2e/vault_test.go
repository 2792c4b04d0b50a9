package e2e

import (
	"context"
	"crypto/rand"
	"errors"
	"os"
	"path/filepath"
	"regexp"
	"sync"
	"testing"

	"github.com/hashicorp/vault/api"

	"github.com/upstreamauth/caddy-upstream-auth/vaultstore/vaulttest"
)

// policy is all that the sidecar may do in Vault: what the README tells people to
// write.
var policy = sync.OnceValues(func() (string, error) {
	readme, err := os.ReadFile(filepath.Join("..", "README.md"))
	if err != nil {
		return "", err
	}
	text := regexp.MustCompile(`(?s)vault policy write upstream-auth - <<EOF\n(.*?)EOF\n`).FindSubmatch(readme)
	if text == nil {
		return "", errors.New("the README has no policy for Vault")
	}
	return string(text[1]), nil
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
	text, err := policy()
	if err != nil {
		return "", "", err
	}
	if err := v.root.Sys().PutPolicyWithContext(ctx, "upstream-auth", text); err != nil {
		return "", "", err
	}
	if err := v.root.Sys().EnableAuthWithOptionsWithContext(ctx, "approle", &api.EnableAuthOptions{Type: "approle"}); err != nil {
		return "", "", err
	}
	const role = "auth/approle/role/sidecar"
	if _, err := v.root.Logical().WriteWithContext(ctx, role, map[string]any{
		"token_policies": "upstream-auth", "token_ttl": "1h", "token_max_ttl": "4h",
	}); err != nil {
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
