package refresh_test

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
	"github.com/upstreamauth/caddy-upstream-auth/internal/refresh"
	"github.com/upstreamauth/caddy-upstream-auth/internal/scheme"
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
		id, err := scheme.ParseTemplate("app", nil)
		if err != nil {
			t.Fatal(err)
		}
		s, err := scheme.New(scheme.Options{OAuth2: &scheme.OAuth2{TokenURL: "https://as.example/token", ClientID: id, ClientAuth: scheme.ClientAuthNone}})
		if err != nil {
			t.Fatal(err)
		}
		cache := credential.NewCache(store, credential.CacheOptions{})
		cred, err := cache.Get(t.Context(), key)
		if err != nil {
			t.Fatal(err)
		}
		var mu sync.Mutex
		var told []refresh.Event
		c := refresh.New(cache, refresh.Options{Exclusive: true, Endpoints: silent{}, Observe: func(e refresh.Event) {
			mu.Lock()
			defer mu.Unlock()
			told = append(told, e)
		}})
		_, err = c.Refresh(t.Context(), &refresh.Provider{Name: "crm", Scheme: s}, "acme", cred)
		if !errors.Is(err, refresh.ErrFailed) || !strings.HasSuffix(err.Error(), "for the token endpoint") {
			t.Errorf("got %v", err)
		}
		mu.Lock()
		last := told[len(told)-1]
		mu.Unlock()
		if last.Kind != refresh.WaitedInVain || last.Err == nil || last.Err.Error() != err.Error() || last.Duration != 15*time.Second {
			t.Errorf("told %+v", last)
		}
		c.Close()
	})
}
