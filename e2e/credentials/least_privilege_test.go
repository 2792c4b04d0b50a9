package credentials

import (
	"context"
	"errors"
	"testing"

	"github.com/hashicorp/vault/api"

	"github.com/upstreamauth/caddy-upstream-auth/e2e/world"
)

// The policy of the README allows all that the sidecar does, and no more.
func TestLeastPrivilege(t *testing.T) {
	w := world.New(t)
	w.Start(world.Configuration{})
	w.SeedExpired("acme")
	r := world.Request{Tenant: "acme", ID: "acme"}
	w.Check(w.Delivered(r, w.Must(r)))
	w.Expect(world.Request{Tenant: "nobody", ID: "nobody"}, 403)
	w.Settled("acme")
	if refused := w.Tap.Refusals(); len(refused) > 0 {
		t.Errorf("Vault refused %q", refused)
	}

	sidecar := w.Vault.Client()
	login, err := sidecar.Logical().WriteWithContext(w.Ctx, "auth/approle/login", map[string]any{
		"role_id": w.Read("role-id"), "secret_id": w.Read("secret-id"),
	})
	w.Check(err)
	w.Secrets.Add("another vault token", login.Auth.ClientToken)
	sidecar.SetToken(login.Auth.ClientToken)
	if _, err := sidecar.Logical().ReadWithContext(w.Ctx, world.PathOf("acme")); err != nil {
		t.Errorf("reading a credential: %v", err)
	}
	vault := sidecar.Logical()
	for what, try := range map[string]func(context.Context, string) (*api.Secret, error){
		"secret/data/other":                      vault.ReadWithContext,
		"secret/metadata/upstream-auth/api/acme": vault.ReadWithContext,
		"secret/metadata/upstream-auth/api":      vault.ListWithContext,
		world.PathOf("acme"):                     func(ctx context.Context, path string) (*api.Secret, error) { return vault.DeleteWithContext(ctx, path) },
		"sys/policies/acl/upstream-auth":         vault.ReadWithContext,
	} {
		_, err := try(w.Ctx, what)
		var answer *api.ResponseError
		if !errors.As(err, &answer) || answer.StatusCode != 403 {
			t.Errorf("%s is not refused: %v", what, err)
		}
	}
}
