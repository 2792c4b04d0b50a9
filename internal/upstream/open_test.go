package upstream

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/upstreamauth/caddy-upstream-auth/credential"
	"github.com/upstreamauth/caddy-upstream-auth/credential/storetest"
	"github.com/upstreamauth/caddy-upstream-auth/internal/jwt"
	"github.com/upstreamauth/caddy-upstream-auth/internal/oauth2"
	"github.com/upstreamauth/caddy-upstream-auth/internal/renew"
	"github.com/upstreamauth/caddy-upstream-auth/internal/tokenrequest"
)

const acme credential.Tenant = "acme"

// opening is a tenant's credential in a store, and who is asked for another. They note the
// order in which they are.
type opening struct {
	*testing.T
	*Credentials
	store    *storetest.Memory
	provider *Provider
	asked    []string

	refreshed, fetched string // documents
	refreshErr         error
	fetchErr           error
	rejected           *credential.Credential // what the one asked last was told of
}

func newOpening(t *testing.T, change func(*oauth2.Config)) *opening {
	t.Helper()
	o := &opening{T: t, store: storetest.NewMemory(), provider: mustProvider(t, newRenewer(t, change))}
	o.Credentials = &Credentials{Cache: credential.NewCache(o.store, credential.CacheOptions{}), Coordinator: o}
	o.Fetch = func(_ context.Context, p *Provider, tenant credential.Tenant, rejected *credential.Credential) (*credential.Credential, error) {
		o.expectAsked(p == o.provider, tenant)
		o.asked, o.rejected = append(o.asked, "application"), rejected
		if o.fetchErr != nil {
			return nil, o.fetchErr
		}
		return newCredential(t, o.fetched), nil
	}
	return o
}

func (o *opening) expectAsked(right bool, tenant credential.Tenant) {
	o.Helper()
	if !right || tenant != acme {
		o.Errorf("another provider, or %s, was asked for", tenant)
	}
}

func (o *opening) Refresh(_ context.Context, p *renew.Provider, tenant credential.Tenant, rejected *credential.Credential) (*credential.Credential, error) {
	o.expectAsked(p == o.provider.Provider, tenant)
	o.asked, o.rejected = append(o.asked, "refresh"), rejected
	if o.refreshErr != nil {
		return nil, o.refreshErr
	}
	return newCredential(o, o.refreshed), nil
}

func (o *opening) Ahead(p *renew.Provider, tenant credential.Tenant, cred *credential.Credential) {
	o.expectAsked(p == o.provider.Provider, tenant)
	o.asked, o.rejected = append(o.asked, "ahead"), cred
}

func (o *opening) Rejected(*renew.Provider, credential.Tenant, *credential.Credential) {}
func (o *opening) Accepted(*renew.Provider, credential.Tenant, *credential.Credential) {}

// put stores a credential whose token expires in so long.
func (o *opening) put(expiresIn time.Duration) {
	o.Helper()
	o.putDocument(fmt.Sprintf(`{"access_token":"old","expires_at":%q}`, time.Now().Add(expiresIn).Format(time.RFC3339)))
}

func (o *opening) putDocument(document string) {
	o.Helper()
	if _, err := o.store.Put(o.Context(), o.provider.Key(acme), []byte(document), 0); err != nil {
		o.Fatal(err)
	}
}

// expect opens the credential and expects a token, and who was asked.
func (o *opening) expect(token string, fresh bool, asked string) {
	o.Helper()
	opened, err := o.Open(o.Context(), o.provider, acme)
	if err != nil {
		o.Fatal(err)
	}
	if got := authenticated(o, opened.Ready).Get("Authorization"); got != "Bearer "+token {
		o.Errorf("%s is sent, and not %s", got, token)
	}
	if got, _ := opened.Credential.Text("access_token"); got != token || opened.Fresh != fresh {
		o.Errorf("it is %s, fresh %v; want %s, %v", got, opened.Fresh, token, fresh)
	}
	if got := strings.Join(o.asked, ", "); got != asked {
		o.Errorf("asked: %q, want %q", got, asked)
	}
}

// expectError opens the credential and expects an error, and who was asked.
func (o *opening) expectError(want error, asked string) {
	o.Helper()
	_, err := o.Open(o.Context(), o.provider, acme)
	if !errors.Is(err, want) || strings.Contains(err.Error(), "hunter2") {
		o.Errorf("got %v, want %v", err, want)
	}
	if got := strings.Join(o.asked, ", "); got != asked {
		o.Errorf("asked: %q, want %q", got, asked)
	}
}

func TestCredentialIsOpenedAsItIs(t *testing.T) {
	for name, document := range map[string]string{
		"it says nothing of its expiry": `{"access_token":"old"}`,
		"it expires later":              `{"access_token":"old","expires_at":"2126-01-01T00:00:00Z"}`,
		"it expires at no time":         `{"access_token":"old","expires_at":"soon"}`,
	} {
		t.Run(name, func(t *testing.T) {
			o := newOpening(t, nil)
			o.provider.Fetch = new(Fetch)
			o.putDocument(document)
			o.expect("old", false, "")
		})
	}
}

func TestExpiredTokenIsRenewedFirst(t *testing.T) {
	o := newOpening(t, nil)
	o.put(-time.Second)
	o.refreshed = `{"access_token":"new"}`
	o.expect("new", true, "refresh")
	if token, _ := o.rejected.Text("access_token"); token != "old" {
		t.Errorf("%s was to be renewed", token)
	}
}

func TestUpstreamHasTheLastWordOnATokenThatCannotBeRenewed(t *testing.T) {
	for name, err := range map[string]error{
		"for now":  fmt.Errorf("token endpoint: %w", renew.ErrFailed),
		"for good": fmt.Errorf("token endpoint: %w", renew.ErrReauthorizationRequired),
	} {
		t.Run(name, func(t *testing.T) {
			o := newOpening(t, nil)
			o.put(-time.Second)
			o.refreshErr = err
			o.expect("old", false, "refresh")
		})
	}
}

func TestApplicationIsAskedForATokenBeyondRefreshing(t *testing.T) {
	for name, test := range map[string]struct {
		refreshErr error
		fetchErr   error
		token      string
		asked      string
	}{
		"refused for good":                {fmt.Errorf("token endpoint: %w", renew.ErrReauthorizationRequired), nil, "fetched", "refresh, application"},
		"nothing new in the store":        {fmt.Errorf("no refresh: %w", renew.ErrUnchanged), nil, "fetched", "refresh, application"},
		"failed for now":                  {renew.ErrFailed, nil, "old", "refresh"},
		"the application has none":        {renew.ErrReauthorizationRequired, credential.ErrNotFound, "old", "refresh, application"},
		"the application does not answer": {renew.ErrReauthorizationRequired, &FetchError{Status: 500}, "old", "refresh, application"},
	} {
		t.Run(name, func(t *testing.T) {
			o := newOpening(t, nil)
			o.provider.Fetch = new(Fetch)
			o.put(-time.Second)
			o.refreshErr, o.fetchErr, o.fetched = test.refreshErr, test.fetchErr, `{"access_token":"fetched"}`
			o.expect(test.token, test.token == "fetched", test.asked)
			if token, _ := o.rejected.Text("access_token"); token != "old" {
				t.Errorf("another was wanted for %s", token)
			}
		})
	}
}

// A client that is refused is the credential's own, or that of all tenants: then another
// credential would be of no use.
func TestApplicationIsAskedForAnotherClient(t *testing.T) {
	own := mustTemplate(t, "{credential.secret}")
	bySecret := func(c *oauth2.Config) {
		c.ClientAuth, c.ClientSecrets = oauth2.ClientAuthBasic, []oauth2.Secret{{Text: own}}
	}
	byKey := func(c *oauth2.Config) {
		c.ClientAuth, c.ClientKey = oauth2.ClientAuthPrivateKeyJWT, &jwt.Config{Algorithm: "ES256", Key: own}
	}
	for name, test := range map[string]struct {
		change func(*oauth2.Config)
		code   string
		asked  string
	}{
		"of its own":      {bySecret, "invalid_client", "refresh, application"},
		"of its own key":  {byKey, "invalid_client", "refresh, application"},
		"another refusal": {bySecret, "invalid_request", "refresh"},
		"of all":          {nil, "invalid_client", "refresh"},
	} {
		t.Run(name, func(t *testing.T) {
			o := newOpening(t, test.change)
			o.provider.Fetch, o.fetched = new(Fetch), `{"access_token":"fetched"}`
			o.put(-time.Second)
			o.refreshErr = fmt.Errorf("%w: %w", renew.ErrFailed, &tokenrequest.Error{Status: 401, Code: test.code})
			token := "old"
			if strings.HasSuffix(test.asked, "application") {
				token = "fetched"
			}
			o.expect(token, token == "fetched", test.asked)
		})
	}
}

func TestRefreshAheadIsStarted(t *testing.T) {
	for name, test := range map[string]struct {
		expiresIn, ahead time.Duration
		asked            string
	}{
		"soon":                      {30 * time.Second, 0, "ahead"},
		"somewhat later":            {70 * time.Second, 0, "ahead"}, // The coordinator knows whether it is time for this tenant.
		"later":                     {time.Hour, 0, ""},
		"later, and so is the time": {time.Hour, 2 * time.Hour, "ahead"},
		"never ahead":               {time.Minute / 2, -1, ""},
	} {
		t.Run(name, func(t *testing.T) {
			o := newOpening(t, func(c *oauth2.Config) { c.RefreshAhead = test.ahead })
			o.put(test.expiresIn)
			o.expect("old", false, test.asked)
		})
	}
	t.Run("expired, never ahead", func(t *testing.T) {
		o := newOpening(t, func(c *oauth2.Config) { c.RefreshAhead = -1 })
		o.put(-time.Second)
		o.refreshed = `{"access_token":"new"}`
		o.expect("new", true, "refresh")
	})
}

func TestMissingCredentialIsFetched(t *testing.T) {
	t.Run("from the application", func(t *testing.T) {
		o := newOpening(t, nil)
		o.provider.Fetch, o.fetched = new(Fetch), `{"access_token":"fetched"}`
		o.expect("fetched", false, "application")
		if o.rejected != nil {
			t.Error("something was rejected")
		}
	})
	t.Run("and renewed if it has expired", func(t *testing.T) {
		o := newOpening(t, nil)
		o.provider.Fetch, o.fetched = new(Fetch), `{"access_token":"fetched","expires_at":"2020-01-01T00:00:00Z"}`
		o.refreshed = `{"access_token":"new"}`
		o.expect("new", true, "application, refresh")
	})
	t.Run("from nobody", func(t *testing.T) {
		newOpening(t, nil).expectError(credential.ErrNotFound, "")
	})
	t.Run("which has none", func(t *testing.T) {
		o := newOpening(t, nil)
		o.provider.Fetch, o.fetchErr = new(Fetch), credential.ErrNotFound
		o.expectError(credential.ErrNotFound, "application")
	})
	t.Run("which does not answer", func(t *testing.T) {
		o := newOpening(t, nil)
		o.provider.Fetch, o.fetchErr = new(Fetch), &FetchError{Status: 500}
		o.expectError(credential.ErrUnavailable, "application")
	})
}

func TestStoreThatDoesNotAnswerIsNotPassedOver(t *testing.T) {
	o := newOpening(t, nil)
	o.provider.Fetch = new(Fetch)
	o.store.Fault = func(string, credential.Key) error { return credential.ErrUnavailable }
	o.expectError(credential.ErrUnavailable, "")
}

func TestInvalidCredentialIsNotOpened(t *testing.T) {
	const withoutToken = `{"key":"hunter2"}`
	t.Run("stored", func(t *testing.T) {
		o := newOpening(t, nil)
		o.putDocument(withoutToken)
		o.expectError(credential.ErrInvalid, "")
	})
	t.Run("against its schema", func(t *testing.T) {
		o := newOpening(t, nil)
		schema, err := credential.CompileSchema([]byte(`{"required":["account"]}`))
		if err != nil {
			t.Fatal(err)
		}
		o.provider.Schemas = []*credential.Schema{schema}
		o.putDocument(`{"access_token":"hunter2"}`)
		o.expectError(credential.ErrInvalid, "")
	})
	t.Run("fetched", func(t *testing.T) {
		o := newOpening(t, nil)
		o.provider.Fetch, o.fetched = new(Fetch), withoutToken
		o.expectError(credential.ErrInvalid, "application")
	})
	t.Run("renewed", func(t *testing.T) {
		o := newOpening(t, nil)
		o.put(-time.Second)
		o.refreshed = withoutToken
		o.expectError(credential.ErrInvalid, "refresh")
	})
	t.Run("but one that has expired may be renewed", func(t *testing.T) {
		o := newOpening(t, nil)
		o.putDocument(`{"key":"hunter2","expires_at":"2020-01-01T00:00:00Z"}`)
		o.refreshed = `{"access_token":"new"}`
		o.expect("new", true, "refresh")
	})
}

func TestOpeningEndsWithTheRequest(t *testing.T) {
	o := newOpening(t, nil)
	release := make(chan struct{})
	defer close(release)
	o.store.Fault = func(string, credential.Key) error { <-release; return nil }
	ctx, leave := context.WithCancel(t.Context())
	leave()
	if _, err := o.Open(ctx, o.provider, acme); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}

func TestRenewedCredentialIsReady(t *testing.T) {
	o := newOpening(t, nil)
	o.provider.Fetch = new(Fetch)
	rejected := newCredential(t, `{"access_token":"old"}`)
	for _, test := range []struct {
		name       string
		refreshed  string
		refreshErr error
		fetchErr   error
		token      string
		err        error
	}{
		{"by a refresh", `{"access_token":"new"}`, nil, nil, "new", nil},
		{"by the application", "", renew.ErrReauthorizationRequired, nil, "fetched", nil},
		{"by nobody", "", renew.ErrReauthorizationRequired, credential.ErrNotFound, "", renew.ErrReauthorizationRequired},
		{"not now", "", renew.ErrFailed, nil, "", renew.ErrFailed},
		{"not to be used", `{"key":"hunter2"}`, nil, nil, "", credential.ErrInvalid},
	} {
		t.Run(test.name, func(t *testing.T) {
			o.refreshed, o.refreshErr, o.fetchErr, o.fetched = test.refreshed, test.refreshErr, test.fetchErr, `{"access_token":"fetched"}`
			opened, err := o.Renew(t.Context(), o.provider, acme, rejected)
			if !errors.Is(err, test.err) || o.rejected != rejected {
				t.Fatal(err)
			}
			if err != nil {
				if strings.Contains(err.Error(), "hunter2") {
					t.Error(err)
				}
				return
			}
			if got := authenticated(t, opened.Ready).Get("Authorization"); got != "Bearer "+test.token || !opened.Fresh {
				t.Errorf("%s is sent, fresh %v", got, opened.Fresh)
			}
		})
	}
}
