package oauth2

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"github.com/upstreamauth/caddy-upstream-auth/credential"
	"github.com/upstreamauth/caddy-upstream-auth/internal/hosts"
	"github.com/upstreamauth/caddy-upstream-auth/internal/template"
	"github.com/upstreamauth/caddy-upstream-auth/internal/tokenrequest"
)

// newChain is a renewer whose assertion is had of a server by token exchange.
func newChain(t *testing.T, server http.HandlerFunc, change func(from *Config)) *Renewer {
	t.Helper()
	s := httptest.NewServer(server)
	t.Cleanup(s.Close)
	from := &Config{
		Grant: GrantTokenExchange, TokenURL: text(t, s.URL+"/token"),
		Client:       Client{ClientID: text(t, "home"), ClientSecrets: []Secret{{Text: text(t, "{credential.secret}")}}},
		SubjectToken: text(t, "{credential.id_token}"), Audiences: []*template.Template{text(t, "https://as.example")},
		Params: map[string]*template.Template{"requested_token_type": text(t, "urn:ietf:params:oauth:token-type:jwt"), "actor_token": text(t, "{credential.actor}")},
	}
	if change != nil {
		change(from)
	}
	return newRenewer(t, func(c *Config) { c.Grant, c.AssertionFrom = GrantJWTBearer, from })
}

const chained = `{"secret":"s3cret-1","next":"s3cret-2","id_token":"subject-1","actor":"actor-1","host":"127.0.0.1"}`

func TestAnAssertionIsHadOfAnotherServer(t *testing.T) {
	asked := 0
	r := newChain(t, func(w http.ResponseWriter, req *http.Request) {
		asked++
		id, secret, _ := req.BasicAuth()
		want := url.Values{
			"grant_type": {"urn:ietf:params:oauth:grant-type:token-exchange"}, "subject_token": {"subject-1"}, "subject_token_type": {"urn:ietf:params:oauth:token-type:access_token"},
			"audience": {"https://as.example"}, "requested_token_type": {"urn:ietf:params:oauth:token-type:jwt"}, "actor_token": {"actor-1"},
		}
		if err := req.ParseForm(); err != nil || req.PostForm.Encode() != want.Encode() || id != "home" || secret != "s3cret-1" {
			t.Errorf("asked with %v as %s, %v", req.PostForm, id, err)
		}
		w.Header().Set("Content-Type", "application/json")
		_, _ = fmt.Fprintf(w, `{"access_token":"grant-%d","issued_token_type":"urn:ietf:params:oauth:token-type:jwt","token_type":"N_A"}`, asked)
	}, nil)
	for i := 1; i <= 2; i++ { // nothing is kept
		req, body := request(t, r, chained)
		form, err := url.ParseQuery(body)
		if err != nil || req.URL.String() != "https://as.example/token" || form.Get("assertion") != fmt.Sprint("grant-", i) ||
			form.Get("grant_type") != "urn:ietf:params:oauth:grant-type:jwt-bearer" || len(form) != 2 {
			t.Errorf("asked %s with %s, %v", req.URL, body, err)
		}
	}
	if schema := string(r.Schema()); !strings.Contains(schema, `"id_token"`) || !strings.Contains(schema, `"secret"`) {
		t.Errorf("the schema is %s", schema)
	}
	if err := r.CheckNew(newCredential(t, `{"secret":"s","actor":"a"}`)); !errors.Is(err, credential.ErrInvalid) || !strings.Contains(err.Error(), "id_token") {
		t.Errorf("without the token to be exchanged: %v", err)
	}
}

func TestAServerThatGivesNoAssertionIsTold(t *testing.T) {
	for name, c := range map[string]struct {
		status int
		body   string
		told   string
		as     tokenrequest.Error
	}{
		"refused": {400, `{"error":"invalid_grant","error_description":"the subject expired, not subject-1"}`, "token endpoint answered 400, invalid_grant",
			tokenrequest.Error{Code: "invalid_grant", Permanent: true, Description: "the subject expired"}},
		"client":  {401, `{"error":"invalid_client"}`, "token endpoint answered 401, invalid_client", tokenrequest.Error{Code: "invalid_client", Unspent: true}},
		"without": {200, `{"token":"subject-1"}`, "token endpoint answered 200, without access_token in it", tokenrequest.Error{}},
		"busy":    {503, `subject-1`, "token endpoint answered 503, no token response", tokenrequest.Error{Unspent: true}},
		"broken":  {0, "", "connection ended without an answer", tokenrequest.Error{NoResponse: true}},
	} {
		t.Run(name, func(t *testing.T) {
			r := newChain(t, func(w http.ResponseWriter, _ *http.Request) {
				if c.status == 0 {
					panic(http.ErrAbortHandler)
				}
				w.Header().Set("Content-Type", "application/json")
				w.WriteHeader(c.status)
				_, _ = io.WriteString(w, c.body)
			}, nil)
			_, _, err := r.Request(t.Context(), newCredential(t, chained))
			wrong, ok := errors.AsType[*tokenrequest.Error](err)
			if !ok || !strings.HasPrefix(err.Error(), "assertion_from: ") || !strings.Contains(err.Error(), c.told) ||
				wrong.Code != c.as.Code || wrong.Permanent != c.as.Permanent || wrong.Unspent != c.as.Unspent || wrong.NoResponse != c.as.NoResponse {
				t.Fatalf("got %v: %+v", err, wrong)
			}
			if !strings.HasPrefix(wrong.Description, c.as.Description) || strings.Contains(err.Error()+wrong.Description, "subject-1") {
				t.Errorf("described as %q", wrong.Description)
			}
			if at := r.Server(err); at != r.from || r.Server(wrong) != r {
				t.Error("it is not told which server that is")
			}
		})
	}
}

func TestAnAssertionIsHadWithTheOtherSecret(t *testing.T) {
	var secrets []string
	r := newChain(t, func(w http.ResponseWriter, req *http.Request) {
		_, secret, _ := req.BasicAuth()
		secrets = append(secrets, secret)
		w.Header().Set("Content-Type", "application/json")
		if secret != "s3cret-2" {
			w.WriteHeader(http.StatusUnauthorized)
			_, _ = io.WriteString(w, `{"error":"invalid_client"}`)
			return
		}
		_, _ = io.WriteString(w, `{"access_token":"grant"}`)
	}, func(from *Config) {
		from.ClientSecrets = append(from.ClientSecrets, Secret{Text: text(t, "{credential.next}")})
	})
	for range 2 {
		request(t, r, chained)
	}
	if got := strings.Join(secrets, " "); got != "s3cret-1 s3cret-2 s3cret-2" {
		t.Errorf("asked with %s", got)
	}
}

// The server that gives assertions gets secrets only where its own token_hosts let them go.
func TestAssertionsAreAskedForAtTokenHosts(t *testing.T) {
	allowed, err := hosts.Parse([]string{"*.example"})
	if err != nil {
		t.Fatal(err)
	}
	r := newChain(t, func(http.ResponseWriter, *http.Request) { t.Error("it was asked") }, func(from *Config) {
		_, port, _ := strings.Cut(strings.TrimPrefix(from.TokenURL.String(), "http://"), ":")
		from.TokenURL, from.TokenHosts = text(t, "https://{credential.host}:"+port), allowed
	})
	cred := newCredential(t, chained)
	if _, _, err := r.Request(t.Context(), cred); !errors.Is(err, credential.ErrInvalid) || !strings.Contains(err.Error(), "not among token_hosts") {
		t.Errorf("got %v", err)
	}
	if err := r.CheckNew(cred); err == nil || !strings.Contains(err.Error(), "not among token_hosts") {
		t.Errorf("accepted: %v", err)
	}
}

// A server of assertions that is silent is waited for no longer than somebody wants one.
func TestASilentServerOfAssertionsEndsWithItsCoordinator(t *testing.T) {
	asked := make(chan struct{})
	r := newChain(t, func(_ http.ResponseWriter, req *http.Request) {
		_, _ = io.Copy(io.Discard, req.Body) // or the server does not see it go
		close(asked)
		<-req.Context().Done()
	}, nil)
	ctx, cancel := context.WithCancel(t.Context())
	go func() { <-asked; cancel() }()
	if _, _, err := r.Request(ctx, newCredential(t, chained)); err == nil {
		t.Error("it has an answer")
	}
}
