package connect

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/url"
	"reflect"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/upstreamauth/caddy-upstream-auth/credential"
	"github.com/upstreamauth/caddy-upstream-auth/internal/oauth2"
	"github.com/upstreamauth/caddy-upstream-auth/internal/template"
)

func wantDocument(t *testing.T, got, want string) {
	t.Helper()
	var a, b map[string]any
	if err := errors.Join(json.Unmarshal([]byte(got), &a), json.Unmarshal([]byte(want), &b)); err != nil {
		t.Fatal(err)
	}
	if a["expires_at"] != nil && b["expires_at"] == "some" {
		a["expires_at"] = "some"
	}
	if a["refresh_token_expires_at"] != nil && b["refresh_token_expires_at"] == "some" {
		a["refresh_token_expires_at"] = "some"
	}
	if !reflect.DeepEqual(a, b) {
		t.Errorf("document %s, want %s", got, want)
	}
}

func TestConnect(t *testing.T) {
	f := newFixture(t, nil)
	f.wantConnected(f.connect(""))
	if len(f.accepted) != 1 {
		t.Fatalf("%d documents", len(f.accepted))
	}
	wantDocument(t, f.accepted[0],
		`{"access_token":"canary-a1","refresh_token":"canary-r1","token_type":"Bearer","expires_at":"some"}`)
	if n := f.server.count("/userinfo"); n != 0 {
		t.Errorf("userinfo was asked for %d times", n)
	}
	if !strings.Contains(f.log.String(), "account connected") {
		t.Error("the log does not say so")
	}
}

// TestConnectWithARealBrowserAndServers goes over real connections, with the
// default transport and a real cookie jar, by http on the loopback interface and by
// https.
func TestConnectWithARealBrowserAndServers(t *testing.T) {
	for name, newUnstarted := range map[string]func(*httptest.Server){
		"http":  (*httptest.Server).Start,
		"https": (*httptest.Server).StartTLS,
	} {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t, nil)
			authorization := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if r.URL.Path == "/authorize" {
					http.Redirect(w, r, f.server.consent(t, f.server.issuer+r.URL.String()), http.StatusFound)
					return
				}
				f.server.ServeHTTP(w, r)
			}))
			defer authorization.Close()
			f.server.issuer = authorization.URL

			var flow *Flow
			own := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if !flow.ServeHTTP(w, r) {
					http.NotFound(w, r)
				}
			}))
			newUnstarted(own)
			defer own.Close()
			flow = f.newFlow(func(c *Config) {
				c.Dialer, c.Transport = nil, nil
				c.RedirectURIs = []string{own.URL + "/callback"}
			})
			link, err := flow.Link(t.Context(), tenant, LinkOptions{})
			if err != nil {
				t.Fatal(err)
			}
			if !strings.HasPrefix(link.URL, own.URL+"/connect?link=") {
				t.Fatalf("link %s", link.URL)
			}

			client := own.Client()
			defer client.CloseIdleConnections()
			if client.Jar, err = cookiejar.New(nil); err != nil {
				t.Fatal(err)
			}
			asked, err := client.Get(link.URL)
			if err != nil {
				t.Fatal(err)
			}
			defer asked.Body.Close()
			page := httptest.NewRecorder()
			if _, err := io.Copy(page, asked.Body); err != nil {
				t.Fatal(err)
			}
			response, err := client.PostForm(link.URL, url.Values{"form": {formOf(page)}})
			if err != nil {
				t.Fatal(err)
			}
			defer response.Body.Close()
			if response.StatusCode != http.StatusOK || len(f.accepted) != 1 {
				t.Fatalf("answered %d: %v", response.StatusCode, f.log.last())
			}
			at, err := url.Parse(own.URL)
			if err != nil {
				t.Fatal(err)
			}
			if left := client.Jar.Cookies(at); len(left) != 0 {
				t.Errorf("%d cookies are left", len(left))
			}
		})
	}
}

func TestAuthorizationRequest(t *testing.T) {
	f := newFixture(t, func(c *Config) {
		c.AuthorizationURL = literal("https://as.example/authorize?prompt=none&x=a%2Fb")
		c.Params = map[string]*template.Template{"access_type": literal("offline"), "request": literal("authorize"), "audience": literal("https://api.example/?a=b&c")}
	})
	address := f.start(f.link(""))
	if !strings.HasPrefix(address, "https://as.example/authorize?prompt=none&x=a%2Fb&") {
		t.Errorf("sent to %s", address)
	}
	u, err := url.Parse(address)
	if err != nil {
		t.Fatal(err)
	}
	query := u.Query()
	for _, name := range []string{"state", "code_challenge", "nonce"} {
		if len(query[name]) != 1 || len(query.Get(name)) < 26 {
			t.Errorf("%s is %q", name, query[name])
		}
		query.Del(name)
	}
	want := url.Values{
		"prompt": {"none"}, "x": {"a/b"}, "response_type": {"code"}, "client_id": {"client"}, "redirect_uri": {callbackURI},
		"scope": {"openid offline_access"}, "code_challenge_method": {"S256"},
		"access_type": {"offline"}, "request": {"authorize"}, "audience": {"https://api.example/?a=b&c"},
	}
	if !reflect.DeepEqual(query, want) {
		t.Errorf("request %v, want %v", query, want)
	}
	if strings.Contains(address, string(tenant)) {
		t.Error("the request tells the tenant")
	}
}

func TestStartsHaveNothingInCommon(t *testing.T) {
	f := newFixture(t, nil)
	link := f.link("")
	first, second := f.start(link), f.start(link)
	for _, name := range []string{"state", "code_challenge", "nonce"} {
		if parameter(t, first, name) == parameter(t, second, name) {
			t.Errorf("%s is the same", name)
		}
	}
}

func TestCookie(t *testing.T) {
	for uri, want := range map[string]struct {
		prefix string
		secure bool
	}{
		"https://connect.example/oauth/callback": {"__Host-upstream_auth_connect_", true},
		"http://127.0.0.1:8080/oauth/callback":   {"upstream_auth_connect_", false},
	} {
		f := newFixture(t, func(c *Config) { c.RedirectURIs = []string{uri} })
		link := f.link("")
		response := f.browser.get(t, f.Flow, link)
		cookies := response.Result().Cookies()
		if len(cookies) != 1 {
			t.Fatalf("%s: cookies %v", uri, cookies)
		}
		c := cookies[0]
		if !strings.HasPrefix(c.Name, want.prefix) || len(c.Name) < len(want.prefix)+26 || c.Secure != want.secure || !c.HttpOnly ||
			c.SameSite != http.SameSiteLaxMode || c.Path != "/" || c.Domain != "" || c.MaxAge < 1490 || c.MaxAge > 1500 {
			t.Errorf("%s: cookie %v", uri, c)
		}
		if len(c.Value) < 26 || strings.Contains(response.Body.String(), c.Value) || strings.Contains(f.start(link), c.Value) {
			t.Errorf("%s: cookie value %s", uri, c.Value)
		}
	}
}

func TestTwoTabs(t *testing.T) {
	f := newFixture(t, nil)
	first, second := f.authorize(""), f.authorize("")
	f.wantConnected(f.browser.get(t, f.Flow, first))
	f.wantConnected(f.browser.get(t, f.Flow, second))
	if len(f.browser.cookies) != 0 {
		t.Errorf("%d cookies are left", len(f.browser.cookies))
	}
}

func TestWhatIsTheFlowsOwn(t *testing.T) {
	f := newFixture(t, func(c *Config) {
		c.RedirectURIs = []string{
			"https://connect.example/oauth/callback", "https://other.example:8443/oauth/callback", "https://root.example/back",
		}
	})
	for address, want := range map[string]bool{
		"https://connect.example/oauth/connect":         true,
		"https://connect.example/oauth/callback":        true,
		"https://connect.example:443/oauth/callback":    true,
		"https://CONNECT.example/oauth/callback?x":      true,
		"https://root.example/connect":                  true,
		"https://root.example/back":                     true,
		"http://10.0.0.1:8080/oauth/callback":           true, // a proxy changed the host
		"https://connect.example/oauth/callback/":       false,
		"https://connect.example/oauth/":                false,
		"https://connect.example/callback":              false,
		"https://connect.example/x/oauth/callback":      false,
		"https://connect.example/OAuth/callback":        false,
		"https://connect.example/oauth%2fcallback":      false,
		"https://connect.example/oauth/c%61llback":      false,
		"https://connect.example/oauth/../oauth/connec": false,
	} {
		w := httptest.NewRecorder()
		got := f.ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), "GET", address, nil))
		if got != want {
			t.Errorf("%s: handled %v", address, got)
		}
		if !got && (w.Body.Len() > 0 || len(w.Header()) > 0) {
			t.Errorf("%s: it was answered all the same", address)
		}
	}
}

func TestRedirectURIOfTheHostThatWasAsked(t *testing.T) {
	f := newFixture(t, func(c *Config) {
		c.RedirectURIs = []string{"https://a.example/cb", "https://b.example/cb"}
	})
	link := f.link("")
	if !strings.HasPrefix(link, "https://a.example/connect?") {
		t.Fatalf("link %s", link)
	}
	for host, want := range map[string]string{
		"a.example": "https://a.example/cb", "b.example": "https://b.example/cb", "proxied.internal": "https://a.example/cb",
	} {
		t.Run(host, func(t *testing.T) {
			started := f.start(strings.Replace(f.link(""), "a.example", host, 1))
			if got := parameter(t, started, "redirect_uri"); got != want {
				t.Fatalf("redirect URI %s", got)
			}
			back := strings.Replace(f.server.consent(t, started), mustHost(t, want), host, 1)
			f.wantConnected(f.browser.get(t, f.Flow, back))
		})
	}
}

func mustHost(t *testing.T, address string) string {
	t.Helper()
	u, err := url.Parse(address)
	if err != nil {
		t.Fatal(err)
	}
	return u.Host
}

func TestMethods(t *testing.T) {
	f := newFixture(t, nil)
	link, back := f.link(""), f.authorize("")
	for _, method := range []string{"POST", "HEAD", "PUT", "DELETE", "OPTIONS", "get"} {
		for address, allowed := range map[string]string{link: "GET, POST", back: "GET"} {
			if strings.Contains(allowed, method) {
				continue
			}
			w := httptest.NewRecorder()
			r := httptest.NewRequestWithContext(t.Context(), "GET", address, nil)
			r.Method = method
			if !f.ServeHTTP(w, r) || w.Code != http.StatusMethodNotAllowed || w.Header().Get("Allow") != allowed {
				t.Errorf("%s: answered %d", method, w.Code)
			}
			wantPage(t, w)
		}
	}
	f.wantConnected(f.browser.get(t, f.Flow, back))
}

func TestReturnToInTheEnd(t *testing.T) {
	f := newFixture(t, nil)
	response := f.connect("https://app.example/tenants/7?tab=crm&status=x")
	if got := response.Header().Get("Location"); response.Code != http.StatusSeeOther ||
		got != "https://app.example/tenants/7?status=success&tab=crm" || response.Body.Len() > 0 {
		t.Errorf("answered %d, %s: %v", response.Code, got, f.log.last())
	}
	back := with(t, f.authorize("https://app.example/done"), func(q url.Values) { q.Del("code"); q.Set("error", "access_denied") })
	response = f.browser.get(t, f.Flow, back)
	if got := response.Header().Get("Location"); response.Code != http.StatusSeeOther || got != "https://app.example/done?status=error" {
		t.Errorf("answered %d, %s: %v", response.Code, got, f.log.last())
	}
	if response.Header().Get("Referrer-Policy") != "no-referrer" {
		t.Error("the code goes out with the referrer")
	}
	// A link of an earlier configuration.
	back = f.authorize("https://app.example/done")
	f.Flow = f.newFlow(func(c *Config) { c.ReturnTo = nil })
	f.wantConnected(f.browser.get(t, f.Flow, back))
}

func TestNobodyElseIsSentToReturnTo(t *testing.T) {
	f := newFixture(t, nil)
	back := f.authorize("https://app.example/done")
	f.wantFailure(newBrowser().get(t, f.Flow, back), ErrOtherBrowser)
}

func TestAccept(t *testing.T) {
	for name, test := range map[string]struct {
		err    error
		status int
	}{
		"not valid":        {fmt.Errorf("test request: %w", credential.ErrInvalid), http.StatusUnprocessableEntity},
		"breaks a schema":  {&credential.SchemaError{Rule: "required"}, http.StatusUnprocessableEntity},
		"cannot be stored": {fmt.Errorf("put: %w", credential.ErrUnavailable), http.StatusServiceUnavailable},
		"something else":   {errors.New("else"), http.StatusServiceUnavailable},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t, nil)
			f.accept = func(context.Context) error { return test.err }
			link := f.link("")
			response := f.browser.get(t, f.Flow, f.server.consent(t, f.start(link)))
			if response.Code != test.status {
				t.Errorf("answered %d", response.Code)
			}
			wantPage(t, response)
			if err := f.log.last(); !errors.Is(err, ErrNotAccepted) || !errors.Is(err, test.err) {
				t.Errorf("error %v", err)
			}
			f.accept = nil
			f.wantConnected(f.browser.get(t, f.Flow, f.server.consent(t, f.start(link)))) // the link is good still
		})
	}
}

func TestABrowserThatGoesAwayLosesNothing(t *testing.T) {
	f := newFixture(t, nil)
	ctx, hangUp := context.WithCancel(t.Context())
	f.accept = func(ctx context.Context) error {
		if _, ok := ctx.Deadline(); !ok {
			t.Error("no deadline")
		}
		return ctx.Err()
	}
	f.server.at("/token", func(w http.ResponseWriter, r *http.Request) {
		hangUp()
		f.server.serveToken(w, r)
	})
	r := httptest.NewRequestWithContext(ctx, "GET", f.authorize(""), nil)
	f.wantConnected(f.browser.do(t, f.Flow, r))
	if len(f.accepted) != 1 {
		t.Error("nothing was accepted")
	}
}

func TestStoreThatDoesNotAnswer(t *testing.T) {
	f := newFixture(t, nil)
	var away atomic.Bool
	f.store.Fault = func(string, credential.Key) error {
		if away.Load() {
			return credential.ErrUnavailable
		}
		return nil
	}
	link := f.link("")
	back := f.authorize("")
	away.Store(true)
	if _, err := f.Link(t.Context(), tenant, LinkOptions{}); !errors.Is(err, credential.ErrUnavailable) {
		t.Errorf("a link: %v", err)
	}
	for _, address := range []string{link, back} {
		response := f.browser.get(t, f.Flow, address)
		if err := f.log.last(); response.Code != http.StatusServiceUnavailable || !errors.Is(err, credential.ErrUnavailable) {
			t.Errorf("answered %d: %v", response.Code, err)
		}
		wantPage(t, response)
	}
	away.Store(false)
	f.wantConnected(f.browser.get(t, f.Flow, back))
}

func TestClientAuthentication(t *testing.T) {
	for name, change := range map[string]func(*oauth2.Config){
		"basic": nil,
		"post":  func(o *oauth2.Config) { o.ClientAuth = oauth2.ClientAuthPost },
	} {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t, func(c *Config) {
				c.OAuth2 = newOAuth2(t, "https://as.example/token", func(o *oauth2.Config) {
					o.Params = map[string]*template.Template{"for": literal("refreshes")}
					o.Scopes = []*template.Template{literal("for-refreshes")}
					if change != nil {
						change(o)
					}
				})
			})
			f.wantConnected(f.connect(""))
			form := f.server.forms[0]
			if form.Has("client_secret") != (name == "post") || form.Has("for") || form.Has("scope") {
				t.Errorf("form %v", form)
			}
		})
	}
	t.Run("none", func(t *testing.T) {
		f := newFixture(t, func(c *Config) {
			c.OAuth2 = newOAuth2(t, "https://as.example/token", func(o *oauth2.Config) {
				o.ClientAuth, o.ClientSecrets = oauth2.ClientAuthNone, nil
			})
		})
		f.wantFailure(f.connect(""), ErrServerRefused) // this server wants a secret
		form := f.server.forms[0]
		if form.Get("client_id") != "client" || form.Has("client_secret") {
			t.Errorf("form %v", form)
		}
	})
}
