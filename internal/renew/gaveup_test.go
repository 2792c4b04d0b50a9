package renew_test

import (
	"context"
	"crypto/tls"
	"errors"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/upstreamauth/caddy-upstream-auth/credential"
	"github.com/upstreamauth/caddy-upstream-auth/credential/storetest"
	"github.com/upstreamauth/caddy-upstream-auth/internal/oauth2"
	"github.com/upstreamauth/caddy-upstream-auth/internal/renew"
	"github.com/upstreamauth/caddy-upstream-auth/internal/tokenrequest"
)

// silent is a token endpoint that takes a second to connect to, and never answers.
type silent struct{}

func (s silent) Dial(context.Context, string, *tls.Config) (tokenrequest.Conn, error) {
	<-time.After(time.Second)
	return s, nil
}

func (s silent) Send(ctx context.Context, _ *http.Request, _ tokenrequest.Limits) (*tokenrequest.Response, error) {
	<-ctx.Done()
	return nil, &tokenrequest.Error{Reason: "no answer in time", NoResponse: true}
}

func (silent) Close() {}

func TestRequestThatWaitedInVainTellsForWhat(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := storetest.NewMemory()
		key := credential.Key{Provider: "crm", Tenant: "acme"}
		if _, err := store.Put(t.Context(), key, []byte(`{"access_token":"a","refresh_token":"r"}`), 0); err != nil {
			t.Fatal(err)
		}
		r, err := oauth2.New(oauth2.Config{TokenURL: text(t, "https://as.example/token"), Client: oauth2.Client{ClientID: text(t, "app"), ClientAuth: oauth2.ClientAuthNone}})
		if err != nil {
			t.Fatal(err)
		}
		cache := credential.NewCache(store, credential.CacheOptions{})
		cred, err := cache.Get(t.Context(), key)
		if err != nil {
			t.Fatal(err)
		}
		var mu sync.Mutex
		var told []renew.Event
		c := renew.New(cache, renew.Options{Exclusive: true, Endpoints: silent{}, Observe: func(e renew.Event) {
			mu.Lock()
			defer mu.Unlock()
			told = append(told, e)
		}})
		_, err = c.Refresh(t.Context(), renew.NewProvider("crm", r, ""), "acme", cred)
		if !errors.Is(err, renew.ErrFailed) || !strings.HasSuffix(err.Error(), "for the token endpoint") {
			t.Errorf("got %v", err)
		}
		mu.Lock()
		last := told[len(told)-1]
		mu.Unlock()
		if last.Kind != renew.WaitedInVain || last.Err == nil || last.Err.Error() != err.Error() || last.Duration != 15*time.Second {
			t.Errorf("told %+v", last)
		}
		c.Close()
	})
}
