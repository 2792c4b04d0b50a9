package vaultstore

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/upstreamauth/caddy-upstream-auth/credential"
)

// Each policy lacks one thing. Whatever else is asked for is done, by tokens from a file
// as by tokens of a login.
func testPermissions(t *testing.T, v *realVault) {
	const documents, names = "secret/data/upstream-auth/*", "secret/metadata/upstream-auth/*"
	all := []string{"create", "read", "update", "delete", "list"}
	root := newStore(t, v.byToken("root"))
	for _, lacks := range append(all, "nothing") {
		at := slices.DeleteFunc(slices.Clone(all), func(capability string) bool { return capability == lacks })
		policy := "lacks-" + lacks
		v.write("sys/policies/acl/"+policy, map[string]any{"policy": stanza(documents, at...) + "\n" + stanza(names, at...)})
		for login, cfg := range map[string]Config{
			"token file": v.byToken(policy), "AppRole": v.byAppRole(policy, map[string]any{"token_ttl": "1h", "token_policies": policy}),
		} {
			t.Run(lacks+" "+login, func(t *testing.T) {
				provider := strings.ToLower(strings.ReplaceAll(policy+"-"+login, " ", "-"))
				old := credential.Key{Provider: provider, Tenant: "tenant-canary-old"}
				if _, err := root.Put(t.Context(), old, []byte(`{"n":"1"}`), 0); err != nil {
					t.Fatal(err)
				}
				store := newStore(t, cfg)
				_, get := store.Get(t.Context(), old)
				_, getVersion := store.GetVersion(t.Context(), old, 1)
				_, list := store.List(t.Context(), provider, "", 9)
				_, update := store.Put(t.Context(), old, []byte(`{"n":"2"}`), 1)
				_, create := store.Put(t.Context(), credential.Key{Provider: provider, Tenant: "tenant-canary-new"}, []byte(`{"n":"1"}`), 0)
				deletion := store.Delete(t.Context(), old)
				for operation, c := range map[string]struct {
					err   error
					needs string
					want  credential.PermissionError
				}{
					"Get":          {get, "read", credential.PermissionError{Capabilities: []string{"read"}, Path: documents}},
					"GetVersion":   {getVersion, "read", credential.PermissionError{Capabilities: []string{"read"}, Path: documents}},
					"List":         {list, "list", credential.PermissionError{Capabilities: []string{"list"}, Path: names}},
					"updating Put": {update, "update", credential.PermissionError{Capabilities: []string{"create", "update"}, Path: documents}},
					"creating Put": {create, "create", credential.PermissionError{Capabilities: []string{"create", "update"}, Path: documents}},
					"Delete":       {deletion, "delete", credential.PermissionError{Capabilities: []string{"delete"}, Path: documents}},
				} {
					if lacks != c.needs {
						if c.err != nil {
							t.Errorf("%s: %v", operation, c.err)
						}
						continue
					}
					checkPermission(t, operation, c.err, c.want)
				}
			})
		}
	}
}

func checkPermission(t *testing.T, operation string, err error, want credential.PermissionError) {
	t.Helper()
	for _, target := range []error{credential.ErrForbidden, credential.ErrUnavailable} {
		if !errors.Is(err, target) {
			t.Errorf("%s: error %v is no %v", operation, err, target)
		}
	}
	if errors.Is(err, credential.ErrNotFound) || errors.Is(err, credential.ErrConflict) {
		t.Errorf("%s: error %v says something of the document", operation, err)
	}
	got, ok := errors.AsType[*credential.PermissionError](err)
	if !ok || !slices.Equal(got.Capabilities, want.Capabilities) || got.Path != want.Path {
		t.Errorf("%s: error %v, want one of %v", operation, err, want)
		return
	}
	if status, ok := errors.AsType[*StatusError](err); !ok || status.Status != 403 || !strings.Contains(err.Error(), got.Error()) {
		t.Errorf("%s: error %v does not say what Vault answered and what is missing", operation, err)
	}
	checkNoSecret(t, err.Error())
}

// A token that was revoked may nothing either, but no policy says so.
func testUnknownToken(t *testing.T, v *realVault) {
	cfg := v.byToken("upstream-auth")
	token, err := readSecret(cfg.Auth.TokenFile)
	if err != nil {
		t.Fatal(err)
	}
	if err := v.root.Auth().Token().RevokeTree(token); err != nil {
		t.Fatal(err)
	}
	_, err = newStore(t, cfg).Get(t.Context(), credential.Key{Provider: "p", Tenant: "acme"})
	if !errors.Is(err, credential.ErrUnavailable) || errors.Is(err, credential.ErrForbidden) || !strings.Contains(err.Error(), "invalid token") {
		t.Errorf("error %v, want that the token is invalid", err)
	}
}

func TestPermissionIsNamedByThePathOfTheRule(t *testing.T) {
	for _, c := range []struct{ template, documents, names string }{
		{DefaultPathTemplate, "secret/data/upstream-auth/*", "secret/metadata/upstream-auth/*"},
		{"{tenant}/of/{provider}", "secret/data/+/of/billing", "secret/metadata/*"},
		{"{provider}/{tenant}", "secret/data/billing/*", "secret/metadata/billing/*"},
	} {
		store, vault := newScripted(t, func(cfg *Config) { cfg.PathTemplate = c.template })
		vault.fault = onDocument(403, "permission denied at "+secretTenant)
		_, err := store.Get(t.Context(), secretKey)
		checkPermission(t, "Get", err, credential.PermissionError{Capabilities: []string{"read"}, Path: c.documents})
		_, err = store.List(t.Context(), secretKey.Provider, "", 9)
		checkPermission(t, "List", err, credential.PermissionError{Capabilities: []string{"list"}, Path: c.names})
		_, err = store.Get(t.Context(), credential.JournalKey())
		checkPermission(t, "Get of the journals' key", err, credential.PermissionError{Capabilities: []string{"read"}, Path: "secret/data/upstream-auth/_journal"})
		for _, key := range []credential.Key{credential.LinksKey(), secretKey.Links()} {
			_, err = store.Get(t.Context(), key)
			checkPermission(t, "Get of links", err, credential.PermissionError{Capabilities: []string{"read"}, Path: "secret/data/upstream-auth/_links*"})
		}
	}
}
