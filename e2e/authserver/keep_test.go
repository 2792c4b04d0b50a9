package authserver

import "testing"

// Some tenants' refresh tokens may stay while those of others rotate.
func TestKeptTokenStays(t *testing.T) {
	s, address := start(t, Config{})
	lasting, rotating := seed(t, s, "acme"), seed(t, s, "globex")
	s.Play(func(e Entry) Behaviour { return Behaviour{Keep: e.Tenant == "acme"} })
	before := lasting.Access
	for range 2 {
		a, err := refresh(t, address, lasting.Refresh)
		if err != nil || a.Access == "" || a.Refresh != lasting.Refresh {
			t.Fatalf("kept: %+v, %v", a, err)
		}
		if _, ok := s.Subject(before); ok {
			t.Error("the old access token is still current")
		}
		if tenant, ok := s.Subject(a.Access); !ok || tenant != "acme" {
			t.Errorf("new access token: %q, %t", tenant, ok)
		}
		if tenant, ok := s.Spendable(lasting.Refresh); !ok || tenant != "acme" {
			t.Errorf("kept refresh token: %q, %t", tenant, ok)
		}
		before = a.Access
	}
	if len(s.PresentedTwice()) != 0 {
		t.Error("a kept token counts as presented twice")
	}
	if err := s.Expire("acme"); err != nil {
		t.Fatal(err)
	}
	if _, ok := s.Subject(before); ok {
		t.Error("the newest access token does not expire")
	}

	a, _ := refresh(t, address, rotating.Refresh)
	if _, ok := s.Spendable(rotating.Refresh); ok || a.Refresh == rotating.Refresh {
		t.Error("the other token was kept, too")
	}
	if got := outcomes(s); len(got) != 3 || got[0] != Kept || got[1] != Kept || got[2] != Rotated {
		t.Errorf("ledger: %v", got)
	}

	// From now on it is spent like any other.
	s.Play(nil)
	for _, want := range []Outcome{Rotated, Reused} {
		_, _ = refresh(t, address, lasting.Refresh)
		if got := outcomes(s); got[len(got)-1] != want {
			t.Errorf("ledger: %v, wanted %s", got, want)
		}
	}
	if len(s.PresentedTwice()) != 1 {
		t.Error("the reuse is not in the ledger")
	}
}
