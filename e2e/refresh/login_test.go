package refresh

import (
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"

	"github.com/upstreamauth/caddy-upstream-auth/e2e/programs"
	"github.com/upstreamauth/caddy-upstream-auth/e2e/world"
)

// loginServer is one of another kind than OAuth 2.0's, with the API behind it.
type loginServer struct {
	*world.World
	url, password string
}

func newLoginServer(w *world.World) *loginServer {
	w.Helper()
	s := &loginServer{World: w, password: `p"w&d <1> ` + rand.Text()}
	s.Secrets.Add("the password", s.password)
	s.url = "http://" + programs.StartLoginServer(w.T, s.password)
	return s
}

// configuration is one whose provider has these schemes, in which URL and such stand for
// the server's.
func (s *loginServer) configuration(schemes string) world.Configuration {
	return world.Configuration{
		Quiet: true, Store: "timeout 20s", Schemes: strings.ReplaceAll(schemes, "URL", s.url),
		Sites: []world.Site{{Upstream: s.url}},
	}
}

// brings stores a tenant's credential, as somebody does who has a user and a password.
func (s *loginServer) brings(tenant, password string) {
	s.Helper()
	s.StoreRaw(tenant, map[string]any{"user": tenant, "password": password, "account": "account of " + tenant})
}

// expire ends a tenant's tokens, which nobody is told.
func (s *loginServer) expire(tenant string) {
	s.Helper()
	res, err := http.PostForm(s.url+"/expire", url.Values{"user": {tenant}})
	s.Check(err)
	res.Body.Close()
}

// counted checks how often what was asked for a tenant.
func (s *loginServer) counted(tenant string, check func(logins, refused, refreshes, reused int) bool) {
	s.Helper()
	res, err := http.Get(s.url + "/count?user=" + tenant)
	s.Check(err)
	defer res.Body.Close()
	var got map[string]int
	s.Check(json.NewDecoder(res.Body).Decode(&got))
	if !check(got["login"], got["refused"], got["refresh"], got["reused"]) {
		s.Errorf("%s: asked %v", tenant, got)
	}
}

// storm sends so many requests at a time for a tenant, to all replicas in turn, of which
// each has to be served as that tenant.
func (s *loginServer) storm(f *world.Fleet, tenant string, count int) {
	s.Helper()
	failures := make([]error, count)
	var all sync.WaitGroup
	for i := range count {
		w := f.Replicas()[i%3]
		all.Go(func() { failures[i] = serves(w, tenant) })
	}
	all.Wait()
	if err := errors.Join(failures...); err != nil {
		s.Fatalf("%.2000s", err.Error())
	}
}

// serves checks that a request is served as a tenant's.
func serves(w *world.World, tenant string) error {
	res, err := w.Send(w.Ctx, world.Request{Tenant: tenant, ID: tenant + " " + rand.Text(), Path: "/api/orders"})
	if err != nil {
		return err
	}
	if want := fmt.Sprintf(`{"user": %q}`, tenant); res.StatusCode != http.StatusOK || string(res.Content) != want {
		return fmt.Errorf("%s: status %d (%s): %s", tenant, res.StatusCode, res.Header.Get("Upstream-Auth-Error"), res.Content)
	}
	return nil
}

const (
	byForm = `login {
		request URL/form {
			form user     {credential.user}
			form password {credential.password}
		}
		token_field access_token data.token
		expires_in  data.ttl
	}`
	byJSON = `login {
		request URL/json {
			json user     {credential.user}
			json password {credential.password}
		}
		refresh URL/refresh {
			json refresh {credential.refresh_token}
		}
		token_field access_token  token
		token_field refresh_token refresh
		expires_at  until
	}`
	byCookie = `cookie SESSION {credential.session}
	login {
		request URL/cookie {
			form user     {credential.user}
			form password {credential.password}
		}
		token_field session cookie SESSION
		expires_in  30m
	}`
	bySteps = `header X-Auth-Token {credential.token}
	login {
		request GET URL/challenge {
			basic {credential.user} {credential.password}
		}
		request URL/answer {
			json user  {credential.user}
			json nonce {step1.nonce}
		}
		token_field token header X-Auth-Token
	}`
)

// A tenant brings a user and a password. The first request logs in; the token is kept, so
// that another sidecar uses it; and when it is rejected there is another one.
func TestLoginsOfAllKinds(t *testing.T) {
	for name, schemes := range map[string]string{"form": byForm, "JSON": byJSON, "cookie": byCookie, "steps": bySteps} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newLoginServer(world.New(t))
			c := s.configuration(schemes)
			one := s.Replica(c, "one", t.TempDir())
			two := s.Replica(c, "two", t.TempDir())
			s.brings("acme", s.password)
			s.brings("globex", s.password)
			for _, w := range []*world.World{one, two} {
				s.Check(serves(w, "acme"))
			}
			s.counted("acme", func(logins, _, refreshes, _ int) bool { return logins == 1 && refreshes == 0 })
			s.expire("acme")
			for _, w := range []*world.World{two, one} {
				s.Check(serves(w, "acme"))
			}
			s.counted("acme", func(logins, _, refreshes, reused int) bool { return logins+refreshes == 2 && reused == 0 })
			s.Check(serves(one, "globex"))

			data, _, err := s.StoredRaw("acme")
			s.Check(err)
			if data["account"] != "account of acme" || data["user"] != "acme" || data["password"] != s.password {
				t.Error("what was the tenant's own is another one")
			}
			_, expires := data["expires_at"].(string)
			if expires == (name == "steps") {
				t.Errorf("expires at %v", data["expires_at"])
			}
			for _, token := range []string{"access_token", "refresh_token", "session", "token"} {
				if value, ok := data[token].(string); ok {
					s.Secrets.Add("a token", value)
				}
			}
		})
	}
}

func TestAThousandRequestsAtThreeReplicasLogInOnceEach(t *testing.T) {
	s := newLoginServer(world.New(t))
	f := s.Fleet(s.configuration(byForm))
	s.brings("acme", s.password)
	s.storm(f, "acme", 1000) // the first ones
	s.counted("acme", func(logins, _, _, _ int) bool { return logins >= 1 && logins <= 3 })
	s.expire("acme")
	s.storm(f, "acme", 1000)
	s.counted("acme", func(logins, _, _, _ int) bool { return logins >= 2 && logins <= 6 })
}

// Nobody presents a refresh token of a login twice.
func TestAThousandRequestsAtThreeReplicasRefreshALoginOnce(t *testing.T) {
	s := newLoginServer(world.New(t))
	f := s.Fleet(s.configuration(byJSON))
	s.brings("acme", s.password)
	s.Check(serves(f.A, "acme"))
	s.expire("acme")
	s.storm(f, "acme", 1000)
	s.counted("acme", func(logins, _, refreshes, reused int) bool { return logins == 1 && refreshes == 1 && reused == 0 })
	s.expire("acme")
	s.storm(f, "acme", 30)
	s.counted("acme", func(logins, _, refreshes, reused int) bool { return logins == 1 && refreshes == 2 && reused == 0 })
}

// A refresh token that is of no use any more is followed by a login: nobody is asked.
func TestRefusedRefreshIsFollowedByALogin(t *testing.T) {
	s := newLoginServer(world.New(t))
	f := s.Fleet(s.configuration(byJSON))
	s.brings("acme", s.password)
	s.Check(serves(f.A, "acme"))
	data, _, err := s.StoredRaw("acme")
	s.Check(err)
	delete(data, "_upstream_auth")
	data["access_token"], data["refresh_token"] = "gone", "gone"
	s.StoreRaw("acme", data)
	s.Eventually(func() error { return serves(f.B, "acme") }) // its cache has the old one for a while
	s.Eventually(func() error {
		data, _, err := s.StoredRaw("acme")
		if err == nil && data["refresh_token"] == "gone" {
			err = errors.New("the refused refresh token is still there")
		}
		return err
	})
	for _, w := range f.Replicas() {
		s.Check(serves(w, "acme"))
	}
}

// Requests with a wrong password log in once, and not until the user is locked out. A new
// password is used at once.
func TestWrongPasswordIsTriedOnce(t *testing.T) {
	for name, schemes := range map[string]string{"form": byForm, "JSON": byJSON, "steps": bySteps} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newLoginServer(world.New(t))
			s.Start(s.configuration(schemes))
			wrong := "wr0ng-" + rand.Text()
			s.Secrets.Add("a wrong password", wrong)
			s.brings("acme", wrong)
			var all sync.WaitGroup
			for range 200 {
				all.Go(func() {
					res, err := s.Send(s.Ctx, world.Request{Tenant: "acme", ID: rand.Text(), Path: "/api/orders"})
					if err != nil || res.StatusCode != http.StatusUnauthorized || res.Header.Get("Upstream-Auth-Error") != "reauthorization_required" {
						t.Errorf("status %d, %v", res.StatusCode, err)
					}
				})
			}
			all.Wait()
			s.counted("acme", func(_, refused, _, _ int) bool { return refused == 1 })
			s.brings("acme", s.password)
			s.Eventually(func() error { return serves(s.World, "acme") })
			s.counted("acme", func(logins, refused, _, _ int) bool { return logins == 1 && refused == 1 })
		})
	}
}
