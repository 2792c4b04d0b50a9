package storetest

import (
	"errors"
	"math"
	"slices"
	"testing"

	"github.com/upstreamauth/caddy-upstream-auth/credential"
)

func checkList(t testing.TB, s subject) {
	s.mustList(t, "", math.MaxInt)

	var want []credential.Tenant
	for _, tenant := range distinctTenants {
		s.mustPut(t, s.key(tenant), `{}`, 0)
		want = append(want, credential.Tenant(tenant))
	}
	slices.Sort(want)
	// Providers whose names begin alike.
	for _, provider := range []string{s.provider + "x", s.provider + "-2", s.provider[:len(s.provider)-1]} {
		other := subject{Store: s.Store, provider: provider}
		other.mustPut(t, other.key("of-another-provider"), `{}`, 0)
		other.mustList(t, "", math.MaxInt, "of-another-provider")
	}
	s.mustList(t, "", math.MaxInt, want...)
	s.mustList(t, "", len(want), want...)
}

func checkListPages(t testing.TB, s subject) {
	for _, tenant := range []string{"a", "b", "b-c", "b.c", "b_c", "d"} {
		s.mustPut(t, s.key(tenant), `{}`, 0)
	}
	for after, want := range map[credential.Tenant][]credential.Tenant{
		"":       {"a", "b", "b-c", "b.c", "b_c", "d"},
		"A":      {"a", "b", "b-c", "b.c", "b_c", "d"},
		"a":      {"b", "b-c", "b.c", "b_c", "d"},
		"a\xff":  {"b", "b-c", "b.c", "b_c", "d"},
		"b":      {"b-c", "b.c", "b_c", "d"},
		"b\x00":  {"b-c", "b.c", "b_c", "d"},
		"b-c":    {"b.c", "b_c", "d"},
		"b.":     {"b.c", "b_c", "d"},
		"b/":     {"b_c", "d"},
		"b_c":    {"d"},
		"../../": {"a", "b", "b-c", "b.c", "b_c", "d"},
		"d":      nil,
		"é":      nil,
	} {
		s.mustList(t, after, math.MaxInt, want...)
	}
}

func checkListLimit(t testing.TB, s subject) {
	for _, tenant := range []string{"e", "d", "c", "b", "a"} {
		s.mustPut(t, s.key(tenant), `{}`, 0)
	}
	s.mustList(t, "", 1, "a")
	s.mustList(t, "a", 2, "b", "c")
	s.mustList(t, "c", 2, "d", "e")
	s.mustList(t, "d", 2, "e")
	s.mustList(t, "", 0)
	s.mustList(t, "", -1)
}

// A document whose newest version is deleted may be in a list.
func checkListDeleted(t testing.TB, s subject) {
	for _, tenant := range []string{"a", "b", "c"} {
		s.mustPut(t, s.key(tenant), `{}`, 0)
	}
	s.mustDelete(t, s.key("b"))
	tenants, err := s.List(t.Context(), s.provider, "", math.MaxInt)
	if err != nil {
		t.Fatalf("List: %v", err)
	}
	left := slices.DeleteFunc(tenants, func(tenant credential.Tenant) bool { return tenant == "b" })
	if !slices.Equal(left, []credential.Tenant{"a", "c"}) {
		t.Fatalf("List after a Delete: %q besides the deleted one, want a and c", left)
	}
	s.mustPut(t, s.key("b"), `{}`, 1)
	s.mustList(t, "", math.MaxInt, "a", "b", "c")
}

func checkListInvalidProviders(t testing.TB, s subject) {
	s.mustPut(t, s.key("b"), `{}`, 0)
	for _, provider := range s.invalidProviders() {
		tenants, err := s.List(t.Context(), provider, "", math.MaxInt)
		if err == nil || errors.Is(err, credential.ErrNotFound) || errors.Is(err, credential.ErrUnavailable) {
			t.Errorf("%q: List: error %v, want one of the name", provider, err)
		}
		if len(tenants) != 0 {
			t.Errorf("%q: List: refused with %d tenants", provider, len(tenants))
		}
	}
}

// mustList ends the test unless a List gives these tenants.
func (s subject) mustList(t testing.TB, after credential.Tenant, limit int, want ...credential.Tenant) {
	t.Helper()
	tenants, err := s.List(t.Context(), s.provider, after, limit)
	if err != nil {
		t.Fatalf("List after %q, at most %d: %v", after, limit, err)
	}
	if !slices.Equal(tenants, want) {
		t.Fatalf("List after %q, at most %d: %q, want %q", after, limit, tenants, want)
	}
}
