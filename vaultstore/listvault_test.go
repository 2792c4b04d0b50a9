package vaultstore

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/upstreamauth/caddy-upstream-auth/credential"
	"github.com/upstreamauth/caddy-upstream-auth/credential/storetest"
)

// The tenant's is no last segment: most of what is listed are folders.
func testConformanceElsewhere(t *testing.T, v *realVault) {
	v.write("sys/mounts/team/elsewhere", map[string]any{"type": "kv", "options": map[string]any{"version": "2"}})
	cfg := v.byToken("root")
	cfg.Mount, cfg.PathTemplate = "team/elsewhere", "{tenant}/of/{provider}"
	store := newStore(t, cfg)
	eventually(t, 10*time.Second, func() error { // a new mount is upgraded first
		_, err := store.List(t.Context(), "p", "", 1)
		return err
	})
	storetest.TestStore(t, func(*testing.T) credential.Store { return store })
}

func testLists(t *testing.T, v *realVault) {
	allowed := newStore(t, v.byToken("upstream-auth,upstream-auth-api"))
	if _, err := allowed.Put(t.Context(), credential.Key{Provider: "listed", Tenant: "acme"}, []byte(`{}`), 0); err != nil {
		t.Fatal(err)
	}
	if tenants, err := allowed.List(t.Context(), "listed", "", 9); err != nil || !slices.Equal(tenants, []credential.Tenant{"acme"}) {
		t.Errorf("with the policy for it: %q, %v", tenants, err)
	}

	for _, version := range []string{"1", "2"} {
		for n, template := range append(slices.Clone(fuzzTemplates), "{tenant}/x/{provider}/y/z", "{provider}/x/{tenant}/y/z", "x/{tenant}/{provider}") {
			mount, data := fmt.Sprintf("list%s/n%d", version, n), ""
			v.write("sys/mounts/"+mount, map[string]any{"type": "kv", "options": map[string]any{"version": version}})
			if version == "2" {
				data = "data/"
			}
			write := func(path string) {
				t.Helper()
				eventually(t, 10*time.Second, func() error { // a new mount is upgraded first
					_, err := v.root.Logical().Write(mount+"/"+data+path, map[string]any{"data": map[string]any{"n": "1"}})
					return err
				})
			}
			at := func(provider, tenant string) string {
				return strings.NewReplacer(providerSegment, provider, tenantSegment, tenant).Replace(template)
			}
			for _, tenant := range []string{"acme", "Acme", "user@example.com", "0", "acme.eu", "acme-2"} {
				write(at("p", tenant))
			}
			write(at("q", "of-q"))
			write(at("q", "acme"))
			// What others put there: below a document, above one, and under names that
			// no tenant has.
			write(at("p", "acme") + "/below")
			write(at("p", "of-nobody") + "/below")
			write(at("p", "_journal"))
			write(at("p", "a b"))
			write(at("p", "ü"))
			if template != DefaultPathTemplate && strings.HasSuffix(template, "/z") {
				write(strings.TrimSuffix(at("p", "above"), "/z"))
			}
			cfg := v.byToken("root")
			cfg.Mount, cfg.PathTemplate, cfg.KVVersion = mount, template, int(version[0]-'0')
			store := newStore(t, cfg)
			want := []credential.Tenant{"0", "Acme", "acme", "acme-2", "acme.eu", "user@example.com"}
			for _, c := range []struct {
				provider string
				after    credential.Tenant
				limit    int
				want     []credential.Tenant
			}{
				{"p", "", 99, want}, {"p", "", 6, want}, {"p", "", 2, want[:2]}, {"p", "Acme", 3, want[2:5]}, {"p", "b", 9, want[5:]},
				{"q", "", 9, []credential.Tenant{"acme", "of-q"}}, {"nobody", "", 9, nil},
			} {
				tenants, err := store.List(t.Context(), c.provider, c.after, c.limit)
				if err != nil || !slices.Equal(tenants, c.want) {
					t.Errorf("version %s, %s: List %s after %q, at most %d: %q, %v; want %q", version, template, c.provider, c.after, c.limit, tenants, err, c.want)
				}
			}
		}
	}

	// Nothing at a mount that is another one is no empty list.
	for mount, version := range map[string]int{"nowhere": 2, "list1/n0": 2, "list2/n0": 1} {
		cfg := v.byToken("root")
		cfg.Mount, cfg.KVVersion = mount, version
		if tenants, err := newStore(t, cfg).List(t.Context(), "p", "", 9); !errors.Is(err, credential.ErrUnavailable) {
			t.Errorf("mount %s as version %d: %q, error %v", mount, version, tenants, err)
		}
	}
}
