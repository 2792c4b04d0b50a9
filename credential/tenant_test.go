package credential_test

import (
	"errors"
	"regexp"
	"strings"
	"testing"

	"github.com/upstreamauth/caddy-upstream-auth/credential"
)

func TestTenantNames(t *testing.T) {
	cases := map[string]struct {
		name string
		want error
	}{
		"letters":                {"acme", nil},
		"starts with a digit":    {"0acme", nil},
		"all that is allowed":    {"A.b_c@d-9", nil},
		"128 bytes":              {strings.Repeat("a", 128), nil},
		"empty":                  {"", credential.ErrTenantMissing},
		"129 bytes":              {strings.Repeat("a", 129), credential.ErrTenantInvalid},
		"starts with a dot":      {".acme", credential.ErrTenantInvalid},
		"starts with a dash":     {"-acme", credential.ErrTenantInvalid},
		"two dots":               {"a..b", credential.ErrTenantInvalid},
		"slash":                  {"a/b", credential.ErrTenantInvalid},
		"leaves its folder":      {"a/../b", credential.ErrTenantInvalid},
		"escaped slash":          {"a%2fb", credential.ErrTenantInvalid},
		"list":                   {"acme,globex", credential.ErrTenantInvalid},
		"space":                  {"acme globex", credential.ErrTenantInvalid},
		"space behind":           {"acme ", credential.ErrTenantInvalid},
		"newline":                {"acme\n", credential.ErrTenantInvalid},
		"nul":                    {"acme\x00", credential.ErrTenantInvalid},
		"letter that looks like": {"аcme", credential.ErrTenantInvalid},
		"not UTF-8":              {"a\xff", credential.ErrTenantInvalid},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			tenant, err := credential.ParseTenant(c.name)
			if !errors.Is(err, c.want) {
				t.Fatalf("got error %v, want %v", err, c.want)
			}
			if c.want == nil && string(tenant) != c.name {
				t.Errorf("got %q: a name is never normalised", tenant)
			}
			if err != nil && c.name != "" && strings.Contains(err.Error(), c.name) {
				t.Errorf("error %q repeats the name", err)
			}
		})
	}
}

// The rule as the contract states it.
var tenantPattern = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._@-]{0,127}$`)

func FuzzParseTenant(f *testing.F) {
	for _, seed := range []string{"", "acme", "a..b", "../x", "a/b", "a\n", "ä", strings.Repeat("x", 129)} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, name string) {
		_, err := credential.ParseTenant(name)
		want := tenantPattern.MatchString(name) && !strings.Contains(name, "..")
		if want != (err == nil) {
			t.Errorf("%q: got error %v, but valid is %v", name, err, want)
		}
	})
}

func TestProviderNames(t *testing.T) {
	for name, valid := range map[string]bool{
		"salesforce": true, "0": true, "a_b-c": true, strings.Repeat("a", 63): true,
		"": false, "_journal": false, "-a": false, "Sales": false, "a.b": false, "a/b": false, strings.Repeat("a", 64): false,
	} {
		if err := credential.CheckProvider(name); (err == nil) != valid {
			t.Errorf("%q: got error %v, but valid is %v", name, err, valid)
		}
	}
}

func TestKeys(t *testing.T) {
	acme := credential.Key{Provider: "crm", Tenant: "acme"}
	for _, c := range []struct {
		key        credential.Key
		valid, own bool
	}{
		{acme, true, false},
		{acme.Links(), true, true},
		{credential.JournalKey(), true, true},
		{credential.LinksKey(), true, true},
		{acme.Links().Links(), false, true},
		{credential.Key{Provider: "CRM", Tenant: "acme"}.Links(), false, true},
		{credential.Key{Provider: "crm", Tenant: "../acme"}.Links(), false, true},
		{credential.Key{Provider: "crm"}.Links(), false, true},
		{credential.Key{Provider: "_links/", Tenant: "acme"}, false, true},
		{credential.Key{Provider: "_links", Tenant: "acme"}, false, true},
		{credential.Key{Provider: "_journal", Tenant: "acme"}, false, true},
		{credential.Key{Provider: "_else/crm", Tenant: "acme"}, false, true},
	} {
		if err := c.key.Check(); (err == nil) != c.valid || c.key.IsOwn() != c.own {
			t.Errorf("%+v: %v, own %v", c.key, err, c.key.IsOwn())
		}
	}
}
