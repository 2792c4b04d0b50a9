package storetest

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/upstreamauth/caddy-upstream-auth/credential"
)

func checkInvalidTenants(t testing.TB, s subject) {
	// What the bad names would lead to if they were taken as parts of a path.
	s.mustPut(t, s.key("b"), `{"n":"victim"}`, 0)
	tenants := []string{
		"", ".", "..", "../b", "../" + s.provider + "/b", "a/../b", "./b", "a/b", "/b", "b/", "b//",
		"a..b", "_b", "-b", ".b", "@b", " b", "b ", "a b", "b\x00", "b\n", "b%2f", "%2e%2e", "b?version=1", "b#", "b\\",
		"*", "b*", "+", "bü", "b\xff", "{b}", "../../../sys/seal-status", strings.Repeat("b", 129),
	}
	for _, tenant := range tenants {
		s.mustRefuse(t, s.key(tenant), func(err error) bool {
			return errors.Is(err, credential.ErrTenantInvalid) || errors.Is(err, credential.ErrTenantMissing)
		})
	}
	s.mustGet(t, s.key("b"), `{"n":"victim"}`, 1)
}

func checkInvalidProviders(t testing.TB, s subject) {
	s.mustPut(t, s.key("b"), `{"n":"victim"}`, 0)
	for _, provider := range s.invalidProviders() {
		s.mustRefuse(t, credential.Key{Provider: provider, Tenant: "b"}, func(error) bool { return true })
	}
	s.mustGet(t, s.key("b"), `{"n":"victim"}`, 1)
}

// invalidProviders are names that would lead to the subject's own provider, or out
// of their place, if they were taken as parts of a path.
func (s subject) invalidProviders() []string {
	return []string{
		"", ".", "..", "_journal", "_links", "_links/", "_links/../" + s.provider, "_links/_links/" + s.provider, "-p", strings.ToUpper(s.provider), s.provider + "/", s.provider + "/b", "../" + s.provider,
		"x/../" + s.provider, s.provider + "\x00", s.provider + " ", s.provider + ".", "é", strings.Repeat("p", 64),
	}
}

// mustRefuse ends the test unless each method refuses key, with an error that
// satisfies expected and is none of those that speak of a document.
func (s subject) mustRefuse(t testing.TB, key credential.Key, expected func(error) bool) {
	t.Helper()
	doc, err := s.Get(t.Context(), key)
	answers := map[string]error{"Get": err}
	if doc.Data != nil || doc.Version != 0 {
		t.Errorf("%q/%q: Get: refused with a document", key.Provider, key.Tenant)
	}
	for _, version := range []uint64{0, 1} {
		_, err = s.Put(t.Context(), key, []byte(`{"n":"intruder"}`), version)
		answers[fmt.Sprintf("Put against version %d", version)] = err
	}
	answers["Delete"] = s.Delete(t.Context(), key)

	for method, err := range answers {
		if err == nil || !expected(err) {
			t.Errorf("%q/%q: %s: error %v, want one of the name", key.Provider, key.Tenant, method, err)
		}
		for _, other := range []error{
			credential.ErrNotFound, credential.ErrConflict, credential.ErrUnavailable, credential.ErrInvalid, credential.ErrReadOnly,
		} {
			if errors.Is(err, other) {
				t.Errorf("%q/%q: %s: error %v, want one of the name", key.Provider, key.Tenant, method, err)
			}
		}
	}
}

// distinctTenants are names that a store may confuse.
var distinctTenants = []string{
	"acme", "Acme", "ACME", "acmE", "a", "A", "0", "00", "a.b", "a.B", "a@b", "a-b", "a_b", "a-b_c", "a--b", "a.b.", "a-",
	"a.json", "user@example.com", "data", "metadata", "config", "con", "undefined", "1e3", "true",
	strings.Repeat("x", 127), strings.Repeat("x", 128), strings.Repeat("x", 127) + "X",
}

func checkDistinctNames(t testing.TB, s subject) {
	second := s
	second.provider += "-2"
	for n, tenant := range distinctTenants {
		s.mustPut(t, s.key(tenant), fmt.Sprintf(`{"n":"%d"}`, n), 0)
		second.mustPut(t, second.key(tenant), fmt.Sprintf(`{"second":"%d"}`, n), 0)
	}
	for n, tenant := range distinctTenants {
		s.mustGet(t, s.key(tenant), fmt.Sprintf(`{"n":"%d"}`, n), 1)
		second.mustGet(t, second.key(tenant), fmt.Sprintf(`{"second":"%d"}`, n), 1)
	}
}
