package world

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
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
	Policy    = "upstream-auth"
	PolicyAPI = "upstream-auth-api"
)

// policies are those that the README tells people to write, by name.
var policies = sync.OnceValues(func() (map[string]string, error) {
	readme, err := os.ReadFile(filepath.Join(root, "README.md"))
	if err != nil {
		return nil, err
	}
	texts := make(map[string]string)
	for _, found := range regexp.MustCompile(`(?s)vault policy write (\S+) - <<EOF\n(.*?)EOF\n`).FindAllSubmatch(readme, -1) {
		texts[string(found[1])] = string(found[2])
	}
	if texts[Policy] == "" || texts[PolicyAPI] == "" {
		return nil, errors.New("the README lacks a policy for Vault")
	}
	return texts, nil
})

// Vault is a real Vault of the test's own, with an AppRole for the sidecar.
type Vault struct {
	*vaulttest.Server
	Root *api.Client
}

func startVault(t *testing.T) *Vault {
	t.Helper()
	v := &Vault{Server: vaulttest.Start(t, vaulttest.Options{RootToken: "root-" + rand.Text()})}
	v.Root = v.Client()
	return v
}

// allowLogin makes an AppRole with the least-privilege policy, and returns what
// it takes to log in.
func (v *Vault) allowLogin(ctx context.Context) (roleID, secretID string, err error) {
	if err := v.Root.Sys().EnableAuthWithOptionsWithContext(ctx, "approle", &api.EnableAuthOptions{Type: "approle"}); err != nil {
		return "", "", err
	}
	if err := v.Allow(ctx, Policy); err != nil {
		return "", "", err
	}
	id, err := v.Root.Logical().ReadWithContext(ctx, role+"/role-id")
	if err != nil {
		return "", "", err
	}
	secret, err := v.Root.Logical().WriteWithContext(ctx, role+"/secret-id", nil)
	if err != nil {
		return "", "", err
	}
	return id.Data["role_id"].(string), secret.Data["secret_id"].(string), nil
}

// role is the sidecar's AppRole.
const role = "auth/approle/role/sidecar"

// Allow gives policies of the README to who logs in from now on, and no others.
func (v *Vault) Allow(ctx context.Context, names ...string) error {
	texts, err := policies()
	if err != nil {
		return err
	}
	for _, name := range names {
		if err := v.Root.Sys().PutPolicyWithContext(ctx, name, texts[name]); err != nil {
			return err
		}
	}
	return v.Grant(ctx, names...)
}

// PolicyText is a policy of the README.
func PolicyText(name string) (string, error) {
	texts, err := policies()
	if err == nil && texts[name] == "" {
		err = fmt.Errorf("the README has no policy %s", name)
	}
	return texts[name], err
}

// Grant is Allow for policies that are written already.
func (v *Vault) Grant(ctx context.Context, names ...string) error {
	_, err := v.Root.Logical().WriteWithContext(ctx, role, map[string]any{
		"token_policies": strings.Join(names, ","), "token_ttl": "1h", "token_max_ttl": "4h",
	})
	return err
}
