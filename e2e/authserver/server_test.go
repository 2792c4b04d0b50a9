package authserver

import (
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

type answer struct {
	Status      int
	RetryAfter  string
	Access      string  `json:"access_token"`
	Refresh     string  `json:"refresh_token"`
	ExpiresIn   float64 `json:"expires_in"`
	IDToken     string  `json:"id_token"`
	InstanceURL string  `json:"instance_url"`
	Error       string  `json:"error"`
}

func start(t *testing.T, config Config) (*Server, string) {
	t.Helper()
	config.ClientID = "sidecar"
	config.ClientSecret = "s3cret/+%: ü"
	s, err := New(config)
	if err != nil {
		t.Fatal(err)
	}
	web := httptest.NewServer(s)
	t.Cleanup(web.Close)
	return s, web.URL
}

func post(t *testing.T, address string, form url.Values, basic ...string) (answer, error) {
	t.Helper()
	req, _ := http.NewRequest(http.MethodPost, address, strings.NewReader(form.Encode()))
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	if len(basic) == 2 {
		req.SetBasicAuth(url.QueryEscape(basic[0]), url.QueryEscape(basic[1]))
	}
	transport := &http.Transport{DisableKeepAlives: true}
	res, err := transport.RoundTrip(req)
	if err != nil {
		return answer{}, err
	}
	defer res.Body.Close()
	a := answer{Status: res.StatusCode, RetryAfter: res.Header.Get("Retry-After")}
	_ = json.NewDecoder(res.Body).Decode(&a)
	return a, nil
}

func refresh(t *testing.T, address, token string) (answer, error) {
	t.Helper()
	return post(t, address, url.Values{"grant_type": {"refresh_token"}, "refresh_token": {token}}, "sidecar", "s3cret/+%: ü")
}

func seed(t *testing.T, s *Server, tenant string) Tokens {
	t.Helper()
	tokens, err := s.Seed(tenant)
	if err != nil {
		t.Fatal(err)
	}
	return tokens
}

func outcomes(s *Server) (all []Outcome) {
	for _, e := range s.Ledger() {
		all = append(all, e.Outcome)
	}
	return all
}

func TestRotationReplacesBothTokens(t *testing.T) {
	s, address := start(t, Config{})
	old := seed(t, s, "acme")
	if tenant, ok := s.Subject(old.Access); !ok || tenant != "acme" {
		t.Fatalf("seeded access token: %q, %t", tenant, ok)
	}
	a, err := refresh(t, address, old.Refresh)
	if err != nil || a.Status != http.StatusOK || a.ExpiresIn < 3500 {
		t.Fatalf("refresh: %+v, %v", a, err)
	}
	if _, ok := s.Subject(old.Access); ok {
		t.Error("the old access token is still current")
	}
	if _, ok := s.Spendable(old.Refresh); ok {
		t.Error("the old refresh token can still be spent")
	}
	if tenant, ok := s.Subject(a.Access); !ok || tenant != "acme" {
		t.Errorf("new access token: %q, %t", tenant, ok)
	}
	if tenant, ok := s.Spendable(a.Refresh); !ok || tenant != "acme" {
		t.Errorf("new refresh token: %q, %t", tenant, ok)
	}
	if _, ok := s.Subject(a.Refresh); ok {
		t.Error("a refresh token passes for an access token")
	}
	if len(s.PresentedTwice()) != 0 {
		t.Error("a token counts as presented twice")
	}
}

func TestReuseRevokesTheFamily(t *testing.T) {
	s, address := start(t, Config{})
	old := seed(t, s, "acme")
	other := seed(t, s, "globex")
	a, _ := refresh(t, address, old.Refresh)
	again, _ := refresh(t, address, old.Refresh)
	if again.Status != http.StatusBadRequest || again.Error != "invalid_grant" {
		t.Errorf("reuse was answered with %+v", again)
	}
	if _, ok := s.Subject(a.Access); ok {
		t.Error("the access token outlived the reuse")
	}
	if _, ok := s.Spendable(a.Refresh); ok {
		t.Error("the refresh token outlived the reuse")
	}
	if _, ok := s.Subject(other.Access); !ok {
		t.Error("another tenant's token died of it")
	}
	if got := outcomes(s); len(got) != 2 || got[0] != Rotated || got[1] != Reused {
		t.Errorf("ledger: %v", got)
	}
	if len(s.PresentedTwice()) != 1 {
		t.Error("the reuse is not in the ledger")
	}
}

func TestConcurrentSpendingRotatesOnce(t *testing.T) {
	s, address := start(t, Config{})
	old := seed(t, s, "acme")
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() { _, _ = refresh(t, address, old.Refresh) })
	}
	wg.Wait()
	rotated := 0
	for _, o := range outcomes(s) {
		if o == Rotated {
			rotated++
		}
	}
	if rotated != 1 {
		t.Errorf("rotated %d times", rotated)
	}
}

func TestExpireAndRevoke(t *testing.T) {
	s, address := start(t, Config{})
	tokens := seed(t, s, "acme")
	if err := s.Expire("acme"); err != nil {
		t.Fatal(err)
	}
	if _, ok := s.Subject(tokens.Access); ok {
		t.Error("the expired token is current")
	}
	a, _ := refresh(t, address, tokens.Refresh)
	if _, ok := s.Subject(a.Access); !ok {
		t.Fatal("no refresh after the expiry")
	}
	if err := s.Revoke("acme"); err != nil {
		t.Fatal(err)
	}
	if a, _ = refresh(t, address, a.Refresh); a.Error != "invalid_grant" {
		t.Errorf("after the revocation: %+v", a)
	}
}

func TestClientAuthentication(t *testing.T) {
	grant := func(token string, more ...string) url.Values {
		form := url.Values{"grant_type": {"refresh_token"}, "refresh_token": {token}}
		for i := 0; i < len(more); i += 2 {
			form.Set(more[i], more[i+1])
		}
		return form
	}
	const secret = "s3cret/+%: ü"
	ways := map[ClientAuth]func(*testing.T, string, string) (answer, error){
		Basic: refresh,
		Post: func(t *testing.T, address, token string) (answer, error) {
			return post(t, address, grant(token, "client_id", "sidecar", "client_secret", secret))
		},
		None: func(t *testing.T, address, token string) (answer, error) {
			return post(t, address, grant(token, "client_id", "sidecar"))
		},
	}
	for configured := range ways {
		for used, try := range ways {
			t.Run(string(configured)+" asked by "+string(used), func(t *testing.T) {
				s, address := start(t, Config{ClientAuth: configured})
				a, err := try(t, address, seed(t, s, "acme").Refresh)
				if err != nil {
					t.Fatal(err)
				}
				if got, want := a.Status == http.StatusOK, configured == used; got != want {
					t.Errorf("granted: %t; %+v", got, a)
				}
			})
		}
	}
}

func TestScript(t *testing.T) {
	s, address := start(t, Config{})
	tokens := seed(t, s, "acme")

	gate := make(chan struct{})
	s.Play(func(Entry) Behaviour {
		return Behaviour{Before: func() { <-gate }, Instead: Unavailable("7")}
	})
	go func() {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		_ = s.Await(ctx, func(l []Entry) bool { return len(l) == 1 && l[0].Tenant == "acme" })
		close(gate)
	}()
	if a, err := refresh(t, address, tokens.Refresh); err != nil || a.Status != http.StatusServiceUnavailable || a.RetryAfter != "7" {
		t.Errorf("unavailable: %+v, %v", a, err)
	}
	if _, ok := s.Spendable(tokens.Refresh); !ok {
		t.Fatal("a 503 spent the token")
	}

	s.Play(func(Entry) Behaviour { return Behaviour{After: Error500} })
	if a, err := refresh(t, address, tokens.Refresh); err != nil || a.Status != http.StatusInternalServerError || a.Refresh != "" {
		t.Errorf("500: %+v, %v", a, err)
	}
	if _, ok := s.Spendable(tokens.Refresh); ok {
		t.Error("the 500 came before the rotation")
	}

	tokens = seed(t, s, "globex")
	s.Play(func(Entry) Behaviour { return Behaviour{After: Drop} })
	if a, err := refresh(t, address, tokens.Refresh); err == nil {
		t.Errorf("the answer was not dropped: %+v", a)
	}
	if _, ok := s.Spendable(tokens.Refresh); ok {
		t.Error("the drop came before the rotation")
	}
	if got := outcomes(s); len(got) != 3 || got[0] != Refused || got[1] != Lost || got[2] != Lost {
		t.Errorf("ledger: %v", got)
	}
}

// A script for one tenant goes before the one for all, and may hold back an answer
// whose outcome is certain.
func TestScriptForOneTenant(t *testing.T) {
	s, address := start(t, Config{})
	acme, globex := seed(t, s, "acme"), seed(t, s, "globex")
	s.Play(func(Entry) Behaviour { return Behaviour{Instead: HangUp} })
	rotated := make(chan bool, 1)
	s.PlayFor("acme", func(Entry) Behaviour {
		return Behaviour{Between: func() {
			_, spendable := s.Spendable(acme.Refresh)
			rotated <- !spendable && outcomes(s)[0] == Rotated && s.Ledger()[0].Answered.IsZero()
		}}
	})
	if a, err := refresh(t, address, acme.Refresh); err != nil || a.Refresh == "" || !<-rotated {
		t.Errorf("acme: %+v, %v", a, err)
	}
	if a, err := refresh(t, address, globex.Refresh); err == nil {
		t.Errorf("globex: %+v", a)
	}
	s.PlayFor("acme", nil)
	if a, err := refresh(t, address, acme.Refresh); err == nil {
		t.Errorf("acme at last: %+v", a)
	}
	for _, e := range s.Ledger() {
		if e.At.IsZero() || e.Settled.Before(e.At) || e.Answered.Before(e.Settled) {
			t.Errorf("arrived at %v, settled at %v, answered at %v", e.At, e.Settled, e.Answered)
		}
	}
}

func TestEveryTokenIsTold(t *testing.T) {
	var told []string
	s, address := start(t, Config{Issued: func(token string) { told = append(told, token) }})
	tokens := seed(t, s, "acme")
	a, _ := refresh(t, address, tokens.Refresh)
	want := []string{tokens.Access, tokens.Refresh, a.Access, a.Refresh}
	if strings.Join(told, " ") != strings.Join(want, " ") {
		t.Errorf("told %d tokens of %d", len(told), len(want))
	}
}
