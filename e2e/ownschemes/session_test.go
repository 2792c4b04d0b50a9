package ownschemes

import (
	"cmp"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/vault/api"

	"github.com/upstreamauth/caddy-upstream-auth/e2e/canary"
	"github.com/upstreamauth/caddy-upstream-auth/vaultstore/vaulttest"
)

// sessions is a login server that speaks no OAuth 2.0, and an upstream that takes the last
// session of each ticket's line.
type sessions struct {
	secrets  *canary.Collector
	onLogin  func(tenant string) // while the login server has a request
	login    *httptest.Server
	upstream *httptest.Server

	mu      sync.Mutex
	owner   map[string]string // tenant, by ticket that still counts
	current map[string]string // session, by tenant
	refusal int               // status of all that the login server answers; 0: it looks at tickets
	of      map[string]*happened
}

// happened is what happened to a tenant.
type happened struct {
	handedIn         []string // tickets, in order
	rejected, served int      // requests, by the upstream
	forged           []string // what it saw as a session that was none of ours
	crowd            chan struct{}
}

func newSessions(t *testing.T, secrets *canary.Collector) *sessions {
	s := &sessions{
		secrets: secrets, onLogin: func(string) {},
		owner: make(map[string]string), current: make(map[string]string), of: make(map[string]*happened),
	}
	s.login = httptest.NewServer(http.HandlerFunc(s.answerLogin))
	s.upstream = httptest.NewServer(http.HandlerFunc(s.answerRequest))
	t.Cleanup(s.login.Close)
	t.Cleanup(s.upstream.Close)
	return s
}

// secret makes a ticket or a session.
func (s *sessions) secret(kind, tenant string) string {
	text := kind + "-of-" + tenant + "-" + rand.Text()
	s.secrets.Add(kind, text)
	return text
}

// newTicket gives out a ticket. Until it is handed in, no session of the tenant counts.
func (s *sessions) newTicket(tenant string) string {
	ticket := s.secret("ticket", tenant)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.owner[ticket] = tenant
	if s.of[tenant] == nil {
		s.of[tenant] = &happened{crowd: make(chan struct{})}
	}
	return ticket
}

// happenedTo returns what happened to a tenant so far.
func (s *sessions) happenedTo(tenant string) happened {
	s.mu.Lock()
	defer s.mu.Unlock()
	h := *s.of[tenant]
	h.handedIn = slices.Clone(h.handedIn)
	return h
}

// session is that of a tenant which counts.
func (s *sessions) session(tenant string) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.current[tenant]
}

// end ends the tenant's session.
func (s *sessions) end(tenant string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.current[tenant] = ""
}

func (s *sessions) answerLogin(w http.ResponseWriter, r *http.Request) {
	var given struct{ Ticket string }
	if err := json.NewDecoder(r.Body).Decode(&given); err != nil || r.Method != http.MethodPost {
		w.WriteHeader(http.StatusBadRequest)
		return
	}
	s.mu.Lock()
	tenant, counts := s.owner[given.Ticket]
	if counts {
		s.of[tenant].handedIn = append(s.of[tenant].handedIn, given.Ticket)
	}
	refusal := s.refusal
	s.mu.Unlock()
	s.onLogin(tenant)
	if refusal != 0 || !counts {
		w.Header().Set("Retry-After", "60")
		w.WriteHeader(cmp.Or(refusal, http.StatusForbidden))
		io.WriteString(w, "no session for "+given.Ticket)
		return
	}
	answer := map[string]any{"session": s.secret("session", tenant), "lifetime": 900}
	if r.URL.Path != "/reusable" {
		answer["next_ticket"] = s.newTicket(tenant)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if r.URL.Path != "/reusable" {
		delete(s.owner, given.Ticket)
	}
	s.current[tenant] = answer["session"].(string)
	json.NewEncoder(w).Encode(answer)
}

func (s *sessions) answerRequest(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	_, tenant, _ := strings.Cut(r.URL.Path[1:], "/")
	values := named(r.Header, "X-Session")
	s.mu.Lock()
	defer s.mu.Unlock()
	h := s.of[tenant]
	if len(values) != 1 || values[0] == "forged" {
		h.forged = append(h.forged, values...)
	}
	if len(values) != 1 || s.current[tenant] == "" || values[0] != s.current[tenant] {
		if h.rejected++; h.rejected == crowd {
			close(h.crowd)
		}
		w.Header().Set("WWW-Authenticate", "Session")
		w.WriteHeader(http.StatusUnauthorized)
		io.WriteString(w, "who are you?")
		return
	}
	h.served++
	io.WriteString(w, tenant+": "+string(body))
}

// onVault starts a sidecar on a real Vault, with a provider whose tickets are spent, and
// one whose tickets are not.
func onVault(t *testing.T) (*sidecar, *sessions, *api.KVv2) {
	t.Helper()
	s := newSidecar(t)
	vault := vaulttest.Start(t, vaulttest.Options{RootToken: "root-" + rand.Text()})
	s.secrets.Add("the root token", vault.RootToken)
	token := filepath.Join(t.TempDir(), "token")
	s.check(os.WriteFile(token, []byte(vault.RootToken), 0o600))
	servers := newSessions(t, s.secrets)
	s.start(fmt.Sprintf(`
store vault {
	address %s
	auth token_file %s
}
provider spent {
	session {
		login %s
	}
}
provider kept {
	header X-Account {credential.account}
	session {
		login %s/reusable
		reusable
	}
}`, vault.Address, token, servers.login.URL, servers.login.URL),
		fmt.Sprintf("upstream_auth /spent/* spent %s\nupstream_auth /kept/* kept %s", servers.upstream.URL, servers.upstream.URL))
	return s, servers, vault.Client().KVv2("secret")
}

func pathOf(provider, tenant string) string { return "upstream-auth/" + provider + "/" + tenant }

// statusOf returns what a document says of its ticket.
func statusOf(document map[string]any) string {
	record, _ := document["_upstream_auth"].(map[string]any)
	status, _ := record["status"].(string)
	return status
}

// crowd is how many requests are sent at the same time.
const crowd = 20

// sendCrowd sends them, each with a body of its own.
func (s *sidecar) sendCrowd(provider, tenant string) (answers [crowd]answer) {
	s.Helper()
	var wait sync.WaitGroup
	for i := range answers {
		wait.Go(func() {
			var err error
			answers[i], err = s.send(http.MethodPost, "/"+provider+"/"+tenant, tenant, strings.NewReader(fmt.Sprint("invoice ", i)), http.Header{"x.session": {"forged"}})
			if err != nil {
				s.Errorf("%d: %v", i, err)
			}
		})
	}
	wait.Wait()
	return answers
}

// All are rejected before the login server answers the first of them.
func TestSessionIsRenewedOnceForAllThatWereRejected(t *testing.T) {
	s, servers, vault := onVault(t)
	for provider, c := range map[string]struct{ tenant, during string }{
		"spent": {"acme", "spending"}, // claimed in the store before it is handed in
		"kept":  {"globex", ""},
	} {
		first, path := servers.newTicket(c.tenant), pathOf(provider, c.tenant)
		_, err := vault.Put(s.ctx, path, map[string]any{
			"session": servers.secret("session", c.tenant), "ticket": first, "account": "a-1", "expires_at": "2099-01-01T00:00:00Z",
		})
		s.check(err)
		said := make(chan string, 1)
		servers.onLogin = func(tenant string) {
			document, err := vault.Get(s.ctx, path)
			if err != nil {
				t.Error(err)
				return
			}
			said <- statusOf(document.Data)
			select {
			case <-servers.happenedTo(tenant).crowd:
			case <-time.After(10 * time.Second): // it fails below
			}
		}
		for i, a := range s.sendCrowd(provider, c.tenant) {
			if want := fmt.Sprint(c.tenant, ": invoice ", i); a.status != http.StatusOK || a.body != want || a.header.Get("Upstream-Auth-Error") != "" {
				t.Errorf("%s: got %d %q %q, want %q", provider, a.status, a.body, a.header, want)
			}
		}
		h := servers.happenedTo(c.tenant)
		if !slices.Equal(h.handedIn, []string{first}) || h.served != crowd || h.rejected != crowd || len(h.forged) > 0 {
			t.Fatalf("%s: %d logins, %d served, %d rejected, forged: %q", provider, len(h.handedIn), h.served, h.rejected, h.forged)
		}
		if during := <-said; during != c.during {
			t.Errorf("%s: during the login the document says %q, want %q", provider, during, c.during)
		}

		var document map[string]any
		s.eventually(func() error {
			found, err := vault.Get(s.ctx, path)
			if err != nil {
				return err
			}
			if document = found.Data; document["session"] != servers.session(c.tenant) || statusOf(document) != "ready" {
				return fmt.Errorf("%s: the document says %q", provider, statusOf(document))
			}
			return nil
		})
		ticket, _ := document["ticket"].(string)
		text, _ := document["expires_at"].(string)
		expires, err := time.Parse(time.RFC3339, text)
		left := time.Until(expires)
		if document["account"] != "a-1" || (ticket == first) != (provider == "kept") || err != nil || left > 15*time.Minute || left < 13*time.Minute {
			t.Errorf("%s: account %v, expires at %q, the same ticket: %v", provider, document["account"], text, ticket == first)
		}

		// What is in the store is what is handed in next.
		servers.onLogin = func(string) {}
		servers.end(c.tenant)
		a := s.must(http.MethodGet, "/"+provider+"/"+c.tenant, c.tenant, nil, nil)
		if h := servers.happenedTo(c.tenant); a.status != http.StatusOK || !slices.Equal(h.handedIn, []string{first, ticket}) {
			t.Errorf("%s, once more: got %d %q after %d logins", provider, a.status, a.header, len(h.handedIn))
		}
	}
}

func TestExpiredSessionIsRenewedBeforeTheUpstreamIsAsked(t *testing.T) {
	s, servers, vault := onVault(t)
	_, err := vault.Put(s.ctx, pathOf("spent", "acme"), map[string]any{
		"session": servers.secret("session", "acme"), "ticket": servers.newTicket("acme"), "expires_at": "2026-01-01T00:00:00Z",
	})
	s.check(err)
	a := s.must(http.MethodGet, "/spent/acme", "acme", nil, nil)
	if h := servers.happenedTo("acme"); a.status != http.StatusOK || len(h.handedIn) != 1 || h.rejected != 0 {
		t.Errorf("got %d %q after %d logins and %d rejections", a.status, a.header, len(h.handedIn), h.rejected)
	}
}

func TestRefusedRenewalLeavesTheUpstreamsAnswer(t *testing.T) {
	for name, c := range map[string]struct {
		provider string
		refusal  int
		code     string
		status   string // of the document
		crowds   int    // the second one comes when all is known, and nobody asks again
	}{
		"for good":                    {"spent", http.StatusForbidden, "reauthorization_required", "reauthorization_required", 2},
		"for good, and spent nothing": {"kept", http.StatusGone, "reauthorization_required", "", 2},
		"for now":                     {"spent", http.StatusServiceUnavailable, "refresh_failed", "ready", 2},
		"nobody knows":                {"spent", http.StatusInternalServerError, "refresh_failed", "spending", 1},
	} {
		t.Run(name, func(t *testing.T) {
			s, servers, vault := onVault(t)
			session, ticket := servers.secret("session", "acme"), servers.newTicket("acme")
			_, err := vault.Put(s.ctx, pathOf(c.provider, "acme"), map[string]any{"session": session, "ticket": ticket, "account": "a-1"})
			s.check(err)
			servers.refusal = c.refusal
			for range c.crowds {
				for _, a := range s.sendCrowd(c.provider, "acme") {
					if a.status != http.StatusUnauthorized || a.body != "who are you?" || a.header.Get("Www-Authenticate") != "Session" || a.header.Get("Upstream-Auth-Error") != c.code {
						t.Errorf("got %d %q %q", a.status, a.body, a.header)
					}
				}
			}
			if h := servers.happenedTo("acme"); !slices.Equal(h.handedIn, []string{ticket}) || h.served != 0 || len(h.forged) > 0 {
				t.Errorf("%d logins, %d served, forged: %q", len(h.handedIn), h.served, h.forged)
			}
			s.eventually(func() error {
				document, err := vault.Get(s.ctx, pathOf(c.provider, "acme"))
				if err == nil && (statusOf(document.Data) != c.status || document.Data["session"] != session || document.Data["ticket"] != ticket) {
					err = fmt.Errorf("the document says %q", statusOf(document.Data))
				}
				return err
			})
		})
	}
}
